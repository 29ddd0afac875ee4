"""The objects that a manifest's rows are ranges of: which there are, and whether a store has them as they were indexed.

What it is: `originals_of`, `listing` of what a store has, and `check_originals`. A list costs a request a thousand objects.
What it is not: reading them (`sync.py` does), or removing them (`lifecycle.py`).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from kimivl.data.manifest.places import Places, is_own
from kimivl.data.manifest.schema import OBJECTS_FILE
from kimivl.data.store.client import Client, Entry
from kimivl.data.store.retry import patiently
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
    wanted = set(urls)
    buckets: dict[str, list[str]] = defaultdict(list)
    for url in wanted:
        buckets["/".join(url.split("/")[:3])].append(url)
    found = {}
    for members in buckets.values():
        folder = _common_folder(members)
        for entry in patiently(lambda folder=folder: list(client.list(folder))):  # type: ignore[misc]
            if entry.url in wanted:
                found[entry.url] = entry
    return found


def listing_of(client: Client, originals: Iterable[Original], places: Places) -> dict[str, Entry]:
    """What the store has of these, by URL. Pictures of the manifest's own are listed by themselves: what lies above both folders
    may be a whole disk."""
    urls: tuple[list[str], list[str]] = ([], [])
    for original in originals:
        urls[is_own(original.name)].append(places.url(original.name))
    return listing(client, urls[0]) | listing(client, urls[1])


def check_originals(originals: Sequence[Original], places: Places, client: Client, lines: Lines = no_lines) -> None:
    """Raises: ValueError naming those that are missing, too short, or of another version than was indexed."""
    urls = {places.url(original.name): original for original in originals}
    advance = lines("originals looked for", len(urls))
    there = listing_of(client, originals, places)
    advance(len(urls))
    faults = [f"{url} {fault}" for url, original in urls.items() if (fault := _fault(original, there.get(url)))]
    if faults:
        more = f"\n… and {len(faults) - TOLD} more" if len(faults) > TOLD else ""
        raise ValueError(
            f"{len(faults)} of {len(urls)} originals are not as they were indexed; put them back, or index again with "
            "`kimivl data index`:\n" + "\n".join(faults[:TOLD]) + more
        )


def _fault(original: Original, entry: Entry | None) -> str | None:
    if entry is None:
        return "is missing"
    if entry.size < original.end:
        return f"has {entry.size} bytes, {original.end} are needed"
    if original.version and entry.version and original.version != entry.version:
        return f"was replaced (it is {entry.version}, it was {original.version})"
    return None


def _common_folder(urls: Sequence[str]) -> str:
    first, last = min(urls), max(urls)
    common = 0
    while common < min(len(first), len(last)) and first[common] == last[common]:
        common += 1
    return first[: first.rfind("/", 0, common) + 1]
