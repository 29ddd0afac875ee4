"""Learning rates at steps where they are easy to compute by hand."""

import math

import pytest

from kimivl.optim import Phase, Schedule


def test_a_linear_phase_goes_in_equal_steps():
    schedule = Schedule([Phase(4, 0.0, 1.0)])
    assert [schedule.lr(step) for step in range(6)] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]


def test_a_cosine_phase_is_flat_at_both_ends_and_half_way_in_the_middle():
    schedule = Schedule([Phase(6, 3.0, 1.0, "cosine")])
    # (1 + cos(k·30°)) / 2 of the way is left after k steps.
    expected = [1 + (1 + math.cos(math.radians(30 * k))) for k in range(7)]
    assert [schedule.lr(step) for step in range(7)] == pytest.approx(expected)
    assert schedule.lr(3) == pytest.approx(2.0)


def test_a_phase_starts_and_ends_exactly_where_it_says():
    schedule = Schedule([Phase(3, 0.1, 0.3, "cosine"), Phase(7, 0.3, 0.7)])
    assert (schedule.lr(0), schedule.lr(3), schedule.lr(10)) == (0.1, 0.3, 0.7)


def test_phases_follow_each_other_and_the_last_value_stays():
    schedule = Schedule([Phase(2, 0.0, 1.0), Phase(2, 5.0, 3.0)])
    assert [schedule.lr(step) for step in range(4)] == [0.0, 0.5, 5.0, 4.0]
    assert schedule.total_steps == 4
    assert schedule.lr(4) == schedule.lr(10**9) == 3.0


@pytest.mark.parametrize("fault", [{"steps": 0}, {"start": -1e-3}, {"end": math.nan}, {"end": math.inf}])
def test_an_impossible_phase_is_refused(fault):
    with pytest.raises(ValueError, match="at least one step, and learning rates that are finite"):
        Phase(**{"steps": 2, "start": 1.0, "end": 0.5} | fault)


def test_other_impossible_schedules_are_refused():
    with pytest.raises(ValueError, match="at least one phase"):
        Schedule([])
    with pytest.raises(ValueError, match="step is -1"):
        Schedule([Phase(1, 0, 1)]).lr(-1)
