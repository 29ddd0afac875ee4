"""The packs of each step as arrays, exactly resumable, with pictures decoded in threads ahead of time.

What it is: `Loader`, which has the packs planned (`plan.py`) and fills them. What a pack holds is decided by the plan alone:
ranks share the packs of a step, and neither their number nor that of the threads changes a sample's place.
What it is not: the choice of samples or their packing.
"""

import copy
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from kimivl.config.recipe import StageConfig
from kimivl.data.augment.refusals import summed
from kimivl.data.batch import PackedBatch, Piece, pack
from kimivl.data.log import DataLog, Entry, Exclusion
from kimivl.data.pieces import DamagedSample, Planned, Renderer, naming, planned_pieces
from kimivl.data.plan import Planner, PlanState
from kimivl.data.sample import Sample
from kimivl.data.source import Source
from kimivl.processor.processor import Processor
from kimivl.processor.stored import CorruptObject, Fetch, StoredPicture

Damaged = Literal["stop", "quarantine"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Step:
    """A planned step, and where the plan stands behind it."""

    number: int
    packs: list[Future[PackedBatch]]
    state: PlanState
    refused: dict[str, int]


class Loader:
    """The packs of a stage.

    Args:
        sources, seed, log: as of `Planner`.
        rank, ranks: of a step's packs this rank has those numbered rank, rank + ranks, …
        workers: threads that decode pictures while earlier packs are used; 0 decodes when a pack is asked for.
        fetch: gets the bytes of pictures that lie in a store.
        damaged: what is done about a sample whose pictures cannot be used: "stop", or "quarantine", which writes it into the log
            and goes on without it.
    Raises: ValueError for a rank that is none of the ranks, and for less than no thread.
    Attributes:
        state: what a checkpoint keeps; that of the last step that was handed out, the same on all ranks.
        refused: where augmentation gave way in that step, as of `summed`; the same on all ranks.
    """

    def __init__(
        self, stage: StageConfig, sources: Mapping[str, Source], processor: Processor, seed: int, rank: int = 0, ranks: int = 1,
        workers: int = 0, log: DataLog | None = None, fetch: Fetch | None = None, damaged: Damaged = "stop",
    ):  # fmt: skip
        if not 0 <= rank < ranks or workers < 0:
            raise ValueError(f"a loader is one of its ranks and has 0 or more threads: rank {rank} of {ranks}, {workers} workers")
        self.stage, self.processor, self.rank, self.ranks, self.workers = stage, processor, rank, ranks, workers
        self.log, self.fetch, self.damaged = log or DataLog(), fetch, damaged
        self.planner = Planner(stage, sources, processor, seed, self.log)
        self._state, self.refused = PlanState(), dict[str, int]()
        self._planned: deque[_Step] = deque()
        self._threads = ThreadPoolExecutor(workers, "decode") if workers else None

    @property
    def state(self) -> PlanState:
        return self._state

    @state.setter
    def state(self, state: PlanState) -> None:
        """Goes on from there; what was planned ahead is forgotten."""
        self._state, self.planner.state = state, copy.deepcopy(state)
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
        first = self._planned[-1].number + 1 if self._planned else step
        last = max(step, min(step + self.workers, self.stage.steps - 1))
        for number in range(first, last + 1):
            self._planned.append(self._plan(number))
        packs = [future.result() for future in self._planned[0].packs]
        step_made = self._planned.popleft()
        self._state, self.refused = step_made.state, step_made.refused
        return packs

    def _quarantine(self, step: int, damage: DamagedSample) -> None:
        """Leaves the sample out from `step` on, and forgets what was planned with it."""
        logger.warning("%s; it is left out from step %d on", damage, step)
        excluded = Exclusion(source=damage.source, id=damage.sample_id, versions=damage.versions, reason=damage.cause)
        self.log.append(Entry(step=step, excluded=excluded))
        if self.ranks > 1:  # the others have planned with it
            raise damage
        self.state = self._state

    def _plan(self, step: int) -> _Step:
        packs = self.planner.packs(step)
        futures = [self._filling(planned) for planned in packs[self.rank :: self.ranks]]
        refused = summed((piece.source, refusal) for pack in packs for piece in pack for refusal in piece.refusals)
        return _Step(step, futures, copy.deepcopy(self.planner.state), refused)

    def _filling(self, planned: Sequence[Planned]) -> Future[PackedBatch]:
        if self._threads:
            return self._threads.submit(fill, planned, self.planner.renderer, self.stage.context, self.fetch)
        future: Future[PackedBatch] = Future()
        future.set_result(fill(planned, self.planner.renderer, self.stage.context, self.fetch))
        return future


def fill(planned: Sequence[Planned], renderer: Renderer, context: int, fetch: Fetch | None = None) -> PackedBatch:
    """The arrays of a pack: a function of its plan alone. Raises: DamagedSample; ValueError as of `Renderer.tokens`."""
    fetch = fetch and _together(planned, fetch)
    return pack([filled(piece, renderer, context, fetch) for piece in planned])


def filled(piece: Planned, renderer: Renderer, context: int, fetch: Fetch | None) -> Piece:
    tokens = renderer.tokens(piece, context)
    with naming(piece.source, piece.sample):
        encoded = renderer.processor.filled(renderer.outline(piece), fetch)
    return Piece(tokens.source, tokens.sample_id, tokens.ids, tokens.labels, tokens.supervised, encoded.patches, encoded.grids)


def _together(planned: Sequence[Planned], fetch: Fetch) -> Fetch:
    """Gets all that the pieces need at once, so that neighbours in a store become one request."""
    pictures = [part.image for piece in planned for part in piece.sample.images]
    places = [picture.place for picture in pictures if isinstance(picture, StoredPicture)]
    try:
        contents = dict(zip(places, fetch(places)))
    except CorruptObject:
        return fetch  # one piece after the other, which tells whose it is
    return lambda wanted: [contents[place] for place in wanted]


def pieces_of(sample: Sample, source: str, processor: Processor, context: int, fetch: Fetch | None = None) -> list[Piece]:
    """One sample as it is, or the parts of a long document. Raises: ValueError as of `planned_pieces`, DamagedSample."""
    renderer = Renderer(processor)
    return [filled(piece, renderer, context, fetch) for piece in planned_pieces(sample, source, 0, renderer, context, None)]


def held_out_packs(source: Source, processor: Processor, context: int, pack_tokens: int, limit: int) -> list[PackedBatch]:
    """The first `limit` samples of a held-out source in file order, packed; for following a loss, never for training."""
    packs: list[PackedBatch] = []
    pieces: list[Piece] = []
    tokens = 0
    for row in range(min(limit, len(source))):
        sample = source[row]
        for piece in pieces_of(sample, source.name, processor, context):
            if pieces and tokens + len(piece.ids) > pack_tokens:
                packs.append(pack(pieces))
                pieces, tokens = [], 0
            pieces.append(piece)
            tokens += len(piece.ids)
    return [*packs, pack(pieces)] if pieces else packs
