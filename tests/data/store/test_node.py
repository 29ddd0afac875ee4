"""One service for all processes of a node: it is started once, keeps its budget over all of them, and may die."""

import hashlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from kimivl.config.store import StoreConfig
from kimivl.data.store import node, service, wire
from kimivl.data.store.errors import CorruptObject, Missing
from kimivl.data.store.node import NodeFetcher, socket_path
from kimivl.data.store.wire import pack_places

CONTENTS = np.random.default_rng(0).bytes(1_000_000)
PATIENCE = 60.0


@pytest.fixture
def fetcher(scripted, tmp_path, monkeypatch):
    """Clients of a service of this test; all are closed at the end, and the service ends."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    scripted.script = lambda key, start, end: (206, CONTENTS[start:end])
    made = []

    def make(**settings) -> NodeFetcher:
        settings = {"requests_per_second": 5000, "cache": tmp_path / "cache"} | settings
        made.append(NodeFetcher(StoreConfig(**settings), scripted.environment))
        return made[-1]

    yield make
    pids = {pid for each in made for pid in services(each)}
    for each in made:
        each.close()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def at(place_of):
    return lambda start, length, key="object": place_of(f"s3://bucket/{key}", CONTENTS, start, length, '"v1"')


def services(fetcher: NodeFetcher) -> list[int]:
    """Processes of a fetcher's service."""
    path, found = str(socket_path(fetcher.settings, fetcher._environment)), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if path.encode() in (folder / "cmdline").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # it has ended meanwhile
            pass
    return found


def until(condition) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_all_clients_share_one_service_and_its_cache(fetcher, at, scripted, tmp_path, place_of):
    (tmp_path / "local").write_bytes(CONTENTS)
    places = [at(5, 700), place_of((tmp_path / "local").as_uri(), CONTENTS, 10, 20), at(300_000, 70_000)]
    clients = [fetcher() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda client: client(places), clients))
    assert answers == [[CONTENTS[5:705], CONTENTS[10:30], CONTENTS[300_000:370_000]]] * 4
    assert len(services(clients[0])) == 1 and len(scripted.asked) == 2
    counts = clients[0].counts()
    assert counts["gets"] == 2 and counts["memory_hits"] + counts["joined"] == 6 and counts["local"] == 0


def test_places_that_are_equal_come_once(fetcher, at, tmp_path, place_of, monkeypatch):
    """Frames of a video are in one place; what came is one object, so that memory holds it once."""
    (tmp_path / "local").write_bytes(CONTENTS)
    far, near, asked = at(5, 700), place_of((tmp_path / "local").as_uri(), CONTENTS, 10, 20), []
    monkeypatch.setattr("kimivl.data.store.node.wire.pack_places", lambda places: asked.append(places) or pack_places(places))
    found = fetcher()([far, near, far, at(6, 1), near, far])
    assert found == [CONTENTS[5:705], CONTENTS[10:30], CONTENTS[5:705], CONTENTS[6:7], CONTENTS[10:30], CONTENTS[5:705]]
    assert asked == [[far, at(6, 1)]] and found[0] is found[2] is found[5] and found[1] is found[4]


def test_threads_of_a_client_do_not_wait_for_each_other(fetcher, at, scripted):
    go = threading.Event()
    scripted.script = lambda key, start, end: ("slow" in key and go.wait(PATIENCE), (206, CONTENTS[start:end]))[1]
    fetch = fetcher()
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(fetch, [at(0, 10, "slow")])
        assert fetch([at(10, 10)]) == [CONTENTS[10:20]] and not slow.done()
        go.set()
        assert slow.result() == [CONTENTS[:10]]


def test_errors_come_through(fetcher, at, scripted, place_of):
    fetch = fetcher()
    scripted.script = lambda key, start, end: (404, b"")
    with pytest.raises(Missing, match="s3://bucket/object: there is no such object"):
        fetch([at(0, 10)])
    scripted.script = lambda key, start, end: (206, bytes(end - start))
    with pytest.raises(CorruptObject, match="bytes 0 to 10"):
        fetch([at(0, 10)])
    with pytest.raises(ValueError, match="is no URL of a store"):
        fetch([place_of("ftp://host/x", CONTENTS, 0, 10)])
    scripted.script = lambda key, start, end: (206, CONTENTS[start:end])
    assert fetch([at(0, 10)]) == [CONTENTS[:10]]


def test_a_service_that_is_killed_loses_nothing(fetcher, at, scripted):
    fetch, arrived, go = fetcher(disk_bytes=0), threading.Semaphore(0), threading.Event()

    def script(key, start, end):
        arrived.release()
        return (206, CONTENTS[start:end]) if go.wait(PATIENCE) else None

    scripted.script = script
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(fetch, [at(n * 1000, 100, str(n))]) for n in range(8)]
        for _ in range(8):
            arrived.acquire(timeout=PATIENCE)
        [first] = services(fetch)
        os.kill(first, signal.SIGKILL)
        go.set()
        assert [answer.result(PATIENCE) for answer in answers] == [[CONTENTS[n * 1000 : n * 1000 + 100]] for n in range(8)]
    [second] = services(fetch)
    assert second != first and len(scripted.asked) >= 16


WORKER = """
import hashlib, pickle, sys
fetch, places = pickle.load(sys.stdin.buffer)
digest = hashlib.sha256()
for place in places:
    digest.update(fetch([place])[0])
print(digest.hexdigest())
"""


