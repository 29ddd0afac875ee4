"""Folders and files that appear whole or not at all.

What it is: `replaced_folder`, for everything that is saved as a folder of files (weights, models, checkpoints), and
`write_atomic`, for single small files.
What it is not: a lock; one process writes a folder at a time.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError


class NotWritten(OSError):
    """A folder could not be written; the message names it and the cause."""


@contextmanager
def replaced_folder(folder: str | Path) -> Iterator[Path]:
    """Gives an empty folder to write into; on leaving it takes the place of `folder`, on any error it disappears.

    Files of an earlier `folder` are not carried over: write everything that belongs together inside one `with`. Uses may
    be nested, for example a model's folder inside a checkpoint's.
    Raises: NotWritten, an OSError, naming the folder and the cause (for example a full disk); what stood at `folder` before is
        intact then.
    """
    folder = Path(os.path.abspath(folder))
    new, previous = folder.with_name(f".{folder.name}.new"), _previous(folder)
    try:
        recover_folder(folder)
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        yield new
        for path in [*new.rglob("*"), new]:
            _sync(path)
        _swap(new, folder, previous)
    except (OSError, SafetensorError) as error:
        cause = error.__cause__ if isinstance(error, NotWritten) else error  # of a nested use: only the outer folder is known
        advice = "What was there is unchanged; free some space or write elsewhere"
        raise NotWritten(f"could not write {folder}: {cause}. {advice}") from cause
    finally:
        shutil.rmtree(new, ignore_errors=True)


def recover_folder(folder: Path) -> None:
    """If an earlier process died between the two renames of `_swap`, its previous folder is put back. Call it before reading."""
    previous = _previous(folder)
    if folder.exists():
        shutil.rmtree(previous, ignore_errors=True)
    elif previous.exists():
        previous.rename(folder)


def _previous(folder: Path) -> Path:
    """Where `folder` stands while it is replaced."""
    return folder.with_name(f".{folder.name}.previous")


def _swap(new: Path, folder: Path, previous: Path) -> None:
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


def _sync(path: Path) -> None:
    """Waits until the disk holds a file, or a folder's list of names: no rename may be on disk before what it points to."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, text: str) -> None:
    """A small file that is there whole or not at all. Raises: OSError naming it; what stood there before is intact then."""
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(text, encoding="utf-8")
        _sync(new)
        new.replace(path)
        _sync(path.parent)
    except OSError as error:
        with suppress(OSError):
            new.unlink()
        raise OSError(f"could not write {path}: {error}") from error
