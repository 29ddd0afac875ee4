"""Learning rate over the steps: a chain of phases, as recipes write them.

What it is: plain numbers, no torch. What it is not: a torch scheduler; the trainer asks `lr(step)` and calls `MuonAdamW.set_lr`.
The chains that the papers publish stand in `recipes/a3b/`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Shape = Literal["linear", "cosine"]


@dataclass(frozen=True)
class Phase:
    """`steps` updates on the way from the learning rate `start` to `end`.

    Raises: ValueError for less than one step, or a rate that is not finite and ≥ 0.
    """

    steps: int
    start: float
    end: float
    shape: Shape = "linear"

    def __post_init__(self) -> None:
        if self.steps < 1 or not all(0 <= rate < math.inf for rate in (self.start, self.end)):
            raise ValueError(f"{self}: a phase has at least one step, and learning rates that are finite and ≥ 0")

    def lr(self, step: int) -> float:
        """The rate after `step` updates of this phase, 0 ≤ step ≤ steps: `start` at 0, `end` at `steps`."""
        done = step / self.steps
        if self.shape == "cosine":
            done = (1 - math.cos(math.pi * done)) / 2
        # This form gives `start` and `end` exactly, with no rounding.
        return self.start * (1 - done) + self.end * done


class Schedule:
    """Phases one after the other.

    Args:
        phases: at least one. Where a phase does not start at the rate on which the one before ended, the rate jumps.
    Raises: ValueError for no phases.
    """

    def __init__(self, phases: Iterable[Phase]) -> None:
        self.phases = tuple(phases)
        if not self.phases:
            raise ValueError("a learning-rate schedule needs at least one phase")
        self.total_steps = sum(phase.steps for phase in self.phases)

    def lr(self, step: int) -> float:
        """The rate for the update number `step`, counted from 0; past the end, the last phase's `end`.

        Raises: ValueError for a negative step.
        """
        if step < 0:
            raise ValueError(f"step is {step}; steps are counted from 0")
        for phase in self.phases:
            if step < phase.steps:
                return phase.lr(step)
            step -= phase.steps
        return self.phases[-1].end
