"""Learning rates at steps where they are easy to compute by hand."""

import math

import pytest

from kimivl.optim import Phase, Schedule, moonlight, sft_two_phase


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


def test_moonlight_has_the_rates_of_its_paper():
    schedule = moonlight(4.2e-4, warmup_steps=2000, decay_steps=10_000, cooldown_steps=1100, ramp_steps=100)
    expected = {
        0: 0.0,
        1000: 2.1e-4,
        2000: 4.2e-4,
        7000: (4.2e-4 + 4.2e-5) / 2,
        12_000: 4.2e-5,
        12_050: (4.2e-5 + 1e-4) / 2,
        12_100: 1e-4,
        12_600: 0.5e-4,
        13_100: 0.0,
    }
    assert {step: schedule.lr(step) for step in expected} == pytest.approx(expected)
    assert schedule.total_steps == 13_100


def test_moonlight_without_a_cooldown_stays_at_a_tenth():
    schedule = moonlight(1e-3, warmup_steps=10, decay_steps=90)
    assert (schedule.total_steps, schedule.lr(100)) == (100, 1e-4)


def test_the_cooldown_peak_can_be_given():
    schedule = moonlight(1e-3, warmup_steps=1, decay_steps=1, cooldown_steps=20, ramp_steps=10, cooldown_peak=5e-4)
    assert schedule.lr(12) == 5e-4


def test_fine_tuning_has_the_rates_of_the_paper():
    schedule = sft_two_phase(first_steps=100, second_steps=110, rewarm_steps=10)
    expected = {0: 2e-5, 50: 1.1e-5, 100: 2e-6, 105: 6e-6, 110: 1e-5, 160: 5.5e-6, 210: 1e-6, 999: 1e-6}
    assert {step: schedule.lr(step) for step in expected} == pytest.approx(expected)
    assert schedule.total_steps == 210


def test_another_peak_scales_the_whole_of_fine_tuning():
    paper, scaled = sft_two_phase(5, 6, 2), sft_two_phase(5, 6, 2, peak=2e-3)
    assert [scaled.lr(step) for step in range(12)] == pytest.approx([100 * paper.lr(step) for step in range(12)])


def test_a_recipe_gives_phases_as_plain_dicts():
    recipe = [{"steps": 2, "start": 0, "end": 1.0}, {"steps": 2, "start": 1.0, "end": 0, "shape": "cosine"}]
    schedule = Schedule.from_config(recipe)
    assert schedule.phases == (Phase(2, 0, 1.0), Phase(2, 1.0, 0, "cosine"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "phase 1: steps is 0"),
        ({"steps": 2.5}, "phase 1: steps is 2.5"),
        ({"steps": True}, "phase 1: steps is True"),
        ({"start": -1e-3}, "phase 1: start is -0.001"),
        ({"end": math.nan}, "phase 1: end is nan"),
        ({"end": "2e-5"}, "phase 1: end is the text '2e-5'; YAML .* 2.0e-5"),
        ({"end": None}, "phase 1: end is None"),
        ({"shape": "square"}, "phase 1: shape is 'square'"),
        ({"step": 3}, "phase 1: unknown key 'step'"),
    ],
)
def test_a_bad_phase_is_named(changes, message):
    good = {"steps": 2, "start": 1.0, "end": 0.5}
    with pytest.raises(ValueError, match=message):
        Schedule.from_config([good, {**good, **changes}])


def test_a_missing_key_is_named():
    with pytest.raises(ValueError, match="phase 0: the key 'end' is missing"):
        Schedule.from_config([{"steps": 2, "start": 1.0}])


def test_other_impossible_schedules_are_refused():
    with pytest.raises(ValueError, match="at least one phase"):
        Schedule([])
    with pytest.raises(ValueError, match="step is -1"):
        Schedule([Phase(1, 0, 1)]).lr(-1)
    with pytest.raises(ValueError, match="ramp_steps is 100, but .* cooldown_steps, which is 50"):
        moonlight(1e-3, 10, 10, cooldown_steps=50)
    with pytest.raises(ValueError, match="rewarm_steps is 7"):
        sft_two_phase(10, 7, 7)
