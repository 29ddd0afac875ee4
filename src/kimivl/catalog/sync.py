"""Copying a version from one catalog to another, originals and all, between stores that know nothing of each other.

What it is: `sync`. Only what is missing is copied, every range is compared with its sha256 before and after, and the record that
makes the version exist is written last, so a copy that was interrupted is not seen and can be resumed at any time.
What it is not: a copy of marks and references; what becomes of a version is each catalog's own affair.
Facts: the etag of an object written in one request is the MD5 of its contents, unless the store encrypts it with a key of its
own.
"""

import hashlib
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kimivl.catalog.drafts import check_deletions, claim_number
from kimivl.catalog.fetch import download_tables, read_checked
from kimivl.catalog.originals import Original, Seen, check_ranges, listing_of, originals_of, reader, seen_still
from kimivl.catalog.place import PARTS, folder_url
from kimivl.catalog.publish import descriptions, files_of, write_table
from kimivl.catalog.statistics import read_statistics
from kimivl.catalog.versions import ORIGINALS, TABLES, Catalog, Version, to_json
from kimivl.config.base import read_json
from kimivl.data.manifest.places import Places, is_own
from kimivl.data.manifest.schema import OBJECTS_FILE
from kimivl.data.store.client import ONE_REQUEST, Client, Entry, check_size
from kimivl.data.store.errors import AlreadyThere, CorruptObject
from kimivl.data.store.retry import patiently
from kimivl.eval.progress import Lines, no_lines

WORKERS = 8  # copies at a time


class Conflict(ValueError):
    """The target has something else in the place of what is to be copied; the message names it."""


@dataclass(frozen=True)
class Synced:
    """What a sync did.

    `new`: False if the target had the version. `state`: of it there. `copied`, `present`: originals; `bytes`: of those copied.
    """

    version: Version
    new: bool
    state: str = "released"
    copied: int = 0
    present: int = 0
    bytes: int = 0


def sync(source: Catalog, target: Catalog, reference: str, root: str | None = None, lines: Lines = no_lines) -> Synced:
    """Copies one version; after an interruption it can be called again.

    Args:
        root: URL below which the target's originals lie, in a folder of the data set's name (default: originals/ of the target).
    Raises: Conflict; BeingWritten; CorruptObject for an original that is not what was indexed, or was damaged on its way;
        NoVersion; StoreError.
    """
    version, known = source.find(reference)
    if known.state not in ("released", "deprecated"):
        raise ValueError(f"{version.reference} of {source.url} is {known.state} and cannot be copied")
    there = target.now(version)
    if there.finished:
        return _already_there(target, version, there.state)
    folder = f"{folder_url(root or target.url + ORIGINALS)}{version.name}/"
    tables = {name: facts for name, facts in version.files.items() if name in TABLES}
    made = version.provenance | {"copied_from": source.url}
    beside = folder if version.beside else ""
    record = version.model_copy(update={"root": folder, "beside": beside, "files": tables, "provenance": made})
    with claim_number(target, record) as writer, tempfile.TemporaryDirectory() as scratch:
        try:
            check_deletions(target, writer.draft)
            download_tables(source, version, Path(scratch), lines)
            numbers = read_statistics(read_checked(source, version, "stats.json"))
            copies = _Copies(source.place.client, target.place.client, version.places, record.places, Path(scratch))
            found = copies.copy(originals_of(Path(scratch)), lines)
        except ValueError:  # it cannot be finished here: the number must be free for a copy to another place
            writer.withdraw()
            raise
        _point_to_copies(Path(scratch), folder, copies.versions)
        draft = writer.draft.model_copy(update={"files": files_of(Path(scratch))})
        for name in TABLES:
            write_table(target.place, draft, name, Path(scratch) / name)
        done = writer.finish(draft, descriptions(draft, numbers, found))
    return Synced(done, True, copied=copies.copied, present=copies.present, bytes=copies.bytes)


def _already_there(target: Catalog, version: Version, state: str) -> Synced:
    other = target.read_version(version.name, version.number)
    if other.digest != version.digest:
        raise Conflict(f"{target.url} has another {version.reference} (digest {other.digest}, not {version.digest})")
    return Synced(other, False, state)


def _point_to_copies(folder: Path, root: str, versions: dict[str, str]) -> None:
    """Makes a manifest's tables tell of the copies: their root, and the etags that their store gave them. The digest stays.
    Pictures out of tables have none: their names tell their contents, wherever they are brought from here."""
    old, new = folder / OBJECTS_FILE, folder / "new.parquet"
    file = pq.ParquetFile(old)
    place = file.schema_arrow.get_field_index("version")
    with pq.ParquetWriter(new, file.schema_arrow, compression="zstd") as writer:
        for batch in file.iter_batches():
            etags = pa.array(["" if is_own(name) else versions[name] for name in batch.column("url").to_pylist()], pa.string())
            writer.write_batch(batch.set_column(place, file.schema_arrow.field(place), etags))
    new.replace(old)
    head = read_json(folder / "manifest.json")
    (folder / "manifest.json").write_bytes(to_json(head | {"root": root}))


