"""Only what stands behind the thought is judged, by the rule that was named; a policy that games the rule earns nothing."""

import pytest

from kimivl.processor.thoughts import CLOSE, OPEN
from kimivl.rl.verifier import SCORES, Verifier


def thought(answer: str, inside: str = "let me see") -> str:
    return f"{OPEN}{inside}{CLOSE}{answer}"


BOX = "0.1 0.2 0.5 0.6"
TRUTHS = {"choice": ("B", "C"), "box": (BOX, "0.6 0.2 0.9 0.6"), "point": ("0.3 0.4", "0.7 0.4")}  # right and wrong; else numbers


def truth_of(score: str) -> str:
    return BOX if score == "point" else TRUTHS.get(score, ("12", ""))[0]


@pytest.mark.parametrize("score", SCORES)
def test_every_rule_judges_the_answer_and_not_the_thought(score):
    right, wrong = TRUTHS.get(score, ("12", "57"))
    with Verifier(score) as verifier:
        texts = [thought(right), thought(wrong), thought(wrong, inside=right), thought(right, inside=wrong), right]
        assert verifier.right(texts, truth_of(score)) == [True, False, False, True, True]


@pytest.mark.parametrize("score", [*SCORES, "maths"])
def test_a_policy_that_answers_nothing_everything_or_at_length_earns_nothing(score):
    right, wrong = TRUTHS.get(score, ("12", "13"))
    games = ["", OPEN, OPEN + right, thought(""), thought(f"{right} {wrong}"), thought(f"it may be {right} or maybe not, " * 40)]
    with Verifier(score) as verifier:
        assert verifier.right(games, truth_of(score)) == [False] * len(games)


@pytest.mark.parametrize("score", ["box", "point"])
def test_a_truth_that_is_no_box_is_named(score):
    with pytest.raises(ValueError, match="'0.1 0.2' is no box: give left, top, right and bottom"), Verifier(score) as verifier:
        verifier.right(["0.3 0.4"], "0.1 0.2")


def test_mathematics_is_compared_by_value():
    with Verifier("maths") as verifier:
        texts = [thought(r"\boxed{\frac{1}{2}}"), thought(r"\boxed{0.5}"), thought(r"\boxed{2}")]
        assert verifier.right(texts, r"\frac{1}{2}") == [True, True, False]
