"""RMSNorm with fp32 statistics.

Facts: x · rsqrt(mean(x²) + eps), cast back to the input's dtype, then times the gain (DeepSeek-V3's order,
reference/model.md §6).
"""

import torch
from torch import Tensor


def rms_norm_reference(x: Tensor, gain_D: Tensor, eps: float) -> Tensor:
    """The definition, step by step."""
    x32 = x.float()
    normed = x32 * torch.rsqrt(x32.square().mean(-1, keepdim=True) + eps)
    return normed.to(x.dtype) * gain_D.to(x.dtype)


def rms_norm(x: Tensor, gain_D: Tensor, eps: float) -> Tensor:
    """Normalises the last dimension.

    Args:
        x: [..., D] activations of any float dtype; statistics are fp32.
        gain_D: weight.
    Returns: like `x`.
    """
    return torch.nn.functional.rms_norm(x, gain_D.shape, gain_D.to(x.dtype), eps)
