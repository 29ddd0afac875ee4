"""Registering a manifest as a new version of a data set.

What it is: `publish`. A number is taken first, by a draft (`drafts.py`); the record that makes the version exist is written
last. A writer that was killed in between is resumed by the next one with the same manifest, so no number is lost.
What it is not: a copy of originals; they stay where the manifest says, and are looked for before anything is written. Only
pictures that were written out of tables go with a version (`upload.py`).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kimivl import __version__
from kimivl.catalog.card import card, licences
from kimivl.catalog.croissant import croissant
from kimivl.catalog.drafts import check_deletions, claim, is_same_version, last_version
from kimivl.catalog.origin import note_origin
from kimivl.catalog.originals import Original, Seen, check_originals, originals_of, read_seen, seen_bytes
from kimivl.catalog.place import Place, sha256_of_file
from kimivl.catalog.statistics import Statistics, statistics
from kimivl.catalog.upload import upload
from kimivl.catalog.versions import FOUND, ORIGINALS, TABLES, Catalog, FileFacts, Version, check_name, to_json
from kimivl.config.base import read_json
from kimivl.data.manifest.places import is_own, places_of
from kimivl.data.manifest.schema import SEEN_FILE
from kimivl.eval.progress import Lines, no_lines
from kimivl.model.atomic import NotWritten

OWN_KEYS = ("format", "root", "beside", "digest")  # of manifest.json; what else stands there is provenance
SUMMARY = ("samples", "pictures", "objects", "bytes", "frames", "characters")


def publish(
    folder: Path,
    catalog: Catalog,
    name: str,
    note: str = "",
    how: Mapping[str, Any] | None = None,
    lines: Lines = no_lines,
) -> tuple[Version, bool]:
    """Registers the manifest in `folder`, and notes in it which version it is, so that a run that reads it holds that.

    Args:
        how: goes into the provenance beside what manifest.json says of the manifest's making.
    Returns: the version, and whether it is new; the last one, if it has the same digest.
    Raises: ValueError for a name that is none, a folder that is no manifest, originals that are missing or were replaced, or
        originals that are being deleted, or if the draft was removed meanwhile; CorruptObject; OSError.
    """
    check_name(name)
    numbers = statistics(folder)
    head = read_json(folder / "manifest.json")
    record = _record(folder, head, name, note, how or {}, numbers)
    version, new = _registered(folder, head, catalog, record, numbers, lines)
    try:
        note_origin(folder, catalog, version)
    except NotWritten as error:
        copy = f"a copy that `kimivl data fetch {version.reference}` brings"
        raise NotWritten(
            f"{version.reference} is published, but runs on {folder} do not hold it ({error}), or train on {copy}"
        ) from error
    return version, new


def _registered(
    folder: Path, head: Mapping[str, Any], catalog: Catalog, record: Version, numbers: Statistics, lines: Lines
) -> tuple[Version, bool]:
    """As `publish`."""
    last = last_version(catalog, catalog.known(record.name))
    if last is not None and is_same_version(last, record):
        return last, False
    originals, seen, places = originals_of(folder), read_seen(folder / SEEN_FILE), places_of(folder, head)
    check_below(folder, originals)
    found = check_originals(originals, places, catalog.place.client, seen, lines)
    pictures = [original for original in originals if is_own(original.name)]
    if pictures:
        record = record.model_copy(update={"beside": catalog.place.below(f"{ORIGINALS}/{record.name}/")})
    claimed = claim(catalog, record)
    if isinstance(claimed, Version):  # by somebody who was faster
        return claimed, False
    with claimed as writer:
        try:
            if check_deletions(catalog, writer.draft):
                check_originals(originals, places, catalog.place.client, found)
        except ValueError:
            writer.withdraw()
            raise
        if pictures:
            found |= upload(pictures, places, Place(catalog.place.client, record.beside), lines)
        advance = lines("files written", len(TABLES) + 1)
        for file in TABLES:
            write_table(catalog.place, writer.draft, file, folder / file)
            advance(1)
        version = writer.finish(writer.draft, descriptions(writer.draft, numbers, found))
        advance(1)
        return version, True


def check_below(folder: Path, originals: Sequence[Original]) -> None:
    """Raises: ValueError for originals outside of the root: what is not below it would be neither copied nor protected."""
    if foreign := [original.name for original in originals if "://" in original.name]:
        raise ValueError(f"{folder} names originals outside of its root ({foreign[0]}, …): index each root by itself")


def descriptions(draft: Version, numbers: Statistics, found: Mapping[str, Seen]) -> dict[str, bytes]:
    """The files beside the tables."""
    return {
        FOUND: seen_bytes(found),
        "stats.json": to_json(numbers),
        "README.md": card(draft, numbers).encode(),
        "croissant.json": to_json(croissant(draft)),
    }


def write_table(place: Place, draft: Version, file: str, path: Path) -> None:
    """Copies a file to a draft. Raises: ValueError if something else is there."""
    if not place.create_file(draft.prefix + file, path):
        raise ValueError(
            f"{place.below(draft.prefix + file)} is there and is another file than {path}: remove the draft with `kimivl data "
            f"retire {draft.reference} --delete --catalog {place.url}` and run the command again"
        )


def files_of(folder: Path) -> dict[str, FileFacts]:
    """Size and sha256 of the tables in a folder."""
    return {file: FileFacts(size=(folder / file).stat().st_size, sha256=sha256_of_file(folder / file)) for file in TABLES}


def _record(folder: Path, head: Mapping[str, Any], name: str, note: str, how: Mapping[str, Any], numbers: Statistics) -> Version:
    made = {key: value for key, value in head.items() if key not in OWN_KEYS}
    return Version(
        name=name,
        number=1,
        digest=head["digest"],
        root=head["root"],
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        note=note,
        licences=licences(numbers),
        summary={key: numbers[key] for key in SUMMARY},
        provenance={**made, "published_by": f"kimivl {__version__}", **how},
        files=files_of(folder),
    )
