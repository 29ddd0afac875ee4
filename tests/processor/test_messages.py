"""Records become messages; a record that is wrong says where and why."""

from pathlib import Path

import pytest

from kimivl.processor.messages import ImagePart, Message, TextPart, read_messages, read_parts

FOLDER = Path("data/shapes/train")


def test_a_string_and_a_list_content_are_read():
    record = [
        {"role": "user", "content": [{"type": "image", "image": "images/7.png"}, {"type": "text", "text": "How many?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "12", "spelled": True}]},
        {"role": "user", "content": "Sure?"},
    ]
    assert read_messages(record, FOLDER, "train.jsonl line 1") == (
        Message("user", (ImagePart(FOLDER / "images/7.png"), TextPart("How many?"))),
        Message("assistant", (TextPart("12", spelled=True),)),
        Message("user", (TextPart("Sure?"),)),
    )


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ({"role": "tool", "content": "x"}, "unknown role 'tool'"),
        ({"role": "user"}, r"lacks \['content'\]"),
        ({"role": "user", "content": "x", "name": "Ada"}, r"unknown keys \['name'\]"),
        ({"role": "user", "content": None}, "must be a string or a list"),
        ({"role": "user", "content": [{"type": "text", "text": 12}]}, 'part 0: "text" must be a string'),
        ({"role": "user", "content": [{"type": "text", "text": "x", "spelled": 1}]}, '"spelled" and "learned" true or false'),
        ({"role": "user", "content": [{"type": "text", "text": "x", "learned": "no"}]}, '"learned" true or false'),
        ({"role": "user", "content": ["x"]}, "part 0: a part is"),
        ({"role": "user", "content": [{"type": "video", "video": "x"}]}, "a part is"),
        ({"role": "user", "content": [{"type": "image", "image": ["a.png", "b.png"]}]}, "the path of one image file"),
        ({"role": "user", "content": [{"type": "image"}]}, r"lacks \['image'\]"),
        ("hello", "expected an object"),
    ],
)
def test_a_wrong_message_names_the_record_the_message_and_the_key(message, named):
    with pytest.raises(ValueError, match=rf"line 3 \(id a\), message 1.*{named}"):
        read_messages([{"role": "user", "content": "ok"}, message], FOLDER, "line 3 (id a)")


def test_messages_must_be_a_list():
    with pytest.raises(ValueError, match="line 1: messages must be a list, got dict"):
        read_messages({"role": "user", "content": "x"}, FOLDER, "line 1")


def test_a_document_is_read_the_same_way():
    assert read_parts("plain", FOLDER, "d") == (TextPart("plain"),)
    assert read_parts([{"type": "image", "image": "a.png"}], FOLDER, "d") == (ImagePart(FOLDER / "a.png"),)


@pytest.mark.parametrize("parts", ["hello", [TextPart("hello")], ("hello",)])
def test_a_message_made_in_code_is_checked_too(parts):
    with pytest.raises(ValueError, match="must be a tuple of TextPart and ImagePart"):
        Message("user", parts)
