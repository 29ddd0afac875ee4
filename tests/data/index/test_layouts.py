"""What people bring: every layout becomes samples whose texts and pictures are those that were put in."""

import io
import json
import os
import tarfile
import zipfile

import pytest
from PIL import Image

from kimivl.cli import main
from kimivl.data.convert.faults import Malformed
from kimivl.data.store.client import Client
from kimivl.processor.messages import ImagePart, TextPart
from tests.data.index.originals import encoded, fetch, picture, question, write_tar, write_video


def write_archive(path, members):
    """A tar or a zip archive, as its name says."""
    if path.suffix.lower() == ".tar":
        write_tar(path, members)
        return
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)


def said(sample) -> list[str]:
    """Texts, and the names of pictures."""
    return [part.text if isinstance(part, TextPart) else part.image.name for part in sample.parts]


def pictures(sample) -> list[bytes]:
    return fetch([part.image.place for part in sample.parts if isinstance(part, ImagePart)])


def test_our_own_records_stay_as_they_are(source):
    source.put("images/1.png", encoded(1))
    parts = [{"type": "image", "image": "images/1.png"}, {"type": "text", "text": "ox", "spelled": True}]
    records = [
        {"id": "a", "content": parts, "meta": {"n": 1}}, {"id": "b", "content": "plain"},
        {"id": "c", "messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "yes"}]},
        {"id": "d", "messages": [{"role": "user", "content": "1 + 1?"}], "meta": {"answer": "2"}},
    ]  # fmt: skip
    source.rows(*records)
    source.index()
    assert [json.loads(row["record"]) for row in source.samples()] == records
    assert [row["text_length"] for row in source.samples()] == [2, 5, 5, 6]


def test_a_list_of_llavas_rows_with_pictures_elsewhere(source, tmp_path):
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco" / "1.png").write_bytes(encoded(1))
    source.put("llava.json", json.dumps([question("1.png", f"{n}") | {"id": n} for n in range(3)], indent=1))
    manifest = source.indexed(url=str(source.root / "llava.json"), images=str(tmp_path / "coco"))
    assert [manifest[row].id for row in range(3)] == ["0", "1", "2"] and pictures(manifest[2]) == [encoded(1)]
    assert said(manifest[1]) == ["1.png", "What is it?", "1"] and manifest.root == (tmp_path / "coco").as_uri() + "/"
    assert [row["where"] for row in source.samples()] == ["llava.json:1", "llava.json:2", "llava.json:3"]


def test_paths_are_relative_to_the_rows_or_to_the_root_or_whole(source):
    source.put("a/1.png", encoded(1))
    source.put("2.png", encoded(2))
    whole = [(source.root / "2.png").as_uri(), str(source.root / "2.png")]
    source.rows(*map(question, ["1.png", "./1.png", "a/1.png", "2.png", "../2.png", *whole]), name="a/rows.jsonl")
    manifest = source.indexed()
    assert [said(manifest[row])[0] for row in range(7)] == ["a/1.png"] * 3 + ["2.png"] * 4


@pytest.mark.parametrize("archive", ["s.tar", "s.zip"])
def test_neighbours_in_a_shard_are_a_sample(source, archive):
    row = question("jpg", "A cat.")
    members = {
        "000.png": encoded(0), "000.txt": b"Nothing.\n", "000.json": b'{"width": 12, "caption": "No."}',
        "d/001.x.png": encoded(1), "d/001.json": b'{"caption": "One.", "licence": "CC0-1.0", "id": "uno"}',
        "d/002.jpg": encoded(2, kind="JPEG"), "d/002.json": json.dumps(row).encode(),
        "003.png": encoded(3), "003.cls": b"7",
        "004.a.png": encoded(4), "004.b.png": encoded(5),
        "004.json": json.dumps({k: v for k, v in two_pictures().items() if k != "images"}).encode(),
        "005.png": encoded(6), "005.json": json.dumps(in_parts("005.png")).encode(), "ignored.npy": b"x",
    }  # fmt: skip
    write_archive(source.root / archive, members)
    source.put(".nv-meta/split.yaml", "x")
    manifest = source.indexed()
    found = {manifest[row].id: manifest[row] for row in range(len(manifest))}
    assert list(found) == [f"{archive}/000", "uno", f"{archive}/d/002", *(f"{archive}/00{n}" for n in (3, 4, 5))]
    assert [said(sample) for sample in found.values()] == [
        [f"{archive}/000.png", "Nothing."], [f"{archive}/d/001.x.png", "One."], [f"{archive}/d/002.jpg", "What is it?", "A cat."],
        [f"{archive}/003.png", "7"], [f"{archive}/004.a.png", f"{archive}/004.b.png", "Same?", "No."],
        [f"{archive}/005.png", "What is it?", "A square."],
    ]  # fmt: skip
    assert [data for sample in found.values() for data in pictures(sample)] == [
        *map(encoded, (0, 1)), encoded(2, kind="JPEG"), *map(encoded, (3, 4, 5, 6)),
    ]  # fmt: skip
    assert found[f"{archive}/000"].meta == {"width": 12} and [row["licence"] for row in source.samples()][:2] == [None, "CC0-1.0"]


def two_pictures() -> dict:
    turns = [{"from": "human", "value": "<image><image>Same?"}, {"from": "gpt", "value": "No."}]
    return {"images": ["a.png", "b.png"], "conversations": turns}


def in_parts(image: str) -> dict:
    parts = [{"type": "image", "image": image}, {"type": "text", "text": "What is it?"}]
    return {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "A square."}]}


