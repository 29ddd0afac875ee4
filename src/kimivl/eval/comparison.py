"""Muon against AdamW: the same short stage, the same data and the same start, each optimizer at several learning rates.

What it is: `short_stage`, a stage cut down to a budget, `measure_training`, one such run, and `best_of`.
What it is not: a tuning of either; both get the same rates, the same weight decay and the same schedule.
The rate is chosen by the training loss over the last tenth of the steps, and the held-out loss of that run is reported, so
that nothing is chosen by what is reported.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from kimivl.config.evaluation import ComparisonConfig
from kimivl.config.recipe import PhaseConfig, StageConfig
from kimivl.data.loader import Loader
from kimivl.eval.parts import Result
from kimivl.eval.progress import Advance
from kimivl.eval.text_loss import text_loss, text_packs
from kimivl.processor.processor import Processor
from kimivl.train.metrics import read_metrics
from kimivl.train.run import Run
from kimivl.train.trainer import Trainer

OptimizerKind = Literal["muon", "adamw"]
KINDS: tuple[OptimizerKind, ...] = ("muon", "adamw")
TAIL = 0.1  # share of the steps whose training loss decides


def short_stage(stage: StageConfig, settings: ComparisonConfig, kind: OptimizerKind, rate: float) -> StageConfig:
    """The stage in `settings.steps` steps: its mixture and its first two phases (warm-up and decay) are squeezed into them,
    and its rates scaled so that `rate` is the highest."""
    phases = stage.schedule[:2]
    total, peak = sum(phase.steps for phase in phases), max(max(phase.start, phase.end) for phase in phases)
    bounds = [0, *(max(1, round(settings.steps * sum(p.steps for p in phases[: i + 1]) / total)) for i in range(len(phases)))]
    schedule = tuple(
        PhaseConfig(steps=max(1, end - start), start=phase.start * rate / peak, end=phase.end * rate / peak, shape=phase.shape)
        for phase, start, end in zip(phases, bounds, bounds[1:])
    )
    changes: dict[str, Any] = {"steps": settings.steps, "schedule": schedule, "schedule_start": 0}
    return stage.model_copy(update=changes | {"optimizer": stage.optimizer.model_copy(update={"kind": kind})})


def measure_training(run: Run, stage: StageConfig, processor: Processor, advance: Advance) -> Result:
    """Trains the stage in a temporary folder.

    Returns: `loss` (on the held-out text that is followed in training) and `train_loss` (mean over the last tenth of the steps),
        both None if the loss was no longer finite, and `seconds`.
    """
    task = run.task(stage, processor)
    loader = Loader(stage, run.sources(stage), processor, run.recipe.seed)

    def watch(step: int, metrics: dict[str, Any]) -> dict[str, Any]:
        advance(1)
        return {}

    with tempfile.TemporaryDirectory() as folder:
        try:
            progress = Trainer(stage, task, loader, Path(folder), watch).run()
        except FloatingPointError:
            return {"loss": None, "train_loss": None, "seconds": None}
        steps = read_metrics(Path(folder) / "metrics.jsonl")
    tail = steps[-max(1, round(TAIL * len(steps))) :]
    assert run.recipe.held_out_text is not None  # the caller's check
    held_out = text_loss(task.model, text_packs(run.recipe, processor, run.recipe.held_out_text.samples))
    return {"loss": held_out["loss"], "train_loss": fmean(line["loss"] for line in tail), "seconds": round(progress.seconds, 1)}


def best_of(trials: Sequence[Result]) -> Result:
    """For each optimizer the trial with the lowest training loss, and `all` trials."""
    finite = [trial for trial in trials if trial["train_loss"] is not None]
    best = {kind: min((t for t in finite if t["kind"] == kind), key=lambda t: t["train_loss"], default=None) for kind in KINDS}
    return {kind: trial and {"loss": trial["loss"], "lr": trial["lr"]} for kind, trial in best.items()} | {"all": list(trials)}
