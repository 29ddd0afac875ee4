"""Only what stands behind the thought is judged, by the rule that was named; a policy that games the rule earns nothing."""

import pytest

from kimivl.processor.thoughts import CLOSE, OPEN
from kimivl.rl.verifier import SCORES, Verifier


def thought(answer: str, inside: str = "let me see") -> str:
    return f"{OPEN}{inside}{CLOSE}{answer}"


@pytest.mark.parametrize("score", SCORES)
def test_every_rule_judges_the_answer_and_not_the_thought(score):
    truth, other = ("B", "C") if score == "choice" else ("12", "57")
    with Verifier(score) as verifier:
        texts = [thought(truth), thought(other), thought(other, inside=truth), thought(truth, inside=other), truth]
        assert verifier.right(texts, truth) == [True, False, False, True, True]


@pytest.mark.parametrize("score", [*SCORES, "maths"])
def test_a_policy_that_answers_nothing_everything_or_at_length_earns_nothing(score):
    truth = "B" if score == "choice" else r"12"
    games = ["", OPEN, OPEN + truth, thought(""), thought("A B C D 12 13"), thought(f"it may be {truth} or maybe not, " * 40)]
    with Verifier(score) as verifier:
        assert verifier.right(games, truth) == [False] * len(games)


def test_mathematics_is_compared_by_value():
    with Verifier("maths") as verifier:
        texts = [thought(r"\boxed{\frac{1}{2}}"), thought(r"\boxed{0.5}"), thought(r"\boxed{2}")]
        assert verifier.right(texts, r"\frac{1}{2}") == [True, True, False]
