"""Only what stands behind the thought is judged, by the rule that was named; a policy that games the rule earns nothing."""

from threading import Barrier

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


@pytest.mark.parametrize("score", [*SCORES, "maths"])
@pytest.mark.parametrize(
    "long",
    [
        "{}. I cannot tell from what I see, since there is nothing about it in the picture at all",
        "I cannot tell from what I see, since there is nothing about it. Perhaps {}, who knows",
        "The answer is {}. I cannot tell from what I see, since there is nothing about it in the picture",
    ],
)
def test_a_right_answer_in_one_long_text_earns_nothing(score, long):
    with Verifier(score) as verifier:
        assert verifier.right([thought(long.format(TRUTHS.get(score, ("12", ""))[0]))], truth_of(score)) == [False]


@pytest.mark.parametrize(
    ("score", "answer", "truth"),
    [
        ("point", "The point is (0.3, 0.4).", BOX),
        ("box", "The box is [0.1, 0.2, 0.5, 0.6].", BOX),
        ("choice", "B. Paris", "B"),
        ("choice", "The answer is B", "B"),
        ("maths", r"The answer is \boxed{12}.", "12"),
    ],
)
def test_a_few_words_around_an_answer_are_no_fault(score, answer, truth):
    with Verifier(score) as verifier:
        assert verifier.right([thought(answer)], truth) == [True]


@pytest.mark.parametrize("score", ["box", "point"])
def test_a_truth_that_is_no_box_is_named(score):
    with pytest.raises(ValueError, match="'0.1 0.2' is no box: give left, top, right and bottom"), Verifier(score) as verifier:
        verifier.right(["0.3 0.4"], "0.1 0.2")


def test_mathematics_is_compared_by_value():
    with Verifier("maths") as verifier:
        texts = [thought(r"\boxed{\frac{1}{2}}"), thought(r"\boxed{0.5}"), thought(r"\boxed{2}")]
        assert verifier.right(texts, r"\frac{1}{2}") == [True, True, False]


def test_two_answers_of_mathematics_are_judged_at_a_time(monkeypatch):
    both = Barrier(2)  # broken, and an error, if one waits for the other in vain

    def judged(answer: str, truth: str, equal: object) -> float:
        both.wait(timeout=20)
        return float(answer == truth)

    monkeypatch.setattr("kimivl.rl.verifier.maths", judged)
    with Verifier("maths") as verifier:
        assert verifier.right(["1", "2", "1", "1"], "1") == [True, False, True, True]


@pytest.mark.parametrize(
    ("score", "truth"),
    [
        ("exact", "blue"), ("anls", "blue"), ("maths", "x^2"), ("number", "1,204"), ("relaxed_number", "3/4"), ("choice", "b"),
        ("box", BOX), ("point", BOX),
    ],
)  # fmt: skip
def test_a_truth_that_an_answer_can_match_passes(score, truth):
    with Verifier(score) as verifier:
        verifier.check_truth(truth)


@pytest.mark.parametrize(
    ("score", "truth", "reason"),
    [
        ("number", "blue", "the truth 'blue' is no number; give number truths or another rl.score"),
        ("relaxed_number", "1 or 2", "the truth '1 or 2' is no number; give number truths"),
        ("choice", "blue", "the truth 'blue' is no letter of a choice; give truths such as 'B' or another rl.score"),
        ("box", "0.1 0.2", "the truth '0.1 0.2' is no box; give boxes as left, top, right and bottom in shares"),
        ("point", "0.5 0.1 0.5 0.2", "is no box"),
        ("exact", " . ", "the truth ' . ' is empty"),
        ("maths", "", "the truth '' is empty"),
    ],
)
def test_a_truth_that_none_can_match_is_named(score, truth, reason):
    with Verifier(score) as verifier, pytest.raises(ValueError, match=reason):
        verifier.check_truth(truth)


def test_a_truth_that_no_answer_meets_is_named_with_its_problem():
    words = "problem q2: the truth 'blue' is no number; give number truths"
    with Verifier("number") as verifier, pytest.raises(ValueError, match=words):
        verifier.check_truths({"q1": "7", "q2": "blue"})