def test_a_pickled_fetcher_works_in_other_processes_and_the_service_ends_after_them(fetcher, at, scripted, monkeypatch):
    fetch, places = fetcher(), [at(n * 5000, 3000) for n in range(30)]
    expected = hashlib.sha256(b"".join(CONTENTS[place.start : place.start + 3000] for place in places)).hexdigest()
    workers = [subprocess.Popen([sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(3)]
    said = list(ThreadPoolExecutor(3).map(lambda worker: worker.communicate(pickle.dumps((fetch, places)), PATIENCE)[0], workers))
    assert [line.decode().strip() for line in said] == [expected] * 3
    assert len({key for key in scripted.asked}) == len(scripted.asked) == 30  # none twice
    assert len(services(fetch)) == 1
    until(lambda: not services(fetch))  # it lingers a while and goes
    assert not socket_path(fetch.settings, fetch._environment).exists() and service.LINGER < PATIENCE
    assert fetch(places[:1]) == [CONTENTS[:3000]]  # and comes again


def test_a_forked_process_has_a_connection_of_its_own(fetcher, at):
    fetch = fetcher()
    assert fetch([at(0, 10)]) == [CONTENTS[:10]]
    pid = os.fork()
    if not pid:
        os._exit(0 if fetch([at(20, 10)]) == [CONTENTS[20:30]] else 1)
    assert fetch([at(40, 10)]) == [CONTENTS[40:50]] and os.waitpid(pid, 0)[1] == 0


def test_a_service_that_cannot_start_says_why(fetcher, at, tmp_path):
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(OSError, match="could not be started: .*taken"):
        fetcher(cache=tmp_path / "taken" / "cache")([at(0, 10)])


def test_warnings_of_the_service_are_seen_by_who_trains(fetcher, at, scripted, caplog):
    failures = iter([(500, b"")])
    scripted.script = lambda key, start, end: next(failures, (206, CONTENTS[start:end]))
    assert fetcher()([at(0, 10)]) == [CONTENTS[:10]]
    until(lambda: "s3://bucket/object: the store failed (500); attempt 1 failed, asking again in" in caplog.text)


def test_a_client_that_hears_nothing_holds_nobody_up(tmp_path, monkeypatch):
    """A process that is stopped takes no warnings: whoever warns goes on fetching, and the service ends when it is gone."""
    monkeypatch.setattr(service, "LINGER", 0.2)
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as deaf:
        listener.bind(str(path))
        listener.listen()
        deaf.connect(str(path))
        made = service.Service(listener, StoreConfig(cache=tmp_path / "cache"))
        running = threading.Thread(target=made.run, args=(path,), daemon=True)
        running.start()
        until(lambda: made._clients)
        warns = threading.Thread(target=lambda: [made.warn("x" * 1000) for _ in range(5000)], daemon=True)  # 5 MB
        warns.start()
        warns.join(PATIENCE)
        assert not warns.is_alive()
        deaf.close()
        running.join(PATIENCE)
        assert not running.is_alive() and not path.exists()


def test_an_answer_that_cannot_be_read_is_not_waited_for(monkeypatch):
    """One that claims more bytes than there is memory for."""
    ours, theirs = socket.socketpair()
    with theirs, ThreadPoolExecutor(1) as pool:
        connection = node._Connection(ours)
        answer = pool.submit(connection.ask, wire.COUNTS, [])
        wire.receive(theirs)
        theirs.sendall(wire.HEAD.pack(1 << 62, 1, wire.JSON))
        with pytest.raises(wire.Lost, match="its answer could not be read: MemoryError|OverflowError"):
            answer.result(PATIENCE)
        assert connection.lost


def test_after_half_a_question_the_next_one_is_understood(fetcher, at, monkeypatch):
    """Ctrl-C comes while a question is sent, and whoever asked goes on, in a notebook for example."""
    whole, stopped = wire.send, iter([True])

    def send(connection, kind, question, body):
        if not next(stopped, False):
            return whole(connection, kind, question, body)
        connection.sendall(wire.HEAD.pack(1000, question, kind) + b"[")
        raise KeyboardInterrupt

    fetch = fetcher()
    assert fetch.counts()["gets"] == 0  # there is a service, which this is sent to
    monkeypatch.setattr(wire, "send", send)
    with pytest.raises(KeyboardInterrupt):
        fetch([at(0, 10)])
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(fetch, [at(10, 10)]).result(PATIENCE) == [CONTENTS[10:20]]


def test_services_that_die_over_and_over_are_an_error_that_names_their_log(fetcher, at, monkeypatch):
    def dead(path, settings, environment):
        ours, theirs = socket.socketpair()
        theirs.close()
        return ours

    monkeypatch.setattr(node, "connect", dead)
    monkeypatch.setattr(node, "TRIES", 3)
    with pytest.raises(OSError, match="the fetch service died 3 times in a row .*its log: .*[.]log"):
        fetcher()([at(0, 10)])


def test_a_folder_whose_name_is_too_long_for_a_socket_is_named(fetcher, at, tmp_path, monkeypatch):
    (tmp_path / ("x" * 100)).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("x" * 100)))
    with pytest.raises(OSError, match="x/kimivl-.* has too long a name for the fetch service's socket; set TMPDIR to a shorter"):
        fetcher().counts()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_settings_and_credentials_tell_services_apart(fetcher):
    one, other = fetcher(), fetcher(memory_bytes=7)
    assert socket_path(one.settings, one._environment) != socket_path(other.settings, one._environment)
    assert socket_path(one.settings, one._environment) != socket_path(one.settings, {"AWS_ACCESS_KEY_ID": "another"})
