"""The files of a local folder, as a store lists objects.

What it is: `walk`, for names of any kind and for links. obstore's own list ends at a name with a tab or at a link in a circle,
and leaves out names that end in # and a number.
What it is not: the lists of stores (`data/store/client.py`), or a choice among files, but for hidden ones.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from kimivl.data.store.errors import Denied, Permanent


def is_hidden(name: str) -> bool:
    """Whether a name, a part of a path, is none for people: .git, .DS_Store, what a Mac puts beside files."""
    return name.startswith((".", "__MACOSX"))


def walk(folder: Path) -> Iterator[tuple[str, int, int]]:
    """(path below the folder, bytes, time of the last change in microseconds since 1970) of each file, by path.

    Links are followed, but not to a folder above them, since all of it is found there; one that leads nowhere is no file. There
    are none in a folder that is not there.
    Raises: StoreError for a folder that cannot be read; ValueError for a name that is not in UTF-8.
    """
    if folder.is_dir():
        yield from _below(folder, "", frozenset([_same(folder.stat())]))


def _same(status: os.stat_result) -> tuple[int, int]:
    """What tells a folder from others."""
    return status.st_dev, status.st_ino


def _below(folder: Path, path: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, int, int]]:
    """`path`: of the folder, "" or ending in "/". `above`: it, and the folders above it."""
    found: list[tuple[str, int, int, tuple[int, int]]] = []
    try:
        for entry in os.scandir(folder):
            if not is_hidden(entry.name) and (status := _status(entry)) is not None:
                is_folder = stat.S_ISDIR(status.st_mode)
                if is_folder or stat.S_ISREG(status.st_mode):
                    name = entry.name + ("/" if is_folder else "")
                    found.append((name, status.st_size, status.st_mtime_ns // 1000, _same(status)))
    except PermissionError:
        raise Denied(folder.as_uri(), "may not be listed; make it readable") from None
    except OSError as error:
        raise Permanent(folder.as_uri(), f"could not be listed ({error.strerror})") from None
    for name, size, changed, same in sorted(found):
        told = os.fsencode(name).decode("utf-8", "replace")
        if told != name:
            raise ValueError(f"{folder}/{told}: the name is not in UTF-8; rename it")
        if not name.endswith("/"):
            yield path + name, size, changed
        elif same not in above:
            yield from _below(folder / name, path + name, above | {same})


def _status(entry: "os.DirEntry[str]") -> os.stat_result | None:
    """Of what a link leads to, None if that is nothing."""
    try:
        return entry.stat()
    except PermissionError:
        raise
    except OSError:
        return None
