"""Similarity of texts by hand, and why a truth inside a sentence is worth nothing."""

import pytest

from kimivl.score.anls import anls, anls_reached


def test_by_hand():
    assert anls("Main Street", ["main street"]) == 1.0
    assert anls("main stret", ["main street"]) == pytest.approx(1 - 1 / 11)
    assert anls("mane stret", ["nowhere", "main street"]) == pytest.approx(1 - 3 / 11)  # the nearest truth; i → n, + e, + e
    assert anls("abcd", ["abxy"]) == 0.0  # half of the characters differ


def test_empty_and_long_answers_are_worth_nothing():
    assert anls("", ["main street"]) == 0.0 and anls("", [""]) == 0.0
    assert anls("the shop stands in main street, I believe", ["main street"]) == 0.0


def test_as_a_reward_nearly_all_is_asked_for():
    assert anls_reached("main stret", ["main street"]) == 1.0  # 0.909
    assert anls_reached("mai stret", ["main street"]) == 0.0


def test_no_truth_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        anls("x", [])
