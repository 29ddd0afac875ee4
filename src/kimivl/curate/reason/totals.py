"""Running totals: letters in any order, a digit behind each; add the digits in the order of the letters, keep the last digit.

The thought reads all tiles as they stand, and then looks each letter up in what it has read.
Why the last digit: every step is then one digit looked up and one sum of two digits, and a wrong one changes the answer.
"""

import numpy as np
from PIL import Image

from kimivl.curate.reason.problem import Problem, Solution, Step, laid_out, misread, tile

LETTERS = "abcdefghijkl"
LARGEST = 6  # digits are 1 to 6, so that there are 60 different sums to learn
QUESTION = "Add the digits in the order of the letters. Last digit?"


def totals(rng: np.random.Generator, count: int) -> Problem:
    """A problem of `count` tiles. Raises: ValueError for more tiles than letters."""
    if not 2 <= count <= len(LETTERS):
        raise ValueError(f"a running total has 2 to {len(LETTERS)} tiles, got {count}")
    digits = rng.integers(1, LARGEST + 1, count).tolist()
    order = [int(place) for place in rng.permutation(count)]
    shown = [(LETTERS[place], str(digits[place])) for place in order]
    brush = rng.spawn(1)[0]

    def draw() -> Image.Image:
        return laid_out([[tile(sign, brush) for pair in shown for sign in pair]], brush)

    def careless(rng: np.random.Generator) -> Solution:
        place = int(rng.integers(count))
        return _solved(misread(digits, place, _other(digits[place], rng)), order, rng)

    content = " ".join(letter + digit for letter, digit in shown)
    return Problem("totals", draw, QUESTION, content, count, _solved(digits, order, rng), careless, in_any_order=True)


def _solved(digits: list[int], order: list[int], rng: np.random.Generator) -> Solution:
    """A line for each tile as they stand, then one for each as they are added, with the total so far."""
    steps = [Step("plan", f"{len(digits)} tiles")]
    steps += [Step("work", f"{LETTERS[n]}{digits[n]}", (f"{LETTERS[n]}{_other(digits[n], rng)}",)) for n in order]
    total = 0
    for letter, digit in zip(LETTERS, digits):
        before, total = total, (total + digit) % 10
        seen = _other(digit, rng)
        slips = (f"{letter}{digit} {(total + int(rng.integers(1, 10))) % 10}", f"{letter}{seen} {(before + seen) % 10}")
        steps.append(Step("work", f"{letter}{digit} {total}", slips))
    return Solution(tuple(steps), str(total))


def _other(digit: int, rng: np.random.Generator) -> int:
    """A digit that it is misread for."""
    return (digit + int(rng.integers(LARGEST - 1))) % LARGEST + 1
