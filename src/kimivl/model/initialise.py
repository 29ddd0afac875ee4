"""Initial weights, drawn by name.

What it is: `initialise` gives every parameter its starting value from a generator keyed by (seed, parameter name), so
the value does not depend on the order of calls, on what else the model holds, or on the device.
What it is not: loading a checkpoint (`layout.py`) or starting from other models (`imports.py`).
Facts: normal weights with one standard deviation, residual outputs divided by √(2 · layers) so that the stream does not
grow with depth (GPT-2's rule); MoonViT's position table begins as waves, because digits are learned faster from
them than from noise (docs/nano.md); the contrastive loss starts at scale 10 and bias −10 (SigLIP, §3.2 of its paper).
"""

import hashlib
import math
from typing import Any

import torch
from torch import Tensor, nn

LOGIT_SCALE, LOGIT_BIAS = math.log(10.0), -10.0
WAVE_SIZE = 0.3  # root mean square of the position table, the size of an embedded patch

# The last linear map of each residual branch, by the names of the decoder, of MoonViT and of SigLIP's text encoder.
_RESIDUAL_OUTPUTS = {
    "language_model": ("o_proj.weight", "down_proj.weight", "experts.down_proj"),
    "vision_tower": ("wo.weight", "fc1.weight"),
    "text_encoder": ("out_proj.weight", "fc2.weight"),
}


@torch.no_grad()
def initialise(model: nn.Module, seed: int, std: float) -> None:
    """Sets every parameter, and the routers' balance biases to zero, in place.

    Args:
        model: KimiVL or CoCa, whole: the depth that scales residual outputs is read from its parts' configs.
        seed: of the run.
        std: standard deviation of weights, `initializer_range` of the config.
    Raises: ValueError for a parameter whose name has no rule.
    """
    for name, parameter in model.named_parameters():
        parameter.copy_(_initial_value(model, name, parameter.shape, seed, std))
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            buffer.zero_()


def _initial_value(model: nn.Module, name: str, shape: torch.Size, seed: int, std: float) -> Tensor:
    if name == "logit_scale":
        return torch.tensor(LOGIT_SCALE)
    if name == "logit_bias":
        return torch.tensor(LOGIT_BIAS)
    if name.endswith("bias"):
        return torch.zeros(shape)
    if "norm" in name.split(".")[-2]:
        return torch.ones(shape)
    if len(shape) < 2:
        raise ValueError(f"{name} {tuple(shape)}: no rule gives this parameter an initial value; add one to model/initialise.py")
    if name.endswith("pos_emb.weight"):
        return WAVE_SIZE * math.sqrt(2) * position_waves(*shape)
    return torch.randn(shape, generator=_generator(seed, name)) * (std * _residual_factor(model, name))


def position_waves(height: int, width: int, channels: int) -> Tensor:
    """A table of sines and cosines, from half a wave over the whole side to half a wave over one cell. [height, width, channels]

    The first half of the channels tells the row, the second half the column. `channels` is a multiple of 4.
    """

    def along(side: int) -> Tensor:
        frequency_F = math.pi / side * torch.logspace(0, 1, channels // 4, base=side)
        angle_NF = (torch.arange(side) + 0.5)[:, None] * frequency_F
        return torch.cat([angle_NF.sin(), angle_NF.cos()], dim=1)

    rows, columns = along(height)[:, None].expand(-1, width, -1), along(width)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], dim=-1)


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"initial weights/{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def _residual_factor(model: nn.Module, name: str) -> float:
    part = name.split(".")[0]
    if not name.endswith(_RESIDUAL_OUTPUTS.get(part, ())):
        return 1.0
    config: Any = model.get_submodule(part).config
    return 1 / math.sqrt(2 * config.num_hidden_layers)
