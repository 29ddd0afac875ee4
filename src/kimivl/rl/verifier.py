"""Whether responses are right: the score of what stands behind the thought, and nothing else.

What it is: `Verifier`, one rule of `score/` by name, applied to whole responses.
What it is not: the rules themselves, or rewards for length. A response that did not end by itself is wrong, whatever it says.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from kimivl.processor.thoughts import split_thought
from kimivl.score.choice import choice
from kimivl.score.exact import exact
from kimivl.score.maths import maths
from kimivl.score.maths_pool import MathsPool
from kimivl.score.number import number, relaxed_number

Score = Callable[[str, str], float]  # (answer, truth) → 0 to 1

SCORES: dict[str, Score] = {
    "exact": exact,
    "number": number,
    "relaxed_number": relaxed_number,
    "choice": choice,
}
MATHS_WORKERS = 2


class Verifier:
    """A context manager: `maths` has child processes, which end with it.

    Args:
        score: a name of `SCORES`, or "maths".
    """

    def __init__(self, score: str):
        self._stack = ExitStack()
        self._score = self._maths() if score == "maths" else SCORES[score]

    def _maths(self) -> Score:
        return partial(maths, equal=self._stack.enter_context(MathsPool(MATHS_WORKERS)).equal)

    def right(self, texts: Sequence[str], truth: str) -> list[bool]:
        """Of each response to a problem."""
        return [self._score(split_thought(text)[1], truth) == 1.0 for text in texts]

    def __enter__(self) -> "Verifier":
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()
