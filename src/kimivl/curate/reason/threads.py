"""Work that waits for other machines, several pieces at a time, which Ctrl-C ends at once.

What it is: `in_threads`.
What it is not: a pool from the standard library: those wait for their threads when a program ends, here up to ten minutes for the
answer of a server.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def in_threads(work: Callable[[A], B], items: Sequence[A], threads: int) -> Iterator[tuple[int, B]]:
    """(place, result) of every item, as they get done. Raises: the first error of `work`; no further item is begun then."""
    waiting: SimpleQueue[tuple[int, A]] = SimpleQueue()
    for place, item in enumerate(items):
        waiting.put((place, item))
    done: SimpleQueue[tuple[int, B] | BaseException] = SimpleQueue()
    stopped = threading.Event()

    def serve() -> None:
        while not stopped.is_set():
            try:
                place, item = waiting.get_nowait()
            except Empty:
                return
            try:
                done.put((place, work(item)))
            except BaseException as error:  # it is raised where the results are awaited
                done.put(error)
                return

    for _ in range(min(threads, len(items))):
        threading.Thread(target=serve, daemon=True).start()
    try:
        for _ in items:
            result = done.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        stopped.set()
