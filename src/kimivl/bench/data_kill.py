"""Is the data of a run that is killed again and again, and goes on with other ranks and workers, that of one that is not?

What it is: `kill_and_resume`, with real processes and SIGKILL, five times in all: twice within one epoch, once directly after it
went on; with 1, 4 and 2 ranks of 0, 3 and 1 workers, and a mixture that is changed in between. All arrays of every pack of every
step are compared, and every digest. The run that is not killed reads files; the other one reads the same, or manifests of
originals in a store that refuses one request in twenty and is asked by a governor.
What it is not: the same of a training run with its weights (tests/train/test_killed.py).
"""

import hashlib
import json
import multiprocessing
import random
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch

from kimivl.bench.data_corpus import corpus_processor, corpus_stage, draw_corpus
from kimivl.bench.data_store import BUCKET, BUDGET, CountingStore, store_settings
from kimivl.data.batch import PackedBatch
from kimivl.data.index.build import index
from kimivl.data.loader import Loader
from kimivl.data.log import DataLog, Entry
from kimivl.data.plan import PlanState
from kimivl.data.source import Source
from kimivl.data.store.client import Client
from kimivl.data.store.node import NodeFetcher
from kimivl.model.atomic import write_atomic

SEED, EVERY, LIMIT = 7, 3, 120  # of the run; steps between checkpoints; seconds that a life may take
OTHER: dict[str, float] = {"documents": 1, "captions": 3}


@dataclass(frozen=True)
class Life:
    """From one start to the kill that ends it: once `until` steps are made; 0 is directly after the start, None is no kill."""

    ranks: int
    workers: int
    until: int | None


@dataclass(frozen=True)
class Corpus:
    """Where the sources lie, and what gets their pictures where these lie in a store."""

    root: Path
    fetch: NodeFetcher | None = None


def kill_and_resume(
    folder: Path, steps: int = 60, settings: Mapping[str, Any] | None = None, store: CountingStore | None = None
) -> dict[str, Any]:
    """Kills and resumes in `folder`, which must be empty.

    Args:
        settings: of the stage.
        store: where the run that is killed has its originals, served from `folder / "store"`; without one it reads files.
    Returns: `faults`, a sentence for each step whose data or digest differ, and counts of what was compared.
    """
    near = Corpus(folder / "data")
    draw_corpus(near.root)
    read = in_a_store(folder, store) if store else near
    settings = {"steps": steps} | dict(settings or {})
    places = sorted(random.Random().sample(range(2, steps - 10), 4))
    changed = places[2] + 1 + EVERY  # behind the third kill
    lives = [
        Life(1, 0, places[0]), Life(4, 3, places[1]), Life(4, 3, 0), Life(2, 1, places[2]), Life(1, 3, places[3]),
        Life(2, 0, None),
    ]  # fmt: skip
    log = Entry(step=changed, weights=OTHER)
    DataLog(folder / "whole" / "data_log.jsonl").append(log)
    _live(folder, "whole", near, Life(1, 0, None), settings)
    for number, life in enumerate(lives):
        if number == 4:
            DataLog(folder / "killed" / "data_log.jsonl").append(log)
        _live(folder, "killed", read, life, settings)
    return _compare(_lines(folder / "whole"), _lines(folder / "killed"), steps) | {"kills": len(lives) - 1, "changed_at": changed}


def in_a_store(folder: Path, store: CountingStore) -> Corpus:
    """The corpus of `folder` as objects of the store, and manifests of them; what was asked for that is not counted."""
    shutil.copytree(folder / "data", folder / "store" / BUCKET, dirs_exist_ok=True)
    for source in (folder / "data").iterdir():
        out = folder / "manifests" / source.name / "train.manifest"
        index(f"s3://{BUCKET}/{source.name}/train.jsonl", out, client=Client(store.environment))
    store.arrived.clear()
    return Corpus(folder / "manifests", NodeFetcher(store_settings(folder / "cache", BUDGET), store.environment))


