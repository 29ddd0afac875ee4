"""A manifest as samples, by row, in constant time and memory.

What it is: `Manifest`. Its tables are mapped into memory (`unpacked.py`), so that a million rows cost neither start-up time nor
memory, and all processes of a node share the same pages.
"""

import os
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from kimivl.config.base import read_json
from kimivl.data.manifest.places import places_of
from kimivl.data.manifest.schema import FORMAT, OBJECTS_FILE, SAMPLES_FILE
from kimivl.data.manifest.unpacked import Unpacked
from kimivl.data.sample import Sample, read_record
from kimivl.processor.messages import ImagePart
from kimivl.processor.stored import StoredBytes, StoredPicture


class Manifest:
    """The samples of the manifest in `folder`.

    Args:
        cache: where unpacked tables are kept (default: kimivl/manifests of the user's cache).
    Raises: ValueError naming a folder that is no manifest, or of a newer format.
    Attributes:
        digest: of all rows: what tells one manifest from another.
        root: what the objects' URLs are relative to.
        objects, samples: the tables, mapped and not read.
    """

    def __init__(self, folder: Path, cache: Path | None = None):
        self.folder = folder
        head = _head(folder)
        self.root: str = head["root"]
        self._places = places_of(folder, head)
        self.digest: str = head["digest"]
        cache = cache or _default_cache()
        self._unpacked = [Unpacked(folder / name, cache / self.digest, cache) for name in (OBJECTS_FILE, SAMPLES_FILE)]
        self.objects, self.samples = (each.table for each in self._unpacked)

    @property
    def identity(self) -> str:
        return self.digest

    def __len__(self) -> int:
        return int(self.samples.num_rows)

    def __getitem__(self, row: int) -> Sample:
        """The sample of a row (from 0). Raises: IndexError; ValueError naming a record that is none."""
        self._check(row)
        columns = {name: self.samples.column(name)[row].as_py() for name in ("record", "pictures", "where")}
        pictures = [ImagePart(self._picture(picture["object"], picture["frame"])) for picture in columns["pictures"]]
        return read_record(columns["record"], columns["where"], Path()).with_images(pictures)

    def raw(self, row: int) -> str:
        """The record of a row as it stands in the table. Raises: IndexError."""
        self._check(row)
        return str(self.samples.column("record")[row].as_py())

    def holding(self, words: str, start: int, stop: int) -> list[int]:
        """Rows from `start` to before `stop` whose record, as it stands in the table, holds the words, in upper or lower case."""
        records = self.samples.column("record").slice(start, stop - start)
        found = pc.indices_nonzero(pc.match_substring(records, words, ignore_case=True))
        return (found.to_numpy() + start).tolist()

    def _check(self, row: int) -> None:
        if not 0 <= row < len(self):
            raise IndexError(f"{self.folder} has {len(self)} samples, there is no sample {row}")

    def _picture(self, row: int, frame: int | None) -> StoredPicture:
        of = {name: self.objects.column(name)[row].as_py() for name in _PLACE}
        place = StoredBytes(
            self._places.url(of["url"]), of["version"], of["start"], of["length"], of["sha256"], of["deflated"]
        )  # fmt: skip
        pts = None if frame is None else self.objects.column("pts")[row].values[frame].as_py()
        frame = of["page"] if frame is None else frame
        return StoredPicture(of["name"], place, of["media_type"], of["width"], of["height"], frame, pts)


_PLACE = ("name", "url", "version", "start", "length", "deflated", "sha256", "media_type", "width", "height", "page")


def is_manifest(folder: Path) -> bool:
    """Whether there is one."""
    return (folder / "manifest.json").is_file()


def digest_of(folder: Path) -> str:
    """What tells a manifest from another, without opening its tables. Raises: as `Manifest`."""
    return str(_head(folder)["digest"])


def is_far(folder: Path) -> bool:
    """Whether originals lie in a store, and not in files. Raises: as `Manifest`."""
    places = places_of(folder, _head(folder))
    return not (places.root.startswith("file:") and places.beside.startswith("file:"))


def _head(folder: Path) -> dict[str, Any]:
    if not is_manifest(folder):
        raise ValueError(f"{folder} is no manifest: it lacks manifest.json; make one with `kimivl data index`")
    head: dict[str, Any] = read_json(folder / "manifest.json")
    if head.get("format") != FORMAT:
        raise ValueError(f"{folder} has the format {head.get('format')}, this version reads {FORMAT}: make it anew")
    return head


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kimivl" / "manifests"
