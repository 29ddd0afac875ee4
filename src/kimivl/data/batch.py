"""The one batch type: samples packed one after the other, with their pictures.

Legend: T tokens, P patches, N images (see `ops/__init__.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from kimivl.ops.segments import Segments


@dataclass(frozen=True)
class PieceTokens:
    """One sample, or a part of a long document, without its pictures.

    `labels` holds the token to be predicted at each place; where `supervised` is false it is not learned.
    """

    source: str
    sample_id: str
    ids: np.ndarray  # int64 [T]
    labels: np.ndarray  # int64 [T]
    supervised: np.ndarray  # bool [T]


@dataclass(frozen=True)
class PackedBatch:
    """A pack. Segments never see each other."""

    ids_T: Tensor  # int64
    labels_T: Tensor  # int64: the next token, inside the segment
    weights_T: Tensor  # fp32: what each token's loss counts
    segments: Segments
    patches_P: Tensor  # fp32 [P, 3, side, side]
    grids: list[tuple[int, int]]
    sources: tuple[str, ...]  # of each segment
    sample_ids: tuple[str, ...]

    @cached_property
    def weight(self) -> float:
        """What the losses of this pack count together."""
        return float(self.weights_T.sum())


def packed(pieces: Sequence[PieceTokens], patches: np.ndarray, grids: Sequence[tuple[int, int]]) -> PackedBatch:
    """Lays pieces one after the other.

    Args:
        patches: float32 [P, 3, side, side], of all their pictures, in order; not copied.
        grids: patch rows and columns of each picture.
    """
    return PackedBatch(
        ids_T=torch.from_numpy(np.concatenate([piece.ids for piece in pieces])),
        labels_T=torch.from_numpy(np.concatenate([piece.labels for piece in pieces])),
        weights_T=torch.from_numpy(np.concatenate([piece.supervised for piece in pieces]).astype(np.float32)),
        segments=Segments([len(piece.ids) for piece in pieces]),
        patches_P=torch.from_numpy(patches),
        grids=list(grids),
        sources=tuple(piece.source for piece in pieces),
        sample_ids=tuple(piece.sample_id for piece in pieces),
    )
