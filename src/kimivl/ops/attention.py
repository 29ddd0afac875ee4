"""Attention inside the segments of a packed batch.

What it is: `attention`, used by MoonViT (bidirectional, one segment per image) and by the decoder (causal, one
segment per document), with the dense-mask definition `attention_reference` beside it.
What it is not: projections, rotary embedding or caches (`model/`), or decoding one token at a time (`engine/`).
Facts: short segments of similar length run together as padded batches, long ones one by one. On CPU all go through matrix
products over tiles of queries with an explicit softmax: torch's flash kernel takes up to twice as long, and its backward
costs 0.25 ms per segment whatever its length. A causal tile does not touch later keys. Memory grows with the length, not
with its square. Scores are rounded to the inputs' dtype before the softmax, which itself computes in fp32
(docs/deviations.md). On other devices each segment takes scaled_dot_product_attention. Measured in docs/performance.md.
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
    if q_THC.device.type != "cpu":
        return _one_by_one(q_THC, k_THC, v_THC, segments, causal)
    return _Tiled.apply(q_THC, k_THC, v_THC, segments, causal)


def _one_by_one(q_THC: Tensor, k_THC: Tensor, v_THC: Tensor, segments: Segments, causal: bool) -> Tensor:
    """torch's kernel for each segment; for devices where that kernel is the fast one."""
    missing = q_THC.shape[-1] - v_THC.shape[-1]
    padded = F.pad(v_THC, (0, missing)) if missing > 0 else v_THC  # an unequal width leaves the flash kernel
    parts = zip(*(x_THC.transpose(0, 1)[None].split(segments.lengths, dim=2) for x_THC in (q_THC, k_THC, padded)))
    outputs = [F.scaled_dot_product_attention(q, k, v, is_causal=causal) for q, k, v in parts]
    return torch.cat(outputs, dim=2)[0].transpose(0, 1)[..., : v_THC.shape[-1]]


class _Tiled(torch.autograd.Function):
    """The blocks of all segments, and in each block one tile of queries after the other.

    Forward and backward are written out as one: between the operations of a hundred small blocks, autograd would cut and join
    the slots again and again, and reading rows by index would be undone by adding them up one by one.
    """

    @staticmethod
    def forward(ctx: Any, q_THC: Tensor, k_THC: Tensor, v_THC: Tensor, segments: Segments, causal: bool) -> Tensor:
        heads = q_THC.shape[1]
        source, slot = segments.head_tables(heads)
        q_SC, k_SC, v_SC = (x_THC.flatten(0, 1).index_select(0, source) for x_THC in (q_THC, k_THC, v_THC))
        out_SC, kept = torch.empty_like(v_SC), []
        for block, (q, k, v, out) in _blocks(segments, heads, q_SC, k_SC, v_SC, out_SC):
            mask = _mask(block, heads, causal, q.dtype)
            for rows, tile, keys in _tiles(q, causal):
                probabilities = _probabilities(q, k, mask, rows, tile, keys, causal)
                out[rows, tile] = torch.bmm(probabilities, v[rows, keys])
                if block.width <= KEPT_WIDTH and any(ctx.needs_input_grad):
                    kept.append(probabilities)
        ctx.save_for_backward(q_SC, k_SC, v_SC, *kept)
        ctx.heads, ctx.segments, ctx.causal = heads, segments, causal
        return out_SC.index_select(0, slot).unflatten(0, (-1, heads))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q_SC, k_SC, v_SC, *kept = ctx.saved_tensors
        heads, segments, causal = ctx.heads, ctx.segments, ctx.causal
        _, slot = segments.head_tables(heads)
        # Padding slots have no gradient.
        grad_SC = torch.zeros_like(v_SC).index_copy_(0, slot, grads[0].flatten(0, 1))
        totals = torch.empty_like(q_SC), torch.empty_like(k_SC), torch.empty_like(v_SC)
        unread = iter(kept)
        for block, (q, k, v, grad, grad_q, grad_k, grad_v) in _blocks(segments, heads, q_SC, k_SC, v_SC, grad_SC, *totals):
            mask = _mask(block, heads, causal, q.dtype)
            sum_k, sum_v = _Sum(grad_k), _Sum(grad_v)
            for rows, tile, keys in _tiles(q, causal):
                kept_here = block.width <= KEPT_WIDTH
                probabilities = next(unread) if kept_here else _probabilities(q, k, mask, rows, tile, keys, causal)
                sum_v.add(torch.bmm(probabilities.mT, grad[rows, tile]), rows, tile, keys)
                grad_probabilities = torch.bmm(grad[rows, tile], v[rows, keys].mT)
                grad_scores = torch._softmax_backward_data(grad_probabilities, probabilities, -1, q.dtype)
                grad_q[rows, tile] = _scaled_bmm(grad_scores, k[rows, keys], q.shape[-1])
                sum_k.add(_scaled_bmm(grad_scores.mT, q[rows, tile], q.shape[-1]), rows, tile, keys)
        grad_q_THC, grad_k_THC, grad_v_THC = (x_SC.index_select(0, slot).unflatten(0, (-1, heads)) for x_SC in totals)
        return grad_q_THC, grad_k_THC, grad_v_THC, None, None


def _blocks(segments: Segments, heads: int, *slots: Tensor) -> Iterator[tuple[Block, list[Tensor]]]:
    """Each block's part of every tensor of slots; every (row, head) is a matrix of its own, [N, L, C]."""
    sizes = [block.rows * heads * block.width for block in segments.blocks]
    for block, *parts in zip(segments.blocks, *(x_SC.split(sizes) for x_SC in slots)):
        yield block, [part.view(block.rows * heads, block.width, -1) for part in parts]


def _mask(block: Block, heads: int, causal: bool, dtype: torch.dtype) -> Tensor | None:
    """What is added to the scores. Causal: the square on a tile's diagonal. Else: [N, 1, L], None without padding."""
    if causal:
        return block.causal_mask.to(dtype)
    return None if block.padding_mask is None else block.padding_mask.to(dtype).repeat_interleave(heads, dim=0)


def _tiles(q: Tensor, causal: bool) -> Iterator[tuple[slice, slice, slice]]:
    """(rows, their queries, the keys that these may see), last queries first; the scores of each piece fit the cache."""
    count, length = q.shape[:2]
    tile = min(TILE if causal else SHORT, length)
    rows = max(1, PIECE_ELEMENTS // (tile * length))
    for first in range(0, count, rows):
        for start in reversed(range(0, length, tile)):
            end = min(start + tile, length)
            yield slice(first, min(first + rows, count)), slice(start, end), slice(0, end if causal else length)


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


class _Sum:
    """Adds up the keys' gradients over the tiles of queries, in fp32 if there are several; the result is in `total`.

    The tile of the last queries comes first. It sees every key, so that it sets what the others add to.
    """

    def __init__(self, total: Tensor):
        self.total = total
        self.exact: Tensor | None = None

    def add(self, part: Tensor, rows: slice, tile: slice, keys: slice) -> None:
        if tile.start == 0 and tile.stop == self.total.shape[1]:
            self.total[rows] = part
        elif tile.stop == self.total.shape[1]:
            self.exact = part.to(torch.promote_types(part.dtype, torch.float32))
        else:
            assert self.exact is not None
            self.exact[:, keys] += part
            if tile.start == 0:
                self.total[rows] = self.exact
