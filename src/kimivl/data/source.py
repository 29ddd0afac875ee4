"""One data source: a JSONL file, read in an order that is a pure function of (seed, stage, source, epoch).

What it is: random access to records and their order, and where they lie. Every sample appears once per epoch.
What it is not: mixing sources (`mixture.py`).
"""

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from kimivl.data.sample import Sample, read_record


class Source:
    """The samples of `<root>/<name>/<split>.jsonl`.

    The file is kept in memory as bytes; a record is parsed when it is asked for.
    """

    def __init__(self, root: Path, name: str, split: str = "train"):
        self.name = name
        self.path = source_file(root, name, split)
        self._text = self.path.read_bytes()
        ends = np.flatnonzero(np.frombuffer(self._text, dtype=np.uint8) == ord("\n"))
        self._starts = np.concatenate([[0], ends + 1])
        self._count = len(ends) + (not self._text.endswith(b"\n") and bool(self._text))
        if self._count == 0:
            raise ValueError(f"data source {name!r}: {self.path} holds no records")

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, row: int) -> Sample:
        """The record on line `row` (from 0)."""
        if not 0 <= row < self._count:
            raise IndexError(f"{self.path} has {self._count} records, there is no record {row}")
        start = self._starts[row]
        end = self._starts[row + 1] if row + 1 < len(self._starts) else len(self._text)
        where = f"{self.path}:{row + 1}"
        try:
            line = self._text[start:end].decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{where}: not UTF-8 text (byte {error.start + 1} of the line); save the file as UTF-8") from None
        return read_record(line, where, self.path.parent)

    def nth(self, number: int, seed: int, stage: str) -> Sample:
        """The `number`-th sample of a stage's endless walk: epoch after epoch, each in its own order."""
        return self[nth_place(number, self._count, seed, stage, self.name)]


def source_file(root: Path, name: str, split: str = "train") -> Path:
    """`<root>/<name>/<split>.jsonl`. Raises: FileNotFoundError naming it if there is none."""
    path = Path(root) / name / f"{split}.jsonl"
    if not path.is_file():
        raise FileNotFoundError(f"data source {name!r} has no file {path}; build it with `kimivl data build nano`")
    return path


def nth_place(number: int, count: int, seed: int, stage: str, name: str) -> int:
    """Where the `number`-th step of a stage's endless walk over `count` items of the source `name` leads."""
    epoch, place = divmod(number, count)
    return int(_order(count, seed, stage, name, epoch)[place])


@lru_cache(maxsize=64)
def _order(count: int, seed: int, stage: str, name: str, epoch: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=key_of(seed, "order", stage, name, epoch))).permutation(count)


def key_of(*parts: object) -> int:
    """A 128-bit random key out of anything printable, the same on every machine: counter-based randomness without state."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=16).digest(), "little")
