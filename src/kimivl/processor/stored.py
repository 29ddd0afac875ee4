"""Pictures that lie in a store: where their bytes are, and what is known of them before anything is fetched.

What it is: three small frozen records, and `Fetch`, how whoever decodes pictures asks for bytes.
What it is not: a client (`data/store/`), the tables that name pictures (`data/manifest/`), or decoding (`image.py`).
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoredBytes:
    """Bytes `start` to `start + length` of an object: a whole file, or a member of a tar or zip archive.

    `url`: of the object, as `s3://bucket/key` or `file:///path`. `version`: its etag when it was indexed, "" without one.
    `sha256`: of these bytes, in hexadecimal digits. `deflated`: whether they are raw deflate data, as in zip archives.
    """

    url: str
    version: str
    start: int
    length: int
    sha256: str
    deflated: bool = False


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A picture, a page of a PDF or a frame of a video. `width`, `height`: upright. `frame`: of pages or frames, from 0.

    `pts`: when the frame of a video is shown, in the stream's own units; with it a frame is found without counting.
    """

    name: str
    place: StoredBytes
    media_type: str
    width: int
    height: int
    frame: int | None = None
    pts: int | None = None


@dataclass(frozen=True, slots=True)
class FetchedPicture:
    """The same with its bytes at hand."""

    stored: StoredPicture
    data: bytes


class DamagedObject(Exception):
    """An object does not give what was indexed, whatever is asked again, though its store is in order. `url`: of it."""

    url: str
    message: str


class CorruptObject(DamagedObject, ValueError):
    """The bytes of a range are not those that were indexed, though they were fetched anew."""

    def __init__(self, url: str, message: str):
        super().__init__(url, message)
        self.url, self.message = url, message

    def __str__(self) -> str:
        return f"{self.url}: {self.message}"


MAX_INFLATED = 1 << 30  # bytes that a deflated member may become: a few megabytes can claim to be far more


def inflated(data: bytes) -> bytes:
    """Raw deflate data as they were before. Raises: ValueError for data that are none, end early, or become too large."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        result = stream.decompress(data, MAX_INFLATED + 1)
    except zlib.error as error:
        raise ValueError(f"no deflate data ({error})") from None
    if len(result) > MAX_INFLATED:
        raise ValueError(f"more than {MAX_INFLATED >> 20} MiB")
    if not stream.eof:
        raise ValueError("no deflate data (they end early)")
    return result


Fetch = Callable[[Sequence[StoredBytes]], list[bytes]]  # the bytes of each place, in order, inflated and verified
