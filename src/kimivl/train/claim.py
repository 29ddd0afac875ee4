"""One process at a time trains a run.

What it is: `claimed`, around training, and `is_claimed`. What it is not: the lock itself (`model/lock.py`).
"""

from contextlib import AbstractContextManager
from pathlib import Path

from kimivl.model.lock import alone, is_held

LOCK = "lock"  # in the folder of a run


def claimed(folder: Path) -> AbstractContextManager[None]:
    """Around training in a run's folder. Raises: Held naming the process that trains there already."""
    return alone(folder / LOCK, f"{folder} is being trained", "wait for it, or choose another --name")


def is_claimed(folder: Path) -> bool:
    """Whether a process trains in a run's folder now."""
    return is_held(folder / LOCK)
