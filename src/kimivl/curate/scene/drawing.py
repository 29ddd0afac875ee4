"""Shapes and how they are drawn: outlines as polygons, so that every box is exact.

What it is: the names, colours and outlines of shapes, `Scene` (what is where, in pixels) and `paint`.
What it is not: the questions about a scene; `shapes.py` asks them.
Facts: the first three shapes and the colours are those of easy-VQA, so that what is learned here serves there.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

COLORS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "gray": (128, 128, 128),
    "black": (0, 0, 0),
    "teal": (0, 128, 128),
    "brown": (165, 42, 42),
}
SHAPES = ("circle", "rectangle", "triangle", "star")
Palette = tuple[tuple[str, ...], tuple[str, ...]]  # kinds, colours
EVERYTHING: Palette = (SHAPES, tuple(COLORS))
EASY: Palette = (SHAPES[:3], tuple(COLORS))  # easy-VQA's
Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels
OVERSAMPLING = 4
_ANGLES = np.linspace(0, 2 * np.pi, 60, endpoint=False) - np.pi / 2
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1)  # from the top, clockwise
GAP = 2.0  # pixels: smooth edges of neighbours must not mix


@dataclass(frozen=True)
class Shape:
    """One object: `outline` holds its corners in pixels [corners, 2] (x, y); the box is theirs."""

    kind: str
    color: str
    rgb: tuple[int, int, int]
    outline: np.ndarray

    @property
    def box(self) -> Box:
        """x0, y0, x1, y1 in pixels."""
        (x0, y0), (x1, y1) = self.outline.min(0), self.outline.max(0)
        return float(x0), float(y0), float(x1), float(y1)


@dataclass(frozen=True)
class Scene:
    """Shapes on a plain ground; `size` is (width, height) in pixels."""

    size: tuple[int, int]
    ground: tuple[int, int, int]
    shapes: tuple[Shape, ...]


def outline(kind: str, center: tuple[float, float], radius: float, rng: np.random.Generator) -> np.ndarray:
    """Corners of a shape inside the circle of `radius` around `center`; rectangles vary in their sides."""
    if kind == "circle":
        unit = _CIRCLE
    elif kind == "rectangle":
        half = np.array([1.0, rng.uniform(0.45, 1.0)])[:: rng.choice([1, -1])] * 0.88
        unit = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    elif kind == "triangle":
        unit = np.array([[0, -1], [1, 0.8], [-1, 0.8]])
    elif kind == "star":
        reach = np.where(np.arange(10) % 2 == 0, 1.0, 0.42)[:, None]
        unit = reach * _CIRCLE[::6]
    else:
        raise ValueError(f"no shape is called '{kind}': choose from {SHAPES}")
    return np.asarray(center) + radius * unit


def jittered(color: str, rng: np.random.Generator, amount: int = 12) -> tuple[int, int, int]:
    """The colour of that name, a little off."""
    off = rng.integers(-amount, amount + 1, 3).tolist()
    red, green, blue = (min(255, max(0, value + change)) for value, change in zip(COLORS[color], off))
    return red, green, blue


def light_ground(rng: np.random.Generator) -> tuple[int, int, int]:
    """A light background colour."""
    red, green, blue = rng.integers(226, 256, 3).tolist()
    return red, green, blue


def random_scene(
    count: int, size: tuple[int, int], radii: tuple[float, float], palette: Palette, rng: np.random.Generator
) -> Scene:
    """Up to `count` shapes of the palette whose boxes keep apart and inside the picture (fewer where no room is found).

    A radius in pixels is drawn from `radii` for each shape.
    """
    shapes: list[Shape] = []
    for _ in range(count * 12):
        if len(shapes) == count:
            break
        radius = rng.uniform(*radii)
        center = (rng.uniform(radius + 1, size[0] - radius - 1), rng.uniform(radius + 1, size[1] - radius - 1))
        kind, color = (names[rng.integers(len(names))] for names in palette)
        shape = Shape(kind, color, jittered(color, rng), outline(kind, center, radius, rng))
        if not any(_touch(shape.box, other.box) for other in shapes):
            shapes.append(shape)
    return Scene(size, light_ground(rng), tuple(shapes))


def _touch(a: Box, b: Box) -> bool:
    """Whether two boxes are less than `GAP` pixels apart."""
    return a[0] < b[2] + GAP and b[0] < a[2] + GAP and a[1] < b[3] + GAP and b[1] < a[3] + GAP


def paint(scene: Scene) -> Image.Image:
    """The picture, with smooth edges."""
    width, height = scene.size
    canvas = Image.new("RGB", (width * OVERSAMPLING, height * OVERSAMPLING), scene.ground)
    pen = ImageDraw.Draw(canvas)
    for shape in scene.shapes:
        # A pixel index names a pixel's middle, hence the half.
        pen.polygon([(x, y) for x, y in (shape.outline * OVERSAMPLING - 0.5).tolist()], fill=shape.rgb)
    return canvas.reduce(OVERSAMPLING)
