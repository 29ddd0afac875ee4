"""Copies between train and test are found whatever their file names."""

import json

import pytest

from kimivl.curate.duplicates import Contents, check, shared, survey
from kimivl.curate.records import chat, document, image, text

LONG = "a line of text that is long enough to be compared between the two sides"


def test_copies_are_counted():
    train = [
        document("1", [image("a.png"), text("a circle")]),
        document("2", "first\n" + LONG),
        chat("3", [([image("b.png"), text("what?")], "yes")]),
    ]
    test = [
        document("4", [image("c.png"), text("a circle")]),  # same picture, same text: a copy
        document("5", [image("d.png"), text("a circle")]),  # other picture
        document("6", LONG + "\nsecond"),  # shares a line only
        chat("7", [([image("e.png"), text("which?")], "yes")]),  # same picture, other question
    ]
    pixels = {"train": {"a.png": "A", "b.png": "B"}, "test": {"c.png": "A", "d.png": "D", "e.png": "B"}}
    sides = {"train": Contents(), "test": Contents()}
    for name, records in (("train", train), ("test", test)):
        sides[name].add(records, pixels[name])
    assert shared(**sides) == {
        "test_images": 3,
        "images_in_train": 2,
        "test_lines": 1,
        "lines_in_train": 1,
        "items_in_train": 1,
    }


def test_short_lines_repeat_by_design():
    sides = {"train": Contents(), "test": Contents()}
    sides["train"].add([document("1", "short")], {})
    sides["test"].add([chat("2", [("short", "yes")])], {})
    assert shared(**sides)["lines_in_train"] == 0


def test_a_shared_picture_is_refused_by_name():
    counts = {"test_images": 9, "images_in_train": 1, "test_lines": 0, "lines_in_train": 0, "items_in_train": 0}
    check({"words/test_known": counts | {"images_in_train": 0}})
    with pytest.raises(ValueError, match=r"words/test_known shares \{'images_in_train': 1\}"):
        check({"words/test_known": counts})


def test_a_picture_of_another_source_of_the_group_is_found(tmp_path):
    """The words test against the training pictures of `letters`, say."""
    for source, split, name in (("words", "test", "a.png"), ("letters", "train", "b.png")):
        (tmp_path / source).mkdir()
        record = document(f"{source}-1", [image(name), text("I")])
        (tmp_path / source / f"{split}.jsonl").write_text(json.dumps(record) + "\n")
    pixels = {tmp_path / "words" / "a.png": "A", tmp_path / "letters" / "b.png": "A"}
    found = survey(tmp_path, ("words", "letters"), pixels)
    assert found["duplicates"]["words/test"]["images_in_train"] == 1
    assert found["sources"]["letters"]["train"] == {"records": 1, "text_chars": 1, "images": 1}
