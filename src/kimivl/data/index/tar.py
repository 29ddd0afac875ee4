"""Tar archives: where each member's bytes lie, so that they can be read in any order without the rest.

What it is: a walk over the archive, from its first byte to its last. Long names (pax, GNU) are understood.
What it is not: a reader of compressed archives: their members have no place of their own. Facts: POSIX 1003.1, ustar and pax.
"""

import tarfile
from collections.abc import Callable, Iterator
from typing import BinaryIO

from kimivl.data.convert.forms import Fault
from kimivl.data.index.original import Member, member_name
from kimivl.data.index.place import Listed, Place

BLOCK = 512
PACKED = {b"\x1f\x8b": "gzip -d", b"BZh": "bzip2 -d", b"\xfd7zXZ": "xz -d", b"\x28\xb5\x2f\xfd": "zstd -d"}


def members(place: Place, of: Listed, wanted: Callable[[str], bool]) -> Iterator[Member]:
    """Its members that are `wanted` by name, in order. Raises: StoreError; Fault for an archive that cannot be used."""
    with place.open(of) as file:
        _refuse_packed(file.read(6))
        file.seek(0)
        try:
            yield from _walk(file, of, wanted)
        except tarfile.TarError as error:
            raise Fault(f"damaged or no tar archive ({error}): fetch it anew, or pack it again") from None


def _walk(file: BinaryIO, of: Listed, wanted: Callable[[str], bool]) -> Iterator[Member]:
    with tarfile.open(fileobj=file, mode="r:") as tar:
        end = 0
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps all that it saw
            if member.sparse is not None:
                raise Fault(f"{member.name} is stored as a sparse file: pack it again without --sparse")
            name = member_name(member.name, wanted)
            if name and not member.isdir() and not member.isreg():
                raise Fault(f"{name} is a link: pack the file itself, with --dereference --hard-dereference")
            end = member.offset_data + (-(-member.size // BLOCK) * BLOCK if member.isreg() else 0)
            if name and member.isreg():
                file.seek(member.offset_data)
                data = file.read(member.size)
                if len(data) < member.size:
                    raise Fault(f"ends within {name}: fetch it anew, or pack it again")
                yield Member(f"{of.path}/{name}", member.offset_data, data, data)
    file.seek(end)
    if file.read(BLOCK).strip(b"\0"):  # tarfile takes a damaged header for the end
        raise Fault(f"damaged behind byte {end}, where a member or the end should be: fetch it anew, or pack it again")


def _refuse_packed(start: bytes) -> None:
    for signature, unpack in PACKED.items():
        if start.startswith(signature):
            raise Fault(f"is compressed as a whole, so its members have no place of their own: unpack it with `{unpack}` first")
