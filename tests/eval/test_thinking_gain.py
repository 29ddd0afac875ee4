"""What thinking brings is taken problem by problem; a response that did not end is wrong, and a thought is no answer."""

import pytest

from kimivl.engine.engine import Completion
from kimivl.eval.items import Item
from kimivl.eval.thinking_gain import difference, measure_arm, thinking_figures
from kimivl.processor.thoughts import CLOSE, OPEN
from kimivl.score.number import number


class Says:
    """An engine that answers what it is told: four responses to each problem, and a greedy one."""

    class processor:
        @staticmethod
        def encode_chat(messages, add_generation_prompt):
            return messages

    def __init__(self, sampled, greedy):
        self.sampled, self.greedy = sampled, greedy

    def respond(self, requests, sampling):
        assert len({request.key for request in requests}) == len(requests) == len(self.sampled) and sampling.temperature == 1
        return [Completion([0] * tokens, text, reason, []) for text, tokens, reason in self.sampled]

    def generate(self, prompts, sampling, progress):
        return [Completion([0], text, "stop", []) for text in self.greedy]


def test_an_arm_by_hand():
    items = [Item(f"q{n}", (), "", "7", (), family=family) for n, family in enumerate(("sums", "paths"))]
    right, wrong, cut = (f"{OPEN}5+2=7{CLOSE}7", 10, "stop"), (f"{OPEN}7{CLOSE}8", 20, "stop"), (f"{OPEN}{CLOSE}7", 30, "length")
    engine = Says([right, right, ("7", 10, "stop"), wrong, wrong, wrong, cut, cut], [f"{OPEN}{CLOSE}7", "7"])
    arm = measure_arm(engine, items, 30)
    assert arm["right"] == [0.75, 0] and arm["accuracy"] == 0.375 and arm["by_family"] == {"sums": 0.75, "paths": 0}
    assert arm["greedy"] == 1 and arm["solved"] == 0.5
    assert arm["mean_tokens"] == (3 * 10 + 3 * 20 + 2 * 30) / 8 and arm["unfinished"] == 0.25
    assert arm["low"] <= 0.375 <= arm["high"]


def test_differences_are_paired():
    """Gaps 1, 0, 0, 1: mean ½, sample variance ⅓, standard error √(⅓ / 4)."""
    assert difference([1, 1, 0, 1], [0, 1, 0, 0]) == pytest.approx((0.5, (1 / 12) ** 0.5))


def arm(*right):
    return {
        "accuracy": sum(right) / len(right),
        "greedy": 1.0,
        "mean_tokens": 10.0 * len(right),
        "right": list(right),
        "lengths": [10.0 * len(right)] * len(right),
        "by_family": {},
    }


def test_figures_are_those_of_the_arms_that_there_are():
    arms = {"direct": arm(0, 0, 0, 1), "sft": arm(0, 1, 0, 1), "rl": arm(1, 1, 1, 1)}
    figures = thinking_figures(arms)
    assert figures["sft_minus_direct"] == 0.25 and figures["rl_minus_sft"] == 0.5 and figures["rl_accuracy"] == 1
    assert "curriculum_gain" not in figures and not {"right", "lengths"} & figures["arms"]["rl"].keys()
    assert thinking_figures(arms | {"rl_uniform": arm(1, 1, 1, 0)})["curriculum_gain"] == 0.25


def test_the_length_reward_is_judged_by_what_it_brings_and_saves():
    without = arm(1, 1, 0, 1) | {"mean_tokens": 50.0, "lengths": [50.0, 48.0, 50.0, 52.0]}  # 10, 8, 10 and 12 more
    figures = thinking_figures(
        {"direct": arm(0, 0, 0, 0), "sft": arm(0, 0, 0, 1), "rl": arm(1, 1, 1, 1), "rl_no_length": without}
    )
    assert figures["length_reward_gain"] == 0.25 and figures["length_reward_saved"] == pytest.approx(0.2)  # 40 instead of 50
    assert figures["length_reward_saved_error"] == pytest.approx((8 / 3 / 4) ** 0.5 / 50)


def test_what_is_right_is_said_by_the_score():
    """Half a point is no right answer, and 7.0 is 7 to a reader of numbers."""
    items = [Item("q", (), "", "7", ())]
    engine = Says([(f"{OPEN}{CLOSE}7.0", 5, "stop")] * 4, ["7.0"])
    assert measure_arm(engine, items, 30)["accuracy"] == 0
    assert measure_arm(engine, items, 30, score=number)["accuracy"] == measure_arm(engine, items, 30, score=number)["greedy"] == 1
    assert measure_arm(engine, items, 30, score=lambda answer, truth: 0.5)["accuracy"] == 0
