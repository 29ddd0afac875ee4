"""Where the objects that a manifest names lie.

What it is: `Places`, which turns the names of `objects.parquet` into URLs; `places_of` a folder.
What it is not: the looking for them (`catalog/originals.py`), or the reading (`data/store/`).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kimivl.data.store.urls import join_url

OWN = "./"  # begins the names of pictures that indexing wrote out of tables


@dataclass(frozen=True)
class Places:
    """URLs that end in "/". `root`: of the originals. `beside`: of what was written out of tables, named "./…"."""

    root: str
    beside: str

    def url(self, name: str) -> str:
        """Of an object, by its `url` in objects.parquet."""
        return join_url(self.beside, name.removeprefix(OWN)) if is_own(name) else join_url(self.root, name)


def is_own(name: str) -> bool:
    """Whether it is a picture that indexing wrote out of a table, and no original that lay somewhere before."""
    return name.startswith(OWN)


def places_of(folder: Path, head: Mapping[str, Any]) -> Places:
    """Those of the manifest in `folder`. Own pictures lie beside it, unless `head`, its manifest.json, names another place."""
    return Places(head["root"], head.get("beside") or Path(os.path.abspath(folder)).parent.as_uri() + "/")
