"""Thoughts and answers are told apart by the published rule, and the history holds answers only."""

import pytest
from PIL import Image

from kimivl.processor.messages import ImagePart, Message, TextPart
from kimivl.processor.thoughts import CLOSE, OPEN, forget_thoughts, split_thought


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        (f"{OPEN}two and two{CLOSE}4", "two and two", "4"),
        (f"{OPEN}\n a \n{CLOSE}\n\n b ", "a", "b"),
        (f"a{CLOSE}b", "a", "b"),
        (f"{OPEN}never closed", "never closed", ""),
        ("4", "", "4"),
        (f"{OPEN}{CLOSE}", "", ""),
        (f"{OPEN}a{CLOSE}b{CLOSE}c", "a", f"b{CLOSE}c"),
        ("", "", ""),
    ],
)
def test_the_published_rule(text, thought, answer):
    assert split_thought(text) == (thought, answer)


def turn(role, *texts, learned=True):
    return Message(role, tuple(TextPart(text, learned=learned) for text in texts))


def test_earlier_thoughts_are_forgotten_and_the_last_turns_own_stays():
    talk = [turn("user", "q"), turn("assistant", f"{OPEN}a{CLOSE}1"), turn("user", "r"), turn("assistant", f"{OPEN}b{CLOSE}2")]
    read = turn("assistant", "1", learned=False)  # its reason is gone: to learn it would be to learn not to think
    assert forget_thoughts(talk) == [talk[0], read, talk[2], talk[3]]
    assert forget_thoughts(talk[:3]) == [talk[0], read, talk[2]]  # the next turn is about to be written


def test_a_user_may_write_the_markers():
    talk = [turn("user", f"{OPEN}mine{CLOSE}"), turn("assistant", "1"), turn("user", "r")]
    assert forget_thoughts(talk) == talk


def test_markers_may_lie_across_parts_and_spelled_answers_stay_spelled():
    answer = Message(
        "assistant", (TextPart(f"{OPEN}a"), TextPart("b" + CLOSE[:3]), TextPart(CLOSE[3:] + "  "), TextPart("42", spelled=True))
    )
    assert forget_thoughts([answer, turn("user", "r")])[0].parts == (TextPart("42", spelled=True, learned=False),)


def test_a_thought_that_was_cut_off_leaves_an_empty_turn():
    assert forget_thoughts([turn("assistant", f"{OPEN}and then"), turn("user", "r")])[0].parts == ()


def test_pictures_in_an_answer_stay_and_those_in_a_thought_go():
    picture = ImagePart(Image.new("RGB", (2, 2)))
    answer = Message("assistant", (TextPart(f"{OPEN}a"), picture, TextPart(CLOSE), picture, TextPart("b")))
    assert forget_thoughts([answer, turn("user", "r")])[0].parts == (picture, TextPart("b", learned=False))


def test_what_is_left_of_a_turn_loses_the_ids_of_the_whole():
    answer = Message("assistant", (TextPart(f"{OPEN}a{CLOSE}b", ids=(1, 2, 3)), TextPart("c", ids=(4,))))
    kept = (TextPart("b", learned=False), TextPart("c", learned=False, ids=(4,)))
    assert forget_thoughts([answer, turn("user", "r")])[0].parts == kept
    assert forget_thoughts([answer])[0].parts == answer.parts
