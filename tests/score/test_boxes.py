"""Boxes and points by hand, in shares of width and height."""

import pytest

from kimivl.score.boxes import box_overlap, parse_box, point_in_box

TRUTH = (0.2, 0.2, 0.6, 0.6)


def test_overlap_by_hand():
    assert box_overlap("[0.2, 0.2, 0.6, 0.6]", TRUTH) == pytest.approx(1.0)
    assert box_overlap("0.4 0.2 0.8 0.6", TRUTH) == pytest.approx(0.08 / 0.24)  # half of each is shared
    assert box_overlap("0.6 0.6 0.2 0.2", TRUTH) == pytest.approx(1.0)  # corners in another order
    assert box_overlap("0.7 0.7 0.9 0.9", TRUTH) == 0.0


def test_a_few_words_may_stand_around_a_box():
    assert parse_box("The box is [0.2, 0.2, 0.6, 0.6], from left to bottom.") == TRUTH


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0.2 0.2 0.6",
        "0.2 0.2 0.6 0.6 0.1 0.1 0.9 0.9",
        "20 20 60 60",
        "0.2 0.2 0.2 0.6",
        "20% 20% 60% 60%",
        "I cannot tell where it is from what I see, perhaps 0.2 0.2 0.6 0.6, but who knows, it may be elsewhere",
    ],
)
def test_what_is_no_single_box(text):
    assert parse_box(text) is None and box_overlap(text, TRUTH) == 0.0


def test_a_point_counts_up_to_the_edge():
    assert point_in_box("(0.2, 0.6)", TRUTH) == 1.0 and point_in_box("(0.19, 0.6)", TRUTH) == 0.0
    assert point_in_box("", TRUTH) == point_in_box("0.3 0.3 0.3 0.3", TRUTH) == 0.0


def test_a_truth_without_an_area_is_refused():
    with pytest.raises(ValueError, match="left < right"):
        box_overlap("0 0 1 1", (0.5, 0.1, 0.5, 0.2))
