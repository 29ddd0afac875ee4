"""What an indexing run knows so far, on disk: what is listed, what was read, which samples there will be.

What it is: `Notes`, a small SQLite file beside the manifest, so that a million rows need no memory and a run that was stopped
goes on where it was. It is removed when the manifest is written.
What it is not: the manifest (`data/manifest/`).
"""

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from kimivl.data.index.place import Listed

TABLES = """
CREATE TABLE IF NOT EXISTS kept (settings TEXT);
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INTEGER, version TEXT, changed INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS read (path TEXT PRIMARY KEY, size INTEGER, version TEXT, changed INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS originals (name TEXT PRIMARY KEY, path TEXT, data TEXT, fault TEXT);
CREATE INDEX IF NOT EXISTS originals_path ON originals (path);
CREATE TABLE IF NOT EXISTS needed (path TEXT, name TEXT, PRIMARY KEY (path, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS samples (number INTEGER PRIMARY KEY, path TEXT, place TEXT, id TEXT UNIQUE, record TEXT, fault TEXT);
CREATE INDEX IF NOT EXISTS samples_path ON samples (path);
"""
# Of the listed objects those that are to be read.
_NEEDED = """FROM files WHERE EXISTS (SELECT 1 FROM needed WHERE needed.path = files.path) AND (
    NOT EXISTS (SELECT 1 FROM read WHERE read.path = files.path) OR EXISTS (
        SELECT 1 FROM needed WHERE needed.path = files.path AND needed.name <> ''
        AND NOT EXISTS (SELECT 1 FROM originals WHERE originals.name = needed.name)
        AND NOT EXISTS (SELECT 1 FROM originals WHERE originals.name = needed.name || '#page=1')))"""
CACHE = 64 << 20  # bytes of the file that are kept in memory
SAVED = 5.0  # seconds after which a run is saved

Row = Mapping[str, Any]


