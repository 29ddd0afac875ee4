"""Running totals: tiles with a letter and a digit, in any order; add the digits in the order of the letters, keep the last digit.

Why the last digit: every step is then a look at one tile and one sum of two digits, and a wrong one changes the answer.
"""

import numpy as np
from PIL import Image

from kimivl.curate.reason.problem import Problem, Solution, Step, laid_out, misread, tile

LETTERS = "abcdefghijkl"
QUESTION = "Add the digits in the order of the letters. Last digit?"


def totals(rng: np.random.Generator, count: int) -> Problem:
    """A problem of `count` tiles. Raises: ValueError for more tiles than letters."""
    if not 2 <= count <= len(LETTERS):
        raise ValueError(f"a running total has 2 to {len(LETTERS)} tiles, got {count}")
    digits = rng.integers(0, 10, count).tolist()
    columns = rng.permutation(count)
    shown = [(LETTERS[place], str(digits[place])) for place in columns]
    brush = rng.spawn(1)[0]

    def draw() -> Image.Image:
        return laid_out([[tile(sign, brush) for sign in row] for row in zip(*shown)], brush)

    def careless(rng: np.random.Generator) -> Solution:
        place = int(rng.integers(count))
        return _solved(misread(digits, place, _other(digits[place], rng)), rng)

    content = " ".join(letter + digit for letter, digit in shown)
    return Problem("totals", draw, QUESTION, content, count, _solved(digits, rng), careless)


def _solved(digits: list[int], rng: np.random.Generator) -> Solution:
    steps, total = [Step("plan", f"{LETTERS[0]} to {LETTERS[len(digits) - 1]}")], 0
    for letter, digit in zip(LETTERS, digits):
        before, total = total, (total + digit) % 10
        seen = _other(digit, rng)
        slips = (f"{letter}{digit} {_other(total, rng)}", f"{letter}{seen} {(before + seen) % 10}")
        steps.append(Step("work", f"{letter}{digit} {total}", slips))
    return Solution(tuple(steps), str(total))


def _other(digit: int, rng: np.random.Generator) -> int:
    return (digit + int(rng.integers(1, 10))) % 10
