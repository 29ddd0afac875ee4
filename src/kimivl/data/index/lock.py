"""One run at a time for each manifest; a second one is told who is at it.

What it is: a file beside the manifest that is locked while a run goes on, and names it. The lock ends with its process, however
that ends. What it is not: a queue; nobody waits.
"""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kimivl.model.atomic import writing


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Raises: OSError naming the run that makes the manifest `out`; NotWritten if nothing can be written there."""
    file = out.with_name(f".{out.name}.lock")
    with writing(out):
        file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _locked(file, out)
    try:
        with writing(out):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(descriptor)


def _locked(file: Path, out: Path) -> int:
    while True:
        with writing(out):
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise OSError(f"{out} is being made by {holder}: wait until it is done, or end it") from None
            raise OSError(f"{file} cannot be locked ({error.strerror}): name a folder on another disk") from error
        if _is_at(descriptor, file):
            return descriptor
        os.close(descriptor)  # a run that ended just now removed it


def _is_at(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
