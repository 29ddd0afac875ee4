"""Learning rate over the steps: a chain of phases, and the two chains that the papers publish.

What it is: plain numbers, no torch. What it is not: a torch scheduler; the trainer asks `lr(step)` and calls `MuonAdamW.set_lr`.
Facts: Moonlight §3 (warm-up 0 → 4.2e-4 over 2k steps, cosine to a tenth, cooldown: up to 1e-4 in 100 steps, then linear to 0);
paper §2.4 for fine-tuning (2e-5 → 2e-6 at 32K, up to 1e-5, down to 1e-6 at 128K). The shape of the fine-tuning decays is not
published; we take the cosine of the pre-training.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

Shape = Literal["linear", "cosine"]


@dataclass(frozen=True)
class Phase:
    """`steps` updates on the way from the learning rate `start` to `end`.

    Raises: ValueError for anything that is not a whole number of steps ≥ 1, two finite rates ≥ 0 and a known shape.
    """

    steps: int
    start: float
    end: float
    shape: Shape = "linear"

    def __post_init__(self) -> None:
        if not isinstance(self.steps, int) or isinstance(self.steps, bool) or self.steps < 1:
            raise ValueError(f"steps is {self.steps!r}; a phase has a whole number of steps ≥ 1")
        for name, rate in (("start", self.start), ("end", self.end)):
            if isinstance(rate, str):
                raise ValueError(f"{name} is the text {rate!r}; YAML reads 2e-5 as text, write 2.0e-5")
            if not isinstance(rate, (int, float)) or not 0 <= rate < math.inf:
                raise ValueError(f"{name} is {rate!r}; a learning rate is a finite number ≥ 0")
        if self.shape not in ("linear", "cosine"):
            raise ValueError(f"shape is {self.shape!r}; it must be 'linear' or 'cosine'")

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

    @classmethod
    def from_config(cls, phases: Iterable[Mapping[str, Any]]) -> "Schedule":
        """From the plain dicts of a recipe, each with the fields of `Phase`.

        Raises: ValueError that names the phase (counted from 0) and the key.
        """
        return cls(_phase_from_config(values, f"phase {i}") for i, values in enumerate(phases))

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


def moonlight(
    peak: float,
    warmup_steps: int,
    decay_steps: int,
    cooldown_steps: int = 0,
    ramp_steps: int = 100,
    cooldown_peak: float | None = None,
) -> Schedule:
    """Moonlight's pre-training: linear from 0 to `peak`, cosine to a tenth of it, then the cooldown.

    Args:
        cooldown_steps: the whole cooldown, its ramp included; 0 stops before it, as Kimi-VL's starting checkpoint did.
        ramp_steps: how many of them lead up to `cooldown_peak`; the rest goes linearly to 0.
        cooldown_peak: by default peak · 1e-4 / 4.2e-4, the paper's proportion.
    """
    phases = [Phase(warmup_steps, 0.0, peak), Phase(decay_steps, peak, peak / 10, "cosine")]
    if cooldown_steps:
        _check_part(ramp_steps, cooldown_steps, "ramp_steps", "cooldown_steps")
        top = peak * 1e-4 / 4.2e-4 if cooldown_peak is None else cooldown_peak
        phases += [Phase(ramp_steps, peak / 10, top), Phase(cooldown_steps - ramp_steps, top, 0.0)]
    return Schedule(phases)


def sft_two_phase(first_steps: int, second_steps: int, rewarm_steps: int, peak: float = 2e-5) -> Schedule:
    """The paper's fine-tuning: one epoch of short and one of long sequences, each with its own decay.

    Args:
        first_steps: `peak` → peak / 10.
        second_steps: the whole second epoch: `rewarm_steps` linearly up to peak / 2, then down to peak / 20.
    """
    _check_part(rewarm_steps, second_steps, "rewarm_steps", "second_steps")
    return Schedule(
        [
            Phase(first_steps, peak, peak / 10, "cosine"),
            Phase(rewarm_steps, peak / 10, peak / 2),
            Phase(second_steps - rewarm_steps, peak / 2, peak / 20, "cosine"),
        ]
    )


def _check_part(part: int, whole: int, part_name: str, whole_name: str) -> None:
    if part >= whole:
        raise ValueError(f"{part_name} is {part}, but it is a part of {whole_name}, which is {whole}; make it smaller")


def _phase_from_config(values: Mapping[str, Any], where: str) -> Phase:
    known = [field.name for field in fields(Phase)]
    unknown = [key for key in values if key not in known]
    missing = [key for key in known if key not in values and key != "shape"]
    if unknown or missing:
        fault = f"unknown key {unknown[0]!r}" if unknown else f"the key {missing[0]!r} is missing"
        raise ValueError(f"{where}: {fault}; a phase has the keys {', '.join(known)}")
    try:
        return Phase(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
