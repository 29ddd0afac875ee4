"""Rows of the cache keep their own past, however rows leave and places grow."""

import pytest
import torch

from kimivl.engine.cache import BLOCK, RowCache
from kimivl.ops.segments import Segments

LAYERS, RANK, CHANNELS = 2, 3, 2
LENGTHS = [4, 1, 6, 2, 5]


def packed(lengths: list[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    both = [torch.randn(sum(lengths), RANK + CHANNELS, generator=generator) for _ in range(LAYERS)]
    return [(each[:, :RANK], each[:, RANK:]) for each in both]


def assert_row_holds(cache: RowCache, place: int, segment: int, lengths: list[int]) -> None:
    """The row at `place` is the prompt `segment`, and nothing but zeros behind it."""
    start = sum(lengths[:segment])
    for layer, (latent_TR, key_TC) in zip(cache.layers(), packed(lengths)):
        for row_LX, packed_TX in ((layer.latent_BLR[place], latent_TR), (layer.key_BLC[place], key_TC)):
            torch.testing.assert_close(row_LX[: lengths[segment]], packed_TX[start : start + lengths[segment]])
            assert not row_LX[lengths[segment] :].any()


def test_each_packed_prompt_becomes_a_row():
    cache = RowCache(packed(LENGTHS), Segments(LENGTHS))
    assert cache.place_B.tolist() == LENGTHS
    for segment in range(len(LENGTHS)):
        assert_row_holds(cache, segment, segment, LENGTHS)


@pytest.mark.parametrize("live", [[1, 1, 1, 1, 1], [0, 1, 0, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 1], [1, 0, 1, 0, 1]])
def test_rows_that_leave_take_nothing_with_them(live):
    cache = RowCache(packed(LENGTHS), Segments(LENGTHS))
    order = cache.keep(torch.tensor(live, dtype=torch.bool)).tolist()
    assert sorted(order) == [row for row, stays in enumerate(live) if stays]
    assert cache.place_B.tolist() == [LENGTHS[row] for row in order]
    assert all(layer.key_BLC.shape[0] == len(order) for layer in cache.layers())
    for place, row in enumerate(order):
        assert_row_holds(cache, place, row, LENGTHS)


def test_there_is_always_room_for_one_more_token():
    lengths = [BLOCK - 2, 3]
    cache = RowCache(packed(lengths), Segments(lengths))
    for step in range(BLOCK + 5):
        layer = cache.layers()[0]
        assert int(cache.place_B.max()) < layer.key_BLC.shape[1]
        layer.key_BLC[torch.arange(2), cache.place_B] = float(step + 1)
        cache.advance()
    keys = cache.layers()[0].key_BLC
    assert keys[1, 3 : 3 + BLOCK + 5, 0].tolist() == [float(step + 1) for step in range(BLOCK + 5)]
    assert keys.shape[1] == 3 * BLOCK
    torch.testing.assert_close(keys[0, : BLOCK - 2], packed(lengths)[0][1][: BLOCK - 2])
