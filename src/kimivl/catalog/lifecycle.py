"""What becomes of a version: runs hold it, it is deprecated, retired, and at last deleted.

What it is: `hold` and `release`, which a run calls; `deprecate` and `retire`; `planned_deletion` and `delete`; `delete_draft`. Of
two that act at once one always sees the other, without a lock: whoever holds writes first and then looks whether the version
was retired, whoever retires writes first and then looks for holders. A store has to list what was just written, as S3 does.
What it is not: knowledge of other catalogs; originals that they share are theirs to protect.
"""

import hashlib
import json
import os
import secrets
import socket
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from kimivl.catalog.drafts import BeingWritten, give_up, writers
from kimivl.catalog.origin import origins
from kimivl.catalog.originals import (
    Original,
    Seen,
    is_same,
    listing_of,
    original_names,
    originals_of,
    read_seen,
    real_places,
)
from kimivl.catalog.versions import (
    DRAFT,
    FOUND,
    VERSION,
    Catalog,
    Known,
    NoVersion,
    Version,
    now,
    parse_reference,
    plural,
    some,
    to_json,
)
from kimivl.data.manifest.schema import OBJECTS_FILE
from kimivl.data.store.client import Entry
from kimivl.data.store.errors import Missing
from kimivl.data.store.retry import patiently
from kimivl.eval.progress import Lines, no_lines
from kimivl.model.atomic import write_atomic

IDENTITY = "run.id"  # in the folder of a run


class InUse(ValueError):
    """Runs need the version; the message names them."""


class Retired(ValueError):
    """The version may not be used any more."""


def hold(catalog: Catalog, reference: str, run: str, identity: str = "") -> Version:
    """Notes that a run of this machine needs a version (NAME@N), until `release`; to do so again changes nothing.

    Args:
        run: what tells the run from others of this machine, such as its folder.
        identity: what tells it from all others, as machines may be called alike.
    Raises: Retired; NoVersion.
    """
    version, _ = catalog.find(reference)
    held = {"run": run, "host": socket.gethostname(), "id": identity}
    # A digest, as a folder's path may be longer than the name of a file.
    key = f"references/{hashlib.sha256(json.dumps(held).encode()).hexdigest()[:32]}.json"
    new = key not in catalog.now(version).references
    if new:
        catalog.place.create(version.prefix + key, to_json(held | {"since": now()}))
    state = catalog.now(version).state
    if state in ("retired", "deleted"):
        if new:
            catalog.place.delete(version.prefix + key)
        raise Retired(f"{version.reference} of {catalog.url} is {state}: use another version (`kimivl data ls {catalog.url}`)")
    return version


def hold_manifest(folder: Path, run: Path) -> list[Version]:
    """Holds the versions that a manifest was fetched from or published as; none, if it is in no catalog, or no manifest.

    Args:
        run: the run's folder. It keeps an identity in it, so that a run of the same name on another machine is another.
    Raises: Retired; NoVersion.
    """
    held = []
    for origin in origins(folder):
        try:
            held.append(hold(Catalog(origin.url), origin.reference, os.path.abspath(run), _identity(run)))
        except NoVersion as error:
            fix = "if the catalog was moved or removed, index or fetch the manifest again"
            raise NoVersion(f"{folder} is {origin.reference} of a catalog that does not have it: {error}; {fix}") from None
    return held


def _identity(run: Path) -> str:
    file = run / IDENTITY
    if not file.exists():
        write_atomic(file, secrets.token_hex(8) + "\n")
    return file.read_text(encoding="utf-8").strip()


def release(catalog: Catalog, reference: str, run: str) -> None:
    """The run needs the version no more.

    Args:
        run: as `holders` names it; or its folder, if there is but one of this name on whichever machine.
    Raises: ValueError naming who holds the version, if that run does not, or if several are called so.
    """
    version, known = catalog.find(reference)
    held, folder = catalog.held(version, known), os.path.abspath(run)
    names = {key: (_called(each), f"{_called(each)}#{each['id']}") for key, each in held.items()}
    keys = [key for key, each in held.items() if each["run"] in (run, folder) or run in names[key]]
    if not keys:
        raise ValueError(f"{run} does not hold {version.reference}; it is held by {some(holders(held.values())) or 'no run'}")
    if len(keys) > 1:
        raise ValueError(f"{plural(len(keys), 'run')} are called {run}: say which, of {some(holders(held.values()), 20)}")
    catalog.place.delete(version.prefix + keys[0])


