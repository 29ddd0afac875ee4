"""How the page of `kimivl data view` fares with a large manifest: python scripts/data_view_times.py [ROWS]

Makes a manifest of a million rows over a tenth as many originals (ranges of 1,000 pictures in one tar archive), asks for pages as
a browser does, and tells of each the seconds that passed, those that processors were busy, and the memory that is the process's
own afterwards (mapped files are not).
"""

import argparse
import hashlib
import io
import json
import os
import re
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from kimivl.bench.data_corpus import WORDS, corpus_processor, corpus_stage
from kimivl.catalog.view.context import View
from kimivl.catalog.view.server import answer
from kimivl.catalog.view.shelf import Shelf
from kimivl.config.store import StoreConfig
from kimivl.data.manifest.schema import FORMAT, OBJECTS, OBJECTS_FILE, SAMPLES, SAMPLES_FILE
from kimivl.data.store.node import NodeFetcher

PICTURES, GROUP = 1_000, 10_000


def make(folder: Path, rows: int) -> None:
    """The source `large` below `folder`, and its originals beside it. Tables are written by columns: rows would take minutes."""
    rng, manifest = np.random.default_rng(0), folder / "data" / "large" / "train.manifest"
    manifest.mkdir(parents=True)
    count = rows // 10
    facts = _pictures(folder / "all.tar", rng)
    columns = {name: pa.array([fact[name] for fact in facts]).take(pa.array(np.arange(count) % PICTURES)) for name in facts[0]}
    columns["name"] = pa.array([f"all.tar/{number}.png" for number in range(count)])
    pq.write_table(_table(columns, OBJECTS, count), manifest / OBJECTS_FILE, compression="zstd", row_group_size=GROUP)
    with pq.ParquetWriter(manifest / SAMPLES_FILE, SAMPLES, compression="zstd") as writer:
        for start in range(0, rows, GROUP):
            numbers = range(start, min(start + GROUP, rows))
            samples = [_sample(number, count, int(words)) for number, words in zip(numbers, rng.lognormal(2.5, 0.8, GROUP) + 1)]
            writer.write_table(pa.Table.from_pylist(samples, SAMPLES))
    digest = hashlib.blake2b(repr((rows, folder)).encode(), digest_size=16).hexdigest()
    head = {"format": FORMAT, "root": folder.as_uri() + "/", "digest": digest, "settings": ""}
    (manifest / "manifest.json").write_text(json.dumps(head))


def _pictures(path: Path, rng: np.random.Generator) -> list[dict[str, Any]]:
    facts = []
    with tarfile.open(path, "w") as tar:
        for number in range(PICTURES):
            width, height = (int(side) for side in np.exp(rng.normal(5.3, 0.5, 2)).clip(16, 2000))
            Image.new("RGB", (width, height), (number % 256, number // 4, 90)).save(file := io.BytesIO(), "PNG")
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(file.getvalue())
            start = tar.offset + tarfile.BLOCKSIZE
            tar.addfile(member, io.BytesIO(file.getvalue()))
            facts.append({
                "url": path.name, "version": "", "start": start, "length": member.size, "deflated": False,
                "sha256": hashlib.sha256(file.getvalue()).hexdigest(), "media_type": "image/png",
                "width": width, "height": height,
            })  # fmt: skip
    return facts


def _sample(number: int, originals: int, words: int) -> dict[str, Any]:
    text = " ".join(WORDS[(number + word) % len(WORDS)] for word in range(words)) + f" number {number}"
    place = number % originals
    parts = [{"type": "image", "image": f"all.tar/{place}.png"}, {"type": "text", "text": "What is it?"}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": text}]
    return {
        "id": f"s{number}", "record": json.dumps({"id": f"s{number}", "messages": messages}), "where": f"rows.jsonl:{number + 1}",
        "pictures": [{"object": place, "frame": None}], "text_length": len(text) + 11, "language": "en",
    }  # fmt: skip


def _table(columns: dict[str, pa.Array], schema: pa.Schema, count: int) -> pa.Table:
    arrays = [columns[field.name].cast(field.type) if field.name in columns else pa.nulls(count, field.type) for field in schema]
    return pa.table(arrays, schema=schema)


def measure(folder: Path, rows: int) -> None:
    stage = corpus_stage(1000, mixture=[{"weights": {"large": 1}}], augment={})
    view = View(Shelf(folder / "data"), NodeFetcher(StoreConfig()), corpus_processor(), stage)
    last = rows - 1
    for what, path in (
        ("overview", "/"), ("first page, tables unpacked", "/source/0"), ("first page again", "/source/0"),
        ("figures", "/figures/0"), ("figures again", "/figures/0"), ("page in the middle", f"/source/0?start={rows // 2}"),
        ("last page", f"/source/0?start={last // 48 * 48}"), ("last sample", f"/sample/0/{last}"),
        ("its picture", f"/picture/0/{last}/0?side=240"), ("packs of step 0", "/packs/0/0"), ("packs of step 5", "/packs/5/0"),
    ):  # fmt: skip
        tell(what, view, path)
    tell("search for what only the last row has, to the end", view, f"/source/0?q=number+{last}")
    tell("search for what no row has, to the end", view, "/source/0?q=nowhere")


def tell(what: str, view: View, path: str | None) -> None:
    start, busy, pages = time.perf_counter(), time.process_time(), 0
    while path:
        reply = answer(view, path)
        assert reply.status == 200, reply.body
        pages += 1
        ahead = re.search(rb'href="([^"]+)" rel="next"', reply.body) if "q=" in path else None
        path = ahead[1].decode().replace("&amp;", "&") if ahead else None
    own = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{os.getpid()}/status").read_text())
    held = int(own[1]) // 1024 if own else 0
    took = f"{time.perf_counter() - start:7.2f} s  {time.process_time() - busy:6.2f} s busy  {held:4} MiB"
    print(f"{took}  {what}{f', {pages} pages' if pages > 1 else ''}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int, nargs="?", default=1_000_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = f"{scratch}/cache"  # where tables are unpacked
        make(Path(scratch), args.rows)
        measure(Path(scratch), args.rows)


if __name__ == "__main__":
    main()
