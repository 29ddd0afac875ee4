"""Asking again until a fault has passed.

What it is: `patiently`, for every call of a `Client`. A transient fault is never an error and never an answer: it is waited out
for as long as it takes, with a warning in the log so that a person sees why nothing moves.
What it is not: a limit on requests (`governor.py`).
"""

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from kimivl.data.store.errors import Throttled, Transient

FIRST, LONGEST = 0.1, 30.0  # seconds of waiting, doubled from one to the next
DOUBLINGS = 10  # more than it takes; an outage of hours has no end of them
QUIET = 3  # repetitions without a warning of a store that merely asks for less

T = TypeVar("T")
JITTER = random.SystemRandom()  # whose draws change nobody else's
log = logging.getLogger(__name__)


def patiently(
    call: Callable[[], T], on_fault: Callable[[Transient], None] | None = None, sleep: Callable[[float], None] = time.sleep
) -> T:
    """What `call` returns, however often it has to be asked. Raises: whatever it raises but Transient."""
    attempt = 0
    while True:
        try:
            return call()
        except Transient as fault:
            attempt += 1
            if on_fault is not None:
                on_fault(fault)
            pause = min(LONGEST, FIRST * 2 ** min(attempt - 1, DOUBLINGS)) * JITTER.uniform(0.5, 1.0)
            if attempt > QUIET or not isinstance(fault, Throttled):
                log.warning("%s; attempt %d failed, asking again in %.1f s", fault, attempt, pause)
            sleep(pause)
