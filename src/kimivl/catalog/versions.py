"""The versions that a catalog holds, and how they lie in its store.

What it is: `Version`, the record of one, and `Catalog`, which reads them. A catalog is a prefix in a store; the store is the
whole registry, there is no database beside it:

    CATALOG/NAME/3/draft.json         what number 3 is taken for: written before anything else, so that no two share a number
    CATALOG/NAME/3/writers/….json     a process that writes it now; gone when it ends, unless it was killed (drafts.py)
    CATALOG/NAME/3/objects.parquet    the tables of the manifest (data/manifest/schema.py)
    CATALOG/NAME/3/samples.parquet
    CATALOG/NAME/3/manifest.json
    CATALOG/NAME/3/originals.parquet  what the store said of each original: size, etag, time (originals.py)
    CATALOG/NAME/3/stats.json         statistics.py
    CATALOG/NAME/3/README.md          card.py
    CATALOG/NAME/3/croissant.json     croissant.py
    CATALOG/NAME/3/version.json       `Version`, with size and sha256 of the files above: from here on the version exists
    CATALOG/NAME/3/marks/MARK.json    deprecated, retired, deleting, deleted: what happened to it since
    CATALOG/NAME/3/references/….json  a run that needs it
    CATALOG/originals/NAME/…          originals that a sync brought, and pictures that indexing wrote out of tables

All but references, writers and what a retired version gives up is written once, only if it is absent, and never changed.
What it is not: writing versions (`publish.py`, `sync.py`) or giving them up (`lifecycle.py`).
"""

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from kimivl.catalog.place import Place, open_place
from kimivl.config.base import Config
from kimivl.data.manifest.places import Places
from kimivl.data.store.errors import Missing

DRAFT, VERSION, WITHDRAWING = "draft.json", "version.json", "withdrawing.json"
TABLES = ("objects.parquet", "samples.parquet", "manifest.json")
FOUND = "originals.parquet"
MARKS = ("deprecated", "retired", "deleting", "deleted")
ORIGINALS = "originals"


class NoVersion(ValueError):
    """A catalog has no such version; the message says which there are."""


class FileFacts(Config):
    """What tells one file of a version from another."""

    size: int
    sha256: str


class Version(Config):
    """One version of a data set, as version.json has it.

    `digest`: of the manifest's rows. `root`: URL of the originals, ending in "/". `beside`: of the pictures that were written out
    of tables, the same way, "" without any. `parent`: number of the version that was the last when this one was made. `created`:
    UTC, ISO 8601. `licences`: of objects and samples. `summary`: the counts that lists show. `provenance`: what the manifest says
    of its making, and who published it. `files`: every file but version.json itself. `writer`: which of the processes that wrote
    its draft finished it.
    """

    format: int = 1
    name: str
    number: int
    digest: str
    root: str
    beside: str = ""
    parent: int | None = None
    created: str
    note: str = ""
    licences: tuple[str, ...] = ()
    summary: dict[str, int] = {}
    provenance: dict[str, Any] = {}
    files: dict[str, FileFacts] = {}
    writer: str = ""

    @property
    def reference(self) -> str:
        """How people call it: NAME@N."""
        return f"{self.name}@{self.number}"

    @property
    def prefix(self) -> str:
        """Of its keys below the catalog."""
        return version_prefix(self.name, self.number)

    @property
    def places(self) -> Places:
        return Places(self.root, self.beside)


@dataclass(frozen=True)
class Known:
    """What the list of a catalog's keys tells of a number: its files, marks and the runs that hold it."""

    name: str
    number: int
    keys: frozenset[str]  # below its prefix

    @property
    def finished(self) -> bool:
        return VERSION in self.keys

    @property
    def state(self) -> str:
        """draft, released, deprecated, retired or deleted."""
        if not self.finished:
            return "draft"
        marks = [mark for mark in MARKS if f"marks/{mark}.json" in self.keys]
        last = marks[-1] if marks else "released"
        return "retired" if last == "deleting" else last

    @property
    def references(self) -> list[str]:
        """Keys of the references."""
        return sorted(key for key in self.keys if key.startswith("references/"))

    @property
    def writers(self) -> list[str]:
        """Keys of the processes that write it, or were killed while they did."""
        return sorted(key for key in self.keys if key.startswith("writers/"))

    def marked(self, mark: str) -> bool:
        return f"marks/{mark}.json" in self.keys


