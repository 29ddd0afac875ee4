"""The reward for being short among the responses to one prompt (Kimi k1.5 §2.3.3).

What it is: `length_rewards`, and `LengthReward`, its weight over the iterations.
Why a warm-up: from the start it would teach to give up early, since a short wrong answer costs nothing and a long one does.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LengthReward:
    """The weight of the length reward: 0 for the first `warm_up` iterations, then `weight`.

    Raises: ValueError for a weight at which the longest right answer would be worth no more than a wrong one.
    """

    weight: float = 0.0
    warm_up: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.weight < 2:
            raise ValueError(f"the length reward's weight is {self.weight}; from 2 on, a wrong answer could be worth a right one")

    def at(self, iteration: int) -> float:
        return self.weight if iteration >= self.warm_up else 0.0


def length_rewards(lengths_NK: Tensor, right_NK: Tensor, finished_NK: Tensor) -> Tensor:
    """λ = ½ − (length − shortest) / (longest − shortest) for right answers, min(0, λ) for wrong ones. fp32 [N, K]

    Args:
        lengths_NK: tokens of each response.
        right_NK: bool.
        finished_NK: bool. A response that was cut off has no length of its own: it takes no part, and its reward is 0.
    Returns: 0 for all of a group whose finished responses are equally long.
    """
    lengths_NK = lengths_NK.float()
    shortest_N1 = lengths_NK.masked_fill(~finished_NK, torch.inf).amin(1, keepdim=True)
    longest_N1 = lengths_NK.masked_fill(~finished_NK, -torch.inf).amax(1, keepdim=True)
    spread_N1 = longest_N1 - shortest_N1
    lam_NK = 0.5 - (lengths_NK - shortest_N1) / spread_N1
    rewards_NK = torch.where(right_NK, lam_NK, lam_NK.clamp(max=0))
    return torch.where(finished_NK & (spread_N1 > 0), rewards_NK, torch.zeros_like(rewards_NK))
