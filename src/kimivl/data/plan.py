"""Which samples lie in which pack, decided before any picture is decoded.

What it is: `Planner`, an endless, deterministic stream of packs as outlines; `PlanState` is its whole memory, and the packs that
follow are a function of it, the seed and the step alone, whoever decodes their pictures.
What it is not: reading files (`source.py`), rendering text (`processor/`), or the arrays of a pack (`loader.py`, `batch.py`).
Packing keeps the stream's order but for a waiting line: of the samples that do not fit, up to `look_ahead` wait for the next pack
while others behind them still fill this one.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from kimivl.config.recipe import StageConfig
from kimivl.data.augment.refusals import Refusal
from kimivl.data.augment.sample import Augmented, augmented
from kimivl.data.batch import Piece, PieceTokens
from kimivl.data.mixture import Mixture, weights_at
from kimivl.data.sample import Sample
from kimivl.data.source import Source, key_of
from kimivl.processor.processor import Outline, Processor

KEPT = 256  # samples whose outline is kept for a moment: long documents, and those that wait


@dataclass(frozen=True)
class Planned(PieceTokens):
    """A piece before its pictures are decoded. `outline`: of the whole sample. `refusals`: where its augmentation gave way; of a
    document in parts, only the first has them.
    """

    outline: Outline
    refusals: tuple[Refusal, ...] = ()

    @property
    def patches(self) -> int:
        return self.outline.patches

    def filled(self, processor: Processor) -> Piece:
        """With its pictures. Raises: ImageError naming one that cannot be used."""
        encoded = processor.filled(self.outline)
        tokens = self.source, self.sample_id, self.ids, self.labels, self.supervised
        return Piece(*tokens, encoded.patches, encoded.grids)


@dataclass
class PlanState:
    """Where the stream stands: samples drawn, parts of the current long document handed out, and credit, per source; what
    waits, as (source, number of the sample in its walk, part); a digest of all that was packed.
    """

    drawn: dict[str, int] = field(default_factory=dict)
    parts_used: dict[str, int] = field(default_factory=dict)
    credits: dict[str, float] = field(default_factory=dict)
    waiting: list[tuple[str, int, int]] = field(default_factory=list)
    digest: str = ""


class Planner:
    """The packs of a stage, one after the other.

    Args:
        sources: by name; all that the stage's mixture names.
        seed: of the run; with the stage's name it decides the order of each source.
    """

    def __init__(self, stage: StageConfig, sources: Mapping[str, Source], processor: Processor, seed: int):
        self.stage, self.sources, self.processor, self.seed = stage, sources, processor, seed
        self.state = PlanState()
        self._outlined: OrderedDict[tuple[str, int, int | None], list[Planned]] = OrderedDict()

    def next_pack(self, progress: float) -> list[Planned]:
        """The pack that comes next, at a moment of the stage (0 to 1). Raises: ValueError naming a sample that fits no pack."""
        weights, mixture = weights_at(self.stage.mixture, progress), Mixture(self.state.credits)
        pack, tokens, patches = list[Planned](), 0, 0

        def take(piece: Planned) -> bool:
            nonlocal tokens, patches
            self._check_budget(piece)
            if tokens + len(piece.ids) > self.stage.pack_tokens or patches + piece.patches > self.stage.pack_patches:
                return False
            pack.append(piece)
            tokens, patches = tokens + len(piece.ids), patches + piece.patches
            return True

        waiting = [place for place in self.state.waiting if not take(self._pieces(*place[:2], progress)[place[2]])]
        while True:
            name = mixture.next_source(weights)
            number, part = self.state.drawn.get(name, 0), self.state.parts_used.get(name, 0)
            pieces = self._pieces(name, number, progress)
            if not take(pieces[part]):
                if len(waiting) == self.stage.look_ahead:
                    break
                waiting.append((name, number, part))
            mixture.settle(name, len(pieces[part].ids), weights)
            self._advance(name, is_last_part=part + 1 == len(pieces))
        self.state.credits, self.state.waiting = mixture.credits, waiting
        self.state.digest = _digest(self.state.digest, pack)
        return pack

    def _pieces(self, name: str, number: int, progress: float) -> list[Planned]:
        """The parts of a source's `number`-th sample."""
        key = (name, number, patch_limit(self.stage, progress))
        if key not in self._outlined:
            source = self.sources[name]
            found = self._augmented(name, number, source.nth(number, self.seed, self.stage.name))
            first, *others = cut(outline(found.sample, self.processor, key[2]), name, found.sample, self.stage.context)
            self._outlined[key] = [replace(first, refusals=found.refusals), *others]
            if len(self._outlined) > KEPT:
                self._outlined.popitem(last=False)
        return self._outlined[key]

    def _augmented(self, name: str, number: int, sample: Sample) -> Augmented:
        """As it is seen in this epoch of its source."""
        settings = self.stage.augment.get(name)
        if settings is None:
            return Augmented(sample, None, "")
        key = key_of(self.seed, "augment", self.stage.name, name, sample.id, number // len(self.sources[name]))
        return augmented(sample, settings, np.random.Generator(np.random.Philox(key=key)))

    def _advance(self, name: str, is_last_part: bool) -> None:
        if is_last_part:
            self.state.drawn[name] = self.state.drawn.get(name, 0) + 1
        self.state.parts_used[name] = 0 if is_last_part else self.state.parts_used.get(name, 0) + 1

    def _check_budget(self, piece: Planned) -> None:
        if piece.patches > self.stage.pack_patches:
            raise ValueError(
                f"sample {piece.sample_id} has {piece.patches} patches but stage {self.stage.name} packs at most "
                f"{self.stage.pack_patches}: raise pack_patches, or limit the resolution"
            )


def patch_limit(stage: StageConfig, progress: float) -> int | None:
    """The progressive resolution's limit on an image's patches at a moment of the stage; None without one."""
    limits = [point.patches for point in stage.resolution if point.at <= progress]
    return limits[-1] if limits else None


def outline(sample: Sample, processor: Processor, limit: int | None = None) -> Outline:
    """Renders a sample, whichever form it has."""
    if sample.is_chat:
        return processor.outline_chat(sample.messages, limit=limit)
    return processor.outline_document(sample.content, limit=limit)


def cut(whole: Outline, source: str, sample: Sample, context: int) -> list[Planned]:
    """Shifts labels and cuts a long text document into parts of at most `context` tokens.

    Raises: ValueError for a chat or a document with pictures that is longer: cutting would separate text and pictures; and for
        a document without text.
    """
    ids, labels, supervised = whole.ids[:-1], whole.ids[1:], whole.supervised[1:]
    if not len(ids):
        raise ValueError(f"sample {sample.id} of {source} is an empty document: give it text, or remove it")
    if len(ids) > context and (sample.is_chat or whole.pictures):
        raise ValueError(
            f"sample {sample.id} has {len(ids)} tokens, above the context of {context}: shorten it or raise the context"
        )
    return [
        Planned(
            source, sample.id, ids[start : start + context], labels[start : start + context],
            supervised[start : start + context], whole,
        )
        for start in range(0, len(ids), context)
    ]  # fmt: skip


def _digest(before: str, pack: Sequence[Planned]) -> str:
    """Of all packs up to this one: samples, tokens, what is learned of them, sizes and changes of pictures."""
    digest = hashlib.blake2b(before.encode(), digest_size=16)
    for piece in pack:
        changes = [part.change for part in piece.outline.pictures]
        digest.update(repr((piece.source, piece.sample_id, piece.outline.grids.tolist(), changes)).encode())
        digest.update(np.ascontiguousarray(piece.ids).data)
        digest.update(np.ascontiguousarray(piece.supervised).data)
    return digest.hexdigest()
