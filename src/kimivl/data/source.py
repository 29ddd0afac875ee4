"""One data source: a JSONL file or a manifest, read in an order that is a pure function of (seed, stage, source, epoch).

What it is: random access to records and their order (`Order`), and where they lie. Every sample appears once per epoch.
What it is not: mixing sources (`mixture.py`).
"""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import numpy as np

from kimivl.data.manifest.manifest import Manifest, is_manifest
from kimivl.data.sample import Sample, read_record
from kimivl.processor.pictures import at_hand
from kimivl.processor.stored import Fetch

PIECE = 64 << 20  # bytes of a JSONL file that are looked through at once


class Source:
    """The samples of `<root>/<name>/<split>.manifest`, a manifest of originals in a store, or of `<root>/<name>/<split>.jsonl`.

    Both are mapped into memory; a record is parsed when it is asked for.

    Args:
        fetch: gets the bytes of pictures that lie in a store, for `at_hand`.
    """

    def __init__(self, root: Path, name: str, split: str = "train", fetch: Fetch | None = None):
        self.name, self._fetch = name, fetch
        self.path = source_path(root, name, split)
        self.records: Records = Manifest(self.path) if self.path.is_dir() else Lines(self.path)
        if not len(self.records):
            raise ValueError(f"data source {name!r}: {self.path} holds no records")
        self._walk: tuple[tuple[int, str], Order] | None = None

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, row: int) -> Sample:
        """The record of a row (from 0)."""
        return self.records[row]

    def at_hand(self, row: int) -> Sample:
        """The record of a row, with the bytes of its pictures where they lie in a store. Raises: what `fetch` raises."""
        sample = self[row]
        return sample.with_images(at_hand(sample.images, self._fetch))

    def raw(self, row: int) -> str:
        """The record of a row as it stands in its file, whether or not it can be read. Raises: IndexError."""
        return self.records.raw(row)

    def holding(self, words: str, start: int, stop: int) -> list[int]:
        """Rows from `start` to before `stop` whose record, as it stands in its file, holds the words, in upper or lower case. All
        rows are looked through at once, none is parsed: give a few thousand.
        """
        return self.records.holding(words, start, min(stop, len(self)))

    def nth(self, number: int, seed: int, stage: str) -> Sample:
        """The `number`-th sample of a stage's endless walk: epoch after epoch, each in its own order."""
        return self[self.row(number, seed, stage)]

    def row(self, number: int, seed: int, stage: str) -> int:
        """The row of that sample."""
        walk = self._walk  # threads may ask for others
        if walk is None or walk[0] != (seed, stage):
            walk = self._walk = (seed, stage), Order(len(self), seed, stage, self.name)
        return walk[1][number]


class Sources(dict[str, Source]):
    """Sources by name, opened by `open_source` when they are asked for: those of `names` at once, since they will be.

    Raises: FileNotFoundError naming what is missing.
    """

    def __init__(self, open_source: Callable[[str], Source], names: Iterable[str]):
        super().__init__({name: open_source(name) for name in names})
        self._open = open_source

    def __missing__(self, name: str) -> Source:
        return self.setdefault(name, self._open(name))


class Records(Protocol):
    """Samples by row. `identity` tells whether they are still the same."""

    @property
    def identity(self) -> str: ...

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> Sample: ...

    def raw(self, row: int, /) -> str: ...

    def holding(self, words: str, start: int, stop: int, /) -> list[int]: ...


class Lines:
    """The records of a JSONL file, by line. The file is mapped into memory."""

    def __init__(self, path: Path):
        self.path = path
        self.identity = f"{path.stat().st_size}-{path.stat().st_mtime_ns}"
        self._text = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)
        ends = _line_ends(self._text)
        self._starts = np.concatenate([[0], ends + 1])
        self._count = len(ends) + (len(self._text) > 0 and self._text[-1] != ord("\n"))

    def __len__(self) -> int:
        return int(self._count)

    def __getitem__(self, row: int) -> Sample:
        """The record on line `row` (from 0). Raises: IndexError; ValueError naming file and line."""
        where = f"{self.path}:{row + 1}"
        try:
            line = self._line(row).decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{where}: not UTF-8 text (byte {error.start + 1} of the line); save the file as UTF-8") from None
        return read_record(line, where, self.path.parent)

    def raw(self, row: int) -> str:
        """The line of a row; bytes that are no UTF-8 appear as U+FFFD. Raises: IndexError."""
        return self._line(row).decode(errors="replace").rstrip("\r\n")

    def holding(self, words: str, start: int, stop: int) -> list[int]:
        """As of `Source.holding`."""
        wanted, text = words.casefold(), self._bytes(start, stop).decode(errors="replace").casefold()
        return [start + place for place, line in enumerate(text.split("\n")) if wanted in line] if wanted in text else []

    def _line(self, row: int) -> bytes:
        if not 0 <= row < self._count:
            raise IndexError(f"{self.path} has {self._count} records, there is no record {row}")
        return self._bytes(row, row + 1)

    def _bytes(self, start: int, stop: int) -> bytes:
        end = self._starts[stop] if stop < len(self._starts) else len(self._text)
        return self._text[self._starts[start] : end].tobytes()


def _line_ends(text: np.ndarray) -> np.ndarray:
    """Where the lines end, a piece of the file at a time: a comparison takes as much memory as what it looks at."""
    pieces = range(0, len(text), PIECE)
    return np.concatenate([np.zeros(0, np.int64)] + [at + np.flatnonzero(text[at : at + PIECE] == ord("\n")) for at in pieces])


def source_path(root: Path, name: str, split: str = "train") -> Path:
    """`<root>/<name>/<split>.manifest` if it is there, else `<root>/<name>/<split>.jsonl`.

    Raises: FileNotFoundError naming both if there is none; ValueError for a name that leads out of the data.
    """
    if not name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"{name!r} is no data source: sources are the folders below {root}")
    folder = Path(root) / name
    if is_manifest(folder / f"{split}.manifest"):
        return folder / f"{split}.manifest"
    path = folder / f"{split}.jsonl"
    if not path.is_file():
        raise FileNotFoundError(f"data source {name!r} has no file {path}; build it with `kimivl data build nano`")
    return path


class Order:
    """An endless walk over `count` items of the source `name`: epoch after epoch, each in an order of its own.

    `order[number]` is where the `number`-th step leads. Two epochs are held, four bytes an item each: the one that is walked
    through, and the one before or behind it. An epoch's order is numpy's permutation by Philox. numpy does not promise that it
    stays the same over its own versions; a test holds it to the values that runs were made with, and numpy's version is pinned.
    """

    def __init__(self, count: int, seed: int, stage: str, name: str):
        self._count, self._key = count, (seed, "order", stage, name)
        self._epochs: tuple[tuple[int, np.ndarray], ...] = ()

    def __getitem__(self, number: int) -> int:
        epoch, place = divmod(number, self._count)
        return int(self._epoch(epoch)[place])

    def _epoch(self, epoch: int) -> np.ndarray:
        for known, order in self._epochs:
            if known == epoch:
                return order
        order = np.random.Generator(np.random.Philox(key=key_of(*self._key, epoch))).permutation(self._count)
        order = order.astype(np.uint32 if self._count < 2**32 else np.uint64)
        self._epochs = (*self._epochs[-1:], (epoch, order))
        return order


def key_of(*parts: object) -> int:
    """A 128-bit random key out of anything printable, the same on every machine: counter-based randomness without state."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=16).digest(), "little")
