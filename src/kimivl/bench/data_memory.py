"""`kimivl bench data`, memory: what the loader and its workers hold while 100,000 samples pass through.

Measured is the proportional set size of the process and all its children, so that shared pages count once. The run's second
tenth, when everything is warm, is compared with its last one. The pictures are small, so that it takes two minutes on two cores.
"""

import json
import os
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from PIL import Image

from kimivl.bench.timing import Comparison, where
from kimivl.config.recipe import StageConfig
from kimivl.data.loader import Loader
from kimivl.data.source import Source
from kimivl.processor.image import ImageProcessor
from kimivl.processor.processor import Processor
from kimivl.processor.tokenizer import Tokenizer

SAMPLES, WORKERS, FILES = 100_000, 4, 200
BAR = 1 / 1.05  # flat within 5 %
SAMPLES_A_STEP = 50


def run(samples: int = SAMPLES, workers: int = WORKERS) -> dict[str, Any]:
    """The comparison as a JSON object; `mib` holds what was measured, a hundred times over the run."""
    with tempfile.TemporaryDirectory(prefix="kimivl-bench-") as folder:
        _write(Path(folder), samples)
        measured = _measured(Source(Path(folder), "pictures"), samples, workers)
    second, last = measured[len(measured) // 10 : len(measured) // 5], measured[-(len(measured) // 10) :]
    comparison = Comparison(
        name="data.memory",
        load=f"{samples} samples, {workers} workers",
        ours=round(mean(last), 1),
        peer=round(mean(second), 1),
        peer_name="the second tenth of the run",
        unit="MiB",
        ratio=round(mean(second) / mean(last), 4),
        bar=round(BAR, 4),
        where=f"{os.cpu_count()} cores, " + where(torch.float32),
    )
    return comparison.to_json() | {"mib": [round(each, 1) for each in measured]}


def _write(root: Path, samples: int) -> None:
    folder = root / "pictures"
    folder.mkdir()
    for number in range(FILES):
        pixels = np.random.default_rng(number).integers(0, 256, (24 + number % 16, 24 + number % 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.{'png' if number % 2 else 'jpg'}")
    with (folder / "train.jsonl").open("w") as file:
        for number in range(samples):
            image = {"type": "image", "image": f"{number % FILES}.{'png' if number % FILES % 2 else 'jpg'}"}
            file.write(json.dumps({"id": f"{number}", "content": [image, {"type": "text", "text": f"number {number}"}]}) + "\n")


def _measured(source: Source, samples: int, workers: int) -> list[float]:
    """MiB, a hundred times until all samples have passed."""
    values = {"name": "bench", "kind": "joint", "steps": samples, "context": 64, "pack_tokens": 40 * SAMPLES_A_STEP}
    values |= {"pack_patches": 36 * SAMPLES_A_STEP, "mixture": [{"weights": {"pictures": 1}}]}
    stage = StageConfig.model_validate(values | {"schedule": [{"steps": samples, "start": 0, "end": 1e-3}]})
    processor = Processor(Tokenizer({bytes([value]): value for value in range(256)}), ImageProcessor(patch_size=8))
    loader = Loader(stage, {"pictures": source}, processor, 0, workers=workers)
    measured: list[float] = []
    seen = step = 0
    try:
        while seen < samples:
            seen += sum(len(pack.sample_ids) for pack in loader.packs(step))
            step += 1
            while len(measured) < seen * 100 // samples:
                measured.append(memory_of_family())
    finally:
        loader.close()
    return measured[:100]


def memory_of_family() -> float:
    """MiB of this process and all that descend from it; a page that several share counts in parts."""
    family, kilobytes = [os.getpid()], 0
    for process in family:
        try:
            kilobytes += _proportional(Path(f"/proc/{process}/smaps_rollup").read_text())
            for task in Path(f"/proc/{process}/task").iterdir():
                family += [int(child) for child in (task / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
    return kilobytes / 1024


def _proportional(rollup: str) -> int:
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
