"""The whole build: every record is well formed, finished work is kept, killed work redone, equal calls give equal bytes."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import kimivl
from kimivl.curate import nano
from kimivl.curate.nano import GROUPS, build_nano
from kimivl.curate.records import document, image, text
from kimivl.curate.workshop import read_records

ALL_SOURCES = [source for group in GROUPS for source in group.sources]

# `kimivl data build nano` of one toy group, where no file may grow beyond a limit, as on a full disk, and the named one is large.
CHILD = """
import resource, sys
from PIL import Image
from kimivl import cli
from kimivl.curate import nano

root, limit, large = sys.argv[1:]

def build(shop):
    side = 300 if large == "images/a.png" else 8
    shop.save_image("toy", "a", Image.effect_noise((side, side), 99).convert("RGB"))
    shop.write("toy", "train", [{"id": "b", "content": "x" * (100_000 if large == "train.jsonl" else 8)}])

nano.GROUPS = (nano.Group("toy", 2, ("toy",), build, ("numpy",)),)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
sys.exit(cli.main(["data", "build", "nano", "--root", root]))
"""


def parts_of(record):
    contents = [record["content"]] if "content" in record else [m["content"] for m in record["messages"]]
    return [p for c in contents for p in ([{"type": "text", "text": c}] if isinstance(c, str) else c)]


@pytest.mark.parametrize("source", ALL_SOURCES)
def test_records_are_well_formed(nano_root, source):
    ids = []
    files = list((nano_root / source).glob("*.jsonl"))
    assert files
    for file in files:
        records = read_records(file)
        assert records
        for record in records:
            ids.append(record["id"])
            assert ("content" in record) != ("messages" in record)
            if "messages" in record:
                roles = [m["role"] for m in record["messages"]]
                assert roles == ["user", "assistant"] * (len(roles) // 2)
            if file.stem.startswith("test") and source != "text":
                assert record["meta"]["answer"]
            for part in parts_of(record):
                if part["type"] == "image":
                    with Image.open(file.parent / part["image"]) as picture:
                        assert (
                            picture.format == "PNG" and picture.mode == "RGB" and picture.width % 16 == picture.height % 16 == 0
                        )
                else:
                    assert part["text"] and set(part) <= {"type", "text", "spelled", "learned"}
    assert len(ids) == len(set(ids))


def test_test_items_are_not_in_training(nano_root):
    duplicates = json.loads((nano_root / "manifest.json").read_text())["duplicates"]
    assert {
        "text/test",
        "easy_vqa/test",
        "words/test_heldout",
        "digits/test",
        "scenes_grounding/test_pointing",
        "reason_problems/test",
    } <= set(duplicates)
    for name, found in duplicates.items():
        assert (found["images_in_train"], found["lines_in_train"], found["items_in_train"]) == (0, 0, 0), name


def test_counts_in_the_manifest_are_those_on_disk(nano_root):
    counts = json.loads((nano_root / "manifest.json").read_text())["sources"]
    assert set(counts) == set(ALL_SOURCES)
    for source, splits in counts.items():
        assert sum(s["images"] for s in splits.values()) <= len(list((nano_root / source / "images").glob("*.png")))
        for split, count in splits.items():
            assert count["records"] == len((nano_root / source / f"{split}.jsonl").read_text().splitlines())


def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path):
    digests = []
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        build_nano(tmp_path / folder, seed, scale=0.002, only=["scenes", "clips"], progress=False)
        files = sorted(p for s in ("scenes_chat", "clips") for p in (tmp_path / folder / s).rglob("*") if p.is_file())
        digests.append(hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest())
    assert digests[0] == digests[1] != digests[2]


def counting_groups(monkeypatch):
    """Replace the groups by one that counts its builds."""
    built = []

    def build(shop):
        built.append(shop.seed)
        shop.write("toy", "train", [{"id": "a", "content": "text"}])

    group = nano.Group("toy", 1, ("toy",), build, ("numpy",))
    monkeypatch.setattr(nano, "GROUPS", (group,))
    return built, group


def test_a_finished_group_is_kept_until_something_that_decides_it_changes(tmp_path, monkeypatch):
    built, group = counting_groups(monkeypatch)
    for _ in range(2):
        build_nano(tmp_path, 0, progress=False)
    assert built == [0]
    build_nano(tmp_path, 1, progress=False)  # another seed
    monkeypatch.setattr(nano, "GROUPS", (replace(group, version=2),))
    build_nano(tmp_path, 1, progress=False)
    (tmp_path / "toy" / "train.jsonl").unlink()
    (tmp_path / "toy").rmdir()
    build_nano(tmp_path, 1, progress=False)  # someone deleted it
    assert built == [0, 1, 1, 1]


def test_text_is_built_anew_for_another_python(monkeypatch):
    """Its standard library is where some of the text comes from."""
    text = GROUPS[0]
    before = nano._fingerprint(text, 0, 1.0, {})
    monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
    assert text.name == "text" and nano._fingerprint(text, 0, 1.0, {}) != before


def test_a_build_that_puts_a_test_item_into_training_fails_by_name(tmp_path, monkeypatch):
    _, group = counting_groups(monkeypatch)

    def build(shop):
        for source in ("toy", "other"):
            shop.save_image(source, "a", Image.new("RGB", (16, 16), "red"))
        shop.write("toy", "test", [document("1", [image("images/a.png"), text("a red square")], {"answer": "red"})])
        shop.write("other", "train", [document("2", [image("images/a.png"), text("something else")])])

    monkeypatch.setattr(nano, "GROUPS", (replace(group, sources=("toy", "other"), build=build),))
    with pytest.raises(ValueError, match=r"toy/test shares \{'images_in_train': 1\}"):
        build_nano(tmp_path, 0, progress=False)
    assert not (tmp_path / "manifest.json").exists()


def test_a_build_that_dies_leaves_the_old_source_and_is_done_again(tmp_path, monkeypatch):
    built, group = counting_groups(monkeypatch)
    build_nano(tmp_path, 0, progress=False)

    def die(shop):
        shop.write("toy", "train", [{"id": "half", "content": "written"}])
        raise KeyboardInterrupt

    monkeypatch.setattr(nano, "GROUPS", (replace(group, version=2, build=die),))
    with pytest.raises(KeyboardInterrupt):
        build_nano(tmp_path, 0, progress=False)
    assert read_records(tmp_path / "toy" / "train.jsonl") == [{"id": "a", "content": "text"}]
    monkeypatch.setattr(nano, "GROUPS", (replace(group, version=2),))
    build_nano(tmp_path, 0, progress=False)
    assert built == [0, 0]
    assert not list(tmp_path.glob(".building-*"))


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("large", ["train.jsonl", "images/a.png"])
def test_a_full_disk_is_named_and_leaves_the_old_source_and_nothing_else(tmp_path, monkeypatch, large):
    counting_groups(monkeypatch)
    build_nano(tmp_path, 0, progress=False)
    before = files(tmp_path)
    environment = os.environ | {"PYTHONPATH": str(Path(kimivl.__file__).parents[1]), "OMP_NUM_THREADS": "1"}

    def command(limit: int) -> subprocess.CompletedProcess[str]:
        arguments = [sys.executable, "-c", CHILD, str(tmp_path), str(limit), large]
        return subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=120)

    full = command(limit=20_000)
    words = f"kimivl: could not write {tmp_path}/toy/{large}: File too large; free space and run the command again\n"
    assert (full.returncode, full.stderr) == (1, words)
    assert files(tmp_path) == before and sorted(os.listdir(tmp_path)) == [".finished", "manifest.json", "toy"]
    assert command(limit=10**9).returncode == 0
    assert read_records(tmp_path / "toy" / "train.jsonl")[0]["id"] == "b" and (tmp_path / "toy" / "images" / "a.png").exists()


def test_a_build_that_died_while_it_moved_a_source_into_place_has_not_lost_the_old_one(tmp_path, monkeypatch):
    _, group = counting_groups(monkeypatch)
    build_nano(tmp_path, 0, progress=False)
    (tmp_path / "toy").rename(tmp_path / ".toy.previous")

    def fail(shop):
        raise OSError("full")

    monkeypatch.setattr(nano, "GROUPS", (replace(group, build=fail),))
    with pytest.raises(OSError, match="full"):
        build_nano(tmp_path, 0, progress=False)
    assert read_records(tmp_path / "toy" / "train.jsonl") == [{"id": "a", "content": "text"}]


def test_errors_name_the_thing(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="'wordz'.*choose from"):
        build_nano(tmp_path, 0, only=["wordz"], progress=False)
    _, group = counting_groups(monkeypatch)
    monkeypatch.setattr(nano, "GROUPS", (replace(group, packages=("no-such-package",)),))
    with pytest.raises(ValueError, match="no-such-package.*pip install"):
        build_nano(tmp_path, 0, progress=False)
    monkeypatch.setattr(nano, "GROUPS", (replace(group, sources=("toy", "forgotten")),))
    with pytest.raises(ValueError, match="forgotten"):
        build_nano(tmp_path, 0, progress=False)
