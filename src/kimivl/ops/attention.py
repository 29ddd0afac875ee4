"""Attention inside the segments of a packed batch.

What it is: `attention`, used by MoonViT (bidirectional, one segment per image) and by the decoder (causal, one
segment per document), with the dense-mask definition `attention_reference` beside it.
What it is not: projections, rotary embedding or caches (`model/`), or decoding one token at a time (`engine/`).
Facts: short segments of similar length run together as padded batches, long ones one by one. On CPU both go through matrix
products over tiles of queries with an explicit softmax: torch's flash kernel takes up to twice as long, and its backward
costs 0.25 ms per segment whatever its length. A causal tile does not touch later keys. Memory grows with the length, not
with its square. On other devices long segments take scaled_dot_product_attention. Softmax is fp32 inside its kernel.
Measured in docs/performance.md.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kimivl.ops.segments import SHORT, TILE, Block, Segments

PIECE_ELEMENTS = 2**20  # scores worked on at a time: 2 MB in bf16 stay in the cache
KEPT_WIDTH = 1024  # probabilities of longer segments are computed again in the backward instead of being kept


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
    """One block: slots in, slots out. Every (row, head) is a matrix of its own, [N, L, C]."""
    q, k, v = (x_SC.view(block.rows * heads, block.width, -1) for x_SC in (q_SC, k_SC, v_SC))
    if q.device.type != "cpu" and block.width > SHORT:
        return _flash(q, k, v, causal).flatten(0, 1)
    mask = block.causal_mask if causal else block.padding_mask
    if mask is not None:
        mask = (mask if causal else mask.repeat_interleave(heads, dim=0)).to(q.dtype)
    return _Tiled.apply(q, k, v, mask, causal).flatten(0, 1)


def _flash(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    missing = q.shape[-1] - v.shape[-1]
    padded = F.pad(v, (0, missing)) if missing > 0 else v  # an unequal width leaves the flash kernel
    return F.scaled_dot_product_attention(q[None], k[None], padded[None], is_causal=causal)[0, ..., : v.shape[-1]]


class _Tiled(torch.autograd.Function):
    """Attention of N matrices [L, C], a tile of queries after the other.

    `mask` is added to the scores: causal, to the square on the diagonal [L or TILE, the same]; else to all, [N, 1, L], or None.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        out, kept = torch.empty_like(v), []
        for rows, tile, keys in _tiles(q, causal):
            probabilities = _probabilities(q, k, mask, rows, tile, keys, causal)
            out[rows, tile] = torch.bmm(probabilities, v[rows, keys])
            if q.shape[1] <= KEPT_WIDTH and any(ctx.needs_input_grad):
                kept.append(probabilities)
        ctx.save_for_backward(q, k, v, mask, *kept)
        ctx.causal = causal
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q, k, v, mask, *kept = ctx.saved_tensors
        exact = torch.promote_types(q.dtype, torch.float32)
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.empty_like(k, dtype=exact), torch.empty_like(v, dtype=exact)
        for number, (rows, tile, keys) in enumerate(_tiles(q, ctx.causal)):
            again = (q, k, mask, rows, tile, keys, ctx.causal)
            probabilities = kept[number] if kept else _probabilities(*again)
            grad = grads[0][rows, tile]
            _collect(grad_v, torch.bmm(probabilities.mT, grad), rows, tile, keys)
            grad_probabilities = torch.bmm(grad, v[rows, keys].mT)
            grad_scores = torch._softmax_backward_data(grad_probabilities, probabilities, -1, q.dtype)
            grad_q[rows, tile] = _scaled_bmm(grad_scores, k[rows, keys], q.shape[-1])
            _collect(grad_k, _scaled_bmm(grad_scores.mT, q[rows, tile], q.shape[-1]), rows, tile, keys)
        return grad_q, grad_k.to(k.dtype), grad_v.to(v.dtype), None, None


def _tiles(q: Tensor, causal: bool) -> Iterator[tuple[slice, slice, slice]]:
    """(rows, their queries, the keys that these may see), last queries first; the scores of each piece fit the cache."""
    count, length = q.shape[:2]
    tile = min(TILE if causal else SHORT, length)
    rows = max(1, PIECE_ELEMENTS // (tile * length))
    for first in range(0, count, rows):
        for start in reversed(range(0, length, tile)):
            end = min(start + tile, length)
            yield slice(first, min(first + rows, count)), slice(start, end), slice(0, end if causal else length)


def _collect(total: Tensor, part: Tensor, rows: slice, tile: slice, keys: slice) -> None:
    """Adds up over the tiles of queries; the last queries come first and see every key."""
    if tile.stop == total.shape[1]:
        total[rows] = part
    else:
        total[rows, keys] += part


def _probabilities(q: Tensor, k: Tensor, mask: Tensor | None, rows: slice, tile: slice, keys: slice, causal: bool) -> Tensor:
    scores = _scaled_bmm(q[rows, tile], k[rows, keys].mT, q.shape[-1])
    if causal:
        assert mask is not None
        size = tile.stop - tile.start
        scores[:, :, tile] += mask[:size, :size]
    elif mask is not None:
        scores += mask[rows]
    return torch.softmax(scores, dim=-1)


def _scaled_bmm(a: Tensor, b: Tensor, channels: int) -> Tensor:
    """a · b / √channels, scaled before the product is rounded."""
    return torch.baddbmm(a.new_zeros(()), a, b, beta=0, alpha=channels**-0.5)


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
