"""What a finished run is: parameters, tokens, minutes, machine. Nothing here runs the model.

Facts: parameter counts come from the model's shape on the meta device; times from the trainer's own clock, which runs from the
stage's first step to its last: making data, updates, following the held-out text, checkpoints.
"""

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import torch

from kimivl import __version__
from kimivl.config.model import ModelConfig
from kimivl.config.recipe import StageConfig
from kimivl.eval.curves import metrics_of
from kimivl.eval.parts import Result
from kimivl.model.kimi_vl import KimiVL
from kimivl.train.run import Run

PACKAGES = ("torch", "numpy", "pillow", "tiktoken")


def parameter_counts(config: ModelConfig) -> dict[str, int]:
    """`total`, its parts `vision`, `projector` and `language`, and `active`: what one token uses.

    As in published counts, the routers' balance biases are among them. `active` leaves out the experts that a token is not sent
    to; the embedding table counts in full, as it does in `total`.
    """
    with torch.device("meta"):
        model = KimiVL(config)
    sizes = {name: tensor.numel() for name, tensor in model.state_dict().items()}

    def under(prefix: str) -> int:
        return sum(size for name, size in sizes.items() if name.startswith(prefix))

    text = config.text_config
    experts = sum(size for name, size in sizes.items() if ".mlp.experts." in name)
    idle = experts * (text.n_routed_experts - text.num_experts_per_tok) // text.n_routed_experts
    total = sum(sizes.values())
    return {
        "total": total,
        "active": total - idle,
        "vision": under("vision_tower."),
        "projector": under("multi_modal_projector."),
        "language": under("language_model."),
    }


def stage_facts(run: Run, stage: StageConfig) -> Result:
    """A finished stage: minutes, steps, tokens (those of pictures included), patches, tokens per second, last loss.

    Tokens and patches are what its updates read: 0 where it does not train, and in `dpo` stages, which do not count them.
    """
    finished = run.finished(stage)
    steps = metrics_of(run, stage)
    tokens, patches = (sum(step.get(key, 0) for step in steps) for key in ("tokens", "patches"))
    losses = [step["loss"] for step in steps if "loss" in step]
    return {
        "kind": stage.kind,
        "minutes": finished["seconds"] / 60,
        "steps": finished["steps"],
        "tokens": tokens,
        "patches": patches,
        "tokens_per_second": tokens / finished["seconds"],
        "context": stage.context,
        "loss": losses[-1] if losses else None,
    }


def run_facts(run: Run) -> Result:
    """All that is known of a finished run before anything is measured.

    Minutes are told apart: those of learning to think (stages whose thinking is compared, and all behind the model that chats),
    and the others.
    """
    stages = {stage.name: stage_facts(run, stage) for stage in run.recipe.stages}
    names = list(stages)
    compared = run.recipe.evaluation.thinking
    thinking = {*names[names.index(run.recipe.answering) + 1 :], *(compared.arms.values() if compared else ())}
    return {
        "name": run.recipe.name,
        "seed": run.recipe.seed,
        "train_minutes": sum(stage["minutes"] for name, stage in stages.items() if name not in thinking),
        "think_minutes": sum(stage["minutes"] for name, stage in stages.items() if name in thinking),
        "parameters": parameter_counts(run.recipe.model_config_),
        "totals": {key: sum(stage[key] for stage in stages.values()) for key in ("steps", "tokens", "patches")},
        "stages": stages,
        "machine": machine(run.dtype),
    }


def machine(dtype: torch.dtype) -> Mapping[str, Any]:
    """Where the run was made."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "processor": _processor_name(),
        "dtype": str(dtype).removeprefix("torch."),
        "python": platform.python_version(),
        "versions": {"kimivl": __version__} | {name: metadata.version(name) for name in PACKAGES},
    }


def _processor_name() -> str:
    """The processor's own name where Linux tells it, else its architecture."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()
