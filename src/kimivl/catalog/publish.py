"""Registering a manifest as a new version of a data set.

What it is: `publish`. A number is taken first, by a draft that only one writer can create; the record that makes the version
exist is written last. A writer that was killed in between is resumed by the next one with the same manifest, so no number is
lost.
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
from kimivl.catalog.originals import Original, check_originals, originals_of
from kimivl.catalog.place import Place, sha256, sha256_of_file
from kimivl.catalog.statistics import Statistics, statistics
from kimivl.catalog.upload import upload
from kimivl.catalog.versions import (
    DRAFT,
    ORIGINALS,
    TABLES,
    VERSION,
    Catalog,
    FileFacts,
    Known,
    Version,
    check_name,
    parse_version,
    to_json,
    version_prefix,
)
from kimivl.config.base import read_json
from kimivl.data.manifest.places import is_own, places_of
from kimivl.eval.progress import Lines, no_lines

OWN_KEYS = ("format", "root", "beside", "digest", "catalog")  # of manifest.json; what else stands there is provenance
SUMMARY = ("samples", "pictures", "objects", "bytes", "frames", "characters")


def publish(
    folder: Path,
    catalog: Catalog,
    name: str,
    note: str = "",
    how: Mapping[str, Any] | None = None,
    lines: Lines = no_lines,
) -> tuple[Version, bool]:
    """Registers the manifest in `folder`.

    Args:
        how: goes into the provenance beside what manifest.json says of the manifest's making.
    Returns: the version, and whether it is new; the last one, if it has the same digest.
    Raises: ValueError for a name that is none, a folder that is no manifest, originals that are missing or were replaced, or
        originals that are being deleted; CorruptObject; OSError.
    """
    check_name(name)
    numbers = statistics(folder)
    head = read_json(folder / "manifest.json")
    last = _last(catalog, name)
    if last is not None and last.digest == head["digest"]:
        return last, False
    originals, places = originals_of(folder), places_of(folder, head)
    check_below(folder, originals)
    check_originals(originals, places, catalog.place.client, lines)
    pictures = [original for original in originals if is_own(original.name)]
    lasting = catalog.place.below(f"{ORIGINALS}/{name}/") if pictures else ""
    draft = _claim(catalog, _record(folder, head | {"beside": lasting}, name, note, how or {}, numbers))
    try:
        if check_deletions(catalog, draft):
            check_originals(originals, places, catalog.place.client)
    except ValueError:
        withdraw(catalog, draft.name, draft.number)
        raise
    if pictures:
        upload(pictures, places, Place(catalog.place.client, lasting), lines)
    files = [(file, (folder / file)) for file in TABLES]
    advance = lines("files written", len(files) + 4)
    for file, path in files:
        write_table(catalog.place, draft.prefix + file, path)
        advance(1)
    version = finish(catalog.place, draft, numbers)
    advance(4)
    return version, True


def check_below(folder: Path, originals: Sequence[Original]) -> None:
    """Raises: ValueError for originals outside of the root: what is not below it would be neither copied nor protected."""
    if foreign := [original.name for original in originals if "://" in original.name]:
        raise ValueError(f"{folder} names originals outside of its root ({foreign[0]}, …): index each root by itself")


def finish(place: Place, draft: Version, numbers: Statistics) -> Version:
    """Writes what describes a version whose tables are there, and then the record that makes it exist."""
    descriptions = {
        "stats.json": to_json(numbers),
        "README.md": card(draft, numbers).encode(),
        "croissant.json": to_json(croissant(draft)),
    }
    for file, data in descriptions.items():
        if not place.create(draft.prefix + file, data):  # by another version of this program, in a draft that is resumed
            descriptions[file] = place.read(draft.prefix + file)
    files = draft.files | {file: FileFacts(size=len(data), sha256=sha256(data)) for file, data in descriptions.items()}
    version = draft.model_copy(update={"files": files})
    place.create(draft.prefix + VERSION, record_bytes(version))
    return version


def record_bytes(version: Version) -> bytes:
    return to_json(version.model_dump(mode="json"))


def write_table(place: Place, key: str, path: Path) -> None:
    """Copies a file to a key that is ours. Raises: ValueError if something else is there."""
    if not place.create_file(key, path):
        raise ValueError(f"{place.below(key)} holds something else than {path}: remove it and run the command again")


def files_of(folder: Path) -> dict[str, FileFacts]:
    """Size and sha256 of the tables in a folder."""
    return {file: FileFacts(size=(folder / file).stat().st_size, sha256=sha256_of_file(folder / file)) for file in TABLES}


def _last(catalog: Catalog, name: str) -> Version | None:
    """The last version that is in use."""
    usable = [known for known in catalog.known(name) if known.state in ("released", "deprecated")]
    return catalog.read_version(name, usable[-1].number) if usable else None


def _record(folder: Path, head: Mapping[str, Any], name: str, note: str, how: Mapping[str, Any], numbers: Statistics) -> Version:
    made = {key: value for key, value in head.items() if key not in OWN_KEYS}
    return Version(
        name=name,
        number=1,
        digest=head["digest"],
        root=head["root"],
        beside=head["beside"],
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        note=note,
        licences=licences(numbers),
        summary={key: numbers[key] for key in SUMMARY},
        provenance={**made, "published_by": f"kimivl {__version__}", **how},
        files=files_of(folder),
    )


def _claim(catalog: Catalog, record: Version) -> Version:
    """Takes the next number, or goes on with a draft of the same manifest that was not finished."""
    while True:
        taken = catalog.known(record.name)
        for known in taken:
            draft = _draft(catalog, known)
            if draft is not None and _same(draft, record):
                return draft
        finished = [known.number for known in taken if known.finished]
        draft = record.model_copy(
            update={"number": max((known.number for known in taken), default=0) + 1, "parent": max(finished, default=None)}
        )
        if catalog.place.create(draft.prefix + DRAFT, record_bytes(draft)):
            return draft


def _same(draft: Version, record: Version) -> bool:
    return (draft.digest, draft.root, draft.files) == (record.digest, record.root, record.files)


def _draft(catalog: Catalog, known: Known) -> Version | None:
    """The record of a number that was taken and not finished."""
    if known.finished or DRAFT not in known.keys:
        return None
    key = version_prefix(known.name, known.number) + DRAFT
    return parse_version(catalog.place.read(key), catalog.place.below(key))


def withdraw(catalog: Catalog, name: str, number: int) -> None:
    """Removes what there is of a version that was not finished; its number is free again."""
    prefix = version_prefix(name, number)
    for entry in sorted(catalog.place.list(prefix), key=lambda entry: entry.key == prefix + DRAFT):
        catalog.place.delete(entry.key)


def check_deletions(catalog: Catalog, draft: Version) -> bool:
    """Whether originals near ours were deleted. A deletion in turn looks for drafts after it set its mark (`lifecycle.py`), so
    of two that run at once one sees the other.

    Raises: ValueError while one is going on.
    """
    begun = [known for known in catalog.known() if known.marked("deleting")]
    records = [(catalog.read_version(known.name, known.number), known) for known in begun]
    near = [(each, known) for each, known in records if _near(each, draft)]
    for version, known in near:
        if not known.marked("deleted"):
            raise ValueError(
                f"{version.reference} is being deleted, and its originals lie near those of this manifest: finish that with "
                f"`kimivl data retire {version.reference} --delete`, index again, then publish"
            )
    return bool(near)


def _near(one: Version, other: Version) -> bool:
    """Whether they may have originals in common."""
    folders = [(a, b) for a in (one.root, one.beside) for b in (other.root, other.beside) if a and b]
    return any(a.startswith(b) or b.startswith(a) for a, b in folders)