def test_rows_beside_an_archive_of_their_name_are_rows(source):
    write_tar(source.root / "train.tar", {"1.png": encoded(1)})
    source.rows(question("train.tar/1.png"), name="train.jsonl")
    assert source.index()["layout"] == "rows"


def test_addresses_in_a_shards_rows_are_its_members(source):
    first = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "1.png"}}, {"type": "text", "text": "?"}]}
    row = {"messages": [first, {"role": "assistant", "content": "A."}], "meta": {"image": "1.png"}}
    write_tar(source.root / "s.tar", {"d/1.png": encoded(1), "d/1.json": json.dumps(row).encode()})
    manifest = source.indexed()
    assert said(manifest[0]) == ["s.tar/d/1.png", "?", "A."] and manifest[0].meta == {"image": "1.png"}


def test_tables_of_img2dataset_beside_shards_are_no_rows(source):
    write_tar(source.root / "00000.tar", {"1.png": encoded(1), "1.txt": b"One."})
    source.put("00000.parquet", b"its own statistics")
    source.put("00000_stats.json", "{}")
    assert source.index()["layout"] == "shards" and len(source.manifest) == 1


def test_hugging_faces_tables_with_pictures_in_their_cells(source):
    cells = [{"bytes": encoded(n % 2), "path": f"{n}.png"} for n in range(3)]
    rows = [{"image": cell, "caption": f"no {n}", "n": n, "url": None} for n, cell in enumerate(cells)]
    source.table(rows)
    assert source.index(licence="MIT")["extracted"] == 2
    manifest = source.manifest
    assert [said(manifest[row])[1] for row in range(3)] == ["no 0", "no 1", "no 2"] and manifest[2].meta == {"n": 2}
    assert [pictures(manifest[row]) for row in range(3)] == [[encoded(0)], [encoded(1)], [encoded(0)]]
    assert len(list(source.out.with_suffix(".pictures").rglob("*.png"))) == 2
    source.out.parent.rename(source.out.parent.with_name("moved"))  # what was extracted lies beside the manifest
    source.out = source.out.parent.with_name("moved") / source.out.name
    assert pictures(source.manifest[1]) == [encoded(1)]


def test_tables_with_conversations_lists_of_pictures_and_paths(source):
    source.put("b.png", encoded(8))
    several = two_pictures() | {"images": [{"bytes": encoded(7), "path": None}, {"bytes": None, "path": "b.png"}], "id": 5}
    source.table([several])
    manifest = source.indexed()
    assert pictures(manifest[0]) == [encoded(7), encoded(8)] and manifest[0].id == "5"


