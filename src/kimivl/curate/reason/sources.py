"""The reasoning sources of nano: warm-up thoughts that rejection sampling kept, the same problems without, and problems for RL.

What it is: `build`. `reason_thoughts` holds thoughts that were verified line by line, `reason_direct` the same pictures with the
answer alone, `reason_unverified` careless thoughts that nobody checked, `reason_problems` other problems with the answer alone,
for training, validation and the test.
What it is not: a mixture; the recipe decides how small and how imperfect the warm-up is.
Facts: sizes and shares follow `reference/posttraining.md` §9. What a picture shows belongs to training, validation or test by its
hash (that of tiles that may stand in any order does not depend on it), and each is drawn from its own random numbers. All
problems of the group differ. Settings are chosen on validation alone.
`reason_thoughts/counts.json` tells how many tries were kept, and why the others were dropped.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kimivl.curate.reason.charts import charts
from kimivl.curate.reason.paths import paths
from kimivl.curate.reason.problem import Problem
from kimivl.curate.reason.rejection import Rules, Tally, sampled
from kimivl.curate.reason.search import search
from kimivl.curate.reason.thought import Thought
from kimivl.curate.reason.totals import totals
from kimivl.curate.reason.trajectory import Habits, follows, solver, trajectory
from kimivl.curate.records import Part, Record, chat, held_out, image, text
from kimivl.curate.workshop import Workshop
from kimivl.score.exact import exact

SOURCES = ("reason_thoughts", "reason_unverified", "reason_direct", "reason_problems")
WARM_UP, UNVERIFIED, DRILL = 4000, 1000, 2400  # problems, a quarter of each family
HELD_OUT = 600  # in validation and in the test each
HELD_OUT_SHARE = 0.3  # of all contents, half for each; so large because four tiles of a search are one of only 126 sets
DRAWS = 2000  # until a new problem is found; more are needed only where there is none

Draw = Callable[[np.random.Generator, int], Problem]
FAMILIES: tuple[tuple[Draw, range], ...] = (
    (totals, range(3, 6)),  # tiles
    (paths, range(2, 6)),  # hops
    (charts, range(3, 6)),  # bars
    (search, range(4, 5)),  # tiles
)

TRIES = 4
SOLVER = Habits(slips=0.06, careless=0.2, truncated=0.12, concluded=0.5)
CARELESS = Habits(slips=0.06, careless=1.0, truncated=0.12, concluded=0.5)


def build(shop: Workshop) -> None:
    """Write all four sources."""
    counts = {"warm-up": WARM_UP, "unverified": UNVERIFIED, "drill": DRILL, "validation": HELD_OUT, "test": HELD_OUT}
    counts = {purpose: shop.count(full) for purpose, full in counts.items()}
    seen: set[str] = set()
    done = 0

    def problems(purpose: str) -> Iterator[tuple[str, Problem]]:
        nonlocal done
        for number, problem in enumerate(_drawn(shop, purpose, counts[purpose], seen)):
            yield f"{purpose}-{number:05d}", problem
            done += 1
            shop.progress(done, sum(counts.values()))

    _write_warm_up(shop, problems("warm-up"))
    shop.write("reason_unverified", "train", (_unverified(shop, name, problem) for name, problem in problems("unverified")))
    for split, purpose in (("train", "drill"), ("validation", "validation"), ("test", "test")):
        shop.write("reason_problems", split, (_drill(shop, name, problem) for name, problem in problems(purpose)))


def split_of(shown: str) -> str:
    """Where what a picture shows belongs: to "train", "validation" or "test"."""
    if not held_out(shown, HELD_OUT_SHARE, "reason held out"):
        return "train"
    return "test" if held_out(shown, 0.5, "reason test") else "validation"


def _drawn(shop: Workshop, purpose: str, count: int, seen: set[str]) -> Iterator[Problem]:
    """`count` problems that are not in `seen`, where they are put: family after family, every size of a family equally often."""
    draws, split = 0, purpose if purpose in ("validation", "test") else "train"
    for number in range(count):
        draw, sizes = FAMILIES[number % len(FAMILIES)]
        size = sizes[number // len(FAMILIES) % len(sizes)]
        last = draws + DRAWS
        while draws < last:
            problem = draw(shop.rng(f"reason problems for {purpose}", draws), size)
            draws += 1
            if problem.key not in seen and split_of(problem.shown) == split:
                break
        else:
            raise ValueError(
                f"there is no new problem of {problem.family} of size {size} after {number}: build at a smaller scale"
            )
        seen.add(problem.key)
        yield problem


def _write_warm_up(shop: Workshop, problems: Iterator[tuple[str, Problem]]) -> None:
    """`reason_thoughts`, and `reason_direct` with the problems that were solved."""
    rules = Rules[Problem](verify=_is_right, judge=follows, keep=1, prefer=_as_tried)
    tally, truncated = Tally(), 0
    thoughts: list[Record] = []
    direct: list[Record] = []
    for number, (name, problem) in enumerate(problems):
        result = sampled(problem, solver(SOLVER), rules, TRIES, shop.rng("reason thoughts", number))
        tally.add(result)
        if not result.kept:
            continue
        [thought] = result.kept
        truncated += thought.notes["truncated"]
        provenance = {"k": result.right, "n": result.tries, **thought.notes}
        path = shop.save_image("reason_thoughts", name, problem.picture)
        thoughts.append(_record("thoughts", name, problem, path, thought.parts, provenance))
        path = shop.share_image("reason_direct", name, "reason_thoughts")
        direct.append(_record("direct", name, problem, path, _answer(problem)))
    shop.write("reason_thoughts", "train", thoughts)
    shop.write("reason_direct", "train", direct)
    shop.write_counts("reason_thoughts", tally.summary() | {"kept_truncated": truncated})


def _as_tried(thought: Thought) -> float:
    """Short thoughts are not preferred here: they are those that never slip or break off, whose shares must not change."""
    return 0.0


def _is_right(problem: Problem, answer: str) -> bool:
    return exact(answer, problem.solution.answer) == 1.0


def _unverified(shop: Workshop, name: str, problem: Problem) -> Record:
    thought = trajectory(problem, CARELESS, shop.rng(f"reason {name}"))
    path = shop.save_image("reason_unverified", name, problem.picture)
    return _record("unverified", name, problem, path, thought.parts, {"verified": False, **thought.notes})


def _drill(shop: Workshop, name: str, problem: Problem) -> Record:
    path = shop.save_image("reason_problems", name, problem.picture)
    return _record("problems", name, problem, path, _answer(problem))


def _answer(problem: Problem) -> tuple[Part, ...]:
    return (text(problem.solution.answer, spelled=True),)


def _record(
    kind: str, name: str, problem: Problem, path: str, answer: tuple[Part, ...], more: dict[str, Any] | None = None
) -> Record:
    meta = {
        "family": problem.family,
        "difficulty": problem.difficulty,
        "content": problem.content,
        "answer": problem.solution.answer,
    }
    return chat(f"reason-{kind}-{name}", [([image(path), text(problem.question)], answer)], meta | (more or {}))
