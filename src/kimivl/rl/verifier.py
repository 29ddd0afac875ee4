"""Whether responses are right: the score of what stands behind the thought, and nothing else.

What it is: `Verifier`, one rule of `score/` by name, applied to whole responses.
What it is not: the rules themselves, or rewards for length. A response that did not end by itself is wrong, whatever it says.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

from kimivl.processor.thoughts import split_thought
from kimivl.score import Score
from kimivl.score.anls import anls_reached
from kimivl.score.boxes import Box, box_overlap, parse_box, point_in_box
from kimivl.score.choice import choice
from kimivl.score.exact import exact, normalised
from kimivl.score.maths import maths
from kimivl.score.maths_pool import MathsPool
from kimivl.score.number import number, parse_number, relaxed_number

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


def _true_letter(truth: str) -> str | None:
    return truth if re.fullmatch(r"[A-Za-z]", truth.strip()) else None


# score → (what reads a truth, None for one that no answer can match; what to say then)
TRUTHS: dict[str, tuple[Callable[[str], object], str]] = {
    "number": (parse_number, "no number; give number truths"),
    "relaxed_number": (parse_number, "no number; give number truths"),
    "choice": (_true_letter, "no letter of a choice; give truths such as 'B'"),
    "box": (parse_box, "no box; give boxes as left, top, right and bottom in shares of the picture"),
    "point": (parse_box, "no box; give boxes as left, top, right and bottom in shares of the picture"),
}


class Verifier:
    """A context manager: `maths` has child processes, which end with it.

    Args:
        score: a name of `SCORES`, or "maths".
    Attributes:
        score: of (answer, truth), 0 to 1; 1 is right.
    """

    def __init__(self, score: str):
        self._stack = ExitStack()
        self._name = score
        self._each: Callable[..., Iterable[bool]] = map
        self.score = self._maths() if score == "maths" else SCORES[score]

    def _maths(self) -> Score:
        pool = self._stack.enter_context(MathsPool(MATHS_WORKERS))
        self._each = self._stack.enter_context(ThreadPoolExecutor(MATHS_WORKERS)).map  # a thread waits for a child
        return partial(maths, equal=pool.equal)

    def check_truth(self, truth: str) -> None:
        """Raises: ValueError, with what to do, for a truth by which no answer, or an empty one, would be right."""
        if not normalised(truth):
            raise ValueError(f"the truth {truth!r} is empty; give each problem an answer")
        read, wanted = TRUTHS.get(self._name, (str, ""))
        if read(truth) is None:
            raise ValueError(f"the truth {truth!r} is {wanted} or another rl.score")

    def check_truths(self, truths: Mapping[str, str]) -> None:
        """Raises: ValueError naming the first problem whose truth no answer, or an empty one, would meet."""
        for name, truth in truths.items():
            try:
                self.check_truth(truth)
            except ValueError as error:
                raise ValueError(f"problem {name}: {error}") from None

    def right(self, texts: Sequence[str], truth: str) -> list[bool]:
        """Of each response to a problem."""
        return list(self._each(lambda text: self.score(split_thought(text)[1], truth) == 1.0, texts))

    def __enter__(self) -> "Verifier":
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()
