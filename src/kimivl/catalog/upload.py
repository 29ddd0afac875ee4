"""Bringing pictures that indexing wrote out of tables into the catalog's store, since a local folder is no lasting place.

What it is: `upload`, for names that tell the contents (`data/index/cells.py`), so that the versions of a data set share what they
have in common. What is there already is not written again, and everything is compared with its sha256: here, and in the store.
What it is not: a copy of other originals, which stay where they are (`sync.py` copies those).
Facts: the etag of an object written in one request is the MD5 of its contents, unless the store encrypts it with a key of its
own.
"""

import hashlib
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from kimivl.catalog.originals import Original, listing
from kimivl.catalog.place import ONE_PART, Place, sha256
from kimivl.data.manifest.places import OWN, Places
from kimivl.data.store.client import Entry
from kimivl.data.store.errors import AlreadyThere, CorruptObject
from kimivl.data.store.retry import patiently
from kimivl.eval.progress import Lines, no_lines

WORKERS = 8  # pictures at a time


def upload(pictures: Sequence[Original], source: Places, target: Place, lines: Lines = no_lines) -> None:
    """Copies pictures from beside a manifest to the folder `target`. After an interruption it can be called again.

    Raises: CorruptObject for a picture that is not what was indexed, or whose place in the target holds something else;
        StoreError.
    """
    urls = {target.below(_key(picture)) for picture in pictures}
    there = listing(target.client, urls)
    advance = lines("pictures written or found", len(pictures))
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            for _ in pool.map(partial(_one, source=source, target=target, there=there), pictures):
                advance(1)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _one(picture: Original, source: Places, target: Place, there: dict[str, Entry]) -> None:
    (whole,) = picture.ranges
    beside = Place(target.client, source.beside)
    if whole.length > ONE_PART:
        _in_parts(picture, whole.sha256, beside, target, target.below(_key(picture)) in there)
        return
    key = _key(picture)
    data = beside.read(key)
    _check(sha256(data), whole.sha256, beside.below(key))
    etag = there[target.below(key)].version if target.below(key) in there else _written(key, data, target)
    if etag.strip('"') != hashlib.md5(data, usedforsecurity=False).hexdigest():
        _check_there(sha256(target.read(key)), whole.sha256, target.below(key))


def _written(key: str, data: bytes, target: Place) -> str:
    """Writes it, unless another did meanwhile. Returns: its etag in the store."""
    url = target.below(key)
    try:
        return patiently(partial(target.client.put, url, data, new=True))
    except AlreadyThere:  # also by an attempt of ours whose answer was lost
        return patiently(partial(target.client.head, url)).version


def _in_parts(picture: Original, digest: str, beside: Place, target: Place, there: bool) -> None:
    key = _key(picture)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "picture"
        _check(beside.download(key, file), digest, beside.below(key))
        if not there:
            target.create_file(key, file)
        _check_there(target.download(key, file), digest, target.below(key))


def _key(picture: Original) -> str:
    return picture.name.removeprefix(OWN)


def _check(found: str, digest: str, url: str) -> None:
    if found != digest:
        raise CorruptObject(url, "is not what was indexed; index again with `kimivl data index`, which writes it anew")


def _check_there(found: str, digest: str, url: str) -> None:
    if found != digest:
        raise CorruptObject(url, "holds something else than its name says; remove it and run the command again")
