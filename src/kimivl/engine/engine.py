"""Answers to prompts: packed prefill, then absorbed decoding of all rows together.

What it is: `Engine.generate` for many prompts and `Engine.stream` for one. Prompts of a batch are packed without padding, rows
leave the batch when their answer ends, and results do not depend on how prompts were batched: tokens are drawn by (seed, row,
position), and rows never see each other. What remains are the last bits of matrix products, whose rounding may differ with the
number of rows: equal to the token in fp32 unless two tokens tie; bf16 ties more often.
What it is not: a server. All prompts are known at the start, and none joins a running batch.
Facts: reference/model.md §5.5 (where answers end), §7.2 (absorbed decoding).
"""

import codecs
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from kimivl.engine.cache import RowCache
from kimivl.engine.features import FeatureCache
from kimivl.engine.sampler import Sampler, Sampling
from kimivl.model.kimi_vl import KimiVL
from kimivl.model.layers import RMSNorm
from kimivl.model.layout import load_model
from kimivl.ops.dtype import compute_dtype
from kimivl.ops.segments import Segments
from kimivl.processor.chat import Provenance
from kimivl.processor.processor import Encoded, Processor

BATCH_TOKENS = 8192  # prompt tokens of a batch; a longer prompt is alone
BATCH_ROWS = 256
GREEDY = Sampling()


@dataclass(frozen=True)
class Completion:
    """An answer.

    `ids`: all tokens that were generated, the closing one included. `text`: without the closing token.
    `finish_reason`: "stop" if the model closed the answer, "length" if it was cut at `max_new_tokens` or at the context's end.
    """

    ids: list[int]
    text: str
    finish_reason: Literal["stop", "length"]


class Engine:
    """A model that answers.

    Args:
        context: the most tokens that prompt and answer may have together; the model's `max_position_embeddings` unless given.
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

    def generate(
        self, prompts: Sequence[Encoded], sampling: Sampling = GREEDY, progress: Callable[[int], None] | None = None
    ) -> list[Completion]:
        """Answers in the order of the prompts.

        Args:
            progress: called with the number of prompts that were finished since the last call.
        Raises: ValueError naming the prompt that is empty, or that leaves no room in the context.
        """
        lengths = [self._checked_length(prompt, f"prompt {number}") for number, prompt in enumerate(prompts)]
        answers: list[list[int]] = [[] for _ in prompts]
        for batch in _batches(lengths):
            for rows, ids in self._steps([prompts[row] for row in batch], batch, sampling):
                for row, id in zip(rows, ids):
                    answers[row].append(id)
            if progress:
                progress(len(batch))
        return [self._completion(ids) for ids in answers]

    def stream(self, prompt: Encoded, sampling: Sampling = GREEDY) -> Iterator[str]:
        """The text of `generate([prompt])`, piece by piece as it is made; close the iterator to stop the work.

        Pieces are whole characters: the bytes of a character that straddles tokens are held back until it is complete.
        Raises: ValueError at once, as `generate`.
        """
        self._checked_length(prompt, "the prompt")
        return self._pieces(prompt, sampling)

    def _pieces(self, prompt: Encoded, sampling: Sampling) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for _, ids in self._steps([prompt], [0], sampling):
            text_ids = [id for id in ids if id not in self.stop_ids]
            if piece := decoder.decode(self.processor.tokenizer.decode_bytes(text_ids)):
                yield piece
        if rest := decoder.decode(b"", final=True):
            yield rest

    @torch.inference_mode()
    def _steps(self, prompts: Sequence[Encoded], rows: list[int], sampling: Sampling) -> Iterator[tuple[list[int], list[int]]]:
        """The next token of every row that is still being answered: (rows, ids), step by step."""
        sampler = Sampler(sampling, self._forbidden)
        stop_ids = torch.tensor(sorted(self.stop_ids))
        room_B = torch.tensor([min(sampling.max_new_tokens, self.context - len(prompt.ids)) for prompt in prompts])
        hidden_BD, cache = self._prefill(prompts)
        for position in range(sampling.max_new_tokens):
            ids_B = sampler(self.model.language_model.logits(hidden_BD), rows, position)
            yield rows, ids_B.tolist()
            live_B = ~torch.isin(ids_B, stop_ids) & (position + 1 < room_B)
            if not bool(live_B.any()):
                return
            if not bool(live_B.all()):
                order_B = cache.keep(live_B)
                ids_B, room_B, rows = ids_B[order_B], room_B[order_B], [rows[place] for place in order_B.tolist()]
            hidden_BD = self.model.language_model.decode(self.model.embed(ids_B, None), cache.place_B, cache.layers())
            cache.advance()

    def _prefill(self, prompts: Sequence[Encoded]) -> tuple[torch.Tensor, RowCache]:
        """Each prompt's last hidden state [B, D], and the cache of all its tokens."""
        segments = Segments([len(prompt.ids) for prompt in prompts])
        ids_T = torch.from_numpy(np.concatenate([prompt.ids for prompt in prompts]))
        output = self.model.language_model(self.model.embed(ids_T, self.images.features(prompts)), segments)
        last_B = torch.tensor(segments.lengths).cumsum(0) - 1
        return output.hidden_TD.index_select(0, last_B), RowCache(output.latents, segments)

    def _checked_length(self, prompt: Encoded, name: str) -> int:
        length = len(prompt.ids)
        if length == 0:
            raise ValueError(f"{name} is empty")
        if length >= self.context:
            raise ValueError(
                f"{name} has {length} tokens, {image_tokens(prompt)} of them for images; the model's context is {self.context}, "
                "and the answer needs at least one of these: shorten the text, or use fewer or smaller images"
            )
        return length

    def _completion(self, ids: list[int]) -> Completion:
        if ids[-1] in self.stop_ids:
            return Completion(ids, self.processor.tokenizer.decode(ids[:-1]), "stop")
        return Completion(ids, self.processor.tokenizer.decode(ids), "length")


def image_tokens(prompt: Encoded) -> int:
    """How many of a prompt's tokens stand for pictures."""
    return int((prompt.provenance == Provenance.MEDIA).sum())


def cast_weights(model: KimiVL) -> None:
    """Stores weights in the dtype that the model computes in, in place: half the memory, and no cast at every step.

    The values are those that the cast at every step would give. What computes in fp32 stays: the router, RMSNorm's gains, and
    MoonViT's position table, which is resized before it is cast.
    """
    gains = {id(module.weight) for module in model.modules() if isinstance(module, RMSNorm)}
    for name, parameter in model.named_parameters():
        if id(parameter) not in gains and not name.endswith(("mlp.gate.weight", "pos_emb.weight")):
            parameter.data = parameter.data.to(model.dtype)


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Prompts of similar length together, within the budget of tokens and rows; longest first: a lack of memory shows early."""
    batch: list[int] = []
    tokens = 0
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if batch and (tokens + lengths[row] > BATCH_TOKENS or len(batch) == BATCH_ROWS):
            yield batch
            batch, tokens = [], 0
        batch.append(row)
        tokens += lengths[row]
    if batch:
        yield batch
