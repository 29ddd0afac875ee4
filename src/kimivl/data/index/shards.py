"""WebDataset's shards: neighbours in an archive with one name but for its end are a sample.

    0001.jpg 0001.txt     a picture and its caption
    0001.jpg 0001.cls     … and its class
    0001.jpg 0001.json    a caption (`text` or `caption`), or a row in any of the forms; further fields are meta
    0001.a.jpg 0001.b.jpg 0001.json   several pictures of one row

The name of a sample is all in front of the first dot of its members' last part. Facts: the WebDataset convention; energon's
folder .nv-meta is not needed and not read.
"""

import json
import posixpath
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from kimivl.data.convert.forms import CAPTIONS, FORMS, MEDIA, Fault
from kimivl.data.index.original import ends, part_of
from kimivl.data.index.scan import TEXTS, Scanned
from kimivl.data.parsing import NotJson, parse_json

TELLING = {key for form in FORMS.values() for key in form.keys} - set(CAPTIONS)  # what makes a JSON file a row


def shard_rows(shard: Scanned) -> Iterator[tuple[str, Any]]:
    """(name of the sample, row or `Fault`), in the order of the archive."""
    for key, members in groupby(shard.members, _key):
        try:
            yield key, _row(list(members), shard)
        except Fault as fault:
            yield key, fault


def _key(member: str) -> str:
    folder, name = posixpath.split(member)
    return posixpath.join(folder, name.partition(".")[0])


def _row(members: list[str], shard: Scanned) -> dict[str, Any]:
    """Pictures are named by their place below the root, as "shard.tar/0001.jpg"."""
    pictures = [member for member in members if member not in shard.texts]
    texts = {ending: [member for member in members if ends(member, ending)] for ending in TEXTS}
    for ending, found in texts.items():
        if len(found) > 1:
            raise Fault(f"it has {len(found)} files {ending}: leave one, or name samples apart before the first dot")
    said = _json(texts[".json"][0], shard) if texts[".json"] else {}
    if TELLING & said.keys():
        return _with_pictures(said, pictures)
    written = {ending: _text(texts[ending][0], shard) for ending in (".txt", ".cls") if texts[ending]}
    captions = [
        value for value in (written.get(".txt"), *(said.pop(key, None) for key in CAPTIONS), written.get(".cls")) if value
    ]
    if not captions or not isinstance(captions[0], str):
        raise Fault("nothing is said of it: give it a .txt or a .json with 'text' or 'caption'")
    if not pictures:
        raise Fault("it has no picture: give it one, or leave it out")
    return said | {"content": [*map(part_of, pictures), {"type": "text", "text": captions[0]}]}


def _with_pictures(row: dict[str, Any], pictures: list[str]) -> dict[str, Any]:
    """A row that names its pictures by their names in the shard, by their endings ("jpg"), or not at all: then all, in order."""
    above = posixpath.dirname(pictures[0]) if pictures else ""
    by_name = {posixpath.basename(picture): picture for picture in pictures}
    by_name |= {posixpath.basename(picture).partition(".")[2]: picture for picture in pictures}
    in_any_case = {name.lower(): name for name in by_name}
    if len(in_any_case) < len(by_name):  # "1.jpg" beside "1.JPG"
        in_any_case = {}

    def named(value: Any) -> Any:
        if isinstance(value, list):
            return [named(each) for each in value]
        if isinstance(value, str):
            return (
                by_name.get(value)
                or by_name.get(in_any_case.get(value.lower(), ""))
                or (value if "://" in value else posixpath.join(above, value))
            )
        return value

    def in_parts(of: Any) -> Any:
        if isinstance(of, list):
            return [in_parts(each) for each in of]
        if not isinstance(of, dict):
            return of
        if isinstance(address := of.get("image_url"), dict):
            return of | {"image_url": address | {"url": named(address.get("url"))}}
        return (
            of
            | {key: named(of[key]) for key in (*MEDIA, "image_url") if key in of}
            | {key: in_parts(of[key]) for key in ("content",) if key in of}
        )

    if not any(row.get(key) is not None for key in MEDIA) and "texts" not in row and _marks(row) == len(pictures) > 0:
        return row | {"images": pictures}
    row = {key: named(value) if key in MEDIA else value for key, value in row.items()}
    return row | {key: in_parts(row[key]) for key in ("messages", "content") if key in row}


def _marks(row: dict[str, Any]) -> int:
    return json.dumps(row).count("<image>")


def _json(member: str, shard: Scanned) -> dict[str, Any]:
    try:
        found = parse_json(_text(member, shard))
    except NotJson as error:
        raise Fault(f"{member}: {error}") from None
    if not isinstance(found, dict):
        raise Fault(f"{member}: a JSON object is expected, got {type(found).__name__}")
    return found


def _text(member: str, shard: Scanned) -> str:
    try:
        return shard.texts[member].decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise Fault(f"{member}: not UTF-8 text (byte {error.start + 1}); save it as UTF-8") from None
