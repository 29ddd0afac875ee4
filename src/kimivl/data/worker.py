"""A process that decodes pictures for another one (`workers.py`), one pack after the other.

What it is: the child's loop. It imports no torch, keeps nothing from one pack to the next, and leaves the patches in memory
without a name, which goes to the parent as a descriptor: nothing is copied, and nothing is left over when either side is killed.
It ends with its parent: by the end of their connection, or by the kernel if it is in the middle of a picture then.
"""

import ctypes
import mmap
import os
import pickle
import signal
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle

import numpy as np

from kimivl.processor.image import ImageProcessor
from kimivl.processor.pictures import Pictures, decode
from kimivl.processor.stored import Fetch, StoredBytes

# What a child says. It is killed when it has said nothing for too long, but for the time that it waits for a store.
READY, DECODING, FETCHING, DONE, FAILED = b"r", b"d", b"f", b"p", b"e"
PR_SET_PDEATHSIG = 1


def serve(descriptor: int, parent: int) -> None:
    """Answers until the parent closes the connection."""
    _end_with(parent)
    with Connection(descriptor) as connection, suppress(EOFError, ConnectionError):
        setting = connection.recv_bytes()
        connection.send_bytes(READY)
        opened: tuple[ImageProcessor, Fetch | None] | None = None
        while True:
            job = connection.recv_bytes()
            try:
                images, fetch = opened = opened or pickle.loads(setting)
                memory = _decoded(pickle.loads(job), images, fetch and _told(connection, fetch), connection)
            except Exception as error:
                connection.send_bytes(FAILED + _pickled(error))
                continue
            connection.send_bytes(DONE)
            send_handle(connection, memory, parent)
            os.close(memory)


def patch_bytes(wanted: Sequence[Pictures], images: ImageProcessor) -> int:
    """What the patches of all pictures take."""
    return sum(pictures.patches for pictures in wanted) * 3 * images.patch_size**2 * 4


def _decoded(wanted: Sequence[Pictures], images: ImageProcessor, fetch: Fetch | None, connection: Connection) -> int:
    """The descriptor of memory with the patches."""
    memory = os.memfd_create("patches", os.MFD_CLOEXEC)
    try:
        size = patch_bytes(wanted, images)
        os.ftruncate(memory, size)
        mapped = mmap.mmap(memory, size, mmap.MAP_SHARED | mmap.MAP_POPULATE)
        out = np.frombuffer(mapped, np.float32).reshape(-1, 3, images.patch_size, images.patch_size)
        decode(wanted, images, out, fetch, lambda: connection.send_bytes(DECODING))
    except BaseException:
        os.close(memory)
        raise
    return memory


def _told(connection: Connection, fetch: Fetch) -> Fetch:
    """The same, and the parent knows of the wait."""

    def told(places: Sequence[StoredBytes]) -> list[bytes]:
        connection.send_bytes(FETCHING)
        contents = fetch(places)
        connection.send_bytes(DECODING)
        return contents

    return told


def _pickled(error: Exception) -> bytes:
    """The error for the parent; in words if it would not arrive whole."""
    try:
        content = pickle.dumps(error)
        pickle.loads(content)
        return content
    except Exception:
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))


def _end_with(parent: int) -> None:
    """Asks the kernel to kill this process when its parent ends, and to take it first where memory runs out."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")
