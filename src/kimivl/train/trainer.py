"""The step of all stages that learn from packs: losses → gradients → update → balance rule → metrics.

What it is: `Trainer`, and what other trainers share with it: optimizer and checks.
What it is not: a stage's loss (`stages/`), the loop over steps (`loop.py`), or the arithmetic of the update (`optim/`).
Why sums: a pack's loss is divided by the weight of the whole step before its backward, so gradients of packs simply add up.
"""

import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kimivl.config.recipe import OptimizerConfig, StageConfig
from kimivl.data.batch import PackedBatch
from kimivl.data.loader import Loader
from kimivl.data.plan import PlanState
from kimivl.model.kimi_vl import KimiVL
from kimivl.model.moe import Router, update_balance_bias
from kimivl.optim.groups import all_adamw, param_specs
from kimivl.optim.muon import MuonAdamW
from kimivl.optim.schedule import Phase, Schedule
from kimivl.train.checkpoint import Progress
from kimivl.train.loop import Watch, train
from kimivl.train.stages.task import PackLoss, StepTotals, Task

MEASURE_EVERY = 20  # steps between measurements of the updates' size


class Trainer:
    """Trains one stage in its folder.

    Raises: FloatingPointError if a loss or a gradient is not finite, naming step and samples; the last checkpoint stays.
    """

    lines: tuple[str, ...] = ("metrics",)

    def __init__(self, stage: StageConfig, task: Task, loader: Loader, folder: Path, watch: Watch = lambda step, metrics: {}):
        self.stage, self.task, self.loader, self.folder, self.watch = stage, task, loader, folder, watch
        self.model = task.model
        self.routers = [module for module in task.model.modules() if isinstance(module, Router)]
        self.schedule = Schedule(Phase(**phase.model_dump()) for phase in stage.schedule)
        self.optimizer = make_optimizer(task.model, task.trained, stage.optimizer)

    def run(self) -> Progress:
        """Trains up to the stage's last step, from the checkpoint if there is one."""
        return train(self)

    def state(self) -> dict[str, Any]:
        """Where the data stream stands."""
        return asdict(self.loader.state)

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes on from what `state` gave."""
        self.loader.state = PlanState(**state)

    def step(self, step: int) -> tuple[dict[str, Any]]:
        """One update."""
        start = time.perf_counter()
        packs = self.loader.packs(step)
        metrics = self._update(step, packs)
        tokens, patches = sum(len(pack.ids_T) for pack in packs), sum(len(pack.patches_P) for pack in packs)
        read = {"tokens": tokens, "patches": patches, "data_digest": self.loader.state.digest}
        read |= {"augment_refused": self.loader.refused} if self.loader.refused else {}
        return (metrics | read | {"seconds": time.perf_counter() - start},)

    def _update(self, step: int, packs: list[PackedBatch]) -> dict[str, Any]:
        self.optimizer.zero_grad(set_to_none=True)
        totals = StepTotals.of(packs)
        losses = [self._backward(step, pack, totals) for pack in packs]

        norm = nn.utils.clip_grad_norm_(trained_parameters(self.optimizer), self.stage.optimizer.max_grad_norm)
        check_finite("gradient norm", float(norm), self.stage.name, step, _sample_ids(packs))
        lr = self.schedule.lr(self.stage.schedule_start + step)
        self.optimizer.set_lr(lr)
        measure = step % MEASURE_EVERY == 0
        self.optimizer.step(measure=measure)

        metrics = mean_metrics(losses) | {"lr": lr, "grad_norm": float(norm)} | self._balance(losses)
        return metrics | ({"update_rms": self.optimizer.update_rms()} if measure else {})

    def _backward(self, step: int, pack: PackedBatch, totals: StepTotals) -> PackLoss:
        result = self.task.pack_loss(pack, totals)
        check_finite("loss", result.loss.item(), self.stage.name, step, _sample_ids([pack]))
        result.loss.backward()
        return result

    def _balance(self, losses: list[PackLoss]) -> dict[str, float]:
        """Moves the routers' biases by the load of the whole step; returns how uneven the fullest layer was."""
        loads: list[Tensor] = [torch.stack(of_packs).sum(0) for of_packs in zip(*(result.load_LE for result in losses))]
        for router, load_E in zip(self.routers, loads):
            update_balance_bias(router, load_E, self.stage.balance_rate)
        return {"max_load": max(float(load.max() / load.float().mean()) for load in loads)} if loads else {}


def make_optimizer(model: KimiVL, trained: tuple[str, ...], settings: OptimizerConfig) -> MuonAdamW:
    """An optimizer over the parameters with these prefixes; the others are frozen. Newton–Schulz runs in the model's dtype."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(trained))
    specs = param_specs((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)
    specs = specs if settings.kind == "muon" else all_adamw(specs)
    return MuonAdamW(specs, lr=0.0, weight_decay=settings.weight_decay, momentum=settings.momentum, ns_dtype=model.dtype)


def trained_parameters(optimizer: MuonAdamW) -> list[nn.Parameter]:
    """All that the optimizer moves."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def check_finite(what: str, value: float, stage: str, step: int, samples: Sequence[str]) -> None:
    """Called before the update, so that no checkpoint ever holds weights that are not finite.

    Raises: FloatingPointError naming stage, step and samples.
    """
    if not math.isfinite(value):
        raise FloatingPointError(
            f"stage {stage}, step {step}: the {what} is {value}. Samples: {', '.join(samples[:5])}"
            f"{' …' if samples[5:] else ''}; lower the learning rate and run under another --name"
        )


def _sample_ids(packs: Sequence[PackedBatch]) -> list[str]:
    return [sample_id for pack in packs for sample_id in pack.sample_ids]


def mean_metrics(losses: list[PackLoss]) -> dict[str, float]:
    """Means over all packs of a step."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for result in losses:
        for name, (total, count) in result.metrics.items():
            sums[name][0] += total
            sums[name][1] += count
    return {name: total / count for name, (total, count) in sums.items() if count}
