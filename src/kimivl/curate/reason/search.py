"""Search: number tiles and a target; find the two tiles that add up to it.

The thought reads all tiles, tries pair after pair from the left, judges each, and goes back.
How many trials it takes is luck, so thoughts have many lengths, and a longer budget finds more.
"""

from itertools import combinations

import numpy as np
from PIL import Image

from kimivl.curate.reason.problem import Problem, Solution, Step, laid_out, misread, tile

LARGEST = 9


def search(rng: np.random.Generator, count: int) -> Problem:
    """A problem of `count` different digits of which exactly one pair adds up to the target.

    Raises: ValueError for fewer than 3 or more than 7 tiles.
    """
    if not 3 <= count <= 7:
        raise ValueError(f"a search has 3 to 7 tiles, got {count}")
    numbers, target = _drawn_numbers(rng, count)
    solution = _solved(numbers, target)

    def careless(rng: np.random.Generator) -> Solution:
        place = int(rng.integers(count))
        return _solved(misread(numbers, place, numbers[place] % LARGEST + 1), target)

    brush = rng.spawn(1)[0]

    def draw() -> Image.Image:
        return laid_out([[tile(str(number), brush) for number in numbers]], brush)

    question = f"Which two numbers add up to {target}? Say the left one first."
    content = " ".join(map(str, numbers))
    return Problem("search", draw, question, content, count, solution, careless, in_any_order=True)


def _solved(numbers: list[int], target: int) -> Solution:
    """Pair after pair until one fits; who has misread a number may find none, and answers with the last pair."""
    steps = [Step("plan", f"{' '.join(map(str, numbers))} make {target}")]
    for left, right in combinations(numbers, 2):
        total = left + right
        verdict = "yes" if total == target else "low" if total < target else "high"
        steps.append(Step("explore", f"{left}+{right}={total} {verdict}", (f"{left}+{right}={total + 1} low",)))
        if total == target:
            break
    return Solution(tuple(steps), f"{left} {right}")


def _drawn_numbers(rng: np.random.Generator, count: int) -> tuple[list[int], int]:
    """Different digits, and a target that one pair makes."""
    while True:
        numbers = [int(n) for n in rng.permutation(LARGEST)[:count] + 1]
        sums = [first + second for first, second in combinations(numbers, 2)]
        alone = [total for total in sums if sums.count(total) == 1]
        if alone:
            return numbers, alone[int(rng.integers(len(alone)))]
