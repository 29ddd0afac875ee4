"""The bytes of a file or of an archive's member → the rows that a manifest has of them.

What it is: one row for a picture or a video, one for each page of a PDF. Headers of pictures are read and not their pixels,
so that one that breaks off is found when it is decoded; videos are decoded once, since only that tells their frames.
What it is not: where the bytes come from (`plain.py`, `tar.py`, `zip.py`).
"""

import hashlib
import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any

from PIL import Image

from kimivl.data.convert.forms import Fault
from kimivl.processor.frames import PDF, film, page_sizes
from kimivl.processor.image import guarded, picture_facts

VIDEOS = {
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime", ".webm": "video/webm", ".mkv": "video/x-matroska",
    ".avi": "video/x-msvideo",
}  # fmt: skip
PICTURES = ".jpg .jpeg .jpe .jfif .png .webp .gif .bmp .tif .tiff .avif .ppm .pgm .pbm .jp2 .ico".split()
GIF = "image/gif"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Member:
    """A file, or what lies in an archive. `stored`: its bytes as they lie there, `data`: inflated; the same where `deflated` is
    false. `start`: of its range in the object."""

    name: str
    start: int
    stored: bytes
    data: bytes
    deflated: bool = False


def ends(path: str, suffixes: str | tuple[str, ...]) -> bool:
    """Whether a path ends so, be it in capital letters; `suffixes` in small ones."""
    return path.lower().endswith(suffixes)


def member_name(written: str, wanted: Callable[[str], bool]) -> str | None:
    """A member's name as rows call it, "a/1.jpg" for "./a//1.jpg", so that it has just one; None if it is not wanted.

    Raises: Fault for a name that leads out of its archive, to what may be another's.
    """
    name = posixpath.normpath(written.lstrip("/"))
    if not wanted(name):
        return None
    told = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if told != name:
        raise Fault(f"the name {told} is not in UTF-8: rename the file, and pack it again")
    if name.startswith("../"):
        raise Fault(f"{written} leads out of the archive: pack it again with names below one folder, without '..'")
    return name


def is_media(name: str) -> bool:
    """Whether a name ends as that of a picture, a video or a PDF."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix in PICTURES or suffix in VIDEOS or suffix == ".pdf"


def part_of(name: str) -> Row:
    """The part of a record that shows it."""
    kind = "video" if PurePosixPath(name).suffix.lower() in VIDEOS else "image"
    return {"type": kind, kind: name}


def originals(member: Member, url: str, version: str) -> list[Row]:
    """The rows of an object's member, as of `schema.OBJECTS`. Raises: ImageError for what is none."""
    place = {
        "url": url, "version": version, "start": member.start, "length": len(member.stored), "deflated": member.deflated,
        "sha256": hashlib.sha256(member.stored).hexdigest(),
    }  # fmt: skip
    return [place | facts for facts in _facts(member.name, member.data)]


def _facts(name: str, data: bytes) -> list[Row]:
    suffix, called = PurePosixPath(name).suffix.lower(), f"image {name}"
    if suffix == ".pdf":
        sizes = page_sizes(data, called)
        return [
            {"name": f"{name}#page={page + 1}", "media_type": PDF, "width": width, "height": height, "page": page}
            for page, (width, height) in enumerate(sizes)
        ]
    if suffix in VIDEOS:
        return [{"name": name, "media_type": VIDEOS[suffix]} | _film(data, called)]
    media_type, (width, height) = picture_facts(data, called)
    moving = _film(data, called) if media_type == GIF and _moves(data, called) else {}
    return [{"name": name, "media_type": media_type, "width": width, "height": height} | moving]


def _film(data: bytes, called: str) -> Row:
    found = film(data, called)
    width, height = found.size
    return {
        "width": width, "height": height, "frames": len(found.pts), "pts": list(found.pts), "time_base": found.time_base,
    }  # fmt: skip


def _moves(data: bytes, called: str) -> bool:
    with guarded(lambda: Image.open(BytesIO(data)), called) as image:
        return guarded(lambda: bool(getattr(image, "is_animated", False)), called)
