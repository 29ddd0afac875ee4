"""A folder is replaced whole or stays as it was."""

import os

import pytest

from kimivl.model.atomic import NotWritten, replaced_folder, swap_folder, writing


def contents(folder) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_new_folder_appears_with_its_parents(tmp_path):
    with replaced_folder(tmp_path / "a" / "b") as new:
        (new / "file").write_text("x")
        assert not (tmp_path / "a" / "b").exists()
    assert contents(tmp_path) == {"a/b/file": "x"}


def test_the_old_folder_is_replaced_whole(tmp_path):
    for text, file in (("old", "one"), ("new", "two")):
        with replaced_folder(tmp_path / "model") as new:
            (new / file).write_text(text)
    assert contents(tmp_path) == {"model/two": "new"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("something else"), KeyboardInterrupt()])
def test_after_an_error_the_old_folder_is_intact_and_nothing_else_is_left(tmp_path, error):
    with replaced_folder(tmp_path / "model") as new:
        (new / "file").write_text("old")
    with pytest.raises(type(error)) as caught:
        with replaced_folder(tmp_path / "model") as new:
            (new / "file").write_text("half")
            raise error
    assert contents(tmp_path) == {"model/file": "old"} and os.listdir(tmp_path) == ["model"]
    if isinstance(error, OSError):
        assert "No space left on device" in str(caught.value) and str(tmp_path / "model") in str(caught.value)


def test_uses_may_be_nested(tmp_path):
    with replaced_folder(tmp_path / "checkpoint") as outer:
        with replaced_folder(outer / "model") as inner:
            (inner / "weights").write_text("w")
        (outer / "state").write_text("s")
    assert contents(tmp_path) == {"checkpoint/model/weights": "w", "checkpoint/state": "s"}


def test_a_process_that_died_between_the_renames_has_lost_nothing(tmp_path):
    """It leaves the old folder under its set-aside name and the new one unfinished or unnamed."""
    (tmp_path / ".model.previous").mkdir()
    (tmp_path / ".model.previous" / "file").write_text("old")
    (tmp_path / ".model.new").mkdir()
    with pytest.raises(RuntimeError):
        with replaced_folder(tmp_path / "model"):
            raise RuntimeError
    assert contents(tmp_path) == {"model/file": "old"}


def test_a_folder_that_was_finished_elsewhere_takes_the_place_of_the_old_one(tmp_path):
    for text in ("old", "new"):
        (tmp_path / "bench" / "source").mkdir(parents=True)
        (tmp_path / "bench" / "source" / text).write_text(text)
        swap_folder(tmp_path / "bench" / "source", tmp_path / "source")
    assert contents(tmp_path) == {"source/new": "new"} and sorted(os.listdir(tmp_path)) == ["bench", "source"]


def test_a_folder_that_cannot_take_the_place_leaves_the_old_one(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_text("old")
    with pytest.raises(FileNotFoundError):
        swap_folder(tmp_path / "bench" / "source", tmp_path / "source")
    assert contents(tmp_path) == {"source/file": "old"} and os.listdir(tmp_path) == ["source"]


def test_what_cannot_be_written_is_told_with_its_path_the_cause_and_the_fix(tmp_path):
    path = tmp_path / "file"
    words = f"could not write {path}: No space left on device; free space and run the command again"
    with pytest.raises(NotWritten, match=f"^{words}$"):
        with writing(path), open("/dev/full", "w") as full:
            full.write("x")
    path.touch()
    with pytest.raises(NotWritten, match=f"could not write {path}: File exists; write elsewhere, or make this place writable"):
        with writing(path):
            path.mkdir()
