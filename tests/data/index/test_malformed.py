"""Every malformed row is named with its place, the field and the fix, and then nothing is written."""

import json

import pytest
from PIL import Image

from kimivl.cli import main
from kimivl.data.convert.faults import TOLD, Malformed
from tests.data.index.originals import encoded, picture, question, write_tar, write_video

HALF = question("1.png", "\ud83d")


def part(image: str) -> dict:
    return {"messages": [{"role": "user", "content": [{"type": "image", "image": image}]}, {"role": "assistant", "content": "x"}]}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (question(["1.png"]), "'image' is a list: call it 'images'"),
        (question("1.png") | {"image": None, "images": "1.png"}, "'images' is a text: make it a list, or call it 'image'"),
        (question("1.png") | {"image": None}, "hold 1 <image> and the row has 0 pictures: give one <image> for each picture"),
        (question("1.png") | {"video": "clip.mp4"}, "hold 0 <video> and the row has 1 videos: give one <video> for each video"),
        (question("gone.png"), "there is no file gone.png in .*: mend the path, or tell with --images where it is"),
        (question("cls/.hidden.png"), "cls/.hidden.png is hidden by the name .hidden.png, and what is hidden is not read"),
        (question("../.cache/1.png"), "is hidden by the name .cache"),
        (question("../gone.png"), "there is no file ../gone.png"),
        (question("http://x/1.png"), r"'image' is an address \(http://x/1.png…\): save the picture as a file"),
        (question("") | {"image": ""}, "'image' is the path of a picture, got ''"),
        (question("") | {"image": None, "images": ["data:x"]}, r"images\[0\] is an address"),
        (question("\ud800.jpg"), "image holds half of a character"),
        (question("1\0.png"), r"'image' is the path of a picture, and '1\\x00.png' holds a character that no path has"),
        (question("/elsewhere/1.png"), "is not below .*: index a folder that holds rows and pictures, or tell --images"),
        (question("s3://other/1.png"), "s3://other/1.png is not below"),
        (question("broken.png"), "image broken.png: not a picture in a format that Pillow reads"),
        (question("s.tar/9.png"), "there is no 9.png in s.tar"),
        (question("s.tar/broken.png"), "image s.tar/broken.png: not a picture"),
        (question("twice.tar/1.png"), "twice.tar/1.png is in the archive twice: name them apart"),
        (question("two.pdf"), "two.pdf has 2 pages: say which, as two.pdf#page=1"),
        (question("two.pdf#page=3"), "two.pdf has 2 pages, there is no page 3"),
        (question("two.pdf#page=0"), "two.pdf has 2 pages, there is no page 0"),
        (question("broken.pdf"), "image broken.pdf: damaged or no PDF"),
        (question("clip.mp4"), "clip.mp4 is a video: say which frame, as clip.mp4#frame=0"),
        (question("clip.mp4#frame=3"), "clip.mp4 has 3 frames"),
        (question("1.png#frame=0"), "1.png is no video: leave out #frame"),
        (question("broken.mp4#frame=0"), "image broken.mp4: damaged or cut off"),
        (part("gone.png"), "there is no file gone.png"),
        ({"texts": ["a", None], "images": [None, "gone.png"]}, "there is no file gone.png"),
        (HALF, "half of a character"),
        ({"file_name": "1.png"}, "a row has one of the keys 'messages'"),
        ({"file_name": "1.png", "text": ""}, "'text' is a text, got ''"),
        ({"text": "x"}, "a caption stands beside 'file_name' or 'image'"),
        (question("1.png") | {"meta": "x"}, "'meta' is an object, got str"),
        (["x"], "a row is a JSON object, got list"),
        ({"content": [{"type": "text", "text": "x", "ids": "1"}]}, '"ids" must be a list of token numbers'),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_row_is_said(source, row, words):
    source.put("1.png", encoded(1))
    source.put("cls/.hidden.png", encoded(1))
    for name in ("broken.png", "broken.mp4", "broken.pdf"):
        source.put(name, "no")
    write_tar(source.root / "s.tar", {"broken.png": b"no", "1.png": encoded(1)})
    write_tar(source.root / "twice.tar", {"1.png": encoded(1)} | {"./1.png": encoded(2)})
    picture(1, (20, 20)).save(source.root / "two.pdf", save_all=True, append_images=[Image.new("RGB", (9, 9))])
    write_video(source.root / "clip.mp4", 3)
    source.rows(question("1.png"), row, question("1.png"))
    with pytest.raises(Malformed, match=rf"1 of 3 rows are malformed:\nrows.jsonl:2: .*{words}"):
        source.index()
    assert not source.out.exists()


