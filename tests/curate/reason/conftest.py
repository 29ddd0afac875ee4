"""A real loopback server that speaks OpenAI's chat completions; the test decides what it writes, and how fast."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


class ChatServer(ThreadingHTTPServer):
    """`write(request)` gives the text of a completion, a message as a dict (with `finish_reason`, where it is not "stop"), the
    status of a failure, or a page. `asked` are the requests so far, `keys` their keys, `most` how many were open at once."""

    daemon_threads = True

    def __init__(self, write: Callable[[dict[str, Any]], Any], seconds: Callable[[dict[str, Any]], float]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.write, self.seconds = write, seconds
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.open = self.most = 0
        self.lock = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed while they wait are part of the tests."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            server.asked.append(request)
            server.keys.append(self.headers["Authorization"])
            server.open += 1
            server.most = max(server.most, server.open)
            written = server.write(request)
        time.sleep(server.seconds(request))
        with server.lock:
            server.open -= 1
        if self.path != "/v1/chat/completions":
            self._send(404, b'{"error": {"message": "no such path"}}')
        elif isinstance(written, int):
            self._send(written, json.dumps({"error": {"message": f"failure {written}"}}).encode())
        elif isinstance(written, bytes):
            self._send(200, written, "text/html")
        else:
            message = {"content": written} if isinstance(written, str) else dict(written)
            choice = {"index": 0, "finish_reason": message.pop("finish_reason", "stop")}
            choice["message"] = {"role": "assistant", **message}
            body = {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": f"{request['model']}-rev7",
                "choices": [choice],
            }
            self._send(200, json.dumps(body).encode())

    def _send(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("retry-after-ms", "10")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def chat_server() -> Iterator[Callable[..., ChatServer]]:
    """Starts servers; they are closed after the test."""
    servers = []

    def start(write: Callable[[dict[str, Any]], Any], seconds: Callable[[dict[str, Any]], float] = lambda request: 0):
        server = ChatServer(write, seconds)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
