"""How two programs are timed against each other, and the record that a comparison prints.

What it is: turns, medians, and the JSON object of docs/performance.md. What it is not: what is compared (`step.py`).
Why turns: a shared machine changes its speed by the minute; two programs that alternate see the same weather.
"""

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch


@dataclass(frozen=True)
class Comparison:
    """One measured comparison. `ratio` above 1 means that we are better; `bar` is what was asked for, if anything was."""

    name: str
    load: str
    ours: float
    peer: float
    peer_name: str
    unit: str
    ratio: float
    bar: float | None
    where: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def in_turns(sides: Sequence[Callable[[], dict[str, float]]], rounds: int) -> list[dict[str, float]]:
    """The median of every part of every side over `rounds` rounds, after one round to warm up.

    Args:
        sides: each runs once and returns seconds by part. Who comes first changes from round to round.
    """
    measured: list[list[dict[str, float]]] = [[] for _ in sides]
    for number in range(rounds + 1):
        order = range(len(sides)) if number % 2 else reversed(range(len(sides)))
        for side in order:
            measured[side].append(sides[side]())
    return [{part: median(run[part] for run in runs[1:]) for part in runs[0]} for runs in measured]


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def where(dtype: torch.dtype, *versions: str) -> str:
    """Cores, processor, dtype and versions, for the record."""
    name = str(dtype).removeprefix("torch.")
    return ", ".join([f"{torch.get_num_threads()} threads", _processor(), name, f"torch {torch.__version__}", *versions])


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
