"""`kimivl bench data`: every claim about the data system, measured; a JSON line each.

What it is: the parts in their order, and how their lines are printed. Claims against other programs have `ours`, `peer` and
`ratio`, the others `value` and `bar`; all say whether they are `ok`.
What it is not: the measuring (`data_*.py`). Augmentation is held by property tests of a thousand cases (tests/data/augment).
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kimivl.bench import data_decode, data_index, data_memory, data_resume, data_store
from kimivl.bench.data_kill import kill_and_resume
from kimivl.bench.data_mixture import mixture_change
from kimivl.bench.data_packing import packing
from kimivl.bench.data_store import BUDGET, ERRORS, CountingStore, fullest_second
from kimivl.config.recipe import load_recipe
from kimivl.train.vocabulary import prepare_processor

PACKED, LOOK_AHEAD, STEPS = 0.98, 8, 24  # share of tokens asked for; samples that may wait, and steps, in its measurement
Lines = Iterator[dict[str, Any]]


@dataclass(frozen=True)
class Options:
    """`recipe`: whose data, built before, are packed. `peers`: virtual environment with webdataset and mosaicml-streaming."""

    recipe: str
    peers: Path | None


def main(parts: Sequence[str], options: Options, as_json: bool = False) -> int:
    """Measures parts of `PARTS`, all unless some are named, and prints them. Returns: 0 if every claim holds.

    Raises: ValueError naming an unknown part, or what a part needs and how to get it.
    """
    if unknown := set(parts) - set(PARTS):
        raise ValueError(f"there is no part {', '.join(sorted(unknown))}; the parts are {', '.join(PARTS)}")
    held = True
    for name in parts or PARTS:
        for line in PARTS[name](options):
            ok = line["ok"] if "ok" in line else line["bar"] is None or line["ratio"] >= line["bar"]
            held = held and ok
            if not as_json:
                print(f"{'ok  ' if ok else 'MISS'} {_sentence(line)}", file=sys.stderr)
            print(json.dumps({"part": name, "ok": ok} | line), flush=True)
    return 0 if held else 1


def _sentence(line: dict[str, Any]) -> str:
    if "ratio" in line:
        return f"{line['name']}, {line['load']}: {line['ours']} {line['unit']}, {line['peer_name']} {line['peer']}"
    return f"{line['name']}: {line['value']} (asked for: {line['bar']})"


def _kill(options: Options) -> Lines:
    for way in ("in_order", "grouped", "balanced"):
        with _folder() as folder:
            counts = kill_and_resume(folder, settings={"packing": way})
        yield _killed(f"kill and resume, {way}: steps with other data", counts)
    with _folder() as folder, CountingStore(folder / "store", ERRORS).running() as store:
        counts = kill_and_resume(folder, store=store)
    yield _killed("kill and resume, originals in a store that refuses 5 %: steps with other data", counts)
    most = fullest_second(store.arrived)
    yield {"name": "governor: most GETs in any second while ranks are killed", "value": most, "bar": BUDGET, "ok": most <= BUDGET}


def _killed(name: str, counts: dict[str, Any]) -> dict[str, Any]:
    faults = len(counts["faults"])
    return {"name": name, "value": faults, "bar": 0, "ok": not faults} | counts


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kimivl-bench-") as folder:
        yield Path(folder)


def _mixture(options: Options) -> Lines:
    with _folder() as folder:
        yield from mixture_change(folder)


def _packing(options: Options) -> Lines:
    recipe = load_recipe(options.recipe)
    with _folder() as folder:
        processor = prepare_processor(recipe, folder / "processor")
        for each in packing(recipe, processor, LOOK_AHEAD, STEPS):
            name = f"packing, stage {each.stage} of {recipe.name}: share of tokens used"
            more = {"patches": round(each.patches, 4), "look_ahead": each.look_ahead, "longest_wait": each.longest_wait}
            yield {"name": name, "value": round(each.tokens, 4), "bar": PACKED, "ok": each.tokens >= PACKED} | more


def _decode(options: Options) -> Lines:
    yield from data_decode.run(options.peers)


def _store(options: Options) -> Lines:
    yield from data_store.governor()
    yield data_store.second_epoch()
    yield data_store.flipped_byte()


def _memory(options: Options) -> Lines:
    yield data_memory.run()


def _index(options: Options) -> Lines:
    yield data_index.run()


def _resume(options: Options) -> Lines:
    yield from data_resume.run()


PARTS: dict[str, Callable[[Options], Lines]] = {
    "kill": _kill, "mixture": _mixture, "resume": _resume, "index": _index, "packing": _packing, "store": _store,
    "memory": _memory, "decode": _decode,
}  # fmt: skip
