"""MoonViT: the native-resolution vision encoder (paper §2.1).

Images of any size are cut into patches, packed one after the other (NaViT), and attend only within themselves.
Positions enter twice: a learned table, bicubically resized to each image's grid, and 2D rotary embedding.
What it is not: cutting images into patches (`processor/image.py`), or the projection to the language model (`projector.py`).
Facts: reference/model.md §3. Traps kept in mind: column before row in the rotation, tanh-GELU here and erf-GELU in the
projector, LayerNorm eps 1e-5.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kimivl.config.model import VisionConfig
from kimivl.model.layers import LayerNorm, Linear
from kimivl.ops.attention import attention
from kimivl.ops.permute import permute_rows
from kimivl.ops.rope import rope_2d, rotate
from kimivl.ops.segments import Segments

Grids = Sequence[tuple[int, int]]  # (rows, columns) of patches of each image


class PositionTable(nn.Module):
    """The learned absolute positions: a [height, width, D] table, resized to each grid."""

    def __init__(self, height: int, width: int, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(height, width, channels))

    def forward(self, grids: Grids) -> Tensor:
        """[P, D] fp32 for all patches. Each distinct grid is interpolated once, however many images have it."""
        resized = {grid: self._resized(grid) for grid in dict.fromkeys(grids)}
        return torch.cat([resized[grid] for grid in grids])

    def _resized(self, grid: tuple[int, int]) -> Tensor:
        if grid == tuple(self.weight.shape[:2]):
            return self.weight.flatten(0, 1)
        table = self.weight.permute(2, 0, 1)[None]
        return F.interpolate(table, size=grid, mode="bicubic", align_corners=False)[0].flatten(1).T


class PatchEmbed(nn.Module):
    """Patches to vectors, plus their absolute positions."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        side = config.patch_size
        self.proj = nn.Conv2d(3, config.hidden_size, kernel_size=side, stride=side)
        self.pos_emb = PositionTable(config.init_pos_emb_height, config.init_pos_emb_width, config.hidden_size)

    def forward(self, patches_P: Tensor, grids: Grids) -> Tensor:
        # The kernel covers a whole patch, so the convolution is one matrix product.
        weight, bias = self.proj.weight.flatten(1), self.proj.bias
        assert bias is not None
        embedded_PD = F.linear(patches_P.flatten(1), weight.to(patches_P.dtype), bias.to(patches_P.dtype))
        return embedded_PD + self.pos_emb(grids).to(patches_P.dtype)


class VisionMLP(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        self.fc0 = Linear(width, inner)
        self.fc1 = Linear(inner, width)

    def forward(self, x_PD: Tensor) -> Tensor:
        return self.fc1(F.gelu(self.fc0(x_PD), approximate="tanh"))


class VisionBlock(nn.Module):
    """Pre-norm attention and MLP."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.norm0 = LayerNorm(width)
        self.norm1 = LayerNorm(width)
        self.wqkv = Linear(width, 3 * width)
        self.wo = Linear(width, width)
        self.mlp = VisionMLP(width, config.intermediate_size)

    def forward(self, x_PD: Tensor, rope: Tensor, segments: Segments) -> Tensor:
        q, k, v = self.wqkv(self.norm0(x_PD)).unflatten(-1, (3, self.heads, -1)).unbind(1)
        attended = attention(rotate(q, rope), rotate(k, rope), v, segments, causal=False)
        x_PD = x_PD + self.wo(attended.flatten(1))
        return x_PD + self.mlp(self.norm1(x_PD))


class Encoder(nn.Module):
    def __init__(self, config: VisionConfig):
        super().__init__()
        self.head_dim = config.head_dim
        self.blocks = nn.ModuleList(VisionBlock(config) for _ in range(config.num_hidden_layers))
        self.final_layernorm = LayerNorm(config.hidden_size)

    def forward(self, x_PD: Tensor, grids: Grids) -> Tensor:
        segments = Segments([rows * columns for rows, columns in grids], x_PD.device)
        rope = rope_2d(grids, self.head_dim, x_PD.device)
        for block in self.blocks:
            x_PD = block(x_PD, rope, segments)
        return self.final_layernorm(x_PD)


class MoonViT(nn.Module):
    """Patches of packed images → one vector per patch."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config)
        self.encoder = Encoder(config)

    def forward(self, patches_P: Tensor, grids: Grids) -> Tensor:
        """Encodes images.

        Args:
            patches_P: [P, 3, side, side], normalised pixels, row by row, image after image.
            grids: patch rows and columns of each image; their products add up to P.
        Returns: [P, D] in the dtype of `patches_P`.
        """
        covered = sum(rows * columns for rows, columns in grids)
        if covered != patches_P.shape[0]:
            raise ValueError(f"grids cover {covered} patches but {patches_P.shape[0]} were given")
        return self.encoder(self.patch_embed(patches_P, grids), grids)


def merge_patches(x_PD: Tensor, grids: Grids, kernel: tuple[int, int] = (2, 2)) -> Tensor:
    """Groups each 2×2 neighbourhood, row-major inside the group: the paper's pixel shuffle.

    Returns: [P / 4, 4, D], merged groups row by row, image after image.
    Raises: ValueError for a grid with an odd side.
    """
    orders, start = [], 0
    for rows, columns in grids:
        orders.append(start + _merge_order(rows, columns, *kernel))
        start += rows * columns
    order_P = torch.cat(orders).to(x_PD.device)
    return permute_rows(x_PD, order_P).unflatten(0, (-1, kernel[0] * kernel[1]))


@lru_cache(maxsize=1024)
def _merge_order(rows: int, columns: int, height: int, width: int) -> Tensor:
    """The patches of one image, neighbourhood by neighbourhood."""
    if rows % height or columns % width:
        raise ValueError(f"grid {rows}×{columns} cannot be merged {height}×{width}: pad the image to a multiple")
    patches = torch.arange(rows * columns).view(rows // height, height, columns // width, width)
    return patches.transpose(1, 2).flatten()
