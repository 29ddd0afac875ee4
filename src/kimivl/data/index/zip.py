"""Zip archives: where each member's bytes lie, stored or deflated.

What it is: the central directory read, then each member in the order in which they lie. Archives above 4 GiB (zip64) are
understood. What it is not: a reader of locked archives, or of other methods than those two: such a member is refused. Facts:
PKWARE APPNOTE.
"""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

from kimivl.data.convert.forms import Fault
from kimivl.data.index.original import Member, member_name
from kimivl.data.index.place import Listed, Place
from kimivl.processor.stored import inflated

LOCAL_HEADER = 30  # bytes before a member's name


def members(place: Place, of: Listed, wanted: Callable[[str], bool]) -> Iterator[Member]:
    """Its members that are `wanted` by name. Raises: StoreError; Fault for an archive that cannot be used."""
    with place.open(of) as file:
        try:
            directory = zipfile.ZipFile(file).infolist()
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
            raise Fault(f"damaged or no zip archive ({error}): fetch it anew, or pack it again") from None
        for info in sorted(directory, key=lambda info: info.header_offset):
            if not info.is_dir() and (name := member_name(info.filename, wanted)):
                yield _member(file, f"{of.path}/{name}", info)


def _member(file: BinaryIO, name: str, info: zipfile.ZipInfo) -> Member:
    if info.flag_bits & 1:
        raise Fault(f"{info.filename} is locked with a password: pack it again without one")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Fault(f"{info.filename} is packed by method {info.compress_type}: pack it again with `zip -0` or `zip`")
    file.seek(info.header_offset)
    header = file.read(LOCAL_HEADER)
    if not header.startswith(b"PK\3\4"):
        raise Fault(f"{info.filename} is not where the archive's directory says: fetch it anew, or pack it again")
    start = info.header_offset + LOCAL_HEADER + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    file.seek(start)
    stored = file.read(info.compress_size)
    deflated = info.compress_type == zipfile.ZIP_DEFLATED
    try:
        data = inflated(stored) if deflated else stored
    except ValueError as error:
        raise Fault(f"{info.filename} is damaged ({error}): fetch the archive anew, or pack it again") from None
    if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
        raise Fault(f"{info.filename} is damaged, its checksum differs: fetch the archive anew, or pack it again")
    return Member(name, start, stored, data, deflated)