def test_videos_in_cells(source):
    write_video(source.root / "clip.mp4", 3)
    data = (source.root / "clip.mp4").read_bytes()
    turns = [{"from": "human", "value": "<video>?"}, {"from": "gpt", "value": "A bar."}]
    source.table([{"video": {"bytes": data, "path": "clip.mp4"}, "conversations": turns}])
    (sample,) = [source.indexed()[0]]
    assert pictures(sample) == [data] * 3 and [part.image.frame for part in sample.images] == [0, 1, 2]


@pytest.mark.parametrize("table", ["metadata.jsonl", "metadata.csv"])
def test_folders_of_pictures_with_a_table(source, table):
    for folder in "ab":
        source.put(f"{folder}/1.png", encoded(ord(folder)))
        lines = {"metadata.jsonl": '{"file_name": "1.png", "text": "One, two.", "n": "1"}\n',
                 "metadata.csv": 'file_name,text,n\n1.png,"One, two.",1\n'}  # fmt: skip
        source.put(f"{folder}/{table}", lines[table])
    manifest = source.indexed()
    assert [said(manifest[row]) for row in (0, 1)] == [["a/1.png", "One, two."], ["b/1.png", "One, two."]]
    assert manifest[0].meta == {"n": "1"} and [manifest[row].id for row in (0, 1)] == ["a/metadata-1", "b/metadata-1"]


def test_folders_that_are_classes_and_pictures_with_captions_beside_them(source):
    source.put("cat/1.png", encoded(1))
    source.put("dog/big/2.png", encoded(2))
    manifest = source.indexed()
    assert [said(manifest[row]) for row in (0, 1)] == [["cat/1.png", "cat"], ["dog/big/2.png", "big"]]
    source.put("cat/1.txt", "Ein Kater.\n")
    source.put("dog/big/2.txt", "Ein Hund.")
    manifest = source.indexed(language="de")
    assert [said(manifest[row]) for row in (0, 1)] == [["cat/1.png", "Ein Kater."], ["dog/big/2.png", "Ein Hund."]]
    assert {row["language"] for row in source.samples()} == {"de"}


def test_videos_are_frames_with_times_before_them(source):
    write_video(source.root / "clip.mp4", 30)
    turns = [{"from": "human", "value": "<video>\nWhat moves?"}, {"from": "gpt", "value": "A bar."}]
    part = {"role": "user", "content": [{"type": "video", "video": "clip.mp4"}, {"type": "text", "text": "What moves?"}]}
    source.rows({"video": "clip.mp4", "conversations": turns}, {"videos": ["clip.mp4"], "conversations": turns},
                {"messages": [part, {"role": "assistant", "content": "A bar."}]})  # fmt: skip
    manifest = source.indexed(frames=4)
    for row in range(3):
        expected = ["0.0s", "clip.mp4", "1.0s", "clip.mp4", "1.9s", "clip.mp4", "2.9s", "clip.mp4", "What moves?", "A bar."]
        assert said(manifest[row]) == expected
        assert [part.image.frame for part in manifest[row].images] == [0, 10, 19, 29]
    pts = source.objects()["clip.mp4"]["pts"]
    assert [part.image.pts for part in manifest[0].images] == [pts[number] for number in (0, 10, 19, 29)]
    assert '"clip.mp4#frame=10"' in source.samples()[0]["record"]


