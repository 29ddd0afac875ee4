"""What is fetched is what was indexed, with as few requests as it takes, whatever the store does meanwhile."""

import hashlib
import os
import threading
import time
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kimivl.config.store import StoreConfig
from kimivl.data.store.client import Client
from kimivl.data.store.errors import CorruptObject, Missing, Replaced
from kimivl.data.store.fetcher import Fetcher
from kimivl.processor.stored import StoredBytes

CONTENTS = np.random.default_rng(0).bytes(3_000_000)
URL = "s3://bucket/object"


@pytest.fixture
def fetcher(scripted, tmp_path):
    """Of a server that has CONTENTS under every key; further settings may be given."""
    scripted.script = lambda key, start, end: (206, CONTENTS[start:end])
    made = []

    def make(**settings) -> Fetcher:
        settings = {
            "requests_per_second": 5000,
            "cache": tmp_path / "cache",
            "gap_bytes": 1000,
            "block_bytes": 100_000,
        } | settings
        made.append(Fetcher(StoreConfig(**settings), Client(scripted.environment)))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def at(place_of):
    """A place in CONTENTS."""
    return lambda start, length, url=URL, **more: place_of(url, CONTENTS, start, length, **({"version": '"v1"'} | more))


def test_places_of_any_size_come_in_the_order_that_they_were_asked_for(fetcher, at, scripted):
    rng = np.random.default_rng(1)
    places = [at(int(rng.integers(2_000_000)), int(rng.integers(0, 300_000)), f"s3://bucket/{n % 3}") for n in range(40)]
    places += places[:5]
    found = fetcher()(places)
    assert found == [CONTENTS[place.start : place.start + place.length] for place in places]
    assert all(end - start <= 100_000 for _, start, end in scripted.asked)


def test_neighbours_come_with_one_request(fetcher, at, scripted):
    fetch = fetcher()
    fetch([at(0, 500), at(1400, 100), at(2400, 100), at(5000, 1)])
    assert sorted(scripted.asked) == [("/bucket/object", 0, 2500), ("/bucket/object", 5000, 5001)]
    counts = fetch.counts()
    assert (counts["gets"], counts["coalesced"], counts["bytes"]) == (2, 2, 2501)


def test_what_was_fetched_is_not_asked_for_again(fetcher, at, scripted):
    places = [at(n * 10_000, 700) for n in range(20)]
    first = fetcher()
    assert first(places) == first(places) and len(scripted.asked) == 20 and first.counts()["memory_hits"] == 20
    second = fetcher()  # another process, later
    assert second(places) == first(places) and len(scripted.asked) == 20
    assert second.counts()["disk_hits"] == 20 and second.counts()["gets"] == 0
    assert fetcher(memory_bytes=0, disk_bytes=0)(places) == first(places) and len(scripted.asked) == 40


def test_the_same_bytes_elsewhere_are_known(fetcher, at, scripted):
    fetch = fetcher()
    fetch([at(100, 50)])
    assert fetch([at(100, 50, "s3://bucket/copy")]) == [CONTENTS[100:150]] and len(scripted.asked) == 1


def test_threads_that_want_the_same_share_a_request(fetcher, at, scripted):
    arrived, go = threading.Semaphore(0), threading.Event()

    def script(key, start, end):
        arrived.release()
        go.wait(30)
        return 206, CONTENTS[start:end]

    scripted.script = script
    fetch = fetcher()
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(fetch, [at(0, 1000), at(500_000, 10)]) for _ in range(8)]
        for _ in range(2):
            arrived.acquire(timeout=30)
        while fetch.counts()["joined"] < 14:
            time.sleep(0.01)
        go.set()
        assert all(answer.result() == [CONTENTS[:1000], CONTENTS[500_000:500_010]] for answer in answers)
    assert len(scripted.asked) == 2


def test_faults_are_waited_out(fetcher, at, scripted, caplog):
    rng = np.random.default_rng(2)

    def script(key, start, end):
        fault = rng.choice(["none", "slow", "failed", "dropped", "cut"], p=[0.5, 0.2, 0.1, 0.1, 0.1])
        answers = {"slow": (503, b""), "failed": (500, b""), "dropped": None}
        return answers.get(str(fault), (206, CONTENTS[start:end]))

    scripted.script = script
    fetch = fetcher()
    places = [at(n * 40_000, 1000) for n in range(60)]
    assert fetch(places) == [CONTENTS[place.start : place.start + 1000] for place in places]
    counts = fetch.counts()
    assert counts["gets"] == 60 and counts["retries"] == len(scripted.asked) - 60 > counts["throttled"] > 0
    assert "asking again" in caplog.text


def test_a_fetcher_that_is_closed_asks_no_more(fetcher, at, scripted):
    arrived = threading.Event()
    scripted.script = lambda key, start, end: (arrived.set(), (500, b""))[1]
    fetch = fetcher()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(fetch, [at(0, 10)])
        assert arrived.wait(30)
        fetch.close()  # returns
        with pytest.raises(RuntimeError, match="object: the fetcher was closed before the store answered"):
            answer.result(30)


def test_what_is_wrong_for_good_is_raised_and_names_the_object(fetcher, at, scripted):
    fetch = fetcher()
    with pytest.raises(Replaced, match="s3://bucket/object: was replaced since it was indexed"):
        fetch([at(0, 10, version='"v0"')])
    scripted.script = lambda key, start, end: (404, b"") if "gone" in key else (206, CONTENTS[start:end])
    with pytest.raises(Missing, match="s3://bucket/gone: there is no such object"):
        fetch([at(0, 10), at(0, 11, "s3://bucket/gone")])
    assert fetch([at(0, 10)]) == [CONTENTS[:10]]  # and the fetcher goes on