def test_what_is_missing_below_a_hidden_root_is_missing(source):
    source.put(".cache/rows.jsonl", json.dumps(question(str(source.root / ".cache" / "gone.png"))))
    with pytest.raises(Malformed, match="there is no file .*gone.png"):
        source.index(url=str(source.root / ".cache"))


def test_a_video_row_of_what_is_none(source):
    source.put("1.png", encoded(1))
    turns = [{"from": "human", "value": "<video>?"}, {"from": "gpt", "value": "x"}]
    source.rows({"video": "1.png", "conversations": turns})
    with pytest.raises(Malformed, match="1.png is no video: give it as an image"):
        source.index()


def test_all_faults_of_all_files_are_counted_and_some_are_told_in_their_order(source):
    source.put("1.png", encoded(1))
    source.rows({"id": "a"} | question("1.png"), *[question("gone.png")] * 30, name="a/rows.jsonl")
    source.rows({"id": "a"} | question("1.png"), name="b/rows.jsonl")
    source.put("b/rows.jsonl", (source.root / "b" / "rows.jsonl").read_text() + "{half\n")
    with pytest.raises(Malformed) as caught:
        source.index()
    told = str(caught.value).splitlines()
    assert told[0] == "32 of 33 rows are malformed:" and told[-1] == f"… and {32 - TOLD} more"
    assert [line.partition(": ")[0] for line in told[1:-1]] == [f"a/rows.jsonl:{line}" for line in range(2, 2 + TOLD)]


def test_an_id_that_was_there_is_told_with_where(source):
    source.put("1.png", encoded(1))
    source.rows({"id": "a"} | question("1.png"), {"id": "a"} | question("1.png"))
    with pytest.raises(Malformed, match="rows.jsonl:2: the id 'a' was there in rows.jsonl:1: give every row its own"):
        source.index()


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"1.png": encoded(1)}, "s.tar/1: nothing is said of it: give it a .txt or a .json with 'text' or 'caption'"),
        ({"1.txt": b"x"}, "s.tar/1: it has no picture: give it one, or leave it out"),
        ({"1.png": b"no", "1.txt": b"x"}, "s.tar/1: image s.tar/1.png: not a picture"),
        ({"1.png": encoded(1), "1.json": b"{half"}, "s.tar/1: s.tar/1.json: not valid JSON .* at column 2"),
        ({"1.png": encoded(1), "1.json": b"[]"}, "s.tar/1: s.tar/1.json: a JSON object is expected, got list"),
        ({"1.png": encoded(1), "1.txt": b"\xff"}, r"s.tar/1: s.tar/1.txt: not UTF-8 text \(byte 1\)"),
        ({"1.png": encoded(1), "1.a.txt": b"a", "1.b.txt": b"b"}, "s.tar/1: it has 2 files .txt: leave one"),
        ({"1.png": encoded(1), "1.json": json.dumps(question("2.png")).encode()}, "s.tar/1: there is no 2.png in s.tar"),
        (
            {"1.png": encoded(1), "1.txt": b"x", "2.png": encoded(2), "2.txt": b"x", "1.gif": encoded(3), "1.cls": b"0"},
            "s.tar/1: the id 's.tar/1' was there in s.tar/1: give every row its own",
        ),
    ],
)
def test_what_is_wrong_with_a_shards_sample_is_said(source, members, words):
    write_tar(source.root / "s.tar", members)
    with pytest.raises(Malformed, match=words):
        source.index()
    assert not source.out.exists()


