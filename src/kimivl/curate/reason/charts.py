"""Charts of lying bars: read every bar first, then compute: the spread, the sum of two bars, how many are longer than a value.

Bars lie, so that a bar's name and its length stand next to each other in the order in which a picture is read.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image, ImageDraw

from kimivl.curate.reason.problem import SIDE, Problem, Solution, Step, misread, noisy, tile

UNIT, LONGEST = 4, 8  # pixels of a unit, units of the longest bar: two tiles
NAMES = "abcdefgh"
Compute = Callable[[list[int]], tuple[list[Step], int]]  # lengths → (the lines that follow the reading, the answer)


def charts(rng: np.random.Generator, bars: int) -> Problem:
    """A chart of `bars` bars of 1 to 8 units. Raises: ValueError for more bars than names."""
    if not 2 <= bars <= len(NAMES):
        raise ValueError(f"a chart has 2 to {len(NAMES)} bars, got {bars}")
    lengths = rng.integers(1, LONGEST + 1, bars).tolist()
    question, compute = _asked(bars, rng)

    def careless(rng: np.random.Generator) -> Solution:
        place = int(rng.integers(bars))
        return _solved(misread(lengths, place, _off(lengths[place], rng)), compute, rng)

    content = " ".join(map(str, lengths))
    draw = partial(_drawn, lengths, rng.spawn(1)[0])
    return Problem("charts", draw, question, content, bars, _solved(lengths, compute, rng), careless)


def _asked(bars: int, rng: np.random.Generator) -> tuple[str, Compute]:
    first, second = sorted(int(n) for n in rng.permutation(bars)[:2])
    limit = int(rng.integers(2, LONGEST))

    def spread(lengths: list[int]) -> tuple[list[Step], int]:
        value = max(lengths) - min(lengths)
        return [_sum(f"{max(lengths)}-{min(lengths)}", value)], value

    def total(lengths: list[int]) -> tuple[list[Step], int]:
        value = lengths[first] + lengths[second]
        recalled = " ".join(f"{NAMES[place]}{lengths[place]}" for place in (first, second))
        return [Step("plan", recalled), _sum(f"{lengths[first]}+{lengths[second]}", value)], value

    questions: list[tuple[str, Compute]] = [
        ("How much longer is the longest bar than the shortest?", spread),
        (f"What is {NAMES[first]} plus {NAMES[second]}?", total),
        (f"How many bars are longer than {limit}?", partial(_counted, limit)),
    ]
    return questions[int(rng.integers(len(questions)))]


def _solved(lengths: list[int], compute: Compute, rng: np.random.Generator) -> Solution:
    steps = [Step("plan", f"{len(lengths)} bars")]
    steps += [Step("work", f"{name}{length}", (f"{name}{_off(length, rng)}",)) for name, length in zip(NAMES, lengths)]
    computed, value = compute(lengths)
    return Solution((*steps, *computed), str(value))


def _sum(words: str, value: int) -> Step:
    return Step("work", f"{words}={value}", (f"{words}={value + 1}",))


def _counted(limit: int, lengths: list[int]) -> tuple[list[Step], int]:
    """A line for each bar: whether it is longer, and how many are so far."""
    steps, count = [], 0
    for name, length in zip(NAMES, lengths):
        more, no = f"{name}{length} more {count + 1}", f"{name}{length} no {count}"
        right, wrong = (more, no) if length > limit else (no, more)
        steps.append(Step("evaluate", right, (wrong,)))
        count += length > limit
    return steps, count


def _off(length: int, rng: np.random.Generator) -> int:
    """A length that is misread by one."""
    return length + (1 if length == 1 or (length < LONGEST and rng.random() < 0.5) else -1)


def _drawn(lengths: list[int], rng: np.random.Generator) -> Image.Image:
    """Names, and behind each its bar on a scale with a line at every unit."""
    picture = Image.new("RGB", (SIDE + LONGEST * UNIT, SIDE * len(lengths)), (250, 250, 250))
    draw = ImageDraw.Draw(picture)
    for unit in range(LONGEST):
        draw.line([(SIDE + unit * UNIT, 0), (SIDE + unit * UNIT, picture.height)], fill=(205, 205, 205))
    for place, length in enumerate(lengths):
        color = tuple(rng.integers(30, 170, 3).tolist())
        top = place * SIDE
        draw.rectangle([SIDE, top + 3, SIDE + length * UNIT - 1, top + SIDE - 4], fill=color)
        picture.paste(tile(NAMES[place], rng), (0, top))
    return noisy(picture, rng)
