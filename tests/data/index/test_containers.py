"""Where originals lie: the bytes of a range are those that other programs take out of the archive."""

import hashlib
import io
import struct
import tarfile
import zipfile
import zlib

import pytest
from PIL import Image

from kimivl.data.convert.faults import Malformed
from kimivl.processor.image import load_rgb
from kimivl.processor.stored import FetchedPicture
from tests.data.index.originals import encoded, fetch, picture, question, write_tar

LONG = "/".join(["a folder with a rather long name"] * 8) + "/é.png"  # above the 256 characters of ustar


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_tars_members_are_ranges_with_the_bytes_that_tarfile_extracts(source, form):
    members = {f"{number}.png": encoded(number, (10 + number, 8)) for number in range(20)} | {LONG: encoded(99)}
    write_tar(source.root / "s.tar", members, format=form)
    source.rows(*[question(f"s.tar/{name}") for name in members])
    manifest, objects = source.indexed(), source.objects()
    whole = (source.root / "s.tar").read_bytes()
    with tarfile.open(source.root / "s.tar") as tar:
        for row, name in enumerate(members):
            of, data = objects[f"s.tar/{name}"], tar.extractfile(name).read()
            assert whole[of["start"] : of["start"] + of["length"]] == data
            assert of["sha256"] == hashlib.sha256(data).hexdigest() and not of["deflated"]
            stored = manifest[row].images[0].image
            assert fetch([stored.place]) == [data] and (stored.width, stored.height) == Image.open(io.BytesIO(data)).size


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zips_members_are_ranges_stored_or_deflated(source, method):
    members = {f"a/{number}.bmp": encoded(number, kind="BMP") for number in range(5)}
    with zipfile.ZipFile(source.root / "z.zip", "w", method) as archive:
        archive.comment = b"a comment at the end"
        for name, data in members.items():
            archive.writestr(name, data)
    source.rows(*[question(f"z.zip/{name}") for name in members])
    manifest = source.indexed()
    for row, data in enumerate(members.values()):
        place = manifest[row].images[0].image.place
        assert fetch([place]) == [data] and place.deflated == (method == zipfile.ZIP_DEFLATED)
        assert (place.length == len(data)) == (method == zipfile.ZIP_STORED)


def test_a_zip_in_the_form_for_more_than_four_gigabytes_and_one_behind_other_bytes(source):
    with zipfile.ZipFile(source.root / "big.zip", "w") as archive, archive.open("1.png", "w", force_zip64=True) as member:
        member.write(encoded(1))
    file = io.BytesIO(b"a program that unpacks itself")
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("2.png", encoded(2))
    source.put("self.zip", file.getvalue())
    source.rows(question("big.zip/1.png"), question("self.zip/2.png"))
    manifest = source.indexed()
    assert fetch([manifest[row].images[0].image.place for row in (0, 1)]) == [encoded(1), encoded(2)]


def test_sizes_are_upright_and_media_types_are_of_the_contents(source):
    turned = Image.Exif()
    turned[0x0112] = 6
    file = io.BytesIO()
    picture(1, (30, 20)).save(file, "JPEG", exif=turned)
    write_tar(source.root / "s.tar", {"turned.png": file.getvalue()})  # a JPEG, whatever its name says
    source.rows(question("s.tar/turned.png"))
    stored = source.indexed()[0].images[0].image
    assert (stored.width, stored.height, stored.media_type) == (20, 30, "image/jpeg")
    assert load_rgb(FetchedPicture(stored, file.getvalue())).size == (20, 30)


def test_a_png_that_tells_behind_its_pixels_that_it_is_turned(source):
    file = io.BytesIO()
    picture(1, (30, 20)).save(file, "PNG")
    exif = Image.Exif()
    exif[0x0112] = 8
    chunk = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    framed = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    source.put("a.png", file.getvalue()[:-12] + framed + file.getvalue()[-12:])  # in front of IEND
    source.rows(question("a.png"))
    assert [source.indexed()[0].images[0].image.width, load_rgb(source.root / "a.png").width] == [20, 20]


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("s.tar", lambda: tarred("w:gz"), "is compressed as a whole, .* unpack it with `gzip -d` first"),
        ("s.tar", lambda: tarred("w:xz"), "unpack it with `xz -d` first"),
        ("s.tar", lambda: b"no archive at all" * 100, "damaged or no tar archive"),
        ("s.tar", lambda: tarred("w")[:1240], "damaged behind byte 1024"),
        ("s.tar", lambda: tarred("w")[:1700], "ends within 1.png"),
        ("s.tar", lambda: overwritten(tarred("w"), 1024), "damaged behind byte 1024"),
        ("s.tar", lambda: sparse(), "1.png is stored as a sparse file: pack it again without --sparse"),
        ("s.tar", lambda: linked(), "1.png is a link: pack the file itself"),
        ("s.zip", lambda: b"PK\3\4 no archive", "damaged or no zip archive"),
        ("s.zip", lambda: zipped(zipfile.ZIP_LZMA), "1.png is packed by method 14: pack it again with `zip -0`"),
        ("s.zip", lambda: overwritten(zipped(zipfile.ZIP_STORED), 40), "its checksum differs"),
        ("s.zip", lambda: locked(zipped(zipfile.ZIP_STORED)), "1.png is locked with a password"),
    ],
)  # fmt: skip
def test_an_archive_that_cannot_be_used_is_named_with_the_fix(source, name, make, words):
    source.put(name, make())
    source.rows(question(f"{name}/1.png"))
    with pytest.raises(Malformed, match=rf"1 of 1 rows are malformed:\nrows.jsonl:1: {name}: .*{words}"):
        source.index()
    assert not source.out.exists()


