"""RMSNorm with fp32 statistics.

Facts: x · rsqrt(mean(x²) + eps) · gain (DeepSeek-V3's norm, reference/model.md §6). Everything is fp32 and is rounded once,
at the end; in bf16 that is closer to the exact value than rounding before the gain, as the published code does.
"""

from typing import Any

import torch
from torch import Tensor


def rms_norm_reference(x: Tensor, gain_D: Tensor, eps: float) -> Tensor:
    """The definition, step by step."""
    x32 = x.float()
    normed = x32 * torch.rsqrt(x32.square().mean(-1, keepdim=True) + eps)
    return (normed * gain_D).to(x.dtype)


def rms_norm(x: Tensor, gain_D: Tensor, eps: float) -> Tensor:
    """Normalises the last dimension.

    Args:
        x: [..., D] activations of any float dtype; statistics are fp32.
        gain_D: weight.
    Returns: like `x`.
    """
    return _RMSNorm.apply(x, gain_D, eps)


class _RMSNorm(torch.autograd.Function):
    """torch's own is a chain of small operations on CPU, and autograd keeps and reads several fp32 copies of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain_D: Tensor, eps: float) -> Tensor:
        x32 = _exact(x)
        mean_square = torch.linalg.vector_norm(x32, dim=-1, keepdim=True).square_().div_(x.shape[-1])
        scale = mean_square.add_(eps).rsqrt_()
        ctx.save_for_backward(x, gain_D, scale)
        return x32.mul_(scale).mul_(gain_D).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        """dx = scale · (g − x̂ · mean(g · x̂)) with g = grad · gain and x̂ = x · scale; the gain's is Σ grad · x̂."""
        x, gain_D, scale = ctx.saved_tensors
        grad, normed = _exact(grads[0]), _exact(x).mul_(scale)
        product = grad * normed
        gain_grad_D = product.flatten(0, -2).sum(0)
        mean = (product @ gain_D.to(product.dtype))[..., None].div_(-x.shape[-1])
        grad_x = grad.mul_(gain_D).addcmul_(normed, mean).mul_(scale)
        return grad_x.to(x.dtype), gain_grad_D.to(gain_D.dtype), None


def _exact(x: Tensor) -> Tensor:
    """A copy in fp32, or in fp64 if `x` is."""
    return x.to(torch.promote_types(x.dtype, torch.float32), copy=True)
