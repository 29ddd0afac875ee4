"""Facts can be looked up in the text before them, and none of the values kept for tests is told in training."""

import re

import numpy as np
import pytest

from kimivl.curate.text.recall import CHARS_PER_TOKEN, MOST_TIMES, SHORT_TOKENS
from kimivl.curate.workshop import plain_text, read_records
from kimivl.data.facts import is_held_out

FACT = re.compile(r"The code of (\w+) is (\w+ \w+ \w+)\.")


@pytest.mark.parametrize("source", ["recall_short", "recall_long_1024", "recall_long_4096"])
def test_every_repeated_fact_agrees_and_none_is_held_out(nano_root, source):
    repeats = 0
    for record in read_records(nano_root / source / "train.jsonl"):
        known: dict[str, str] = {}
        for name, value in FACT.findall(plain_text(record)):
            assert not is_held_out(value)
            repeats += name in known
            assert known.setdefault(name, value) == value
    assert repeats >= 8


def test_long_documents_hold_one_fact_and_end_with_it(nano_root):
    for record in read_records(nano_root / "recall_long_1024" / "train.jsonl"):
        haystack, last = record["content"].rsplit("\n", 1)
        told = FACT.findall(haystack)
        assert FACT.fullmatch(last) and set(told) == {FACT.fullmatch(last).groups()} and len(told) <= MOST_TIMES


def test_long_documents_look_back_over_every_distance(nano_root):
    """The share of the document between the last telling but one and the end: spread from near to nearly all of it."""
    shares = []
    for record in read_records(nano_root / "recall_long_1024" / "train.jsonl"):
        haystack, last = record["content"].rsplit("\n", 1)
        shares.append(1 - haystack.rfind(last) / len(record["content"]))
    near, middle, far = np.quantile(shares, [0.1, 0.5, 0.9])
    assert near < 0.35 and 0.4 < middle < 0.8 and far > 0.75


def test_every_question_in_chats_can_be_answered_from_the_text(nano_root):
    for source in ("recall_chat", "recall_long_chat"):
        for record in read_records(nano_root / source / "train.jsonl"):
            facts = dict(FACT.findall(plain_text(record)))
            for user, answer in zip(record["messages"][::2], record["messages"][1::2]):
                asked = plain_text({"messages": [user]})
                name = re.search(r"What is the code of (\w+)\?$", asked)
                assert name and answer["content"] == facts[name[1]]


def test_lengths_stay_below_what_their_names_say(nano_root):
    for source, most in (("recall_short", SHORT_TOKENS), ("recall_long_1024", 1024), ("recall_long_4096", 4096)):
        for record in read_records(nano_root / source / "train.jsonl"):
            assert len(record["content"]) / CHARS_PER_TOKEN <= most
