"""Whole files: a source that training reads, or every fault at once and nothing written."""

import json

import pytest
from PIL import Image

from kimivl.cli import main
from kimivl.data.convert.faults import TOLD, Malformed
from kimivl.data.convert.files import convert
from kimivl.data.source import Source


def row(number: int, picture: str = "red.png", **more) -> dict:
    turns = [{"from": "human", "value": f"<image>What is {number}?"}, {"from": "gpt", "value": "A square."}]
    return {"id": f"q{number}", "image": picture, "conversations": turns} | more


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (12, 8), "red").save(tmp_path / "pictures" / "red.png")
    return tmp_path


def write(folder, rows, lines=True):
    path = folder / "rows.json"
    path.write_text("\n".join(map(json.dumps, rows)) if lines else json.dumps(rows))
    return path


@pytest.mark.parametrize("lines", [True, False])
def test_a_converted_file_is_a_source_that_training_reads(folder, lines):
    path = write(folder, [row(0, source_of="web"), row(1)], lines)
    counts = convert(path, folder / "data" / "mine" / "train.jsonl", folder / "pictures")
    assert counts == {"records": 2, "chats": 2, "documents": 0, "pictures": 2}
    source = Source(folder / "data", "mine")
    assert [source[n].id for n in range(2)] == ["q0", "q1"] and source[0].meta == {"source_of": "web"}
    assert source[0].images[0].image.resolve() == folder / "pictures" / "red.png"
    assert source[1].parts[1].text == "What is 1?"


def test_forms_may_be_mixed_and_rows_without_an_id_get_one(folder):
    document = {"texts": ["A square:", None], "images": [None, "red.png"]}
    chat = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
    path = write(folder, [document, chat])
    counts = convert(path, folder / "data" / "mixed" / "train.jsonl", folder / "pictures")
    assert counts == {"records": 2, "chats": 1, "documents": 1, "pictures": 1}
    assert [Source(folder / "data", "mixed")[n].id for n in range(2)] == ["rows-1", "rows-2"]


def test_every_fault_is_told_with_file_and_line_and_nothing_is_written(folder):
    (folder / "pictures" / "broken.png").write_text("no")
    rows = [row(0), row(1, "gone.png"), row(2, "broken.png"), row(0), row(4, image=["red.png"])]
    path = write(folder, rows)
    path.write_text(path.read_text() + "\n{half\n[1]\n")
    with pytest.raises(Malformed) as caught:
        convert(path, folder / "out.jsonl", folder / "pictures")
    told = str(caught.value).splitlines()
    assert told[0] == "6 of 7 rows are malformed:"
    for line, words in (
        (2, "gone.png: there is no such file"), (3, "not a picture"), (4, "the id 'q0' was there in line 1"),
        (5, "'image' is a list: call it 'images'"), (6, "not valid JSON"), (7, "a row is a JSON object, got list"),
    ):  # fmt: skip
        assert f"{path}:{line}: " in told[line - 1] and words in told[line - 1]
    assert not (folder / "out.jsonl").exists()


def test_of_many_faults_some_are_told_and_all_are_counted(folder):
    path = write(folder, [{"text": "x"}] * 50)
    with pytest.raises(Malformed, match=rf"50 of 50 rows are malformed(.|\n)*and {50 - TOLD} more"):
        convert(path, folder / "out.jsonl")


def test_an_empty_file_and_an_unknown_form_are_refused(folder):
    with pytest.raises(Malformed, match="holds no rows"):
        convert(write(folder, []), folder / "out.jsonl")
    with pytest.raises(ValueError, match="unknown form 'llava': choose from messages, conversations, interleaved"):
        convert(write(folder, [row(0)]), folder / "out.jsonl", form="llava")


def test_the_command_converts_and_tells_faults_in_plain_words(folder, capsys):
    path = write(folder, [row(0)])
    out = folder / "data" / "mine" / "train.jsonl"
    assert main(["data", "convert", str(path), str(out), "--images", str(folder / "pictures"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"records": 1, "chats": 1, "documents": 0, "pictures": 1}
    assert main(["data", "convert", str(write(folder, [row(0, "gone.png")])), str(out)]) != 0
    assert "1 of 1 rows are malformed" in capsys.readouterr().err and len(out.read_text().splitlines()) == 1


def test_what_would_only_fail_later_is_told_with_its_line(folder):
    half = row(2)
    half["conversations"][1]["value"] = "\ud83d"
    strange = row(3)
    strange["conversations"][0]["from"] = ["human"]
    path = write(folder, [row(0), row(1, "x" * 5000), half, strange])
    with pytest.raises(
        Malformed, match=r"3 of 4 rows are malformed:\n.*:2: .*\n.*:3: .*surrogates.*\n.*:4: .*from is \['human'\]"
    ):
        convert(path, folder / "out.jsonl", folder / "pictures")


def test_json_that_no_parser_takes_is_told_with_its_line(folder):
    path = write(folder, [row(0)])
    deep, long = '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", '{"n": ' + "7" * 5000 + "}"
    path.write_text("\n".join([path.read_text(), deep, long, json.dumps(row(3, "1\0.png"))]))
    words = r"3 of 4 rows are malformed:\n.*:2: lists and objects nest.*\n.*:3: the number 777.*\n.*:4: 'image' is the path"
    with pytest.raises(Malformed, match=words):
        convert(path, folder / "out.jsonl", folder / "pictures")


def test_lists_behind_one_another_are_no_list(folder):
    path = write(folder, [[row(0)], [row(1)]])
    with pytest.raises(Malformed, match=":2: there is more behind the list"):
        convert(path, folder / "out.jsonl", folder / "pictures")


def test_a_video_is_for_a_manifest(folder):
    turns = [{"from": "human", "value": "<video>?"}, {"from": "gpt", "value": "x"}]
    path = write(folder, [{"video": "a.mp4", "conversations": turns}])
    with pytest.raises(Malformed, match=":1: a.mp4 is a video, and a JSONL file holds pictures: make a manifest with"):
        convert(path, folder / "out.jsonl")


def test_null_is_nothing_and_a_mark_of_byte_order_is_no_text(folder):
    rows = [row(0) | {"id": None, "images": None}, row(1) | {"id": None}]
    path = folder / "rows.json"
    path.write_text("\ufeff" + "\n".join(map(json.dumps, rows)))
    assert convert(path, folder / "data" / "a" / "train.jsonl", folder / "pictures")["records"] == 2


def test_paths_of_pictures_hold_where_the_data_lie_behind_a_link(folder):
    (folder / "disk" / "deep" / "down").mkdir(parents=True)
    (folder / "data").symlink_to(folder / "disk" / "deep" / "down")
    convert(write(folder, [row(0)]), folder / "data" / "mine" / "train.jsonl", folder / "pictures")
    assert Source(folder / "data", "mine")[0].images[0].image.is_file()