class _Copies:
    """Originals on their way from one root to another.

    Attributes: `versions`: etag of each at the target, by name; `copied`, `present`, `bytes` as in `Synced`.
    """

    def __init__(self, source: Client, target: Client, source_places: Places, target_places: Places, scratch: Path):
        self.source, self.target = source, target
        self.source_places, self.target_places = source_places, target_places
        self.scratch = scratch
        self.versions: dict[str, str] = {}
        self.copied = self.present = self.bytes = 0

    def copy(self, originals: list[Original], lines: Lines) -> dict[str, Seen]:
        """Returns: what the target says of them, by name."""
        whole = [original.name for original in originals if "://" in original.name]
        if whole:
            raise ValueError(
                f"{whole[0]} does not lie below the manifest's root, so it cannot be copied: index it with its own root"
            )
        have = listing_of(self.source, originals, self.source_places)
        there = listing_of(self.target, originals, self.target_places)
        urls = {original.name: self.target_places.url(original.name) for original in originals}
        for original in originals:
            source = have.get(self.source_places.url(original.name))
            if source is not None and urls[original.name].startswith("s3:") and urls[original.name] not in there:
                check_size(source.url, source.size)
        advance = lines("originals copied or found", len(originals))
        with ThreadPoolExecutor(WORKERS) as pool:
            try:
                work = partial(self._one, have=have, there=there)
                for original, (version, copied) in zip(originals, pool.map(work, originals)):
                    self.versions[original.name] = version
                    self.copied += copied is not None
                    self.present += copied is None
                    self.bytes += copied or 0
                    advance(1)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return seen_still(self.target, urls, self.versions)

    def _one(self, original: Original, have: dict[str, Entry], there: dict[str, Entry]) -> tuple[str, int | None]:
        """(its etag at the target, its size if it had to be copied)."""
        source, target = self.source_places.url(original.name), self.target_places.url(original.name)
        if source not in have:
            raise CorruptObject(source, "is missing; put it back, or index and publish what there is now, and copy that version")
        if target in there:
            self._check_same(original, have[source], there[target])
            return there[target].version, None
        copy = self._whole if have[source].size <= ONE_REQUEST else self._in_parts
        return copy(original, have[source], target), have[source].size

    def _check_same(self, original: Original, source: Entry, target: Entry) -> None:
        """Raises: Conflict if the target has another object of this name."""
        indexed = original.version or source.version
        if source.size == target.size and indexed and indexed == source.version == target.version:
            return
        try:
            if source.size != target.size:
                raise CorruptObject(target.url, f"it has {target.size} bytes, not {source.size}")
            check_ranges(original, reader(self.target, target.url, target.version), target.url)
        except CorruptObject as error:
            raise Conflict(f"{error.url} is another object than {source.url}: copy to another place with --root URL") from None

    def _whole(self, original: Original, source: Entry, target: str) -> str:
        data = patiently(partial(self.source.get, source.url, version=original.version))
        check_ranges(original, lambda start, length: data[start : start + length], source.url)
        version, ours = self._put(original, source, target, data)
        if ours and version.strip('"') != hashlib.md5(data, usedforsecurity=False).hexdigest():
            check_ranges(original, reader(self.target, target, version), target)
        return version

    def _in_parts(self, original: Original, source: Entry, target: str) -> str:
        with tempfile.NamedTemporaryFile(dir=self.scratch) as file:
            read = reader(self.source, source.url, original.version)
            for start in range(0, source.size, PARTS):
                file.write(read(start, min(PARTS, source.size - start)))
            file.flush()

            def written(start: int, length: int) -> bytes:
                file.seek(start)
                return file.read(length)

            check_ranges(original, written, source.url)
            version, ours = self._put(original, source, target, Path(file.name))
        if ours:
            check_ranges(original, reader(self.target, target, version), target)
        return version

    def _put(self, original: Original, source: Entry, target: str, data: bytes | Path) -> tuple[str, bool]:
        """(etag, whether it is ours). Raises: Conflict if another object is there."""
        try:
            return patiently(partial(self.target.put, target, data, new=True)), True
        except AlreadyThere:  # by an attempt whose answer was lost, or by another sync
            there = patiently(partial(self.target.head, target))
            self._check_same(original, source, there)
            return there.version, False