def test_a_shard_that_is_damaged_is_told(source):
    write_tar(source.root / "s.tar", {"1.png": encoded(1), "1.txt": b"x"})
    data = (source.root / "s.tar").read_bytes()
    source.put("s.tar", data[:1700])
    with pytest.raises(Malformed, match="s.tar: (ends within|damaged)"):
        source.index()


def test_pictures_that_lack_what_is_said_of_them(source):
    source.put("a.png", encoded(1))
    with pytest.raises(
        Malformed, match="a.png: nothing is said of it: put a .txt beside it, or put it into the folder of its class"
    ):
        source.index()
    source.put("b.png", encoded(2))
    source.put("b.txt", "b")
    with pytest.raises(Malformed, match="1 of 2 rows are malformed:\na.png: there is no caption: write it to a.txt"):
        source.index()
    source.put("a.txt", b"\xff")
    with pytest.raises(Malformed, match=r"a.png: a.txt is not UTF-8 text"):
        source.index()
    source.put("a.txt", " \n")
    with pytest.raises(Malformed, match="a.png: a.txt is empty"):
        source.index()


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.parquet", b"no table", "a.parquet: damaged, or no Parquet table"),
        ("a.json", '[{"id": 1},\n {half]', "a.json:2: not valid JSON"),
        ("a.json", b"[\xff]", "a.json: not UTF-8 text"),
        ("metadata.csv", 'file_name,text\n"a', "metadata.csv: no CSV table in UTF-8"),
        ("metadata.csv", "file_name,text\na,b,c\n", "metadata.csv:1: it has more or fewer columns than the first line"),
        ("a.jsonl", b"\xff\n", r"a.jsonl:1: not UTF-8 text \(byte 1 of the line\)"),
    ],
)
def test_a_file_of_rows_that_is_none_is_named(source, name, data, words):
    source.put(name, data)
    with pytest.raises(Malformed, match=words):
        source.index()


def test_cells_that_are_no_pictures_or_no_values_of_json(source):
    cell = {"bytes": encoded(1), "path": None}
    rows = [{"image": cell, "text": "good"}, {"image": {"bytes": b"no", "path": "x.png"}, "text": "bad"}]
    source.table(rows)
    with pytest.raises(Malformed, match=r"1 of 2 rows are malformed:\ntrain.parquet:2: image \(x.png\): not a picture"):
        source.index()
    assert not source.out.with_suffix(".pictures").exists()
    source.table([{"image": cell, "text": "x", "sound": b"abc"}])
    with pytest.raises(
        Malformed, match=r"train.parquet:1: 'sound' holds bytes, and only 'image' and 'images' may: leave the column out"
    ):
        source.index()


def test_the_command_says_it_in_plain_words_and_counts_for_machines(source, capsys):
    source.put("1.png", encoded(1))
    source.rows(question("gone.png"))
    command = ["data", "index", str(source.root), str(source.out)]
    assert main(command) == 1
    assert "kimivl: 1 of 1 rows are malformed:\nrows.jsonl:1: there is no file gone.png" in capsys.readouterr().err
    source.rows(question("1.png"))
    source.put("2.png", encoded(2))
    assert main([*command, "--json", "--licence", "CC0-1.0"]) == 0
    counts = json.loads(capsys.readouterr().out)
    expected = {"layout": "rows", "samples": 1, "pictures": 1, "originals": 1, "extracted": 0, "objects": 1, "read": 1}
    assert counts == expected | {"unchanged": 0, "unused": 1, "skipped": 0, "skipped_first": [], "digest": source.manifest.digest}
    assert main(command) == 0 and "1 samples with 1 pictures (rows)" in capsys.readouterr().out
    assert source.objects()["1.png"]["licence"] is None
