"""Pictures inside the cells of a Parquet table: written out beside the manifest, since a cell has no range of bytes of its own.

What it is: `Cells`. A file is named after its contents, `<OUT without suffix>.pictures/ab/abcd….jpg`, so that the same picture is
written once. This is the only place where indexing copies anything: cells lie compressed in column chunks.
"""

import hashlib
import mimetypes
import os
from pathlib import Path, PurePosixPath
from typing import Any

from kimivl.data.convert.forms import Fault
from kimivl.data.index.notes import Notes
from kimivl.data.index.original import VIDEOS, Member, originals
from kimivl.model.atomic import writing
from kimivl.processor.image import ImageError, picture_facts

CELLS = ("image", "images", "video", "videos")


class Cells:
    """Writes pictures for the manifest that is to be at `out`, and knows which are new."""

    def __init__(self, out: Path, notes: Notes):
        self.folder, self._notes = out.with_suffix(".pictures"), notes
        self._new: list[Path] = []

    def extracted(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with paths in place of the bytes of pictures and videos. Raises: Fault for bytes that are none."""
        row = {key: self._replaced(value, key) if key in CELLS else value for key, value in row.items()}
        for field in ("messages", "content"):
            if isinstance(row.get(field), list):
                row[field] = [self._in_parts(of, f"{field}[{number}]") for number, of in enumerate(row[field])]
        return {key: value for key, value in row.items() if value is not None}

    def undo(self) -> None:
        """Removes what this run wrote."""
        for path in self._new:
            path.unlink(missing_ok=True)
        for folder in [*{path.parent for path in self._new}, self.folder]:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def _in_parts(self, of: Any, field: str) -> Any:
        if not isinstance(of, dict):
            return of
        of = {key: self._replaced(value, f"{field}.{key}") if key in ("image", "video") else value for key, value in of.items()}
        if isinstance(of.get("content"), list):
            of["content"] = [self._in_parts(part, f"{field}.content[{number}]") for number, part in enumerate(of["content"])]
        return of

    def _replaced(self, value: Any, field: str) -> Any:
        if isinstance(value, list):
            return [self._replaced(inner, f"{field}[{number}]") for number, inner in enumerate(value)]
        if isinstance(value, bytes):
            return self._written(value, "", field)
        if isinstance(value, dict) and value.keys() == {"bytes", "path"}:  # as Hugging Face's tables have pictures
            return value["path"] if value["bytes"] is None else self._written(value["bytes"], value["path"] or "", field)
        return value

    def _written(self, data: bytes, path: str, field: str) -> str:
        try:
            suffix = _suffix(data, path, field)
            digest = hashlib.sha256(data).hexdigest()
            name = f"./{self.folder.name}/{digest[:2]}/{digest}{suffix}"
            if not self._notes.is_extracted(name):
                rows = originals(Member(name, 0, data, data), name, "")
                self._save(self.folder / digest[:2] / f"{digest}{suffix}", data)
                for row in rows:
                    self._notes.add_original("", row)
                    self._notes.need("", row["name"])
            return name
        except ImageError as error:
            raise Fault(str(error)) from None

    def _save(self, path: Path, data: bytes) -> None:
        if path.is_file() and path.stat().st_size == len(data):
            return
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_name(f".{path.name}.new")
            new.write_bytes(data)
            os.replace(new, path)
        self._new.append(path)


def _suffix(data: bytes, path: str, field: str) -> str:
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in VIDEOS:
        return suffix
    return mimetypes.guess_extension(picture_facts(data, f"{field} ({path or 'bytes'})")[0]) or ".picture"
