"""Thoughts in words: slips are read and not learned, what breaks off still answers, careless ones answer what they read."""

import numpy as np
import pytest

from kimivl.curate.reason.charts import charts
from kimivl.curate.reason.paths import paths
from kimivl.curate.reason.search import search
from kimivl.curate.reason.totals import totals
from kimivl.curate.reason.trajectory import Habits, follows, solver, trajectory
from kimivl.curate.records import rng_for
from kimivl.processor.thoughts import WAIT, split_thought

PROBLEM = totals(rng_for(0, "totals"), 8)
LINES = 1 + 8 + 8  # how many tiles, each tile read, each digit added


def written(thought, learned_only=False) -> str:
    return "".join(part["text"] for part in thought.parts if part.get("learned", True) or not learned_only)


def test_without_slips_it_is_the_solution():
    thought, answer = split_thought(written(trajectory(PROBLEM, Habits(slips=0), rng_for(0, "x"))))
    assert thought.splitlines() == [step.text for step in PROBLEM.solution.steps] and answer == PROBLEM.solution.answer


def test_a_slip_is_followed_by_its_mending_and_is_no_target():
    thought = trajectory(PROBLEM, Habits(slips=1), rng_for(0, "x"))
    planted = [part["text"].strip() for part in thought.parts if not part.get("learned", True)]
    work = [step for step in PROBLEM.solution.steps if step.slips]
    assert len(planted) == len(work) and all(slip in step.slips for slip, step in zip(planted, work))
    lines = split_thought(written(thought, learned_only=True))[0].splitlines()
    assert lines == [PROBLEM.solution.steps[0].text, *(line for step in work for line in (WAIT, step.text))]


def test_slips_come_at_their_share():
    planted = total = 0
    for number in range(200):
        thought = trajectory(PROBLEM, Habits(slips=0.2), rng_for(0, "share", number))
        planted += sum(not part.get("learned", True) for part in thought.parts)
        total += LINES - 1
    assert planted / total == pytest.approx(0.2, abs=4 * (0.2 * 0.8 / total) ** 0.5)


def test_what_breaks_off_keeps_its_beginning_and_the_true_answer():
    lengths = set()
    for number in range(120):
        cut = trajectory(PROBLEM, Habits(slips=0, truncated=1), rng_for(0, "cut", number))
        thought, answer = split_thought(written(cut))
        lines = thought.splitlines()
        assert cut.notes == {"truncated": len(lines) < LINES}
        assert lines == [step.text for step in PROBLEM.solution.steps][: len(lines)] and answer == PROBLEM.solution.answer
        lengths.add(len(lines))
    assert lengths == set(range(1, LINES + 1))


def test_conclusions_come_at_their_share_behind_whole_thoughts_only():
    concluded = whole = 0
    for number in range(300):
        thought = trajectory(PROBLEM, Habits(slips=0, truncated=0.3, concluded=0.4), rng_for(0, "conclusion", number))
        lines = split_thought(written(thought))[0].splitlines()
        ended = lines[-1] == f"so the answer is {PROBLEM.solution.answer}"
        assert len(lines) - ended == LINES or (thought.notes["truncated"] and not ended)
        concluded, whole = concluded + ended, whole + (len(lines) - ended == LINES)
        assert follows(PROBLEM, thought)
    assert concluded / whole == pytest.approx(0.4, abs=4 * (0.4 * 0.6 / whole) ** 0.5)


def test_a_careless_thought_ends_where_its_reading_leads():
    for number in range(30):
        thought, answer = split_thought(written(trajectory(PROBLEM, Habits(slips=0, careless=1), rng_for(0, "c", number))))
        assert str(sum(int(line[1]) for line in thought.splitlines()[1:9]) % 10) == answer != PROBLEM.solution.answer


@pytest.mark.parametrize(("draw", "size"), [(totals, 6), (paths, 6), (charts, 5), (search, 5)])
def test_a_careless_thought_is_told_from_a_right_one_even_where_it_ends_right(draw, size):
    lucky = 0
    for number in range(60):
        problem = draw(rng_for(0, "follows", number), size)
        right, careless = (
            trajectory(problem, Habits(slips=0.3, careless=share, truncated=0.2, concluded=0.5), rng_for(1, "follows", number))
            for share in (0, 1)
        )
        assert follows(problem, right)
        if not careless.notes["truncated"]:
            assert not follows(problem, careless)
            lucky += split_thought(written(careless))[1] == problem.solution.answer
    assert (lucky > 5) == (draw is not totals)


def test_a_solver_tries_as_often_as_it_is_asked_to():
    tries = solver(Habits(slips=0.5))(PROBLEM, 5, rng_for(0, "solver"))
    assert len(tries) == 5 and len({written(thought) for thought in tries}) > 1


def test_shares_that_are_none_are_refused():
    with pytest.raises(ValueError, match="from 0 to 1"):
        Habits(slips=1.2)
    with pytest.raises(ValueError, match="from 0 to 1"):
        Habits(truncated=float(np.nan))
