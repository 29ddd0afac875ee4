"""Answers to prompts: packed prefill, then absorbed decoding of all rows together.

What it is: `Engine.generate` for many prompts, `Engine.respond` for requests that share prompts or go on with an answer, and
`Engine.stream` for one prompt. Prompts of a batch are packed without padding, rows leave the batch when their answer ends, and
results do not depend on how prompts were batched: tokens are drawn by (seed, key, position), and rows never see each other. What
remains are the last bits of matrix products, whose rounding may differ with the number of rows: equal to the token in fp32
unless two tokens tie; bf16 ties more often.
What it is not: a server. All prompts are known at the start, and none joins a running batch.
Facts: reference/model.md §5.5 (where answers end), §7.2 (absorbed decoding).
"""

import codecs
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from kimivl.engine.cache import RowCache
from kimivl.engine.features import FeatureCache
from kimivl.engine.sampler import Sampler, Sampling, repeats
from kimivl.model.kimi_vl import KimiVL
from kimivl.model.layers import RMSNorm
from kimivl.model.layout import load_model
from kimivl.ops.dtype import compute_dtype
from kimivl.ops.segments import Segments
from kimivl.processor.chat import Provenance
from kimivl.processor.processor import Encoded, Processor

BATCH_TOKENS = 8192  # prompt tokens that are read at once; a longer prompt is alone
BATCH_ROWS = 256
ROW_STEP = 8  # rows that decode together are a multiple of this, once some have ended
REPEAT_CHECK = 16  # tokens between two looks whether an answer runs in circles
GREEDY = Sampling()

FinishReason = Literal["stop", "length", "repeat"]


@dataclass(frozen=True)
class Request:
    """One answer that is wanted.

    Requests with the same prompt object share its prefill.

    Args:
        key: names the answer's random numbers; two requests with one key and one seed draw alike.
        written: tokens of the answer that are there already; it goes on behind them, with the random numbers that it would have
            had if it had been written in one go.
    """

    prompt: Encoded
    key: Hashable
    written: tuple[int, ...] = ()

    @property
    def length(self) -> int:
        return len(self.prompt.ids) + len(self.written)


@dataclass(frozen=True)
class Completion:
    """An answer.

    `ids`: all tokens that were generated, the closing one included. `text`: without the closing token.
    `finish_reason`: "stop" if the model closed the answer, "repeat" if it was cut because it ran in circles, "length" if it was
    cut at `max_new_tokens` or at the context's end. `logps`: of each id, as in `Sampler`.
    """

    ids: list[int]
    text: str
    finish_reason: FinishReason
    logps: list[float] = field(compare=False)  # their last bits depend on who else was in the batch


