"""Letters are renamed where they name a choice for certain, and nowhere else."""

import re

import numpy as np
import pytest

from kimivl.data.augment.geometry import Unspeakable
from kimivl.data.augment.options import reordered

QUESTION = "Which one?\nA. a cat\nB. a dog\nC. an owl\nD. the fox\nAnswer with the letter."
ORDER = (2, 0, 3, 1)  # what was A is B, B is D, C is A, D is C

# How answers name choices: {0}, {1}, {2} are letters, {text0} what the first of them stands before.
SAID = [
    "{0}", "{0}.", "({0})", "**{0}**", "**{0}.**", "\\boxed{{{0}}}", "\\boxed{{\\text{{{0}}}}}", "{0}\nIt is plain to see.",
    "Answer: {0}", "The answer is {0}.", "The correct answer is **{0}**.", "The correct choice is ({0}).", "{0}. {text0}",
    "({0}) {text0}", "{0}: {text0}", "**{0}. {text0}**", "The answer is {0}, because it barks.", "{0} because it barks",
    "{0} and {1}", "{0}, {1}", "Options {0}, {1} and {2} do not fit.", "Option {0} shows {text0}.", "I have option {0}",
    "{0} is wrong. {1} is correct.", "Neither {0} nor {1} is correct, so {2}.", "I rule out {0} and {1}. The answer is {2}.",
    "选{0}", "故选：{0}。", "答案是{0}", "正确答案为{0}。", "答案：{0}", "{0}选项错误，{1}项正确，选{1}。",
    "因此{0}、{1}错误，选{2}",
    "选择{0}和{1}", "选项{0}是{text0}。",
    "◁think▷Option {0} is {text0}, which is not seen. {1} is wrong.\nSo the answer is {2}.◁/think▷{2}",
    "<think>Let me see. Options {0} and {1} fit; {2}. {text2} does not.</think>\n\n**{0}**",
    "{text0} is what I see", "Let me look.\nIt has ears.\n\n{0}", "Any from A to D may be, but the answer is {0}.",
]  # fmt: skip


def texts_of(question: str) -> dict[str, str]:
    return dict(re.findall(r"^([A-D])\. (.*)$", question, re.MULTILINE))


def test_an_answer_names_the_same_choices_in_another_order_and_back_a_thousand_times():
    rng = np.random.default_rng(0)
    before = texts_of(QUESTION)
    for number in range(1000):
        named = [str(letter) for letter in rng.choice(list("ABCD"), 3, replace=False)]
        order = rng.permutation(4).tolist()
        said = SAID[number % len(SAID)]

        def written(letters: list[str], texts: dict[str, str], said: str = said) -> str:
            return said.format(*letters, **{f"text{place}": texts[letter] for place, letter in enumerate(letters)})

        question, [answer] = reordered(QUESTION, [written(named, before)], order)
        after = texts_of(question)
        letters = [next(letter for letter, text in after.items() if text == before[old]) for old in named]
        assert answer == written(letters, after), (named, order)
        back = [order.index(place) for place in range(4)]
        assert reordered(question, [answer], back) == (QUESTION, [written(named, before)])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("AC", "AB"),  # as a set, in the order of the alphabet
        ("The answer is AC.", "The answer is AB."),
        ("b", "d"),
        ("(b)", "(d)"),
        ("The answer is b.", "The answer is d."),
        ("\\boxed{b}", "\\boxed{d}"),
        ("A cat is seen. The answer is A.", "A cat is seen. The answer is B."),  # A quotes a choice, and is a word
        ("A cat", "A cat"),
        ("The answer is a dog.", "The answer is a dog."),
        ("The answer is 'B'.", "The answer is 'D'."),
        ("the choices “B” and ‘C’", "the choices “D” and ‘A’"),
        ("D'Angelo says he'd take option B", "D'Angelo says he'd take option D"),
        ("E", "E"),  # of no choice
        ("vitamin E, so D.", "vitamin E, so C."),
        ("At 30 °C a B-tree grows: the answer is B", "At 30 °C a B-tree grows: the answer is D"),
        ("x = b + d, option C", "x = b + d, option A"),
        ("Yes, a dog.", "Yes, a dog."),
    ],
)
def test_letters_worked_out_by_hand(answer, expected):
    assert reordered(QUESTION, [answer], ORDER)[1] == [expected]


UNTOLD = [
    "A dog is seen: B.", "A has the largest bar, so A.", "B has the largest bar.", "A big dog", "vitamin A", "plan B",
    "figure C",
    "The point B lies on it.", "A level", "B. Lincoln", "AI says B.", "A/B testing", "BA", "维生素A", "B shows two.",
    "Answer: A tree",
    "A. Look first\nB. Then say", "in C major", "the triangle ABC", "候选A", "A项目", "panel (A) is dark", "ac", "Option-B",
    "B's claim", "Not-B", "Figure A: 1 dog",
]  # fmt: skip


@pytest.mark.parametrize("answer", UNTOLD)
def test_a_letter_that_may_be_a_word_or_a_name_is_refused(answer):
    with pytest.raises(Unspeakable, match="choice"):
        reordered(QUESTION, [answer], ORDER)


@pytest.mark.parametrize(
    "answer",
    [
        "the first option",
        "the last two are wrong, so B",
        "Options A-C are wrong.",
        "A到C都错，选D",
        "第二个选项",
        "选项二",
        "Ｂ",
        "后者",
    ],
)
def test_choices_named_by_their_place_are_refused(answer):
    with pytest.raises(Unspeakable, match="by its place|by their order"):
        reordered(QUESTION, [answer], ORDER)


def test_an_article_before_what_a_choice_says_is_no_letter():
    question = "Which?\nA. owl\nB. dog"
    assert reordered(question, ["A dog is seen, so B."], (1, 0))[1] == ["A dog is seen, so A."]
    with pytest.raises(Unspeakable):  # the letter with its text, or a word
        reordered(question, ["A owl"], (1, 0))


@pytest.mark.parametrize("answer", ["b", "\\boxed{b}", "The answer is b."])
def test_a_small_letter_that_a_choice_says_may_be_that(answer):
    with pytest.raises(Unspeakable):
        reordered("Which side is longer?\nA. a\nB. b\nC. a + b", [answer], (1, 0, 2))
    assert reordered("Which?\nA. a\nB. b", ["a + b is more, so B"], (1, 0))[1] == ["a + b is more, so A"]
