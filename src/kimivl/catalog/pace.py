"""A client with a budget of requests, so that a long copy leaves others their share.

What it is: `GovernedClient`, a `Client` that asks a governor before each request of any of its threads, and tells it when the
store wants less. A list is a request for every thousand objects, a large object one for each of its parts.
What it is not: the fetch service of a training node, whose governor several processes share (`data/store/service.py`); a limit
on local files.
"""

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from kimivl.data.store.client import PLACING, Client
from kimivl.data.store.errors import Throttled
from kimivl.data.store.governor import Governor

LEAST = PLACING  # requests a second: so many are sent one after the other where nobody can wait in between


class GovernedClient(Client):
    """Args: `per_second`: requests in any second at most, `LEAST` or more; others as `Client`."""

    def __init__(self, environment: Mapping[str, str] | None, per_second: float):
        super().__init__(environment)
        self._governor = Governor(per_second, math.inf)
        self._several = threading.Lock()

    @contextmanager
    def _asking(self, root: str, requests: int = 1) -> Iterator[Callable[[], None]]:
        if root == "file://":
            yield lambda: None
            return
        with ExitStack() as stack:
            # Two that wait for several would each keep what the other waits for.
            with self._several if requests > 1 else ExitStack():
                permits = [stack.enter_context(self._governor.permit(0)) for _ in range(requests)]
            try:
                yield permits[0].answered
            except Throttled:
                for permit in permits:
                    permit.refused = True
                raise


def client(environment: Mapping[str, str] | None, per_second: float | None) -> Client:
    """One with that budget of requests a second, or without one."""
    return GovernedClient(environment, per_second) if per_second else Client(environment)
