"""Rows as other projects write them become our records, or a fault that names the field and the fix."""

import pytest

from kimivl.data.convert.forms import (
    Fault,
    captioned,
    conversations,
    document,
    form_of,
    interleaved,
    messages,
    parts_of,
    record_of,
)


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


def video(path: str) -> dict:
    return {"type": "video", "video": path}


def test_videos_stand_where_their_marks_are():
    row = SHAREGPT | {"images": ["a.png"], "video": "v.mp4"}
    row["conversations"] = [says("human", "<video>\nLike <image>?"), says("gpt", "No.")]
    assert conversations(row)["messages"][0]["content"] == [video("v.mp4"), text("Like "), image("a.png"), text("?")]
    part = {"type": "video_url", "video_url": {"url": "v.mp4"}}
    asked = {"messages": [{"role": "user", "content": [part, text("?")]}, OPENAI["messages"][1]]}
    assert messages(asked)["messages"][0]["content"] == [video("v.mp4"), text("?")]


def test_a_picture_with_a_caption():
    for row in ({"file_name": "1.png", "text": "A cat."}, {"image": "1.png", "caption": "A cat."}):
        assert captioned(row) == {"content": [image("1.png"), text("A cat.")]} and form_of(row) == "captioned"
    with pytest.raises(Fault, match="'image' is a list: a caption is of one picture"):
        captioned({"image": ["1.png"], "caption": "x"})
    with pytest.raises(Fault, match="one of 'file_name', 'image' and one of 'text', 'caption'"):
        captioned({"image": "1.png", "caption": "x", "text": "y"})


def test_our_own_records_keep_what_only_they_have():
    parts = [image("1.png"), {"type": "text", "text": "ox", "spelled": True, "learned": False, "ids": [1]}]
    assert document({"content": parts}) == {"content": parts} and document({"content": "plain"}) == {"content": "plain"}
    test_record = user(parts) | {"meta": {"answer": "ox"}}
    assert messages(test_record)["messages"][0]["content"] == parts  # what a test asks has no answer to learn


def test_a_record_has_an_id_and_all_other_fields_in_its_meta():
    row = LLAVA | {"id": 7, "source": "web", "meta": {"n": 1}, "text": "beside"}
    record = record_of(row, None, "name")
    assert (record["id"], record["meta"]) == ("7", {"n": 1, "source": "web", "text": "beside"})
    assert record_of(LLAVA, None, "name") == conversations(LLAVA) | {"id": "name"}
    assert parts_of(record)[0] == text("What is it?") and len(parts_of({"content": "x"})) == 0


@pytest.mark.parametrize("said", [{"weight": 0}, {"loss": False}, {"learned": False}, {"weight": 0.0, "loss": True}])
def test_a_turn_that_others_do_not_learn_is_not_learned(said):
    question, answer = {"role": "user", "content": "?"}, {"role": "assistant", "content": "A dog."}
    wrong = {"role": "assistant", "content": [image("a.png"), text("A cat.")]} | said
    found = messages({"messages": [question, wrong, question, answer | {"weight": 1, "loss": True}]})["messages"]
    assert found[1]["content"] == [image("a.png"), text("A cat.") | {"learned": False}]
    assert found[3] == answer
    marked = {"conversations": [says("human", "?"), says("gpt", "A cat.") | said]}
    assert conversations(marked)["messages"][1]["content"] == [text("A cat.") | {"learned": False}]


@pytest.mark.parametrize("given", [{"$oid": "6"}, [1], True])
def test_an_id_is_a_text_or_a_number(given):
    with pytest.raises(Fault, match="'id' is a text or a number"):
        record_of(LLAVA | {"id": given}, None, "name")
    assert record_of(LLAVA | {"id": None}, None, "name")["id"] == "name"


def says(speaker: str, value) -> dict:
    return {"from": speaker, "value": value}


def turn(more: dict) -> dict:
    return {"messages": [OPENAI["messages"][0], OPENAI["messages"][1] | more]}


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
        (conversations, SHAREGPT | {"images": ["a.png", ""]}, r"^images\[1\] is the path of a picture, got ''"),
        (conversations, LLAVA | {"image": ""}, "^'image' is the path of a picture, got ''"),
        (conversations, LLAVA | {"image": "http://x"}, "^'image' is an address"),
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
        (messages, turn({"weight": 0.5}), r"messages\[1\].weight is 0 or 1, or false or true, got 0.5"),
        (messages, turn({"loss": "no"}), r"messages\[1\].loss is 0 or 1, or false or true, got 'no'"),
        (messages, turn({"tool_calls": [{}]}), r"messages\[1\] has 'tool_calls', which records have not: write the call"),
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
