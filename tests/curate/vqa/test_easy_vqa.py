"""The package's split and answers are kept; captions say only what training answers decide."""

import json

import pytest

from kimivl.curate.vqa.easy_vqa import MOST_TURNS, _package_data, _questions, caption_of
from kimivl.curate.workshop import plain_text, read_records


@pytest.mark.parametrize(
    ("pairs", "caption"),
    [
        ([("what color is the shape?", "teal"), ("what shape is present?", "circle")], "a teal circle"),
        ([("what is the blue shape?", "rectangle")], "a blue rectangle"),
        ([("what color is the triangle?", "red")], "a red triangle"),
        ([("is there not a circle?", "no"), ("is a brown shape present?", "yes")], "a brown circle"),
        ([("is no circle present?", "yes"), ("is there a triangle?", "no"), ("is there a red shape?", "yes")], "a red rectangle"),
        ([("is there a circle?", "no"), ("is there a red shape?", "yes")], None),  # two shapes are left
        ([("what shape is present?", "circle"), ("is there a red shape?", "no")], None),
    ],
)
def test_captions_by_hand(pairs, caption):
    assert caption_of(pairs) == caption


def test_the_published_split_is_kept():
    train, test = (_questions(_package_data() / split) for split in ("train", "test"))
    assert (len(train), sum(map(len, train.values()))) == (4000, 38575)
    assert (len(test), sum(map(len, test.values()))) == (1000, 9673)


def test_every_turn_is_a_question_of_that_image(nano_root):
    data = json.loads((_package_data() / "train" / "questions.json").read_text())
    records = read_records(nano_root / "easy_vqa" / "train.jsonl")
    assert any(len(record["messages"]) > 6 for record in records)
    for record in records:
        number = int(record["id"].rsplit("-", 1)[1])
        truth = [(q, a) for q, a, n in data if n == number]
        turns = [(plain_text({"messages": [u]}), a["content"]) for u, a in zip(record["messages"][::2], record["messages"][1::2])]
        assert set(turns) <= set(truth) and len(turns) == min(len(truth), MOST_TURNS)


def test_test_items_ask_one_question_and_keep_the_picture(nano_root):
    for record in read_records(nano_root / "easy_vqa" / "test.jsonl"):
        user, answer = record["messages"]
        assert record["meta"]["answer"] == answer["content"]
        number = record["id"].split("-")[3]
        kept = nano_root / "easy_vqa" / user["content"][0]["image"]
        assert kept.read_bytes() == (_package_data() / "test" / "images" / f"{number}.png").read_bytes()
