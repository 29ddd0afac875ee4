"""How fast requests to a store may begin: a budget of requests and bytes for a whole node, halved when the store asks for less.

What it is: `Governor`, arithmetic on times that are handed in.
What it is not: a clock, a thread or a request; whoever fetches waits until the time that `start` gives.
Why windows and not buckets of tokens: a bucket that was full lets twice its rate through in a second. Here no second, wherever it
begins, has more than the budget.
Facts: `reference/data.md` §1.2: clients without a common budget add up, and those that only back off never recover. Additive
increase and multiplicative decrease finds the store's own limit from below.
"""

from collections import deque
from dataclasses import dataclass

SECONDS = 1.05  # of a window: a little more than one, since requests that begin evenly may arrive a little unevenly
LEAST = 0.02  # share of the budget that is left however often the store asks for less
RECOVERY = 0.1  # share of the budget that comes back in a second without a complaint


class Window:
    """At most `limit` units in any `SECONDS`."""

    def __init__(self, limit: float):
        self.limit = limit
        self._booked: deque[tuple[float, float]] = deque()  # (time, units), rising
        self._sum = 0.0

    def earliest(self, now: float, units: float, share: float = 1.0) -> float:
        """When `units` more may begin, from `now` on and behind all that is booked; `share` of the limit holds for them.

        More units than the limit wait for an empty window.
        """
        start = max(now, self._booked[-1][0] if self._booked else now)
        self._forget(start)
        room = max(self.limit * share - units, 0.0)
        left = self._sum
        for time, booked in self._booked:
            if left <= room + 1e-9:
                break
            left -= booked
            start = max(start, time + SECONDS)
        return start

    def book(self, time: float, units: float) -> None:
        """Units that begin at `time`; more than the limit hold later windows too."""
        while True:
            part = min(units, self.limit)
            self._booked.append((time, part))
            self._sum += part
            units -= part
            if units <= 0:
                return
            time += SECONDS

    def _forget(self, now: float) -> None:
        while self._booked and self._booked[0][0] + SECONDS <= now:
            self._sum -= self._booked.popleft()[1]


@dataclass
class Budget:
    """What a node may ask of a store in a second."""

    requests: float
    bytes: float

    def __post_init__(self) -> None:
        if self.requests < 1 or self.bytes < 1:
            raise ValueError(f"a budget of less than one request or byte a second fetches nothing: {self}")


class Governor:
    """Spends a budget. Times are seconds on any clock that only rises.

    Attributes:
        share: of the budget that is used now; 1 unless the store asked for less.
    """

    def __init__(self, budget: Budget):
        self.share = 1.0
        self._requests, self._bytes = Window(budget.requests), Window(budget.bytes)
        self._changed = 0.0  # when `share` was last looked at

    def start(self, now: float, size: int) -> float:
        """When the next request may begin, for an answer of `size` bytes; it is booked."""
        self._recover(now)
        # A share of less than one request would never be a whole one.
        share = max(self.share, 1 / self._requests.limit)
        time = self._requests.earliest(now, 1, share)
        while (later := self._bytes.earliest(time, size, self.share)) > time:
            time = self._requests.earliest(later, 1, share)
        self._requests.book(time, 1)
        self._bytes.book(time, size)
        return time

    def throttled(self, now: float) -> None:
        """The store asked for less (503 SlowDown, 429); several such answers within a window are one."""
        if self.share == 1.0 or now >= self._changed + SECONDS:
            self.share = max(LEAST, self.share / 2)
            self._changed = now

    def _recover(self, now: float) -> None:
        if self.share < 1.0 and now > self._changed + SECONDS:
            self.share = min(1.0, self.share + RECOVERY * (now - self._changed - SECONDS))
            self._changed = now - SECONDS
