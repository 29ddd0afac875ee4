"""What comes out of a cache is what went in, or nothing; budgets hold, also over threads and processes."""

import errno
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from kimivl.data.store.cache import LEFTOVER, DiskCache, MemoryCache


def key(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(cache, data: bytes) -> str:
    cache.put(key(data), data)
    return key(data)


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("??/*"))


def used(folder: Path) -> int:
    return sum(path.stat().st_size for path in entries(folder))


@pytest.fixture(params=["memory", "disk"])
def cache(request, tmp_path):
    return MemoryCache(1000) if request.param == "memory" else DiskCache(tmp_path / "cache", 1000)


def test_an_entry_comes_back(cache):
    assert cache.get(key(b"one")) is None
    assert cache.get(put(cache, b"one")) == b"one" and cache.get(put(cache, b"")) == b""
    assert (cache.counts.hits, cache.counts.misses) == (2, 1)
    cache.drop(key(b"one"))
    cache.drop(key(b"one"))
    assert cache.get(key(b"one")) is None and cache.size == 0


def test_the_least_recently_used_go_first(cache, tmp_path):
    names = [put(cache, letter.encode() * 220) for letter in "abcd"]
    for number, path in enumerate(cache._path(name) for name in names if isinstance(cache, DiskCache)):
        os.utime(path, (number, number))
    assert cache.get(names[0])
    names.append(put(cache, b"e" * 220))
    assert [bool(cache.get(name)) for name in names] == [True, False, True, True, True] and cache.counts.evicted == 1


def test_the_budget_holds_whatever_comes(cache, tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(60):
        data = rng.bytes(int(rng.integers(0, 1200)))
        found = cache.get(put(cache, data))
        assert cache.size <= 1000 and found == (data if len(data) <= 1000 else None)
        assert isinstance(cache, MemoryCache) or used(tmp_path / "cache") == cache.size


def test_an_entry_above_the_budget_drives_out_no_other(cache):
    small = put(cache, b"x")
    assert cache.get(put(cache, b"x" * 2000)) is None and cache.get(small) == b"x"


def test_a_disk_cache_outlives_its_process_with_its_order_of_use(tmp_path):
    first = DiskCache(tmp_path, 330)
    names = [put(first, letter.encode() * 100) for letter in "abc"]
    for number, name in enumerate(names):
        os.utime(first._path(name), (number, number))
    assert first.get(names[0])  # used last
    second = DiskCache(tmp_path, 330)
    names.append(put(second, b"d" * 100))
    assert [bool(second.get(name)) for name in names] == [True, False, True, True]
    assert DiskCache(tmp_path, 120).size == 100  # a smaller budget


@pytest.mark.parametrize("place", [0, 50, -1])
def test_a_flipped_bit_is_found_wherever_it_is(tmp_path, place):
    cache = DiskCache(tmp_path, 10_000)
    name = put(cache, bytes(range(100)))
    [path] = entries(tmp_path)
    damaged = bytearray(path.read_bytes())
    damaged[place] ^= 4
    path.write_bytes(damaged)
    assert cache.get(name) is None and cache.counts.damaged == 1 and not path.exists() and cache.size == 0
    assert cache.get(put(cache, bytes(range(100)))) == bytes(range(100))


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: b"", lambda data: data + b"x"])
def test_an_entry_that_was_cut_or_grew_is_found(tmp_path, change):
    cache = DiskCache(tmp_path, 10_000)
    name = put(cache, b"abc")
    [path] = entries(tmp_path)
    path.write_bytes(change(path.read_bytes()))
    assert cache.get(name) is None and cache.counts.damaged == 1


def test_what_another_process_wrote_and_removed_is_seen(tmp_path):
    one, two = DiskCache(tmp_path, 1000), DiskCache(tmp_path, 1000)
    name = put(one, b"abc")
    assert two.get(name) == b"abc" and two.size == 3
    one.drop(name)
    assert two.get(name) is None and two.size == 0


def test_a_full_disk_keeps_nothing_and_stops_nobody(tmp_path, monkeypatch, caplog):
    cache = DiskCache(tmp_path, 10_000)

    def full(*paths):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("kimivl.data.store.cache.os.replace", full)
    for data in (b"abc", b"def"):
        assert cache.get(put(cache, data)) is None
    assert cache.counts.unkept == 2 and entries(tmp_path) == [] and cache.size == 0
    assert len(caplog.records) == 1 and "No space left on device" in caplog.text


