"""Whether an answer points at the asked thing.

What it is: `parse_point`, which finds the two coordinates in whatever few words surround them, and `point_in_outline`.
What it is not: a reader of boxes, or of coordinates in pixels or per cent. A point is two shares, of the picture's width and of
its height.
"""

import re
from collections.abc import Sequence

from kimivl.score import SLACK

Point = tuple[float, float]

# A number that is no part of a word ("x1"), of a longer number ("0.5.1") or of a percentage.
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?(?!\.?\w|\s*%)")


def parse_point(text: str) -> Point | None:
    """The (x, y) of an answer such as "0.35 0.21", "(0.35, 0.21)" or "It is at x = .35, y = .21."

    Returns: None unless exactly two numbers are there, both from 0 to 1: one is no point, and four are a box.
    """
    shares = parse_shares(text, 2)
    return (shares[0], shares[1]) if shares else None


def parse_shares(text: str, count: int) -> list[float] | None:
    """The numbers of an answer, whatever few words surround them; None unless there are exactly `count`, all from 0 to 1."""
    if len(_NUMBER.sub("", text.strip())) > SLACK:
        return None
    numbers = [float(match) for match in _NUMBER.findall(text)]
    return numbers if len(numbers) == count and all(0 <= number <= 1 for number in numbers) else None


def point_in_outline(prediction: str, outline: Sequence[Point]) -> float:
    """1.0 if the answer's point lies inside the closed outline; 0.0 if it lies outside or if there is no point.

    Even-odd rule: a ray from the point to the right crosses the outline an odd number of times. A point exactly on an edge
    may count either way.

    Args:
        outline: three corners or more, in order, as shares of the picture's width and height.
    Raises: ValueError for an outline that is none.
    """
    if len(outline) < 3 or any(len(corner) != 2 for corner in outline):
        raise ValueError(f"an outline is at least three corners [x, y] in order, got {list(outline)}")
    point = parse_point(prediction)
    if point is None:
        return 0.0
    x, y = point
    inside = False
    for (x0, y0), (x1, y1) in zip(outline, [*outline[1:], outline[0]]):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
            inside = not inside
    return float(inside)
