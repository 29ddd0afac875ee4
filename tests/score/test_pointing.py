"""A point is found in any reasonable wording, and anything that is not clearly one point counts as a miss."""

import pytest
from PIL import Image, ImageDraw, ImageFilter

from kimivl.score.pointing import parse_point, point_in_outline


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
        "I cannot tell where it is from what I see, perhaps 0.35 0.21, but who knows, it may be elsewhere",
    ],
)
def test_anything_else_is_none(text):
    assert parse_point(text) is None
    assert point_in_outline(text, [(0, 0), (1, 0), (1, 1), (0, 1)]) == 0.0


ARROW = [(0.2, 0.2), (0.8, 0.5), (0.2, 0.8), (0.4, 0.5)]  # its left side is dented


@pytest.mark.parametrize(
    ("text", "score"),
    [("0.5 0.5", 1.0), ("0.3 0.28", 1.0), ("0.3 0.72", 1.0), ("0.3 0.5", 0.0), ("0.6 0.3", 0.0), ("0.9 0.5", 0.0), ("0 0", 0.0)],
)
def test_what_lies_in_the_box_but_not_in_the_outline_is_a_miss(text, score):
    assert point_in_outline(text, ARROW) == score
    assert point_in_outline(text, ARROW[::-1]) == score


def test_the_inside_agrees_with_what_pillow_paints():
    """Every pixel whose middle is clearly inside or outside, against the filled polygon."""
    size = 60
    canvas = Image.new("L", (size, size))
    ImageDraw.Draw(canvas).polygon([(x * size, y * size) for x, y in ARROW], fill=1)
    eroded, dilated = canvas.filter(ImageFilter.MinFilter(3)), canvas.filter(ImageFilter.MaxFilter(3))
    for x in range(size):
        for y in range(size):
            if eroded.getpixel((x, y)) == dilated.getpixel((x, y)):
                point = f"{(x + 0.5) / size:.4f} {(y + 0.5) / size:.4f}"
                assert point_in_outline(point, ARROW) == canvas.getpixel((x, y)), point


@pytest.mark.parametrize("outline", [[(0.1, 0.2), (0.3, 0.4)], [(0.1, 0.2), (0.3, 0.4), (0.5,)]])
def test_an_outline_that_is_none_is_an_error(outline):
    with pytest.raises(ValueError, match="an outline is"):
        point_in_outline("0.1 0.1", outline)
