"""Which samples lie in which pack, decided before any picture is decoded.

What it is: `Planner`, an endless, deterministic stream of packs that are planned and not yet made; `PlanState` is its whole
memory, and the packs that follow are a function of it, the seed, the step and the data log alone, whoever renders and decodes
them. Of a source whose tokens were counted (`lengths.py`) no text is rendered for the plan.
What it is not: reading files (`source.py`), the costs of a sample (`pieces.py`), which pack a piece goes into (`packing.py`), or
the arrays of a pack (`loader.py`, `batch.py`).
Packing keeps the stream's order but for a waiting line: of the samples that do not fit, up to `look_ahead` wait for the next pack
while others behind them still fill this one.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from kimivl.config.recipe import StageConfig
from kimivl.data.augment.sample import Augmented, augmented
from kimivl.data.lengths import Length, lengths_of
from kimivl.data.log import DataLog, Entry, Exclusion, digest_of, exclusions_of, weights_of
from kimivl.data.mixture import Mixture, weights_at
from kimivl.data.packing import packing_of
from kimivl.data.pieces import KEPT, Planned, Renderer, digests, held, naming, planned_pieces, versions
from kimivl.data.recent import Recent
from kimivl.data.sample import Sample
from kimivl.data.source import Source, key_of
from kimivl.processor.processor import Processor

Place = tuple[str, int, int]  # source, number of the sample in its walk, part


@dataclass
class PlanState:
    """Where the stream stands: samples drawn, parts of the current long document handed out, and credit, per source; what
    waits; a digest of all that was packed, and one of the data log's entries so far.
    """

    drawn: dict[str, int] = field(default_factory=dict)
    parts_used: dict[str, int] = field(default_factory=dict)
    credits: dict[str, float] = field(default_factory=dict)
    waiting: list[Place] = field(default_factory=list)
    digest: str = ""
    log: str = ""


@dataclass(frozen=True)
class Moment:
    """What holds at a step: shares of the sources, the patch budget of a picture, what is left out, the log's digest."""

    weights: dict[str, float]
    limit: int | None
    excluded: dict[tuple[str, str], Exclusion]
    log: str


