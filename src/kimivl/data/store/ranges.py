"""Which ranges of objects are asked for, so that several places come with few requests.

What it is: `runs`: places of one object that lie close together are one run, which is cut into blocks of bounded size.
What it is not: asking (`fetcher.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from kimivl.processor.stored import StoredBytes


@dataclass(frozen=True)
class Run:
    """Bytes `start` to `end` of one object and the places in them."""

    start: int
    end: int
    places: tuple[StoredBytes, ...]

    def blocks(self, size: int) -> list[tuple[int, int]]:
        """(start, length) of ranges of at most `size` bytes, that together are the run."""
        return [(start, min(size, self.end - start)) for start in range(self.start, self.end, size)]


def runs(places: Iterable[StoredBytes], gap: int, size: int) -> list[Run]:
    """Runs in the order of objects and offsets.

    Args:
        gap: places that lie less than this apart come with one request, and what is between them is thrown away.
        size: of a block; a run grows to this, and beyond it only for a single place.
    """
    found: list[Run] = []
    before: StoredBytes | None = None
    for place in sorted(places, key=lambda place: (place.url, place.version, place.start, place.length)):
        end = place.start + place.length
        last = found[-1] if found else None
        together = (
            last is not None and before is not None and (before.url, before.version) == (place.url, place.version)
            and place.start - last.end < max(gap, 1) and max(end, last.end) - last.start <= size
        )  # fmt: skip
        if last is not None and together:
            found[-1] = Run(last.start, max(end, last.end), (*last.places, place))
        else:
            found.append(Run(place.start, end, (place,)))
        before = place
    return found
