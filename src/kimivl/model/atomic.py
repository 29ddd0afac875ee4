"""Folders and files that appear whole or not at all.

What it is: `replaced_folder`, for everything that is saved as a folder of files (weights, models, checkpoints), `swap_folder`,
for a folder that was finished elsewhere on the same disk, `write_atomic`, for single small files, and `writing`, which gives a
failure its path and its fix.
What it is not: a lock; one process writes a folder at a time.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, the user's share of it, or what one file may take


class NotWritten(OSError):
    """A folder or file could not be written; the message names it and the cause."""


@contextmanager
def replaced_folder(folder: str | Path) -> Iterator[Path]:
    """Gives an empty folder to write into; on leaving it takes the place of `folder`, on any error it disappears.

    Files of an earlier `folder` are not carried over: write everything that belongs together inside one `with`. Uses may
    be nested, for example a model's folder inside a checkpoint's.
    Raises: NotWritten, an OSError, naming the folder and the cause (for example a full disk); what stood at `folder` before is
        intact then.
    """
    folder = Path(os.path.abspath(folder))
    new = folder.with_name(f".{folder.name}.new")
    try:
        recover_folder(folder)
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        yield new
        for path in [*new.rglob("*"), new]:
            _sync(path)
        swap_folder(new, folder)
    except (OSError, SafetensorError) as error:
        cause = error.__cause__ if isinstance(error, NotWritten) else error  # of a nested use: only the outer folder is known
        advice = "What was there is unchanged; free some space or write elsewhere"
        raise NotWritten(f"could not write {folder}: {cause}. {advice}") from cause
    finally:
        shutil.rmtree(new, ignore_errors=True)


def recover_folder(folder: Path) -> None:
    """If an earlier process died between the renames of `swap_folder`, the old folder is put back. Call it before reading."""
    previous = _previous(folder)
    if folder.exists():
        shutil.rmtree(previous, ignore_errors=True)
    elif previous.exists():
        previous.rename(folder)


def swap_folder(new: Path, folder: Path) -> None:
    """Puts the finished folder `new` in the place of `folder`, on the same disk. Raises: OSError; `folder` is intact then."""
    previous = _previous(folder)
    shutil.rmtree(previous, ignore_errors=True)
    if folder.exists():
        folder.rename(previous)
    try:
        new.rename(folder)
    except BaseException:
        recover_folder(folder)
        raise
    _sync(folder.parent)
    shutil.rmtree(previous, ignore_errors=True)


def _previous(folder: Path) -> Path:
    """Where `folder` stands while it is replaced."""
    return folder.with_name(f".{folder.name}.previous")


def _sync(path: Path) -> None:
    """Waits until the disk holds a file, or a folder's list of names: no rename may be on disk before what it points to."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around what writes `path`. Raises: NotWritten naming it, the cause and the fix, if that fails."""
    try:
        yield
    except OSError as error:
        fix = "free space" if error.errno in FULL else "write elsewhere, or make this place writable,"
        raise NotWritten(f"could not write {path}: {error.strerror or error}; {fix} and run the command again") from error


def write_atomic(path: Path, text: str) -> None:
    """A small file that is there whole or not at all. Raises: NotWritten naming it; what stood there before is intact then."""
    new = path.with_name(f".{path.name}.new")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            new.write_text(text, encoding="utf-8")
            _sync(new)
            new.replace(path)
            _sync(path.parent)
    except NotWritten:
        with suppress(OSError):
            new.unlink()
        raise
