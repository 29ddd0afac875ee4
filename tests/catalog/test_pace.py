"""A governed client keeps to its budget, of whatever requests a call consists."""

import math
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import obstore
import pytest

from kimivl.catalog.pace import GovernedClient
from kimivl.data.store.client import PLACING
from kimivl.data.store.errors import Throttled
from kimivl.data.store.governor import Governor
from tests.servers import environment, serving


def test_no_second_has_more_requests_than_the_budget(monkeypatch):
    """Whatever the number of threads and the load of the machine."""
    budget, starts, get = 20, [], obstore.get

    def noted(*words, **more):
        starts.append(time.monotonic())
        return get(*words, **more)

    monkeypatch.setattr("obstore.get", noted)
    client = GovernedClient(None, budget)
    client.put("memory://room/x", b"x")
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(client.get, ["memory://room/x"] * 50)) == {b"x"}
    assert len(starts) == 50
    for early, late in zip(sorted(starts), sorted(starts)[budget:]):
        assert late - early > 1


def test_a_store_that_wants_less_is_asked_less(monkeypatch):
    def refuse(*words):
        raise Throttled("memory://room/x", "the store asks for fewer requests")

    monkeypatch.setattr("obstore.head", refuse)
    client, now = GovernedClient(None, 100), [0.0]
    client._governor = Governor(100, math.inf, lambda: now[0])
    for _ in range(3):
        with pytest.raises(Throttled):
            client.head("memory://room/x")
    now[0] = 1.1
    assert client._governor.share == 0.5


class Slow(BaseHTTPRequestHandler):
    """As much of S3 as an upload in parts needs, that takes its time; `server.events` gets what it answers before it does."""

    protocol_version = "HTTP/1.1"

    def answer(self, body: str = "", **headers: str) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        time.sleep(0.1)
        self.server.events.append("answer")
        self.send_response(200)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def do_POST(self) -> None:
        begins = "uploads" in self.path
        kind = "InitiateMultipartUploadResult" if begins else "CompleteMultipartUploadResult"
        self.answer(f"<{kind}><Bucket>b</Bucket><Key>k</Key><UploadId>1</UploadId><ETag>&quot;e&quot;</ETag></{kind}>")

    def do_PUT(self) -> None:
        self.answer(ETag='"part"')

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def slow():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    server.events = []
    with serving(server):
        yield server


def test_a_part_waits_for_its_turn_until_the_one_before_was_answered(slow, monkeypatch):
    monkeypatch.setattr("kimivl.data.store.client.ONE_REQUEST", 1)
    monkeypatch.setattr("kimivl.data.store.client.PART", 5 << 20)
    permit = Governor.permit

    def noted(governor, size):
        slow.events.append("turn")
        return permit(governor, size)

    monkeypatch.setattr(Governor, "permit", noted)
    client = GovernedClient(environment(f"http://127.0.0.1:{slow.server_address[1]}"), 100)
    client.put("s3://b/k", bytes(15 << 20))
    assert slow.events == ["turn", "answer"] * 5  # to begin, three parts, to end
    slow.events.clear()
    client.put("s3://b/k", bytes(14 << 20))  # its last part goes with the end
    assert slow.events == ["turn", "answer"] * 3 + ["turn"] * 2 + ["answer"] * 2


def test_two_that_need_several_turns_at_once_do_not_wait_for_each_other(monkeypatch):
    monkeypatch.setattr("kimivl.data.store.client.ONE_REQUEST", 1)
    client = GovernedClient(None, PLACING)
    monkeypatch.setattr("kimivl.data.store.governor.SECOND", 0.01)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: client.put(f"memory://room/{number}", bytes(1000), new=True), range(8)))
    assert len(list(client.list("memory://room/"))) == 8
