"""What it costs to index many rows over pictures in tar archives: seconds, and the most memory that was held.

What it is: `run`, in a process of its own, whose memory is nobody else's.
"""

import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kimivl.data.index.build import index
from kimivl.data.manifest.manifest import Manifest

ROWS, PICTURES, ARCHIVES = 100_000, 10_000, 4
LIMIT = 2.0  # seconds to the first sample of a manifest that was opened before


def run(rows: int = ROWS, pictures: int = PICTURES) -> dict[str, Any]:
    """One JSON object; `seconds` of indexing, `mib` held at most, `first` and `value`: seconds to the first sample, and again."""
    with tempfile.TemporaryDirectory(prefix="kimivl-bench-") as folder:
        _write(Path(folder) / "originals", rows, pictures)
        call = f"from kimivl.bench.data_index import *; measured({folder!r})"
        command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path}; {call}"]
        settings = os.environ | {"XDG_CACHE_HOME": f"{folder}/cache"}
        done = subprocess.run(command, env=settings, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    name = f"index of {rows} rows over {pictures} pictures in tar archives: seconds to the first sample"
    return {"name": name, "bar": LIMIT, "ok": found["value"] < LIMIT} | found


def measured(folder: str) -> None:
    """Prints what `run` returns, in this process."""
    start = time.perf_counter()
    out = Path(folder) / "data" / "train.manifest"
    index(str(Path(folder) / "originals"), out)
    indexed = time.perf_counter()
    openings = [_seconds_to_first_sample(out) for _ in range(2)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": round(indexed - start, 1), "mib": round(peak), "first": openings[0], "value": openings[1]}))


def _seconds_to_first_sample(manifest: Path) -> float:
    start = time.perf_counter()
    assert Manifest(manifest)[0].images
    return round(time.perf_counter() - start, 4)


def _write(root: Path, rows: int, pictures: int) -> None:
    root.mkdir()
    for archive in range(ARCHIVES):
        with tarfile.open(root / f"{archive}.tar", "w") as tar:
            for number in range(archive, pictures, ARCHIVES):
                shown = BytesIO()
                Image.fromarray(np.full((8, 8, 3), [number % 256, number // 256 % 256, archive], np.uint8)).save(shown, "PNG")
                member = tarfile.TarInfo(f"{number}.png")
                member.size = len(shown.getvalue())
                tar.addfile(member, BytesIO(shown.getvalue()))
    with (root / "rows.jsonl").open("w") as file:
        for row in range(rows):
            number = row % pictures
            turns = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": f"number {row}"}]
            image = f"{number % ARCHIVES}.tar/{number}.png"
            file.write(json.dumps({"id": str(row), "image": image, "conversations": turns}) + "\n")
