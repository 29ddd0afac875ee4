"""`kimivl bench data`, resume: seconds from opening a source of a million rows to the first pack behind a saved state.

Measured for JSONL and for a manifest, with states at 1, 50 and 99 % of an epoch, each in a process of its own; the imports of
that process do not count. A manifest's tables are unpacked when it is opened for the first time on a machine; `first` says how
long that takes, once.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from kimivl.bench.timing import Comparison, where
from kimivl.config.recipe import StageConfig
from kimivl.data.loader import Loader
from kimivl.data.manifest.schema import write_manifest
from kimivl.data.plan import PlanState
from kimivl.data.source import Source
from kimivl.processor.image import ImageProcessor
from kimivl.processor.processor import Processor
from kimivl.processor.tokenizer import Tokenizer

ROWS = 1_000_000
POSITIONS = (0.01, 0.5, 0.99)
LIMIT = 2.0  # seconds
FORMS = ("jsonl", "manifest")


def run(rows: int = ROWS, rounds: int = 3) -> Iterator[dict[str, Any]]:
    """A JSON object for each form; `seconds` holds the best of each position, `ours` is the worst of these."""
    with tempfile.TemporaryDirectory(prefix="kimivl-bench-") as folder:
        for form in FORMS:
            root = Path(folder) / form
            _write(root, form, rows)
            first = _in_a_new_process(root, rows, 0.0)
            seconds = [min(_in_a_new_process(root, rows, position) for _ in range(rounds)) for position in POSITIONS]
            comparison = Comparison(
                name=f"data.resume.{form}",
                load=f"{rows} rows, at {', '.join(f'{position:.0%}' for position in POSITIONS)} of an epoch",
                ours=round(max(seconds), 3),
                peer=LIMIT,
                peer_name="the limit",
                unit="s",
                ratio=round(LIMIT / max(seconds), 2),
                bar=1.0,
                where=f"{os.cpu_count()} cores, " + where(torch.float32),
            )
            yield comparison.to_json() | {"seconds": [round(each, 3) for each in seconds], "first": round(first, 3)}


def seconds_to_first_pack(root: Path, rows: int, position: float) -> float:
    """In this process, which must not have opened the source before."""
    values = {"name": "bench", "kind": "joint", "steps": 10, "context": 256, "pack_tokens": 4096, "pack_patches": 4096}
    values |= {"mixture": [{"weights": {"rows": 1}}], "schedule": [{"steps": 10, "start": 0, "end": 1e-3}]}
    stage = StageConfig.model_validate(values)
    processor = Processor(Tokenizer({bytes([value]): value for value in range(256)}), ImageProcessor())
    start = time.perf_counter()
    loader = Loader(stage, {"rows": Source(root, "rows")}, processor, 0)
    loader.state = PlanState(drawn={"rows": int(position * rows)})
    loader.packs(5)
    return time.perf_counter() - start


def _in_a_new_process(root: Path, rows: int, position: float) -> float:
    call = f"from kimivl.bench.data_resume import *; print(seconds_to_first_pack(Path({str(root)!r}), {rows}, {position}))"
    settings = os.environ | {"XDG_CACHE_HOME": str(root / "cache")}
    command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path}; {call}"]
    return float(subprocess.run(command, env=settings, stdout=subprocess.PIPE, check=True, text=True).stdout)


def _write(root: Path, form: str, rows: int) -> None:
    records = ({"id": f"row-{row}", "content": f"the text of row {row}"} for row in range(rows))
    if form == "manifest":
        samples = (
            {"id": record["id"], "record": json.dumps(record), "pictures": [], "text_length": 20, "where": "rows.jsonl"}
            for record in records
        )
        write_manifest(root / "rows" / "train.manifest", [], samples, "file:///")
        return
    (root / "rows").mkdir(parents=True)
    with (root / "rows" / "train.jsonl").open("w") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
