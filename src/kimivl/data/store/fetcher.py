"""The bytes of places in a store: from memory, from the disk, or by as few requests as it takes.

What it is: `Fetcher`, the `Fetch` of `processor/stored.py`; and `read_local`, which needs none of it.
What it is not: shared by processes (`service.py`).
A fault of the store is never an error and never a missing sample: the request is asked again until it is answered. What is wrong
for good (no such object, replaced, no access, other contents) is raised, and names the object and the fix.
"""

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from kimivl.config.store import StoreConfig
from kimivl.data.store.cache import DiskCache, MemoryCache
from kimivl.data.store.client import Client
from kimivl.data.store.errors import INDEX_AGAIN, CorruptObject, Replaced, Throttled, TimedOut, Transient
from kimivl.data.store.governor import Governor
from kimivl.data.store.ranges import Run, runs
from kimivl.data.store.retry import patiently
from kimivl.processor import stored
from kimivl.processor.stored import StoredBytes

log = logging.getLogger(__name__)


class Fetcher:
    """Fetches for all threads of a process. Close it, or use it in a `with`.

    Args:
        client: default: one for the AWS_* variables of the process.
    Raises: OSError naming a cache folder that cannot be written.
    """

    def __init__(self, settings: StoreConfig, client: Client | None = None):
        self.settings = settings
        self._client = client or Client(timeout=settings.timeout)
        self._governor = Governor(settings.requests_per_second, settings.bytes_per_second)
        self._memory = MemoryCache(settings.memory_bytes)
        self._disk = DiskCache(settings.cache or default_cache(), settings.disk_bytes) if settings.disk_bytes else None
        self._pool = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="fetch")
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._flights: dict[StoredBytes, Future[bytes]] = {}
        self._counts = dict.fromkeys(("gets", "bytes", "retries", "throttled", "coalesced", "joined", "local", "corrupt"), 0)

    def __enter__(self) -> "Fetcher":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends its threads; requests that are under way are answered first, but asked no more."""
        self._closed.set()
        self._pool.shutdown(cancel_futures=True)

    def __call__(self, places: Sequence[StoredBytes]) -> list[bytes]:
        """The bytes of each place, in the same order, inflated and verified.

        Raises: Permanent, a StoreError; CorruptObject. Both name the object and the fix.
        """
        answers, mine = dict[StoredBytes, Future[bytes]](), list[StoredBytes]()
        with self._lock:
            for place in dict.fromkeys(places):
                if place in self._flights:
                    self._counts["joined"] += 1
                else:
                    self._flights[place] = Future()
                    mine.append(place)
                answers[place] = self._flights[place]
        try:
            self._fly(mine)
        finally:  # whatever happened, nobody waits for ever
            for place in mine:
                if not answers[place].done():
                    self._land(place, _raising(RuntimeError(f"{place.url}: the fetch was broken off")))
        return [answers[place].result() for place in places]

    def counts(self) -> dict[str, float]:
        """Since the start. Hits by level (`memory_hits`, `disk_hits`, `local`: files of this machine, `joined`: asked for while
        they were on their way); requests (`gets`: answered ones, `bytes` of them, `coalesced`: places that came with another's,
        `retries`, `throttled`); `waited` for the budget in seconds, all threads together; what was found `corrupt` or
        `disk_damaged`; `share` of the budget in use, entries `evicted` and `unkept`.
        """
        with self._lock:
            counts: dict[str, float] = dict(self._counts)
        counts |= {"memory_hits": self._memory.counts.hits, "waited": self._governor.waited, "share": self._governor.share}
        disk = self._disk.counts if self._disk else None
        for name in ("hits", "damaged", "evicted", "unkept"):
            counts[f"disk_{name}"] = getattr(disk, name) if disk else 0
        return counts

    def _fly(self, places: Iterable[StoredBytes]) -> None:
        """Gives every one of these flights its result, or its error."""
        far = list[StoredBytes]()
        for place in places:
            found = self._near(place)
            if found is None:
                far.append(place)
            else:
                self._land(place, found)
        flights = [self._start(run) for run in runs(far, self.settings.gap_bytes, self._block)]
        for run, blocks in flights:
            self._arrive(run, blocks)

    def _near(self, place: StoredBytes) -> Callable[[], bytes] | None:
        """What gives the bytes of a place without a request, None if nothing does."""
        if is_local(place):
            self._count("local")
            return lambda: read_local(place, self._client)
        if (data := self._memory.get(_key(place))) is not None:
            kept = data
            return lambda: kept
        if self._disk and (data := self._disk.get(place.sha256)) is not None:
            raw = data
            return lambda: self._keep(place, inflated(place, raw))
        return None

    def _land(self, place: StoredBytes, data: Callable[[], bytes]) -> None:
        """Ends a flight."""
        try:
            result = data()
        except BaseException as error:
            with self._lock:
                self._flights.pop(place).set_exception(error)
        else:
            with self._lock:
                self._flights.pop(place).set_result(result)

    def _start(self, run: Run) -> tuple[Run, list[Future[bytes]]]:
        place = run.places[0]
        self._count("coalesced", len(run.places) - 1)
        return run, [self._pool.submit(self._get, place, *block) for block in run.blocks(self._block)]

    def _arrive(self, run: Run, blocks: list[Future[bytes]]) -> None:
        try:
            data = b"".join(block.result() for block in blocks)
            blocks.clear()  # they hold the same bytes once more
        except Exception as error:
            # An object that was cut may still have some of its places whole. One of another version has none.
            apart = isinstance(error, Replaced) and len(run.places) > 1 and not run.places[0].version
            for place in run.places:
                self._land(place, partial(self._alone, place) if apart else _raising(error))
            return
        for place in run.places:
            start = place.start - run.start
            self._land(place, lambda place=place, start=start: self._checked(place, data[start : start + place.length]))  # type: ignore[misc]

    def _checked(self, place: StoredBytes, data: bytes) -> bytes:
        """These bytes if they are what was indexed, else those of another request, past the caches."""
        if _differs(place, data):
            self._count("corrupt")
            log.warning(
                "%s: bytes %d to %d are not those that were indexed; fetching them anew", place.url, place.start, _end(place)
            )
            self._memory.drop(_key(place))
            if self._disk:
                self._disk.drop(place.sha256)
            data = verified(place, self._range(place))
        result = inflated(place, data)
        if self._disk:
            self._disk.put(place.sha256, data)
        return self._keep(place, result)

    def _alone(self, place: StoredBytes) -> bytes:
        return self._checked(place, self._range(place))

    def _range(self, place: StoredBytes) -> bytes:
        blocks = Run(place.start, _end(place), (place,)).blocks(self._block)
        return b"".join(self._get(place, *block) for block in blocks)

    def _keep(self, place: StoredBytes, data: bytes) -> bytes:
        self._memory.put(_key(place), data)
        return data

    def _get(self, place: StoredBytes, start: int, length: int) -> bytes:
        """One range of the place's object, however often it has to be asked for."""

        def ask() -> bytes:
            with self._governor.permit(length) as permit:
                try:
                    return self._client.get(place.url, start, length, place.version, permit.answered)
                except (Throttled, TimedOut):
                    permit.refused = True
                    raise

        def failed(fault: Transient) -> None:
            self._count("retries")
            self._count("throttled", isinstance(fault, Throttled))

        def pause(seconds: float) -> None:
            if self._closed.wait(seconds):
                raise RuntimeError(f"{place.url}: the fetcher was closed before the store answered")

        data = patiently(ask, failed, pause)
        self._count("gets")
        self._count("bytes", length)
        return data

    @property
    def _block(self) -> int:
        """No request is for more than a second's budget."""
        return min(self.settings.block_bytes, int(self.settings.bytes_per_second))

    def _count(self, name: str, number: int = 1) -> None:
        with self._lock:
            self._counts[name] += number


