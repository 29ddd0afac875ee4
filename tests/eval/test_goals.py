"""Goals are the issue's limits: met on the limit, missed beyond it, and only judged where there is a figure."""

import pytest

from kimivl.eval.goals import GOALS, reached

SUMMARY = {
    "name": "nano", "train_minutes": 20.0, "easy_vqa_test_accuracy": 0.92, "digits_test_accuracy": 0.95, "pointing_hit_rate": 0.8,
    "reading_cer": {"known_fonts": 0.05, "held_out_font": 0.2}, "needle_recall": {"after": 0.9},
    "text_loss_before": 2.0, "text_loss_after": 2.0399, "think_minutes": 10.0,
    "think": {"sft_minus_direct": 0.2, "rl_minus_sft": 0.08, "rl_minus_sft_error": 0.039,
              "length_reward_saved": 0.021, "length_reward_saved_error": 0.01, "length_reward_gain": -0.01},
}  # fmt: skip


def judged(summary):
    return {goal.title: goal.met(value) for goal, value in reached(summary)}


def test_all_goals_are_met_on_their_limits():
    assert len(judged(SUMMARY)) == len(GOALS) == 12 and all(judged(SUMMARY).values())


@pytest.mark.parametrize(
    "worse",
    [
        {"train_minutes": 20.1}, {"easy_vqa_test_accuracy": 0.919}, {"digits_test_accuracy": 0.949},
        {"pointing_hit_rate": 0.799},
        {"reading_cer": {"known_fonts": 0.051, "held_out_font": 0.2}},
        {"reading_cer": {"known_fonts": 0.05, "held_out_font": 0.21}},
        {"needle_recall": {"after": 0.89}}, {"text_loss_after": 2.041}, {"think_minutes": 10.1},
        {"think": SUMMARY["think"] | {"sft_minus_direct": 0.19}}, {"think": SUMMARY["think"] | {"rl_minus_sft": 0.079}},
        {"think": SUMMARY["think"] | {"rl_minus_sft_error": 0.041}},  # above the limit, and not above chance
        {"think": SUMMARY["think"] | {"length_reward_saved": 0.019}},  # not above chance
        {"think": SUMMARY["think"] | {"length_reward_gain": -0.011}},  # shorter, and worse
    ],
)  # fmt: skip
def test_a_worse_figure_misses_one_goal(worse):
    assert list(judged(SUMMARY | worse).values()).count(False) == 1


def test_absent_figures_are_not_judged():
    assert list(judged({"name": "nano", "train_minutes": 1.0, "text_loss_before": 2.0})) == ["Training, all stages"]


def test_other_recipes_have_other_goals():
    assert reached(SUMMARY | {"name": "a3b"}) == []


def test_limits_are_shown_in_words():
    asked = [
        "≤ 20 min",
        "≥ 92 %",
        "≥ 95 %",
        "≤ 5 %",
        "≤ 20 %",
        "≥ 80 %",
        "≤ +2 %",
        "≤ 10 min",
        "≥ +20 %",
        "≥ +8 %",
        "> +0 %",
        "≥ 90 %",
    ]
    assert [goal.asked for goal in GOALS] == asked
