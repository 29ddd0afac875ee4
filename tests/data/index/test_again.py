"""A second run reads only what changed, a stopped one goes on, and both give what a fresh one gives."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import kimivl
from kimivl.cli import main
from kimivl.data.convert.faults import Malformed
from kimivl.data.index.notes import TABLES
from kimivl.data.store.client import Client
from kimivl.data.store.urls import split_url
from tests.data.index.originals import Source, encoded, question, write_tar


class Watched(Client):
    """Remembers the names of objects that were read, and fails at one of them."""

    def __init__(self, fails: str = ""):
        super().__init__()
        self.read: set[str] = set()
        self.fails = fails

    def get(self, url: str, start: int = 0, length: int | None = None, version: str = "") -> bytes:
        name = split_url(url)[1].rpartition("/")[2]
        if name == self.fails:
            raise KeyboardInterrupt
        self.read.add(name)
        return super().get(url, start, length, version)


def reads(source: Source, **how) -> set[str]:
    client = Watched()
    source.index(client=client, **how)
    return client.read


def tables(source: Source) -> tuple[list, dict]:
    return source.samples(), source.objects()


@pytest.fixture
def pictures(source) -> Source:
    for number in range(20):
        source.put(f"{number}.png", encoded(number))
    write_tar(source.root / "s.tar", {"1.png": encoded(1), "2.png": encoded(2)})
    source.rows(*[question(f"{number}.png") for number in range(20)], question("s.tar/1.png"))
    return source


def test_what_did_not_change_is_not_read_again(pictures):
    assert len(reads(pictures)) == 22
    before, digest = tables(pictures), pictures.manifest.digest
    assert reads(pictures) == {"rows.jsonl"} and tables(pictures) == before
    assert pictures.index(licence="MIT")["unchanged"] == 21  # what is said of originals is not in them
    assert {row["licence"] for row in pictures.objects().values()} == {"MIT"} and pictures.manifest.digest != digest


@pytest.mark.parametrize("same_size", [True, False])
def test_what_changed_is_read_again(pictures, same_size):
    pictures.put("7.bmp", encoded(7, kind="BMP"))
    pictures.rows(question("7.bmp"), question("8.png"))
    pictures.index()
    before = pictures.objects()
    pictures.put("7.bmp", encoded(99, kind="BMP") if same_size else encoded(7, (30, 30), "BMP"))
    os.utime(pictures.root / "7.bmp", (2e9, 2e9))  # clocks of file systems may be coarse
    assert reads(pictures) == {"rows.jsonl", "7.bmp"}
    assert pictures.objects()["7.bmp"]["sha256"] != before["7.bmp"]["sha256"] and pictures.objects()["8.png"] == before["8.png"]


def test_rows_may_come_and_go(pictures):
    pictures.index()
    pictures.put("new.png", encoded(50))
    pictures.rows(question("new.png"), question("s.tar/2.png"), question("3.png"))
    assert reads(pictures) == {"rows.jsonl", "new.png"}
    assert set(pictures.objects()) == {"new.png", "3.png", "s.tar/1.png", "s.tar/2.png"}


def test_shards_that_did_not_change_are_not_opened(source):
    for shard in range(3):
        write_tar(
            source.root / f"{shard}.tar", {"1.png": encoded(shard), "1.txt": b"eins", "2.png": encoded(9), "2.txt": "二".encode()}
        )
    source.index(licence="MIT")
    before = tables(source)
    assert reads(source, licence="MIT") == set() and tables(source) == before
    write_tar(source.root / "1.tar", {"3.png": encoded(5), "3.txt": b"drei"})
    os.utime(source.root / "1.tar", (2e9, 2e9))
    assert reads(source, licence="MIT") == {"1.tar"}
    ids = [f"{shard}.tar/{key}" for shard, keys in ((0, "12"), (1, "3"), (2, "12")) for key in keys]
    assert [row["id"] for row in source.samples()] == ids
    again = tables(source)
    assert reads(source, licence="CC0-1.0") == {"0.tar", "1.tar", "2.tar"}  # samples depend on what is said of them
    source.index(licence="MIT")
    assert tables(source) == again


def test_a_stopped_run_goes_on_where_it_was(pictures, monkeypatch):
    monkeypatch.setattr("kimivl.data.index.notes.SAVED", 0)
    pictures.index()
    expected, pictures.out = tables(pictures), pictures.out.with_name("again.manifest")
    stopped = Watched(fails="19.png")  # with the paths in order, 10 to 19 come before 2, and threads are ahead
    with pytest.raises(KeyboardInterrupt):
        pictures.index(client=stopped)
    assert not pictures.out.exists()
    done = reads(pictures) - {"rows.jsonl"}
    assert 0 < len(done) < 21 and "19.png" in done and "0.png" not in done
    assert tables(pictures) == expected
    assert not list(pictures.out.parent.glob(".*"))  # nothing is left behind


KILLED = """
import os, signal, sys
from pathlib import Path
from kimivl.data.index import build, notes
from kimivl.data.store.client import Client

