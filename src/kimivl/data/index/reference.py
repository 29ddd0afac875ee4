"""How rows speak of pictures → originals: a file, a member of an archive, a page of a PDF, a frame of a video.

    cats/1.jpg            relative to the folder of the file of rows, or to the root
    shard.tar/cats/1.jpg  a member of a tar or zip archive
    book.pdf#page=3       pages count from 1, as people do
    clip.mp4#frame=12     frames count from 0
    s3://bucket/coco/1.jpg, /data/coco/1.jpg   whole URLs and paths, if they lead below the root

What it is: `locate`, before anything is read, and `resolve`, when the originals are known. Each names the fix for what is
not there.
"""

import posixpath
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from kimivl.data.convert.forms import Fault
from kimivl.data.index.notes import Notes, Row
from kimivl.data.index.original import ends
from kimivl.data.index.walk import is_hidden

ARCHIVES = (".tar", ".zip")
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_PART = re.compile(r"#(page|frame)=(\d+)$")


@dataclass(frozen=True, slots=True)
class Located:
    """`path`: of the object; `name`: of the original in it, without its page or frame; "" is the `path` of what was extracted."""

    path: str
    name: str
    page: int | None = None
    frame: int | None = None

    @property
    def written(self) -> str:
        """As a record has it."""
        page = "" if self.page is None else f"#page={self.page}"
        return self.name + page + ("" if self.frame is None else f"#frame={self.frame}")


def locate(written: str, folder: str, root: str, notes: Notes) -> Located:
    """The object that a row speaks of. `folder`: of the file of rows, "" or ending in "/". Raises: Fault if there is none."""
    if written.startswith("./") and notes.is_extracted(written):
        return Located("", written)
    whole = _below_root(written, root)
    for name in [posixpath.normpath(whole)] if whole is not None else _candidates(written, folder):
        if found := _object(name, notes):
            return Located(found, name)
        if part := _PART.search(name):
            bare, number = name[: part.start()], int(part[2])
            if found := _object(bare, notes):
                return Located(found, bare, **{part[1]: number})
    below = posixpath.normpath(written if whole is None else whole).split("/")  # the root may be hidden itself
    if hidden := [part for part in below if is_hidden(part) and part not in (".", "..")]:
        raise Fault(f"{written} is hidden by the name {hidden[0]}, and what is hidden is not read: rename it")
    raise Fault(f"there is no file {written} in {root}: mend the path, or tell with --images where it is")


def resolve(located: Located, notes: Notes) -> tuple[str, int, Row, int | None]:
    """Name as a record has it, place of the original, its row, frame. Raises: Fault."""
    name, page, frame = located.name, located.page, located.frame
    if page is None and name.lower().endswith(".pdf"):
        pages = notes.count_below(f"{name}#page=")
        if pages > 1:
            raise Fault(f"{name} has {pages} pages: say which, as {name}#page=1")
        page = 1
    found = notes.original(name if page is None else f"{name}#page={page}")
    if found is None and page is not None:
        pages = notes.count_below(f"{name}#page=")
        found = notes.fault_of(name) or (f"{name} has {pages} pages, there is no page {page}" if pages else None)
    if found is None:
        found = notes.fault_of(located.path) or f"there is no {name.removeprefix(located.path + '/')} in {located.path}"
    if isinstance(found, str):
        raise Fault(found)
    place, row = found
    if frame is not None and frame >= (row.get("frames") or 0):
        raise Fault(f"{name} has {row['frames']} frames" if row.get("frames") else f"{name} is no video: leave out #frame")
    return Located(located.path, name, page, frame).written, place, row, frame


def _candidates(written: str, folder: str) -> list[str]:
    names = [posixpath.normpath(folder + written), posixpath.normpath(written)]
    return [name for name in dict.fromkeys(names) if not name.startswith("../")]


def _below_root(written: str, root: str) -> str | None:
    """The path below the root of a whole URL or path; None for a relative one."""
    url = written if "://" in written else ("file://" + quote(written) if written.startswith("/") else None)
    if url is None:
        return None
    if not unquote(url).startswith(unquote(root)):
        raise Fault(f"{written} is not below {root}: index a folder that holds rows and pictures, or tell --images")
    return unquote(url)[len(unquote(root)) :] if root.startswith("file:") else url[len(root) :]


def _object(name: str, notes: Notes) -> str | None:
    """The listed object that a name leads to or into."""
    if notes.listed(name):
        return name
    parts = name.split("/")
    for count in range(1, len(parts)):
        above = "/".join(parts[:count])
        if ends(above, ARCHIVES) and notes.listed(above):
            return above
        if ends(above, PACKED) and notes.listed(above):
            raise Fault(f"{above} is compressed as a whole, so its members have no place of their own: unpack it to .tar first")
    return None
