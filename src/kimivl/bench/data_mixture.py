"""What a change of the mixture in the middle of a stage does to shares, and to the walk through each source.

What it is: `mixture_change`, on the drawn corpus, with shares by tokens and by samples.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kimivl.bench.data_corpus import corpus_processor, corpus_stage, draw_corpus
from kimivl.data.log import DataLog, Entry
from kimivl.data.plan import Planner
from kimivl.data.source import Source

SEED, STEPS, CHANGED = 7, 240, 120
OTHER = {"documents": 1.0, "captions": 2.0, "places": 1.0}
BAR = 0.01  # of all, by which a share may be off


def mixture_change(folder: Path) -> Iterator[dict[str, Any]]:
    """In `folder`, which must be empty: how far shares are off behind the change, and what was repeated or skipped."""
    draw_corpus(folder)
    for shares in ("tokens", "samples"):
        log = DataLog(folder / f"{shares}.jsonl")
        log.append(Entry(step=CHANGED, weights=OTHER))
        stage = corpus_stage(STEPS, shares=shares, augment={})
        planner = Planner(stage, {name: Source(folder, name) for name in stage.sources}, corpus_processor(), SEED, log)
        amounts: Counter[str] = Counter()
        walks: dict[str, list[tuple[int, int]]] = {name: [] for name in stage.sources}
        for step in range(STEPS):
            for piece in (piece for pack in planner.packs(step) for piece in pack):
                walks[piece.source].append((piece.number, piece.part))
                if step >= CHANGED:
                    amounts[piece.source] += piece.tokens if shares == "tokens" else piece.part == 0
        waiting = {(source, number, part) for source, number, part in planner.state.waiting}
        wanted = {name: weight / sum(OTHER.values()) for name, weight in OTHER.items()}
        off = max(abs(amounts[name] / sum(amounts.values()) - share) for name, share in wanted.items())
        wrong = sum(_wrong(walk, [place[1:] for place in waiting if place[0] == name]) for name, walk in walks.items())
        yield {
            "name": f"mixture: share of {shares} behind a change, off by",
            "value": round(off, 5),
            "bar": BAR,
            "ok": off <= BAR,
        }
        yield {"name": f"mixture: samples repeated or skipped ({shares})", "value": wrong, "bar": 0, "ok": wrong == 0}


def _wrong(walk: list[tuple[int, int]], waiting: list[tuple[int, ...]]) -> int:
    """How many places of a source's walk came twice, or not at all before its last one."""
    counts = Counter(number for number, part in [*walk, *waiting] if part == 0)
    return sum(count != 1 for count in counts.values()) + (max(counts) + 1 - len(counts))
