"""The one client of object stores: ranges of objects, their versions, lists; writing and deleting for whoever looks after them.

What it is: `Client`, over obstore, for `s3://bucket/key`, `file:///path` and `memory://name/key` (`urls.py`), with faults as the
types of `errors.py`. It asks once: whoever wants patience wraps a call in `retry.patiently`.
What it is not: a cache, a limit on requests (`catalog/pace.py` adds one, by `_asking`), or a way into a process that was forked
after its first request: there make another.
Facts: obstore's documentation of AWS_* variables; SeaweedFS, AWS and hadro say SlowDown with status 503. S3 takes "if absent"
with a whole object and with the end of an upload in parts, but obstore says it with the first alone, and with copies inside of
the store; such a copy has 5 GiB at most.
"""

import errno
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.store import LocalStore, MemoryStore, S3Store

from kimivl.data.store.errors import (
    INDEX_AGAIN,
    AlreadyThere,
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
COPYING = 900.0  # seconds for one in which the store copies an object
ONE_REQUEST = 64 << 20  # bytes that are written in one request; more is written in parts
PART = 16 << 20  # bytes of a part
PAGE = 1000  # objects that one request lists
MOST_NEW = 5 << 30  # bytes of an object that S3 puts in its place in one step
PLACING = 4  # requests of a copy: to begin it, to copy, to end it, and to give it up if something is there
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
        self._stores: dict[tuple[str, float], Any] = {}
        self._answered: set[str] = set()  # roots
        self._filled: set[str] = set()  # those that have an object
        self._lock = threading.Lock()
        self._name = secrets.token_hex(4)  # of what it writes and then puts in its place

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
        with self._asking(root) as begun, self._faults(root, url) as store:
            answer = obstore.get(store, key, options=options)
            begun()
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
        with self._asking(root), self._faults(root, url) as store:
            return _entry(root, obstore.head(store, key))

    def list(self, url: str) -> Iterator[Entry]:
        """All objects below a folder, in the order of their keys; none if there is no such folder."""
        root, key = split_url(url)
        with self._faults(root, url) as store:
            chunks = obstore.list(store, key.strip("/"), chunk_size=PAGE)
        if isinstance(store, S3Store):  # sorted by the store, and too many to hold
            while page := self._page(root, url, chunks):
                yield from (_entry(root, meta) for meta in page)
                if len(page) < PAGE:
                    return
        else:
            found = []
            while page := self._page(root, url, chunks):
                found += page
            yield from (_entry(root, meta) for meta in sorted(found, key=lambda meta: meta["path"]))

    def _page(self, root: str, url: str, chunks: Iterator[Any]) -> Any:
        with self._asking(root), self._faults(root, url):
            return next(chunks, ())

    def folders(self, url: str) -> tuple[str, ...]:
        """Names of the folders in a folder, sorted, however much is in them."""
        root, key = split_url(url)
        with self._asking(root), self._faults(root, url) as store:
            found = obstore.list_with_delimiter(store, key.strip("/"))["common_prefixes"]
        return tuple(sorted(prefix.rstrip("/").rpartition("/")[2] for prefix in found))

    def put(self, url: str, data: bytes | Path | Iterator[bytes], new: bool = False) -> str:
        """Writes an object, whole or not at all; in parts if it is large. Returns: its version.

        Args:
            data: bytes, a local file, or parts as they come.
            new: only if there is none yet. After a lost answer the object may be there though this was our own doing. What is
                large is written beside its place first, as `.….part`, and then copied by the store, which can refuse that.
        Raises: AlreadyThere; Permanent for something new of more than 5 GiB in S3.
        """
        root, key = _object(url)
        size = len(data) if isinstance(data, bytes) else data.stat().st_size if isinstance(data, Path) else None
        if size is not None and size <= ONE_REQUEST:
            with self._asking(root), self._faults(root, url) as store:
                done = obstore.put(store, key, data, mode="create" if new else "overwrite", use_multipart=False)
                return _version(root, done)
        if not new:
            return self._put_in_parts(root, key, url, _parts(data))
        if root.startswith("s3:") and size is not None:
            check_size(url, size)
        with suppress(Missing):
            self.head(url)
            raise AlreadyThere(url, "is there already")  # told before anything is sent
        # The same for each attempt of a thread.
        beside = f"{key.rpartition('/')[0]}/.{self._name}-{threading.get_ident():x}.part".removeprefix("/")
        try:
            self._put_in_parts(root, beside, url, _parts(data))
            with self._asking(root, PLACING), self._faults(root, url, COPYING) as store:
                obstore.copy(store, beside, key, overwrite=False)
        finally:
            with suppress(StoreError):  # the store is gone, and that is told already
                self.delete(object_url(root, beside))
        return self.head(url).version

    def _put_in_parts(self, root: str, key: str, url: str, parts: Iterator[bytes]) -> str:
        """One part after the other, so that each is a request that waits for its turn."""
        with ExitStack() as asking, self._faults(root, url) as store:

            def ask(requests: int) -> None:
                asking.close()
                asking.enter_context(self._asking(root, requests))

            def paced() -> Iterator[bytes]:
                last = 1  # the request that makes an object of the parts
                for part in parts:
                    if len(part) < PART:  # obstore keeps it until there is no other
                        last = 2
                    else:
                        ask(1)
                    yield part
                    yield b""  # what follows is asked for when this part was answered
                ask(last)

            ask(1)  # the one that begins
            done = obstore.put(store, key, paced(), use_multipart=True, chunk_size=PART, max_concurrency=1)
            return _version(root, done)

    def delete(self, url: str) -> None:
        """Removes an object; one that is not there is removed already."""
        root, key = _object(url)
        try:
            with self._asking(root), self._faults(root, url) as store:
                obstore.delete(store, key)
        except Missing:
            pass

    @contextmanager
    def _asking(self, root: str, requests: int = 1) -> Iterator[Callable[[], None]]:
        """Around as many requests, which cannot be told apart. Gives: what to call when the answer begins."""
        yield _nothing

    def _faults(self, root: str, url: str, timeout: float = 0.0) -> "_Faults":
        return _Faults(self, root, url, max(timeout, self._timeout))

    def _store(self, root: str, timeout: float) -> Any:
        which = (root, timeout if root.startswith("s3:") else 0.0)
        with self._lock:
            if which not in self._stores:
                self._stores[which] = self._opened(root, timeout)
            return self._stores[which]

    def _opened(self, root: str, timeout: float) -> Any:
        kind, _, bucket = root.partition("://")
        if kind == "file":
            return LocalStore()
        if kind == "memory":
            return MemoryStore()
        config: Any = {"copy_if_not_exists": "multipart"}
        config |= {name.lower(): self._environment[name] for name in SETTINGS if self._environment.get(name)}
        endpoint = next((config[name.lower()] for name in SETTINGS[:3] if name.lower() in config), "")
        return S3Store(
            bucket,
            config=config,
            client_options={
                "timeout": f"{timeout}s",
                "connect_timeout": "5s",
                "allow_http": endpoint.startswith("http://"),
            },
            retry_config={"max_retries": 0},  # repetitions have to ask the governor too
        )


class _Faults:
    """Gives the store of `root`, and obstore's exceptions as ours."""

    def __init__(self, client: Client, root: str, url: str, timeout: float):
        self.client, self.root, self.url, self.timeout = client, root, url, timeout

    def __enter__(self) -> Any:
        return self.client._store(self.root, self.timeout)

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if error is None:
            self.client._answered.add(self.root)
        elif not isinstance(error, StoreError) and isinstance(error, Exception):
            raise classified(error, self.url, self.root in self.client._answered) from None


def check_size(url: str, size: int) -> None:
    """Raises: Permanent for an object that S3 could only put in its place by risking another that is there meanwhile."""
    if size > MOST_NEW:
        raise Permanent(url, f"has {size} bytes; new objects in S3 have {MOST_NEW} at most, so split it, and index its pieces")


def _parts(data: bytes | Path | Iterator[bytes]) -> Iterator[bytes]:
    """The same in pieces of `PART` bytes."""
    if isinstance(data, Path):
        with data.open("rb") as file:
            while part := file.read(PART):
                yield part
        return
    held = bytearray()
    for piece in [data] if isinstance(data, bytes) else data:
        held += piece
        while len(held) >= PART:
            yield bytes(held[:PART])
            del held[:PART]
    if held:
        yield bytes(held)


def _nothing() -> None:
    pass


def _version(root: str, said: Any) -> str:
    return "" if root == "file://" else said["e_tag"] or ""


def _object(url: str) -> tuple[str, str]:
    root, key = split_url(url)
    if not key:
        raise ValueError(f"{url!r} names no object: write what follows the bucket too")
    return root, key


def _entry(root: str, meta: Any) -> Entry:
    return Entry(object_url(root, meta["path"]), meta["size"], _version(root, meta), meta["last_modified"])


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
