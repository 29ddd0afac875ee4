"""Bytes that were fetched once, kept in memory and on a local disk under what they are, never under where they lie.

What it is: `MemoryCache` and `DiskCache`, each with a budget in bytes; the least recently used go first. Both are safe for
threads, the one on disk for several processes too.
What it is not: fetching, or a promise: a cache may forget anything at any time, and what comes out of it is never other than what
went in. On disk an entry is a file whose name is the sha256 of its bytes, so that every reading checks it (and `sha256sum` can).
In memory it is an object that nobody can change, and was checked when it came.
"""

import fcntl
import hashlib
import logging
import os
import re
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

LEFTOVER = 3600.0  # seconds after which an unfinished entry belongs to a process that died
AFTER_EVICTION = 0.9  # of the budget, so that the folder is not walked for every new entry

log = logging.getLogger(__name__)


@dataclass
class Counts:
    """What became of the requests to a cache. `damaged` are misses too; `unkept`: entries that the disk had no place for."""

    hits: int = 0
    misses: int = 0
    damaged: int = 0
    evicted: int = 0
    unkept: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, name: str) -> int:
        """One more. Returns: how many those are."""
        with self._lock:
            number: int = getattr(self, name) + 1
            setattr(self, name, number)
            return number


class MemoryCache:
    """Entries in this process, of at most `budget` bytes together."""

    def __init__(self, budget: int):
        self.budget, self.counts, self.size = budget, Counts(), 0
        self._entries: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes | None:
        """The entry, None if it is not there."""
        with self._lock:
            if key not in self._entries:
                self.counts.add("misses")
                return None
            self.counts.add("hits")
            self._entries.move_to_end(key)
            return self._entries[key]

    def put(self, key: str, data: bytes) -> None:
        """Keeps an entry; one above the budget is not kept."""
        if len(data) > self.budget:
            return
        with self._lock:
            self.size += len(data) - len(self._entries.pop(key, b""))
            self._entries[key] = data
            while self.size > self.budget:
                self.size -= len(self._entries.popitem(last=False)[1])
                self.counts.add("evicted")

    def drop(self, key: str) -> None:
        """Forgets an entry."""
        with self._lock:
            self.size -= len(self._entries.pop(key, b""))


class DiskCache:
    """Entries in `folder`, of at most `budget` bytes together, those of other processes included.

    The total stands in a file of the folder, and is changed under a lock before an entry takes its place, so that it is never
    below what lies there; it stands there twice, and where both are not the same number, what lies there is counted. Keys are
    sha256 digests of entries, in hexadecimal digits. The folder may be removed at any time.
    Raises: OSError naming a folder that cannot be written. Later a full disk is no error: entries are not kept then.
    """

    def __init__(self, folder: Path, budget: int):
        self.folder, self.budget, self.counts = folder, budget, Counts()
        folder.mkdir(parents=True, exist_ok=True)
        with self._locked() as total:
            total.value = self._make_room(0)

    @property
    def size(self) -> int:
        """Bytes of all entries, unfinished ones included."""
        with self._locked() as total:
            return total.value

    def get(self, key: str) -> bytes | None:
        """The entry, None if it is not there or damaged."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            self.counts.add("misses")
            return None
        except OSError as error:
            log.warning("%s cannot be read (%s); it is fetched anew", path, error)
            data = b""
        if hashlib.sha256(data).hexdigest() != key:
            self.counts.add("damaged")
            self.counts.add("misses")
            self.drop(key)
            return None
        self.counts.add("hits")
        with suppress(OSError):
            os.utime(path)  # the order of use outlives the process
        return data

    def put(self, key: str, data: bytes) -> None:
        """Keeps an entry; one above the budget, or that is there already, is not written."""
        path = self._path(key)
        if len(data) > self.budget or path.exists():
            return
        new = path.with_name(f".{uuid.uuid4().hex}")
        try:
            with self._locked() as total:
                if total.value + len(data) > self.budget:
                    total.value = self._make_room(len(data))
                    if total.value + len(data) > self.budget:  # others are about to write what there was room for
                        self.counts.add("unkept")
                        return
                path.parent.mkdir(exist_ok=True)
                with new.open("wb") as file:
                    file.truncate(len(data))  # whoever counts meanwhile sees its whole size
                total.value += len(data)
            with new.open("r+b") as file:
                file.write(data)
            os.replace(new, path)
        except OSError as error:
            if self.counts.add("unkept") == 1:
                log.warning("%s cannot be written (%s): what is fetched is not kept there; free some space", self.folder, error)
            self._remove(new)

    def drop(self, key: str) -> None:
        """Forgets an entry."""
        self._remove(self._path(key))

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key[2:]

    def _remove(self, path: Path) -> None:
        with suppress(OSError), self._locked() as total:
            size = path.stat().st_size
            path.unlink()
            total.value = max(0, total.value - size)

    def _make_room(self, size: int) -> int:
        """Counts what is there and, if `size` more would be above the budget, removes what was used longest ago.

        Returns: bytes that are left. To be called under the lock.
        """
        found = sorted(self._entries(), key=lambda entry: entry[0])
        total, kept = sum(entry[1] for entry in found), (self.budget - size) * AFTER_EVICTION
        if total + size <= self.budget:
            return total
        for used, entry_size, path in found:
            if total <= kept:
                break
            if not path.name.startswith(".") or time.time() - used > LEFTOVER:
                try:
                    path.unlink(missing_ok=True)
                except OSError:  # it is another user's
                    continue
                total -= entry_size
                self.counts.add("evicted")
        return total

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        """(time of the last use, size, path) of finished and unfinished entries."""
        for path in self.folder.glob("??/*"):
            with suppress(FileNotFoundError):
                state = path.stat()
                yield state.st_mtime, state.st_size, path

    @contextmanager
    def _locked(self) -> Iterator["_Total"]:
        """The total, which no other thread or process changes meanwhile."""
        descriptor = self._locked_file()
        try:
            known = os.pread(descriptor, 32, 0)
            before = int(known[:15]) if re.fullmatch(rb"(\d{15}) \1\n", known) else None
            total = _Total(sum(size for _, size, _ in self._entries()) if before is None else before)
            try:
                yield total
            finally:
                if total.value != before:
                    os.pwrite(descriptor, b"%015d %015d\n" % (total.value, total.value), 0)
        finally:
            os.close(descriptor)

    def _locked_file(self) -> int:
        """The file with the total, locked: the one that lies there now, since the folder may have been removed meanwhile."""
        path = self.folder / "total"
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                    if os.path.samestat(os.fstat(descriptor), path.stat()):
                        return descriptor
                except BaseException:
                    os.close(descriptor)
                    raise
                os.close(descriptor)


@dataclass
class _Total:
    value: int
