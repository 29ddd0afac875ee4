"""Which sources lie in a folder of data, opened when they are looked at.

What it is: `Shelf`. Sources are numbered, and pages call them by these numbers alone: no address ever names a path.
What it is not: their pages, or what is counted of them (`figures.py`).
"""

import threading
from dataclasses import dataclass
from pathlib import Path

from kimivl.data.manifest.manifest import is_manifest
from kimivl.data.source import Source, source_path


@dataclass(frozen=True)
class Entry:
    """One source. `path`: of its JSONL file, or of the folder of its manifest."""

    index: int
    name: str
    split: str
    path: Path

    @property
    def title(self) -> str:
        return self.name if self.split == "train" else f"{self.name} / {self.split}"

    @property
    def is_manifest(self) -> bool:
        return self.path.is_dir()


class Shelf:
    """The sources below `path`: `<source>/<split>.manifest` or `.jsonl`; or one of these; or the folder of one source.

    Raises: FileNotFoundError or ValueError naming what was looked for, if nothing is there.
    """

    def __init__(self, path: Path):
        path = path.resolve()
        places = _places(path)
        if not places:
            raise ValueError(
                f"{path} holds no data: looked for <source>/<split>.jsonl and <source>/<split>.manifest; "
                "`kimivl data build nano` and `kimivl data convert` make such folders"
            )
        self.root = places[0].parent.parent
        self.entries = [Entry(index, place.parent.name, place.stem, place) for index, place in enumerate(places)]
        self._sources: dict[int, Source] = {}
        self._lock = threading.Lock()

    def source(self, entry: Entry) -> Source:
        """Opened once. Raises: ValueError or OSError naming a file that cannot be read or holds nothing."""
        with self._lock:
            if entry.index not in self._sources:
                self._sources[entry.index] = Source(self.root, entry.name, entry.split)
            return self._sources[entry.index]

    def find(self, name: str, split: str = "train") -> Entry | None:
        """The entry of a source, if it is among those that are shown."""
        return next((entry for entry in self.entries if (entry.name, entry.split) == (name, split)), None)


def _places(path: Path) -> list[Path]:
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder; give a folder of data, a manifest or a JSONL file")
    if is_manifest(path) and path.suffix == ".manifest":
        return [path]
    if path.is_file():
        return [_jsonl(path)]
    return _splits(path) or [place for folder in sorted(path.iterdir()) for place in _splits(folder)]


def _jsonl(path: Path) -> Path:
    if path.suffix != ".jsonl":
        raise ValueError(
            f"{path} is no JSONL file (its name ends in {path.suffix or 'nothing'}): `kimivl data convert` makes one"
        )
    if (found := source_path(path.parent.parent, path.parent.name, path.stem)) != path:
        raise ValueError(f"{path} is not what training reads: {found.name} lies beside it; give that one")
    return path


def _splits(folder: Path) -> list[Path]:
    """What training would open in the folder of one source: a manifest goes before the JSONL of the same split."""
    if not folder.is_dir() or folder.name.startswith("."):
        return []
    manifests = {path.stem: path for path in sorted(folder.glob("*.manifest")) if is_manifest(path)}
    lines = {path.stem: path for path in sorted(folder.glob("*.jsonl")) if path.is_file()}
    found = lines | manifests
    return [found[split] for split in sorted(found, key=lambda split: (split != "train", split))]
