"""The packs of each step as arrays, exactly resumable, with pictures decoded in other processes ahead of time.

What it is: `Loader`, which has the packs planned (`plan.py`) and fills them. What a pack holds is decided by the plan alone:
ranks share the packs of a step, and neither their number nor that of the processes changes a sample's place.
What it is not: the choice of samples or their packing.
"""

import copy
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kimivl.config.recipe import StageConfig
from kimivl.data.augment.refusals import summed
from kimivl.data.batch import PackedBatch, packed
from kimivl.data.log import DataLog, Entry, Exclusion
from kimivl.data.pieces import DamagedSample, Planned, Renderer, damaged, digests, planned_pieces, versions
from kimivl.data.plan import Planner, PlanState
from kimivl.data.source import Source
from kimivl.data.workers import WorkerPool, empty_patches
from kimivl.processor.pictures import Undecodable, decode
from kimivl.processor.processor import Processor
from kimivl.processor.stored import Fetch

Damaged = Literal["stop", "quarantine"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Pack:
    """A planned pack, and its patches if a worker decodes them."""

    planned: Sequence[Planned]
    patches: "Future[np.ndarray] | None"


@dataclass(frozen=True)
class _Step:
    """A planned step, and where the plan stands behind it."""

    number: int
    packs: list[_Pack]
    state: PlanState
    refused: dict[str, int]


class Loader:
    """The packs of a stage.

    Args:
        sources, seed, log: as of `Planner`.
        rank, ranks: of a step's packs this rank has those numbered rank, rank + ranks, …
        workers: processes that decode pictures while earlier packs are used; 0 decodes when a pack is asked for.
        fetch: gets the bytes of pictures that lie in a store.
        damaged: what is done about a sample whose pictures cannot be used, because an original is torn, missing, replaced or
            other than it was indexed: "stop", or "quarantine", which writes it into the log and goes on without it. A fault of
            the store or of the disk that it lies on always stops.
    Raises: ValueError for a rank that is none of the ranks, and for less than no worker.
    Attributes:
        state: what a checkpoint keeps; that of the last step that was handed out, the same on all ranks.
        refused: where augmentation gave way in that step, as of `summed`; the same on all ranks.
        pool: the workers, if there are any.
    """

    def __init__(
        self, stage: StageConfig, sources: Mapping[str, Source], processor: Processor, seed: int, rank: int = 0, ranks: int = 1,
        workers: int = 0, log: DataLog | None = None, fetch: Fetch | None = None, damaged: Damaged = "stop",
    ):  # fmt: skip
        if not 0 <= rank < ranks or workers < 0:
            raise ValueError(f"a loader is one of its ranks and has 0 or more workers: rank {rank} of {ranks}, {workers}")
        self.stage, self.rank, self.ranks, self.workers = stage, rank, ranks, workers
        self.log, self.fetch, self.damaged = log or DataLog(), fetch, damaged
        self.planner = Planner(stage, sources, processor, seed, self.log)
        self._state, self.refused = PlanState(), dict[str, int]()
        self._planned: deque[_Step] = deque()
        self.pool = WorkerPool(workers, processor.image_processor, fetch) if workers else None

    @property
    def state(self) -> PlanState:
        return self._state

    @state.setter
    def state(self, state: PlanState) -> None:
        """Goes on from there; what was planned ahead is forgotten."""
        self._state, self.planner.state = state, copy.deepcopy(state)
        self._forget()

    def close(self) -> None:
        """Ends the workers."""
        self._forget()
        if self.pool:
            self.pool.close()

    def _forget(self) -> None:
        for patches in (each.patches for step in self._planned for each in step.packs):
            if patches is not None:
                patches.cancel()
        self._planned.clear()

    def packs(self, step: int) -> list[PackedBatch]:
        """This rank's packs of step `step`; steps must be asked for in order, from the one that `state` belongs to.

        Raises: ValueError as of `Planner.packs`; DamagedSample naming a picture that cannot be used.
        """
        while True:
            try:
                return self._packs(step)
            except DamagedSample as damage:
                if self.damaged == "stop":
                    raise
                self._quarantine(step, damage)

    def _packs(self, step: int) -> list[PackedBatch]:
        if self._planned and self._planned[0].number != step:
            raise ValueError(f"step {self._planned[0].number} comes next, step {step} was asked for: set the state of that step")
        if self._planned and not self.planner.agrees(self._planned[-1].number + 1):
            self.state = self._state  # an entry has come for a step that is planned and not handed out: plan anew from here
        first = self._planned[-1].number + 1 if self._planned else step
        last = max(step, min(step + self._ahead, self.stage.steps - 1))
        for number in range(first, last + 1):
            self._planned.append(self._plan(number))
        packs = [self._filled(pack) for pack in self._planned[0].packs]
        made = self._planned.popleft()
        self._state, self.refused = made.state, made.refused
        return packs

    def _quarantine(self, step: int, damage: DamagedSample) -> None:
        """Leaves the sample out from `step` on, and forgets what was planned with it."""
        logger.warning("%s; it is left out from step %d on", damage, step)
        sample, pictures = damage.sample, damage.sample.images
        excluded = Exclusion(
            source=damage.source, id=sample.id, versions=versions(pictures), sha256=digests(pictures), reason=damage.cause
        )  # fmt: skip
        self.log.append(Entry(step=step, excluded=excluded))
        if self.ranks > 1:  # the others have planned with it
            raise damage
        self.state = self._state

    def _plan(self, step: int) -> _Step:
        packs = self.planner.packs(step)
        own = [_Pack(planned, self._patches(planned)) for planned in packs[self.rank :: self.ranks]]
        refused = summed((piece.source, refusal) for pack in packs for piece in pack for refusal in piece.refusals)
        return _Step(step, own, copy.deepcopy(self.planner.state), refused)

    @property
    def _ahead(self) -> int:
        """Steps that are planned ahead: two packs for each worker, one that it decodes and one that is ready."""
        return -(-2 * self.workers // max(1, self.stage.packs // self.ranks))

    def _patches(self, planned: Sequence[Planned]) -> "Future[np.ndarray] | None":
        if self.pool is None:
            return None
        return self.pool.submit([piece.wanted for piece in planned], [piece.sample.id for piece in planned])

    def _filled(self, pack: _Pack) -> PackedBatch:
        renderer, context = self.planner.renderer, self.stage.context
        if pack.patches is None:
            return fill(pack.planned, renderer, context, self.fetch)
        try:
            return _with_patches(pack.planned, pack.patches.result(), renderer, context)
        except Undecodable as error:
            piece = pack.planned[error.index]
            raise damaged(piece.source, piece.sample, error.cause) from error


def fill(planned: Sequence[Planned], renderer: Renderer, context: int, fetch: Fetch | None = None) -> PackedBatch:
    """The arrays of a pack: a function of its plan alone. Raises: DamagedSample; ValueError as of `Renderer.tokens`."""
    wanted, images = [piece.wanted for piece in planned], renderer.processor.image_processor
    patches = empty_patches(wanted, images)
    try:
        decode(wanted, images, patches, fetch)
    except Undecodable as error:
        piece = planned[error.index]
        raise damaged(piece.source, piece.sample, error.cause) from error
    return _with_patches(planned, patches, renderer, context)


def _with_patches(planned: Sequence[Planned], patches: np.ndarray, renderer: Renderer, context: int) -> PackedBatch:
    tokens = [renderer.tokens(piece, context) for piece in planned]
    return packed(tokens, patches, [grid for piece in planned for grid in piece.grids])


def held_out_packs(source: Source, processor: Processor, context: int, pack_tokens: int, limit: int) -> list[PackedBatch]:
    """The first `limit` samples of a held-out source in file order, packed; for following a loss, never for training."""
    renderer, packs, tokens = Renderer(processor), list[list[Planned]](), pack_tokens
    for row in range(min(limit, len(source))):
        for piece in planned_pieces(source[row], source.name, row, renderer, context, None):
            if tokens + piece.tokens > pack_tokens:
                packs.append([])
                tokens = 0
            packs[-1].append(piece)
            tokens += piece.tokens
    return [fill(planned, renderer, context) for planned in packs]
