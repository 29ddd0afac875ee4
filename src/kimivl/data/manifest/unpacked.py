"""Parquet tables unpacked once into Arrow files, which all processes of a node map into memory.

What it is: `Unpacked`, and the folder in which the files lie, which is cleaned up whenever a table is added. A file that somebody
maps is locked and stays: where the folder lies on another machine, removing it would kill whoever reads on.
What it is not: what stands in the tables (`schema.py`), or a place for anything that cannot be made again.
"""

import fcntl
import hashlib
import os
import threading
import time
import weakref
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kimivl.model.atomic import writing

UNUSED = 30 * 86400.0  # seconds after which a table that nobody opened is removed
ATTEMPTS = 3


class Unpacked:
    """The table of a Parquet file, mapped from an Arrow file in `folder`, which is unpacked anew where that is damaged.

    Args:
        cache: the folder that holds those of all manifests, `folder` among them.
    Raises: ValueError naming a Parquet file that is missing or damaged; NotWritten naming what could not be written.
    Attributes:
        table: valid as long as this object lives.
    """

    table: pa.Table

    def __init__(self, parquet: Path, folder: Path, cache: Path):
        for _ in range(ATTEMPTS):
            rows, path = _target(parquet, folder)
            if self._map(path, rows):
                return
            with writing(path):
                folder.mkdir(parents=True, exist_ok=True)
                _unpack(parquet, path)
            _clean(cache, path)
        raise ValueError(f"{parquet} or {path} changes while it is read: try again when nobody writes it")

    def _map(self, path: Path, rows: int) -> bool:
        """Whether the file is there and whole; if so, it is mapped, and locked for as long as this object lives."""
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        with suppress(OSError):  # not every network's file system has locks; where there are none, nothing is removed either
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        with suppress(pa.ArrowInvalid, OSError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):  # else it was removed before it was locked
                self.table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
                if self.table.num_rows == rows:
                    weakref.finalize(self, os.close, descriptor)
                    with suppress(OSError):
                        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))  # the time of the last use
                    return True
        os.close(descriptor)
        return False


def _target(parquet: Path, folder: Path) -> tuple[int, Path]:
    """Rows of a table, and where it is unpacked: as of a file, and of the state that the file is in."""
    try:
        rows, state = pq.read_metadata(parquet).num_rows, parquet.stat()
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise ValueError(f"{parquet} is missing or damaged ({str(error).splitlines()[0]}): make the manifest anew") from None
    # Tables of one digest may differ in the versions that stores gave their objects, and so do files.
    path = str(parquet.absolute())
    return rows, folder / f"{parquet.stem}-{_key(path)}-{_key(path, state.st_size, state.st_mtime_ns)}.arrow"


def _key(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def _unpack(parquet: Path, path: Path) -> None:
    """Whole or not at all: several processes may do it at once."""
    new = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    try:
        source = pq.ParquetFile(parquet)
        with pa.OSFile(str(new), "wb") as file, pa.ipc.new_file(file, source.schema_arrow) as writer:
            for batch in source.iter_batches():
                writer.write_batch(batch)
        os.replace(new, path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{parquet} is damaged ({str(error).splitlines()[0]}): make the manifest anew") from None
    finally:
        new.unlink(missing_ok=True)


def _clean(cache: Path, kept: Path) -> None:
    """Removes what nobody maps: tables of the same Parquet file as it was before, and whatever was not opened for long."""
    same_file = kept.name.rpartition("-")[0] + "-"
    for path in cache.glob("*/*"):
        with suppress(OSError):  # it is mapped, or somebody else's
            is_outdated = path.suffix == ".arrow" and path.name.startswith(same_file) and path != kept
            if is_outdated or time.time() - path.stat().st_atime > UNUSED:
                descriptor = os.open(path, os.O_RDWR)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                finally:
                    os.close(descriptor)
