"""A file of rows in another project's form as a source of ours.

What it is: `convert`, for JSONL files and JSON lists. Every row is looked at before anything is written: all that is wrong is
told at once, with file, line, field and fix, and then nothing is written.
What it is not: a copy of pictures; they stay where they are, and the source names them by relative paths.
"""

import json
import os
from pathlib import Path
from typing import Any

from kimivl.data.convert.faults import Faults, Malformed
from kimivl.data.convert.forms import FORMS, Fault, Record, parts_of, record_of
from kimivl.data.convert.rows import json_rows
from kimivl.data.sample import read_record
from kimivl.model.atomic import write_atomic
from kimivl.processor.image import ImageError, upright_size


def convert(path: Path, out: Path, images: Path | None = None, form: str | None = None) -> dict[str, int]:
    """Writes `out`, a JSONL file of ours, from `path`.

    Args:
        images: folder that the paths of pictures are relative to; that of `path` unless given.
        form: of `FORMS`; each row's keys decide unless given.
    Returns: how many records, chats, documents and pictures there are.
    Raises: Malformed; OSError for a file that cannot be read or written; ValueError for an unknown form.
    """
    if form is not None and form not in FORMS:
        raise ValueError(f"unknown form {form!r}: choose from {', '.join(FORMS)}")
    folder, target = (images or path.parent).resolve(), out.parent.resolve()
    records: list[Record] = []
    faults = Faults()
    lines: dict[str, int] = {}
    pictures = 0
    with path.open("rb") as file:
        for line, row in json_rows(file, str(path)):
            where = f"{path}:{line}"
            try:
                record = _record(row, form, f"{path.stem}-{line}", folder, target)
                if record["id"] in lines:
                    raise Fault(f"the id {record['id']!r} was there in line {lines[record['id']]}: give every row its own")
                lines[record["id"]] = line
                pictures += checked(written(record), where)
                records.append(record)
            except (Fault, ImageError, OSError) as fault:
                faults.add(where, fault)
    faults.raise_any(len(records))
    if not records:
        raise Malformed(f"{path} holds no rows")
    write_atomic(out, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    chats = sum("messages" in record for record in records)
    return {"records": len(records), "chats": chats, "documents": len(records) - chats, "pictures": pictures}


def _record(row: Any, form: str | None, name: str, folder: Path, target: Path) -> Record:
    record = record_of(row, form, name)
    for part in parts_of(record):
        if part["type"] == "video":
            raise Fault(f"{part['video']} is a video, and a JSONL file holds pictures: make a manifest with `kimivl data index`")
        if part["type"] == "image":
            path = folder / part["image"]
            upright_size(path)  # it is there, and a picture
            part["image"] = os.path.relpath(path, target)
    return record


def written(record: Record) -> str:
    """The record's line. Raises: Fault for what JSON or UTF-8 cannot hold."""
    try:
        line = json.dumps(record, ensure_ascii=False)
        line.encode()
        return line
    except UnicodeEncodeError as error:
        raise Fault(f"a text holds half of a character ({error.reason}): mend it") from None
    except (TypeError, ValueError) as error:
        raise Fault(f"a value is none of JSON ({error})") from None


def checked(record: str, where: str) -> int:
    """Reads a record as training will; how many pictures it has. Raises: Fault."""
    try:
        return len(read_record(record, where, Path()).images)
    except ValueError as error:
        raise Fault(str(error).removeprefix(where).lstrip(": ")) from None
