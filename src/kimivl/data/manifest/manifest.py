"""A manifest as samples, by row, in constant time and memory.

What it is: `Manifest`. Its tables are unpacked once into Arrow files and mapped into memory, so that a million rows cost neither
start-up time nor memory, and all processes of a node share the same pages.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kimivl.config.base import read_json
from kimivl.data.manifest.schema import FORMAT, OBJECTS_FILE, SAMPLES_FILE
from kimivl.data.sample import Sample, read_record
from kimivl.data.store.urls import join_url
from kimivl.processor.messages import ImagePart
from kimivl.processor.stored import StoredBytes, StoredPicture


class Manifest:
    """The samples of the manifest in `folder`.

    Args:
        cache: where unpacked tables are kept, by digest and root (default: kimivl/manifests of the user's cache).
    Raises: ValueError naming a folder that is no manifest, or of a newer format.
    Attributes:
        digest: of all rows: what tells one manifest from another.
        root: what the objects' URLs are relative to.
    """

    def __init__(self, folder: Path, cache: Path | None = None):
        self.folder = folder
        head = _head(folder)
        self.root: str = head["root"]
        self.digest: str = head["digest"]
        place = hashlib.sha256(self.root.encode()).hexdigest()[:16]  # copies of a manifest differ in what their store says
        unpacked = (cache or _default_cache()) / f"{self.digest}-{place}"
        self._objects = _mapped(folder / OBJECTS_FILE, unpacked)
        self._samples = _mapped(folder / SAMPLES_FILE, unpacked)

    def __len__(self) -> int:
        return int(self._samples.num_rows)

    def __getitem__(self, row: int) -> Sample:
        """The sample of a row (from 0). Raises: IndexError; ValueError naming a record that is none."""
        if not 0 <= row < len(self):
            raise IndexError(f"{self.folder} has {len(self)} samples, there is no sample {row}")
        columns = {name: self._samples.column(name)[row].as_py() for name in ("record", "pictures", "where")}
        pictures = [ImagePart(self._picture(picture["object"], picture["frame"])) for picture in columns["pictures"]]
        return read_record(columns["record"], columns["where"], Path()).with_images(pictures)

    def _picture(self, row: int, frame: int | None) -> StoredPicture:
        of = {name: self._objects.column(name)[row].as_py() for name in _PLACE}
        place = StoredBytes(
            join_url(self.root, of["url"]), of["version"], of["start"], of["length"], of["sha256"], of["deflated"]
        )  # fmt: skip
        frame = of["page"] if frame is None else frame
        return StoredPicture(of["name"], place, of["media_type"], of["width"], of["height"], frame)


_PLACE = ("name", "url", "version", "start", "length", "deflated", "sha256", "media_type", "width", "height", "page")


def is_manifest(folder: Path) -> bool:
    """Whether there is one."""
    return (folder / "manifest.json").is_file()


def _head(folder: Path) -> dict[str, Any]:
    if not is_manifest(folder):
        raise ValueError(f"{folder} is no manifest: it lacks manifest.json; make one with `kimivl data index`")
    head: dict[str, Any] = read_json(folder / "manifest.json")
    if head.get("format") != FORMAT:
        raise ValueError(f"{folder} has the format {head.get('format')}, this version reads {FORMAT}: make it anew")
    return head


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kimivl" / "manifests"


def _mapped(parquet: Path, folder: Path) -> pa.Table:
    """The table as an Arrow file that is mapped, not read."""
    path = folder / parquet.with_suffix(".arrow").name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}")
        source = pq.ParquetFile(parquet)
        with pa.OSFile(str(new), "wb") as file, pa.ipc.new_file(file, source.schema_arrow) as writer:
            for batch in source.iter_batches():
                writer.write_batch(batch)
        os.replace(new, path)
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
