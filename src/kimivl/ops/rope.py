"""Rotary position embedding on adjacent channel pairs, in one dimension (decoder) and two (MoonViT).

What it is: tables of angles and the rotation.
Facts: paper §2.1 (2D RoPE), reference/model.md §3.1 and §7.1. Channels (2m, 2m+1) form one complex number. In MoonViT
even pairs turn with the patch's COLUMN and odd pairs with its row, whatever docstrings elsewhere say.
Angles are fp32; the rotation happens in fp32 and is cast back.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

VISION_THETA = 10_000.0


def rope_1d(position_T: Tensor, channels: int, theta: float) -> Tensor:
    """Angles' cosines and sines for text positions.

    Returns: [T, channels / 2, 2] fp32, cosine then sine of position · theta ** (-2i / channels).
    """
    pairs = torch.arange(0, channels, 2, dtype=torch.float32, device=position_T.device)
    return _cos_sin(position_T.float()[:, None] * theta ** (-pairs / channels))


def rope_2d(grids: Sequence[tuple[int, int]], channels: int, device: torch.device | str = "cpu") -> Tensor:
    """Angles' cosines and sines for the patches of several images, row by row, image after image.

    Args:
        grids: (rows, columns) of patches of each image.
        channels: of one head, a multiple of 4.
    Returns: [P, channels / 2, 2] fp32.
    """
    # Each distinct grid is worked out once, however many images have it.
    tables = {grid: _rope_of_grid(grid, channels, device) for grid in dict.fromkeys(grids)}
    return torch.cat([tables[grid] for grid in grids]) if tables else torch.zeros(0, channels // 2, 2, device=device)


def _rope_of_grid(grid: tuple[int, int], channels: int, device: torch.device | str) -> Tensor:
    rows, columns = grid
    frequency = VISION_THETA ** (-torch.arange(0, channels, 4, dtype=torch.float32, device=device) / channels)
    row_P = torch.arange(rows, device=device).repeat_interleave(columns)
    column_P = torch.arange(columns, device=device).repeat(rows)
    both = torch.stack([column_P[:, None] * frequency, row_P[:, None] * frequency], dim=-1)
    return _cos_sin(both.flatten(1))


def rotate_reference(x_THC: Tensor, table: Tensor) -> Tensor:
    """The definition of `rotate`, pair by pair, for a table that covers all channels."""
    even, odd = x_THC.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = table[:, None].unbind(-1)
    # cos and sin are fp32, so the products are too.
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2).to(x_THC.dtype)


def rotate(x_THC: Tensor, table: Tensor) -> Tensor:
    """Turns adjacent channel pairs of every head by the angles of `rope_1d` or `rope_2d`.

    Args:
        x_THC: [T, H, C]; the same angles serve all heads.
        table: [T, pairs, 2]. If it has fewer pairs than a head, the last channels turn and those before stay.
    """
    return _Rotate.apply(x_THC, torch.view_as_complex(table)[:, None])


class _Rotate(torch.autograd.Function):
    """A rotation is one complex product, and its backward turns the other way."""

    @staticmethod
    def forward(ctx: Any, x_THC: Tensor, turn_T1P: Tensor) -> Tensor:
        ctx.save_for_backward(turn_T1P)
        return _turned(x_THC, turn_T1P)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (turn_T1P,) = ctx.saved_tensors
        return _turned(grads[0], turn_T1P.conj()), None


def _turned(x_THC: Tensor, turn_T1P: Tensor) -> Tensor:
    channels = 2 * turn_T1P.shape[-1]
    exact = torch.promote_types(x_THC.dtype, torch.float32)
    tail = x_THC[..., -channels:].to(exact, copy=True, memory_format=torch.contiguous_format)
    torch.view_as_complex(tail.unflatten(-1, (-1, 2))).mul_(turn_T1P)
    if channels == x_THC.shape[-1]:
        return tail.to(x_THC.dtype)
    out_THC = x_THC.clone(memory_format=torch.contiguous_format)
    out_THC[..., -channels:] = tail
    return out_THC


def _cos_sin(angles: Tensor) -> Tensor:
    return torch.stack([angles.cos(), angles.sin()], dim=-1)
