"""One problem whose answer is known: a picture, a question, the course of a right thought, and that of a careless one.

What it is: `Problem`, `Solution`, `Step`, and `tile`, the small pictures that the problems' own files lay out.
What it is not: the wording of a thought (`trajectory.py`). The families of problems are `totals.py`, `paths.py`, `charts.py` and
`search.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from kimivl.curate.fonts import font

SIDE = 16  # of a tile, in pixels: one merged patch of nano
NOISE = 6.0  # standard deviation of what is added to every value

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
    """`content` says exactly what the picture shows, without its noise: two problems of a family with the same content and the
    same question are one problem, however they are drawn. `difficulty` is the size of the problem: tiles, hops or bars.

    `careless(rng)`: the solution of someone who misreads one thing of the picture and goes on from there without noticing.
    """

    family: str
    picture: Image.Image
    question: str
    content: str
    difficulty: int
    solution: Solution
    careless: Callable[[np.random.Generator], Solution]

    @property
    def key(self) -> str:
        """Tells problems apart: "family/content/question"."""
        return f"{self.family}/{self.content}/{self.question}"


def tile(letters: str, rng: np.random.Generator) -> Image.Image:
    """Dark letters on a light square, a little off its middle, with noise."""
    ground, ink = (tuple(rng.integers(low, high, 3).tolist()) for low, high in ((220, 256), (0, 70)))
    picture = Image.new("RGB", (SIDE, SIDE), ground)
    middle = np.array([SIDE / 2, SIDE / 2]) + rng.uniform(-1, 1, 2)
    ImageDraw.Draw(picture).text(tuple(middle.tolist()), letters, fill=ink, font=font("DejaVuSans-Bold", 12), anchor="mm")
    return noisy(picture, rng)


def noisy(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The picture with normal noise on every value."""
    values = np.asarray(picture) + rng.normal(0, NOISE, (picture.height, picture.width, 3))
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def laid_out(tiles: list[list[Image.Image]]) -> Image.Image:
    """Rows of tiles as one picture."""
    picture = Image.new("RGB", (SIDE * len(tiles[0]), SIDE * len(tiles)))
    for row, line in enumerate(tiles):
        for column, one in enumerate(line):
            picture.paste(one, (column * SIDE, row * SIDE))
    return picture


def misread(values: list[int], place: int, value: int) -> list[int]:
    """The values with another one at one place."""
    return [*values[:place], value, *values[place + 1 :]]
