"""Where things go when a picture is mirrored, turned, framed anew, resized or seen askew.

What it is: `Warp`, a map of the plane with the sizes of the pictures before and after. Pictures, points, boxes, polygons and
directions pass through the same one, so that what is said about a picture stays true of the warped picture.
What it is not: a choice of warps, the numbers and words of a text (`coordinates.py`, `directions.py`), or a change of colours.
Facts: coordinates are those of edges, not of pixels: a picture of width W spans 0 to W, and pixel n lies from n to n + 1. A
mirror takes x to W − x, for points and boxes alike; libraries that mirror points with W − 1 − x move them by a pixel
(`reference/data.md` §7).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from PIL import Image

Size = tuple[int, int]  # width, height
Box = tuple[float, float, float, float]  # left, top, right, bottom

DIRECTIONS = {"right": (1.0, 0.0), "down": (0.0, 1.0), "left": (-1.0, 0.0), "up": (0.0, -1.0)}
STILL_STRAIGHT = 20.0  # degrees by which a direction may turn and keep its name
STRAIGHT_TURNS = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}


# "pictures": there is more than one.
Reason = Literal["places", "directions", "writing", "tokens", "choices", "format", "pictures", "language"]


class Unspeakable(ValueError):
    """What was true of the picture cannot be said of the changed one. `reason`: the kind of it, for counting."""

    def __init__(self, message: str, reason: Reason = "places"):
        super().__init__(message)
        self.reason: Reason = reason


@dataclass(frozen=True)
class Warp:
    """A homography from a picture of `before` pixels onto one of `after`.

    `matrix`: three rows that take (x, y, 1) to (x', y', w'), the new place being (x'/w', y'/w').
    Raises: ValueError for a matrix that is not finite, that cannot be undone, or under which a part of the picture lies behind
        the eye, and for sizes without pixels.
    """

    matrix: tuple[tuple[float, float, float], ...]
    before: Size
    after: Size

    def __post_init__(self) -> None:
        if min(*self.before, *self.after) < 1:
            raise ValueError(f"a picture has at least one pixel a side, got {self.before} and {self.after}")
        if self.array.shape != (3, 3) or not np.isfinite(self.array).all() or abs(np.linalg.det(self.array)) < 1e-12:
            raise ValueError(f"no map of the plane that can be undone: {self.matrix}")
        if (_corners(self.before) @ self.array[2, :2] + self.array[2, 2] <= 0).any():
            raise ValueError("a corner of the picture would lie behind the eye: tilt it less")

    @cached_property
    def array(self) -> np.ndarray:
        return np.array(self.matrix, np.float64)

    @cached_property
    def inverse(self) -> "Warp":
        """The way back."""
        back = np.linalg.inv(self.array)
        return _warp(back * np.sign((_corners(self.after) @ back[2, :2] + back[2, 2])[0]), self.after, self.before)

    def then(self, other: "Warp") -> "Warp":
        """This one, and the other on its result. Raises: ValueError if the sizes do not meet."""
        if self.after != other.before:
            raise ValueError(f"a picture of {self.after} does not fit a warp of pictures of {other.before}")
        return _warp(other.array @ self.array, self.before, other.after)

    def points(self, points: np.ndarray) -> np.ndarray:
        """Places in the warped picture, also outside of it. [N, 2] → [N, 2]"""
        homogeneous = np.asarray(points, np.float64) @ self.array[:, :2].T + self.array[:, 2]
        return homogeneous[:, :2] / homogeneous[:, 2:]

    def box(self, box: Box) -> Box:
        """The smallest upright box around the warped box, within the picture.

        Raises: Unspeakable if less than a pixel of it is left.
        """
        left, top, right, bottom = box
        hull = self.points(np.array([(left, top), (right, top), (right, bottom), (left, bottom)]))
        low, high = np.clip(hull.min(0), 0, self.after), np.clip(hull.max(0), 0, self.after)
        if (high - low < 1).any():
            raise Unspeakable(f"the box {box} lies outside of the warped picture")
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    def direction(self, name: str) -> str:
        """What is said of the warped picture where `name` was said of the picture: "left" becomes "right" in a mirror.

        Raises: Unspeakable where the direction is no straight one any more, or not the same everywhere.
        """
        found = self.directions[name]
        if found is None:
            raise Unspeakable(f"{name!r} points in no single straight direction in the warped picture", "directions")
        return found

    @cached_property
    def directions(self) -> dict[str, str | None]:
        """What is said of the warped picture for every direction; None where `direction` has nothing to say."""
        corners = _corners(self.before)
        ways = np.array(list(DIRECTIONS.values())) * 1e-3 * min(self.before)
        moved = self.points((corners[None] + ways[:, None]).reshape(-1, 2)).reshape(len(ways), -1, 2) - self.points(corners)
        names = [{_named(vector) for vector in vectors} for vectors in moved]
        return {way: found.pop() if len(found) == 1 else None for way, found in zip(DIRECTIONS, names)}

    @cached_property
    def keeps_frame(self) -> bool:
        """Whether the frame comes to lie on the frame, whatever way round: the left edge is an edge afterwards."""
        moved = self.points(_corners(self.before))
        return all(np.abs(moved - corner).max(1).min() < 1e-6 * max(self.after) for corner in _corners(self.after))

    @property
    def mirrors(self) -> bool:
        """Whether writing would be mirrored."""
        return float(np.linalg.det(self.array)) * float(np.sign(self.array[2, 2])) < 0

    def picture(self, picture: Image.Image, ground: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
        """The warped picture; `ground` is what lies around the old one. Mirrors, straight turns and windows move whole pixels.

        Raises: ValueError for a picture of another size.
        """
        if picture.size != self.before:
            raise ValueError(f"this warp is of pictures of {self.before}, not of {picture.size}")
        exact = self._moved_as_it_is(picture, ground)
        if exact is not None:
            return exact
        back = np.linalg.inv(self.array)
        coefficients = tuple((back / back[2, 2]).flatten()[:8])
        return picture.convert("RGB").transform(
            self.after, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BICUBIC, fillcolor=ground
        )

    def _moved_as_it_is(self, picture: Image.Image, ground: tuple[int, int, int]) -> Image.Image | None:
        for candidate, method in _straight(self.before).items():
            if candidate.after == self.after and np.allclose(candidate.array, self.array / self.array[2, 2], atol=1e-9):
                return picture.transpose(method) if method is not None else picture.copy()
        shift = -self.array[:2, 2]
        if np.array_equal(self.array, np.array([[1, 0, -shift[0]], [0, 1, -shift[1]], [0, 0, 1]])) and (shift % 1 == 0).all():
            seen = Image.new("RGB", self.after, ground)
            seen.paste(picture.convert("RGB"), (-int(shift[0]), -int(shift[1])))
            return seen
        return None


def identity(size: Size) -> Warp:
    """Nothing moves."""
    return _warp(np.eye(3), size, size)


def mirror(size: Size) -> Warp:
    """Left and right change places."""
    return _warp(np.array([[-1, 0, size[0]], [0, 1, 0], [0, 0, 1]]), size, size)


def straight_turn(size: Size, degrees: int) -> Warp:
    """Turned clockwise by 90, 180 or 270 degrees. Raises: ValueError for another angle."""
    width, height = size
    matrices = {
        90: [[0, -1, height], [1, 0, 0], [0, 0, 1]],
        180: [[-1, 0, width], [0, -1, height], [0, 0, 1]],
        270: [[0, 1, 0], [-1, 0, width], [0, 0, 1]],
    }
    if degrees not in matrices:
        raise ValueError(f"a straight turn is by 90, 180 or 270 degrees, got {degrees}")
    return _warp(np.array(matrices[degrees]), size, size if degrees == 180 else (height, width))


def turn(size: Size, degrees: float) -> Warp:
    """Turned clockwise around the middle, on a ground so large that nothing is cut off."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    (width, height), spread = size, np.abs([[cosine, sine], [sine, cosine]])
    after = [math.ceil(round(side, 6)) for side in (spread @ size).tolist()]
    x, y = after[0] / 2 - cosine * width / 2 + sine * height / 2, after[1] / 2 - sine * width / 2 - cosine * height / 2
    return _warp(np.array([[cosine, -sine, x], [sine, cosine, y], [0, 0, 1]]), size, (after[0], after[1]))


def window(size: Size, box: tuple[int, int, int, int]) -> Warp:
    """What lies in the box of whole pixels; it may reach beyond the picture. Raises: ValueError for an empty box."""
    left, top, right, bottom = box
    return _warp(np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]]), size, (right - left, bottom - top))


