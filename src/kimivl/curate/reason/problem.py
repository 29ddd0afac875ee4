"""One problem whose answer is known: a picture, a question, the course of a right thought, and that of a careless one.

What it is: `Problem`, `Solution`, `Step`, and `tile`, the small pictures that the problems' own files lay out.
What it is not: the wording of a thought (`trajectory.py`). The families of problems are `totals.py`, `paths.py`, `charts.py` and
`search.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from kimivl.curate.fonts import font
from kimivl.curate.ocr.words import BASELINE

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

    `in_any_order`: the order of what is shown hardly changes what is to be solved.
    `careless(rng)`: the solution of someone who misreads one thing of the picture and goes on from there without noticing.
    """

    family: str
    draw: Callable[[], Image.Image]
    question: str
    content: str
    difficulty: int
    solution: Solution
    careless: Callable[[np.random.Generator], Solution]
    in_any_order: bool = False

    @cached_property
    def picture(self) -> Image.Image:
        """Drawn when it is first asked for: most of the work, and often the content is enough."""
        return self.draw()

    @property
    def shown(self) -> str:
        """Tells apart what is to be solved, whatever is asked about it: "family/content", sorted where the order is none."""
        content = " ".join(sorted(self.content.split())) if self.in_any_order else self.content
        return f"{self.family}/{content}"

    @property
    def key(self) -> str:
        """Tells problems apart: "family/content/question"."""
        return f"{self.family}/{self.content}/{self.question}"


def tile(letters: str, rng: np.random.Generator) -> Image.Image:
    """Dark letters on a light square, a little left or right of its middle, on the line on which words are written too: what a
    model knows of words helps it here."""
    *ground, red, green, blue = rng.integers((220, 220, 220, 0, 0, 0), (256, 256, 256, 70, 70, 70)).tolist()
    picture = Image.new("RGB", (SIDE, SIDE), tuple(ground))
    place = (SIDE / 2 + rng.uniform(-1, 1), BASELINE)
    ImageDraw.Draw(picture).text(place, letters, fill=(red, green, blue), font=font("DejaVuSans-Bold", 12), anchor="ms")
    return picture


def noisy(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The picture with normal noise on every value."""
    values = rng.standard_normal((picture.height, picture.width, 3), np.float32) * np.float32(NOISE) + np.asarray(picture)
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def laid_out(tiles: list[list[Image.Image]], rng: np.random.Generator) -> Image.Image:
    """Rows of tiles as one picture, with noise."""
    picture = Image.new("RGB", (SIDE * len(tiles[0]), SIDE * len(tiles)))
    for row, line in enumerate(tiles):
        for column, one in enumerate(line):
            picture.paste(one, (column * SIDE, row * SIDE))
    return noisy(picture, rng)


def misread(values: list[int], place: int, value: int) -> list[int]:
    """The values with another one at one place."""
    return [*values[:place], value, *values[place + 1 :]]
