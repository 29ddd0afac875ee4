"""A pack by hand: three samples one after the other, with 0, 1 and 2 pictures."""

import numpy as np
import pytest
import torch

from tests.pieces import Piece, pack


def piece(name: str, ids: list[int], supervised: list[int], grids: list[tuple[int, int]]) -> Piece:
    count = sum(rows * columns for rows, columns in grids)
    patches = np.full((count, 3, 2, 2), ids[0], np.float32)
    labels, weights = np.array([*ids[1:], 99]), np.array(supervised, bool)
    return Piece(f"source {name}", name, np.array(ids), labels, weights, patches, np.array(grids).reshape(-1, 2))


PIECES = [
    piece("a", [1, 2, 3], [1, 0, 1], []),
    piece("b", [4, 5], [0, 1], [(2, 4)]),
    piece("c", [6, 7, 8, 9], [1, 1, 1, 0], [(2, 2), (4, 2)]),
]


def test_three_samples_by_hand():
    batch = pack(PIECES)
    assert batch.ids_T.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9] and batch.ids_T.dtype == torch.int64
    assert batch.labels_T.tolist() == [2, 3, 99, 5, 99, 7, 8, 9, 99]
    assert batch.weights_T.tolist() == [1, 0, 1, 0, 1, 1, 1, 1, 0] and batch.weights_T.dtype == torch.float32
    assert batch.weight == 6.0
    assert batch.segments.lengths == [3, 2, 4]
    assert batch.segments.starts == [0, 3, 5]
    assert batch.segments.id_T.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    assert batch.segments.position_T.tolist() == [0, 1, 2, 0, 1, 0, 1, 2, 3]
    assert batch.grids == [(2, 4), (2, 2), (4, 2)]
    assert batch.patches_P[:, 0, 0, 0].tolist() == [4] * 8 + [6] * 12 and batch.patches_P.dtype == torch.float32
    assert batch.sources == ("source a", "source b", "source c")
    assert batch.sample_ids == ("a", "b", "c")


def test_a_pack_without_pictures_has_an_empty_row_of_patches():
    batch = pack(PIECES[:1])
    assert batch.patches_P.shape == (0, 3, 2, 2) and batch.grids == []


def test_nothing_cannot_be_packed():
    with pytest.raises(ValueError):
        pack([])
