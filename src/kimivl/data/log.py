"""What is changed about a stage's data while it runs: entries that are only ever appended, each in force from a step on.

What it is: `DataLog`, a JSONL file beside the stage's metrics. The plan of a step is a function of the entries up to it, so a run
that was interrupted meets the same changes at the same steps.
What it is not: the recipe's own mixture, which holds until the first entry, or the plan (`plan.py`).

    {"step": 120, "weights": {"captions": 2, "documents": 1}}
    {"step": 340, "excluded": {"source": "captions", "id": "captions-17", "versions": ["9b…"], "sha256": ["6f…"], "reason": "…"}}
    {"step": 900, "included": {"source": "captions", "id": "captions-17"}}
"""

import errno
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, model_validator

from kimivl.config.base import Config, Weight, parse
from kimivl.model.atomic import writing


class Exclusion(Config):
    """A sample that is left out, as long as its originals have these versions and digests in its manifest: whichever changes, the
    original was indexed anew and may be whole again. Whether it is, in the store, must not matter: the plan depends on the log.
    """

    source: str
    id: str
    versions: tuple[str, ...] = ()
    sha256: tuple[str, ...] = ()
    reason: str = ""


class Inclusion(Config):
    """A sample that is no longer left out, since what was wrong with it was mended where no manifest tells."""

    source: str
    id: str


class Entry(Config):
    """From `step` on, other shares of the sources, or a sample left out or taken in again."""

    step: int = Field(ge=0)
    weights: dict[str, Weight] | None = None
    excluded: Exclusion | None = None
    included: Inclusion | None = None

    @model_validator(mode="after")
    def _check(self) -> "Entry":
        if [self.weights, self.excluded, self.included].count(None) != 2:
            raise ValueError("an entry has either weights, excluded or included")
        if self.weights is not None and not any(self.weights.values()):
            raise ValueError("at least one source needs a weight above 0")
        return self


class DataLog:
    """The entries of `path`, read again whenever the file has grown; none without a file."""

    def __init__(self, path: Path | None = None):
        self.path = path
        self._size = 0
        self._entries: list[Entry] = []

    @property
    def sources(self) -> list[str]:
        """All sources that entries give a weight."""
        return list(dict.fromkeys(name for entry in self.until(sys.maxsize) for name in entry.weights or ()))

    def until(self, step: int) -> list[Entry]:
        """The entries that are in force at a step. Raises: ValueError naming file, line and fault."""
        self._read()
        return [entry for entry in self._entries if entry.step <= step]

    def append(self, entry: Entry) -> None:
        """Adds an entry, on disk before it returns. Raises: NotWritten naming the file."""
        if self.path is None:
            raise ValueError("this log has no file to append to")
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            line = json.dumps(entry.model_dump(exclude_defaults=True), ensure_ascii=False) + "\n"
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                if os.write(descriptor, line.encode()) < len(line.encode()):  # what is there has no end, and does not count
                    raise OSError(errno.ENOSPC, "only a part of the entry could be written")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _read(self) -> None:
        size = self.path.stat().st_size if self.path is not None and self.path.exists() else 0
        if self.path is None or size == self._size:
            return
        whole = self.path.read_bytes().rpartition(b"\n")[0]  # a line without its end is still being written
        self._entries = [_entry(line, f"{self.path}:{number}") for number, line in enumerate(whole.splitlines(), 1) if line]
        self._size = size


def weights_of(entries: Sequence[Entry]) -> dict[str, float] | None:
    """The shares that hold behind these entries, adding up to 1; None if those of the recipe do."""
    found = [entry.weights for entry in entries if entry.weights is not None]
    return {name: weight / sum(found[-1].values()) for name, weight in found[-1].items() if weight > 0} if found else None


def exclusions_of(entries: Sequence[Entry]) -> dict[tuple[str, str], Exclusion]:
    """What these entries leave out, by source and id."""
    found: dict[tuple[str, str], Exclusion] = {}
    for entry in entries:
        if entry.excluded:
            found[entry.excluded.source, entry.excluded.id] = entry.excluded
        if entry.included:
            found.pop((entry.included.source, entry.included.id), None)
    return found


def digest_of(entries: Sequence[Entry]) -> str:
    """Tells entries from others; empty without any."""
    lines = [entry.model_dump_json(exclude_defaults=True) for entry in entries]  # what the form gains later changes no digest
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=8).hexdigest() if lines else ""


def _entry(line: bytes, where: str) -> Entry:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where}: not an entry of a data log ({error})") from None
    return parse(Entry, values if isinstance(values, dict) else {}, where)