def is_local(place: StoredBytes) -> bool:
    """Whether it is a file of this machine, which its operating system keeps in memory already."""
    return place.url.startswith("file:")


def read_local(place: StoredBytes, client: Client) -> bytes:
    """The bytes of a place in a local file, verified and inflated. Raises: as `Fetcher`."""

    def read() -> bytes:
        return patiently(lambda: client.get(place.url, place.start, place.length))

    data = read()
    return inflated(place, verified(place, read()) if _differs(place, data) else data)


def verified(place: StoredBytes, data: bytes) -> bytes:
    """The same. Raises: CorruptObject if they are not what was indexed."""
    if _differs(place, data):
        version = f" (version {place.version})" if place.version else ""
        raise CorruptObject(
            place.url,
            f"bytes {place.start} to {_end(place)}{version} are not those that were indexed, though they were read twice: their "
            f"sha256 is {hashlib.sha256(data).hexdigest()}, not {place.sha256}; restore the object, or {INDEX_AGAIN}",
        )
    return data


def inflated(place: StoredBytes, data: bytes) -> bytes:
    """The bytes as they were before a zip archive compressed them. Raises: CorruptObject if they are no deflate data."""
    if not place.deflated:
        return data
    try:
        return stored.inflated(data)
    except ValueError as error:
        where = f"bytes {place.start} to {_end(place)}"
        raise CorruptObject(place.url, f"{where} are {error}, though they are as indexed; {INDEX_AGAIN}") from None


def default_cache() -> Path:
    """kimivl/store in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kimivl" / "store"


def _differs(place: StoredBytes, data: bytes) -> bool:
    return hashlib.sha256(data).hexdigest() != place.sha256


def _end(place: StoredBytes) -> int:
    return place.start + place.length


def _key(place: StoredBytes) -> str:
    """Of what memory holds, which is inflated."""
    return f"{place.sha256}{'z' if place.deflated else ''}"


def _raising(error: BaseException) -> Callable[[], bytes]:
    def fail() -> bytes:
        raise error

    return fail
