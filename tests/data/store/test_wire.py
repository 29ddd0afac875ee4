"""What one process says, the other hears."""

import os
import socket
import threading

import pytest

from kimivl.data.store import errors, wire
from kimivl.processor.stored import StoredBytes


def test_frames_of_any_size_arrive_whole_and_in_order():
    near, far = socket.socketpair()
    bodies = [b"", b"x", os.urandom(3_000_000)]

    def speak() -> None:
        for number, body in enumerate(bodies):
            wire.send(near, wire.DATA, number, [body[:1], body[1:]])
        near.close()

    thread = threading.Thread(target=speak)
    thread.start()
    heard = [wire.receive(far) for _ in bodies]
    assert [(frame.kind, frame.question, bytes(frame.body)) for frame in heard] == [
        (wire.DATA, n, b) for n, b in enumerate(bodies)
    ]
    with pytest.raises(wire.Lost):
        wire.receive(far)
    thread.join()
    far.close()


def test_places_and_bytes_come_back():
    places = [StoredBytes("s3://b/é #", '"v"', 3, 4, "ab", True), StoredBytes("memory://x/y", "", 0, 0, "")]
    assert wire.unpack_places(b"".join(wire.pack_places(places))) == places
    for found in ([], [b""], [b"a", b"", os.urandom(1000)]):
        assert wire.unpack_data(b"".join(wire.pack_data(found))) == found


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (errors.Missing("s3://b/k", "is not there"), errors.Missing, "s3://b/k: is not there"),
        (errors.MissingObject("s3://b/k", "is gone"), errors.MissingObject, "s3://b/k: is gone"),
        (errors.Replaced("s3://b/k", "is another"), errors.Replaced, "s3://b/k: is another"),
        (errors.CorruptObject("s3://b/k", "is wrong"), errors.CorruptObject, "s3://b/k: is wrong"),
        (ValueError("no URL"), ValueError, "no URL"),
        (KeyError("x"), RuntimeError, "the fetch service failed: KeyError: 'x'"),
    ],
)
def test_errors_arrive_as_what_they_were(error, kind, text):
    heard = wire.unpack_error(b"".join(wire.pack_error(error)))
    assert type(heard) is kind and str(heard) == text
    assert isinstance(heard, errors.DamagedObject) == isinstance(error, errors.DamagedObject)
