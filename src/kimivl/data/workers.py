"""Processes that decode the pictures of packs ahead of time.

What it is: `WorkerPool`. A pack goes to whichever child is idle, and its patches come back in shared memory, as a future; so
neither the number of children nor who is done first changes what is handed out. A child that is killed or hangs is replaced, and
its pack is decoded again, which gives the same.
What it is not: which packs there are (`plan.py`), or the child itself (`worker.py`).
Why processes: a damaged picture can crash or hang a decoder, memory can run out, and Python runs one thread at a time. They are
started anew instead of forked: a fork of a process with threads, as torch has, can hang.
"""

import contextlib
import logging
import mmap
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle

import numpy as np

from kimivl.data.worker import DECODING, DONE, FAILED, FETCHING, READY, patch_bytes
from kimivl.processor.image import ImageProcessor
from kimivl.processor.pictures import Pictures
from kimivl.processor.stored import Fetch

ATTEMPTS = 3  # of a pack, before the run ends because of it
PATIENCE = 300.0  # seconds for one picture, on a machine of any load
START = 120.0  # seconds for a child to start: a second of work

logger = logging.getLogger(__name__)


def empty_patches(wanted: Sequence[Pictures], images: ImageProcessor) -> np.ndarray:
    """Room for the patches of all pictures, float32 [P, 3, p, p]."""
    return np.empty((sum(pictures.patches for pictures in wanted), 3, images.patch_size, images.patch_size), np.float32)


class WorkerLost(OSError):
    """A pack whose workers died, one after the other; the message names its samples."""


