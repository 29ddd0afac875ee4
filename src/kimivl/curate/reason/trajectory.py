"""A thought in words: plan, work, trials and judgements, sometimes a slip that is noticed and mended, then the answer.

What it is: `trajectory`, the answer to a problem as the parts of a chat turn, and `Habits`, how often a solver slips; `solver`, a
generator of such answers, and `follows`, the judge of whether one is free of carelessness.
Why slips: a thought that never errs teaches nothing about errors. A planted slip is read and not learned; what is learned is to
notice it ("wait") and to write the right line. Careless thoughts are kept in a small share on purpose, so that reinforcement
learning finds something to repair. To drop them, verifying the answer is not enough: a misread bar or tile need not matter, and
in charts and search more than half of them end right all the same. Hence `follows`.
Why conclusions: they are right, and nothing rests on them, so they are what a reward for being short can save.
Facts: the four behaviours are the paper's (§2.4): planning, evaluation, reflection, exploration.
"""

import re
from collections.abc import Callable
from dataclasses import astuple, dataclass

import numpy as np

from kimivl.curate.reason.problem import Problem, Solution, Step
from kimivl.curate.reason.thought import Thought
from kimivl.curate.records import Part, text
from kimivl.processor.thoughts import CLOSE, OPEN, WAIT, split_thought

_WORD = re.compile(r"( ?[a-z]{2,})")


@dataclass(frozen=True)
class Habits:
    """How often things go wrong.

    Args:
        slips: share of the lines in which a slip is written, noticed and mended.
        careless: share of the thoughts that misread one thing of the picture and go on from there.
        truncated: share of the thoughts that break off somewhere and answer all the same, so that a thought may be closed from
            outside.
        concluded: share of the others that say the answer before they end, as the answer itself does right behind.
    Raises: ValueError for shares that are none.
    """

    slips: float = 0.12
    careless: float = 0.0
    truncated: float = 0.0
    concluded: float = 0.0

    def __post_init__(self) -> None:
        if not all(0 <= share <= 1 for share in astuple(self)):
            raise ValueError(f"shares lie from 0 to 1: {self}")


def trajectory(problem: Problem, habits: Habits, rng: np.random.Generator) -> Thought:
    """'◁think▷ line, line … ◁/think▷ answer'. All but whole words is spelled, so that every digit is a token of its own.

    Its notes say whether it is `truncated`: whether lines are missing at its end.
    """
    solution = problem.careless(rng) if rng.random() < habits.careless else problem.solution
    steps = solution.steps
    if rng.random() < habits.truncated:
        steps = steps[: int(rng.integers(1, len(steps) + 1))]
    elif rng.random() < habits.concluded:
        steps = (*steps, _conclusion(solution))
    parts = [text(OPEN)]
    for step in steps:
        parts += _line(step, habits, rng)
    parts += [text(CLOSE), text(solution.answer, spelled=True)]
    return Thought(tuple(parts), notes={"truncated": len(steps) < len(solution.steps)})


def solver(habits: Habits) -> Callable[[Problem, int, np.random.Generator], list[Thought]]:
    """A generator that solves problems with these habits, each try for itself."""
    return lambda problem, tries, rng: [trajectory(problem, habits, rng) for _ in range(tries)]


def follows(problem: Problem, thought: Thought) -> bool:
    """Whether its lines are those of the problem's solution from the first on, when slips that were mended are taken out; the
    answer may be said behind the last."""
    learned = "".join(part["text"] for part in thought.parts if part.get("learned", True))
    lines = [line for line in split_thought(learned)[0].splitlines() if line != WAIT]
    solution = problem.solution
    return lines == [step.text for step in (*solution.steps, _conclusion(solution))[: len(lines)]]


def _conclusion(solution: Solution) -> Step:
    return Step("evaluate", f"so the answer is {solution.answer}")


def _line(step: Step, habits: Habits, rng: np.random.Generator) -> list[Part]:
    if not step.slips or rng.random() >= habits.slips:
        return _spelled(f"{step.text}\n")
    slip = step.slips[int(rng.integers(len(step.slips)))]
    planted = [{**part, "learned": False} for part in _spelled(f"{slip} ")]
    return [*planted, *_spelled(f"{WAIT}\n{step.text}\n")]


def _spelled(line: str) -> list[Part]:
    return [text(piece, spelled=not _WORD.fullmatch(piece)) for piece in _WORD.split(line) if piece]
