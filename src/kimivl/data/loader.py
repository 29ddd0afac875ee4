"""From a recipe's mixture to the packs of each step, exactly resumable.

What it is: an endless, deterministic stream. `LoaderState` is its whole memory: one credit and one count per source;
the packs that follow are a function of it, the seed and the step alone.
What it is not: reading files (`source.py`) or rendering text and pictures (`processor/`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from kimivl.config.recipe import StageConfig
from kimivl.data.augment.sample import augmented
from kimivl.data.batch import PackedBatch, Piece, pack
from kimivl.data.mixture import Mixture, weights_at
from kimivl.data.sample import Sample
from kimivl.data.source import Source, key_of
from kimivl.processor.processor import Encoded, Processor


@dataclass
class LoaderState:
    """Where the stream stands: samples drawn, parts of the current long document handed out, and credit, per source."""

    drawn: dict[str, int] = field(default_factory=dict)
    parts_used: dict[str, int] = field(default_factory=dict)
    credits: dict[str, float] = field(default_factory=dict)


class Loader:
    """The packs of a stage.

    Args:
        sources: by name; all that the stage's mixture names.
        seed: of the run; with the stage's name it decides the order of each source.
    """

    def __init__(self, stage: StageConfig, sources: Mapping[str, Source], processor: Processor, seed: int):
        self.stage, self.sources, self.processor, self.seed = stage, sources, processor, seed
        self.state = LoaderState()
        self._last_encoded: dict[str, tuple[tuple[int, int | None], list[Piece]]] = {}  # per source: (sample, limit) → its pieces

    def packs(self, step: int) -> list[PackedBatch]:
        """The packs of step `step`; steps must be asked for in order, from the one that `state` belongs to."""
        progress = step / self.stage.steps
        return [self._next_pack(progress) for _ in range(self.stage.packs)]

    def _next_pack(self, progress: float) -> PackedBatch:
        weights = weights_at(self.stage.mixture, progress)
        mixture = Mixture(self.state.credits)
        pieces: list[Piece] = []
        tokens = patches = 0
        while True:
            name = mixture.next_source(weights)
            piece, is_last_part = self._peek(name, progress)
            tokens, patches = tokens + len(piece.ids), patches + len(piece.patches)
            if pieces and (tokens > self.stage.pack_tokens or patches > self.stage.pack_patches):
                self.state.credits = mixture.credits
                return pack(pieces)
            self._check_budget(piece)
            pieces.append(piece)
            mixture.settle(name, len(piece.ids), weights)
            self._advance(name, is_last_part)

    def _peek(self, name: str, progress: float) -> tuple[Piece, bool]:
        """The source's next piece, not yet taken, and whether its sample ends with it."""
        key = (self.state.drawn.get(name, 0), patch_limit(self.stage, progress))
        if self._last_encoded.get(name, (None,))[0] != key:
            self._last_encoded[name] = (key, self._encode(name, *key))
        pieces, part = self._last_encoded[name][1], self.state.parts_used.get(name, 0)
        return pieces[part], part + 1 == len(pieces)

    def _encode(self, name: str, number: int, limit: int | None) -> list[Piece]:
        sample = self._augmented(name, number, self.sources[name].nth(number, self.seed, self.stage.name))
        return cut(encode(sample, self.processor, limit), name, sample, self.stage.context)

    def _augmented(self, name: str, number: int, sample: Sample) -> Sample:
        """As it is seen in this epoch of its source."""
        settings = self.stage.augment.get(name)
        if settings is None:
            return sample
        key = key_of(self.seed, "augment", self.stage.name, name, sample.id, number // len(self.sources[name]))
        return augmented(sample, settings, np.random.Generator(np.random.Philox(key=key))).sample

    def _advance(self, name: str, is_last_part: bool) -> None:
        if is_last_part:
            self.state.drawn[name] = self.state.drawn.get(name, 0) + 1
        self.state.parts_used[name] = 0 if is_last_part else self.state.parts_used.get(name, 0) + 1

    def _check_budget(self, piece: Piece) -> None:
        if len(piece.patches) > self.stage.pack_patches:
            raise ValueError(
                f"sample {piece.sample_id} has {len(piece.patches)} patches but stage {self.stage.name} packs at most "
                f"{self.stage.pack_patches}: raise pack_patches, or limit the resolution"
            )


def patch_limit(stage: StageConfig, progress: float) -> int | None:
    """The progressive resolution's limit on an image's patches at a moment of the stage; None without one."""
    limits = [point.patches for point in stage.resolution if point.at <= progress]
    return limits[-1] if limits else None


def encode(sample: Sample, processor: Processor, limit: int | None = None) -> Encoded:
    """Renders a sample, whichever form it has."""
    if sample.is_chat:
        return processor.encode_chat(sample.messages, limit=limit)
    return processor.encode_document(sample.content, limit=limit)


def cut(encoded: Encoded, source: str, sample: Sample, context: int) -> list[Piece]:
    """Shifts labels and cuts a long text document into parts of at most `context` tokens.

    Raises: ValueError for a chat or a document with pictures that is longer: cutting would separate text and pictures; and for
        a document without text.
    """
    ids, labels, supervised = encoded.ids[:-1], encoded.ids[1:], encoded.supervised[1:]
    if not len(ids):
        raise ValueError(f"sample {sample.id} of {source} is an empty document: give it text, or remove it")
    if len(ids) > context and (sample.is_chat or len(encoded.grids)):
        raise ValueError(
            f"sample {sample.id} has {len(ids)} tokens, above the context of {context}: shorten it or raise the context"
        )
    return [
        Piece(
            source, sample.id, ids[start : start + context], labels[start : start + context],
            supervised[start : start + context], encoded.patches, encoded.grids,
        )
        for start in range(0, len(ids), context)
    ]  # fmt: skip


def held_out_packs(source: Source, processor: Processor, context: int, pack_tokens: int, limit: int) -> list[PackedBatch]:
    """The first `limit` samples of a held-out source in file order, packed; for following a loss, never for training."""
    packs: list[PackedBatch] = []
    pieces: list[Piece] = []
    tokens = 0
    for row in range(min(limit, len(source))):
        sample = source[row]
        for piece in cut(encode(sample, processor), source.name, sample, context):
            if pieces and tokens + len(piece.ids) > pack_tokens:
                packs.append(pack(pieces))
                pieces, tokens = [], 0
            pieces.append(piece)
            tokens += len(piece.ids)
    return [*packs, pack(pieces)] if pieces else packs
