"""What a manifest holds, in numbers.

What it is: `statistics`, a plain dictionary for stats.json, the card and the page; computed by DuckDB over the Parquet files, a
column at a time, so that millions of rows take seconds.
What it is not: reading pictures, or rendering texts; sizes, languages and licences are what the index wrote into the tables, and
tokens what `kimivl data lengths` counted.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from kimivl.data.lengths import all_lengths
from kimivl.data.manifest.manifest import digest_of, is_manifest
from kimivl.data.manifest.schema import OBJECTS_FILE, SAMPLES_FILE

Statistics = dict[str, Any]

# Lower bounds are inclusive: counts[i] is of edges[i - 1] <= x < edges[i], the first of all below, the last of all from the
# last edge.
SIDE_EDGES = (128, 256, 512, 1024, 2048, 4096)  # pixels of the longer side
ASPECT_EDGES = (1 / 4, 1 / 2, 3 / 4, 1, 4 / 3, 2, 4)  # width ÷ height
TOKEN_EDGES = (16, 64, 256, 1024, 4096, 16384, 65536)  # tokens of a sample without its pictures
TEXT_EDGES = (1, 16, 64, 256, 1024, 4096, 16384)  # characters of a sample
PICTURE_EDGES = (1, 2, 3, 5, 9, 17)  # pictures of a sample
UNKNOWN = "unknown"


def statistics(folder: Path) -> Statistics:
    """Counts and histograms of the manifest in `folder`.

    Returns: of samples: `samples`, `pictures` (with repetitions), `characters`, `text_length`, `pictures_per_sample`,
        `languages`; of originals: `objects`, `bytes` (of different ranges), `frames` (of videos), `longer_side`, `aspect`,
        `media_types`, `duplicates` (`contents` that lie at several places, `copies` beyond the first and their `bytes`); of
        both: `licences`. A histogram is {edges, counts}; names are counted by how often they come. `token_lengths` is a list:
        for each vocabulary by which tokens were counted, `tokenizer` (its digest), `vocabulary` (its size), `called`, `tokens`
        (of all texts), and a histogram.
    Raises: ValueError for a folder that is no manifest, or without DuckDB.
    """
    if not is_manifest(folder):
        raise ValueError(f"{folder} is no manifest: it lacks manifest.json; make one with `kimivl data index`")
    with connect() as database:
        for view, file in (("objects", OBJECTS_FILE), ("samples", SAMPLES_FILE)):
            database.read_parquet(str(folder / file)).create_view(view)
        return _samples(database) | _objects(database) | {"token_lengths": _token_lengths(folder)}


def read_statistics(data: bytes) -> Statistics:
    """Those of stats.json."""
    values: Statistics = json.loads(data)
    return values


def connect() -> Any:
    """A DuckDB database in memory, which shows no progress of its own. Raises: ValueError if DuckDB is not installed."""
    try:
        import duckdb
    except ImportError:
        raise ValueError("this needs DuckDB: pip install 'kimivl[catalog]'") from None
    database = duckdb.connect()
    database.execute("SET enable_progress_bar = false")
    return database


def _samples(database: Any) -> Statistics:
    samples, characters, pictures = _row(
        database, "SELECT count(*), coalesce(sum(text_length), 0), coalesce(sum(len(pictures)), 0) FROM samples"
    )
    return {
        "samples": samples,
        "pictures": pictures,
        "characters": characters,
        "text_length": _histogram(database, "samples", "text_length", TEXT_EDGES),
        "pictures_per_sample": _histogram(database, "samples", "len(pictures)", PICTURE_EDGES),
        "languages": _counts(database, "samples", "language"),
        "licences": {table: _counts(database, table, "licence") for table in ("samples", "objects")},
    }


def _objects(database: Any) -> Statistics:
    places = "(SELECT DISTINCT url, start, length, sha256, media_type FROM objects)"  # pages of a PDF share one
    objects, frames = _row(database, "SELECT count(*), coalesce(sum(frames), 0) FROM objects")
    contents, copies, copied = _row(
        database,
        "SELECT count(*), coalesce(sum(places - 1), 0), coalesce(sum((places - 1) * length), 0) FROM"
        f" (SELECT count(*) AS places, any_value(length) AS length FROM {places} GROUP BY sha256 HAVING places > 1)",
    )
    types = database.execute(
        "SELECT media_type, objects, bytes FROM"
        " (SELECT media_type, count(*) AS objects FROM objects GROUP BY media_type)"
        f" JOIN (SELECT media_type, sum(length) AS bytes FROM {places} GROUP BY media_type) USING (media_type)"
        " ORDER BY objects DESC, media_type"
    ).fetchall()
    return {
        "objects": objects,
        "bytes": _row(database, f"SELECT coalesce(sum(length), 0) FROM {places}")[0],
        "frames": frames,
        "longer_side": _histogram(database, "objects", "greatest(width, height)", SIDE_EDGES),
        "aspect": _histogram(database, "objects", "width / height", ASPECT_EDGES),
        "media_types": {media_type: {"objects": count, "bytes": int(size)} for media_type, count, size in types},
        "duplicates": {"contents": contents, "copies": copies, "bytes": copied},
    }


def _token_lengths(folder: Path) -> list[Statistics]:
    return [
        {
            "tokenizer": each.tokenizer, "vocabulary": each.vocabulary, "called": each.called,
            "tokens": int(each.tokens_N.sum(dtype=np.int64)), "edges": list(TOKEN_EDGES),
            "counts": np.bincount(np.searchsorted(TOKEN_EDGES, each.tokens_N, "right"), minlength=len(TOKEN_EDGES) + 1).tolist(),
        }
        for each in all_lengths(folder, digest_of(folder))
    ]  # fmt: skip


def _row(database: Any, query: str) -> list[int]:
    return [int(value) for value in database.execute(query).fetchone()]


def _histogram(database: Any, table: str, value: str, edges: tuple[float, ...]) -> dict[str, list[float]]:
    below = [f"x < {edges[0]}", *(f"x >= {low} AND x < {high}" for low, high in zip(edges, edges[1:])), f"x >= {edges[-1]}"]
    filters = ", ".join(f"count(*) FILTER ({condition})" for condition in below)
    return {"edges": list(edges), "counts": list(_row(database, f"SELECT {filters} FROM (SELECT {value} AS x FROM {table})"))}


def _counts(database: Any, table: str, column: str) -> dict[str, int]:
    query = f"SELECT coalesce({column}, '{UNKNOWN}') AS value, count(*) AS times FROM {table}"
    return dict(database.execute(f"{query} GROUP BY value ORDER BY times DESC, value").fetchall())
