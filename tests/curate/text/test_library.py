"""Short text questions have true answers; reading words keep their held-out share."""

import re

from kimivl.curate.text.library import common_words, is_held_out_word
from kimivl.curate.workshop import read_records


def test_words_are_whole_words_of_running_text():
    texts = ["The cat saw numpy.linalg and x_train; the CAT isn't here. Cats, the cat!"]
    assert common_words(texts, least_count=1) == ["the", "cat", "and", "cats", "here", "saw"]


def test_word_tasks_are_right(nano_root):
    checked = 0
    for record in read_records(nano_root / "text_qa" / "train.jsonl"):
        for user, answer in zip(record["messages"][::2], record["messages"][1::2]):
            question = user["content"]
            given = answer["content"] if isinstance(answer["content"], str) else answer["content"][0]["text"]
            if match := re.fullmatch(r"Spell the word (\w+)\.", question):
                assert given == " ".join(match[1]) and not is_held_out_word(match[1])
            elif match := re.fullmatch(r'How many letters does "(\w+)" have\?', question):
                assert int(given) == len(match[1])
            elif match := re.fullmatch(r"What is (\d+) \+ (\d+)\?", question):
                assert int(given) == int(match[1]) + int(match[2])
            elif match := re.fullmatch(r'Do "(\w)\w+" and "(\w)\w+" start with the same letter\?', question):
                assert given == ("yes" if match[1] == match[2] else "no")
            else:
                continue
            checked += 1
    assert checked >= 10
