"""Attention inside the segments of a packed batch.

What it is: `attention`, used by MoonViT (bidirectional, one segment per image) and by the decoder (causal, one
segment per document), with the dense-mask definition `attention_reference` beside it.
What it is not: projections, rotary embedding or caches (`model/`), or decoding one token at a time (`engine/`).
Facts: on two CPU cores the flash kernel's backward costs about 0.25 ms per segment whatever its length, so short
segments run as padded batches with an explicit softmax, and long ones one by one through
scaled_dot_product_attention, with the values padded to the keys' width (an unequal width leaves the flash kernel).
Softmax is fp32 everywhere.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kimivl.ops.segments import SHORT, Block, Segments


def attention_reference(q_THC: Tensor, k_THC: Tensor, v_THC: Tensor, segments: Segments, causal: bool) -> Tensor:
    """The definition: softmax over all tokens, masked to the query's own segment (and its past, if causal)."""
    same_TT = segments.id_T[:, None] == segments.id_T[None, :]
    allowed_TT = same_TT.tril() if causal else same_TT
    scores_HTT = torch.einsum("thc,shc->hts", q_THC, k_THC) * q_THC.shape[-1] ** -0.5
    probabilities_HTT = scores_HTT.masked_fill(~allowed_TT, float("-inf")).softmax(-1)
    return torch.einsum("hts,shc->thc", probabilities_HTT, v_THC)


def attention(q_THC: Tensor, k_THC: Tensor, v_THC: Tensor, segments: Segments, causal: bool) -> Tensor:
    """Scaled dot-product attention within each segment, scale = key width ** -0.5.

    Args:
        q_THC, k_THC: [T, H, C] queries and keys.
        v_THC: [T, H, Cv] values; Cv may differ from C.
        segments: boundaries; their total must be T.
    Returns: [T, H, Cv] in the dtype of `v_THC`.
    """
    if segments.total != q_THC.shape[0]:
        raise ValueError(f"segments cover {segments.total} tokens but the queries hold {q_THC.shape[0]}")
    if segments.total == 0:
        return v_THC
    heads = q_THC.shape[1]
    sizes = [block.rows * heads * block.width for block in segments.blocks]
    q, k, v = (_ToSlots.apply(x_THC, segments).split(sizes) for x_THC in (q_THC, k_THC, v_THC))
    pieces = zip(q, k, v, segments.blocks)
    outputs = [_attend(q_SC, k_SC, v_SC, block, heads, causal) for q_SC, k_SC, v_SC, block in pieces]
    return _ToTokens.apply(torch.cat(outputs), segments, heads)


def _attend(q_SC: Tensor, k_SC: Tensor, v_SC: Tensor, block: Block, heads: int, causal: bool) -> Tensor:
    q, k, v = (x_SC.view(block.rows, heads, block.width, -1) for x_SC in (q_SC, k_SC, v_SC))
    out_BHLC = _short(q, k, v, block, causal) if block.width <= SHORT else _long(q, k, v, causal)
    return out_BHLC.reshape(q_SC.shape[0], -1)


def _short(q: Tensor, k: Tensor, v: Tensor, block: Block, causal: bool) -> Tensor:
    scores = torch.matmul(q * q.shape[-1] ** -0.5, k.mT)
    mask = block.causal_mask if causal else block.padding_mask
    probabilities = torch.softmax(scores if mask is None else scores + mask, dim=-1, dtype=torch.float32)
    return torch.matmul(probabilities.to(v.dtype), v)


def _long(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    missing = q.shape[-1] - v.shape[-1]
    padded = F.pad(v, (0, missing)) if missing > 0 else v
    return F.scaled_dot_product_attention(q, k, padded, is_causal=causal)[..., : v.shape[-1]]


class _ToSlots(torch.autograd.Function):
    """[T, H, C] → the blocks' slots, [S, C]. Indexing's own backward adds row by row; here every token has one slot to read."""

    @staticmethod
    def forward(ctx: Any, x_THC: Tensor, segments: Segments) -> Tensor:
        ctx.segments, ctx.heads = segments, x_THC.shape[1]
        source, _ = segments.head_tables(ctx.heads)
        return x_THC.flatten(0, 1).index_select(0, source)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        _, slot = ctx.segments.head_tables(ctx.heads)
        return grads[0].index_select(0, slot).unflatten(0, (-1, ctx.heads)), None  # padding is masked: no gradient there


class _ToTokens(torch.autograd.Function):
    """The blocks' slots, [S, C] → [T, H, C]; padding is dropped."""

    @staticmethod
    def forward(ctx: Any, x_SC: Tensor, segments: Segments, heads: int) -> Tensor:
        ctx.segments, ctx.heads, ctx.slots = segments, heads, x_SC.shape[0]
        _, slot = segments.head_tables(heads)
        return x_SC.index_select(0, slot).unflatten(0, (-1, heads))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        _, slot = ctx.segments.head_tables(ctx.heads)
        grad_SC = grads[0].new_zeros(ctx.slots, grads[0].shape[-1])
        return grad_SC.index_copy_(0, slot, grads[0].flatten(0, 1)), None, None
