"""Rows of other projects' data sets as our records, one form at a time.

What it is: `FORMS`, the converters, and `form_of`, which tells a row's form by its keys.
What it is not: reading files (`files.py`), or leniency: what is not of the form is a fault that names the field and the fix.
Facts: `reference/data.md` §6 with the traps that users of other projects report: `image` as a string or as a list, more or fewer
`<image>` than pictures, `from`/`value` beside `role`/`content`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Record = dict[str, Any]

MARK = re.compile(r"\n?<image>\n?")  # where a picture stands in a text, with the line ends that set it apart
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


class Fault(ValueError):
    """What is wrong with a row: the field, and the fix."""


def messages(row: Row) -> Record:
    """OpenAI's form: `messages` of `role` and `content`, the content a text or a list of parts. Where texts hold `<image>`, the
    pictures are in `images`, as in LLaMA-Factory and ms-swift."""
    turns = _rows(row, "messages")
    for number, turn in enumerate(turns):
        if "from" in turn or "value" in turn:
            raise Fault(
                f"messages[{number}] has 'from' and 'value': call the list 'conversations', or the keys 'role' and 'content'"
            )
    if _pictures(row):
        texts = [_text(turn, "content", f"messages[{number}]") for number, turn in enumerate(turns)]
        contents: list[Any] = _with_pictures(texts, _pictures(row))
    else:
        contents = [_content(turn, f"messages[{number}]") for number, turn in enumerate(turns)]
    return {"messages": _turns(turns, "role", contents, "messages")}


def conversations(row: Row) -> Record:
    """ShareGPT's and LLaVA's form: `conversations` of `from` and `value`, whose `<image>` stand for `image` or `images`."""
    turns = _rows(row, "conversations")
    for number, turn in enumerate(turns):
        if "role" in turn or "content" in turn:
            raise Fault(
                f"conversations[{number}] has 'role' and 'content': call the list 'messages', or the keys 'from' and 'value'"
            )
    texts = [_text(turn, "value", f"conversations[{number}]") for number, turn in enumerate(turns)]
    return {"messages": _turns(turns, "from", _with_pictures(texts, _pictures(row)), "conversations")}


def interleaved(row: Row) -> Record:
    """OBELICS' form: `texts` and `images` of one length, in each place one of them and the other null."""
    texts, pictures = row.get("texts"), row.get("images")
    if not isinstance(texts, list) or not isinstance(pictures, list) or len(texts) != len(pictures):
        raise Fault("'texts' and 'images' are lists of one length, with null in the one where the other has something")
    content: list[Record] = []
    for number, (text, picture) in enumerate(zip(texts, pictures)):
        if (text is None) == (picture is None):
            raise Fault(
                f"place {number} has {'nothing' if text is None else 'a text and a picture'}: give one, null for the other"
            )
        if not isinstance(text if picture is None else picture, str):
            raise Fault(f"place {number} is a text or the path of a picture, got {text if picture is None else picture!r}")
        content.append({"type": "text", "text": text} if picture is None else _picture(picture, f"images[{number}]"))
    return {"content": content}


FORMS: dict[str, tuple[str, Callable[[Row], Record]]] = {
    "messages": ("messages", messages),
    "conversations": ("conversations", conversations),
    "interleaved": ("texts", interleaved),
}


def form_of(row: Row) -> str:
    """The form whose key the row has. Raises: Fault if it has that of none or of several."""
    found = [name for name, (key, _) in FORMS.items() if key in row]
    if len(found) != 1:
        keys = ", ".join(f"'{key}' ({name})" for name, (key, _) in FORMS.items())
        raise Fault(f"a row has {'just one' if found else 'one'} of the keys {keys}, this one has {sorted(row)}")
    return found[0]


