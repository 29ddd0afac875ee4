"""Copies between train and test are found whatever their file names."""

from kimivl.curate.duplicates import compare
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
    hashes = {"a.png": "A", "b.png": "B", "c.png": "A", "d.png": "D", "e.png": "B"}
    assert compare(train, test, hashes) == {
        "test_images": 3,
        "images_in_train": 2,
        "test_lines": 1,
        "lines_in_train": 1,
        "items_in_train": 1,
    }


def test_nothing_in_common():
    assert compare([document("1", "short")], [document("2", "short")], {})["lines_in_train"] == 0  # short lines repeat by design
