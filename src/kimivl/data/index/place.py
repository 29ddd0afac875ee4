"""Where originals lie: a folder of a store, what is listed in it, and its objects as files that can be read from any place.

What it is: `Place`, of a URL that a person writes; it asks the store again until an answer comes.
What it is not: a client (`data/store/client.py`).
"""

import glob
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO, cast

from kimivl.data.index.walk import is_hidden, walk
from kimivl.data.store.client import Client, Entry
from kimivl.data.store.errors import Missing, Transient
from kimivl.data.store.retry import patiently
from kimivl.data.store.urls import join_url, split_url

AHEAD = 4 << 20  # bytes that are read at once where an archive is walked through
WILD = "*?["


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as the store lists it. `path`: below the place. `changed`: when, in microseconds since 1970."""

    path: str
    size: int
    version: str
    changed: int


class Place:
    """A folder of a store.

    Args:
        url: of a folder or a single file in it, the last parts possibly with `*`; a local path will do.
    Attributes:
        read: is told how many bytes were read, for showing progress; from any thread.
        root: URL of the folder, ending in "/".
        chosen: what paths must match to be read as rows or shards: "*" unless the URL says more.
    """

    def __init__(self, url: str, client: Client):
        self._client = client
        self.read: Callable[[int], None] = lambda size: None
        folder, self.chosen = self._split(url)
        if self.chosen == "*" and not url.endswith("/") and self._is_file(folder):
            self.chosen = glob.escape(split_url(folder)[1].rpartition("/")[2])
            folder, _, _ = folder.rpartition("/")
        self.root = folder.rstrip("/") + "/"
        split_url(self.root)  # it is one

    def _split(self, url: str) -> tuple[str, str]:
        """(URL of the folder in front of the first part with a wildcard, the parts behind it); "*" without one. Signs in the name
        of something that is there are no wildcard."""
        local = "://" not in url
        parts = (os.path.abspath(url) if local else url).split("/")

        def to(count: int) -> str:
            above = "/".join(parts[:count])
            return Path(above or "/").as_uri() if local else above

        signs = (number for number, part in enumerate(parts) if any(sign in part for sign in WILD))
        wild = next((number for number in signs if not self._is_there(to(number + 1))), len(parts))
        return to(wild), "/".join(parts[wild:]) or "*"

    def _is_there(self, url: str) -> bool:
        """Whether there is such a file or a folder."""
        root, key = split_url(url)
        if root == "file://":
            return os.path.exists("/" + key)
        try:
            return patiently(lambda: next(self._client.list(url), None)) is not None or self._is_file(url)
        except Missing:
            return False

    def _is_file(self, url: str) -> bool:
        root, key = split_url(url)
        if root == "file://":
            return os.path.isfile("/" + key)
        if not key:  # a whole bucket
            return False
        try:
            patiently(lambda: self._client.head(url))
            return True
        except Missing:
            return False

    def chooses(self, path: str) -> bool:
        return self.chosen == "*" or fnmatchcase(path, self.chosen)

    def list(self) -> Iterator[Listed]:
        """All objects but hidden ones, in the store's order; some of them twice where it failed and was asked anew.

        Raises: StoreError; Missing for an empty place.
        """
        found = False
        for of in self._files() if self.root.startswith("file:") else self._objects():
            found = True
            yield of
        if not found:
            raise Missing(self.root, "there is nothing in it; check the URL")

    def _files(self) -> Iterator[Listed]:
        for path, size, changed in walk(Path("/" + split_url(self.root)[1])):
            yield Listed(path, size, "", changed)

    def _objects(self) -> Iterator[Listed]:
        below = len(split_url(self.root)[1])
        entries = self._client.list(self.root)

        def following() -> Entry | None:
            nonlocal entries
            try:
                return next(entries, None)
            except Transient:
                entries = self._client.list(self.root)
                raise

        while (entry := patiently(following)) is not None:
            path = split_url(entry.url)[1][below:]
            if path and not path.endswith("/") and not any(map(is_hidden, path.split("/"))):
                yield Listed(path, entry.size, entry.version, round(entry.modified.timestamp() * 1e6))

    def get(self, of: Listed) -> bytes:
        """The whole object. Raises: StoreError, Replaced if it changed since it was listed."""
        url = join_url(self.root, of.path)
        data = patiently(lambda: self._client.get(url, 0, of.size, of.version))
        self.read(len(data))
        return data

    def open(self, of: Listed) -> BinaryIO:
        """The object as a file. Raises: as of `get`, when it is read."""
        return cast(BinaryIO, io.BufferedReader(_Ranges(self, of), AHEAD))

    def range(self, of: Listed, start: int, length: int) -> bytes:
        """Some of its bytes."""
        url = join_url(self.root, of.path)
        data = patiently(lambda: self._client.get(url, start, length, of.version))
        self.read(len(data))
        return data


class _Ranges(io.RawIOBase):
    """A file whose reads are ranges of an object."""

    def __init__(self, place: Place, of: Listed):
        self._place, self._of, self._at = place, of, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._of.size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        length = max(0, min(len(buffer), self._of.size - self._at))
        buffer[:length] = self._place.range(self._of, self._at, length) if length else b""
        self._at += length
        return length
