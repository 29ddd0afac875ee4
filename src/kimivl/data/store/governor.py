"""How fast requests to a store may begin: a budget of requests and bytes, cut when the store asks for less.

What it is: `Window` and `Share`, arithmetic on times that are handed in; `Governor`, which lets threads wait for their turn.
What it is not: a request, or a limit over several processes: there is one governor a node (`service.py`).
Why a place is held until after the answer: the store counts a request at some moment between our asking and its answer, and
nobody here knows when. A request holds one of `limit` places from before it is sent until a second after its answer began. So
of those that the store counts within one second, all held a place at the moment of the last: there are never more than the
limit, however late a thread woke or a packet came. A bucket of tokens, or counting what was sent, lets more through.
Facts: `reference/data.md` §1.2: clients without a common budget add up, and those that only back off never recover.
"""

import heapq
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECOND = 1.001  # two machines' clocks differ a little
LEAST = 0.02  # share of the budget that is left however often the store asks for less
RECOVERY = 0.1  # share of the budget that comes back in a second without more refusals than `NOISE`
NOISE = 0.1  # share of answers: stores refuse a few requests at random, which says nothing of the rate


class Window:
    """At most `limit` units that are under way or were less than a second ago. More units than that are let through alone."""

    def __init__(self, limit: float):
        self.limit = limit
        self._held = 0.0
        self._ending: list[tuple[float, float]] = []  # heap of (time, units)

    def wait(self, now: float, units: float, share: float = 1.0) -> float:
        """Seconds until `units` may begin, 0 for now; infinity while that depends on an answer that is not there yet."""
        while self._ending and self._ending[0][0] <= now:
            self._held -= heapq.heappop(self._ending)[1]
        room = max(self.limit * share - units, 0.0)
        left = self._held
        if left <= room + 1e-6:
            return 0.0
        for end, ending in sorted(self._ending):
            left -= ending
            if left <= room + 1e-6:
                return end - now
        return math.inf

    def begin(self, units: float) -> None:
        """Holds `units` until they `end`."""
        self._held += units

    def end(self, now: float, units: float, share: float = 1.0) -> None:
        """Frees `units` in a second, or in as many seconds as they are worth at this share of the limit."""
        heapq.heappush(self._ending, (now + SECOND * max(1.0, units / (self.limit * share)), units))


class Share:
    """What part of the budget is used: cut after a second by what was refused in it (by half at most), else raised a little.

    A store that is asked for more than it gives is asked for what it gives, and now and then for a little more.
    """

    def __init__(self, now: float):
        self.value = 1.0
        self._since, self._answers, self._refused = now, 0, 0

    def count(self, now: float, refused: bool) -> None:
        """Of an answer."""
        self.look(now)
        self._answers += 1
        self._refused += refused

    def look(self, now: float) -> float:
        """The value at a moment."""
        seconds = int((now - self._since) / SECOND)
        if seconds:
            refused = self._refused / max(self._answers, 1)
            if refused > NOISE:
                self.value *= max(0.5, 1 - refused)
                raised = seconds - 1
            else:
                raised = seconds
            self.value = min(1.0, max(LEAST, self.value) + RECOVERY * raised)
            self._since, self._answers, self._refused = self._since + seconds * SECOND, 0, 0
        return self.value


class Permit:
    """To ask once. `refused`: set by whoever has it if the store asked for less."""

    def __init__(self, free: Callable[[], None]):
        self.refused = False
        self._free: Callable[[], None] | None = free

    def answered(self) -> None:
        """The answer begins, so the store has counted the request."""
        free, self._free = self._free, None
        if free is not None:
            free()


class Governor:
    """Spends a budget of `requests` and `bytes` a second. Safe for threads; whoever came first goes first, as far as locks do.

    Attributes:
        waited: seconds that threads spent waiting for their turn, together.
        refused: answers that asked for less.
    """

    def __init__(self, requests: float, bytes: float, clock: Callable[[], float] = time.monotonic):
        self._requests, self._bytes = Window(requests), Window(bytes)
        self._share = Share(clock())
        self._clock = clock
        self._turn, self._changed = threading.Lock(), threading.Condition()
        self.waited, self.refused = 0.0, 0

    @property
    def share(self) -> float:
        """Of the budget that is used now; 1 unless the store asked for less."""
        with self._changed:
            return self._share.look(self._clock())

    @contextmanager
    def permit(self, size: int) -> Iterator[Permit]:
        """Waits until a request for `size` bytes may begin; around the request."""
        self._begin(size)
        permit = Permit(self._answered)
        try:
            yield permit
        finally:
            permit.answered()
            with self._changed:
                now = self._clock()
                self._bytes.end(now, size, self._share.value)
                self._share.count(now, permit.refused)
                self.refused += permit.refused
                self._changed.notify_all()

    def _answered(self) -> None:
        with self._changed:
            self._requests.end(self._clock(), 1, self._request_share())
            self._changed.notify_all()

    def _begin(self, size: int) -> None:
        asked = self._clock()
        with self._turn, self._changed:  # one waits at the door, so that a large request is not passed by small ones for ever
            while (wait := self._wait(size)) > 0:
                self._changed.wait(None if math.isinf(wait) else wait)
            self._requests.begin(1)
            self._bytes.begin(size)
            self.waited += self._clock() - asked

    def _wait(self, size: int) -> float:
        now = self._clock()
        share = self._share.look(now)
        return max(self._requests.wait(now, 1, self._request_share()), self._bytes.wait(now, size, share))

    def _request_share(self) -> float:
        # A share of less than one request would never be a whole one.
        return max(self._share.value, 1 / self._requests.limit)