class Planner:
    """The packs of a stage, step by step.

    Args:
        sources: by name; all that the stage's mixture and the log name.
        seed: of the run; with the stage's name it decides the order of each source.
        log: what was changed since the stage began.
    """

    def __init__(
        self, stage: StageConfig, sources: Mapping[str, Source], processor: Processor, seed: int, log: DataLog | None = None
    ):
        self.stage, self.sources, self.seed, self.log = stage, sources, seed, log or DataLog()
        self.renderer = Renderer(processor)
        self.state = PlanState()
        self._lengths: dict[str, np.ndarray | None] = {}
        self._planned: Recent[tuple[str, int, int | None, str], list[Planned]] = Recent(KEPT, _held)

    def packs(self, step: int) -> list[list[Planned]]:
        """The packs of a step; steps come in order, from the one that `state` belongs to.

        Raises: ValueError naming a sample that fits no pack, a source without a sample that may be used, or a log that was
            changed behind what is planned.
        """
        now = self.moment(step)
        packs: list[list[Planned]] = []
        while len(packs) < self.stage.packs:
            packs += self._filled(now)
        for pack in packs:
            self.state.digest = _digest(self.state.digest, pack)
        self.state.log = now.log
        return packs

    def moment(self, step: int) -> Moment:
        """What holds at the step that comes next. Raises: ValueError for a log that was changed behind what is planned."""
        entries = self.log.until(step)  # read once: another process may append meanwhile
        if self.state.log != _digest_before(step, entries):
            raise ValueError(
                f"{self.log.path}: its entries for steps before {step} are not those that these steps were planned with; "
                f"entries are only appended, for step {step} or later: remove the line that came too late, and run again"
            )
        progress = step / self.stage.steps
        weights = weights_of(entries) or weights_at(self.stage.mixture, progress)
        return Moment(weights, patch_limit(self.stage, progress), exclusions_of(entries), digest_of(entries))

    def agrees(self, step: int) -> bool:
        """Whether all steps before this one, which comes next, were planned with the entries that the log has for them now."""
        return self.state.log == _digest_before(step, self.log.until(step))

    def _filled(self, now: Moment) -> list[list[Planned]]:
        """The next packs: one, or all of a step where they are filled together."""
        packing, waiting = packing_of(self.stage), 0
        line: list[tuple[Place, Planned]] = []  # all that could be in these packs, in the order in which it was drawn
        for place in self.state.waiting:
            if pieces := self._pieces(*place[:2], now):
                self._check_budget(pieces[place[2]])  # the resolution may have risen since it was drawn
                line.append((place, pieces[place[2]]))
                waiting += not packing.take(line[-1][1])
        while True:
            place, piece = self._next(now)
            if not packing.take(piece):
                if waiting >= self.stage.look_ahead:  # more wait where a rising resolution made them larger
                    break
                waiting += 1
            line.append((place, piece))
            self._advance(place, piece.tokens, piece.parts, now)
        packs = packing.done(piece)
        packed = {id(each) for pack in packs for each in pack}
        self.state.waiting = [place for place, each in line if id(each) not in packed]
        return packs

    def _next(self, now: Moment) -> tuple[Place, Planned]:
        """The piece that comes next. Samples that the log leaves out are passed over."""
        name = Mixture(self.state.credits).next_source(now.weights)
        for _ in range(len(self._source(name)) + 1):
            number = self.state.drawn.get(name, 0)
            if pieces := self._pieces(name, number, now):
                part = self.state.parts_used.get(name, 0)
                self._check_budget(pieces[part])
                return (name, number, part), pieces[part]
            self.state.drawn[name], self.state.parts_used[name] = number + 1, 0
        raise ValueError(f"{self.log.path}: every sample of the source {name} is left out; give it the weight 0 instead")

    def _advance(self, place: Place, tokens: int, parts: int, now: Moment) -> None:
        """Books a piece that was drawn."""
        name, number, part = place
        mixture = Mixture(self.state.credits)
        mixture.settle(name, tokens if self.stage.shares == "tokens" else 1 / parts, now.weights)
        self.state.credits = mixture.credits
        is_last = part + 1 == parts
        self.state.drawn[name] = number + is_last
        self.state.parts_used[name] = 0 if is_last else part + 1

    def _source(self, name: str) -> Source:
        try:
            return self.sources[name]
        except KeyError:
            known = ", ".join(self.sources)
            raise ValueError(f"{self.log.path} names the source {name}, which is not open; there are {known}") from None

    def _pieces(self, name: str, number: int, now: Moment) -> list[Planned]:
        """The parts of a source's `number`-th sample; none if the log leaves it out."""
        return self._planned.get((name, number, now.limit, now.log), lambda: self._made(name, number, now))

    def _made(self, name: str, number: int, now: Moment) -> list[Planned]:
        source = self._source(name)
        row = source.row(number, self.seed, self.stage.name)
        sample = source[row]
        if is_excluded(sample, now.excluded.get((name, sample.id))):
            return []
        length = None if name in self.stage.augment else self._length(name, row)  # augmented texts may change
        with naming(name, sample):
            changed = seen(sample, self.stage, name, self.seed, number // len(source))
        first, *others = planned_pieces(
            changed.sample, name, number, self.renderer, self.stage.context, now.limit, length
        )  # fmt: skip
        return [replace(first, refusals=changed.refusals), *others]

    def _length(self, name: str, row: int) -> Length | None:
        """What was counted of a row before; None if nothing was."""
        if name not in self._lengths:
            self._lengths[name] = lengths_of(self.sources[name], self.renderer.processor.tokenizer)
        table = self._lengths[name]
        return None if table is None else Length(*table[row].item())

    def _check_budget(self, piece: Planned) -> None:
        if piece.patches > self.stage.pack_patches:
            raise ValueError(
                f"sample {piece.sample.id} has {piece.patches} patches but stage {self.stage.name} packs at most "
                f"{self.stage.pack_patches}: raise pack_patches, or limit the resolution"
            )


def seen(sample: Sample, stage: StageConfig, source: str, seed: int, epoch: int) -> Augmented:
    """A sample of a source as a stage sees it in an epoch of that source. Raises: as of `augmented`."""
    settings = stage.augment.get(source)
    if settings is None:
        return Augmented(sample, None, "")
    key = key_of(seed, "augment", stage.name, source, sample.id, epoch)
    return augmented(sample, settings, np.random.Generator(np.random.Philox(key=key)))


def patch_limit(stage: StageConfig, progress: float) -> int | None:
    """The progressive resolution's limit on an image's patches at a moment of the stage; None without one."""
    limits = [point.patches for point in stage.resolution if point.at <= progress]
    return limits[-1] if limits else None


def is_excluded(sample: Sample, exclusion: Exclusion | None) -> bool:
    """Whether a sample is left out: its originals are still those that the exclusion is about."""
    if exclusion is None:
        return False
    return set(exclusion.versions) <= set(versions(sample.images)) and set(exclusion.sha256) <= set(digests(sample.images))


def _digest_before(step: int, entries: Sequence[Entry]) -> str:
    return digest_of([entry for entry in entries if entry.step < step])


def _held(pieces: Sequence[Planned]) -> int:
    return held(sum(piece.tokens for piece in pieces))


def _digest(before: str, pack: Sequence[Planned]) -> str:
    """Of all packs up to this one: samples, their tokens and what is learned of them, sizes and changes of pictures."""
    digest = hashlib.blake2b(before.encode(), digest_size=16)
    for piece in pack:
        changes = [part.change for part in piece.sample.images]
        what = (piece.source, piece.sample.id, piece.part, piece.tokens, *piece.length, piece.grids, changes)
        digest.update(repr(what).encode())
    return digest.hexdigest()