def holders(held: Iterable[dict[str, Any]]) -> list[str]:
    """Runs for people, as HOST:RUN, and with their identity where two are called so."""
    runs = list(held)
    names = [_called(each) for each in runs]
    return sorted(name if names.count(name) == 1 else f"{name}#{each['id']}" for name, each in zip(names, runs))


def _called(held: dict[str, Any]) -> str:
    return f"{held['host']}:{held['run']}"


def deprecate(catalog: Catalog, reference: str, reason: str) -> Version:
    """Marks a version as one that new work should not use.

    Raises: NoVersion; ValueError without a reason, or if it is marked already.
    """
    if not reason.strip():
        raise ValueError("say why, for whoever fetches it: marks are never changed")
    version, known = catalog.find(reference)
    if known.state != "released":
        raise ValueError(f"{version.reference} is {known.state} already")
    catalog.mark(version, "deprecated", reason=reason, at=now())
    return version


def retire(catalog: Catalog, reference: str) -> Version:
    """Marks a version as one that may not be used any more; to do so again changes nothing.

    Raises: InUse; NoVersion; ValueError for a reference without a number.
    """
    version, known = _exactly(catalog, reference)
    _refuse_if_held(catalog, version, known)
    new = not known.marked("retired") and catalog.mark(version, "retired", at=now())
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
    another version has them. `replaced`: URLs of originals that are not those that were published; they stay. `gone`: how many
    are gone already.
    """

    version: Version
    files: tuple[str, ...]
    originals: tuple[str, ...]
    size: int
    shared: int
    replaced: tuple[str, ...]
    gone: int


def planned_deletion(catalog: Catalog, reference: str, lines: Lines = no_lines) -> Deletion:
    """What `delete` would remove now. Raises: InUse; NoVersion; ValueError while another version is being published."""
    version, known = _exactly(catalog, reference)
    _refuse_if_held(catalog, version, known)
    return _plan(catalog, version, known, lines)[0]


def delete(catalog: Catalog, reference: str, lines: Lines = no_lines) -> Deletion:
    """Retires a version and removes its samples, then the originals that no other version has, then the table that names them.

    The record stays, so the number is never given again. After an interruption it can be called again.
    Returns: what was removed by this call. Raises: as `planned_deletion`, and StoreError.
    """
    version = retire(catalog, reference)
    catalog.mark(version, "deleting", at=now())
    plan, there = _plan(catalog, version, catalog.now(version), lines)
    last = [version.prefix + file for file in (OBJECTS_FILE, FOUND)]  # what an interrupted deletion goes on from
    replaced = []
    advance = lines("files and originals deleted", len(plan.files) + len(plan.originals))
    for key in (key for key in plan.files if key not in last):
        catalog.place.delete(key)
        advance(1)
    for url in plan.originals:
        if _unchanged(catalog, there[url]):
            patiently(partial(catalog.place.client.delete, url))
        else:
            replaced.append(url)
        advance(1)
    for key in (key for key in last if key in plan.files):
        catalog.place.delete(key)
        advance(1)
    catalog.mark(version, "deleted", at=now())
    return replace(
        plan,
        originals=tuple(url for url in plan.originals if url not in replaced),
        size=plan.size - sum(there[url].size for url in replaced),
        replaced=(*plan.replaced, *replaced),
    )


def _unchanged(catalog: Catalog, entry: Entry) -> bool:
    """Whether an original is still as it was when the deletion was planned, which may be hours ago; or is gone."""
    try:
        found = patiently(partial(catalog.place.client.head, entry.url))
    except Missing:
        return True
    return found.version == entry.version if entry.version else found == entry


def unfinished(catalog: Catalog, reference: str) -> Known | None:
    """The draft that a reference names, if it is one."""
    name, number = parse_reference(reference)
    drafts = [known for known in catalog.known(name) if known.number == number and not known.finished]
    return drafts[0] if drafts else None


def delete_draft(catalog: Catalog, draft: Known, dead: bool = False) -> None:
    """Removes what an interrupted publication left.

    Args:
        dead: whether a person says that those who wrote it do so no more. A writer that does all the same stops with an error.
    Raises: BeingWritten naming them, unless they are; ValueError if the version was finished meanwhile.
    """
    who = [] if dead else writers(catalog, draft)
    if who:
        raise BeingWritten(
            f"{draft.name}@{draft.number} is written by {some(who)}: wait for it, or, if it was killed, say --yes to remove "
            "what it left"
        )
    give_up(catalog, draft.name, draft.number, None if dead else ())


def _plan(catalog: Catalog, version: Version, known: Known, lines: Lines) -> tuple[Deletion, dict[str, Entry]]:
    """(what is to go, what the store says of originals that no other version has, by URL)."""
    stays = (DRAFT, VERSION, *known.references, *(key for key in known.keys if key.startswith("marks/")))
    files = tuple(sorted(version.prefix + key for key in known.keys if key not in stays))
    if OBJECTS_FILE not in known.keys:
        return Deletion(version, files, (), 0, 0, (), 0), {}
    with tempfile.TemporaryDirectory() as scratch:
        catalog.place.download(version.prefix + OBJECTS_FILE, Path(scratch) / OBJECTS_FILE)
        if FOUND in known.keys:
            catalog.place.download(version.prefix + FOUND, Path(scratch) / FOUND)
        originals, seen = originals_of(Path(scratch)), read_seen(Path(scratch) / FOUND)
    others, places, real = _originals_of_others(catalog, version), version.places, real_places(version.places)
    own = {places.url(each.name): each for each in originals if real.url(each.name) not in others}
    there = listing_of(catalog.place.client, own.values(), places)
    replaced = _replaced(catalog, own, there, seen, lines)
    going = tuple(sorted(there.keys() - replaced))
    size = sum(there[url].size for url in going)
    kept = tuple(sorted(replaced))
    return Deletion(version, files, going, size, len(originals) - len(own), kept, len(own) - len(there)), there


def _replaced(
    catalog: Catalog, own: dict[str, Original], there: dict[str, Entry], seen: dict[str, Seen], lines: Lines
) -> set[str]:
    """URLs where something else lies now than was published."""
    advance, found = lines("originals compared", len(there)), set()
    for url, entry in there.items():
        if not is_same(own[url], entry, seen.get(own[url].name), catalog.place.client):
            found.add(url)
        advance(1)
    return found


def _originals_of_others(catalog: Catalog, version: Version) -> set[str]:
    """URLs of all originals that other versions have, of whichever data set. One that is being deleted as well keeps none: if
    each of two kept what both have, it would stay for ever.

    Raises: ValueError while one is being published.
    """
    urls: set[str] = set()
    with tempfile.TemporaryDirectory() as scratch:
        table = Path(scratch) / OBJECTS_FILE
        for known in catalog.known():
            if (known.name, known.number) == (version.name, version.number) or known.marked("deleting"):
                continue
            if known.finished:
                other = catalog.read_version(known.name, known.number)
                catalog.place.download(other.prefix + OBJECTS_FILE, table)
                places = real_places(other.places)
                urls.update(places.url(name) for name in original_names(table))
            elif DRAFT in known.keys:
                draft = f"{known.name}@{known.number}"
                raise ValueError(
                    f"{draft} is being published and may need the same originals: wait until it is finished, or remove it with "
                    f"`kimivl data retire {draft} --delete`"
                )
    return urls


def _exactly(catalog: Catalog, reference: str) -> tuple[Version, Known]:
    """Raises: ValueError unless the reference has a number: what is given up has to be said exactly."""
    if parse_reference(reference)[1] is None:
        raise ValueError(f"say which version, as {reference}@1: `kimivl data ls {catalog.url}` lists them")
    return catalog.find(reference)


def _refuse_if_held(catalog: Catalog, version: Version, known: Known) -> None:
    runs = holders(catalog.held(version, known).values())
    if runs:
        raise InUse(
            f"{version.reference} is needed by {plural(len(runs), 'run')}: {some(runs)}; when one is over for good, say so with "
            f"`kimivl data release {version.reference} RUN`"
        )
