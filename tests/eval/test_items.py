"""Questions are read from test records, and the controls change the pictures and nothing else."""

import json

import numpy as np
import pytest
from PIL import Image

from kimivl.eval.items import load_items, with_blank_pictures, with_shuffled_pictures
from kimivl.processor.image import load_rgb
from kimivl.processor.messages import ImagePart, TextPart


def pictures(item):
    return [part.image for message in item.messages for part in message.parts if isinstance(part, ImagePart)]


def words(item):
    return [part for message in item.messages for part in message.parts if isinstance(part, TextPart)]


def write(folder, *records):
    (folder / "set").mkdir()
    (folder / "set" / "test.jsonl").write_text("".join(json.dumps({"id": f"r{i}"} | r) + "\n" for i, r in enumerate(records)))
    return folder


def test_the_last_answer_is_left_out_of_the_prompt(tmp_path):
    messages = [("user", "one?"), ("assistant", "1"), ("user", "two?"), ("assistant", "2")]
    record = {"messages": [{"role": role, "content": said} for role, said in messages], "meta": {"answer": "2"}}
    (item,) = load_items(write(tmp_path, record), "set", "test")
    assert [message.role for message in item.messages] == ["user", "assistant", "user"]
    assert (item.question, item.truth, item.images) == ("two?", "2", ())


def test_labels_between_pictures_are_no_part_of_the_question(tmp_path):
    frames = [{"type": "text", "text": "0.0s"}, {"type": "image", "image": "a.png"}, {"type": "text", "text": "0.5s"}]
    frames += [{"type": "image", "image": "b.png"}, {"type": "text", "text": "Does it move?"}]
    messages = [{"role": "user", "content": frames}, {"role": "assistant", "content": "yes"}]
    record = {"messages": messages, "meta": {"answer": "yes"}}
    (item,) = load_items(write(tmp_path, record), "set", "test")
    assert item.question == "Does it move?"
    assert [path.name for path in item.images] == ["a.png", "b.png"]


def asked(**meta):
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    return {"messages": messages, "meta": {"answer": "!"} | meta}


def test_family_and_size_are_read_where_a_record_tells_them(tmp_path):
    told, untold = load_items(write(tmp_path, asked(family="paths", difficulty=7), asked()), "set", "test")
    assert (told.family, told.difficulty) == ("paths", 7) and (untold.family, untold.difficulty) == ("", None)


@pytest.mark.parametrize("meta", [{"family": 3}, {"difficulty": "hard"}])
def test_a_family_or_size_that_is_none_is_refused_by_name(tmp_path, meta):
    with pytest.raises(ValueError, match=r"test\.jsonl \(id r0\): .*whole number"):
        load_items(write(tmp_path, asked(**meta)), "set", "test")


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        ({"content": "a document"}, "a test record is a chat"),
        ({"messages": [{"role": "user", "content": "?"}]}, "a test record is a chat"),
        ({"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}, "true answer"),
    ],
)
def test_a_record_without_question_or_answer_is_refused_by_name(tmp_path, record, fault):
    with pytest.raises(ValueError, match=rf"test\.jsonl \(id r0\): .*{fault}"):
        load_items(write(tmp_path, record), "set", "test")


def test_blank_pictures_are_white_and_of_the_same_size(data):
    items = load_items(data, "colors", "test")
    for item, blank in zip(items, with_blank_pictures(items)):
        (picture,) = pictures(blank)
        assert isinstance(picture, Image.Image) and picture.size == load_rgb(item.images[0]).size
        assert np.asarray(picture).min() == 255
        assert words(blank) == words(item) and blank.truth == item.truth and blank.images == ()


def test_shuffled_pictures_are_always_others_and_each_is_used_as_often(data):
    items = load_items(data, "colors", "test")
    shuffled = with_shuffled_pictures(items)
    assert all(own.images != other.images for own, other in zip(items, shuffled))
    assert sorted(other.images for other in shuffled) == sorted(own.images for own in items)
    assert [words(item) for item in shuffled] == [words(item) for item in items]
    assert [pictures(item) for item in shuffled] == [list(item.images) for item in shuffled]
    successors = {own.images: other.images for own, other in zip(items, shuffled)}
    assert all(successors[own.images] == other.images for own, other in zip(items, shuffled))  # one for each picture
    assert [item.images for item in with_shuffled_pictures(items)] == [item.images for item in shuffled]


def test_one_picture_cannot_be_shuffled(data):
    with pytest.raises(ValueError, match="at least two different pictures"):
        with_shuffled_pictures(load_items(data, "colors", "test")[:2])
