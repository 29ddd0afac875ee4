"""How well an answer's box fits the true one.

What it is: `parse_box`, `box_overlap` (intersection over union) and `point_in_box`.
What it is not: a guess at the unit. Four shares of width and height, left, top, right, bottom, as everywhere in this project.
"""

from collections.abc import Sequence

from kimivl.score.pointing import parse_point, parse_shares

Box = tuple[float, float, float, float]


def parse_box(text: str) -> Box | None:
    """The box of an answer such as "[0.1, 0.2, 0.5, 0.6]"; corners may come in any order.

    Returns: None unless exactly four numbers are there, all from 0 to 1, around an area: several boxes are no answer.
    """
    shares = parse_shares(text, 4)
    if shares is None:
        return None
    (left, right), (top, bottom) = sorted(shares[0::2]), sorted(shares[1::2])
    return (left, top, right, bottom) if left < right and top < bottom else None


def box_overlap(prediction: str, truth: Sequence[float]) -> float:
    """Intersection over union with the true box, 0.0 without a box. Raises: ValueError for a truth without an area."""
    left, top, right, bottom = _checked(truth)
    box = parse_box(prediction)
    if box is None:
        return 0.0
    width, height = min(right, box[2]) - max(left, box[0]), min(bottom, box[3]) - max(top, box[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((right - left) * (bottom - top) + (box[2] - box[0]) * (box[3] - box[1]) - shared)


def point_in_box(prediction: str, truth: Sequence[float]) -> float:
    """1.0 if the answer's point lies in the box, its edge included, else 0.0."""
    left, top, right, bottom = _checked(truth)
    point = parse_point(prediction)
    return float(point is not None and left <= point[0] <= right and top <= point[1] <= bottom)


def _checked(box: Sequence[float]) -> Box:
    if len(box) != 4 or not (box[0] < box[2] and box[1] < box[3]):
        raise ValueError(f"a box is left < right and top < bottom as [left, top, right, bottom], got {list(box)}")
    return box[0], box[1], box[2], box[3]