class Engine:
    """A model that answers.

    Args:
        context: the most tokens that prompt and answer may have together; the model's `max_position_embeddings` unless given.
    `allowed_A`: the ids that an answer may hold, rising.
    Raises: ValueError if model and processor do not belong together.
    """

    def __init__(self, model: KimiVL, processor: Processor, context: int | None = None):
        if misfit := processor.misfit(model.config):
            raise ValueError(f"the processor {misfit}: they do not belong together; take both from one folder")
        self.model, self.processor = model.eval(), processor
        self.context = context or model.config.text_config.max_position_embeddings
        self.images = FeatureCache(model)
        tokenizer = processor.tokenizer
        self.stop_ids = tokenizer.stop_ids
        # An answer is text: of the special tokens it holds only the one that closes it.
        self.allowed_A = torch.tensor([*range(tokenizer.n_ranks), *sorted(self.stop_ids)])
        special = range(tokenizer.n_ranks, tokenizer.vocab_size)
        self._forbidden = torch.tensor([id for id in special if id not in self.stop_ids])

    @classmethod
    def from_pretrained(cls, folder: str | Path, dtype: str = "auto", context: int | None = None) -> "Engine":
        """Reads a model directory with its processor.

        Args:
            dtype: to compute in: "auto" (bf16 where the processor multiplies it natively), "bfloat16" or "float32".
        Raises: ConfigError, CheckpointError, ValueError, each naming file and fix.
        """
        model = load_model(folder, compute_dtype(dtype))
        cast_weights(model)
        return cls(model, Processor.from_pretrained(folder), context)

    @contextmanager
    def between_updates(self) -> Iterator[None]:
        """For a model that is being trained: inside, its weights are taken as they are now.

        They are cast once instead of at every token, and pictures are encoded anew: features of older weights are forgotten.
        """
        self.images = FeatureCache(self.model)
        before = cast_weights(self.model)
        try:
            yield
        finally:
            for name, weights in before.items():
                self.model.get_parameter(name).data = weights

    def generate(
        self, prompts: Sequence[Encoded], sampling: Sampling = GREEDY, progress: Callable[[int], None] | None = None
    ) -> list[Completion]:
        """Answers in the order of the prompts.

        Args:
            progress: called with the number of prompts that were finished since the last call.
        Raises: ValueError naming the prompt that is empty, or that leaves no room in the context.
        """
        requests = [Request(prompt, number) for number, prompt in enumerate(prompts)]
        return self.respond(requests, sampling, progress)

    def respond(
        self, requests: Sequence[Request], sampling: Sampling = GREEDY, progress: Callable[[int], None] | None = None
    ) -> list[Completion]:
        """Answers in the order of the requests; a completion holds the new tokens only.

        Args, Raises: as `generate`.
        """
        for number, request in enumerate(requests):
            self._check_length(request, f"prompt {number}")
        answers: list[list[int]] = [[] for _ in requests]
        logps: list[list[float]] = [[] for _ in requests]
        for batch in _batches(requests):
            for places, ids, new_logps in self._steps([requests[row] for row in batch], sampling):
                for place, id, logp in zip(places, ids, new_logps):
                    answers[batch[place]].append(id)
                    logps[batch[place]].append(logp)
            if progress:
                progress(len(batch))
        return [self._completion(*answer, sampling) for answer in zip(requests, answers, logps)]

    def stream(self, prompt: Encoded, sampling: Sampling = GREEDY) -> Iterator[str]:
        """The text of `generate([prompt])`, piece by piece as it is made; close the iterator to stop the work.

        Pieces are whole characters: the bytes of a character that straddles tokens are held back until it is complete.
        Raises: ValueError at once, as `generate`.
        """
        request = Request(prompt, 0)
        self._check_length(request, "the prompt")
        return self._pieces(request, sampling)

    def _pieces(self, request: Request, sampling: Sampling) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for _, ids, _ in self._steps([request], sampling):
            text_ids = [id for id in ids if id not in self.stop_ids]
            if piece := decoder.decode(self.processor.tokenizer.decode_bytes(text_ids)):
                yield piece
        if rest := decoder.decode(b"", final=True):
            yield rest

    @torch.inference_mode()
    def _steps(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[list[int], list[int], list[float]]]:
        """The next token of every request that is still being answered: (its place, id, logp), step by step."""
        sampler = Sampler(sampling, self._forbidden)
        stop_ids = torch.tensor(sorted(self.stop_ids))
        written = [list(request.written) for request in requests]
        room_B = torch.tensor([min(sampling.max_new_tokens, self.context - request.length) for request in requests])
        row_places = list(range(len(requests)))  # the request of each row
        live_B = torch.ones(len(requests), dtype=torch.bool)
        hidden_BD, cache = self._prefill(requests)
        for step in range(sampling.max_new_tokens):
            live = live_B.nonzero()[:, 0]
            places = [row_places[row] for row in live.tolist()]
            keys, positions = [requests[place].key for place in places], [len(written[place]) for place in places]
            logits_BV = self.model.language_model.logits(hidden_BD)[live]
            ids_L, logp_L = sampler(logits_BV, keys, positions)
            ids = ids_L.tolist()
            yield places, ids, logp_L.tolist()
            for place, id in zip(places, ids):
                written[place].append(id)
            ended = torch.isin(ids_L, stop_ids) | (step + 1 >= room_B[live])
            if sampling.repeat_stop:
                ended |= torch.tensor([runs_in_circles(written[place], sampling.repeat_stop) for place in places])
            live_B[live] = ~ended
            if not bool(live_B.any()):
                return
            ids_B = torch.zeros(len(live_B), dtype=torch.long).index_copy_(0, live, ids_L)
            if (kept_B := _kept(live_B)) is not None:
                order_B = cache.keep(kept_B)
                ids_B, room_B, live_B = ids_B[order_B], room_B[order_B], live_B[order_B]
                row_places = [row_places[row] for row in order_B.tolist()]
            hidden_BD = self.model.language_model.decode(self.model.embed(ids_B, None), cache.place_B, cache.layers())
            cache.advance()

    def _prefill(self, requests: Sequence[Request]) -> tuple[torch.Tensor, RowCache]:
        """Each request's last hidden state [B, D], and the cache of all its tokens. What is the same is read once."""
        places: dict[tuple[int, tuple[int, ...]], int] = {}
        row_B = torch.tensor([places.setdefault((id(request.prompt), request.written), len(places)) for request in requests])
        first = {(id(request.prompt), request.written): request for request in requests}
        texts = [first[key] for key in places]
        segments = Segments([request.length for request in texts])
        ids_T = torch.cat([torch.tensor([*text.prompt.ids, *text.written]) for text in texts])
        features = self.images.features([text.prompt for text in texts])
        output = self.model.language_model(self.model.embed(ids_T, features), segments)
        last_B = (torch.tensor(segments.lengths).cumsum(0) - 1)[row_B]
        cache = RowCache(output.latents, segments)
        if len(texts) < len(requests):
            cache.spread(row_B)
        return output.hidden_TD.index_select(0, last_B), cache

    def _check_length(self, request: Request, name: str) -> None:
        if len(request.prompt.ids) == 0:
            raise ValueError(f"{name} is empty")
        if request.length >= self.context:
            raise ValueError(
                f"{name} has {request.length} tokens, {image_tokens(request.prompt)} of them for images; the model's context is "
                f"{self.context}, and the answer needs at least one of these: shorten the text, or use fewer or smaller images"
            )

    def _completion(self, request: Request, ids: list[int], logps: list[float], sampling: Sampling) -> Completion:
        tokenizer = self.processor.tokenizer
        if ids[-1] in self.stop_ids:
            return Completion(ids, tokenizer.decode(ids[:-1]), "stop", logps)
        circles = runs_in_circles([*request.written, *ids], sampling.repeat_stop)
        return Completion(ids, tokenizer.decode(ids), "repeat" if circles else "length", logps)


