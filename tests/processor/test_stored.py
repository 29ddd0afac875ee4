"""Deflated members of archives: as they were, or refused."""

import zlib

import pytest

from kimivl.processor import stored


def deflated(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


@pytest.mark.parametrize("data", [b"", b"x", b"picture" * 5000])
def test_data_come_back(data):
    assert stored.inflated(deflated(data)) == data


def test_what_is_none_ends_early_or_becomes_too_large_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="no deflate data"):
        stored.inflated(b"\xff\xffnone")
    with pytest.raises(ValueError, match="end early"):
        stored.inflated(deflated(b"picture" * 500)[:-3])
    monkeypatch.setattr(stored, "MAX_INFLATED", 3 << 20)
    assert len(stored.inflated(deflated(bytes(3 << 20)))) == 3 << 20
    with pytest.raises(ValueError, match="more than 3 MiB"):
        stored.inflated(deflated(bytes((3 << 20) + 1)))
