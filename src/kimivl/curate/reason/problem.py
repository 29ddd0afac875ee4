"""One problem whose answer is known: a picture, a question, the course of a right thought, and that of a careless one.

What it is: `Problem`, `Solution`, `Step`, and `tile`, the small pictures that the problems' own files lay out.
What it is not: the wording of a thought (`trajectory.py`). The families of problems are `totals.py`, `paths.py`, `charts.py` and
`search.py`.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Behaviour = Literal["plan", "work", "explore", "evaluate"]


@dataclass(frozen=True)
class Step:
    """A line of a thought.

    `slips`: what a careless solver would write instead; empty where nothing can go wrong.
    """

    behaviour: Behaviour
    text: str
    slips: tuple[str, ...] = ()


@dataclass(frozen=True)
class Solution:
    """A thought's course, and where it ends."""

    steps: tuple[Step, ...]
    answer: str


@dataclass(frozen=True)
class Problem:
    """`difficulty` is the size of the problem: tiles, hops or bars.

    `careless(rng)`: the solution of someone who misreads one thing of the picture and goes on from there without noticing.
    """

    family: str
    picture: Image.Image
    question: str
    difficulty: int
    solution: Solution
    careless: Callable[[np.random.Generator], Solution]


def tile(letters: str, side: int, rng: np.random.Generator, noise: float = 6.0) -> Image.Image:
    """Dark letters on a light square of `side` pixels, a little off its middle, with noise of this standard deviation."""
    ground, ink = (tuple(rng.integers(low, high, 3).tolist()) for low, high in ((220, 256), (0, 70)))
    picture = Image.new("RGB", (side, side), ground)
    middle = np.array([side / 2, side / 2]) + rng.uniform(-1, 1, 2)
    ImageDraw.Draw(picture).text(tuple(middle.tolist()), letters, fill=ink, font=_font(round(side * 0.72)), anchor="mm")
    return noisy(picture, rng, noise)


def noisy(picture: Image.Image, rng: np.random.Generator, amount: float) -> Image.Image:
    """The picture with normal noise on every value."""
    values = np.asarray(picture) + rng.normal(0, amount, (picture.height, picture.width, 3))
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def laid_out(tiles: list[list[Image.Image]]) -> Image.Image:
    """Rows of equal tiles as one picture."""
    side = tiles[0][0].width
    picture = Image.new("RGB", (side * len(tiles[0]), side * len(tiles)))
    for row, line in enumerate(tiles):
        for column, one in enumerate(line):
            picture.paste(one, (column * side, row * side))
    return picture


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"), size)
