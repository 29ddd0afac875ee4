"""What comes out of a cache is what went in, or nothing; budgets hold, also over processes."""

import os

import numpy as np
import pytest

from kimivl.data.store.cache import CHECK, DiskCache, MemoryCache


def entries(folder):
    return sorted(path for path in folder.glob("??/*"))


@pytest.fixture(params=["memory", "disk"])
def cache(request, tmp_path):
    return MemoryCache(1000) if request.param == "memory" else DiskCache(tmp_path / "cache", 1000)


def test_an_entry_comes_back(cache):
    assert cache.get("a") is None
    cache.put("a", b"one")
    cache.put("a", b"two")
    cache.put("", b"")
    assert cache.get("a") == b"two" and cache.get("") == b"" and (cache.counts.hits, cache.counts.misses) == (2, 1)


def test_the_least_recently_used_go_first(cache):
    for name in "abcd":
        cache.put(name, name.encode() * 220)
    assert cache.get("a")
    cache.put("e", b"e" * 220)
    assert [name for name in "abcde" if cache.get(name)] == ["a", "c", "d", "e"] and cache.counts.evicted == 1


def test_the_budget_holds_whatever_comes(cache, tmp_path):
    """Compared with a plain model: the latest distinct entries that fit."""
    rng = np.random.default_rng(0)
    for _ in range(500):
        name, size = str(rng.integers(30)), int(rng.integers(0, 1200))
        cache.put(name, bytes(size))
        assert cache.size <= 1000
        found = cache.get(name)
        assert found is None or len(found) <= 1000
    on_disk = sum(path.stat().st_size for path in entries(tmp_path / "cache"))
    assert on_disk == (cache.size if isinstance(cache, DiskCache) else 0)


def test_an_entry_above_the_budget_is_not_kept_and_drives_out_no_other(cache):
    cache.put("small", b"x")
    cache.put("large", b"x" * 2000)
    assert cache.get("large") is None and cache.get("small") == b"x"


def test_a_disk_cache_outlives_its_process_with_its_order_of_use(tmp_path):
    first = DiskCache(tmp_path, 3 * (100 + CHECK))
    for number, name in enumerate("abc"):
        first.put(name, name.encode() * 100)
        os.utime(first._path(name), (number, number))
    assert first.get("a")  # used last
    second = DiskCache(tmp_path, 3 * (100 + CHECK))
    second.put("d", b"d" * 100)
    assert [name for name in "abcd" if second.get(name)] == ["a", "c", "d"]
    assert DiskCache(tmp_path, 100 + CHECK).size == 100 + CHECK  # a smaller budget


@pytest.mark.parametrize("place", [0, CHECK - 1, CHECK, CHECK + 50, -1])
def test_a_flipped_bit_is_found_wherever_it_is(tmp_path, place):
    cache = DiskCache(tmp_path, 10_000)
    cache.put("a", bytes(range(100)))
    [path] = entries(tmp_path)
    damaged = bytearray(path.read_bytes())
    damaged[place] ^= 4
    path.write_bytes(damaged)
    assert cache.get("a") is None and cache.counts.damaged == 1 and not path.exists() and cache.size == 0
    cache.put("a", bytes(range(100)))
    assert cache.get("a") == bytes(range(100))


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: b"", lambda data: data + b"x"])
def test_an_entry_that_was_cut_or_grew_is_found(tmp_path, change):
    cache = DiskCache(tmp_path, 10_000)
    cache.put("a", b"abc")
    [path] = entries(tmp_path)
    path.write_bytes(change(path.read_bytes()))
    assert cache.get("a") is None and cache.counts.damaged == 1


def test_an_entry_under_another_name_is_damaged(tmp_path):
    cache = DiskCache(tmp_path, 10_000)
    cache.put("a", b"abc")
    cache.put("b", b"def")
    cache._path("b").write_bytes(cache._path("a").read_bytes())
    assert cache.get("b") is None and cache.get("a") == b"abc"


def test_two_processes_may_share_a_folder(tmp_path):
    one, two = DiskCache(tmp_path, 1000), DiskCache(tmp_path, 1000)
    one.put("a", b"abc")
    assert two.get("a") == b"abc"  # written behind two's back
    one._remove(one._path("a"))
    assert two.get("a") is None and two.counts.misses == 1
