"""Reordering rows, with a backward that reads instead of adding.

Indexing's own backward cannot know that every row is read once, so it adds rows up one after the other; a permutation's
backward is the inverse permutation.
"""

from typing import Any

import torch
from torch import Tensor


def permute_rows(x: Tensor, order: Tensor) -> Tensor:
    """`x[order]` for an `order` that holds every row number once.

    Args:
        x: [rows, …].
        order: int64 [rows].
    """
    return _Permute.apply(x, order)


class _Permute(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor) -> Tensor:
        ctx.save_for_backward(order)
        return x.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (order,) = ctx.saved_tensors
        return grads[0].index_select(0, inverse(order)), None


def inverse(order: Tensor) -> Tensor:
    """The permutation that undoes `order`."""
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    return back
