"""A file of rows in another project's form as a source of ours.

What it is: `convert`, for JSONL files and JSON lists. Every row is looked at before anything is written: all that is wrong is
told at once, with file, line, field and fix, and then nothing is written.
What it is not: a copy of pictures; they stay where they are, and the source names them by relative paths.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kimivl.data.convert.forms import FORMS, Fault, Record, form_of
from kimivl.data.sample import read_record
from kimivl.model.atomic import write_atomic
from kimivl.processor.image import ImageError, upright_size

TOLD = 20  # faults that are told one by one


class Malformed(ValueError):
    """Rows of a file that are not of its form; the message tells each, up to a number, and how many there are."""


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
    faults: list[str] = []
    lines: dict[str, int] = {}
    pictures = 0
    for line, row in _rows(path):
        where = f"{path}:{line}"
        try:
            record = _record(row, form, f"{path.stem}-{line}", folder, target)
            if record["id"] in lines:
                raise Fault(f"the id {record['id']!r} was there in line {lines[record['id']]}: give every row its own")
            lines[record["id"]] = line
            pictures += _checked(record, where)
            records.append(record)
        except (Fault, ImageError, OSError) as fault:
            faults.append(f"{where}: {fault}")
    if faults:
        more = f"\n… and {len(faults) - TOLD} more" if len(faults) > TOLD else ""
        raise Malformed(f"{len(faults)} of {len(faults) + len(records)} rows are malformed:\n" + "\n".join(faults[:TOLD]) + more)
    if not records:
        raise Malformed(f"{path} holds no rows")
    write_atomic(out, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    chats = sum("messages" in record for record in records)
    return {"records": len(records), "chats": chats, "documents": len(records) - chats, "pictures": pictures}


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """(line, row) of a JSONL file, or (place in the list, row) of a JSON list."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise Malformed(f"{path}: not UTF-8 text (byte {error.start + 1}); save the file as UTF-8") from None
    if text.lstrip().startswith("["):
        try:
            yield from enumerate(json.loads(text), start=1)
        except json.JSONDecodeError as error:
            raise Malformed(f"{path}:{error.lineno}: not valid JSON ({error.msg} at column {error.colno})") from None
        return
    for line, written in enumerate(text.split("\n"), start=1):
        if written.strip():
            yield line, _parsed(written)


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        return Fault(f"not valid JSON ({error.msg} at column {error.colno})")


def _record(row: Any, form: str | None, name: str, folder: Path, target: Path) -> Record:
    if isinstance(row, Fault):
        raise row
    if not isinstance(row, dict):
        raise Fault(f"a row is a JSON object, got {type(row).__name__}")
    key, converter = FORMS[form or form_of(row)]
    converted = converter(row)
    parts = [part for turn in converted.get("messages", ()) for part in turn["content"] if isinstance(turn["content"], list)]
    for part in [*parts, *converted.get("content", ())]:
        if part["type"] == "image":
            upright_size(folder / part["image"])  # it is there, and a picture
            part["image"] = os.path.relpath(folder / part["image"], target)
    own = {key, "id", "image", "images", "meta"}
    meta = (row["meta"] if isinstance(row.get("meta"), dict) else {}) | {
        name: value for name, value in row.items() if name not in own
    }
    given = row.get("id")
    return {"id": name if given is None else str(given), **converted} | ({"meta": meta} if meta else {})


def _checked(record: Record, where: str) -> int:
    """Reads the record as training will; how many pictures it has. Raises: Fault."""
    try:
        json.dumps(record, ensure_ascii=False).encode()  # half of a surrogate pair is no text
        return len(read_record(json.dumps(record), where, Path()).images)
    except ValueError as error:
        raise Fault(str(error).removeprefix(where).lstrip(": ")) from None
