"""Rows → the rows of a manifest's samples, in two steps: before originals are read, and when they are known.

What it is: `take`, which notes a row with the originals it speaks of, or its fault, and `finished`, which puts pictures in place.
A video becomes evenly spread frames, a time before each (`processor/clip.py`).
What it is not: the reading of rows (`convert/rows.py`) or of originals (`scan.py`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from kimivl.data.convert.files import checked, written
from kimivl.data.convert.forms import Fault, Record, parts_of, record_of
from kimivl.data.index.language import language_of
from kimivl.data.index.notes import Notes, Row
from kimivl.data.index.reference import Located, locate, resolve
from kimivl.processor.clip import sampled_indices, time_label

LICENCES, LANGUAGES = ("licence", "license"), ("language", "lang")


@dataclass(frozen=True)
class Said:
    """What is said of all samples: SPDX licence, BCP 47 language (both None if not), and how many frames a video has at most."""

    licence: str | None
    language: str | None
    frames: int


def take(notes: Notes, path: str, place: str, row: Any, name: str, folder: str, root: str) -> None:
    """Notes a row.

    Args:
        path: of the file of rows or the shard. place: the row in it, for errors.
        name: id of a row without one. folder: paths of pictures are relative to it, or else to `root`.
    """
    try:
        record = record_of(row, None, name)
        for part in parts_of(record):
            if (kind := part["type"]) in ("image", "video"):
                located = locate(part[kind], folder, root, notes)
                part[kind] = located.written
                if located.path:
                    notes.need(located.path, located.name)
        line = written(record)
        if before := notes.add_sample(path, place, record["id"], line):
            raise Fault(f"the id {record['id']!r} was there in {before}: give every row its own")
    except Fault as fault:
        notes.add_fault(path, place, str(fault))


def again(notes: Notes, root: str) -> None:
    """Needs what samples of an earlier run speak of."""
    for _, record, _ in notes.samples():
        for part in parts_of(json.loads(record)) if record else ():
            if (kind := part["type"]) in ("image", "video"):
                located = locate(part[kind], "", root, notes)
                notes.need(located.path, located.name)


def finished(notes: Notes, place: str, line: str, said: Said, root: str) -> Row:
    """A row of `schema.SAMPLES`. Raises: Fault."""
    record = json.loads(line)
    pictures: list[Row] = []
    for of in record.get("messages", [record]):
        if isinstance(of.get("content"), list):
            of["content"] = [new for part in of["content"] for new in _placed(notes, part, said, root, pictures)]
    line = json.dumps(record, ensure_ascii=False)
    count = checked(line, place)
    assert count == len(pictures)
    texts = [part["text"] for part in parts_of(record) if part["type"] == "text"]
    texts += [of["content"] for of in record.get("messages", [record]) if isinstance(of["content"], str)]
    meta = record.get("meta", {})
    return {
        "id": record["id"],
        "record": line,
        "pictures": pictures,
        "text_length": sum(map(len, texts)),
        "where": place,
        "licence": _told(meta, LICENCES) or said.licence,
        "language": _told(meta, LANGUAGES) or said.language or language_of(" ".join(texts)),
    }


def _placed(notes: Notes, part: Record, said: Said, root: str, pictures: list[Row]) -> list[Record]:
    """A part with its picture named as the manifest does; a video as many."""
    kind = part["type"]
    if kind not in ("image", "video"):
        return [part]
    located = locate(part[kind], "", root, notes)
    name, place, row, frame = resolve(located, notes)
    if kind == "video":
        return _film(located, place, row, said.frames, pictures)
    if frame is None and row.get("frames") and not row["media_type"].startswith("image/"):
        raise Fault(f"{name} is a video: say which frame, as {name}#frame=0, or give it as a video")
    pictures.append({"object": place, "frame": frame})
    return [{"type": "image", "image": name}]


def _film(located: Located, place: int, row: Row, most: int, pictures: list[Row]) -> list[Record]:
    if not row.get("frames") or located.frame is not None:
        raise Fault(f"{located.written} is no video: give it as an image")
    unit, parts = Fraction(row["time_base"]), list[Record]()
    for frame in sampled_indices(row["frames"], most):
        seconds = float((row["pts"][frame] - row["pts"][0]) * unit)
        parts.append({"type": "text", "text": time_label(seconds)})
        parts.append({"type": "image", "image": f"{located.name}#frame={frame}"})
        pictures.append({"object": place, "frame": frame})
    return parts


def _told(meta: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    return next((meta[key] for key in keys if isinstance(meta.get(key), str) and meta[key]), None)
