"""Where a group of sources is built: a temporary folder that becomes visible only when everything in it is complete.

What it is: `Workshop`, which writes the JSONL files and PNG images of one group of sources, and `publish`, which moves
the finished sources into place. What ends the work before that, for example a full disk, leaves the older sources as they were.
What it is not: a store for training; the data room reads what this leaves behind.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kimivl.curate.records import Record, rng_for
from kimivl.model.atomic import swap_folder, writing


class Workshop:
    """The bench of one group while it is built; used with `with`, at whose end it is cleared away.

    `root` holds the sources that are finished (to read from), `seed` and `scale` are the build's, `advance` moves the
    progress bar. `scale` below 1 makes every source proportionally smaller, for tests.
    Whatever writes raises NotWritten, an OSError that names the file by its final path, the cause and the fix.
    """

    def __init__(
        self, root: Path, group: str, seed: int, scale: float = 1.0, advance: Callable[[float], None] | None = None
    ) -> None:
        self.root, self.seed, self.scale = root, seed, scale
        self.pixel_hashes: dict[Path, str] = {}  # final path of an image -> hash of its pixels; spares the survey the decoding
        self._advance = advance or (lambda share: None)
        self._folder = root / f".building-{group}"
        shutil.rmtree(self._folder, ignore_errors=True)  # what a killed build left
        with writing(root):
            self._folder.mkdir(parents=True)
        self._folders_made: set[Path] = set()

    def __enter__(self) -> "Workshop":
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def rng(self, source: str, index: int = 0) -> np.random.Generator:
        """The randomness of item `index` of `source`."""
        return rng_for(self.seed, source, index)

    def count(self, full: int, least: int = 4) -> int:
        """How many items to build of a source that has `full` at scale 1."""
        return max(least, round(full * self.scale))

    def progress(self, done: int, total: int) -> None:
        """Report that `done` of the group's `total` items exist; cheap enough to call for every item."""
        if done % 256 == 0 or done == total:
            self._advance(done / max(total, 1))

    def save_image(self, source: str, name: str, picture: Image.Image) -> str:
        """Write a PNG and return the path that records name it by."""
        with self._writing(source, f"images/{name}.png") as path:
            picture.save(path, format="PNG", compress_level=1)
        self.pixel_hashes[self.root / source / "images" / f"{name}.png"] = pixel_hash(picture)
        return f"images/{name}.png"

    def share_image(self, source: str, name: str, owner: str) -> str:
        """Let `source` name an image too that was saved for the source `owner`: a hard link where the file system has them."""
        with self._writing(source, f"images/{name}.png") as path:
            self._link(self._folder / owner / "images" / f"{name}.png", path)
        self.pixel_hashes[self.root / source / "images" / f"{name}.png"] = self.pixel_hashes[
            self.root / owner / "images" / f"{name}.png"
        ]
        return f"images/{name}.png"

    def take_image(self, source: str, name: str, file: Path) -> str:
        """Copy a PNG that a package brings, byte by byte."""
        content = file.read_bytes()
        with self._writing(source, f"images/{name}.png") as path:
            path.write_bytes(content)
        with Image.open(file) as picture:
            self.pixel_hashes[self.root / source / "images" / f"{name}.png"] = pixel_hash(picture)
        return f"images/{name}.png"

    def write(self, source: str, split: str, records: Iterable[Record]) -> None:
        """Write `<source>/<split>.jsonl`."""
        # All lines before the file: making the records can write pictures, whose failures are not this file's.
        text = "".join(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n" for record in records)
        with self._writing(source, f"{split}.jsonl") as path:
            path.write_text(text, encoding="utf-8")

    def write_counts(self, source: str, counts: dict[str, Any]) -> None:
        """Write `<source>/counts.json`: what a person wants to know about how the source came to be."""
        with self._writing(source, "counts.json") as path:
            path.write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")

    def publish(self, sources: Sequence[str]) -> None:
        """Move the finished sources into `root`, replacing older builds of the same name."""
        built = {path.name for path in self._folder.iterdir()}
        if built != set(sources):
            raise ValueError(f"{self._folder.name}: the group lists {sorted(sources)} but built {sorted(built)}; correct SOURCES")
        for source in sources:
            with writing(self.root / source):
                swap_folder(self._folder / source, self.root / source)

    @staticmethod
    def _link(existing: Path, path: Path) -> None:
        try:
            os.link(existing, path)
        except OSError:  # no hard links on this file system
            shutil.copyfile(existing, path)

    @contextmanager
    def _writing(self, source: str, file: str) -> Iterator[Path]:
        """Where to write a file of `source`, in a folder that exists."""
        path = self._folder / source / file
        with writing(self.root / source / file):
            if path.parent not in self._folders_made:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._folders_made.add(path.parent)
            yield path


def pixel_hash(picture: Image.Image) -> str:
    """A hash of size and RGB values, blind to how a file compresses them."""
    rgb = picture.convert("RGB")
    return hashlib.blake2b(repr(rgb.size).encode() + rgb.tobytes(), digest_size=16).hexdigest()


def read_records(path: Path) -> list[Record]:
    """All records of a JSONL file that this package wrote."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def plain_text(record: Record) -> str:
    """The text of a document record, or of all messages of a chat, images left out."""
    contents: list[Any] = [record["content"]] if "content" in record else [message["content"] for message in record["messages"]]
    return "\n".join(c if isinstance(c, str) else "".join(part.get("text", "") for part in c) for c in contents)
