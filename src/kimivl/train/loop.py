"""The loop of every stage that trains: a step, its line in the metrics, now and then a checkpoint.

What it is: `train`, resumable after a kill at any moment, and `Steps`, what it asks of a trainer.
What it is not: what a step does (`trainer.py`, `policy_trainer.py`, `preference_trainer.py`), or the order of stages (`run.py`).
"""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from kimivl.config.recipe import StageConfig
from kimivl.optim.muon import MuonAdamW
from kimivl.train.checkpoint import CheckpointError, Progress, load_checkpoint, save_checkpoint
from kimivl.train.metrics import MetricsFile

Watch = Callable[[int, dict[str, Any]], dict[str, Any]]  # (step, its metrics) → further metrics


class Steps(Protocol):
    """A trainer, step by step.

    `watch`: called after every step; what it returns is added to the step's metrics (progress bars, held-out losses).
    `lines`: names of the JSONL files that `step` writes a line to, the metrics first.
    """

    stage: StageConfig
    folder: Path
    watch: Watch
    lines: tuple[str, ...]

    @property
    def model(self) -> nn.Module: ...

    @property
    def optimizer(self) -> MuonAdamW: ...

    def state(self) -> dict[str, Any]:
        """Plain values: all that decides what the next step meets."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes on from what `state` gave."""

    def step(self, step: int, /) -> tuple[dict[str, Any], ...]:
        """One update or iteration; a line for each of `lines`."""


def train(trainer: Steps) -> Progress:
    """Trains up to the stage's last step, from the checkpoint if there is one.

    Raises: OSError naming a file that cannot be written; CheckpointError for a checkpoint of another model, and where a step that
        is made again reads other data than before the interruption; whatever a step raises. The last checkpoint stays.
    """
    checkpoint, stage, started = trainer.folder / "checkpoint", trainer.stage, time.perf_counter()
    progress = load_checkpoint(checkpoint, trainer.model, trainer.optimizer) or Progress(0, 0.0, trainer.state())
    trainer.load_state(progress.state)
    started -= progress.seconds
    with ExitStack() as opened:
        files = [MetricsFile(trainer.folder / f"{name}.jsonl", progress.step) for name in trainer.lines]
        for file in files:
            opened.callback(file.close)
        while progress.step < stage.steps:
            metrics, *others = trainer.step(progress.step)
            _check_same_data(files[0], {"step": progress.step, **metrics}, stage)
            metrics |= trainer.watch(progress.step, metrics)
            for file, values in zip(files, (metrics, *others), strict=True):
                file.write({"step": progress.step, **values})
            progress.step += 1
            progress.seconds, progress.state = time.perf_counter() - started, trainer.state()
            # The last one too: what comes after training, writing the model, can fail on a full disk.
            if progress.step % stage.checkpoint_every == 0 or progress.step == stage.steps:
                save_checkpoint(checkpoint, trainer.model, trainer.optimizer, progress)
    return progress


def _check_same_data(file: MetricsFile, now: Mapping[str, Any], stage: StageConfig) -> None:
    """A step that is made again must have read the same as before the interruption."""
    digests = file.interrupted.get(now["step"], {}).get("data_digest"), now.get("data_digest")
    if None not in digests and digests[0] != digests[1]:
        raise CheckpointError(
            f"stage {stage.name}, step {now['step']}: it reads other data than before the run was interrupted, so a source has "
            "changed since; restore it, or choose another --name"
        )
