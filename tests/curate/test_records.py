"""Numbered randomness and hash splits do not depend on anything but their key."""

import numpy as np

from kimivl.curate.records import held_out, join_lines, rng_for, text


def test_randomness_is_a_function_of_its_key():
    first = rng_for(1, "words", 7).integers(1 << 40, size=4)
    rng_for(1, "words", 6).integers(10)
    np.testing.assert_array_equal(first, rng_for(1, "words", 7).integers(1 << 40, size=4))
    others = [rng_for(2, "words", 7), rng_for(1, "digits", 7), rng_for(1, "words", 8)]
    assert all((first != other.integers(1 << 40, size=4)).all() for other in others)


def test_a_hash_split_has_its_share_and_does_not_move():
    chosen = [n for n in range(20_000) if held_out(str(n), 0.1, "test")]
    assert 1_800 < len(chosen) < 2_200
    assert [n for n in chosen if n < 100] == [n for n in range(100) if held_out(str(n), 0.1, "test")]
    assert [n for n in range(20_000) if held_out(str(n), 0.1, "another purpose")] != chosen


def test_lines_become_few_parts_with_the_same_text():
    lines = [(text("a: "), text("1", spelled=True)), (text("b"),), (text("c: "), text("2", spelled=True))]
    joined = join_lines(lines)
    assert "".join(part["text"] for part in joined) == "a: 1\nb\nc: 2"
    assert [part.get("spelled", False) for part in joined] == [False, True, False, True]
