"""The one record type of the project, and the reading of its JSONL form.

What it is: `Sample` (a chat or an interleaved document) and `read_record`, whose errors name file, line, field and fix.
What it is not: the parts' own form (`processor/messages.py`), turning a sample into tokens (`processor/`), or choosing which
sample comes next (`source.py`, `mixture.py`). The record form is described in docs/nano.md.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kimivl.processor.messages import ImagePart, Message, Part, read_messages, read_parts


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


def read_record(line: str, where: str, folder: Path) -> Sample:
    """Parses one JSONL line.

    Args:
        where: "file:line", for errors.
        folder: image paths are relative to it.
    Raises: ValueError naming `where`, the field and the fix.
    """
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not valid JSON ({error.msg} at column {error.colno})") from None
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
