"""Where each segment (text, image) of a packed batch begins, and how to lay segments out as padded rows.

What it is: `Segments`, made once per batch and handed to every attention call of the step.
What it is not: the attention itself (`ops/attention.py`), or what a segment contains (`data/`).
Why: packed data is one long row of tokens, but on a CPU many short segments run fastest as a few padded
batches of similar length, and the index tables for that depend only on the lengths. Measured in docs/performance.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

ROW_STEP = 16  # padded row lengths are multiples of this, so that few matmul shapes ever occur
TILE = 128  # queries that attention works on at a time
SHORT = 256  # segments up to this length are padded into batches, longer ones are attended one by one


@dataclass(frozen=True)
class Block:
    """Segments of similar length as rows of one padded batch."""

    rows: int
    width: int
    length_B: Tensor

    @cached_property
    def padding_BL(self) -> Tensor | None:
        """True where a row holds no token; None if every row is full."""
        places_L = torch.arange(self.width, device=self.length_B.device)
        padding_BL = places_L >= self.length_B[:, None]
        return padding_BL if bool(padding_BL.any()) else None

    @cached_property
    def causal_mask(self) -> Tensor:
        """0 where a query may look, -inf at later places. Padding stands after every token, so it is later too. [L, L]

        At most [TILE, TILE], because later tiles of queries see the same on their own diagonal.
        """
        side = min(self.width, TILE)
        return torch.full((side, side), float("-inf"), device=self.length_B.device).triu_(1)

    @cached_property
    def padding_mask(self) -> Tensor | None:
        """0 at tokens, -inf at padding. [B, 1, L], or None if every row is full."""
        if self.padding_BL is None:
            return None
        blocked = self.padding_BL[:, None, :]
        return torch.zeros(blocked.shape, device=blocked.device).masked_fill_(blocked, float("-inf"))


class Segments:
    """The boundaries of a packed batch.

    Args:
        lengths: tokens of each segment, in order; all at least 1.
    """

    def __init__(self, lengths: Sequence[int], device: torch.device | str = "cpu"):
        self.lengths = [int(length) for length in lengths]
        self.device = torch.device(device)
        self._tables: dict[int, tuple[Tensor, Tensor]] = {}
        if any(length < 1 for length in self.lengths):
            raise ValueError(f"segment lengths must be at least 1, got {self.lengths}")

    @cached_property
    def total(self) -> int:
        """Tokens in all segments together."""
        return sum(self.lengths)

    @cached_property
    def starts(self) -> list[int]:
        """The first token of each segment."""
        starts, position = [], 0
        for length in self.lengths:
            starts.append(position)
            position += length
        return starts

    @cached_property
    def id_T(self) -> Tensor:
        """The number of the segment that each token belongs to. int64 [T]"""
        lengths = torch.tensor(self.lengths, device=self.device)
        return torch.arange(len(self.lengths), device=self.device).repeat_interleave(lengths)

    @cached_property
    def position_T(self) -> Tensor:
        """Each token's place inside its segment. int64 [T]"""
        return torch.arange(self.total, device=self.device) - torch.tensor(self.starts, device=self.device)[self.id_T]

    @cached_property
    def _members(self) -> list[tuple[int, list[int]]]:
        """(row width, segments) of every block: one block per rounded length, and one per long segment."""
        short: dict[int, list[int]] = {}
        long: list[tuple[int, list[int]]] = []
        for segment, length in enumerate(self.lengths):
            if length > SHORT:
                long.append((length, [segment]))
            else:
                short.setdefault(-(-length // ROW_STEP) * ROW_STEP, []).append(segment)
        return sorted(short.items()) + long

    @cached_property
    def blocks(self) -> list[Block]:
        """The padded batches, in the order of their slots in `head_tables`."""
        return [
            Block(len(members), width, torch.tensor([self.lengths[i] for i in members], device=self.device))
            for width, members in self._members
        ]

    def head_tables(self, heads: int) -> tuple[Tensor, Tensor]:
        """Moves between tokens [T · H] and the blocks' slots laid end to end, each block as [rows, H, width].

        Returns:
            source: which row of the tokens fills each slot; a padding slot repeats its segment's last token.
            slot: which slot holds each row of the tokens, so that `source[slot]` counts 0, 1, 2, ….
        """
        if heads not in self._tables:
            self._tables[heads] = self._make_head_tables(heads)
        return self._tables[heads]

    def _make_head_tables(self, heads: int) -> tuple[Tensor, Tensor]:
        sources, slot_TH = [], torch.empty(self.total, heads, dtype=torch.int64)
        head_H = torch.arange(heads)
        first_slot = 0
        for width, members in self._members:
            start_B = torch.tensor([self.starts[i] for i in members])
            last_B = torch.tensor([self.lengths[i] - 1 for i in members])
            token_BL = start_B[:, None] + torch.minimum(torch.arange(width), last_B[:, None])
            sources.append((token_BL[:, None, :] * heads + head_H[:, None]).flatten())
            slots_BHL = first_slot + torch.arange(len(members) * heads * width).view(len(members), heads, width)
            slots_BLH = slots_BHL.transpose(1, 2)
            real_BL = torch.arange(width) <= last_B[:, None]
            slot_TH[token_BL[real_BL]] = slots_BLH[real_BL]
            first_slot += slots_BHL.numel()
        source = torch.cat(sources) if sources else torch.zeros(0, dtype=torch.int64)
        return source.to(self.device), slot_TH.flatten().to(self.device)
