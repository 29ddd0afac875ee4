"""The character error rate is edits over true characters, counted by hand."""

import numpy as np
import pytest

from kimivl.score.characters import character_edits, edit_distance


@pytest.mark.parametrize(
    ("first", "second", "edits"),
    [
        ("", "", 0),
        ("abc", "abc", 0),
        ("", "abc", 3),
        ("abc", "", 3),
        ("kitten", "sitting", 3),  # k→s, e→i, +g
        ("flaw", "lawn", 2),  # −f, +n
        ("ab", "ba", 2),  # a swap is two edits
        ("aaaa", "aa", 2),
    ],
)
def test_distance_by_hand(first, second, edits):
    assert edit_distance(first, second) == edits


def test_distance_is_a_metric():
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abc"), rng.integers(0, 7))) for _ in range(12)]
    for a in words:
        for b in words:
            assert edit_distance(a, b) == edit_distance(b, a)
            assert (edit_distance(a, b) == 0) == (a == b)
            for c in words:
                assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)


def test_space_around_is_ignored_and_case_counts():
    assert character_edits(" Word\n", "Word") == 0
    assert character_edits("word", "Word") == 1
