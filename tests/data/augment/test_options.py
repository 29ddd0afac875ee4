"""Choices change places, and what names them changes with them."""

from itertools import permutations

import pytest

from kimivl.data.augment.geometry import Unspeakable
from kimivl.data.augment.options import reordered

LINES = "Which one?\nA. a cat\nB. a dog\nC. an owl\nAnswer with the letter."


@pytest.mark.parametrize(
    ("question", "answer", "order", "expected", "said"),
    [
        (LINES, "B", (2, 0, 1), "Which one?\nA. an owl\nB. a cat\nC. a dog\nAnswer with the letter.", "C"),
        ("Which? (A) red (B) blue", "(A) red", (1, 0), "Which? (A) blue (B) red", "(B) red"),
        ("Which?\nA) 1\nB) 2", "The answer is B.", (1, 0), "Which?\nA) 2\nB) 1", "The answer is A."),
        ("Which?\nA. A cat\nB. A dog", "Not A but B. A dog", (1, 0), "Which?\nA. A dog\nB. A cat", "Not B but A. A dog"),
    ],
)
def test_letters_follow_their_choices(question, answer, order, expected, said):
    assert reordered(question, [answer], order) == (expected, [said])


def test_every_order_and_its_inverse_give_the_question_back():
    for order in permutations(range(3)):
        question, [answer] = reordered(LINES, ["C. an owl"], order)
        assert answer[3:] == "an owl" and f"{answer[0]}. an owl" in question
        inverse = [order.index(place) for place in range(3)]
        assert reordered(question, [answer], inverse) == (LINES, ["C. an owl"])


UNMOVED = [
    "No choices here.",
    "B. one\nC. two",
    "A. only one",
    "A. x\nB. all of the above",
    "A. x\nB. both A and B",
    "A. 红\nB. 以上都是",
    "A. x\nB. y\nC. AB",
    "A. x\nB. not 'A'",
]


@pytest.mark.parametrize("question", UNMOVED)
def test_choices_that_cannot_change_places_are_refused(question):
    with pytest.raises(Unspeakable):
        reordered(question, ["A"], range(question.count(". ")))


def test_a_stem_that_asks_for_an_answer_speaks_of_no_choice():
    question = "Please answer a question about the picture.\nA. one\nB. two\nAnswer with one letter, for example A."
    assert reordered(question, ["B"], (1, 0))[1] == ["A"]


def test_an_order_that_is_none_is_refused():
    with pytest.raises(ValueError, match="no order of 3 choices"):
        reordered(LINES, ["A"], (0, 0, 1))


@pytest.mark.parametrize("question", ["Why is option A wrong?\nA. one\nB. two", "A. the last two\nB. one", "A. 前者\nB. 红"])
def test_questions_that_speak_of_their_choices_are_refused(question):
    with pytest.raises(Unspeakable):
        reordered(question, ["B"], (1, 0))
