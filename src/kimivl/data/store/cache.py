"""Bytes that were fetched once, kept in memory and on a local disk under what they are, never under where they lie.

What it is: `MemoryCache` and `DiskCache`, each with a budget in bytes; the least recently used go first.
What it is not: fetching, or a promise: a cache may forget anything at any time, and what comes out of it is never other than what
went in. On disk every entry carries a checksum; one that does not fit is removed and counted, and fetched again.
Several processes may share a disk cache: entries are replaced as a whole, and one that another process removed is a miss.
"""

import hashlib
import os
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CHECK = 16  # bytes of the checksum in front of an entry


@dataclass
class Counts:
    """What became of the requests to a cache; `damaged` entries are misses too."""

    hits: int = 0
    misses: int = 0
    damaged: int = 0
    evicted: int = 0


class MemoryCache:
    """Entries in this process, of at most `budget` bytes together."""

    def __init__(self, budget: int):
        self.budget, self.counts, self.size = budget, Counts(), 0
        self._entries: OrderedDict[str, bytes] = OrderedDict()

    def get(self, key: str) -> bytes | None:
        """The entry, None if it is not there."""
        if key not in self._entries:
            self.counts.misses += 1
            return None
        self.counts.hits += 1
        self._entries.move_to_end(key)
        return self._entries[key]

    def put(self, key: str, data: bytes) -> None:
        """Keeps an entry; one above the budget is not kept."""
        if len(data) > self.budget:
            return
        self.size += len(data) - len(self._entries.pop(key, b""))
        self._entries[key] = data
        while self.size > self.budget:
            self.size -= len(self._entries.popitem(last=False)[1])
            self.counts.evicted += 1


class DiskCache:
    """Entries in `folder`, of at most `budget` bytes together, those of earlier processes included.

    Raises: OSError naming a folder that cannot be written.
    """

    def __init__(self, folder: Path, budget: int):
        self.folder, self.budget, self.counts = folder, budget, Counts()
        folder.mkdir(parents=True, exist_ok=True)
        found = sorted((path for path in folder.glob("??/*") if path.is_file()), key=_last_use)
        self._sizes: OrderedDict[Path, int] = OrderedDict((path, _size(path)) for path in found)
        self.size = sum(self._sizes.values())
        self._make_room()

    def get(self, key: str) -> bytes | None:
        """The entry, None if it is not there or damaged."""
        path = self._path(key)
        try:
            kept = path.read_bytes()
        except FileNotFoundError:
            self._forget(path)
            self.counts.misses += 1
            return None
        data = kept[CHECK:]
        if kept[:CHECK] != _check(key, data):
            self.counts.damaged += 1
            self.counts.misses += 1
            self._remove(path)
            return None
        self.counts.hits += 1
        with suppress(FileNotFoundError):
            os.utime(path)  # the order of use outlives the process
        if path in self._sizes:
            self._sizes.move_to_end(path)
        return data

    def put(self, key: str, data: bytes) -> None:
        """Keeps an entry; one above the budget is not kept. Raises: OSError naming the file (a full disk)."""
        if len(data) + CHECK > self.budget:
            return
        path = self._path(key)
        path.parent.mkdir(exist_ok=True)
        new = path.with_name(f".{path.name}.{os.getpid()}")  # left by a killed process it is an entry that nobody asks for
        new.write_bytes(_check(key, data) + data)
        os.replace(new, path)
        self._forget(path)
        self._sizes[path] = len(data) + CHECK
        self.size += len(data) + CHECK
        self._make_room()

    def _path(self, key: str) -> Path:
        name = hashlib.blake2b(key.encode(), digest_size=20).hexdigest()
        return self.folder / name[:2] / name[2:]

    def _make_room(self) -> None:
        while self.size > self.budget:
            self._remove(next(iter(self._sizes)))
            self.counts.evicted += 1

    def _remove(self, path: Path) -> None:
        with suppress(FileNotFoundError):
            path.unlink()
        self._forget(path)

    def _forget(self, path: Path) -> None:
        self.size -= self._sizes.pop(path, 0)


def _check(key: str, data: bytes) -> bytes:
    """Of the entry under its name: a file that was copied to another name does not fit either."""
    digest = hashlib.blake2b(key.encode(), digest_size=CHECK)
    digest.update(data)
    return digest.digest()


def _last_use(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
