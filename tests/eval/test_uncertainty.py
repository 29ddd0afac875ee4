"""The bootstrap's interval has the width that statistics gives it."""

import math

import pytest

from kimivl.eval.uncertainty import interval


def test_the_width_is_that_of_a_binomial_share():
    # 400 independent questions, 80 % right: standard error sqrt(0.8 · 0.2 / 400) = 0.02, hence ± 1.96 · 0.02
    low, high = interval([1.0] * 320 + [0.0] * 80, [1.0] * 400, range(400))
    assert (low, high) == pytest.approx((0.8 - 0.0392, 0.8 + 0.0392), abs=0.006)


def test_questions_about_one_picture_count_once():
    # 40 pictures with 10 equal questions each: as uncertain as 40 questions
    groups = [number // 10 for number in range(400)]
    low, high = interval([1.0] * 320 + [0.0] * 80, [1.0] * 400, groups)
    assert (high - low) / 2 == pytest.approx(1.96 * math.sqrt(0.8 * 0.2 / 40), rel=0.15)


def test_a_rate_of_sums_is_weighted_by_the_wholes():
    # one picture with 9 edits in 10 characters, one with 0 in 990; only the draws (first, first) and (second, second) are pure
    assert interval([9, 0], [10, 990], ["a", "b"]) == pytest.approx((0.0, 0.9))


def test_equal_items_have_no_spread():
    assert interval([1, 1, 1], [1, 1, 1], "abc") == (1.0, 1.0)


def test_the_interval_is_always_the_same():
    values = [[0.0, 1.0, 1.0] * 20, [1.0] * 60, range(60)]
    assert interval(*values) == interval(*values)


def test_no_items_are_an_error():
    with pytest.raises(ValueError, match="no items"):
        interval([], [], [])
