"""The layers everything is built of: they hold fp32 master weights and compute in the dtype of what comes in.

Why not autocast: the dtype of every intermediate stays visible in the code, and there is no hidden weight cache.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kimivl.ops.norm import rms_norm


class Linear(nn.Linear):
    """y = x Wᵀ + b in the dtype of x."""

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)


class LayerNorm(nn.LayerNorm):
    """LayerNorm in the dtype of x; the statistics are fp32 inside the kernel."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


class RMSNorm(nn.Module):
    """RMSNorm over the last dimension."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)
