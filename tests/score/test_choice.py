"""One letter is an answer, however it is put; two are none."""

import pytest

from kimivl.score.choice import choice, parse_choice


@pytest.mark.parametrize(
    "text",
    [
        "B",
        "(B)",
        "B.",
        " B) ",
        "B. a red circle",
        "(B) a cat",
        "B: A cat",
        "The answer is B.",
        "answer: (b)",
        "Option B",
        "B. vitamin B",
        "B: I see",
        "B. A Christmas tree",
        "The answer is B. a red circle",
        "B. the red circle that stands to the left of the small triangle",
    ],
)
def test_ways_to_choose(text):
    assert parse_choice(text) == "B" and choice(text, "b") == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A or B",
        "A, B",
        "B and C",
        "AB",
        "b",
        "neither",
        "B. or C",
        "ABCD",
        "The answer is B or C.",
        "All of the above",
        "options",
        "Answers",
        "choices",
        "B. A",
        "B. the same as D",
        "B. or A",
        "B: not A",
        "B. A or B",
        "(B) if not I",
        "B. rather A.",
        "B. A is right too",
        "B. but A could be",
        "B. or perhaps A instead",
        "B. or a",
        "B. a",
        "the answer is b. or a",
        "B. I cannot tell from what I see, since there is nothing about it in the picture at all",
        "The answer is B. I cannot tell from what I see, since there is nothing about it in the picture at all",
    ],
)
def test_none_or_several_are_no_choice(text):
    assert parse_choice(text) is None and choice(text, "B") == 0.0


def test_another_letter_is_wrong():
    assert choice("C", "B") == 0.0
