"""`kimivl data index`: what lies at a URL as a manifest.

What it is: `index`, which decides what is rows and what is originals, has both read, and writes the manifest or nothing.
What it is not: a copy of originals: they stay as they are where they are, but for pictures in cells of tables (`cells.py`).
The steps: list → rows, or shards, or folders → the originals they speak of → the manifest. What was read is in notes beside
OUT until the manifest is there; a run that was stopped, or that found malformed rows, goes on from them, and a later one
takes over what did not change.
"""

import json
import os
import re
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kimivl.data.convert.faults import Faults, Malformed
from kimivl.data.convert.forms import Fault
from kimivl.data.index.cells import Cells
from kimivl.data.index.earlier import take_over
from kimivl.data.index.folders import folder_rows
from kimivl.data.index.layout import Layout, is_original, layout_of, split_of
from kimivl.data.index.notes import Notes, Row
from kimivl.data.index.place import Listed, Place
from kimivl.data.index.records import Said, again, finished, take
from kimivl.data.index.scan import Scanned, ahead, scan
from kimivl.data.index.shards import shard_rows
from kimivl.data.index.tables import table_rows
from kimivl.data.manifest.manifest import is_manifest
from kimivl.data.manifest.schema import write_manifest
from kimivl.data.store.client import Client
from kimivl.data.store.urls import join_url
from kimivl.model.lock import alone

INDEXER = 2  # raised when the same originals give other rows
_OURS = re.compile(r"\.manifest/|\.pictures/[0-9a-f]{2}/[0-9a-f]{64}\.\w+$")  # of manifests that lie beside the originals

Show = Callable[[str, int | None], Callable[[int], None]]  # (what is done, how much there is to do) → so much more is done


def unseen(what: str, total: int | None) -> Callable[[int], None]:
    """Shows nothing."""
    return lambda done: None


def index(
    url: str, out: Path, licence: str | None = None, language: str | None = None, images: str | None = None, frames: int = 8,
    client: Client | None = None, show: Show = unseen,
) -> dict[str, Any]:  # fmt: skip
    """Writes the manifest `out`.

    Args:
        url: a folder or a file, local or in a store; `*` in its last parts chooses files of rows, shards or pictures.
        licence, language: SPDX and BCP 47, of all that does not say its own.
        images: URL of the folder that paths of pictures are relative to, if it is another.
        frames: of a video, at most.
        client: of stores (default: one with the AWS_* variables).
        show: is told of progress; bytes of originals, and rows.
    Returns: the layout; how many samples and pictures in them, originals, pictures written out of tables, objects that hold
        originals, how many of these were read and how many are unchanged, and how many that might be originals are in no sample;
        how many files are of no kind that is read, and the first of them; the digest.
    Raises: Malformed; StoreError; ValueError for a place that is not understood; OSError, also if another run is at
        this manifest.
    """
    if out.exists() and not is_manifest(out) and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is there and is no manifest: name a new folder, as data/mine/coco/train.manifest")
    if frames < 1:
        raise ValueError(f"frames must be at least 1, got {frames}")
    client = client or Client()
    settings = json.dumps({"indexer": INDEXER, "licence": licence, "language": language, "frames": frames})
    file = out.with_name(f".{out.name}.notes")
    lock = out.with_name(f".{out.name}.lock")
    with alone(lock, f"{out} is being made", "wait until it is done, or end it"):
        notes = Notes(file, json.dumps([images or url, settings]))
        cells = Cells(out, notes)
        written = False
        try:
            result = _Run(url, out, images or url, Said(licence, language, frames), notes, cells, client, show).all(settings)
            written = True
            return result
        except sqlite3.DatabaseError as error:
            raise OSError(f"{file} could not be written ({error}): free space, and run the command again") from error
        finally:
            if not written:
                cells.undo()
            notes.close(keep=not written)


