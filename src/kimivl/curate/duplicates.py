"""Counts what train and test have in common, so that held-out scores can be believed.

What it is: `survey`, the record counts of every source and, between its training and test files, the identical images
(same decoded pixels and size), identical text lines, and test items that are copies of a training item as a whole.
What it is not: a near-duplicate search for images; the sources that need a wider test make it when they are built.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kimivl.curate.records import Record
from kimivl.curate.workshop import plain_text, read_records

LINE_CHARS = 60  # shorter lines (questions, captions) repeat by design


def survey(root: Path, sources: Sequence[str], pixel_hashes: Mapping[Path, str]) -> dict[str, Any]:
    """`{"sources": {name: counts}, "duplicates": {name: {...}}}` for the finished `sources` under `root`.

    `pixel_hashes` gives the hash of every image of these sources by its path.
    """
    counts: dict[str, Any] = {}
    shared: dict[str, Any] = {}
    for source in sources:
        splits = {path.stem: read_records(path) for path in sorted((root / source).glob("*.jsonl"))}
        counts[source] = {
            name: {
                "records": len(records),
                "text_chars": sum(len(plain_text(r)) for r in records),
                "images": len(image_names(records)),
            }
            for name, records in splits.items()
        }
        hashes = {image: pixel_hashes[root / source / image] for records in splits.values() for image in image_names(records)}
        for name, records in splits.items():
            if name.startswith("test"):
                shared[f"{source}/{name}"] = compare(splits.get("train", []), records, hashes)
    return {"sources": counts, "duplicates": shared}


def compare(train: Sequence[Record], test: Sequence[Record], hashes: Mapping[str, str]) -> dict[str, int]:
    """How many test images, long text lines and whole items also occur in training, beside their totals."""
    train_images, test_images = ({name: hashes[name] for name in image_names(side)} for side in (train, test))
    train_lines, test_lines = (set(_long_lines(side)) for side in (train, test))
    train_items = {_item_key(record, train_images) for record in train}
    known = set(train_images.values())
    return {
        "test_images": len(test_images),
        "images_in_train": sum(value in known for value in test_images.values()),
        "test_lines": len(test_lines),
        "lines_in_train": len(test_lines & train_lines),
        "items_in_train": sum(_item_key(record, test_images) in train_items for record in test),
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


def _item_key(record: Record, pixels: dict[str, str]) -> str:
    """The sample without its name: same pictures (by pixels) and same text."""
    images = [pixels[name] for name in image_names([record])]
    return hashlib.blake2b(json.dumps([images, plain_text(record)]).encode(), digest_size=16).hexdigest()