def test_an_object_that_was_cut_has_what_is_left_of_it(fetcher, at, scripted):
    """All three come with one request; only the one that lies behind the end is lost, for whoever asks for it."""
    scripted.script = lambda key, start, end: (206, CONTENTS[start:end]) if end <= 1000 else (416, b"")
    fetch, first, second, behind = fetcher(), at(0, 500, version=""), at(600, 300, version=""), at(950, 100, version="")
    with pytest.raises(Replaced, match="object: ends before this range, so it was replaced since it was indexed"):
        fetch([first, second, behind])
    asked = len(scripted.asked)
    assert fetch([first, second]) == [CONTENTS[:500], CONTENTS[600:900]] and len(scripted.asked) == asked == 4


def test_bytes_that_came_wrong_once_are_fetched_again(fetcher, at, scripted, caplog):
    wrong = iter([True])
    scripted.script = lambda key, start, end: (206, b"?" * (end - start) if next(wrong, False) else CONTENTS[start:end])
    fetch = fetcher()
    assert fetch([at(5, 250_000)]) == [CONTENTS[5:250_005]] and fetch.counts()["corrupt"] == 1
    assert "bytes 5 to 250005 are not those that were indexed; fetching them anew" in caplog.text


def test_bytes_that_stay_wrong_are_never_given_out(fetcher, at, scripted):
    scripted.script = lambda key, start, end: (206, bytes(end - start))
    fetch = fetcher()
    for _ in range(2):  # they are kept nowhere either
        with pytest.raises(CorruptObject, match=r'object: bytes 7 to 57 \(version "v1"\).*sha256.*index again') as raised:
            fetch([at(7, 50)])
        assert raised.value.url == URL
    assert len(scripted.asked) == 4


def test_a_flipped_byte_in_the_disk_cache_is_found_and_fetched_anew(fetcher, at, scripted, tmp_path):
    place = at(10, 5000)
    fetcher()([place])
    [path] = (tmp_path / "cache").glob("??/*")
    damaged = bytearray(path.read_bytes())
    damaged[1234] ^= 1
    path.write_bytes(damaged)
    fetch = fetcher()
    assert fetch([place]) == [CONTENTS[10:5010]] and fetch.counts()["disk_damaged"] == 1 and len(scripted.asked) == 2
    assert fetcher()([place]) == [CONTENTS[10:5010]] and len(scripted.asked) == 2


def test_members_of_archives_are_inflated_after_they_were_checked(tmp_path, place_of):
    """An archive that zipfile wrote; offsets as zipfile gives them."""
    texts = {"a.txt": b"to be or not to be " * 100, "b.txt": os.urandom(500), "empty": b""}
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
        infos = [archive.getinfo(name) for name in texts]
    contents = (tmp_path / "x.zip").read_bytes()
    url = (tmp_path / "x.zip").as_uri()
    starts = [info.header_offset + 30 + len(info.filename) for info in infos]
    places = [place_of(url, contents, start, info.compress_size, deflated=True) for start, info in zip(starts, infos)]
    with Fetcher(StoreConfig(cache=tmp_path / "cache")) as fetch:
        assert fetch(places) == list(texts.values())
        torn = place_of(url, contents, starts[0], infos[0].compress_size - 3, deflated=True)
        with pytest.raises(CorruptObject, match="are no deflate data .they end early., though they are as indexed"):
            fetch([torn])


def test_what_the_store_holds_deflated_is_kept_so_on_disk(scripted, fetcher):
    packed = zlib.compress(CONTENTS[:100] * 50, wbits=-15)
    scripted.script = lambda key, start, end: (206, packed[start:end])
    place = StoredBytes(URL, "", 0, len(packed), hashlib.sha256(packed).hexdigest(), deflated=True)
    for fetch in (fetcher(), fetcher()):
        assert fetch([place, place]) == [CONTENTS[:100] * 50] * 2
    assert len(scripted.asked) == 1 and fetch.counts()["disk_hits"] == 1


def test_local_files_are_read_where_they_lie(tmp_path, place_of):
    (tmp_path / "a b#.bin").write_bytes(CONTENTS)
    url = (tmp_path / "a b#.bin").as_uri()
    with Fetcher(StoreConfig(cache=tmp_path / "cache", requests_per_second=1)) as fetch:
        places = [place_of(url, CONTENTS, n * 1000, 100) for n in range(50)]  # far above the budget
        assert fetch(places) == [CONTENTS[n * 1000 : n * 1000 + 100] for n in range(50)]
        counts = fetch.counts()
        assert counts["local"] == 50 and counts["gets"] == 0 and not list((tmp_path / "cache").glob("??/*"))
        (tmp_path / "a b#.bin").write_bytes(bytes(len(CONTENTS)))
        with pytest.raises(CorruptObject, match="a%20b%23.bin: bytes 0 to 100 are not those that were indexed"):
            fetch(places[:1])


def test_a_real_store_gives_the_same(server, tmp_path, place_of):
    client = Client(server.environment)
    version = client.put("s3://fetcher/object", CONTENTS)
    places = [place_of("s3://fetcher/object", CONTENTS, n * 60_000, 20_000, version) for n in range(40)]
    with Fetcher(StoreConfig(cache=tmp_path / "cache", block_bytes=500_000), client) as fetch:
        assert fetch(places) == [CONTENTS[place.start : place.start + 20_000] for place in places]
        assert 0 < fetch.counts()["gets"] < 10
