"""`kimivl bench data`: the store's share of the claims, counted by the store itself.

What it is: `governor`, `second_epoch` and `flipped_byte`, each against hadro, an S3 server that here refuses requests on purpose.
It runs in this process and writes down when every GET arrives, before anything else is done with it.
What it is not: the throughput of a store.
"""

import hashlib
import multiprocessing
import os
import platform
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from importlib import import_module
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from kimivl.config.store import StoreConfig
from kimivl.data.store.client import Client
from kimivl.data.store.fetcher import Fetcher
from kimivl.data.store.node import NodeFetcher
from kimivl.processor.stored import StoredBytes

BUCKET, BUDGET, ERRORS, PROCESSES, THREADS = "bucket", 50, 0.05, 4, 16
SMALLEST, LARGEST = 500, 20_000  # bytes of an object
REFUSAL = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class CountingStore:
    """hadro over a folder, with a list of when GETs arrived (seconds of `time.monotonic`).

    Attributes:
        refuse_until: up to then every request is refused.
    """

    def __init__(self, folder: Path, error_rate: float):
        hadro, _ = _peers()
        self.arrived: list[float] = []
        self.refuse_until = 0.0
        self._app = hadro.create_app(hadro.Config(data=str(folder), error_rate=error_rate, fault_seed=1, latency_ms=5))
        self.endpoint = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "GET":
            self.arrived.append(time.monotonic())
            if time.monotonic() < self.refuse_until:
                await send({"type": "http.response.start", "status": 503, "headers": [(b"content-length", b"%d" % len(REFUSAL))]})
                await send({"type": "http.response.body", "body": REFUSAL})
                return
        await self._app(scope, receive, send)

    @property
    def environment(self) -> dict[str, str]:
        """AWS_* variables that point a client at it."""
        return {"AWS_ENDPOINT_URL": self.endpoint, "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}

    @contextmanager
    def running(self) -> Iterator["CountingStore"]:
        """Around its use."""
        _, uvicorn = _peers()
        server = uvicorn.Server(uvicorn.Config(self, port=0, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            if not thread.is_alive():
                raise OSError("hadro could not be started on a free port of 127.0.0.1")
            time.sleep(0.01)
        self.endpoint = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.should_exit = True
            thread.join()


def governor(count: int = 1500, burst: float = 1.5) -> list[dict[str, Any]]:
    """Four processes fetch `count` objects from a store that refuses 5 % of requests, and all of them for `burst` seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        places, contents = originals(folder / "store", count)
        expected = _digest([b"".join(part).hex() for part in _shares(contents)])
        store = CountingStore(folder / "store", ERRORS)
        with store.running():
            fetch = NodeFetcher(store_settings(folder / "cache", requests_per_second=BUDGET), store.environment)
            with closing(fetch):
                fetch.counts()  # the service is there
                ended = _refuse_later(store, after=count / BUDGET / 5, seconds=burst) if burst else None
                digest = _digest(in_processes(fetch, places))
                counts = fetch.counts()
        most = fullest_second(store.arrived)
        results = [
            _result("governor: most GETs in any second, 4 processes, 5 % SlowDown", most, BUDGET, most <= BUDGET),
            _result("governor: bytes are those of the originals, whatever was refused", digest, expected, digest == expected),
            _result("governor: refused GETs that were asked again", counts["throttled"], 1, counts["throttled"] >= 1),
        ]
        if ended is not None:
            seconds = recovery(store.arrived, ended[0], 0.9 * BUDGET)
            results.append(
                _result("governor: seconds from a burst of refusals to 90 % of the budget", seconds, 30, seconds <= 30)
            )
        return results


def second_epoch(count: int = 200) -> dict[str, Any]:
    """GETs of an epoch whose originals were fetched in another, by a process that has ended."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        places, contents = originals(folder / "store", count)
        with CountingStore(folder / "store", 0).running() as store:
            for _ in range(2):
                before = len(store.arrived)
                with Fetcher(store_settings(folder / "cache"), Client(store.environment)) as fetch:
                    same = fetch(places) == contents
                gets = len(store.arrived) - before
        return _result("second epoch: GETs, all from the cache on disk", gets, 0, gets == 0 and same and before == count)


def flipped_byte(count: int = 50) -> dict[str, Any]:
    """Entries of the disk cache that were changed behind its back and given out nevertheless, or not fetched anew."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        places, contents = originals(folder / "store", count)
        with CountingStore(folder / "store", 0).running() as store:
            with Fetcher(store_settings(folder / "cache"), Client(store.environment)) as fetch:
                fetch(places)
            rng = np.random.default_rng(0)
            for path in sorted((folder / "cache").glob("??/*")):
                data = bytearray(path.read_bytes())
                data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
                path.write_bytes(data)
            with Fetcher(store_settings(folder / "cache"), Client(store.environment)) as fetch:
                wrong = sum(found != there for found, there in zip(fetch(places), contents))
                missed = count - int(fetch.counts()["disk_damaged"])
            gets = len(store.arrived)
        return _result(
            "flipped byte in each cached file: not found", wrong + missed, 0, wrong + missed == 0 and gets == 2 * count
        )


def originals(folder: Path, count: int) -> tuple[list[StoredBytes], list[bytes]]:
    """Random files as objects of a bucket, and their contents."""
    (folder / BUCKET).mkdir(parents=True)
    rng = np.random.default_rng(0)
    contents = [rng.bytes(int(rng.integers(SMALLEST, LARGEST))) for _ in range(count)]
    places = []
    for number, data in enumerate(contents):
        (folder / BUCKET / f"{number}.bin").write_bytes(data)
        places.append(StoredBytes(f"s3://{BUCKET}/{number}.bin", "", 0, len(data), hashlib.sha256(data).hexdigest()))
    return places, contents


def in_processes(fetch: NodeFetcher, places: Sequence[StoredBytes]) -> list[str]:
    """What each of some processes fetched of its share, in order, as hexadecimal digits."""
    context = multiprocessing.get_context("spawn")
    workers, pipes = [], []
    for share in _shares(places):
        near, far = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(fetch, share, far), daemon=True)
        worker.start()
        far.close()
        workers.append(worker)
        pipes.append(near)
    found = [pipe.recv() for pipe in pipes]
    for worker in workers:
        worker.join()
    return found


def fullest_second(times: Sequence[float]) -> int:
    """The greatest number of moments within any second, wherever it begins."""
    ordered = np.sort(np.asarray(times))
    return int((np.searchsorted(ordered, ordered + 1.0, side="left") - np.arange(len(ordered))).max(initial=0))


def recovery(times: Sequence[float], since: float, rate: float) -> float:
    """Seconds from `since` to the end of the first second that has `rate` moments; infinity if there is none."""
    ordered = np.sort([moment for moment in times if moment >= since])
    ends = np.searchsorted(ordered, ordered + 1.0, side="left") - np.arange(len(ordered))
    full = np.flatnonzero(ends >= rate)
    return round(float(ordered[full[0]] + 1.0 - since), 1) if len(full) else float("inf")


def _work(fetch: NodeFetcher, places: Sequence[StoredBytes], answer: Connection) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        answer.send(b"".join(pool.map(lambda place: fetch([place])[0], places)).hex())


def _shares(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[number::PROCESSES] for number in range(PROCESSES)]


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256("".join(texts).encode()).hexdigest()[:16]


def _refuse_later(store: CountingStore, after: float, seconds: float) -> list[float]:
    """Refuses everything for a while. Returns: a list that then has the moment of its end."""
    ended: list[float] = []

    def refuse() -> None:
        while not store.arrived:
            time.sleep(0.05)
        time.sleep(after)
        store.refuse_until = time.monotonic() + seconds
        ended.append(store.refuse_until)

    threading.Thread(target=refuse, daemon=True).start()
    return ended


def store_settings(cache: Path, requests_per_second: float = 5000) -> StoreConfig:
    """Of a node that keeps what it fetched on disk alone."""
    return StoreConfig(cache=cache, memory_bytes=0, requests_per_second=requests_per_second)


def _result(name: str, value: Any, bar: Any, ok: bool) -> dict[str, Any]:
    where = f"{os.cpu_count()} cores ({platform.machine()}), hadro {version('hadro')}, obstore {version('obstore')}, loopback"
    return {"name": name, "value": value, "bar": bar, "ok": bool(ok), "where": where}


def _peers() -> tuple[Any, Any]:
    try:
        return import_module("hadro"), import_module("uvicorn")
    except ImportError:
        raise ValueError("this comparison needs hadro, a server that fails on purpose: pip install 'kimivl[dev]'") from None