class Catalog:
    """The catalog at `url`, a folder or a prefix such as `s3://bucket/catalog`; one without versions is an empty one.

    Args:
        profile: of ~/.aws/config, for a store other than the one that the AWS_* variables name.
        per_second: requests to the store at most (`pace.py`).
    Raises: ValueError for a URL of an unknown kind.
    """

    def __init__(self, url: str, profile: str | None = None, per_second: float | None = None):
        self.place: Place = open_place(url, profile, per_second)

    @property
    def url(self) -> str:
        return self.place.url

    def known(self, name: str | None = None) -> list[Known]:
        """All numbers that were taken, of one data set or of all, by name and number. A list of the keys of each data set."""
        names = [name] if name else [each for each in self.place.folders() if _NAME.fullmatch(each) and each != ORIGINALS]
        found: dict[tuple[str, int], set[str]] = {}
        for each in names:
            for entry in self.place.list(f"{each}/"):
                if match := _KEY.fullmatch(entry.key):
                    found.setdefault((each, int(match["number"])), set()).add(match["rest"])
        return [Known(*which, frozenset(keys)) for which, keys in sorted(found.items())]

    def find(self, reference: str) -> tuple[Version, Known]:
        """The version that `reference` names: NAME@N, or NAME for the last that is not retired.

        Raises: NoVersion with the numbers that there are.
        """
        name, number = parse_reference(reference)
        known = [each for each in self.known(name) if each.finished]
        usable = [each for each in known if each.state in ("released", "deprecated")]
        chosen = [each for each in known if each.number == number] if number else usable[-1:]
        if not chosen:
            raise NoVersion(self._what_there_is(reference, name, known))
        return self.read_version(name, chosen[0].number), chosen[0]

    def read_version(self, name: str, number: int) -> Version:
        """Raises: NoVersion; ValueError for a damaged record."""
        key = version_prefix(name, number) + VERSION
        return parse_version(self.place.read(key), self.place.url + key)

    def now(self, version: Version) -> Known:
        """Files, marks and references of a version, listed anew."""
        keys = frozenset(entry.key.removeprefix(version.prefix) for entry in self.place.list(version.prefix))
        return Known(version.name, version.number, keys)

    def mark(self, version: Version, mark: str, **facts: Any) -> bool:
        """Sets one of `MARKS`. Returns: False if it was set before."""
        return self.place.create(f"{version.prefix}marks/{mark}.json", to_json(facts))

    def marks(self, version: Version, known: Known) -> dict[str, dict[str, Any]]:
        """What was said when each mark was set."""
        return {mark: json.loads(self.place.read(f"{version.prefix}marks/{mark}.json")) for mark in MARKS if known.marked(mark)}

    def held(self, version: Version, known: Known) -> dict[str, dict[str, Any]]:
        """The references of runs, by key: `run`, `id`, `since`, `host`."""
        return self.notes(version.prefix, known.references)

    def notes(self, prefix: str, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What stands in small files that others may remove at any time."""
        found = {}
        for key in keys:
            with suppress(Missing):
                found[key] = json.loads(self.place.read(prefix + key))
        return found

    def _what_there_is(self, reference: str, name: str, known: list[Known]) -> str:
        if known:
            numbers = ", ".join(f"{each.number} ({each.state})" for each in known)
            return f"{self.url} has no version {reference}; of {name} it has {numbers}"
        names = sorted({each.name for each in self.known()})
        there = f"it has {', '.join(names)}" if names else "it is empty; add to it with `kimivl data publish`"
        return f"{self.url} has no data set {name!r}: {there}"


_KEY = re.compile(r"[^/]+/(?P<number>[1-9][0-9]*)/(?P<rest>.+)", re.ASCII | re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9][\w-]*(\.[\w-]+)*", re.ASCII)


def version_prefix(name: str, number: int) -> str:
    return f"{name}/{number}/"


def check_name(name: str) -> None:
    """Raises: ValueError if a data set cannot be called so."""
    if not _NAME.fullmatch(name) or name == ORIGINALS:
        raise ValueError(
            f"{name!r} cannot name a data set: use letters, digits, - and _, with single dots between, and not {ORIGINALS!r}"
        )


def parse_reference(reference: str) -> tuple[str, int | None]:
    """NAME@N as (NAME, N), NAME as (NAME, None). Raises: ValueError."""
    name, at, number = reference.partition("@")
    check_name(name)
    if at and not re.fullmatch(r"[1-9][0-9]*", number, re.ASCII):
        raise ValueError(f"{reference!r} names no version: write NAME@3, or NAME for the last one")
    return name, int(number) if at else None


def parse_version(data: bytes, where: str) -> Version:
    try:
        return Version.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where} is no version record of this program ({place}: {first['msg']})") from None


def now() -> str:
    """UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def to_json(values: Any) -> bytes:
    return (json.dumps(values, ensure_ascii=False, indent=1) + "\n").encode()


def plural(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def some(names: Iterable[str], most: int = 5) -> str:
    """The first names of a list, for messages."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