def test_unfinished_entries_of_dead_processes_go_in_the_end(tmp_path):
    cache = DiskCache(tmp_path, 1000)
    name = put(cache, b"a" * 300)
    left, fresh = cache._path(name).with_name(".left"), cache._path(name).with_name(".fresh")
    left.write_bytes(bytes(300))
    fresh.write_bytes(bytes(300))
    os.utime(left, (os.stat(fresh).st_mtime - LEFTOVER - 1,) * 2)
    cache = DiskCache(tmp_path, 700)
    assert not left.exists() and fresh.exists() and cache.get(name) and cache.size == 600


@pytest.mark.parametrize(
    "garbled", [b"", b"\0" * 32, b"garbage", b"%031d\n" % 5, b"%015d %015d\n" % (5, 6), b"%015d %015d" % (5, 5), b"-1"]
)
def test_a_total_that_is_no_number_is_counted_anew_and_the_budget_holds(tmp_path, garbled):
    cache = DiskCache(tmp_path, 1000)
    names = [put(cache, bytes([number]) * 200) for number in range(4)]
    (tmp_path / "total").write_bytes(garbled)
    assert cache.get(names[0]) == bytes(200) and cache.size == 800
    (tmp_path / "total").write_bytes(garbled)
    for number in range(4, 8):
        assert cache.get(put(cache, bytes([number]) * 200)) and used(tmp_path) <= 1000
    assert used(tmp_path) == cache.size


def test_a_folder_that_is_removed_meanwhile_is_made_again(tmp_path, caplog):
    cache = DiskCache(tmp_path / "cache", 1000)
    name = put(cache, b"a" * 900)
    shutil.rmtree(tmp_path / "cache")
    assert cache.get(name) is None
    assert cache.get(put(cache, b"b" * 600)) == b"b" * 600 and cache.size == used(tmp_path / "cache") == 600
    cache.drop(key(b"b" * 600))
    assert cache.size == 0 and cache.counts.unkept == 0 and not caplog.records


def test_a_folder_that_is_removed_while_somebody_waits_for_its_lock_is_not_counted_in_the_old_file(tmp_path):
    cache = DiskCache(tmp_path / "cache", 1000)
    with (tmp_path / "cache" / "total").open("rb") as old, ThreadPoolExecutor(1) as pool:
        fcntl.flock(old, fcntl.LOCK_EX)
        waiting = pool.submit(put, cache, b"a" * 300)
        (tmp_path / "cache").rename(tmp_path / "removed")
        fcntl.flock(old, fcntl.LOCK_UN)
        waiting.result(60)
    assert cache.size == used(tmp_path / "cache")


def test_what_cannot_be_removed_stays_and_stops_nobody(tmp_path):
    """A folder among the entries; another user's file is the same to whoever may not remove it."""
    put(DiskCache(tmp_path, 1000), b"a" * 100)
    (tmp_path / "aa" / "folder").mkdir(parents=True)
    cache = DiskCache(tmp_path, 50)
    assert cache.get(key(b"a" * 100)) is None and (tmp_path / "aa" / "folder").is_dir()
    put(cache, b"b" * 20)


def test_what_others_are_about_to_write_counts_and_is_not_driven_out(tmp_path):
    cache = DiskCache(tmp_path, 1000)
    (tmp_path / "aa").mkdir()
    (tmp_path / "aa" / ".new").write_bytes(bytes(700))
    cache = DiskCache(tmp_path, 1000)
    assert cache.get(put(cache, b"x" * 400)) is None and cache.counts.unkept == 1 and used(tmp_path) == 700
    assert cache.get(put(cache, b"x" * 200)) and used(tmp_path) == cache.size == 900


WRITER = """
import hashlib, sys
from pathlib import Path
from kimivl.data.store.cache import DiskCache
cache, first = DiskCache(Path(sys.argv[1]), 20_000), int(sys.argv[2])
for number in range(first, first + 300):
    data = str(number).encode() * 100
    cache.put(hashlib.sha256(data).hexdigest(), data)
    found = cache.get(hashlib.sha256(data).hexdigest())
    assert found in (None, data)
    assert cache.size <= 20_000 and cache.counts.damaged == 0
"""


def test_the_budget_is_shared_by_threads_and_processes(tmp_path):
    commands = [[sys.executable, "-c", WRITER, str(tmp_path), first] for first in ("100", "200")]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    cache = DiskCache(tmp_path, 20_000)
    with ThreadPoolExecutor(4) as pool:
        names = list(pool.map(lambda number: put(cache, str(number).encode() * 100), range(100, 500)))
        list(pool.map(cache.get, names))
    for process in processes:
        assert process.wait(60) == 0, process.stderr.read()
        process.stderr.close()
    assert used(tmp_path) == cache.size <= 20_000 and cache.counts.damaged == 0
