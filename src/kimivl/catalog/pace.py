"""A client that asks a store no more than so many times a second, so that a long copy leaves others their share.

What it is: `PacedClient`. Requests of all its threads are spaced evenly; a list counts as one request for every thousand objects.
What it is not: the governor of a training node, which several processes share (`data/store/`).
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from kimivl.data.store.client import Client, Entry

PAGE = 1000  # objects that one request lists


class PacedClient(Client):
    """Args: `per_second`: requests, above 0; others as `Client`."""

    def __init__(self, environment: Mapping[str, str] | None, per_second: float):
        super().__init__(environment)
        self._gap = 1 / per_second
        self._next = time.monotonic()
        self._turn = threading.Lock()

    def get(
        self, url: str, start: int = 0, length: int | None = None, version: str = "", answered: Callable[[], None] | None = None
    ) -> bytes:
        self._wait()
        return super().get(url, start, length, version, answered)

    def head(self, url: str) -> Entry:
        self._wait()
        return super().head(url)

    def list(self, url: str) -> Iterator[Entry]:
        for number, entry in enumerate(super().list(url)):
            if number % PAGE == 0:
                self._wait()
            yield entry

    def put(self, url: str, data: bytes | Path | Iterator[bytes], new: bool = False) -> str:
        self._wait()
        return super().put(url, data, new)

    def delete(self, url: str) -> None:
        self._wait()
        super().delete(url)

    def _wait(self) -> None:
        with self._turn:
            now = time.monotonic()
            mine = max(self._next, now)
            self._next = mine + self._gap
        time.sleep(mine - now)
