"""The packs of any step of a stage, as the trainer plans them.

What it is: `Packing`, which has the trainer's own planner (`data/plan.py`) plan step after step, keeps a state every few steps
to go back to, and says of each segment which row it is.
What it is not: the arrays of a pack: no picture is decoded here.
"""

import copy
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from kimivl.config.recipe import StageConfig
from kimivl.data.log import DataLog
from kimivl.data.pieces import Planned
from kimivl.data.plan import Planner, PlanState
from kimivl.data.source import Source
from kimivl.processor.processor import Processor

EVERY = 10  # steps between two states that are kept
KEPT = 64  # steps whose packs are kept


@dataclass(frozen=True)
class Segment:
    """One sample, or a part of a long document, in a pack. `epoch`: of its source. `learned`: tokens that count in the loss."""

    source: str
    sample_id: str
    row: int
    epoch: int
    tokens: int
    learned: int
    patches: int


@dataclass(frozen=True)
class Step:
    """`digest`: of all that was packed up to this step's end, as `data_digest` in metrics.jsonl. `weights`: that hold now."""

    number: int
    packs: list[list[Segment]]
    digest: str
    weights: dict[str, float]


class Packing:
    """The steps of a stage that trains on packs.

    Args:
        sources: by name, all that the stage's mixture and the log name.
        seed: the recipe's.
        log: what was changed since the stage began; the run may go on meanwhile.
    """

    def __init__(
        self, stage: StageConfig, sources: Mapping[str, Source], processor: Processor, seed: int, log: DataLog | None = None
    ):  # fmt: skip
        self.stage, self.sources, self.seed = stage, sources, seed
        self._log = log or DataLog()
        self._planner = Planner(stage, sources, processor, seed, self._log)
        self._steps: OrderedDict[int, Step] = OrderedDict()
        self._lock = threading.Lock()
        self._begin_anew()

    def step(self, number: int, seconds: float) -> Step | int:
        """The step, or, where planning up to it takes longer than `seconds`, the step that was reached: ask again.

        Raises: ValueError naming a sample that fits no pack; ImageError naming a picture that cannot be read.
        """
        deadline = time.monotonic() + seconds
        with self._lock:
            if self._entries != self._log.until(self.stage.steps):
                self._begin_anew()
            if number not in self._steps:
                self._begin_before(number)
            while number not in self._steps:
                self._plan()
                if time.monotonic() > deadline and number not in self._steps:
                    return self._next
            self._steps.move_to_end(number)
            return self._steps[number]

    def _begin_anew(self) -> None:
        self._entries = self._log.until(self.stage.steps)
        self._next, self._states = 0, {0: PlanState()}
        self._planner.state = PlanState()
        self._steps.clear()

    def _begin_before(self, number: int) -> None:
        """Goes on from where the plan stands, or from the nearest state before the step."""
        near = max(start for start in self._states if start <= number)
        if not near <= self._next <= number:
            self._next, self._planner.state = near, copy.deepcopy(self._states[near])

    def _plan(self) -> None:
        number = self._next
        if number % EVERY == 0:
            self._states[number] = copy.deepcopy(self._planner.state)
        try:
            weights = self._planner.moment(number).weights
            packs = self._planner.packs(number)
        except Exception:
            self._next = -1  # the plan stands inside a step: begin from a state that was kept
            raise
        self._steps[number] = Step(
            number, [[self._segment(piece) for piece in pack] for pack in packs], self._planner.state.digest, weights
        )
        self._next = number + 1
        if len(self._steps) > KEPT:
            self._steps.popitem(last=False)

    def _segment(self, piece: Planned) -> Segment:
        source = self.sources[piece.source]
        row, epoch = source.row(piece.number, self.seed, self.stage.name), piece.number // len(source)
        learned = int(self._planner.renderer.tokens(piece, self.stage.context).supervised.sum())
        return Segment(piece.source, piece.sample.id, row, epoch, piece.tokens, learned, piece.patches)
