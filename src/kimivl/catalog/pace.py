"""A client with a budget of requests, so that a long copy leaves others their share.

What it is: `GovernedClient`, a `Client` that asks a governor before each request of any of its threads, and tells it when the
store wants less. A list counts as a request for every thousand objects.
What it is not: the fetch service of a training node, whose governor several processes share (`data/store/service.py`).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from kimivl.data.store.client import Client, Entry
from kimivl.data.store.errors import Throttled
from kimivl.data.store.governor import Governor, Permit

PAGE = 1000  # objects that one request lists


class GovernedClient(Client):
    """Args: `per_second`: requests in any second at most, 1 or more; others as `Client`."""

    def __init__(self, environment: Mapping[str, str] | None, per_second: float):
        super().__init__(environment)
        self._governor = Governor(per_second, math.inf)

    def get(
        self,
        url: str,
        start: int = 0,
        length: int | None = None,
        version: str = "",
        answered: Callable[[], None] | None = None,
    ) -> bytes:
        with self._asking() as permit:

            def begun() -> None:
                permit.answered()
                if answered is not None:
                    answered()

            return super().get(url, start, length, version, begun)

    def head(self, url: str) -> Entry:
        with self._asking():
            return super().head(url)

    def list(self, url: str) -> Iterator[Entry]:
        for number, entry in enumerate(super().list(url)):
            if number % PAGE == 0:
                with self._asking():
                    pass
            yield entry

    def put(self, url: str, data: bytes | Path | Iterator[bytes], new: bool = False) -> str:
        with self._asking():
            return super().put(url, data, new)

    def delete(self, url: str) -> None:
        with self._asking():
            super().delete(url)

    @contextmanager
    def _asking(self) -> Iterator[Permit]:
        with self._governor.permit(0) as permit:
            try:
                yield permit
            except Throttled:
                permit.refused = True
                raise
