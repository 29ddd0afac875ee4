"""The two tables of a manifest, as Parquet files in one folder.

What it is: their columns, `write_manifest`, and the digest that tells one manifest from another.
What it is not: finding out what stands in them (`data/index/`), or reading samples (`manifest.py`).

    objects.parquet   a row for each original: a picture file, a member of an archive, a page of a PDF, a video
    samples.parquet   a row for each sample: its record as in docs/nano.md, and which objects its pictures are, in order
    seen.parquet      what the store said of each object when it was read, for indexing again; no part of the digest

The first two are plain Parquet, for DuckDB or any other reader; the text of a sample stands in the table, pictures stay
where they are.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kimivl.model.atomic import replaced_folder

OBJECTS_FILE, SAMPLES_FILE, SEEN_FILE = "objects.parquet", "samples.parquet", "seen.parquet"
FORMAT = 1
ROW_GROUP = 10_000

OBJECTS = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),  # how records call it: a path below the root, "shard.tar/1.jpg"
        # Of the object that holds its bytes, below the root; "./…" is a picture of the manifest's own (`places.py`).
        pa.field("url", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),  # etag when it was indexed, "" where the store has none
        pa.field("start", pa.int64(), nullable=False),  # the range of its bytes in that object
        pa.field("length", pa.int64(), nullable=False),
        pa.field("deflated", pa.bool_(), nullable=False),  # these bytes are raw deflate data (zip members)
        pa.field("sha256", pa.string(), nullable=False),  # of these bytes
        pa.field("media_type", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),  # upright
        pa.field("height", pa.int32(), nullable=False),
        pa.field("page", pa.int32()),  # of a PDF, from 0
        pa.field("frames", pa.int32()),  # of a video
        pa.field("pts", pa.list_(pa.int64())),  # of each frame, in units of `time_base`
        pa.field("time_base", pa.string()),  # seconds as a fraction, "1/15360"
        pa.field("licence", pa.string()),  # SPDX where it is known
    ]
)
PICTURE = pa.struct([pa.field("object", pa.int32(), nullable=False), pa.field("frame", pa.int32())])
SAMPLES = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("record", pa.string(), nullable=False),  # JSON; pictures by name, a frame of a video as "clip.mp4#frame=3"
        pa.field("pictures", pa.list_(PICTURE), nullable=False),  # row in the objects, frame of a video
        pa.field("text_length", pa.int64(), nullable=False),  # characters of all texts
        pa.field("where", pa.string(), nullable=False),  # where the record was read, for errors: "train.jsonl:17"
        pa.field("licence", pa.string()),  # SPDX where it is known
        pa.field("language", pa.string()),  # BCP 47 where it is known; of texts, so that originals have none
    ]
)

SEEN = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),  # of the object, below the root
        pa.field("size", pa.int64(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("changed", pa.int64(), nullable=False),  # microseconds since 1970: files have no version
    ]
)

Row = Mapping[str, Any]


def write_manifest(
    folder: Path, objects: Iterable[Row], samples: Iterable[Row], root: str, seen: Iterable[Row] = (), settings: str = ""
) -> str:
    """Writes the tables, or none.

    Args:
        objects, samples, seen: rows as of `OBJECTS`, `SAMPLES` and `SEEN`; taken one after the other, never held together.
        root: URL that the objects' are relative to, ending in "/".
        settings: what samples of archives depend on beside the archives; of others nothing is taken over.
    Returns: the manifest's digest, in hexadecimal digits: of all objects and samples, but not of the root and the etags, which
        differ from copy to copy of the same data.
    Raises: OSError; pyarrow.ArrowInvalid for a row that is not of the schema; what the iterables raise.
    """
    digest = hashlib.blake2b(digest_size=16)
    with replaced_folder(folder) as new:
        _write(new / OBJECTS_FILE, OBJECTS, objects, digest)
        _write(new / SAMPLES_FILE, SAMPLES, samples, digest)
        _write(new / SEEN_FILE, SEEN, seen, hashlib.blake2b())
        head = {"format": FORMAT, "root": root, "digest": digest.hexdigest(), "settings": settings}
        (new / "manifest.json").write_text(json.dumps(head) + "\n")
    return digest.hexdigest()


def _write(path: Path, schema: pa.Schema, rows: Iterable[Row], digest: hashlib.blake2b) -> None:
    told = [name for name in schema.names if name != "version"]
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in _batches(rows):
            for row in batch:
                digest.update(json.dumps([row.get(name) for name in told], ensure_ascii=False).encode())
            writer.write_table(pa.Table.from_pylist(batch, schema))


def _batches(rows: Iterable[Row]) -> Iterable[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == ROW_GROUP:
            yield batch
            batch = []
    if batch:
        yield batch
