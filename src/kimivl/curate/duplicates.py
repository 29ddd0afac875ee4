"""Makes sure that train and test have nothing in common, so that held-out scores can be believed.

What it is: `survey`, the record counts of every source and, between each test file and all training files of its group, the
identical images (same decoded pixels and size), identical text lines, and test items that are copies of a training item as a
whole; and `check`, which refuses a group where there is any.
What it is not: a near-duplicate search for images; the sources that need a wider test make it when they are built. Groups are
made from different material, or from what another group uses for training.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kimivl.curate.records import Record
from kimivl.curate.workshop import plain_text, read_records

LINE_CHARS = 60  # shorter lines (questions, captions) repeat by design


def survey(root: Path, sources: Sequence[str], pixel_hashes: Mapping[Path, str]) -> dict[str, Any]:
    """`{"sources": {name: counts}, "duplicates": {test file: {...}}}` for the finished `sources` of one group under `root`.

    `pixel_hashes` gives the hash of every image of these sources by its path.
    """
    files = {path: read_records(path) for source in sources for path in sorted((root / source).glob("*.jsonl"))}
    counts: dict[str, Any] = {source: {} for source in sources}
    train = Contents()
    tests: dict[str, Contents] = {}
    for path, records in files.items():
        source = path.parent.name
        counts[source][path.stem] = {
            "records": len(records),
            "text_chars": sum(len(plain_text(record)) for record in records),
            "images": len(image_names(records)),
        }
        contents = train if path.stem == "train" else tests.setdefault(f"{source}/{path.stem}", Contents())
        contents.add(records, {name: pixel_hashes[path.parent / name] for name in image_names(records)})
    return {"sources": counts, "duplicates": {name: shared(train, test) for name, test in tests.items()}}


def check(duplicates: Mapping[str, Mapping[str, int]]) -> None:
    """Raises: ValueError naming a test file that shares something with training."""
    for name, counts in duplicates.items():
        if found := {what: number for what, number in counts.items() if what.endswith("_in_train") and number}:
            raise ValueError(f"{name} shares {found} with the training data of its group: remove them from training")


@dataclass
class Contents:
    """What one side holds, as hashes: the pictures, the long lines of text, and the items as wholes."""

    images: list[str] = field(default_factory=list)
    lines: set[int] = field(default_factory=set)
    items: list[str] = field(default_factory=list)

    def add(self, records: Sequence[Record], pixels: Mapping[str, str]) -> None:
        """`pixels` gives the hash of each image that the records name."""
        self.images += pixels.values()
        self.lines.update(_long_lines(records))
        self.items += [_item_key(record, pixels) for record in records]


def shared(train: Contents, test: Contents) -> dict[str, int]:
    """How many test images, long text lines and whole items also occur in training, beside their totals."""
    images, items = set(train.images), set(train.items)
    return {
        "test_images": len(test.images),
        "images_in_train": sum(image in images for image in test.images),
        "test_lines": len(test.lines),
        "lines_in_train": len(test.lines & train.lines),
        "items_in_train": sum(item in items for item in test.items),
    }


def image_names(records: Iterable[Record]) -> list[str]:
    """The distinct image paths that records name, in order of appearance."""
    names = (
        part["image"]
        for record in records
        for content in _contents(record)
        if not isinstance(content, str)
        for part in content
        if part["type"] == "image"
    )
    return list(dict.fromkeys(names))


def _contents(record: Record) -> list[Any]:
    return [record["content"]] if "content" in record else [message["content"] for message in record["messages"]]


def _long_lines(records: Iterable[Record]) -> Iterable[int]:
    for record in records:
        for line in plain_text(record).splitlines():
            if len(line) >= LINE_CHARS:
                yield hash(line)


def _item_key(record: Record, pixels: Mapping[str, str]) -> str:
    """The sample without its name: same pictures (by pixels) and same text."""
    images = [pixels[name] for name in image_names([record])]
    return hashlib.blake2b(json.dumps([images, plain_text(record)]).encode(), digest_size=16).hexdigest()