NAMES = {"./c.png": "c.png", "d//e.png": "d/e.png", "d/./f/../g.png": "d/g.png", "/h.png": "h.png"}


@pytest.mark.parametrize("archive", ["s.tar", "s.zip"])
def test_members_have_one_name_however_it_is_written(source, archive):
    pack(source, archive, {written: encoded(number) for number, written in enumerate(NAMES)})
    source.rows(*[question(f"{archive}/{name}") for name in [*NAMES.values(), *NAMES]])
    manifest = source.indexed()
    places = [manifest[row].images[0].image.place for row in range(8)]
    assert fetch(places) == [encoded(number) for number in range(4)] * 2
    assert set(source.objects()) == {f"{archive}/{name}" for name in NAMES.values()}
    (source.root / "rows.jsonl").unlink()
    pack(source, archive, {f"{written}{end}": data for written in NAMES for end, data in ((".png", encoded(1)), (".txt", b"x"))})
    assert source.index()["samples"] == 4


@pytest.mark.parametrize("archive", ["a.tar", "a.zip"])
@pytest.mark.parametrize("name", ["../b.zip/x.png", "d/../../b.zip/x.png", "./../b.zip/x.png"])
def test_a_member_that_leads_out_of_its_archive_is_none_of_anothers(source, archive, name):
    pack(source, "b.zip", {"x.png": encoded(1), "x.txt": b"The one."})
    pack(source, archive, {name: encoded(2), name.replace("png", "txt"): b"The other."})
    with pytest.raises(Malformed, match=rf"{archive}: .*{name} leads out of the archive: pack it again"):
        source.index()
    source.rows(question("b.zip/x.png"))
    assert fetch([source.indexed()[0].images[0].image.place]) == [encoded(1)]
    source.rows(question(f"{archive}/x.png"))
    with pytest.raises(Malformed, match=rf"rows.jsonl:1: {archive}: {name} leads out of the archive"):
        source.index()


def test_a_name_that_is_not_in_utf8_is_told(source):
    with tarfile.open(source.root / "s.tar", "w", encoding="latin-1", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo("é.png")
        info.size = len(encoded(1))
        tar.addfile(info, io.BytesIO(encoded(1)))
    source.rows(question("s.tar/1.png"))
    with pytest.raises(Malformed, match="s.tar: the name \ufffd.png is not in UTF-8: rename the file, and pack it again"):
        source.index()


def pack(source, archive: str, members: dict[str, bytes]) -> None:
    if archive.endswith("tar"):
        return write_tar(source.root / archive, members)
    with zipfile.ZipFile(source.root / archive, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)


def tarred(mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:
        for number in range(3):
            info = tarfile.TarInfo(f"{number}.png")
            info.size = len(encoded(number))
            tar.addfile(info, io.BytesIO(encoded(number)))
    return file.getvalue()


def overwritten(data: bytes, at: int) -> bytes:
    return data[:at] + bytes(value ^ 0x55 for value in data[at : at + 60]) + data[at + 60 :]


def sparse() -> bytes:
    """As GNU tar writes a file with a hole: type S, the map of its parts, and its real size."""
    info = tarfile.TarInfo("1.png")
    info.size, info.type = 512, tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"00000000000\0" + b"00000001000\0"  # one part: from 0, 512 bytes
    header[483:495] = b"00000002000\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    return bytes(header) + b"x" * 512 + bytes(1024)


def linked() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        info = tarfile.TarInfo("1.png")
        info.type, info.linkname = tarfile.SYMTYPE, "../elsewhere.png"
        tar.addfile(info)
    return file.getvalue()


def zipped(method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("1.png", encoded(1))
    return file.getvalue()


def locked(data: bytes) -> bytes:
    """With the flag of encryption set in the central directory."""
    at = data.index(b"PK\1\2") + 8
    return data[:at] + bytes([data[at] | 1]) + data[at + 1 :]
