"""Facts can be looked up in the text before them, lie where they are asked to lie, and test facts are new."""

import re

import pytest

from kimivl.curate.records import rng_for
from kimivl.curate.text.recall import (
    CHARS_PER_TOKEN,
    SHORT_TOKENS,
    held_out_needles,
    is_held_out_key,
    is_held_out_value,
    needle_document,
    needle_question,
)
from kimivl.curate.workshop import plain_text, read_records

HAYSTACK = [
    f"This is sentence number one of text {i}. Here the second sentence of it follows. And a third one ends text {i}."
    for i in range(50)
]
FACT = re.compile(r"The code of (\w+) is (\d{4})\.")


@pytest.mark.parametrize("length", [300, 3_000, 12_000])
@pytest.mark.parametrize("depth", [0.0, 0.25, 1.0])
def test_the_needle_lies_at_its_depth(length, depth):
    needle = needle_document(HAYSTACK, length, depth, "Lima", "4821", rng_for(0, "test"))
    prompt = "".join(part["text"] for part in needle.prompt)
    assert prompt.endswith("\nThe code of Lima is ") and needle.answer == "4821"
    assert prompt.count("4821") == 1
    place = prompt.index("The code of Lima is 4821.")
    haystack = len(prompt) - len("The code of Lima is 4821. ") - len("\nThe code of Lima is ")
    assert abs(haystack - length) < 150
    assert abs(place - depth * length) < 120
    assert [part["text"] for part in needle.content() if part.get("spelled")] == ["4821", "4821"]


def test_the_question_form_asks_at_the_end():
    needle = needle_question(HAYSTACK, 500, 0.5, "Lima", "4821", rng_for(0, "test"))
    assert needle.prompt[-1]["text"].endswith("\nWhat is the code of Lima?")


def test_a_depth_outside_the_text_is_refused():
    with pytest.raises(ValueError, match="depth of the needle is 1.5"):
        needle_document(HAYSTACK, 500, 1.5, "Lima", "4821", rng_for(0, "test"))


@pytest.mark.parametrize("source", ["recall_short", "recall_long_1024", "recall_long_4096"])
def test_every_repeated_fact_agrees_and_none_is_held_out(nano_root, source):
    repeats = 0
    for record in read_records(nano_root / source / "train.jsonl"):
        known: dict[str, str] = {}
        for key, value in FACT.findall(plain_text(record)):
            assert not is_held_out_key(key) and not is_held_out_value(value)
            repeats += key in known
            assert known.setdefault(key, value) == value
    assert repeats >= 8


def test_every_question_in_chats_can_be_answered_from_the_text(nano_root):
    for source in ("recall_chat", "recall_long_chat"):
        for record in read_records(nano_root / source / "train.jsonl"):
            facts = dict(FACT.findall(plain_text(record)))
            for user, answer in zip(record["messages"][::2], record["messages"][1::2]):
                asked = plain_text({"messages": [user]})
                key = re.search(r"What is the code of (\w+)\?$", asked)
                assert key and answer["content"][0]["text"] == facts[key[1]]


def test_lengths_stay_below_what_their_names_say(nano_root):
    for source, most in (("recall_short", SHORT_TOKENS), ("recall_long_1024", 1024), ("recall_long_4096", 4096)):
        for record in read_records(nano_root / source / "train.jsonl"):
            tokens = sum(len(p["text"]) if p.get("spelled") else len(p["text"]) / CHARS_PER_TOKEN for p in record["content"])
            assert tokens <= most


def test_needles_for_evaluation_are_new():
    pairs = held_out_needles(200, rng_for(0, "needles"))
    assert all(is_held_out_key(key) and is_held_out_value(value) for key, value in pairs)
    assert len({value for _, value in pairs}) == 200
    written = pairs[0][1]
    again = held_out_needles(1000, rng_for(0, "needles"), [f"It was {written} then."])
    assert written not in {value for _, value in again}
    with pytest.raises(ValueError, match="needles asked for"):
        held_out_needles(10_000, rng_for(0, "needles"))
