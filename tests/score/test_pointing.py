"""A point is found in any reasonable wording, and anything that is not clearly one point counts as a miss."""

import pytest

from kimivl.score.pointing import parse_point, point_in_box


@pytest.mark.parametrize(
    "text",
    [
        "0.35 0.21",
        "(0.35, 0.21)",
        "[.35,.21]",
        "The point is at x = 0.35, y = 0.21.",
        "x1: 0.35 y1: 0.21",
        "<point>0.35 0.21</point>",
        "3.5e-1, 2.1e-1",
        "+0.350\n0.210",
    ],
)
def test_two_numbers_in_any_wording_are_a_point(text):
    assert parse_point(text) == pytest.approx((0.35, 0.21))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "left",
        "0.35",
        "0.35 0.21 0.5 0.6",
        "1.35 0.21",
        "-0.1 0.2",
        "35% 21%",
        "0.3.5 0.21",
        "0.35.0.21",
        "nan nan",
        "0,35 0,21",
        "35 21",
    ],
)
def test_anything_else_is_none(text):
    assert parse_point(text) is None
    assert point_in_box(text, (0, 0, 1, 1)) == 0.0


@pytest.mark.parametrize(
    ("text", "score"),
    [("0.3 0.5", 1.0), ("0.2 0.4", 1.0), ("0.4 0.6", 1.0), ("0.41 0.5", 0.0), ("0.3 0.39", 0.0), ("0.5 0.3", 0.0), ("0 0", 0.0)],
)
def test_the_border_belongs_to_the_box(text, score):
    assert point_in_box(text, (0.2, 0.4, 0.4, 0.6)) == score


def test_a_point_is_two_whole_numbers_too():
    assert point_in_box("0 1", (0, 0, 1, 1)) == 1.0


@pytest.mark.parametrize("box", [(0.1, 0.2, 0.3), (0.5, 0.1, 0.4, 0.2), (0.1, 0.5, 0.4, 0.2)])
def test_a_box_that_is_none_is_an_error(box):
    with pytest.raises(ValueError, match="a box is"):
        point_in_box("0.1 0.1", box)
