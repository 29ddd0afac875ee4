"""Logits → tokens: greedy or sampled, the same whoever else is in the batch.

What it is: `Sampling`, how to choose, and `Sampler`, which chooses one token for each row of a batch.
What it is not: the order of batches or the end of an answer (`engine.py`).
Randomness is counter-based: a draw depends on (seed, row, position) alone, where the row is the request's key and the position
counts the answer's tokens. No state is kept: batches may be cut in any way, and an answer may be paused and continued.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kimivl.data.source import key_of

LEAST_REPEATS = 3  # times that a passage stands in a row before it counts as running away


@dataclass(frozen=True)
class Sampling:
    """How answers are chosen.

    `temperature` 0 takes the likeliest token. `top_p` samples from the smallest set of tokens that has this share of the
    probability. `repeat_stop` cuts an answer whose last so many tokens are one passage over and over; 0 lets it go on.
    Raises: ValueError for values without a meaning.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    repeat_stop: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature must be 0 (greedy) or above, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p}")
        if self.repeat_stop != 0 and self.repeat_stop < LEAST_REPEATS:
            raise ValueError(f"repeat_stop must be 0 (off) or at least {LEAST_REPEATS} tokens, got {self.repeat_stop}")


class Sampler:
    """Chooses tokens.

    Args:
        forbidden: ids that are never chosen, int64.
    """

    def __init__(self, sampling: Sampling, forbidden: Tensor):
        self.sampling, self.forbidden = sampling, forbidden

    def __call__(self, logits_BV: Tensor, rows: Sequence[Hashable], positions: Sequence[int]) -> tuple[Tensor, Tensor]:
        """One id for each row, int64 [B], and the logarithm of its probability, fp32 [B].

        The probability is the one at this temperature among the tokens that are not forbidden, before `top_p`; greedy choice
        counts as temperature 1.

        Args:
            logits_BV: fp32; overwritten.
            rows: the keys of the rows' requests.
            positions: how many tokens of each answer are chosen already.
        Raises: FloatingPointError if a row's logits are not finite.
        """
        logits_BV.index_fill_(1, self.forbidden, -math.inf)
        best_B, likeliest_B = logits_BV.max(-1)
        if not bool(best_B.isfinite().all()):  # a NaN anywhere in a row is its maximum
            raise FloatingPointError("the model's logits are not finite: its weights are damaged, or too large for its dtype")
        if self.sampling.temperature == 0:
            return likeliest_B, best_B - logits_BV.logsumexp(-1)
        logits_BV.div_(self.sampling.temperature)
        draws = [uniform(self.sampling.seed, row, position) for row, position in zip(rows, positions)]
        draw_B = torch.tensor(draws, dtype=torch.float64, device=logits_BV.device)
        ids_B = _sampled(logits_BV, draw_B, self.sampling.top_p)
        return ids_B, logits_BV.gather(1, ids_B[:, None])[:, 0] - logits_BV.logsumexp(-1)


def repeats(ids: Sequence[int], length: int) -> bool:
    """Whether the last `length` tokens are one passage, `LEAST_REPEATS` times or more."""
    tail = list(ids[-length:])
    return len(tail) == length and any(tail[period:] == tail[:-period] for period in range(1, length // LEAST_REPEATS + 1))


def uniform(seed: int, row: Hashable, position: int) -> float:
    """A number in [0, 1) with 53 random bits."""
    return (key_of(seed, "token", row, position) >> 75) * 2.0**-53


def _sampled(logits_BV: Tensor, draw_B: Tensor, top_p: float) -> Tensor:
    """Inverts the cumulative distribution at each row's draw. fp64, so that a draw next to 1 stays inside the sum."""
    probability_BV = logits_BV.softmax(-1, dtype=torch.float64)
    if top_p == 1:
        return _place_of(probability_BV.cumsum(-1), draw_B[:, None])[:, 0]
    sorted_BV, ids_BV = probability_BV.sort(dim=-1, descending=True, stable=True)
    sums_BV = sorted_BV.cumsum(-1)
    last_B1 = torch.searchsorted(sums_BV, top_p * sums_BV[:, -1:])  # the first at which the share is reached
    return ids_BV.gather(1, _place_of(sums_BV, draw_B[:, None], last_B1))[:, 0]


def _place_of(sums_BV: Tensor, draw_B1: Tensor, last_B1: Tensor | None = None) -> Tensor:
    """The first place whose sum exceeds the draw's share of all, or of what stands up to `last`; never one of probability 0."""
    total_B1 = sums_BV[:, -1:] if last_B1 is None else sums_BV.gather(1, last_B1)
    return torch.searchsorted(sums_BV, draw_B1 * total_B1, right=True)
