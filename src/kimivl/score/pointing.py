"""Whether an answer points at the asked thing.

What it is: `parse_point`, which finds the two coordinates in whatever words surround them, and `point_in_box`.
What it is not: a reader of boxes, or of coordinates in pixels or per cent. A point is two shares, of the picture's width and of
its height.
"""

import re
from collections.abc import Sequence

Point = tuple[float, float]

# A number that is no part of a word ("x1"), of a longer number ("0.5.1") or of a percentage.
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?(?!\.?\w|\s*%)")


def parse_point(text: str) -> Point | None:
    """The (x, y) of an answer such as "0.35 0.21", "(0.35, 0.21)" or "It is at x = .35, y = .21."

    Returns: None unless exactly two numbers are there, both from 0 to 1: one is no point, and four are a box.
    """
    numbers = [float(match) for match in _NUMBER.findall(text)]
    if len(numbers) != 2 or not all(0 <= number <= 1 for number in numbers):
        return None
    return numbers[0], numbers[1]


def point_in_box(prediction: str, box: Sequence[float]) -> float:
    """1.0 if the answer's point lies in the box, border included; 0.0 if it lies outside or if there is no point.

    Args:
        box: x0, y0, x1, y1 as shares of the picture's width and height.
    Raises: ValueError for a box that is none.
    """
    if len(box) != 4 or box[0] > box[2] or box[1] > box[3]:
        raise ValueError(f"a box is x0, y0, x1, y1 with x0 ≤ x1 and y0 ≤ y1, got {list(box)}")
    point = parse_point(prediction)
    if point is None:
        return 0.0
    return float(box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3])
