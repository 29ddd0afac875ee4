"""Messages between a node's fetch service and its clients, on a Unix socket.

What it is: `Frame` and its reading and writing, places and errors as JSON. A frame is a head (length of the body, number of the
question, kind) and a body; answers carry the number of their question and come in any order.
What it is not: who answers (`service.py`), or who asks (`node.py`).
"""

import json
import socket
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kimivl.data.store import errors
from kimivl.processor.stored import StoredBytes

HEAD = struct.Struct("<QIB")  # length of the body, question, kind
FETCH, COUNTS, DATA, JSON, ERROR, WARNING = range(6)
LENGTHS = struct.Struct("<Q")


class Lost(ConnectionError):
    """The other side is gone."""


@dataclass(frozen=True)
class Frame:
    kind: int
    question: int
    body: bytes | bytearray | memoryview


def send(connection: socket.socket, kind: int, question: int, parts: Sequence[bytes]) -> None:
    """Sends one frame; the caller sees to it that frames do not mix. Raises: Lost."""
    try:
        connection.sendall(HEAD.pack(sum(map(len, parts)), question, kind))
        for part in parts:
            connection.sendall(part)
    except OSError as error:
        raise Lost(str(error)) from None


def receive(connection: socket.socket) -> Frame:
    """The next frame. Raises: Lost."""
    length, question, kind = HEAD.unpack(_read(connection, HEAD.size))
    return Frame(kind, question, _read(connection, length))


def _read(connection: socket.socket, length: int) -> bytearray:
    data = bytearray(length)
    rest = memoryview(data)
    while rest:
        try:
            count = connection.recv_into(rest)
        except OSError as error:
            raise Lost(str(error)) from None
        if not count:
            raise Lost("the connection was closed")
        rest = rest[count:]
    return data


def pack_places(places: Sequence[StoredBytes]) -> list[bytes]:
    """The body of FETCH."""
    return [json.dumps([asdict(place) for place in places]).encode()]


def unpack_places(body: bytes | bytearray | memoryview) -> list[StoredBytes]:
    return [StoredBytes(**values) for values in json.loads(bytes(body))]


def pack_json(values: Any) -> list[bytes]:
    """The body of JSON."""
    return [json.dumps(values).encode()]


def pack_data(found: Sequence[bytes]) -> list[bytes]:
    """The body of DATA: how many, their lengths, and all bytes."""
    lengths = [LENGTHS.pack(len(found)), *(LENGTHS.pack(len(data)) for data in found)]
    return [b"".join(lengths), *found]


def unpack_data(body: bytes | bytearray | memoryview) -> list[bytes]:
    view = memoryview(body)
    [count] = LENGTHS.unpack_from(view)
    place, found = LENGTHS.size * (count + 1), []
    for number in range(count):
        [length] = LENGTHS.unpack_from(view, LENGTHS.size * (number + 1))
        found.append(bytes(view[place : place + length]))
        place += length
    return found


def pack_error(error: BaseException) -> list[bytes]:
    """The body of ERROR."""
    known = isinstance(error, (errors.StoreError, errors.CorruptObject))
    url, message = (error.url, error.message) if known else ("", f"{type(error).__name__}: {error}")  # type: ignore[attr-defined]
    kind = type(error).__name__ if known else "ValueError" if isinstance(error, ValueError) else "RuntimeError"
    return [json.dumps({"kind": kind, "url": url, "message": message if kind != "ValueError" else str(error)}).encode()]


def unpack_error(body: bytes | bytearray | memoryview) -> Exception:
    """The same error as where it happened, without its traceback."""
    values: dict[str, Any] = json.loads(bytes(body))
    kind = getattr(errors, values["kind"], None)
    if kind is not None:
        error: Exception = kind(values["url"], values["message"])
        return error
    if values["kind"] == "ValueError":
        return ValueError(values["message"])
    return RuntimeError(f"the fetch service failed: {values['message']}")
