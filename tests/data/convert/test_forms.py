"""Rows as other projects write them become our records, or a fault that names the field and the fix."""

import pytest

from kimivl.data.convert.forms import Fault, conversations, form_of, interleaved, messages


def text(words: str) -> dict:
    return {"type": "text", "text": words}


def image(path: str) -> dict:
    return {"type": "image", "image": path}


LLAVA = {
    "image": "coco/1.jpg",
    "conversations": [{"from": "human", "value": "What is it?\n<image>"}, {"from": "gpt", "value": "A cat."}],
}
SHAREGPT = {
    "images": ["a.png", "b.png"],
    "conversations": [
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "<image><image>Same?"},
        {"from": "gpt", "value": "No."},
    ],
}
OPENAI = {
    "messages": [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.png"}}, text("What?")]},
        {"role": "assistant", "content": "A dog."},
    ]
}


def test_llavas_row():
    assert conversations(LLAVA) == {
        "messages": [
            {"role": "user", "content": [text("What is it?"), image("coco/1.jpg")]},
            {"role": "assistant", "content": [text("A cat.")]},
        ]
    }


def test_sharegpts_row_with_a_system_turn_and_two_pictures():
    found = conversations(SHAREGPT)["messages"]
    assert [turn["role"] for turn in found] == ["system", "user", "assistant"]
    assert found[1]["content"] == [image("a.png"), image("b.png"), text("Same?")]


def test_openais_row_and_its_variants():
    expected = {
        "messages": [{"role": "user", "content": [image("a.png"), text("What?")]}, {"role": "assistant", "content": "A dog."}]
    }
    assert messages(OPENAI) == expected
    first = {"role": "user", "content": [{"type": "image", "image": "file://a.png"}, text("What?")]}
    assert messages({"messages": [first, OPENAI["messages"][1]]}) == expected
    marked = [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "A dog."}]
    assert messages({"messages": marked, "images": ["a.png"]})["messages"][0] == expected["messages"][0]


def test_obelics_row():
    row = {"texts": ["One.", None, "Two."], "images": [None, "1.png", None]}
    assert interleaved(row) == {"content": [text("One."), image("1.png"), text("Two.")]}


def says(speaker: str, value) -> dict:
    return {"from": speaker, "value": value}


def user(content) -> dict:
    return {"messages": [{"role": "user", "content": content}]}


ADDRESS = {"type": "image", "image": "http://x"}
TWICE = {"messages": OPENAI["messages"][1:] * 2}


@pytest.mark.parametrize(
    ("convert", "row", "words"),
    [
        (conversations, LLAVA | {"image": ["coco/1.jpg"]}, "'image' is a list: call it 'images'"),
        (conversations, LLAVA | {"images": ["coco/1.jpg"]}, "both 'image' and 'images' are there: keep one"),
        (conversations, SHAREGPT | {"images": "a.png"}, "'images' is a text: make it a list, or call it 'image'"),
        (conversations, SHAREGPT | {"images": ["a.png"]}, "the texts hold 2 <image> and the row has 1 pictures: give one"),
        (conversations, SHAREGPT | {"images": [1, 2]}, "'images' is a list of paths of pictures"),
        (conversations, LLAVA | {"image": 3}, "'image' is the path of a picture, got int"),
        (conversations, {"conversations": []}, "'conversations' is a list of at least one turn"),
        (conversations, {"conversations": user("x")["messages"]}, "call the list 'messages', or the keys 'from'"),
        (messages, {"messages": [says("human", "x")]}, "call the list 'conversations', or the keys 'role'"),
        (conversations, {"conversations": [says("bot", "x")]}, r"\[0\].from is 'bot': give one of human, user"),
        (conversations, {"conversations": [says("human", "x")]}, "ends with a turn of the user: there is nothing to learn"),
        (conversations, {"conversations": [says("human", "")]}, "a turn is empty: give it a text, or remove it"),
        (conversations, {"conversations": [says("human", 3)]}, r"conversations\[0\].value is a text, got int"),
        (messages, TWICE, r"messages\[0\] and \[1\] are both from the assistant: turns alternate"),
        (messages, user("<image>?"), "holds <image>, and the row has no 'images'"),
        (messages, user([{"type": "audio"}]), r"content\[0\] is a part of type text, image_url or image"),
        (messages, user([ADDRESS]), r"content\[0\].image is an address \(http://x…\): save the picture as a file"),
        (messages, user([{"type": "image_url"}]), "image_url is the path of a picture, got None"),
        (messages, user([]), "content is a text or a list of parts"),
        (interleaved, {"texts": ["a"], "images": []}, "lists of one length"),
        (interleaved, {"texts": ["a"], "images": ["b"]}, "place 0 has a text and a picture: give one"),
        (interleaved, {"texts": [None], "images": [None]}, "place 0 has nothing"),
        (interleaved, {"texts": [3], "images": [None]}, "place 0 is a text or the path of a picture, got 3"),
    ],
)
def test_what_is_not_of_the_form_is_named_with_the_fix(convert, row, words):
    with pytest.raises(Fault, match=words):
        convert(row)


def test_the_keys_tell_the_form():
    assert [form_of(row) for row in (OPENAI, LLAVA, {"texts": [], "images": []})] == ["messages", "conversations", "interleaved"]
    for row in ({"text": "x"}, OPENAI | LLAVA):
        with pytest.raises(Fault, match="one of the keys 'messages'"):
            form_of(row)
