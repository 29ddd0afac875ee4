"""The one record type of the project, and the reading of its JSONL form.

What it is: `Sample` (a chat or an interleaved document), `read_record`, whose errors name file, line, field and fix, and
`write_record`, its inverse.
What it is not: the parts' own form (`processor/messages.py`), turning a sample into tokens (`processor/`), or choosing which
sample comes next (`source.py`, `mixture.py`). The record form is described in docs/nano.md.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kimivl.data.parsing import NotJson, parse_json
from kimivl.processor.messages import ImagePart, Message, Part, TextPart, read_messages, read_parts


@dataclass(frozen=True)
class Sample:
    """One training or test item: either `messages` (a chat) or `content` (a document) is given, the other is empty."""

    id: str
    messages: tuple[Message, ...] = ()
    content: tuple[Part, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def is_chat(self) -> bool:
        return bool(self.messages)

    @property
    def parts(self) -> list[Part]:
        """All parts, in order, whichever form the sample has."""
        return [part for message in self.messages for part in message.parts] if self.is_chat else list(self.content)

    @property
    def images(self) -> list[ImagePart]:
        return [part for part in self.parts if isinstance(part, ImagePart)]

    def with_parts(self, changed: Callable[[Part], Part]) -> "Sample":
        """The sample with each of its parts, in order, replaced by what `changed` makes of it."""
        messages = tuple(replace(message, parts=tuple(map(changed, message.parts))) for message in self.messages)
        return replace(self, messages=messages, content=tuple(map(changed, self.content)))

    def with_images(self, images: Sequence[ImagePart]) -> "Sample":
        """The sample with other pictures, one for each that it has, in order."""
        if len(images) != len(self.images):
            raise ValueError(f"sample {self.id} has {len(self.images)} pictures, {len(images)} were given")
        left = iter(images)
        return self.with_parts(lambda part: next(left) if isinstance(part, ImagePart) else part)


def read_record(line: str, where: str, folder: Path) -> Sample:
    """Parses one JSONL line.

    Args:
        where: "file:line", for errors.
        folder: image paths are relative to it.
    Raises: ValueError naming `where`, the field and the fix.
    """
    try:
        record = parse_json(line)
    except NotJson as error:
        raise ValueError(f"{where}: {error}") from None
    if not isinstance(record, dict) or not isinstance(record.get("id"), str):
        raise ValueError(f"{where}: a record is a JSON object with a string 'id'")
    where = f"{where} (id {record['id']})"
    unknown = set(record) - {"id", "messages", "content", "meta"}
    if unknown:
        raise ValueError(f"{where}: unknown fields {sorted(unknown)}; a record has id, messages or content, and meta")
    forms = [key for key in ("messages", "content") if key in record]
    if len(forms) != 1 or not record[forms[0]]:
        raise ValueError(f"{where}: give either 'messages' (a chat) or 'content' (a document), and not an empty one")
    meta = record.get("meta", {})
    if not isinstance(meta, dict):
        raise ValueError(f"{where}: 'meta' must be an object, got {type(meta).__name__}")
    if "content" in record:
        return Sample(record["id"], content=read_parts(record["content"], folder, where), meta=meta)
    return Sample(record["id"], messages=read_messages(record["messages"], folder, where), meta=meta)


def write_record(sample: Sample, path_of: Callable[[Path], str]) -> str:
    """The sample's JSONL line, without its end; `read_record` gives the sample back.

    Args:
        path_of: what stands for the path of a picture.
    Raises: ValueError naming a sample with a picture that is no file.
    """

    def parts(of: tuple[Part, ...]) -> list[dict[str, Any]]:
        return [_written(part, path_of, sample.id) for part in of]

    record: dict[str, Any] = {"id": sample.id}
    if sample.is_chat:
        record["messages"] = [{"role": message.role, "content": parts(message.parts)} for message in sample.messages]
    else:
        record["content"] = parts(sample.content)
    return json.dumps(record | ({"meta": sample.meta} if sample.meta else {}), ensure_ascii=False)


def _written(part: Part, path_of: Callable[[Path], str], sample: str) -> dict[str, Any]:
    """A part with the keys that differ from what is usual."""
    if isinstance(part, TextPart):
        more: dict[str, Any] = {"spelled": True} if part.spelled else {}
        more |= {} if part.learned else {"learned": False}
        return {"type": "text", "text": part.text} | more | ({} if part.ids is None else {"ids": list(part.ids)})
    if not isinstance(part.image, Path):
        raise ValueError(f"sample {sample} has a picture in memory: save it as a file before the sample is written")
    return {"type": "image", "image": path_of(part.image)}