def _kept(live_B: torch.Tensor) -> torch.Tensor | None:
    """The rows to go on with once a quarter can leave, or None. Ended rows fill the number up to a multiple of `ROW_STEP`.

    Why not at once: every new number of rows makes the CPU's matrix library build new kernels, which cost more than a few idle
    rows. Measured in docs/performance.md.
    """
    count = -(-int(live_B.sum()) // ROW_STEP) * ROW_STEP
    if count > 0.75 * len(live_B):
        return None
    idle = (~live_B).nonzero()[:, 0][: count - int(live_B.sum())]
    return live_B.index_fill(0, idle, True)


def runs_in_circles(ids: Sequence[int], repeat_stop: int) -> bool:
    """Whether an answer of these tokens is cut now: `repeat_stop` as in `Sampling`.

    Looked at every so many tokens of the answer, counted from its start, so that a pause changes nothing.
    """
    return bool(repeat_stop) and len(ids) % REPEAT_CHECK == 0 and repeats(ids, repeat_stop)


def image_tokens(prompt: Encoded) -> int:
    """How many of a prompt's tokens stand for pictures."""
    return int((prompt.provenance == Provenance.MEDIA).sum())


def cast_weights(model: KimiVL) -> dict[str, torch.Tensor]:
    """Stores weights in the dtype that the model computes in, in place: half the memory, and no cast at every step.

    The values are those that the cast at every step would give. What computes in fp32 stays: the router, RMSNorm's gains, and
    MoonViT's position table, which is resized before it is cast.
    Returns: the weights as they were, by name.
    """
    gains = {id(module.weight) for module in model.modules() if isinstance(module, RMSNorm)}
    before: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters():
        if id(parameter) not in gains and not name.endswith(("mlp.gate.weight", "pos_emb.weight")):
            before[name] = parameter.data
            parameter.data = parameter.data.to(model.dtype)
    return before


def _batches(requests: Sequence[Request]) -> Iterator[list[int]]:
    """Prompts of similar length together, within the budget of tokens and rows; longest first: a lack of memory shows early.

    A prompt that several requests share counts once.
    """
    batch: list[int] = []
    texts: set[tuple[int, tuple[int, ...]]] = set()
    tokens = 0
    for row in sorted(range(len(requests)), key=lambda row: -requests[row].length):
        request = requests[row]
        text = (id(request.prompt), request.written)
        new = 0 if text in texts else request.length
        if batch and (tokens + new > BATCH_TOKENS or len(batch) == BATCH_ROWS):
            yield batch
            batch, texts, tokens, new = [], set(), 0, request.length
        batch.append(row)
        texts.add(text)
        tokens += new
    if batch:
        yield batch