def _turns(turns: Sequence[Row], key: str, contents: Sequence[Any], field: str) -> list[Record]:
    result = []
    for number, (turn, content) in enumerate(zip(turns, contents)):
        role = turn.get(key)
        if not isinstance(role, str) or role not in ROLES:
            raise Fault(f"{field}[{number}].{key} is {role!r}: give one of {', '.join(ROLES)}")
        result.append({"role": ROLES[role], "content": content})
    for number, (before, turn) in enumerate(zip(result, result[1:])):
        if before["role"] == turn["role"] != "system":
            raise Fault(
                f"{field}[{number}] and [{number + 1}] are both from the {turn['role']}: turns alternate, join or split them"
            )
    if result[-1]["role"] != "assistant":
        raise Fault(
            f"{field} ends with a turn of the {result[-1]['role']}: there is nothing to learn behind it; end with the assistant"
        )
    return result


def _with_pictures(texts: Sequence[str], pictures: Sequence[str]) -> list[list[Record]]:
    """Each text as parts, its `<image>` replaced by the next picture."""
    marks = sum(len(MARK.findall(text)) for text in texts)
    if marks != len(pictures):
        raise Fault(f"the texts hold {marks} <image> and the row has {len(pictures)} pictures: give one <image> for each picture")
    left = iter(pictures)
    contents = []
    for text in texts:
        parts: list[Record] = []
        for number, piece in enumerate(MARK.split(text)):
            parts += [_picture(next(left), "images")] if number else []
            parts += [{"type": "text", "text": piece}] if piece else []
        if not parts:
            raise Fault("a turn is empty: give it a text, or remove it")
        contents.append(parts)
    return contents


def _pictures(row: Row) -> list[str]:
    """The pictures of a row: `image` is one path, `images` a list of them."""
    image, images = row.get("image"), row.get("images")
    if image is not None and images is not None:
        raise Fault("both 'image' and 'images' are there: keep one")
    if isinstance(image, list):
        raise Fault("'image' is a list: call it 'images'")
    if isinstance(images, str):
        raise Fault("'images' is a text: make it a list, or call it 'image'")
    if image is not None and not isinstance(image, str):
        raise Fault(f"'image' is the path of a picture, got {type(image).__name__}")
    if images is not None and (not isinstance(images, list) or not all(isinstance(path, str) for path in images)):
        raise Fault("'images' is a list of paths of pictures")
    return [image] if isinstance(image, str) else list(images or [])


def _content(turn: Row, field: str) -> Any:
    """OpenAI's content: a text, or parts of type text, image_url or image."""
    content = turn.get("content")
    if isinstance(content, str):
        if MARK.search(content):
            raise Fault(f"{field}.content holds <image>, and the row has no 'images': give the list, or use parts")
        return content
    if not isinstance(content, list) or not content:
        raise Fault(f"{field}.content is a text or a list of parts, got {content!r}")
    return [_part(part, f"{field}.content[{number}]") for number, part in enumerate(content)]


def _part(part: Any, field: str) -> Record:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if kind == "image_url":
        address = part.get("image_url")
        return _picture(address.get("url") if isinstance(address, Mapping) else address, f"{field}.image_url")
    if kind == "image":
        return _picture(part.get("image"), f"{field}.image")
    raise Fault(f"{field} is a part of type text, image_url or image, got {part!r}")


def _picture(path: Any, field: str) -> Record:
    if not isinstance(path, str) or not path:
        raise Fault(f"{field} is the path of a picture, got {path!r}")
    if path.startswith(("http://", "https://", "data:")):
        raise Fault(f"{field} is an address ({path[:40]}…): save the picture as a file and give its path")
    return {"type": "image", "image": path.removeprefix("file://")}


def _rows(row: Row, field: str) -> list[Row]:
    turns = row.get(field)
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, Mapping) for turn in turns):
        raise Fault(f"'{field}' is a list of at least one turn, each an object")
    return turns


def _text(turn: Row, key: str, field: str) -> str:
    text = turn.get(key)
    if not isinstance(text, str):
        raise Fault(f"{field}.{key} is a text, got {type(text).__name__}")
    return text
