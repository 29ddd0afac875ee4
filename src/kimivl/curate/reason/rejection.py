"""Rejection sampling: many tries at one question, of which the right, well-formed and different ones are kept.

What it is: `sampled`, which lets a generator try, checks each try and keeps a few; `Rules`, what is checked; `Tally`, the counts
that a person reads afterwards, as they stand in a source's `counts.json`.
What it is not: a generator (`trajectory.py` and `endpoint.py` have one each), or a verifier (`score/`).
Facts: paper §2.4 and §3.3, `reference/posttraining.md` §4. What was dropped is given back with its reason: preference pairs and
pass rates are made of it. Each try has one reason, the first of `REASONS` that holds.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from kimivl.curate.reason.thought import Thought
from kimivl.processor.thoughts import CLOSE, OPEN, split_thought

P = TypeVar("P")  # the form of a question

REASONS = {
    "cut": "the writer ran into its limit of length",
    "malformed": "the thought is not opened once at the beginning and closed once",
    "unanswered": "nothing stands behind the thought",
    "wrong": "the rule verifier says no to the answer",
    "long": "longer than the rules allow",
    "runaway": "it repeats itself over and over",
    "unjudged": "the judge gave no verdict that can be read",
    "judged": "the judge says no",
    "duplicate": "nearly the same as one that is kept",
    "surplus": "right, but enough are kept",
}

RUNAWAY_CHARS = 200  # that say again what stood one period before them
RUNAWAY_TIMES = 3  # periods that do so, where they are long
LONGEST_PERIOD = 500  # characters
RUN_WORDS = 13  # of the runs of words by which near-duplicates are found
SAME_RUNS = 0.5  # share of the shorter one's runs from which on two thoughts are duplicates


def shorter(thought: Thought) -> float:
    """Short ones first: they say the same in less."""
    return len(thought.text)


@dataclass(frozen=True)
class Rules(Generic[P]):
    """What a try must pass.

    Args:
        verify: whether an answer (what stands behind the thought, and nothing else) is right; None leaves that to the judge.
        judge: asked about what has passed everything else; None as a verdict means that it could not be read.
        keep: how many tries are kept at most.
        longest: characters.
        prefer: what has the smallest value is kept first, and the earlier try among equals.
    Raises: ValueError where nothing would verify or nothing be kept.
    """

    verify: Callable[[P, str], bool] | None
    judge: Callable[[P, Thought], bool | None] | None = None
    keep: int = 2
    longest: int = 40_000
    prefer: Callable[[Thought], float] = shorter

    def __post_init__(self) -> None:
        if self.verify is None and self.judge is None:
            raise ValueError("nothing would verify the answers: give a rule verifier or a judge")
        if self.keep < 1:
            raise ValueError(f"keep at least one thought of a question, not {self.keep}")


@dataclass(frozen=True)
class Sampled:
    """What became of the tries at one question. `right` (k) of `tries` (n) were right, though not all of them need be kept."""

    kept: tuple[Thought, ...]
    dropped: tuple[tuple[Thought, str], ...]  # with one of `REASONS`
    right: int

    @property
    def tries(self) -> int:
        """How often the question was tried."""
        return len(self.kept) + len(self.dropped)


def sampled(
    problem: P,
    generate: Callable[[P, int, np.random.Generator], Sequence[Thought]],
    rules: Rules[P],
    tries: int,
    rng: np.random.Generator,
) -> Sampled:
    """Lets `generate(problem, tries, rng)` write, and sorts what it wrote.

    Raises: ValueError for no try, or if the generator wrote another number of them.
    """
    thoughts = list(generate(problem, tries, rng))
    if tries < 1 or len(thoughts) != tries:
        raise ValueError(f"a question needs at least one try, and a generator as many as asked: {len(thoughts)} of {tries}")
    faults = [_fault(problem, thought, rules) for thought in thoughts]
    right = [thought for thought, fault in zip(thoughts, faults) if fault is None]
    dropped = [(thought, fault) for thought, fault in zip(thoughts, faults) if fault is not None]
    kept: list[Thought] = []
    for thought in sorted(right, key=rules.prefer):
        if any(_nearly_same(thought.text, other.text) for other in kept):
            dropped.append((thought, "duplicate"))
        elif len(kept) == rules.keep:
            dropped.append((thought, "surplus"))
        else:
            kept.append(thought)
    return Sampled(tuple(kept), tuple(dropped), len(right))


def _fault(problem: P, thought: Thought, rules: Rules[P]) -> str | None:
    """Why a try is not right; None if it is."""
    written = thought.text.strip()
    if thought.cut:
        return "cut"
    if not written.startswith(OPEN) or written.count(OPEN) != 1 or written.count(CLOSE) != 1:
        return "malformed"
    answer = split_thought(written)[1]
    if not answer:
        return "unanswered"
    if rules.verify and not rules.verify(problem, answer):
        return "wrong"
    if len(written) > rules.longest:
        return "long"
    if is_runaway(written):
        return "runaway"
    if rules.judge:
        verdict = rules.judge(problem, thought)
        return "unjudged" if verdict is None else None if verdict else "judged"
    return None


def is_runaway(text: str) -> bool:
    """Whether a stretch of it repeats what stood a short while before, over and over."""
    letters = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    for period in range(1, min(LONGEST_PERIOD, len(letters) - RUNAWAY_CHARS) + 1):
        differs = np.flatnonzero(letters[period:] != letters[:-period])
        same = np.diff(np.concatenate([[-1], differs, [len(letters) - period]])) - 1
        if same.max() >= max(RUNAWAY_CHARS, RUNAWAY_TIMES * period):
            return True
    return False


def _nearly_same(first: str, second: str) -> bool:
    words, others = first.casefold().split(), second.casefold().split()
    if words == others:
        return True
    runs, other_runs = _runs(words), _runs(others)
    fewer = min(len(runs), len(other_runs))
    return fewer > 0 and len(runs & other_runs) >= SAME_RUNS * fewer


def _runs(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[start : start + RUN_WORDS]) for start in range(len(words) - RUN_WORDS + 1)}


@dataclass
class Tally:
    """Counts over many questions."""

    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    right: Counter[tuple[int, int]] = field(default_factory=Counter)  # (k, n) → questions

    def add(self, result: Sampled) -> None:
        """Counts what became of one question."""
        self.kept += len(result.kept)
        self.dropped.update(reason for _, reason in result.dropped)
        self.right[result.right, result.tries] += 1

    def summary(self) -> dict[str, Any]:
        """For `counts.json`: questions, those solved at least once, tries, kept and dropped by reason, questions by "k of n"."""
        return {
            "questions": self.right.total(),
            "solved": sum(questions for (right, _), questions in self.right.items() if right),
            "tries": sum(tried * questions for (_, tried), questions in self.right.items()),
            "kept": self.kept,
            "dropped": {reason: self.dropped[reason] for reason in REASONS},
            "k_of_n": {f"{right} of {tried}": self.right[right, tried] for right, tried in sorted(self.right)},
        }