def test_pages_and_frames_by_their_names(source):
    file = io.BytesIO()
    picture(1, (40, 30)).save(file, "PDF", resolution=72, save_all=True, append_images=[picture(2, (50, 20))])
    source.put("two.pdf", file.getvalue())
    single = io.BytesIO()
    picture(1, (40, 30)).save(single, "PDF", resolution=72)
    write_tar(source.root / "s.tar", {"in.pdf": file.getvalue(), "one.pdf": single.getvalue()})
    write_video(source.root / "a.gif", 5, "gif")
    names = ["two.pdf#page=2", "s.tar/in.pdf#page=1", "s.tar/one.pdf", "a.gif#frame=3", "a.gif"]
    source.rows(*map(question, names))
    manifest = source.indexed()
    stored = [manifest[row].images[0].image for row in range(5)]
    assert [(of.name, of.frame) for of in stored] == [
        ("two.pdf#page=2", 1), ("s.tar/in.pdf#page=1", 0), ("s.tar/one.pdf#page=1", 0), ("a.gif", 3), ("a.gif", None),
    ]  # fmt: skip
    assert [(of.width, of.height) for of in stored] == [(100, 40), (80, 60), (80, 60), (64, 48), (64, 48)]


def test_splits_are_never_mixed_and_patterns_choose_one(source):
    source.put("1.png", encoded(1))
    for split in ("train-00000-of-00001", "test-00000-of-00001"):
        source.table([{"image": {"bytes": encoded(1), "path": None}, "text": split}], f"{split}.parquet")
    with pytest.raises(ValueError, match=r"holds several splits, test \(.*train \(.*: give the URL of one, or a pattern"):
        source.index()
    source.index(url=f"{source.root}/train-*.parquet")
    assert said(source.manifest[0])[1].startswith("train-")


def test_folders_of_splits_are_never_mixed(source):
    for split in ("train", "val"):
        source.put(f"{split}/cat/1.png", encoded(1))
    with pytest.raises(ValueError, match="several splits"):
        source.index()
    assert source.index(url=str(source.root / "train"))["samples"] == 1


def test_what_is_called_held_out_is_not_learned_unless_it_is_named(source):
    source.put("1.png", encoded(1))
    source.rows({"image": "1.png", "text": "x"}, name="eval.jsonl")
    with pytest.raises(ValueError, match=r"holds validation alone, and train.manifest is learned: call it validation.manifest"):
        source.index()
    assert source.index(url=f"{source.root}/eval.jsonl")["samples"] == 1
    source.out = source.out.with_name("validation.manifest")
    assert source.index()["samples"] == 1


def test_folders_that_are_held_out_are_not_learned_unless_they_are_named_or_classes_among_others(source):
    source.put("val/cat/1.png", encoded(1))
    with pytest.raises(ValueError, match="holds validation alone"):
        source.index()
    assert source.index(url=str(source.root / "val"))["samples"] == 1
    source.put("dogs/1.png", encoded(2))
    assert source.index()["samples"] == 2


@pytest.mark.parametrize(
    "others", [["eval"], ["holdout"], ["held-out"], ["HELD_OUT"], ["testmini"], ["Evaluation set"], ["a/testing/1"], ["more"]]
)
@pytest.mark.parametrize("kind", ["jsonl", "tar"])
def test_what_is_not_called_after_the_split_of_the_others_is_never_mixed_with_them(source, kind, others):
    for name in ["train", *others]:
        source.put(f"{name}.{kind}", "")
    with pytest.raises(ValueError, match="several splits, .*: give the URL of one, .* each makes a manifest of its own"):
        source.index()


@pytest.mark.parametrize("names", [["eval", "rows"], ["dev", "testset"], ["train2017", "val2017"]])
def test_splits_by_their_other_names(source, names):
    for name in names:
        source.put(f"{name}.jsonl", "")
    with pytest.raises(ValueError, match="several splits"):
        source.index()


def test_names_that_only_begin_like_a_split_are_none(source):
    names = ["latest", "valley", "contest-2", "trained", "devil", "evaluator"]
    for name in names:
        source.rows({"content": name}, name=f"{name}.jsonl")
    assert source.index()["samples"] == len(names)


def test_folders_may_be_classes_of_any_name(source):
    for name in ("train", "car", "plane"):
        source.put(f"{name}/1.png", encoded(1))
    assert source.index()["samples"] == 3


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("DATA.JSONL", json.dumps(question("1.PNG")) + "\n"), ("Data.Json", json.dumps([question("1.PNG")])),
        ("Metadata.CSV", "image,text\n1.PNG,x\n"),
    ],
)  # fmt: skip
def test_files_of_rows_in_capital_letters_are_rows(source, name, data):
    source.put("1.PNG", encoded(1))
    source.put(name, data)
    assert source.index()["layout"] == "rows" and pictures(source.manifest[0]) == [encoded(1)]


