"""What an earlier manifest knows of objects that did not change, so that they are not read again."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from kimivl.config.base import read_json
from kimivl.data.index.notes import Notes
from kimivl.data.index.place import Listed
from kimivl.data.manifest.schema import FORMAT, OBJECTS_FILE, SAMPLES_FILE, SEEN_FILE

BATCH = 1000


def take_over(folder: Path, notes: Notes, root: str, settings: str, shards: bool) -> None:
    """Notes the originals of unchanged objects.

    Args:
        shards: whether samples come from them, and are noted too: then settings must be the same. Originals alone depend on no
            setting but the indexer's version.
    """
    head = read_json(folder / "manifest.json")
    made = head.get("settings", "")
    same = made == settings if shards else _indexer(made) == _indexer(settings)
    if head.get("format") != FORMAT or head.get("root") != root or not same or not (folder / SEEN_FILE).is_file():
        return
    for row in _rows(folder / SEEN_FILE):
        seen = Listed(row["path"], row["size"], row["version"], row["changed"])
        if notes.listed(seen.path) == seen:
            notes.mark_read(seen)
    for row in _rows(folder / OBJECTS_FILE):
        if notes.was_read(row["url"]):
            notes.add_original(row["url"], {key: value for key, value in row.items() if value is not None})
    for row in _rows(folder / SAMPLES_FILE) if shards else ():
        if shard := _shard(row["where"], notes):
            notes.add_sample(shard, row["where"], row["id"], row["record"])


def _indexer(settings: str) -> Any:
    return json.loads(settings).get("indexer") if settings else None


def _shard(where: str, notes: Notes) -> str | None:
    parts = where.split("/")
    return next((path for count in range(1, len(parts)) if notes.was_read(path := "/".join(parts[:count]))), None)


def _rows(table: Path) -> Iterator[dict[str, Any]]:
    for batch in pq.ParquetFile(table).iter_batches(BATCH):
        yield from batch.to_pylist()
