"""What the trainer needs to know of a stage: a model, which of its parameters move, and the loss of a pack."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from kimivl.data.batch import PackedBatch
from kimivl.model.kimi_vl import KimiVL


@dataclass(frozen=True)
class PackLoss:
    """The loss of one pack.

    `loss` is this pack's part of the step's loss: parts are added up, over packs and ranks.
    `load_LE`: tokens per expert of each mixture layer, empty if the stage has none to balance.
    `metrics`: values to log, each (sum, count); means are taken over the step.
    """

    loss: Tensor
    load_LE: list[Tensor] = field(default_factory=list)
    metrics: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """A stage, ready to train.

    `pack_loss(batch, step_weight, packs)`: `step_weight` is the summed token weight of all the step's packs.
    `trained`: prefixes of the parameters that move.
    """

    model: KimiVL  # or a CoCa, which is one
    trained: tuple[str, ...]
    pack_loss: Callable[[PackedBatch, float, int], PackLoss]
