"""Boundaries of packed batches."""

import pytest
import torch

from kimivl.ops.segments import SHORT, Segments


def test_every_token_knows_its_segment_and_its_place():
    segments = Segments([2, 1, 3])
    assert segments.total == 6
    assert segments.starts == [0, 2, 3]
    assert segments.id_T.tolist() == [0, 0, 1, 2, 2, 2]
    assert segments.position_T.tolist() == [0, 1, 0, 0, 1, 2]


def test_every_row_of_the_tokens_has_exactly_one_slot():
    """Reading the slots back gives the rows in order, whatever lengths share a block."""
    segments = Segments([5, SHORT + 3, 16, 1, 17])
    source, slot = segments.head_tables(3)
    assert torch.equal(source[slot], torch.arange(3 * segments.total))
    assert len(source) == sum(block.rows * 3 * block.width for block in segments.blocks)


def test_short_segments_of_similar_length_share_a_block():
    blocks = Segments([3, 16, 20, 9, SHORT + 1, SHORT + 1]).blocks
    assert [(block.rows, block.width) for block in blocks] == [(3, 16), (1, 32), (1, SHORT + 1), (1, SHORT + 1)]


def test_an_empty_segment_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        Segments([3, 0])