class Notes:
    """The notes in `file`. `settings`: what they depend on beside the objects; notes of others are not used again.

    Raises: OSError if the file cannot be written.
    """

    def __init__(self, file: Path, settings: str):
        self._file = file
        is_new = not file.exists()
        try:
            self._base = _opened(file, settings)
        except sqlite3.DatabaseError as error:
            if is_new:
                self._remove()
                raise OSError(f"{file} could not be written ({error}): free space, and run the command again") from None
            raise OSError(f"{file}: notes of an earlier run cannot be used ({error}); free space, or remove the file") from None
        self._saved = time.monotonic()

    def close(self, keep: bool) -> None:
        """`keep`: for a later run, if anything was read. Where the disk is full, what was saved before is kept; no error."""
        kept = None
        if keep:
            with suppress(sqlite3.DatabaseError):
                self.save()
            with suppress(sqlite3.DatabaseError):
                kept = self._one("SELECT 1 FROM read")
        self._base.close()
        if kept is None:
            self._remove()

    def _remove(self) -> None:
        for end in ("", "-wal", "-shm"):  # SQLite's own
            self._file.with_name(self._file.name + end).unlink(missing_ok=True)

    def save(self) -> None:
        """What was noted is there for a later run."""
        self._base.execute("COMMIT")
        self._base.execute("BEGIN")
        self._saved = time.monotonic()

    def save_sometimes(self) -> None:
        if time.monotonic() - self._saved > SAVED:
            self.save()

    # What the store lists.

    def list(self, found: Iterable[Listed]) -> None:
        rows = ((of.path, of.size, of.version, of.changed) for of in found)
        self._base.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", rows)

    def listed(self, path: str) -> Listed | None:
        found = self._one("SELECT * FROM files WHERE path = ?", (path,))
        return Listed(*found) if found else None

    def listed_as(self, stem: str, suffix: str) -> Sequence[Listed]:
        """Objects that are called `stem` and `suffix`, this in small or capital letters."""
        found = self._base.cursor().execute("SELECT * FROM files WHERE path > ? AND path < ?", (f"{stem}.", f"{stem}/"))
        return [Listed(*row) for row in found if row[0][len(stem) :].lower() == suffix]

    def all_listed(self) -> Iterator[Listed]:
        return (Listed(*row) for row in self._base.cursor().execute("SELECT * FROM files ORDER BY path"))

    # What was read of it.

    def forget_changed(self, shards: bool) -> None:
        """What was read of objects that are others now is no longer known, nor are samples of files of rows (`shards`: all
        are)."""
        self._base.execute("DELETE FROM read WHERE NOT EXISTS (SELECT 1 FROM files WHERE files.path = read.path AND "
                           "(files.size, files.version, files.changed) = (read.size, read.version, read.changed))")  # fmt: skip
        self._base.execute("DELETE FROM originals WHERE path NOT IN (SELECT path FROM read)")
        self._base.execute("DELETE FROM samples" + (" WHERE path NOT IN (SELECT path FROM read)" if shards else ""))

    def was_read(self, path: str) -> bool:
        """Whether an object was read as it is now."""
        return self._one("SELECT 1 FROM read WHERE path = ?", (path,)) is not None

    def mark_read(self, of: Listed) -> None:
        self._base.execute("INSERT OR REPLACE INTO read VALUES (?, ?, ?, ?)", (of.path, of.size, of.version, of.changed))

    def add_original(self, path: str, row: Row) -> None:
        """An original in the object at `path`, "" for one that was written beside the manifest; one of this name may be known."""
        written = json.dumps(dict(row), ensure_ascii=False)
        self._base.execute("INSERT OR IGNORE INTO originals VALUES (?, ?, ?, NULL)", (row["name"], path, written))

    def keep_read(self, of: Listed, rows: Iterable[Row], faults: Mapping[str, str]) -> None:
        """Rows of originals that are in an object, and why others are none; in place of what was known of it."""
        self._base.execute("DELETE FROM originals WHERE path = ?", (of.path,))
        for row in rows:
            self.add_original(of.path, row)
        values = ((name, of.path, fault) for name, fault in faults.items())
        self._base.executemany("INSERT OR REPLACE INTO originals VALUES (?, ?, NULL, ?)", values)
        self.mark_read(of)

    def all_read(self) -> Iterator[Row]:
        names = ("path", "size", "version", "changed")
        return (dict(zip(names, row)) for row in self._base.cursor().execute("SELECT * FROM read ORDER BY path"))

    def original(self, name: str) -> tuple[int, Row] | str | None:
        """Place among all originals and its row; or why it is none; or None if it is not known. Call `number` before."""
        found = self._one("SELECT place, data, fault FROM originals LEFT JOIN places USING (name) WHERE name = ?", (name,))
        return None if found is None else found[2] or (found[0], json.loads(found[1]))

    def is_extracted(self, name: str) -> bool:
        return self._one("SELECT 1 FROM originals WHERE name = ? AND path = ''", (name,)) is not None

    def fault_of(self, path: str) -> str | None:
        """Why an object could not be read as a whole."""
        found = self._one("SELECT fault FROM originals WHERE name = ?", (path,))
        return found[0] if found else None

    def count_below(self, name: str) -> int:
        """How many originals begin with a name: pages of a PDF."""
        found = self._one("SELECT count(*) FROM originals WHERE name >= ? AND name < ?", (name, name + "\U0010ffff"))
        return int(found[0]) if found else 0

    def counts(self) -> dict[str, int]:
        """Of originals, of those that were extracted, and of the objects that hold the others."""
        originals, extracted = self._one("SELECT count(*), coalesce(sum(path = ''), 0) FROM originals WHERE data NOTNULL")
        return {"originals": originals, "extracted": extracted, "objects": self._one("SELECT count(*) FROM read")[0]}

    def number(self) -> None:
        """Gives all originals their places, in the order of their names."""
        self._base.execute("DROP TABLE IF EXISTS places")
        self._base.execute("CREATE TEMP TABLE places (name TEXT PRIMARY KEY, place INTEGER) WITHOUT ROWID")
        self._base.execute(
            "INSERT INTO places SELECT name, row_number() OVER (ORDER BY name) - 1 FROM originals WHERE data NOTNULL"
        )

    def all_originals(self) -> Iterator[Row]:
        """In the order of their places."""
        query = "SELECT data FROM originals WHERE data NOTNULL ORDER BY name"
        return (json.loads(row[0]) for row in self._base.cursor().execute(query))

    # What is still to be read.

    def need(self, path: str, name: str = "") -> None:
        """`name`: of an original in the object, "" for the object as such."""
        self._base.execute("INSERT OR IGNORE INTO needed VALUES (?, ?)", (path, name))

    def needed(self) -> Iterator[Listed]:
        """Objects that samples speak of and that were not read, or not as far as samples speak of them; some at a time,
        since what is read of them is noted meanwhile."""
        last = ""
        while page := self._base.execute(f"SELECT * {_NEEDED} AND path > ? ORDER BY path LIMIT 1000", (last,)).fetchall():
            yield from (Listed(*row) for row in page)
            last = page[-1][0]

    def needed_bytes(self) -> int:
        """Of these objects."""
        return int(self._one(f"SELECT coalesce(sum(size), 0) {_NEEDED}")[0])

    def unneeded(self) -> Iterator[str]:
        """Paths of objects of which no sample speaks."""
        query = "SELECT path FROM files WHERE NOT EXISTS (SELECT 1 FROM needed WHERE needed.path = files.path)"
        return (row[0] for row in self._base.cursor().execute(query))

    def needed_of(self, path: str) -> set[str]:
        return {row[0] for row in self._base.cursor().execute("SELECT name FROM needed WHERE path = ?", (path,))}

    def forget_unneeded(self) -> None:
        """Originals of objects of which no sample speaks, from an earlier run."""
        for table in ("originals", "read"):
            self._base.execute(f"DELETE FROM {table} WHERE path NOT IN (SELECT path FROM needed)")

    # Samples, in their order.

    def add_sample(self, path: str, place: str, id: str, record: str) -> str | None:
        """Notes a sample. Returns: where one with this id was noted, if one was; then this one is not."""
        try:
            self._base.execute(
                "INSERT INTO samples (path, place, id, record) VALUES (?, ?, ?, ?)", (path, place, id, record)
            )  # fmt: skip
            return None
        except sqlite3.IntegrityError:
            found = self._one("SELECT place FROM samples WHERE id = ?", (id,))
            return found[0] if found else place

    def add_fault(self, path: str, place: str, fault: str) -> None:
        self._base.execute("INSERT INTO samples (path, place, fault) VALUES (?, ?, ?)", (path, place, fault))

    def samples(self) -> Iterator[tuple[str, str | None, str | None]]:
        """(place, record, fault) of each, by file or shard; of record and fault there is one."""
        query = "SELECT place, record, fault FROM samples ORDER BY path, number"
        return iter(self._base.cursor().execute(query))

    def _one(self, query: str, values: tuple[Any, ...] = ()) -> Any:
        return self._base.execute(query, values).fetchone()


def _opened(file: Path, settings: str) -> sqlite3.Connection:
    """In a transaction, without what depends on other settings. Raises: sqlite3.DatabaseError."""
    base = sqlite3.connect(file, isolation_level=None)
    try:
        base.execute("PRAGMA journal_mode=WAL")
        base.execute("PRAGMA synchronous=OFF")  # a process that is killed loses nothing, and a machine only time
        base.execute(f"PRAGMA cache_size=-{CACHE >> 10}")
        base.executescript(TABLES)
        if base.execute("SELECT settings FROM kept").fetchone() != (settings,):
            for table in ("kept", "read", "originals", "samples"):
                base.execute(f"DELETE FROM {table}")
            base.execute("INSERT INTO kept VALUES (?)", (settings,))
        base.execute("DELETE FROM files")
        base.execute("DELETE FROM needed")
        base.execute("BEGIN")
        return base
    except sqlite3.DatabaseError:
        base.close()
        raise
