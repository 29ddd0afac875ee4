"""Which versions a manifest's folder is: notes in it, so that a run that reads it can hold them.

What it is: `note_origin`, when it was fetched or published, and `origins` of a folder. The notes are a file of their own, as
manifest.json goes into a version as it is.
What it is not: the holding (`lifecycle.py`). A manifest that is indexed anew has no notes until it is published.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from kimivl.catalog.versions import Catalog, Version
from kimivl.model.atomic import write_atomic

NOTES = "catalogs.json"


@dataclass(frozen=True)
class Origin:
    """A version in the catalog at `url`."""

    url: str
    name: str
    number: int

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.number}"


def origins(folder: Path) -> list[Origin]:
    """The versions that the manifest in `folder` was fetched from, or published as; of each data set of a catalog the last."""
    file = folder / NOTES
    return [Origin(**each) for each in json.loads(file.read_text(encoding="utf-8"))] if file.exists() else []


def note_origin(folder: Path, catalog: Catalog, version: Version) -> None:
    """Notes that the manifest in `folder` is this version, too. Raises: NotWritten."""
    origin, there = Origin(catalog.url, version.name, version.number), origins(folder)
    if origin not in there:
        others = [each for each in there if (each.url, each.name) != (origin.url, origin.name)]
        write_atomic(folder / NOTES, json.dumps([asdict(each) for each in [*others, origin]]) + "\n")