def test_a_table_in_capital_letters_is_a_table(source):
    source.table([{"image": {"bytes": encoded(1), "path": "1.PNG"}, "text": "x"}], "T.PARQUET")
    assert source.index()["layout"] == "rows" and pictures(source.manifest[0]) == [encoded(1)]


@pytest.mark.parametrize("archive", ["S.TAR", "s.Zip"])
def test_shards_and_what_is_in_them_in_capital_letters(source, archive):
    row = {"texts": ["A.", None], "images": [None, "jpg"]}
    members = {"1.JPG": encoded(1), "1.TXT": b"One.", "2.JPG": encoded(2), "2.Json": json.dumps(row).encode()}
    source.put("beside.png", encoded(3))
    write_archive(source.root / archive, members)
    assert source.index()["layout"] == "shards"
    found = [source.manifest[row] for row in range(len(source.manifest))]
    assert [said(sample) for sample in found] == [[f"{archive}/1.JPG", "One."], ["A.", f"{archive}/2.JPG"]]
    assert [pictures(sample) for sample in found] == [[encoded(1)], [encoded(2)]]
    source.rows(question(f"{archive}/1.JPG"))
    assert source.index()["layout"] == "rows" and pictures(source.manifest[0]) == [encoded(1)]


def test_endings_that_differ_in_their_letters_alone_are_not_mixed_up(source):
    row = {"texts": ["A.", None, None], "images": [None, "JPG", "jpg"]}
    write_tar(source.root / "s.tar", {"1.jpg": encoded(1), "1.JPG": encoded(2), "1.json": json.dumps(row).encode()})
    assert pictures(source.indexed()[0]) == [encoded(2), encoded(1)]


def test_captions_in_capital_letters(source):
    source.put("a.JPG", encoded(1))
    source.put("A.TXT", "no")
    source.put("a.Txt", "One.")
    source.put("b.txt.png", encoded(2))
    source.put("b.txt.TXT", "Two.")
    manifest = source.indexed()
    assert [said(manifest[row]) for row in (0, 1)] == [["a.JPG", "One."], ["b.txt.png", "Two."]]
    source.put("a.txt", "Another.")
    with pytest.raises(Malformed, match="a.JPG: a.Txt and a.txt are both its caption: remove one"):
        source.index()


def test_files_that_are_not_read_are_told(source, capsys):
    source.put("1.png", encoded(1))
    source.rows(question("1.png"))
    for name in ("captions.csv", "old.tar.gz", "1.txt", "state.json"):
        source.put(name, "x")
    counts = source.index()
    assert (counts["skipped"], counts["skipped_first"]) == (4, ["captions.csv", "old.tar.gz", "state.json", "1.txt"])
    assert main(["data", "index", str(source.root), str(source.out)]) == 0
    assert "4 files are of no kind that is read: captions.csv, old.tar.gz, state.json, 1.txt\n" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["p [old]", "what?", "a*b", "x[1"])
def test_a_name_with_signs_that_is_there_is_no_pattern(source, name):
    source.put(f"{name}/cat/1.png", encoded(1))
    source.put("p o/cat/2.png", encoded(2))
    source.index(url=str(source.root / name))
    assert said(source.manifest[0]) == ["cat/1.png", "cat"] and pictures(source.manifest[0]) == [encoded(1)]
    source.rows({"content": "this"}, name=f"{name}.jsonl")
    source.rows({"content": "that"}, name="p o.jsonl")
    assert source.index(url=str(source.root / f"{name}.jsonl"))["samples"] == 1 and said(source.manifest[0]) == ["this"]
    source.rows({"content": "those"}, name=f"{name}/part-1.jsonl")
    assert source.index(url=f"{source.root}/{name}/part-*.jsonl")["samples"] == 1 and said(source.manifest[0]) == ["those"]
    assert source.index(url=f"{source.root}/[p] [o].jsonl")["samples"] == 1 and said(source.manifest[0]) == ["that"]
    with pytest.raises(ValueError, match=r"originals/\[no\]\* leads to no rows"):
        source.index(url=f"{source.root}/[no]*")


