"""One process at a time trains a run.

What it is: `claimed`, a lock on the run's folder that ends with the process that holds it, however that ends; `is_claimed`.
What it is not: what stands in the folder (`run.py`).
"""

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kimivl.config.base import ConfigError
from kimivl.model.atomic import writing


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Around training in a run's folder. Raises: ConfigError naming the process that trains there already."""
    path = folder / "lock"
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise ConfigError(f"{folder} is being trained by {holder}: wait for it, or choose another --name") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}\n")
        file.flush()
        yield


def is_claimed(folder: Path) -> bool:
    """Whether a process trains in a run's folder now."""
    try:
        with (folder / "lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
