"""Whether responses are right: the score of what stands behind the thought, and nothing else.

What it is: `Verifier`, one rule of `score/` by name, applied to whole responses.
What it is not: the rules themselves, or rewards for length. A response that did not end by itself is wrong, whatever it says.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from kimivl.processor.thoughts import split_thought
from kimivl.score.anls import anls_reached
from kimivl.score.boxes import Box, box_overlap, parse_box, point_in_box
from kimivl.score.choice import choice
from kimivl.score.exact import exact
from kimivl.score.maths import maths
from kimivl.score.maths_pool import MathsPool
from kimivl.score.number import number, relaxed_number

Score = Callable[[str, str], float]  # (answer, truth) → 0 to 1

BOX_REACHED = 0.5  # intersection over union from which a box counts as found


def _true_box(truth: str) -> Box:
    box = parse_box(truth)
    if box is None:
        raise ValueError(f"the true answer {truth!r} is no box: give left, top, right and bottom as shares of the picture")
    return box


SCORES: dict[str, Score] = {
    "exact": exact,
    "number": number,
    "relaxed_number": relaxed_number,
    "choice": choice,
    "anls": lambda answer, truth: anls_reached(answer, [truth]),
    "box": lambda answer, truth: float(box_overlap(answer, _true_box(truth)) >= BOX_REACHED),
    "point": lambda answer, truth: point_in_box(answer, _true_box(truth)),
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
