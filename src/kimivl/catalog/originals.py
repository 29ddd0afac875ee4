"""The objects that a manifest's rows are ranges of: which there are, and whether a store has them as they were indexed.

What it is: `originals_of`, `listing` of what a store has (a request a thousand objects), `is_same` and `check_originals`. Where a
store has no etags, as of local files, an object is known by size and time of change, if these were noted, and else by its bytes.
What it is not: copying them (`sync.py`), or removing them (`lifecycle.py`).
"""

import hashlib
import io
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kimivl.catalog.place import PARTS
from kimivl.data.index.walk import walk
from kimivl.data.manifest.places import Places, is_own
from kimivl.data.manifest.schema import OBJECTS_FILE, SEEN
from kimivl.data.store.client import Client, Entry
from kimivl.data.store.errors import CorruptObject, Missing, Replaced
from kimivl.data.store.retry import patiently
from kimivl.data.store.urls import join_url, object_url, split_url
from kimivl.eval.progress import Lines, no_lines

TOLD = 5  # faults that are told one by one


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes of an original, and what they have to be."""

    start: int
    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Original:
    """`name`: its `url` in the table, as `Places` understands it. `version`: etag when it was indexed. `ranges`: those that rows
    name, by place."""

    name: str
    version: str
    ranges: tuple[Range, ...]

    @property
    def end(self) -> int:
        """Bytes that it has at least."""
        return max(each.start + each.length for each in self.ranges)

    @property
    def whole(self) -> bool:
        """Whether a row is the whole of it, and not a member."""
        return self.ranges[0].start == 0 and len(self.ranges) == 1


@dataclass(frozen=True, slots=True)
class Seen:
    """What a store said of an original. `changed`: when, in microseconds since 1970."""

    size: int
    version: str
    changed: int


def originals_of(folder: Path) -> list[Original]:
    """The originals of the manifest in `folder`, by name. Raises: ValueError if rows tell two versions of one."""
    ranges: dict[str, set[Range]] = defaultdict(set)
    versions: dict[str, str] = {}
    for batch in pq.ParquetFile(folder / OBJECTS_FILE).iter_batches(columns=["url", "version", "start", "length", "sha256"]):
        for row in batch.to_pylist():
            if versions.setdefault(row["url"], row["version"]) != row["version"]:
                raise ValueError(f"{folder}: rows tell two versions of {row['url']}; index again with `kimivl data index`")
            ranges[row["url"]].add(Range(row["start"], row["length"], row["sha256"]))
    return [
        Original(name, versions[name], tuple(sorted(ranges[name], key=lambda each: (each.start, each.length))))
        for name in sorted(ranges)
    ]


def original_names(objects: Path) -> set[str]:
    """The names in a table of objects."""
    return set(pq.read_table(objects, columns=["url"]).column("url").unique().to_pylist())


def listing(client: Client, urls: Iterable[str]) -> dict[str, Entry]:
    """What the store has of these objects, by URL: one list for each folder that holds all that lie in one bucket."""
    wanted = {object_url(*split_url(url)): url for url in urls}  # of local files there are several ways to write one
    buckets: dict[str, list[str]] = defaultdict(list)
    for url in wanted:
        buckets[split_url(url)[0]].append(url)
    found = {}
    for members in buckets.values():
        folder = _common_folder(members)
        for entry in patiently(partial(_entries, client, folder)):
            if entry.url in wanted:
                found[wanted[entry.url]] = entry
    return found


def _entries(client: Client, folder: str) -> list[Entry]:
    """Of local files all that the index listed, some of which obstore stops at."""
    root, key = split_url(folder)
    if root != "file://":
        return list(client.list(folder))
    return [
        Entry(join_url(folder, path), size, "", datetime.fromtimestamp(changed / 1e6, UTC))
        for path, size, changed in walk(Path(f"/{key}"))
    ]


def listing_of(client: Client, originals: Iterable[Original], places: Places) -> dict[str, Entry]:
    """What the store has of these, by URL. Pictures of the manifest's own are listed by themselves: what lies above both folders
    may be a whole disk."""
    urls: tuple[list[str], list[str]] = ([], [])
    for original in originals:
        urls[is_own(original.name)].append(places.url(original.name))
    return listing(client, urls[0]) | listing(client, urls[1])


def real_places(places: Places) -> Places:
    """The same folders as they are called without links and other ways to write them."""
    return Places(_real(places.root), _real(places.beside) if places.beside else "")


def _real(url: str) -> str:
    root, key = split_url(url)
    if root == "file://":
        key = f"{os.path.realpath(f'/{key}')}/".lstrip("/")
    return object_url(root, key)


def check_originals(
    originals: Sequence[Original], places: Places, client: Client, seen: Mapping[str, Seen], lines: Lines = no_lines
) -> dict[str, Seen]:
    """Asks the store for all of them.

    Args:
        seen: what it said when they were indexed, by name, as far as that is known.
    Returns: what it says now.
    Raises: ValueError naming those that are missing, too short, or other than what was indexed.
    """
    urls = {places.url(original.name): original for original in originals}
    advance = lines("originals looked for", len(urls))
    there = listing_of(client, originals, places)
    faults = []
    for url, original in urls.items():
        if fault := _fault(original, there.get(url), seen.get(original.name), client):
            faults.append(f"{url} {fault}")
        advance(1)
    if faults:
        more = f"\n… and {len(faults) - TOLD} more" if len(faults) > TOLD else ""
        raise ValueError(
            f"{len(faults)} of {len(urls)} originals are not as they were indexed; put them back, or index again with "
            "`kimivl data index`:\n" + "\n".join(faults[:TOLD]) + more
        )
    return {original.name: seen_of(there[url]) for url, original in urls.items()}


def _fault(original: Original, entry: Entry | None, seen: Seen | None, client: Client) -> str | None:
    if entry is None:
        return "is missing"
    if entry.size < original.end:
        return f"has {entry.size} bytes, {original.end} are needed"
    if is_own(original.name) or is_same(original, entry, seen, client):  # own ones are compared as they are uploaded
        return None
    if original.version and entry.version:
        return f"was replaced (it is {entry.version}, it was {original.version})"
    return "was replaced (it has other bytes)"


def is_same(original: Original, entry: Entry, seen: Seen | None, client: Client) -> bool:
    """Whether what a store has in the place of an original is that original. Its bytes are read where nothing else tells."""
    if original.version and entry.version:
        return original.version == entry.version
    if entry.size < original.end or seen is not None and seen.size != entry.size:
        return False
    if seen is not None and entry.version and seen.version:
        return seen.version == entry.version
    if seen is not None and not entry.version and seen.changed == seen_of(entry).changed:
        return True
    if seen is None and original.whole and original.end != entry.size:
        return False
    try:
        check_ranges(original, reader(client, entry.url, entry.version), entry.url)
        return True
    except (CorruptObject, Missing, Replaced):
        return False


def seen_of(entry: Entry) -> Seen:
    return Seen(entry.size, entry.version, round(entry.modified.timestamp() * 1e6))


def read_seen(path: Path) -> dict[str, Seen]:
    """What a table of `SEEN` says, by name; nothing if there is no such table."""
    if not path.is_file():
        return {}
    rows = pq.read_table(path, columns=["path", "size", "version", "changed"]).to_pylist()
    return {row["path"]: Seen(row["size"], row["version"], row["changed"]) for row in rows}


def seen_bytes(seen: Mapping[str, Seen]) -> bytes:
    """The same as a Parquet file."""
    rows = [{"path": name, "size": of.size, "version": of.version, "changed": of.changed} for name, of in sorted(seen.items())]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, SEEN), file, compression="zstd")
    return file.getvalue()


def seen_still(client: Client, urls: Mapping[str, str], versions: Mapping[str, str]) -> dict[str, Seen]:
    """What a store says of objects, by name, that were written there or compared one by one, which may have taken hours.

    Raises: CorruptObject naming one that is not of its version any more.
    """
    there = listing(client, urls.values())
    for name, url in urls.items():
        if url not in there or there[url].version != versions[name]:
            raise CorruptObject(url, "was removed or replaced while others were copied; run the command again")
    return {name: seen_of(there[url]) for name, url in urls.items()}


Read = Callable[[int, int], bytes]  # (start, length) → these bytes


def reader(client: Client, url: str, version: str) -> Read:
    """Ranges of an object that has to be of a version, "" for any."""
    return lambda start, length: patiently(partial(client.get, url, start, length, version))


def check_ranges(original: Original, read: Read, url: str) -> None:
    """Raises: CorruptObject naming the first range that is not what was indexed."""
    for each in original.ranges:
        digest = hashlib.sha256()
        for start in range(each.start, each.start + each.length, PARTS):
            digest.update(read(start, min(PARTS, each.start + each.length - start)))
        if digest.hexdigest() != each.sha256:
            raise CorruptObject(
                url,
                f"bytes {each.start} to {each.start + each.length} are not those that were indexed; restore the object, or index "
                "again with `kimivl data index`",
            )


def _common_folder(urls: Sequence[str]) -> str:
    first, last = min(urls), max(urls)
    common = 0
    while common < min(len(first), len(last)) and first[common] == last[common]:
        common += 1
    return first[: first.rfind("/", 0, common) + 1]
