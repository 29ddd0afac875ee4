"""What becomes of a version: runs hold it, it is deprecated, retired, and at last deleted.

What it is: `hold` and `release`, which a run calls; `deprecate` and `retire`; `planned_deletion` and `delete`. Of
two that act at once one always sees the other, without a lock: whoever holds writes first and then looks whether the version
was retired, whoever retires writes first and then looks for holders. A store has to list what was just written, as S3 does.
What it is not: knowledge of other catalogs; originals that they share are theirs to protect.
"""

import socket
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote

from kimivl.catalog.originals import Original, listing_of, original_names, originals_of
from kimivl.catalog.publish import withdraw
from kimivl.catalog.versions import Catalog, Known, Version, parse_reference, plural, some, to_json
from kimivl.config.base import read_json
from kimivl.data.manifest.schema import OBJECTS_FILE
from kimivl.data.store.retry import patiently
from kimivl.eval.progress import Lines, no_lines


class InUse(ValueError):
    """Runs need the version; the message names them."""


class Retired(ValueError):
    """The version may not be used any more."""


def hold(catalog: Catalog, reference: str, run: str) -> Version:
    """Notes that a run needs a version (NAME@N), until `release`; to do so again changes nothing.

    Args:
        run: what tells the run from all others, such as its folder.
    Raises: Retired; NoVersion.
    """
    version, _ = catalog.find(reference)
    key = _reference_key(version, run)
    held = {"run": run, "since": _now(), "host": socket.gethostname()}
    new = key.removeprefix(version.prefix) not in catalog.now(version).references
    if new:
        catalog.place.create(key, to_json(held))
    state = catalog.now(version).state
    if state in ("retired", "deleted"):
        if new:
            catalog.place.delete(key)
        raise Retired(f"{version.reference} of {catalog.url} is {state}: use another version (`kimivl data ls {catalog.url}`)")
    return version


def hold_manifest(folder: Path, run: str, profile: str | None = None) -> Version | None:
    """Holds the version that a manifest's folder was fetched from. Returns: None for a manifest that came from no catalog."""
    origin = read_json(folder / "manifest.json").get("catalog")
    if origin is None:
        return None
    return hold(Catalog(origin["url"], profile), f"{origin['name']}@{origin['number']}", run)


def release(catalog: Catalog, reference: str, run: str) -> None:
    """The run needs the version no more. Raises: ValueError naming who does, if that run never did."""
    version, known = catalog.find(reference)
    key = _reference_key(version, run)
    if key.removeprefix(version.prefix) not in known.references:
        held = some(_runs(catalog, version, known)) or "no run"
        raise ValueError(f"{run} does not hold {version.reference}; it is held by {held}")
    catalog.place.delete(key)


def deprecate(catalog: Catalog, reference: str, reason: str) -> Version:
    """Marks a version as one that new work should not use. Raises: NoVersion; ValueError if it is marked already."""
    version, known = catalog.find(reference)
    if known.state != "released":
        raise ValueError(f"{version.reference} is {known.state} already")
    catalog.mark(version, "deprecated", reason=reason, at=_now())
    return version


def retire(catalog: Catalog, reference: str) -> Version:
    """Marks a version as one that may not be used any more; to do so again changes nothing.

    Raises: InUse; NoVersion; ValueError for a reference without a number.
    """
    version, known = _exactly(catalog, reference)
    _refuse_if_held(catalog, version, known)
    new = not known.marked("retired") and catalog.mark(version, "retired", at=_now())
    try:
        _refuse_if_held(catalog, version, catalog.now(version))  # who held it meanwhile
    except InUse:
        if new:
            catalog.place.delete(f"{version.prefix}marks/retired.json")
        raise
    return version


@dataclass(frozen=True)
class Deletion:
    """What goes when a version is deleted.

    `files`: keys below the catalog. `originals`: URLs, with `size` bytes together. `shared`: how many originals stay because
    another version has them. `replaced`: URLs of originals that are not those that were indexed; they stay. `gone`: how many
    are gone already.
    """

    version: Version
    files: tuple[str, ...]
    originals: tuple[str, ...]
    size: int
    shared: int
    replaced: tuple[str, ...]
    gone: int


def planned_deletion(catalog: Catalog, reference: str) -> Deletion:
    """What `delete` would remove now. Raises: InUse; NoVersion; ValueError while another version is being published."""
    version, known = _exactly(catalog, reference)
    _refuse_if_held(catalog, version, known)
    return _plan(catalog, version, known)