def _live(folder: Path, run: str, corpus: Corpus, life: Life, settings: Mapping[str, Any]) -> None:
    """One life of the run: all its ranks, until they are done or killed."""
    (folder / run).mkdir(exist_ok=True)
    forked = multiprocessing.get_context("forkserver")  # from a process that has imported everything once and runs nothing
    forked.set_forkserver_preload([__name__])
    together = forked.Barrier(life.ranks)  # as the reduction of gradients keeps ranks together
    processes: list[BaseProcess] = [
        forked.Process(target=_rank, args=(folder / run, corpus, rank, life, settings, together)) for rank in range(life.ranks)
    ]
    for process in processes:
        process.start()
    made, end = folder / run / "steps-0.jsonl", time.monotonic() + LIMIT
    if life.until is not None:
        _wait(made, life.until, processes, end)
        for process in processes:
            process.kill()
    for process in processes:
        process.join(max(1.0, end - time.monotonic()))
        assert process.exitcode == (0 if life.until is None else -9), f"a rank of {life} ended with {process.exitcode}"


def _wait(made: Path, steps: int, processes: Sequence[BaseProcess], end: float) -> None:
    """Until rank 0 has made so many steps of the run, or, for 0, has only begun."""
    before = len(_steps(made))
    while time.monotonic() < end and all(process.exitcode is None for process in processes):
        if (steps and any(line["step"] >= steps for line in _steps(made)[before:])) or (not steps and _begun(made)):
            return
        time.sleep(0.002)


def _begun(made: Path) -> bool:
    return (made.parent / "begun").exists()


def _steps(path: Path) -> list[dict[str, Any]]:
    """Whole lines; a kill may have cut off the last one."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _rank(here: Path, corpus: Corpus, rank: int, life: Life, settings: Mapping[str, Any], together: Barrier) -> None:
    """What one process does: reads its packs from the last state on, and writes down what they were."""
    torch.set_num_threads(1)
    stage = corpus_stage(**settings)
    sources = {name: Source(corpus.root, name) for name in stage.sources}
    log = DataLog(here / "data_log.jsonl")
    loader = Loader(stage, sources, corpus_processor(), SEED, rank, life.ranks, life.workers, log, corpus.fetch)
    first = 0
    with suppress(FileNotFoundError):
        state = json.loads((here / "state.json").read_text())
        first, loader.state = state["step"], PlanState(**state["plan"])
    if life.until == 0:
        (here / "begun").touch()
    with (here / f"steps-{rank}.jsonl").open("a") as file:
        file.write("\n")  # behind a line that a kill has cut off
        for step in range(first, stage.steps):
            packs = {rank + number * life.ranks: _hash(pack) for number, pack in enumerate(loader.packs(step))}
            file.write(json.dumps({"step": step, "digest": loader.state.digest, "packs": packs}) + "\n")
            file.flush()
            together.wait()
            if rank == 0 and (step + 1) % EVERY == 0:
                write_atomic(here / "state.json", json.dumps({"step": step + 1, "plan": asdict(loader.state)}))


def _hash(pack: PackedBatch) -> str:
    """Of all arrays of a pack."""
    digest = hashlib.blake2b(repr((pack.sample_ids, pack.segments.lengths, pack.grids)).encode(), digest_size=12)
    for array in (pack.ids_T, pack.labels_T, pack.weights_T, pack.patches_P):
        digest.update(array.numpy().tobytes())
    return digest.hexdigest()


def _lines(run: Path) -> list[dict[str, Any]]:
    """Of all ranks."""
    return [line for path in sorted(run.glob("steps-*.jsonl")) for line in _steps(path)]


def _compare(whole: list[dict[str, Any]], killed: list[dict[str, Any]], steps: int) -> dict[str, Any]:
    expected = {line["step"]: line for line in whole}
    seen: dict[int, set[str]] = {step: set() for step in range(steps)}
    faults: dict[str, None] = {}
    for line in killed:
        step, there = line["step"], expected[line["step"]]
        if line["digest"] != there["digest"]:
            faults[f"step {step}: another digest than without a kill"] = None
        if any(there["packs"][pack] != content for pack, content in line["packs"].items()):
            faults[f"step {step}: another pack"] = None
        seen[step] |= set(line["packs"])
    missing = [step for step, packs in seen.items() if packs != set(expected[step]["packs"])]
    faults |= {f"step {step}: packs that no rank has read": None for step in missing}
    read = sum(len(line["packs"]) for line in killed)
    return {"faults": list(faults), "steps": steps, "packs": read}
