"""Bringing a version's manifest into a folder, where training or a comparison can read it.

What it is: `fetch`, for good, and `opened`, for the time of a look. Originals stay in their store.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kimivl.catalog.origin import note_origin
from kimivl.catalog.place import sha256
from kimivl.catalog.versions import TABLES, Catalog, Version, to_json
from kimivl.config.base import read_json
from kimivl.data.manifest.manifest import is_manifest
from kimivl.data.store.errors import CorruptObject
from kimivl.eval.progress import Lines, no_lines
from kimivl.model.atomic import replaced_folder


def fetch(catalog: Catalog, reference: str, out: Path, lines: Lines = no_lines) -> tuple[Version, str]:
    """Writes the manifest of a version to `out`, and notes there where its originals lie and where it came from, so that a run
    can hold it.

    Returns: the version and its state, released or deprecated.
    Raises: ValueError for a folder that is no manifest and would be lost, or a version that was retired; CorruptObject;
        NoVersion.
    """
    if out.exists() and not is_manifest(out):
        raise ValueError(f"{out} is there and is no manifest: choose another folder, mostly <data>/<source>/<split>.manifest")
    version, known = catalog.find(reference)
    if known.state not in ("released", "deprecated"):
        raise ValueError(f"{version.reference} of {catalog.url} is {known.state}: use another version")
    with replaced_folder(out) as new:
        download_tables(catalog, version, new, lines)
        head = read_json(new / "manifest.json") | {"root": version.root, "beside": version.beside}
        (new / "manifest.json").write_bytes(to_json(head))
        note_origin(new, catalog, version)
    return version, known.state


@contextmanager
def opened(catalog: Catalog, what: str) -> Iterator[Path]:
    """A folder with the manifest that `what` names: a folder of its own, or a version (NAME or NAME@N). Raises: NoVersion, …"""
    if is_manifest(Path(what)):
        yield Path(what)
        return
    if "/" in what:
        raise ValueError(f"{what} is no manifest: it lacks manifest.json; versions are called NAME@3")
    version, known = catalog.find(what)
    if known.state == "deleted":
        raise ValueError(f"{version.reference} was deleted; its record is all that is left (`kimivl data show`)")
    with tempfile.TemporaryDirectory() as scratch:
        download_tables(catalog, version, Path(scratch))
        yield Path(scratch)


def read_checked(catalog: Catalog, version: Version, name: str) -> bytes:
    """A small file of a version. Raises: CorruptObject if it is not what the version's record says."""
    data = catalog.place.read(version.prefix + name)
    if sha256(data) != version.files[name].sha256:
        raise _corrupt(catalog, version, name)
    return data


def download_tables(catalog: Catalog, version: Version, folder: Path, lines: Lines = no_lines) -> None:
    """Raises: CorruptObject if a table is not what the version's record says."""
    advance = lines("bytes fetched", sum(version.files[name].size for name in TABLES))
    for name in TABLES:
        if catalog.place.download(version.prefix + name, folder / name) != version.files[name].sha256:
            raise _corrupt(catalog, version, name)
        advance(version.files[name].size)


def _corrupt(catalog: Catalog, version: Version, name: str) -> CorruptObject:
    return CorruptObject(catalog.place.below(version.prefix + name), "is not what version.json says; restore it")