class Mortal(Client):
    def get(self, url, *how):
        if url.endswith("/5.png"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().get(url, *how)

notes.SAVED = 0
build.index(sys.argv[1], Path(sys.argv[2]), client=Mortal())
"""


def test_a_killed_process_leaves_no_manifest_and_what_it_read(pictures):
    pictures.index()
    expected, pictures.out = tables(pictures), pictures.out.with_name("again.manifest")
    command = [sys.executable, "-c", KILLED, str(pictures.root), str(pictures.out)]
    environment = os.environ | {"PYTHONPATH": str(Path(kimivl.__file__).parent.parent), "OMP_NUM_THREADS": "1"}
    for _ in range(2):
        assert subprocess.run(command, env=environment, timeout=60).returncode == -signal.SIGKILL
        assert not pictures.out.exists()
    read = reads(pictures)
    assert "5.png" in read and tables(pictures) == expected


def test_originals_are_not_read_again_after_malformed_rows(pictures):
    pictures.rows(question("1.png"), question("gone.png"))
    with pytest.raises(Malformed):
        pictures.index()
    pictures.rows(question("1.png"))
    assert reads(pictures) == {"rows.jsonl"}


def test_nothing_is_left_of_a_run_that_read_no_original(pictures):
    pictures.rows(question("gone.png"))
    with pytest.raises(Malformed):
        pictures.index()
    assert not list(pictures.out.parent.iterdir())


def test_notes_of_another_place_are_not_used(pictures, tmp_path):
    pictures.rows(question("1.png"), question("gone.png"))
    with pytest.raises(Malformed):
        pictures.index()
    pictures.root.rename(tmp_path / "moved")
    pictures.root = tmp_path / "moved"
    pictures.rows(question("1.png"))
    assert reads(pictures) == {"rows.jsonl", "1.png"}


def test_the_same_name_elsewhere_is_another_original(pictures, tmp_path):
    pictures.rows(question("1.png"))
    pictures.index()
    pictures.root.rename(tmp_path / "moved")
    pictures.root = tmp_path / "moved"
    assert reads(pictures) == {"rows.jsonl", "1.png"}


def test_a_full_disk_is_told_in_one_line_and_the_next_run_goes_on(pictures, monkeypatch):
    monkeypatch.setattr("kimivl.data.index.notes.SAVED", 0)
    for number in range(200):
        pictures.put(f"more/{number}.png", encoded(number))
    pictures.rows(*[question(f"more/{number}.png") for number in range(200)])
    monkeypatch.setattr("kimivl.data.index.notes.TABLES", TABLES + "PRAGMA max_page_count = 36;")
    with pytest.raises(OSError, match=r"notes could not be written \(database or disk is full\): free space, and run"):
        pictures.index()
    assert not pictures.out.exists() and [path.name for path in pictures.out.parent.iterdir()] == [".train.manifest.notes"]
    monkeypatch.setattr("kimivl.data.index.notes.TABLES", TABLES + "PRAGMA max_page_count = 10000;")
    again = reads(pictures)
    assert "rows.jsonl" in again and len(again) < 201 and len(pictures.manifest) == 200
    assert [path.name for path in pictures.out.parent.iterdir()] == ["train.manifest"]


def test_no_room_for_notes_at_all_leaves_none(pictures, monkeypatch):
    monkeypatch.setattr("kimivl.data.index.notes.TABLES", "PRAGMA max_page_count = 2;" + TABLES)
    with pytest.raises(OSError, match=r"notes could not be written \(database or disk is full\): free space, and run"):
        pictures.index()
    assert not list(pictures.out.parent.iterdir())


def test_a_folder_that_cannot_be_written_is_told(pictures, capsys):
    for out in ("/proc/none/train.manifest", "/sys/train.manifest"):  # where even root may write nothing
        assert main(["data", "index", str(pictures.root), out]) == 1
        told = capsys.readouterr().err
        assert (
            f"could not write {Path(out).parent}/.train.manifest.lock: " in told
            and "write elsewhere, or make this place writable" in told
        )
        assert "notes" not in told


HELD = """
import sys
from pathlib import Path
from kimivl.data.index import build
from kimivl.data.store.client import Client

class Slow(Client):
    def get(self, url, *how):
        print("reading", flush=True)
        sys.stdin.read()
        return super().get(url, *how)

build.index(sys.argv[1], Path(sys.argv[2]), client=Slow())
"""


def test_a_second_run_at_the_same_manifest_is_told_who_is_at_it(pictures):
    command = [sys.executable, "-c", HELD, str(pictures.root), str(pictures.out)]
    environment = os.environ | {"PYTHONPATH": str(Path(kimivl.__file__).parent.parent), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout.readline() == b"reading\n"
        os.kill(first.pid, signal.SIGSTOP)  # it holds the manifest while it stands still
        with pytest.raises(OSError, match=rf"train.manifest is being made by process {first.pid} on .*: wait until it is done"):
            pictures.index()
        os.kill(first.pid, signal.SIGCONT)
        first.stdin.close()
        assert first.wait(60) == 0
    assert [path.name for path in pictures.out.parent.iterdir()] == ["train.manifest"] and len(pictures.manifest) == 21
    (pictures.out.parent / ".train.manifest.lock").write_text("process 1 that was killed")
    assert pictures.index()["unchanged"] == 21
    assert [path.name for path in pictures.out.parent.iterdir()] == ["train.manifest"]


def test_notes_that_are_none_are_told(pictures):
    notes = pictures.out.with_name(f".{pictures.out.name}.notes")
    notes.parent.mkdir(parents=True)
    notes.write_bytes(b"no database" * 1000)
    with pytest.raises(OSError, match="notes of an earlier run cannot be used .*, or remove the file"):
        pictures.index()
