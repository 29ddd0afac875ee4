"""What of a place is rows: files of rows, shards of a WebDataset, or folders of pictures.

What it is: `layout_of`, from names alone. Files of rows go first, so that archives beside them are where their pictures lie; then
archives, then pictures. Several splits in one place are refused, since what is kept for tests must not be learned.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from kimivl.data.index.original import is_media
from kimivl.data.index.place import Listed, Place
from kimivl.data.index.reference import ARCHIVES, PACKED

ROWS = (".jsonl", ".ndjson", ".json", ".parquet")
TABLE = "metadata.csv"  # the one CSV table that is rows: of Hugging Face's folders of pictures
# Hugging Face's descriptions of a data set, and the tables that img2dataset writes beside each of its shards.
NO_ROWS = re.compile(r"(^|/)(dataset_infos?|dataset_dict|state|config|package)\.json$")
BESIDE_SHARD = re.compile(r"(_stats\.json|\.parquet)$")
SPLITS = {
    "train": "train", "test": "test", "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
}  # fmt: skip
_SPLIT = re.compile(r"(?:^|[/_.-])(train|test|val|valid|validation|dev)(?=[/_.-]|\d|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Layout:
    """`files`: of rows, or shards, in the order of their paths."""

    kind: Literal["rows", "shards", "folders"]
    files: list[Listed]


def layout_of(place: Place, listed: Iterable[Listed]) -> Layout:
    """Raises: ValueError for a place with nothing to learn from in it, or with several splits."""
    rows: list[Listed] = []
    shards: list[Listed] = []
    folders: dict[str, str] = {}  # an example of each split
    packed = ""
    for of in listed:
        if not place.chooses(of.path):
            continue
        if of.path.endswith(ARCHIVES):
            shards.append(of)
        elif of.path.endswith(PACKED):
            packed = of.path
        elif (of.path.endswith(ROWS) or of.path.rpartition("/")[2] == TABLE) and not NO_ROWS.search(of.path):
            rows.append(of)
        elif is_media(of.path):
            folders.setdefault(_split_of(of.path.rpartition("/")[0]), of.path)
    stems = {of.path.rpartition(".")[0] for of in shards}
    rows = [of for of in rows if not (BESIDE_SHARD.search(of.path) and BESIDE_SHARD.sub("", of.path) in stems)]
    if packed and not rows and not shards:
        raise ValueError(
            f"{place.root}{packed} is compressed as a whole, so its members have no place of their own: unpack it to .tar"
        )
    if rows or shards:
        files = sorted({of.path: of for of in rows or shards}.values(), key=lambda of: of.path)
        _one_split(place, {_split_of(of.path): of.path for of in files})
        return Layout("rows" if rows else "shards", files)
    if not folders:
        raise ValueError(f"{place.root} holds no rows ({', '.join(ROWS)}), no archives and no pictures; check the URL")
    _one_split(place, folders)
    return Layout("folders", [])


def is_original(path: str) -> bool:
    """Whether samples could speak of it, or of what is in it."""
    return is_media(path) or path.endswith(ARCHIVES)


def _split_of(path: str) -> str:
    found = _SPLIT.findall(path)
    return SPLITS[found[-1].lower()] if found else ""


def _one_split(place: Place, examples: dict[str, str]) -> None:
    splits = {split: path for split, path in examples.items() if split}
    if len(splits) > 1:
        told = ", ".join(f"{split} ({path})" for split, path in sorted(splits.items()))
        raise ValueError(f"{place.root} holds several splits, {told}: give the URL of one, or a pattern such as data/train-*")
