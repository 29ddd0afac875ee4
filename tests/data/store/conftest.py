"""One SeaweedFS for all tests of stores, and a server of a few lines whose faults and answers a test decides."""

import hashlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kimivl.processor.stored import StoredBytes
from tests.servers import Server, environment, seaweed, serving


@pytest.fixture(scope="package")
def server(tmp_path_factory) -> Iterator[Server]:
    with seaweed(tmp_path_factory.mktemp("seaweed")) as running:
        yield running


class Scripted(ThreadingHTTPServer):
    """Answers GETs of any key by `script`, which is given the key and its range (start, end) and returns a status and a body;
    None drops the connection. `asked`: all ranges, in order.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: Callable[[str, int, int], tuple[int, bytes] | None] = lambda key, start, end: (404, b"")
        self.asked: list[tuple[str, int, int]] = []
        self.total = 10**9

    @property
    def environment(self) -> dict[str, str]:
        return environment(f"http://127.0.0.1:{self.server_address[1]}")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Scripted

    def do_GET(self) -> None:
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        start, end = int(first), int(last) + 1
        self.server.asked.append((self.path, start, end))
        answer = self.server.script(self.path, start, end)
        if answer is None:
            self.close_connection = True
            return
        status, body = answer
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{self.server.total}")
        for name, value in {
            "ETag": '"v1"', "Last-Modified": "Sun, 29 Nov 2026 00:00:00 GMT", "Content-Length": str(len(body))
        }.items():  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with serving(Scripted()) as server:
        yield server


@pytest.fixture(scope="session")
def place_of():
    """The place of bytes `start` to `start + length` of an object with these contents."""

    def place_of(url: str, contents: bytes, start: int, length: int, version: str = "", **more: bool) -> StoredBytes:
        return StoredBytes(url, version, start, length, hashlib.sha256(contents[start : start + length]).hexdigest(), **more)

    return place_of
