"""Instructions change their words and nothing else."""

import re
from dataclasses import replace

import numpy as np
import pytest

from kimivl.data.augment.coordinates import FORMATS, format_named
from kimivl.data.augment.directions import redirected
from kimivl.data.augment.geometry import mirror, straight_turn
from kimivl.data.augment.paraphrase import Bank, bank, joined, language_of

FILLED = {
    "en": {"object": "the red car", "things": "red cars", "question": "Who is it?"},
    "zh": {"object": "红色的车", "things": "辆车", "question": "谁？"},
}
WORDINGS = [(name, wording) for name, wordings in bank().groups.items() for wording in wordings]


def filled(name: str, wording: str) -> str:
    slots = FILLED[name[-2:]]
    return re.sub(r"\{(object|things|question)\}", lambda match: slots[match[1]], wording)


def said(text: str, seed: int = 0) -> str:
    return bank().paraphrased(text, np.random.default_rng(seed))


def group_of(name: str) -> set[str]:
    return {filled(name, wording) for wording in bank().groups[name]}


def test_the_bank_is_large_enough_and_its_groups_keep_their_language():
    assert len(bank().groups) >= 50 and all(5 <= len(wordings) <= 10 for wordings in bank().groups.values())
    assert {name[-3:] for name in bank().groups} == {"-en", "-zh"}
    assert all(language_of(filled(name, wording)) == name[-2:] for name, wording in WORDINGS)


def test_every_wording_becomes_another_of_its_group_and_of_no_other():
    for name, wording in WORDINGS:
        text = filled(name, wording)
        seen = {said(text, seed) for seed in range(8)}
        assert len(seen) > 1 and seen <= group_of(name) - {text}, (name, wording)


def test_no_wording_speaks_of_a_direction():
    """Instructions change their words behind the warp: they must be true of every picture."""
    for name, wording in WORDINGS:
        text = re.sub("一下|下面|以下", "", filled(name, wording))  # once, and what follows
        for warp in (mirror((4, 3)), straight_turn((4, 3), 90)):
            assert redirected(text, warp) == text


@pytest.mark.parametrize(
    ("text", "start", "group"),
    [
        ("Who?\nA. I\nAnswer with the option's letter from the given choices directly.", "Who?\nA. I\n", "answer-letter-en"),
        ("What is it for? answer with a single word or phrase", "What is it for? ", "answer-phrase-en"),
        ("这是谁的车？请回答是或否。", "这是谁的车？", "answer-yes-no-zh"),
    ],
)  # fmt: skip
def test_the_last_sentence_alone_may_change(text, start, group):
    after = said(text)
    assert after != text and after.startswith(start) and after.removeprefix(start) in group_of(group)


def test_the_first_sentence_alone_may_change():
    after = said("Describe the image.\nMind the colours of all things.")
    assert after.removesuffix("\nMind the colours of all things.") in group_of("describe-en") - {"Describe the image."}


def test_what_fills_a_slot_is_said_as_it_was():
    for seed in range(20):
        assert "the Red car’s roof" in said("What color is the Red car’s roof?", seed)
        question = "Question: He said “Describe the image.” Why?\nA. yes\nB. no"
        assert (
            said(question, seed).endswith("He said “Describe the image.” Why?\nA. yes\nB. no")
            and said(question, seed) != question
        )


@pytest.mark.parametrize(
    "text",
    [
        "What is left on the plate?",  # in no group
        "Describe the image of a cat.",
        "\"Describe the image.\"",
        "Translate: “Look here. Describe the image.”",
        "He wrote `x. Describe the image.` on it",
        "What color is the man wearing?",  # the rest of a sentence would be torn from its verb
        "Where is the girl looking in the image?",
        "How many more cats than dogs are there?",
        "他穿的是什么颜色？",
        "请问车是什么颜色？",
        "",
    ],
)  # fmt: skip
def test_what_is_not_surely_an_instruction_stays(text):
    assert all(said(text, seed) == text for seed in range(10))


def test_every_way_to_ask_for_a_format_names_it():
    for form, by_language in bank().formats.items():
        for language, wordings in by_language.items():
            assert len(wordings) >= 5
            for seed in range(20):
                sentence = bank().asks_for(form, (640, 480), language, np.random.default_rng(seed))
                assert format_named(sentence) and language_of(sentence) == language and "{" not in sentence
                assert ("640" in sentence and "480" in sentence) == (form == "pixel")
    assert set(bank().formats) == set(FORMATS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Where?", "Where? Say it."),
        ("Where is it", "Where is it\nSay it."),
        ("Which?\nA. x\nB. y.", "Which?\nA. x\nB. y.\nSay it."),
        ("在哪里？", "在哪里？Say it."),
    ],
)
def test_a_sentence_stands_behind_a_text(text, expected):
    assert joined(text, "Say it.") == expected


def test_the_digest_follows_every_word_and_the_version():
    groups = dict(bank().groups)
    groups["system-zh"] = (*groups["system-zh"][:-1], "请当助手。")
    digests = {bank().digest, replace(bank(), groups=groups).digest, replace(bank(), version=0).digest}
    assert len(digests) == 3


def test_wordings_with_different_slots_are_refused():
    with pytest.raises(ValueError, match="group odd needs two wordings or more, all with the same slots"):
        Bank(1, {"odd": ("Click {object}.", "Click it.")}, bank().formats)
    with pytest.raises(ValueError, match="formats are unit-2"):
        Bank(1, {}, {})


@pytest.mark.parametrize(
    "text",
    [
        "Translate into Chinese:\nDescribe the image.",
        "Repeat after me. What does the image show?",
        "Here is a sentence: it rains. Describe the image.",
        "把下面的话翻译成英文。描述这张图片。",
    ],
)
def test_words_that_are_spoken_of_stay(text):
    assert all(bank().paraphrased(text, np.random.default_rng(seed)) == text for seed in range(10))
