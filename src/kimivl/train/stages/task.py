"""What the trainer needs to know of a stage: a model, which of its parameters move, and the loss of a pack."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from kimivl.data.batch import PackedBatch
from kimivl.model.kimi_vl import KimiVL


@dataclass(frozen=True)
class StepTotals:
    """What all packs of a step have together, so that each can give its part of the step's loss.

    `weight`: the summed weight of the supervised tokens. `sequences`: the segments of all packs.
    """

    weight: float
    packs: int
    sequences: int

    @classmethod
    def of(cls, packs: Sequence[PackedBatch]) -> "StepTotals":
        return cls(sum(pack.weight for pack in packs), len(packs), sum(len(pack.segments.lengths) for pack in packs))


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

    `pack_loss(batch, step)`: the loss of one pack of a step.
    `trained`: prefixes of the parameters that move.
    """

    model: KimiVL  # or a CoCa, which is one
    trained: tuple[str, ...]
    pack_loss: Callable[[PackedBatch, StepTotals], PackLoss]
