"""Single samples made ready for a pack, and packs of any of them: what the tests of batches and losses put together by hand."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kimivl.data.batch import PackedBatch, PieceTokens, packed
from kimivl.data.loader import fill
from kimivl.data.pieces import Renderer, planned_pieces
from kimivl.data.sample import Sample
from kimivl.processor.processor import Processor


@dataclass(frozen=True)
class Piece(PieceTokens):
    """A sample, or a part of a long document, with its pictures."""

    patches: np.ndarray  # float32 [P, 3, side, side]
    grids: np.ndarray  # int64 [N, 2]


def pieces_of(sample: Sample, source: str, processor: Processor, context: int) -> list[Piece]:
    """One sample as it is, or the parts of a long document, as the loader makes them."""
    renderer = Renderer(processor)
    pieces = []
    for planned in planned_pieces(sample, source, 0, renderer, context, None):
        made, tokens = fill([planned], renderer, context), renderer.tokens(planned, context)
        grids = np.array(made.grids, np.int64).reshape(-1, 2)
        pieces.append(
            Piece(source, sample.id, tokens.ids, tokens.labels, tokens.supervised, made.patches_P.numpy(), grids)
        )  # fmt: skip
    return pieces


def pack(pieces: Sequence[Piece]) -> PackedBatch:
    """Lays pieces one after the other."""
    grids = [(int(rows), int(columns)) for piece in pieces for rows, columns in piece.grids]
    return packed(pieces, np.concatenate([piece.patches for piece in pieces]), grids)
