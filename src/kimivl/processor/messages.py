"""What a conversation or a document is made of, before any tokenizer sees it.

What it is: three small frozen records, `TextPart`, `ImagePart` and `Message`, and the readers that turn the JSON of one
data record into them. Every room that talks to the model (data, engine, evaluation, serving, agents) speaks in these.
What it is not: rendering (`chat.py`), decoding of pixels (`image.py`), or a fetcher: an image is a local file, a
picture already in memory, or one that a manifest has found in a store.
Facts: the record form is described in `docs/`; roles are those of the Kimi chat format (`reference/model.md` §5.2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from PIL import Image

from kimivl.processor.stored import FetchedPicture, StoredPicture

Role = Literal["system", "user", "assistant"]
ROLES: tuple[str, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class TextPart:
    """Plain text. `spelled` text is written byte by byte, so that reading it is a choice among letters.

    What is not `learned` is read and never a target, for instance the planted error that an answer goes on to correct.
    `ids` are the tokens that a model wrote the text in, where it is to learn from just these: a text has many encodings.
    """

    text: str
    spelled: bool = False
    learned: bool = True
    ids: tuple[int, ...] | None = None


class PictureChange(Protocol):
    """What is done to a picture after it was decoded; its size is known before."""

    def size(self, before: tuple[int, int]) -> tuple[int, int]:
        """(W, H) of the changed picture."""

    def picture(self, picture: Image.Image) -> Image.Image:
        """The changed picture."""


@dataclass(frozen=True, slots=True)
class ImagePart:
    """One picture, a file, a PIL image (decoded or still lazy) or one from a store, and how it is changed, if it is."""

    image: Path | Image.Image | StoredPicture | FetchedPicture
    change: PictureChange | None = None


Part = TextPart | ImagePart


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. Errors: ValueError for an unknown role or for parts that are not a tuple of parts."""

    role: Role
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"unknown role {self.role!r}: a message is from one of {', '.join(ROLES)}")
        if not isinstance(self.parts, tuple) or not all(isinstance(part, Part) for part in self.parts):
            raise ValueError(
                f"the parts of a {self.role} message must be a tuple of TextPart and ImagePart, got {type(self.parts).__name__}"
            )


def read_messages(messages: Any, folder: Path, where: str) -> tuple[Message, ...]:
    """The `messages` of a chat record, as they stand in JSON.

    Args:
        messages: `[{"role": …, "content": str | [parts]}, …]`.
        folder: image paths are relative to it (the folder of the JSONL file).
        where: name of the record for errors, for instance "train.jsonl line 3 (id cat-7)".
    Errors: ValueError naming `where`, the message and the key.
    """
    if isinstance(messages, str) or not isinstance(messages, Sequence):
        raise ValueError(f"{where}: messages must be a list, got {type(messages).__name__}")
    return tuple(_read_message(message, folder, f"{where}, message {index}") for index, message in enumerate(messages))


def _read_message(message: Any, folder: Path, where: str) -> Message:
    _check_keys(message, {"role", "content"}, set(), where)
    parts = read_parts(message["content"], folder, where)
    try:
        return Message(message["role"], parts)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def read_parts(content: Any, folder: Path, where: str) -> tuple[Part, ...]:
    """The `content` of a message or of a document.

    Args:
        content: a string, or a list of `{"type": "text", "text": str, "spelled"?: bool, "learned"?: bool, "ids"?: [int]}` and
            `{"type": "image", "image": str}`.
        folder, where: as in `read_messages`.
    Errors: ValueError naming `where`, the part and the key. Files are not opened here.
    """
    if isinstance(content, str):
        return (TextPart(content),)
    if not isinstance(content, Sequence):
        raise ValueError(f"{where}: content must be a string or a list of parts, got {type(content).__name__}")
    return tuple(_read_part(part, folder, f"{where}, part {index}") for index, part in enumerate(content))


def _read_part(part: Any, folder: Path, where: str) -> Part:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text":
        _check_keys(part, {"type", "text"}, {"spelled", "learned", "ids"}, where)
        text, spelled, learned = part["text"], part.get("spelled", False), part.get("learned", True)
        if not isinstance(text, str) or not isinstance(spelled, bool) or not isinstance(learned, bool):
            raise ValueError(f'{where}: "text" must be a string, "spelled" and "learned" true or false')
        return TextPart(text, spelled, learned, _read_ids(part["ids"], where) if "ids" in part else None)
    if kind == "image":
        _check_keys(part, {"type", "image"}, set(), where)
        if not isinstance(part["image"], str) or not part["image"]:
            raise ValueError(f'{where}: "image" must be the path of one image file, got {part["image"]!r}')
        return ImagePart(folder / part["image"])
    raise ValueError(f'{where}: a part is {{"type": "text", "text": …}} or {{"type": "image", "image": …}}, got {part!r}')


def _read_ids(ids: Any, where: str) -> tuple[int, ...]:
    if not isinstance(ids, list) or not all(type(id) is int for id in ids):
        raise ValueError(f'{where}: "ids" must be a list of token numbers')
    return tuple(ids)


def _check_keys(record: Any, needed: set[str], allowed: set[str], where: str) -> None:
    if not isinstance(record, Mapping):
        raise ValueError(f"{where}: expected an object, got {type(record).__name__}")
    missing, unknown = needed - record.keys(), record.keys() - needed - allowed
    if missing or unknown:
        problem = f"lacks {sorted(missing)}" if missing else f"has unknown keys {sorted(unknown)}"
        raise ValueError(f"{where}: {problem}; the keys are {sorted(needed | allowed)}")