def resize(size: Size, after: Size) -> Warp:
    """The whole picture at another size."""
    return _warp(np.diag([after[0] / size[0], after[1] / size[1], 1.0]), size, after)


def perspective(size: Size, corners: Sequence[tuple[float, float]]) -> Warp:
    """The picture's corners, clockwise from the top left, move to these places; the size stays.

    Raises: ValueError for corners that no flat picture could have.
    """
    rows, values = [], []
    for (x, y), (u, v) in zip(_corners(size).tolist(), corners, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    try:
        solution = np.linalg.solve(np.array(rows), np.array(values))
    except np.linalg.LinAlgError:
        raise ValueError(f"three of the corners lie on one line: {list(corners)}") from None
    return _warp(np.append(solution, 1.0).reshape(3, 3), size, size)


def _warp(array: np.ndarray, before: Size, after: Size) -> Warp:
    return Warp(tuple((float(a), float(b), float(c)) for a, b, c in array), before, after)


def _corners(size: Size) -> np.ndarray:
    """Clockwise from the top left. [4, 2]"""
    width, height = size
    return np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64)


def _straight(size: Size) -> dict[Warp, Image.Transpose | None]:
    """Warps that only move whole pixels, and how Pillow calls them."""
    turns: dict[Warp, Image.Transpose | None] = {straight_turn(size, degrees): how for degrees, how in STRAIGHT_TURNS.items()}
    return {identity(size): None, mirror(size): Image.Transpose.FLIP_LEFT_RIGHT} | turns


def _named(vector: np.ndarray) -> str | None:
    """The straight direction that is nearest, if it is near."""
    unit = vector / np.linalg.norm(vector)
    name, cosine = max(((name, float(unit @ np.array(way))) for name, way in DIRECTIONS.items()), key=lambda found: found[1])
    return name if cosine >= math.cos(math.radians(STILL_STRAIGHT)) else None