def delete(catalog: Catalog, reference: str, lines: Lines = no_lines) -> Deletion:
    """Retires a version and removes its samples, then the originals that no other version has, then the table that names them.

    The record stays, so the number is never given again. After an interruption it can be called again.
    Returns: what was removed by this call. Raises: as `planned_deletion`, and StoreError.
    """
    version = retire(catalog, reference)
    catalog.mark(version, "deleting", at=_now())
    known = catalog.now(version)
    plan = _plan(catalog, version, known)
    last = version.prefix + OBJECTS_FILE
    advance = lines("files and originals deleted", len(plan.files) + len(plan.originals))
    for key in (key for key in plan.files if key != last):
        catalog.place.delete(key)
        advance(1)
    for url in plan.originals:
        patiently(partial(catalog.place.client.delete, url))
        advance(1)
    if last in plan.files:
        catalog.place.delete(last)
        advance(1)
    catalog.mark(version, "deleted", at=_now())
    return plan


def delete_draft(catalog: Catalog, reference: str) -> bool:
    """Removes what an interrupted publication left. Returns: whether the reference names such a draft."""
    name, number = parse_reference(reference)
    drafts = [known for known in catalog.known(name) if known.number == number and not known.finished]
    if number is not None and drafts:
        withdraw(catalog, name, number)
    return bool(number is not None and drafts)


def _plan(catalog: Catalog, version: Version, known: Known) -> Deletion:
    files = tuple(sorted(version.prefix + key for key in known.keys if key in version.files))
    if OBJECTS_FILE not in known.keys:
        return Deletion(version, files, (), 0, 0, (), 0)
    with tempfile.TemporaryDirectory() as scratch:
        catalog.place.download(version.prefix + OBJECTS_FILE, Path(scratch) / OBJECTS_FILE)
        originals = {version.places.url(each.name): each for each in originals_of(Path(scratch))}
    others = _originals_of_others(catalog, version)
    own = {url: original for url, original in originals.items() if url not in others}
    there = listing_of(catalog.place.client, own.values(), version.places)
    replaced = tuple(url for url in there if _differs(own[url], there[url].version))
    going = tuple(sorted(set(there) - set(replaced)))
    size = sum(there[url].size for url in going)
    return Deletion(version, files, going, size, len(originals) - len(own), replaced, len(own) - len(there))


def _differs(original: Original, version: str) -> bool:
    return bool(original.version and version and original.version != version)


def _originals_of_others(catalog: Catalog, version: Version) -> set[str]:
    """URLs of all originals that other versions have, of whichever data set. Raises: ValueError while one is being published."""
    urls: set[str] = set()
    with tempfile.TemporaryDirectory() as scratch:
        table = Path(scratch) / OBJECTS_FILE
        for known in catalog.known():
            if (known.name, known.number) == (version.name, version.number) or known.state == "deleted":
                continue
            if not known.finished:
                draft = f"{known.name}@{known.number}"
                raise ValueError(
                    f"{draft} is being published and may need the same originals: wait until it is finished, or remove it with "
                    f"`kimivl data retire {draft} --delete`"
                )
            other = catalog.read_version(known.name, known.number)
            if OBJECTS_FILE in known.keys:
                catalog.place.download(other.prefix + OBJECTS_FILE, table)
                urls.update(other.places.url(name) for name in original_names(table))
    return urls


def _exactly(catalog: Catalog, reference: str) -> tuple[Version, Known]:
    """Raises: ValueError unless the reference has a number: what is given up has to be said exactly."""
    if parse_reference(reference)[1] is None:
        raise ValueError(f"say which version, as {reference}@1: `kimivl data ls {catalog.url}` lists them")
    return catalog.find(reference)


def _refuse_if_held(catalog: Catalog, version: Version, known: Known) -> None:
    runs = _runs(catalog, version, known)
    if runs:
        raise InUse(
            f"{version.reference} is needed by {plural(len(runs), 'run')}: {some(runs)}; when one is over for good, say so with "
            f"`kimivl data release {version.reference} RUN`"
        )


def _runs(catalog: Catalog, version: Version, known: Known) -> list[str]:
    return [held["run"] for held in catalog.held(version, known)]


def _reference_key(version: Version, run: str) -> str:
    return f"{version.prefix}references/{quote(run, safe='')}.json"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
