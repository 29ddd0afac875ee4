"""The package's split and answers are kept; captions say only what training answers decide."""

import json

import pytest

from kimivl.curate.vqa.easy_vqa import _package_data, _questions, caption_of
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


@pytest.mark.parametrize("split", ["train", "test"])
def test_items_ask_one_question_and_keep_the_picture(nano_root, split):
    """A second question about a picture could be answered from the words of the first."""
    asked = {(q, a, n) for q, a, n in json.loads((_package_data() / split / "questions.json").read_text())}
    for record in read_records(nano_root / "easy_vqa" / f"{split}.jsonl"):
        user, answer = record["messages"]
        number = record["id"].split("-")[3]
        assert (plain_text({"messages": [user]}), answer["content"], int(number)) in asked
        assert record["meta"]["answer"] == answer["content"]
        kept = nano_root / "easy_vqa" / user["content"][0]["image"]
        assert kept.read_bytes() == (_package_data() / split / "images" / f"{number}.png").read_bytes()
