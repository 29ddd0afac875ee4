"""Charts: read every bar first, then compute: the spread, the sum of two bars, how many are above a value."""

from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image, ImageDraw

from kimivl.curate.reason.problem import SIDE, Problem, Solution, Step, misread, noisy, tile

UNIT, TALLEST = 5, 9  # pixels of a unit of height, units of the tallest bar
BASE = 3 * SIDE - 1  # the row of pixels that bars stand on: they and their names fill whole tiles
NAMES = "abcdefgh"
Compute = Callable[[list[int]], tuple[str, int]]  # heights → (the sum in words, its value)


def charts(rng: np.random.Generator, bars: int) -> Problem:
    """A chart of `bars` bars of 1 to 9 units. Raises: ValueError for more bars than names."""
    if not 2 <= bars <= len(NAMES):
        raise ValueError(f"a chart has 2 to {len(NAMES)} bars, got {bars}")
    heights = rng.integers(1, TALLEST + 1, bars).tolist()
    question, compute = _asked(bars, rng)

    def careless(rng: np.random.Generator) -> Solution:
        place = int(rng.integers(bars))
        return _solved(misread(heights, place, _off(heights[place], rng)), compute, rng)

    content = " ".join(map(str, heights))
    draw = partial(_drawn, heights, rng.spawn(1)[0])
    return Problem("charts", draw, question, content, bars, _solved(heights, compute, rng), careless)


def _asked(bars: int, rng: np.random.Generator) -> tuple[str, Compute]:
    first, second = sorted(int(n) for n in rng.permutation(bars)[:2])
    limit = int(rng.integers(2, TALLEST))

    def spread(heights: list[int]) -> tuple[str, int]:
        return f"{max(heights)}-{min(heights)}", max(heights) - min(heights)

    def total(heights: list[int]) -> tuple[str, int]:
        return f"{heights[first]}+{heights[second]}", heights[first] + heights[second]

    def above(heights: list[int]) -> tuple[str, int]:
        names = [name for name, height in zip(NAMES, heights) if height > limit]
        return " ".join(names) or "none", len(names)

    questions: list[tuple[str, Compute]] = [
        ("How much taller is the tallest bar than the shortest?", spread),
        (f"What is {NAMES[first]} plus {NAMES[second]}?", total),
        (f"How many bars are taller than {limit}?", above),
    ]
    return questions[int(rng.integers(len(questions)))]


def _solved(heights: list[int], compute: Compute, rng: np.random.Generator) -> Solution:
    steps = [Step("plan", f"{len(heights)} bars")]
    steps += [Step("work", f"{name}{height}", (f"{name}{_off(height, rng)}",)) for name, height in zip(NAMES, heights)]
    words, value = compute(heights)
    return Solution((*steps, Step("work", f"{words}={value}", (f"{words}={value + 1}",))), str(value))


def _off(height: int, rng: np.random.Generator) -> int:
    """A height that is misread by one."""
    return height + (1 if height == 1 or (height < TALLEST and rng.random() < 0.5) else -1)


def _drawn(heights: list[int], rng: np.random.Generator) -> Image.Image:
    """Bars on a scale with a line at every unit, their names below."""
    picture = Image.new("RGB", (SIDE * len(heights), BASE + 1 + SIDE), (250, 250, 250))
    draw = ImageDraw.Draw(picture)
    for unit in range(TALLEST + 1):
        draw.line([(0, BASE - unit * UNIT), (picture.width, BASE - unit * UNIT)], fill=(205, 205, 205))
    for place, height in enumerate(heights):
        color = tuple(rng.integers(30, 170, 3).tolist())
        draw.rectangle([place * SIDE + 3, BASE - height * UNIT, (place + 1) * SIDE - 4, BASE], fill=color)
    for place in range(len(heights)):
        picture.paste(tile(NAMES[place], rng), (place * SIDE, BASE + 1))
    return noisy(picture, rng)
