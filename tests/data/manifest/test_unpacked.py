"""Unpacked tables do not pile up, and one that is in use stays."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kimivl.data.manifest.unpacked import UNUSED, Unpacked


def write(path: Path, *values: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"n": values}), path)
    return path


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def unpacked(cache):
    """The values of a table; `digest` as a manifest's."""
    return lambda path, digest: Unpacked(path, cache / digest, cache).table.column("n").to_pylist()


def files(cache: Path) -> list[Path]:
    return sorted(cache.glob("*/*"))


def test_what_a_file_was_before_is_removed_when_it_is_unpacked_anew(tmp_path, cache, unpacked):
    path = tmp_path / "m" / "objects.parquet"
    other = write(tmp_path / "n" / "objects.parquet", 7)
    assert unpacked(other, "n") == [7]
    for number in range(5):
        assert unpacked(write(path, *range(number + 1)), f"m{number}") == list(range(number + 1))
    assert [file.parent.name for file in files(cache)] == ["m4", "n"]


def test_what_was_not_opened_for_long_is_removed(tmp_path, cache, unpacked):
    paths = [write(tmp_path / name / "objects.parquet", 1) for name in "abc"]
    for path in paths[:2]:
        unpacked(path, path.parent.name)
    leftover = cache / "a" / "samples-1.77-77"  # of a process that was killed
    leftover.write_bytes(b"x")
    for file in files(cache):
        os.utime(file, (time.time() - UNUSED - 60,) * 2)
    unpacked(paths[1], "b")  # it is used
    assert len(files(cache)) == 3
    unpacked(paths[2], "c")
    assert [file.parent.name for file in files(cache)] == ["b", "c"]


HOLDER = """
import sys
from pathlib import Path
from kimivl.data.manifest.unpacked import Unpacked
cache = Path(sys.argv[2])
held = Unpacked(Path(sys.argv[1]), cache / "m", cache)
print("ready", flush=True)
sys.stdin.read()
print(held.table.column("n").to_pylist())
"""


def test_a_table_that_a_process_maps_is_not_removed_until_it_ends(tmp_path, cache, unpacked):
    path = write(tmp_path / "m" / "objects.parquet", 1, 2)
    command = [sys.executable, "-c", HOLDER, str(path), str(cache)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        [held] = files(cache)
        assert unpacked(write(path, 3), "m") == [3] and held in files(cache) and len(files(cache)) == 2
        assert process.communicate(timeout=60)[0] == "[1, 2]\n"
    assert unpacked(write(path, 4), "m") == [4]
    assert len(files(cache)) == 1


def test_a_table_that_is_removed_under_its_users_hands_is_unpacked_again(tmp_path, cache, unpacked, monkeypatch):
    """Another process removes it between its unpacking and its mapping."""
    path, made = write(tmp_path / "m" / "objects.parquet", 5), []

    def clean(folder, kept):
        made.append(kept)
        if len(made) == 1:
            kept.unlink()

    monkeypatch.setattr("kimivl.data.manifest.unpacked._clean", clean)
    assert unpacked(path, "m") == [5] and len(made) == 2
