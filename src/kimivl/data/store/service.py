"""One process a node that fetches for all ranks and workers on it, because limits and caches of each alone do not add up.

What it is: the program `python -m kimivl.data.store.service SOCKET SETTINGS`, which `node.py` starts. It is ready when the
command returns: it listens first, then goes on in the background. It ends `LINGER` seconds after its last client has gone.
What it is not: a server for other machines or users: its socket lies in a folder that is its user's alone.
"""

import fcntl
import logging
import os
import queue
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from kimivl.config.store import StoreConfig
from kimivl.data.store import wire
from kimivl.data.store.client import Client
from kimivl.data.store.fetcher import Fetcher

LINGER = 5.0  # seconds
BACKLOG = 1024  # clients that connect at once
THREADS = 256  # questions that are answered at the same time; most of them wait
WARNINGS = 1000  # that a client may be behind with; its log has all of them

log = logging.getLogger("kimivl.data.store")


class Service:
    """Answers clients of `listener` until the last has been gone for a while."""

    def __init__(self, listener: socket.socket, settings: StoreConfig):
        self._listener = listener
        self._fetcher = Fetcher(settings, Client(timeout=settings.timeout))
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="answer")
        self._clients: list[_Client] = []
        self._lock = threading.Lock()
        self._warnings: queue.Queue[str] = queue.Queue(WARNINGS)
        self._left = time.monotonic()

    def run(self, socket_path: Path) -> None:
        """Until nobody is left."""
        threading.Thread(target=self._pass_warnings_on, daemon=True).start()
        self._listener.settimeout(LINGER / 10)
        while True:
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                if self._is_idle() and _vanish(socket_path):
                    return
                continue
            connection.setblocking(True)
            client = _Client(connection)
            with self._lock:
                self._clients.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def warn(self, text: str) -> None:
        """Tells a client, so that a person sees it; never waits for one, since whoever warns is about to fetch."""
        with suppress(queue.Full):
            self._warnings.put_nowait(text)

    def _pass_warnings_on(self) -> None:
        while True:
            text = self._warnings.get().encode()
            with self._lock:
                clients = list(self._clients)
            for client in clients:  # one, since all of them write to the same screen
                with suppress(wire.Lost):
                    client.send(wire.WARNING, 0, [text])
                    break

    def _is_idle(self) -> bool:
        with self._lock:
            return not self._clients and time.monotonic() - self._left > LINGER

    def _serve(self, client: "_Client") -> None:
        try:
            while True:
                frame = wire.receive(client.connection)
                self._pool.submit(self._answer, client, frame)
        except wire.Lost:
            pass
        finally:  # else the service would never end
            with self._lock:
                self._clients.remove(client)
                self._left = time.monotonic()
            client.connection.close()

    def _answer(self, client: "_Client", frame: wire.Frame) -> None:
        with suppress(wire.Lost):
            try:
                if frame.kind == wire.FETCH:
                    kind, body = wire.DATA, wire.pack_data(self._fetcher(wire.unpack_places(frame.body)))
                else:
                    kind, body = wire.JSON, wire.pack_json(self._fetcher.counts())
            except Exception as error:
                kind, body = wire.ERROR, wire.pack_error(error)
            client.send(kind, frame.question, body)


class _Client:
    def __init__(self, connection: socket.socket):
        self.connection = connection
        self._lock = threading.Lock()

    def send(self, kind: int, question: int, body: list[bytes]) -> None:
        with self._lock:
            wire.send(self.connection, kind, question, body)


class _ToClients(logging.Handler):
    """Warnings, for the screen of whoever trains."""

    def __init__(self, service: Service):
        super().__init__(logging.WARNING)
        self._service = service

    def emit(self, record: logging.LogRecord) -> None:
        self._service.warn(record.getMessage())


def _vanish(socket_path: Path) -> bool:
    """Takes the socket away, unless somebody is about to start a service: they will find this one, which then has to stay.

    Whoever connected just before this is told so by the end of the connection, and starts a service anew.
    """
    with socket_path.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        socket_path.unlink(missing_ok=True)
        output = socket_path.with_suffix(".log")
        with suppress(FileNotFoundError):  # somebody tidied up
            if not output.stat().st_size:
                output.unlink()
        return True


def main(socket_path: Path, settings: StoreConfig) -> None:
    """Listens, and returns in the process that was called while another goes on. Raises: OSError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(socket_path))
    service = Service(listener, settings)  # has no threads yet
    listener.listen(BACKLOG)
    if os.fork():
        return
    os.setsid()
    output = os.open(socket_path.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    log.addHandler(_ToClients(service))
    try:
        service.run(socket_path)
    except Exception:
        log.exception("the fetch service ends by an error")  # clients start another one
    finally:
        os._exit(0)  # nothing is left to say to anybody, and no thread to wait for


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), StoreConfig.model_validate_json(sys.argv[2]))
    except (OSError, ValueError) as error:
        sys.exit(str(error))