def test_a_name_with_signs_in_a_store_is_no_pattern(source):
    client = Client()
    for url, data in (("p [old]/x/cat/1.png", encoded(1)), ("p [old]/rows [2].jsonl", b'{"content": "this"}')):
        client.put(f"memory://shelf/{url}", data)
    assert source.index(url="memory://shelf/p [old]/rows [2].jsonl", client=client)["samples"] == 1
    assert source.index(url="memory://shelf/p [old]/x", client=client)["layout"] == "folders"
    assert source.index(url="memory://shelf/p [old]/rows*", client=client)["samples"] == 1


def test_names_of_any_kind_and_links_are_indexed(source):
    names = ["a\tb/1.png", "two\nlines/2.png", "cat/3.png#4.png", "cat/5.png", "é/6 ?%20.png"]
    for number, name in enumerate(names):
        source.put(name, encoded(number))
    (source.root / "cat" / "again").symlink_to(source.root)  # a circle of folders
    (source.root / "cat" / "1.png").symlink_to("2.png")
    (source.root / "cat" / "2.png").symlink_to("1.png")
    (source.root / "gone.png").symlink_to("nowhere.png")
    (source.root / "linked").symlink_to("cat")
    assert source.index()["samples"] == 7
    found = {said(sample)[0]: pictures(sample) for sample in map(source.manifest.__getitem__, range(7))}
    linked = {f"linked/{name[4:]}": [encoded(number)] for number, name in enumerate(names) if name.startswith("cat/")}
    assert found == {name: [encoded(number)] for number, name in enumerate(names)} | linked
    source.rows(*map(question, names))
    assert source.index()["samples"] == 5 and said(source.manifest[1])[0] == names[1]


def test_a_name_that_is_not_in_utf8_is_told(source):
    (source.root / "cat").mkdir()
    with open(os.fsencode(source.root) + b"/cat/\xe9.png", "wb") as file:
        file.write(encoded(1))
    with pytest.raises(ValueError, match="originals/cat/\ufffd.png: the name is not in UTF-8; rename it"):
        source.index()


def test_what_holds_nothing_is_said(source):
    with pytest.raises(OSError, match="there is nothing in it; check the URL"):
        source.index()
    source.put("notes.md", "x")
    with pytest.raises(ValueError, match="holds no rows .*, no archives and no pictures"):
        source.index()
    source.put("rows.jsonl", "\n")
    with pytest.raises(Malformed, match="holds no rows"):
        source.index()
    with tarfile.open(source.root / "s.tar.gz", "w:gz"):
        pass
    with pytest.raises(ValueError, match=r"s.tar.gz is compressed as a whole"):
        source.index(url=f"{source.root}/s*")


def test_a_folder_that_is_no_manifest_is_never_replaced(source):
    source.put("1.png", encoded(1))
    source.rows(question("1.png"))
    source.out = source.root
    with pytest.raises(ValueError, match="is there and is no manifest: name a new folder"):
        source.index()
    assert (source.root / "1.png").is_file()


@pytest.mark.parametrize("name", ["train.manifest", "a b"])
def test_a_manifest_among_its_own_originals_is_none_of_them(source, name):
    source.out = source.root / name
    source.table([{"image": {"bytes": encoded(1), "path": None}, "text": "x"}])
    assert source.index()["samples"] == source.index()["samples"] == 1


def test_a_picture_is_told_by_its_header_not_by_a_library(source):
    source.put("1.png", encoded(1, (31, 17)))
    source.rows(question("1.png"), question("1.png"))
    source.index()
    (of,) = source.objects().values()
    assert (of["width"], of["height"]) == Image.open(source.root / "1.png").size == (31, 17)
