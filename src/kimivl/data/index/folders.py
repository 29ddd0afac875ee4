"""Folders of pictures without a file of rows: captions in text files beside them, or folders that are classes.

What it is: the rows of such a folder, as if a file held them.
What it is not: `metadata.jsonl` and `metadata.csv` of Hugging Face's folders of pictures, which are files of rows.
"""

import posixpath
from collections.abc import Iterator, Sequence
from typing import Any

from kimivl.data.convert.forms import Fault
from kimivl.data.index.notes import Notes
from kimivl.data.index.original import is_media, part_of
from kimivl.data.index.place import Listed, Place
from kimivl.data.index.scan import ahead


def folder_rows(place: Place, notes: Notes) -> Iterator[tuple[str, Any]]:
    """(path of the picture, row or `Fault`) of every picture. Raises: StoreError."""
    pictures = (of for of in notes.all_listed() if is_media(of.path) and place.chooses(of.path))
    captioned = any(_captions(of, notes) for of in notes.all_listed() if is_media(of.path))

    def row(item: tuple[Listed, Sequence[Listed]]) -> tuple[str, Any]:
        picture, captions = item
        try:
            text = _said(place, picture.path, captions, captioned)
            return picture.path, {"content": [part_of(picture.path), {"type": "text", "text": text}]}
        except Fault as fault:
            return picture.path, fault

    yield from ahead(row, ((of, _captions(of, notes) if captioned else []) for of in pictures))


def _captions(of: Listed, notes: Notes) -> Sequence[Listed]:
    return notes.listed_as(posixpath.splitext(of.path)[0], ".txt")


def _said(place: Place, path: str, captions: Sequence[Listed], captioned: bool) -> str:
    if len(captions) > 1:
        raise Fault(f"{' and '.join(of.path for of in captions)} are both its caption: remove one")
    if captions:
        caption = captions[0]
        try:
            text = place.get(caption).decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise Fault(f"{caption.path} is not UTF-8 text (byte {error.start + 1}); save it as UTF-8") from None
        if not text:
            raise Fault(f"{caption.path} is empty: write what is seen, or remove both")
        return text
    if captioned:
        raise Fault(f"there is no caption: write it to {posixpath.splitext(path)[0]}.txt, or remove the picture")
    name = posixpath.basename(posixpath.dirname(path))
    if not name:
        raise Fault("nothing is said of it: put a .txt beside it, or put it into the folder of its class")
    return name
