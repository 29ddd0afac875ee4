"""One process at a time at something; a second one is told who is at it.

What it is: `alone`, around a file that is locked meanwhile and names who holds it, and `is_held`. The lock ends with its process,
however that ends.
What it is not: a queue; nobody waits.
"""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kimivl.model.atomic import writing


class Held(OSError):
    """Another process is at it; the message names it and the fix."""


@contextmanager
def alone(file: Path, what: str, fix: str) -> Iterator[None]:
    """Around what one process does at a time. The file and its folder are made, and the file is removed at the end.

    Args:
        what: is going on, as "runs/nano is being trained".
        fix: what a second process is told to do.
    Raises: Held; NotWritten if there can be no such file.
    """
    descriptor = _locked(file, what, fix)
    try:
        with writing(file):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(descriptor)


def is_held(file: Path) -> bool:
    """Whether a process is at it now."""
    try:
        with file.open() as opened:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _locked(file: Path, what: str, fix: str) -> int:
    while True:
        with writing(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise Held(f"{what} by {holder}: {fix}") from None
            raise OSError(f"{file} cannot be locked ({error.strerror}): name a folder on another disk") from error
        if _is_at(descriptor, file):
            return descriptor
        os.close(descriptor)  # whoever ended just now removed it


def _is_at(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
