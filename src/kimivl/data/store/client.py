"""The one client of object stores: ranges of objects, their versions, lists; writing and deleting for whoever looks after them.

What it is: `Client`, over obstore, for `s3://bucket/key`, `file:///path` and `memory://name/key` (`urls.py`), with faults as the
types of `errors.py`. It asks once: whoever wants patience wraps a call in `retry.patiently`.
What it is not: a cache, a limit on requests, or a way into a process that was forked after its first request: there make another.
Facts: obstore's documentation of AWS_* variables; SeaweedFS, AWS and hadro say SlowDown with status 503.
"""

import errno
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.store import LocalStore, MemoryStore, S3Store

from kimivl.data.store.errors import (
    INDEX_AGAIN,
    Denied,
    Missing,
    MissingObject,
    Permanent,
    Replaced,
    StoreError,
    Transient,
    classified,
    replaced,
)
from kimivl.data.store.urls import object_url, split_url

if TYPE_CHECKING:
    from obstore import GetOptions

TIMEOUT = 60.0  # seconds for a whole request
# What a client is told explicitly, so that two of them may speak to two servers; obstore reads the rarer ones itself.
SETTINGS = (
    "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
    "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SKIP_SIGNATURE", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """What a store says of an object. `size`: in bytes. `version`: its etag as the store gives it, "" for local files, whose
    contents alone say which version they are: a copy of a folder is as good as the folder.
    """

    url: str
    size: int
    version: str
    modified: datetime


class Client:
    """Safe for threads. Methods raise ValueError for a URL that no store has, and else StoreError.

    Args:
        environment: AWS_* variables (default: those of the process).
        timeout: seconds for a whole request.
    """

    def __init__(self, environment: Mapping[str, str] | None = None, timeout: float = TIMEOUT):
        self._environment = os.environ if environment is None else environment
        self._timeout = timeout
        self._stores: dict[str, Any] = {}
        self._answered: set[str] = set()  # roots
        self._filled: set[str] = set()  # those that have an object
        self._lock = threading.Lock()

    def get(
        self,
        url: str,
        start: int = 0,
        length: int | None = None,
        version: str = "",
        answered: Callable[[], None] | None = None,
    ) -> bytes:
        """`length` bytes from `start`, or all from there to the end.

        Args:
            version: what the object has to be, "" for any.
            answered: called when the answer begins, before its bytes have come.
        Raises: Replaced if it is another, or too short for this range; MissingObject, or Missing if all may be.
        """
        root, key = _object(url)
        if length == 0:
            return b""
        if root == "file://":
            data = _read_file(url, Path("/") / key, start, length)
        else:
            try:
                data = self._get(root, key, url, start, length, version, answered or _nothing)
            except MissingObject as error:
                if self._has_objects(root):
                    raise
                raise Missing(url, error.message) from None
        if length is not None and len(data) != length:
            raise Replaced(url, f"ends before byte {start + length}, so it was replaced since it was indexed; {INDEX_AGAIN}")
        return data

    def _get(
        self, root: str, key: str, url: str, start: int, length: int | None, version: str, answered: Callable[[], None]
    ) -> bytes:
        options: GetOptions = {"if_match": version} if version else {}
        if length is not None:
            options["range"] = (start, start + length)
        elif start:
            options["range"] = {"offset": start}
        with self._faults(root, url) as store:
            answer = obstore.get(store, key, options=options)
            answered()
            # Some servers do not know If-Match.
            if version and answer.meta["e_tag"] != version:
                raise replaced(url)
            self._filled.add(root)
            return bytes(answer.bytes())

    def _has_objects(self, root: str) -> bool:
        """Whether a bucket is there and has anything in it: SeaweedFS says of one that is not there that it lacks the object."""
        if root not in self._filled:
            try:
                if next(self.list(f"{root}/"), None) is not None:
                    self._filled.add(root)
            except Permanent:
                pass
        return root in self._filled

    def head(self, url: str) -> Entry:
        """What the store says of an object. Raises: Missing."""
        root, key = _object(url)
        with self._faults(root, url) as store:
            return _entry(root, obstore.head(store, key))

    def list(self, url: str) -> Iterator[Entry]:
        """All objects below a folder , in the order of their keys; none if there is no such folder."""
        root, key = split_url(url)
        with self._faults(root, url) as store:
            chunks = obstore.list(store, key.strip("/"))
            if isinstance(store, S3Store):  # sorted by the store, and too many to hold
                for chunk in chunks:
                    yield from (_entry(root, meta) for meta in chunk)
            else:
                found = [meta for chunk in chunks for meta in chunk]
                yield from (_entry(root, meta) for meta in sorted(found, key=lambda meta: meta["path"]))

    def put(self, url: str, data: bytes | Path | Iterator[bytes], new: bool = False) -> str:
        """Writes an object, whole or not at all. Returns: its version.

        Args:
            data: bytes, a local file, or parts as they come.
            new: only if there is none yet. After a lost answer the object may be there though this was our own doing.
        Raises: AlreadyThere.
        """
        root, key = _object(url)
        with self._faults(root, url) as store:
            done = obstore.put(store, key, data, mode="create" if new else "overwrite")
            return "" if root == "file://" else done["e_tag"] or ""

    def delete(self, url: str) -> None:
        """Removes an object; one that is not there is removed already."""
        root, key = _object(url)
        try:
            with self._faults(root, url) as store:
                obstore.delete(store, key)
        except Missing:
            pass

    def _faults(self, root: str, url: str) -> "_Faults":
        return _Faults(self, root, url)

    def _store(self, root: str) -> Any:
        with self._lock:
            if root not in self._stores:
                self._stores[root] = self._opened(root)
            return self._stores[root]

    def _opened(self, root: str) -> Any:
        kind, _, bucket = root.partition("://")
        if kind == "file":
            return LocalStore()
        if kind == "memory":
            return MemoryStore()
        config: Any = {name.lower(): self._environment[name] for name in SETTINGS if self._environment.get(name)}
        endpoint = next((config[name.lower()] for name in SETTINGS[:3] if name.lower() in config), "")
        return S3Store(
            bucket,
            config=config,
            client_options={
                "timeout": f"{self._timeout}s",
                "connect_timeout": "5s",
                "allow_http": endpoint.startswith("http://"),
            },
            retry_config={"max_retries": 0},  # repetitions have to ask the governor too
        )


class _Faults:
    """Gives the store of `root`, and obstore's exceptions as ours."""

    def __init__(self, client: Client, root: str, url: str):
        self.client, self.root, self.url = client, root, url

    def __enter__(self) -> Any:
        return self.client._store(self.root)

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if error is None:
            self.client._answered.add(self.root)
        elif not isinstance(error, StoreError) and isinstance(error, Exception):
            raise classified(error, self.url, self.root in self.client._answered) from None


def _nothing() -> None:
    pass


def _object(url: str) -> tuple[str, str]:
    root, key = split_url(url)
    if not key:
        raise ValueError(f"{url!r} names no object: write what follows the bucket too")
    return root, key


def _entry(root: str, meta: Any) -> Entry:
    version = "" if root == "file://" else meta["e_tag"] or ""
    return Entry(object_url(root, meta["path"]), meta["size"], version, meta["last_modified"])


def _read_file(url: str, path: Path, start: int, length: int | None) -> bytes:
    """Without obstore, whose threads do not outlive a fork."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(-1 if length is None else length)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        missing = MissingObject if path.parent.is_dir() else Missing  # or its disk is not mounted
        raise missing(url, "there is no such file; check the URL") from None
    except PermissionError:
        raise Denied(url, "may not be read; make it readable") from None
    except OSError as error:
        kind = Transient if error.errno in (errno.ESTALE, errno.ETIMEDOUT) else Permanent  # a network's file system
        raise kind(url, f"could not be read ({error.strerror})") from None