class _Run:
    """A run. `rows`: where rows are, `pictures`: what their paths are relative to; mostly the same."""

    def __init__(
        self, url: str, out: Path, images: str, said: Said, notes: Notes, cells: Cells, client: Client, show: Show
    ):  # fmt: skip
        self.out, self.said, self.notes, self.cells, self.show = out, said, notes, cells, show
        self.rows, self.pictures = Place(url, client), Place(images, client)
        self.together = self.rows.root == self.pictures.root

    def all(self, settings: str) -> dict[str, Any]:
        """Writes the manifest. Returns: as of `index`."""
        layout = self._listed()
        self._refuse_held_out(layout)
        self.notes.forget_changed(layout.kind == "shards")
        if is_manifest(self.out):
            take_over(self.out, self.notes, self.pictures.root, settings, layout.kind == "shards")
        read = 0
        if layout.kind == "shards":
            read += self._shards(layout.files)
        else:
            self._rows(layout)
        self.notes.forget_unneeded()
        read += self._originals()
        self.notes.number()
        counts = {"samples": 0, "pictures": 0}
        digest = write_manifest(
            self.out, self._objects(), self._samples(counts), self.pictures.root, self.notes.all_read(), settings
        )  # fmt: skip
        kept = self.notes.counts()
        kept |= {"read": read, "unchanged": kept["objects"] - read, "unused": sum(map(is_original, self.notes.unneeded()))}
        left_out = {"skipped": layout.skipped, "skipped_first": layout.skipped_first}
        return {"layout": layout.kind} | counts | kept | left_out | {"digest": digest}

    def _listed(self) -> Layout:
        """Notes all objects among which pictures are looked for. Returns: what is rows."""
        advance = self.show("objects listed", None)
        own = tuple(Path(os.path.abspath(folder)).as_uri() + "/" for folder in (self.out, self.cells.folder))

        def seen(place: Place) -> Iterator[Listed]:
            for of in place.list():
                if not _OURS.search(of.path) and not join_url(place.root, of.path).startswith(own):
                    advance(1)
                    yield of

        self.notes.list(seen(self.pictures))
        if self.together:
            return layout_of(self.rows, self.notes.all_listed())
        layout = layout_of(self.rows, seen(self.rows))
        if layout.kind != "rows":
            raise ValueError(f"{self.rows.root} holds no files of rows, and --images is for rows")
        return layout

    def _refuse_held_out(self, layout: Layout) -> None:
        """Raises: ValueError where all that a folder holds is called after another split than the manifest that is learned."""
        if self.rows.chosen == "*" and layout.split not in ("", "train") and split_of(self.out.stem) == "train":
            raise ValueError(
                f"{self.rows.root} holds {layout.split} alone, and {self.out.name} is learned: call it {layout.split}.manifest, "
                "or, if it is to be learned, name the files or the folder themselves in the URL (a pattern will do)"
            )

    def _rows(self, layout: Layout) -> None:
        """Notes all rows. Files of rows are read every time."""
        advance = self.show("rows read", None)
        if layout.kind == "folders":
            for path, row in folder_rows(self.rows, self.notes):
                take(self.notes, "", path, row, path, "", self.pictures.root)
                advance(1)
        for of in layout.files if layout.kind == "rows" else ():
            above = of.path.rpartition("/")[0] + "/" if self.together and "/" in of.path else ""
            for number, row in table_rows(self.rows, of, self.cells):
                name = f"{of.path.rpartition('.')[0]}-{number}"
                take(self.notes, of.path, f"{of.path}:{number}", row, name, above, self.pictures.root)
                advance(1)
                self.notes.save_sometimes()
        self.notes.save()

    def _shards(self, shards: Sequence[Listed]) -> int:
        """Reads shards and notes their samples; how many were read."""
        new = [of for of in shards if not self.notes.was_read(of.path)]
        for of in shards:
            self.notes.need(of.path)
        again(self.notes, self.pictures.root)
        for found in self._scanned(((of, ()) for of in new), sum(of.size for of in new), shard=True):
            path = found.of.path
            for key, row in shard_rows(found):
                take(self.notes, path, key, row, key, "", self.pictures.root)
            if path in found.faults:
                self.notes.add_fault(path, path, found.faults[path].removeprefix(f"{path}: "))
        return len(new)

    def _originals(self) -> int:
        """Reads the objects that samples speak of; how many were read."""
        wanted = ((of, self.notes.needed_of(of.path)) for of in self.notes.needed())
        return sum(1 for _ in self._scanned(wanted, self.notes.needed_bytes(), shard=False))

    def _scanned(self, objects: Iterable[tuple[Listed, Collection[str]]], total: int, shard: bool) -> Iterator[Scanned]:
        """What is in each object, noted."""
        self.pictures.read = self.show("bytes of originals", total)
        for found in ahead(lambda item: scan(self.pictures, item[0], item[1], shard), objects):
            self.notes.keep_read(found.of, found.rows, found.faults)
            yield found
            self.notes.save_sometimes()

    def _objects(self) -> Iterator[Row]:
        return ({**row, "licence": self.said.licence} for row in self.notes.all_originals())

    def _samples(self, counts: dict[str, int]) -> Iterator[Row]:
        """Raises: Malformed at the end, if a row is."""
        faults, advance = Faults(), self.show("samples", None)
        for place, record, fault in self.notes.samples():
            try:
                if record is None:
                    raise Fault(fault)
                row = finished(self.notes, place, record, self.said, self.pictures.root)
                counts["samples"] += 1
                counts["pictures"] += len(row["pictures"])
                if not faults.count:
                    yield row
            except Fault as error:
                faults.add(place, error)
            advance(1)
        faults.raise_any(counts["samples"])
        if not counts["samples"]:
            raise Malformed(f"{self.rows.root} holds no rows")