class WorkerPool:
    """Decodes packs in `count` child processes. A context manager; `close` ends the children, and so does the end of the parent.

    Args:
        images, fetch: as of `decode`; sent to the children once, so `fetch` must be picklable.
        patience: seconds without a sign of life after which a child is replaced; waiting for a store does not count.
    Attributes:
        restarts: how many children had to be replaced.
    """

    def __init__(self, count: int, images: ImageProcessor, fetch: Fetch | None = None, patience: float = PATIENCE):
        self._shared = _Shared(images, pickle.dumps((images, fetch)), patience)
        threads = [threading.Thread(target=_attend, args=(self._shared,), name="decode", daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        self.close = weakref.finalize(self, _close, self._shared, threads)

    @property
    def restarts(self) -> int:
        return self._shared.restarts

    @property
    def processes(self) -> list[int]:
        """The ids of the children."""
        return [child.process.pid for child in self._shared.children]

    def submit(self, wanted: Sequence[Pictures], names: Sequence[str]) -> "Future[np.ndarray]":
        """The patches of all pictures, one after the other, float32 [P, 3, p, p].

        Args:
            names: of the samples, for errors.
        Errors of the future: what `decode` raises; WorkerLost for a pack that ends its workers.
        """
        job = _Job(tuple(wanted), tuple(names))
        if patch_bytes(wanted, self._shared.images):
            self._shared.jobs.put(job)
        else:
            job.patches.set_result(empty_patches(wanted, self._shared.images))
        return job.patches

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@dataclass(frozen=True)
class _Job:
    wanted: tuple[Pictures, ...]
    names: tuple[str, ...]
    patches: "Future[np.ndarray]" = field(default_factory=Future)


@dataclass
class _Shared:
    """What the threads of a pool have in common. They do not hold the pool itself, so that it can be forgotten."""

    images: ImageProcessor
    setting: bytes
    patience: float
    jobs: "queue.SimpleQueue[_Job | None]" = field(default_factory=queue.SimpleQueue)
    # A pool may be forgotten, and hence closed, while its own thread has it.
    lock: threading.RLock = field(default_factory=threading.RLock)
    children: list["_Child"] = field(default_factory=list)
    restarts: int = 0
    closed: bool = False

    def new_child(self) -> "_Child":
        with self.lock:
            if self.closed:
                raise CancelledError
            self.children.append(_Child(self.setting, self.patience))
            return self.children[-1]

    def end(self, child: "_Child") -> str:
        """Ends a child; how it had ended, if it had."""
        with self.lock:
            self.children.remove(child)
        return child.end()


class _Lost(Exception):
    """A child is dead, or as good as dead."""


def _attend(shared: _Shared) -> None:
    """A thread and its children, one at a time: the kernel ends a child with the thread that started it."""
    child: _Child | None = None
    with contextlib.suppress(CancelledError):
        with contextlib.suppress(OSError):  # if none can be started, the first job says so
            child = shared.new_child()
        while (job := shared.jobs.get()) is not None:
            if not job.patches.set_running_or_notify_cancel():
                continue
            try:
                child = _answer(job, child or shared.new_child(), shared)
            except (CancelledError, OSError) as error:  # there is no child, and either none is wanted or none can be started
                child = None
                job.patches.set_exception(error)
                if shared.closed:
                    raise
        if child:
            shared.end(child)


def _answer(job: _Job, child: "_Child", shared: _Shared) -> "_Child":
    """Has the job done. Returns: the child that is left. Raises: CancelledError if the pool is closed, OSError for no child."""
    ends: list[str] = []
    while len(ends) < ATTEMPTS:
        try:
            job.patches.set_result(child.patches(job.wanted, shared.images))
            return child
        except _Lost as lost:
            ended = shared.end(child)
            ends.append(str(lost) or ended)
            if shared.closed:
                raise CancelledError from None
            shared.restarts += 1
            logger.warning("a decoding worker %s; another one takes over its pack: %s", ends[-1], _named(job))
            child = shared.new_child()
        except Exception as error:
            job.patches.set_exception(error)
            return child
    job.patches.set_exception(
        WorkerLost(
            f"{ATTEMPTS} decoding workers were lost over the same pack, the last one {ends[-1]}: one of its pictures crashes its "
            f"decoder, or memory is short (fewer --workers need less); its samples: {_named(job)}"
        )
    )
    return child


def _named(job: _Job) -> str:
    return ", ".join(dict.fromkeys(job.names))


def _close(shared: _Shared, threads: Sequence[threading.Thread]) -> None:
    """Ends children and threads; what was not decoded yet is cancelled."""
    with shared.lock:
        shared.closed = True
        for child in shared.children:
            child.process.kill()
    with contextlib.suppress(queue.Empty):
        while True:
            if job := shared.jobs.get_nowait():
                job.patches.cancel()
    for _ in threads:
        shared.jobs.put(None)
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join(5)


class _Child:
    """One process. What it writes on stderr is shown."""

    def __init__(self, setting: bytes, patience: float):
        self.patience = patience
        ours, theirs = socket.socketpair()
        serve = f"from kimivl.data.worker import serve; serve({theirs.fileno()}, {os.getpid()})"
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path}; {serve}"],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is the parent's business
            )
        self._connection = Connection(ours.detach())
        self._setting: bytes | None = setting
        self._ready = False

    def patches(self, wanted: Sequence[Pictures], images: ImageProcessor) -> np.ndarray:
        """As of `WorkerPool.submit`. Raises: _Lost; what the child raised."""
        try:
            if self._setting is not None:
                self._connection.send_bytes(self._setting)
                self._setting = None
            self._connection.send(wanted)
            return self._received(patch_bytes(wanted, images)).reshape(-1, 3, images.patch_size, images.patch_size)
        except (EOFError, ConnectionError):
            raise _Lost from None

    def _received(self, size: int) -> np.ndarray:
        patience: float | None = self.patience if self._ready else START
        while self._connection.poll(patience):
            said = self._connection.recv_bytes()
            self._ready = True
            if said == DONE:
                memory = recv_handle(self._connection)
                try:
                    return np.frombuffer(mmap.mmap(memory, size, mmap.MAP_SHARED | mmap.MAP_POPULATE), np.float32)
                finally:
                    os.close(memory)
            if said[:1] == FAILED:
                raise pickle.loads(said[1:])
            assert said in (READY, DECODING, FETCHING)
            patience = None if said == FETCHING else self.patience
        raise _Lost(f"said nothing for {patience:.0f} seconds")

    def end(self) -> str:
        """Ends it; says how it had ended before, in words."""
        status = self._status()
        self.process.kill()
        self.process.wait()
        self._connection.close()
        return status

    def _status(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = self.process.wait(1)  # its connection closes a moment before it has ended
            return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return "closed its connection"
