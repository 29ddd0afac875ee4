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

from kimivl.catalog.originals import Original, Range, Seen, listing, seen_still
from kimivl.catalog.place import Place, sha256
from kimivl.data.manifest.places import OWN, Places
from kimivl.data.store.client import ONE_REQUEST, Entry
from kimivl.data.store.errors import AlreadyThere, CorruptObject
from kimivl.data.store.retry import patiently
from kimivl.eval.progress import Lines, no_lines

WORKERS = 8  # pictures at a time


def upload(pictures: Sequence[Original], source: Places, target: Place, lines: Lines = no_lines) -> dict[str, Seen]:
    """Copies pictures from beside a manifest to the folder `target`. After an interruption it can be called again.

    Returns: what the store says of them there, by name.
    Raises: CorruptObject for a picture that is not what was indexed, or whose place in the target holds something else;
        StoreError.
    """
    urls = {picture.name: target.below(_key(picture)) for picture in pictures}
    work = partial(_one, source=source, target=target, there=listing(target.client, urls.values()))
    versions: dict[str, str] = {}
    advance = lines("pictures written or found", len(pictures))
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            for picture, version in zip(pictures, pool.map(work, pictures)):
                versions[picture.name] = version
                advance(1)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return seen_still(target.client, urls, versions)


def _one(picture: Original, source: Places, target: Place, there: dict[str, Entry]) -> str:
    """Its etag at the target."""
    (whole,) = picture.ranges
    beside, key = Place(target.client, source.beside), _key(picture)
    if whole.length <= ONE_REQUEST:
        data = beside.read(key)
        _check(sha256(data), whole, beside.below(key))
        version = _put(target, key, data, there)
        if version.strip('"') == hashlib.md5(data, usedforsecurity=False).hexdigest():
            return version
    else:
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "picture"
            _check(beside.download(key, file), whole, beside.below(key))
            version = _put(target, key, file, there)
    if target.digest(key) != whole.sha256:
        raise CorruptObject(target.below(key), "holds something else than its name says; remove it and run the command again")
    return version


def _check(digest: str, whole: Range, url: str) -> None:
    if digest != whole.sha256:
        raise CorruptObject(url, "is not what was indexed; index again with `kimivl data index`, which writes it anew")


def _put(target: Place, key: str, data: bytes | Path, there: dict[str, Entry]) -> str:
    """Writes it, if it is absent. Returns: the etag of what is there now."""
    url = target.below(key)
    if url in there:
        return there[url].version
    try:
        return patiently(partial(target.client.put, url, data, new=True))
    except AlreadyThere:  # by another writer, or by an attempt of ours whose answer was lost
        return patiently(partial(target.client.head, url)).version


def _key(picture: Original) -> str:
    return picture.name.removeprefix(OWN)
