"""Asking the fetch service of this node, and starting it where there is none.

What it is: `NodeFetcher`, the `Fetch` that ranks and workers use. It may be pickled and forked; every process has a
connection of its own, on which the questions of all its threads are under way at once.
What it is not: fetching (`fetcher.py`); only files of this machine are read here, by whoever asks.
"""

import fcntl
import hashlib
import itertools
import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import kimivl
from kimivl.config.store import StoreConfig
from kimivl.data.store import wire
from kimivl.data.store.client import Client
from kimivl.data.store.fetcher import default_cache, is_local, read_local
from kimivl.processor.stored import StoredBytes

TRIES = 8  # services in a row that died of the same question
LONGEST = 107  # bytes of the path of a Unix socket

log = logging.getLogger("kimivl.data.store")


class ServiceDied(OSError):
    """Over and over; the message names its log."""


class NodeFetcher:
    """Fetches by the service of this node that has the same settings and credentials.

    Args:
        environment: AWS_* variables (default: those of the process, when it first asks).
    """

    _connection: "_Connection | None"

    def __init__(self, settings: StoreConfig, environment: Mapping[str, str] | None = None):
        # The service may run in another folder, and for another who has the same settings.
        self.settings = settings.model_copy(update={"cache": (settings.cache or default_cache()).absolute()})
        self._environment = None if environment is None else dict(environment)
        self._forget()

    def __getstate__(self) -> dict[str, Any]:
        return {"settings": self.settings, "environment": self._environment}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.settings, self._environment = state["settings"], state["environment"]
        self._forget()

    def __call__(self, places: Sequence[StoredBytes]) -> list[bytes]:
        """The bytes of each place, in the same order, inflated and verified.

        Raises: Permanent, a StoreError; CorruptObject. Both name the object and the fix. ServiceDied; OSError if none can start.
        """
        each = dict.fromkeys(places)  # frames share a video, and samples a picture
        far = [place for place in each if not is_local(place)]
        contents = dict(zip(far, wire.unpack_data(self._ask(wire.FETCH, wire.pack_places(far)).body) if far else []))
        contents |= {place: read_local(place, self._files) for place in each if is_local(place)}
        return [contents[place] for place in places]

    def counts(self) -> dict[str, float]:
        """`Fetcher.counts` of the service: of all that this node fetched since it was started."""
        counts: dict[str, float] = json.loads(bytes(self._ask(wire.COUNTS, []).body))
        return counts

    def close(self) -> None:
        """Leaves the service."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None and self._pid == os.getpid():
            connection.close()

    def _forget(self) -> None:
        self._pid, self._lock = os.getpid(), threading.Lock()
        self._connection = None
        self._files = Client()

    def _ask(self, kind: int, body: list[bytes]) -> wire.Frame:
        """The answer, from as many services as it takes."""
        if self._pid != os.getpid():  # forked: the connection, and whoever held the lock, are the parent's
            self._forget()
        for attempt in itertools.count(1):
            connection = self._connected()
            try:
                frame = connection.ask(kind, body)
            except wire.Lost as error:
                if attempt == TRIES:
                    raise ServiceDied(f"the fetch service died {TRIES} times in a row ({error}); its log: {self._log}") from None
                log.warning("the fetch service is gone (%s); starting it again", error)
                time.sleep(0.05 * 2**attempt)
            else:
                if frame.kind == wire.ERROR:
                    raise wire.unpack_error(frame.body)
                return frame
        raise AssertionError

    def _connected(self) -> "_Connection":
        with self._lock:
            if self._connection is None or self._connection.lost:
                environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
                if self._environment is not None:
                    environment = self._environment
                path = socket_path(self.settings, environment)
                self._log = path.with_suffix(".log")
                self._connection = _Connection(connect(path, self.settings, environment))
            return self._connection


class _Connection:
    """One socket, the questions that are under way on it, and the thread that hears their answers."""

    def __init__(self, connection: socket.socket):
        self._socket = connection
        self._sending, self._lock = threading.Lock(), threading.Lock()
        self._questions = itertools.count(1)
        self._waiting: dict[int, Future[wire.Frame]] = {}
        self.lost = False
        threading.Thread(target=self._listen, daemon=True, name="fetch answers").start()

    def ask(self, kind: int, body: list[bytes]) -> wire.Frame:
        """Raises: Lost if the service goes before it has answered."""
        answer: Future[wire.Frame] = Future()
        with self._lock:
            if self.lost:
                raise wire.Lost("it had ended")
            question = next(self._questions)
            self._waiting[question] = answer
        with self._sending:
            try:
                wire.send(self._socket, kind, question, body)
            except BaseException:  # half a question, by Ctrl-C for example: nobody could understand the next one
                self.close()
                raise
        return answer.result()

    def close(self) -> None:
        with suppress(OSError):  # it is closed already
            self._socket.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        why = ""
        try:
            while True:
                frame = wire.receive(self._socket)
                if frame.kind == wire.WARNING:
                    log.warning("%s", bytes(frame.body).decode())
                    continue
                with self._lock:
                    answer = self._waiting.pop(frame.question)
                answer.set_result(frame)
        except wire.Lost as error:
            why = str(error)
        except Exception as error:  # no memory for an answer, or one that is none
            why = f"its answer could not be read: {type(error).__name__}: {error}"
        finally:  # whatever happened, nobody waits for ever
            with self._lock:
                self.lost = True
                waiting, self._waiting = self._waiting, {}
            for answer in waiting.values():
                answer.set_exception(wire.Lost(why))
            self._socket.close()


def socket_path(settings: StoreConfig, environment: Mapping[str, str]) -> Path:
    """Where the service of these settings and credentials listens. Raises: OSError naming a folder that is not ours."""
    folder = Path(tempfile.gettempdir()) / f"kimivl-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    state = folder.lstat()
    if state.st_uid != os.getuid() or state.st_mode & 0o077:
        raise PermissionError(f"{folder} belongs to others or is open to them; remove it, or set TMPDIR to a folder of your own")
    what = json.dumps([settings.model_dump(mode="json"), sorted(environment.items())])
    path = folder / f"{hashlib.blake2b(what.encode(), digest_size=12).hexdigest()}.sock"
    if len(os.fsencode(path)) > LONGEST:
        raise OSError(f"{folder} has too long a name for the fetch service's socket; set TMPDIR to a shorter one")
    return path


def connect(path: Path, settings: StoreConfig, environment: Mapping[str, str]) -> socket.socket:
    """A connection to the service at `path`, which is started if there is none. Raises: OSError with what kept it from that."""
    found = _try(path)
    if found is not None:
        return found
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first starts it, the others find it
        found = _try(path)
        if found is None:
            path.unlink(missing_ok=True)
            _start(path, settings, environment)
            found = _try(path)
    if found is None:
        raise OSError(f"the fetch service does not answer at {path}; its log: {path.with_suffix('.log')}")
    return found


def _try(path: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(path))
        return connection
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None


def _start(path: Path, settings: StoreConfig, environment: Mapping[str, str]) -> None:
    others = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    others["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(kimivl.__file__).parents[1]), others.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "kimivl.data.store.service", str(path), settings.model_dump_json()]
    started = subprocess.run(command, env=others | dict(environment), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if started.returncode:
        raise OSError(f"the fetch service could not be started: {started.stderr.strip()[-2000:]}")
