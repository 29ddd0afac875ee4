"""Records: what is written is read, and every malformed one is named with its line, its field and the fix."""

import json
import random
from pathlib import Path

import pytest
from PIL import Image

from kimivl.data.sample import Sample, read_record, write_record
from kimivl.processor.messages import ImagePart, Message, TextPart

FOLDER = Path("folder")


def read(record) -> Sample:
    return read_record(json.dumps(record), "train.jsonl:7", FOLDER)


def test_a_chat_by_hand():
    line = """{"id": "q-1", "meta": {"answer": "red"}, "messages": [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [{"type": "image", "image": "images/1.png"}, {"type": "text", "text": "Colour?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "red", "spelled": true}]}]}"""
    sample = read_record(line, "train.jsonl:1", FOLDER)
    image = ImagePart(FOLDER / "images/1.png")
    assert sample == Sample(
        "q-1",
        messages=(
            Message("system", (TextPart("Be short."),)),
            Message("user", (image, TextPart("Colour?"))),
            Message("assistant", (TextPart("red", spelled=True),)),
        ),
        meta={"answer": "red"},
    )
    assert sample.is_chat and sample.images == [image] and len(sample.parts) == 4


def test_a_document_by_hand():
    sample = read({"id": "d", "content": "plain"})
    assert sample == Sample("d", content=(TextPart("plain"),)) and not sample.is_chat and sample.images == []


def random_text(rng: random.Random) -> str:
    return "".join(rng.choice('ab"\\\n\u2028é漢🦊 <|im_end|>') for _ in range(rng.randint(1, 12)))


def random_parts(rng: random.Random) -> list[dict]:
    texts = [{"type": "text", "text": random_text(rng)} | ({"spelled": rng.random() < 0.5} if rng.random() < 0.5 else {})]
    return rng.choices([*texts, {"type": "image", "image": f"images/{rng.randint(0, 9)}.png"}], k=rng.randint(1, 5))


def as_json(parts) -> list[dict]:
    return [
        {"type": "image", "image": part.image.relative_to(FOLDER).as_posix()}
        if isinstance(part, ImagePart)
        else {"type": "text", "text": part.text, "spelled": part.spelled}
        for part in parts
    ]


@pytest.mark.parametrize("seed", range(50))
def test_any_record_survives_reading_and_writing(seed):
    """The record, with the defaults filled in, comes back out of the sample."""
    rng = random.Random(seed)
    record = {"id": random_text(rng), "meta": {"answer": random_text(rng), "box": [0.5, 1e-9]}}
    if seed % 2:
        record["content"] = random_parts(rng)
    else:
        roles = rng.choices(["system", "user", "assistant"], k=rng.randint(1, 4))
        record["messages"] = [{"role": role, "content": random_parts(rng)} for role in roles]
    for ascii_only in (True, False):
        sample = read_record(json.dumps(record, ensure_ascii=ascii_only), "train.jsonl:1", FOLDER)
        written: dict = {"id": sample.id, "meta": sample.meta}
        if sample.is_chat:
            written["messages"] = [{"role": message.role, "content": as_json(message.parts)} for message in sample.messages]
        else:
            written["content"] = as_json(sample.content)
        for part in [part for turn in record.get("messages", [record]) for part in turn["content"]]:
            if part["type"] == "text":
                part.setdefault("spelled", False)
        assert written == record
        line = write_record(sample, lambda path: path.relative_to(FOLDER).as_posix())
        assert "\n" not in line and read_record(line, "train.jsonl:1", FOLDER) == sample


def test_a_part_may_carry_ids_and_be_only_read():
    parts = (TextPart("ab", ids=(3, 4)), TextPart("c", learned=False))
    line = write_record(Sample("w", content=parts), str)
    assert json.loads(line)["content"][0] == {"type": "text", "text": "ab", "ids": [3, 4]}
    assert read_record(line, "train.jsonl:1", FOLDER).content == parts
    for ids in ("34", [3.0], [True], [[3]]):
        with pytest.raises(ValueError, match=r'\(id w\), part 0: "ids" must be a list of token numbers'):
            read({"id": "w", "content": [{"type": "text", "text": "ab", "ids": ids}]})


def test_a_picture_in_memory_is_not_written():
    with pytest.raises(ValueError, match="sample w has a picture in memory: save it as a file"):
        write_record(Sample("w", content=(ImagePart(Image.new("RGB", (2, 2))),)), str)


TEXT = {"type": "text", "text": "x"}
TURN = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "not valid JSON"),
        ('{"id": "a", "content": "x"', "not valid JSON .* at column 27"),
        ('["id"]', "a JSON object with a string 'id'"),
        ('{"content": "x"}', "a JSON object with a string 'id'"),
        ('{"id": 3, "content": "x"}', "a JSON object with a string 'id'"),
        ("[" * 100_000 + "]" * 100_000, "lists and objects nest more than 100 deep"),
        ('{"id": "a", "content": "x", "meta": {"n": ' + "1" * 5000 + "}}", "the number 111111111111… has more than 4300 digits"),
        (r'{"id": "a", "content": "\ud83d"}', "content holds half of a character"),
    ],
)
def test_a_line_that_is_no_record_is_named(line, words):
    with pytest.raises(ValueError, match=f"^train.jsonl:7: .*{words}"):
        read_record(line, "train.jsonl:7", FOLDER)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "give either 'messages' .* or 'content'"),
        ({"content": ""}, "not an empty one"),
        ({"messages": []}, "not an empty one"),
        ({"content": "x", "messages": [TURN]}, "give either 'messages' .* or 'content'"),
        ({"content": "", "messages": [TURN]}, "give either 'messages' .* or 'content'"),
        ({"content": "x", "messages": []}, "give either 'messages' .* or 'content'"),
        ({"content": "x", "mesages": [TURN]}, r"unknown fields \['mesages'\]; a record has id, messages or content, and meta"),
        ({"content": "x", "meta": ["red"]}, "'meta' must be an object, got list"),
        ({"content": 3}, "content must be a string or a list of parts, got int"),
        ({"content": [TEXT, {"type": "video", "video": "a"}]}, "part 1: a part is .*got {'type': 'video'"),
        ({"content": ["x"]}, "part 0: a part is"),
        ({"content": [{"type": "text"}]}, r"part 0: lacks \['text'\]"),
        ({"content": [{"type": "text", "text": 3}]}, 'part 0: "text" must be a string'),
        ({"content": [{"type": "text", "text": "x", "spelled": 1}]}, '"spelled" and "learned" true or false'),
        ({"content": [{"type": "text", "text": "x", "speled": True}]}, r"unknown keys \['speled'\]; the keys are"),
        ({"content": [{"type": "image", "image": ""}]}, 'part 0: "image" must be the path of one image file'),
        ({"content": [{"type": "image", "image": ["a.png"]}]}, 'part 0: "image" must be the path of one image file'),
        ({"messages": "hello"}, "messages must be a list, got str"),
        ({"messages": [TURN, "hello"]}, "message 1: expected an object, got str"),
        ({"messages": [{"role": "user"}]}, r"message 0: lacks \['content'\]"),
        ({"messages": [TURN | {"name": "Ann"}]}, r"message 0: has unknown keys \['name'\]"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "message 0: unknown role 'robot': a message is from one of system"),
        ({"messages": [TURN, TURN | {"content": [TEXT, 3]}]}, "message 1, part 1: a part is"),
    ],
)
def test_a_malformed_record_is_named_by_line_id_and_field(fields, words):
    with pytest.raises(ValueError, match=rf"^train.jsonl:7 \(id cat\).*{words}"):
        read({"id": "cat"} | fields)
