"""Reads objects of a store once, several at a time: which originals are in them, and the small files beside pictures in shards.

What it is: `scan`, which reads one object, and `ahead`, which does it in threads and gives results in order.
What it is not: what samples are made of them. Each thread holds one member of an archive or one file at a time in memory.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TypeVar

from kimivl.data.convert.forms import Fault
from kimivl.data.index import plain, tar, zip
from kimivl.data.index.original import Member, Row, ends, is_media, originals
from kimivl.data.index.place import Listed, Place
from kimivl.processor.image import ImageError

THREADS = 16  # they wait for the store more than they compute
TEXTS = (".json", ".txt", ".cls")  # what a shard says of its pictures

T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Scanned:
    """`rows`: of its originals. `faults`: by name, why something in it, or all of it (by its own name), is none. `members`: names
    of a shard's pictures and texts, in order, and `texts` what these say. `names`: of all members but texts."""

    of: Listed
    rows: list[Row] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    members: list[str] = field(default_factory=list)
    texts: dict[str, bytes] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)


def scan(place: Place, of: Listed, needed: Collection[str] = (), shard: bool = False) -> Scanned:
    """Reads an object.

    Args:
        needed: names of originals in it that are looked at whatever their suffix.
        shard: whether it holds texts of samples too.
    Raises: StoreError; what is wrong with the object itself is in the result.
    """
    found = Scanned(of)

    def wanted(name: str) -> bool:
        is_text = shard and PurePosixPath(name).suffix.lower() in TEXTS
        return is_media(name) or is_text or f"{of.path}/{name}" in needed

    try:
        for member in _members(place, of, wanted):
            _note(found, member, shard)
    except Fault as fault:
        found.faults[of.path] = f"{of.path}: {fault}"
    return found


def _members(place: Place, of: Listed, wanted: Callable[[str], bool]) -> Iterator[Member]:
    if ends(of.path, ".tar"):
        return tar.members(place, of, wanted)
    return zip.members(place, of, wanted) if ends(of.path, ".zip") else plain.members(place, of)


def _note(found: Scanned, member: Member, shard: bool) -> None:
    if shard and PurePosixPath(member.name).suffix.lower() in TEXTS:
        found.members.append(member.name)
        found.texts[member.name] = member.data
        return
    if member.name in found.names:
        found.faults[member.name] = f"{member.name} is in the archive twice: name them apart"
        return
    found.names.add(member.name)
    found.members += [member.name] if shard else []
    try:
        rows = originals(member, found.of.path, found.of.version)
    except ImageError as error:
        found.faults[member.name] = str(error)
        return
    found.rows += rows


def ahead(work: Callable[[T], R], items: Iterable[T], threads: int = THREADS) -> Iterator[R]:
    """What `work` makes of each item, in order, by threads that are at most twice their number ahead."""
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads, "index")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
