"""Rows of other projects' data sets as our records, one form at a time.

What it is: `FORMS`, the converters, `form_of`, which tells a row's form by its keys, and `record_of`, which adds id and meta.
What it is not: reading files (`rows.py`), looking for pictures, or leniency: what is not of the form is a fault that names
the field and the fix. A video is a part `{"type": "video", "video": path}`, which whoever knows its frames puts pictures in
place of. Facts: `reference/data.md` §6 with the traps that users of other projects report: `image` as a string or as a list,
more or fewer `<image>` than pictures, `from`/`value` beside `role`/`content`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
Record = dict[str, Any]

MARK = re.compile(r"\n?<(image|video)>\n?")  # where a picture stands in a text, with the line ends that set it apart
CAPTIONS = ("text", "caption")
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
    if _media(row):
        texts = [_text(turn, "content", f"messages[{number}]") for number, turn in enumerate(turns)]
        contents: list[Any] = _with_media(texts, row)
    else:
        contents = [_content(turn, f"messages[{number}]") for number, turn in enumerate(turns)]
    meta = row.get("meta")
    asks = isinstance(meta, Mapping) and "answer" in meta  # a record of a test, which the model is to go on with
    return {"messages": _turns(turns, "role", contents, "messages", asks)}


def conversations(row: Row) -> Record:
    """ShareGPT's and LLaVA's form: `conversations` of `from` and `value`, whose `<image>` stand for `image` or `images`."""
    turns = _rows(row, "conversations")
    for number, turn in enumerate(turns):
        if "role" in turn or "content" in turn:
            raise Fault(
                f"conversations[{number}] has 'role' and 'content': call the list 'messages', or the keys 'from' and 'value'"
            )
    texts = [_text(turn, "value", f"conversations[{number}]") for number, turn in enumerate(turns)]
    return {"messages": _turns(turns, "from", _with_media(texts, row), "conversations")}


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


def captioned(row: Row) -> Record:
    """A picture and what is said of it, as Hugging Face's folders and tables of pictures have it: `file_name` or `image`, and
    `text` or `caption`."""
    named = [key for key in ("file_name", "image") if row.get(key) is not None]
    said = [key for key in CAPTIONS if row.get(key) is not None]
    if len(named) != 1 or len(said) != 1:
        raise Fault(f"a picture with a caption has one of 'file_name', 'image' and one of 'text', 'caption', got {sorted(row)}")
    if not isinstance(row[said[0]], str) or not row[said[0]]:
        raise Fault(f"'{said[0]}' is a text, got {row[said[0]]!r}")
    if isinstance(row[named[0]], list):
        raise Fault(f"'{named[0]}' is a list: a caption is of one picture; give several as 'texts' and 'images'")
    return {"content": [_picture(row[named[0]], f"'{named[0]}'"), {"type": "text", "text": row[said[0]]}]}


def document(row: Row) -> Record:
    """Our own form of a document: `content`, a text or a list of parts."""
    return {"content": _content(row, "the row")}


@dataclass(frozen=True)
class Form:
    """`keys`: one of them tells the form. `own`: the fields that a converter reads; all others are meta."""

    keys: tuple[str, ...]
    convert: Callable[[Row], Record]
    own: tuple[str, ...] = ()


MEDIA = ("image", "images", "video", "videos")
FORMS: dict[str, Form] = {
    "messages": Form(("messages",), messages, MEDIA),
    "conversations": Form(("conversations",), conversations, MEDIA),
    "interleaved": Form(("texts",), interleaved, ("images",)),
    "document": Form(("content",), document),
    "captioned": Form(CAPTIONS, captioned, ("file_name", "image")),
}


def form_of(row: Row) -> str:
    """The form whose key the row has. Raises: Fault if it has that of none or of several."""
    found = [name for name, form in FORMS.items() if any(row.get(key) is not None for key in form.keys)]
    if len(found) > 1 and "captioned" in found:  # beside a conversation, a caption is one field of many
        found.remove("captioned")
    if len(found) != 1 or (found == ["captioned"] and not {"file_name", "image"} & set(row)):
        keys = ", ".join(f"'{key}' ({name})" for name, form in FORMS.items() for key in form.keys)
        more = "; a caption stands beside 'file_name' or 'image'" if found == ["captioned"] else ""
        raise Fault(f"a row has {'one' if len(found) < 2 else 'just one'} of the keys {keys}, this one has {sorted(row)}{more}")
    return found[0]


def record_of(row: Any, form: str | None, name: str) -> Record:
    """A record of a row, its pictures and videos called as the row calls them.

    Args:
        form: of `FORMS`; the row's keys decide unless given.
        name: the id of a row without one.
    Raises: Fault.
    """
    if isinstance(row, Fault):
        raise row
    if not isinstance(row, Mapping):
        raise Fault(f"a row is a JSON object, got {type(row).__name__}")
    chosen = FORMS[form or form_of(row)]
    converted = chosen.convert(row)
    if row.get("meta") is not None and not isinstance(row["meta"], Mapping):
        raise Fault(f"'meta' is an object, got {type(row['meta']).__name__}")
    own = {*chosen.keys, *chosen.own, "id", "meta"}
    meta = {**(row.get("meta") or {}), **{field: value for field, value in row.items() if field not in own}}
    given = name if row.get("id") is None else row["id"]
    if isinstance(given, bool) or not isinstance(given, (str, int, float)):
        raise Fault(f"'id' is a text or a number, got {given!r}")
    return {"id": str(given), **converted} | ({"meta": meta} if meta else {})


def parts_of(record: Record) -> list[Record]:
    """All parts of a record, in order, but for texts that stand without a part."""
    contents = [turn["content"] for turn in record["messages"]] if "messages" in record else [record["content"]]
    return [part for content in contents if isinstance(content, list) for part in content]


def _turns(turns: Sequence[Row], key: str, contents: Sequence[Any], field: str, asks: bool = False) -> list[Record]:
    result = []
    for number, (turn, content) in enumerate(zip(turns, contents)):
        role = turn.get(key)
        if not isinstance(role, str) or role not in ROLES:
            raise Fault(f"{field}[{number}].{key} is {role!r}: give one of {', '.join(ROLES)}")
        content = content if _is_learned(turn, f"{field}[{number}]") else _unlearned(content)
        result.append({"role": ROLES[role], "content": content})
    for number, (before, turn) in enumerate(zip(result, result[1:])):
        if before["role"] == turn["role"] != "system":
            raise Fault(
                f"{field}[{number}] and [{number + 1}] are both from the {turn['role']}: turns alternate, join or split them"
            )
    if result[-1]["role"] != "assistant" and not asks:
        raise Fault(
            f"{field} ends with a turn of the {result[-1]['role']}: there is nothing to learn behind it; end with the assistant"
        )
    return result


def _is_learned(turn: Row, field: str) -> bool:
    """What OpenAI's `weight` and ms-swift's `loss` say of a turn of the assistant."""
    if calls := [key for key in ("tool_calls", "function_call") if turn.get(key)]:
        raise Fault(
            f"{field} has '{calls[0]}', which records have not: write the call into the text, as the model is to write it"
        )
    said = [(key, turn[key]) for key in ("weight", "loss", "learned") if turn.get(key) is not None]
    for key, value in said:
        if value not in (0, 1):  # also False and True
            raise Fault(f"{field}.{key} is 0 or 1, or false or true, got {value!r}: a turn is learned or it is not")
    return all(value for _, value in said)


def _unlearned(content: Any) -> list[Record]:
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return [part | {"learned": False} if part["type"] == "text" else part for part in parts]


def _with_media(texts: Sequence[str], row: Row) -> list[list[Record]]:
    """Each text as parts, its `<image>` and `<video>` replaced by the next picture or video of the row."""
    media = {kind: _named(row, kind) for kind in ("image", "video")}
    for kind, what in (("image", "pictures"), ("video", "videos")):
        marks = sum(mark == kind for text in texts for mark in MARK.findall(text))
        if marks != len(media[kind]):
            there = f"the texts hold {marks} <{kind}> and the row has {len(media[kind])} {what}"
            raise Fault(f"{there}: give one <{kind}> for each {what[:-1]}")
    left = {kind: iter(named) for kind, named in media.items()}
    contents = []
    for text in texts:
        parts: list[Record] = []
        for number, piece in enumerate(MARK.split(text)):  # texts, and between them which mark stood there
            if number % 2:
                field, path = next(left[piece])
                parts.append(_picture(path, field, piece))
            elif piece:
                parts.append({"type": "text", "text": piece})
        if not parts:
            raise Fault("a turn is empty: give it a text, or remove it")
        contents.append(parts)
    return contents


def _media(row: Row) -> list[tuple[str, str]]:
    return _named(row, "image") + _named(row, "video")


def _named(row: Row, kind: str) -> list[tuple[str, str]]:
    """(field, path) of the pictures or videos of a row: `image` is one path, `images` a list of them."""
    one, several = row.get(kind), row.get(f"{kind}s")
    what = {"image": "picture", "video": "video"}[kind]
    if one is not None and several is not None:
        raise Fault(f"both '{kind}' and '{kind}s' are there: keep one")
    if isinstance(one, list):
        raise Fault(f"'{kind}' is a list: call it '{kind}s'")
    if isinstance(several, str):
        raise Fault(f"'{kind}s' is a text: make it a list, or call it '{kind}'")
    if one is not None and not isinstance(one, str):
        raise Fault(f"'{kind}' is the path of a {what}, got {type(one).__name__}")
    if several is not None and (not isinstance(several, list) or not all(isinstance(path, str) for path in several)):
        raise Fault(f"'{kind}s' is a list of paths of {what}s")
    if isinstance(one, str):
        return [(f"'{kind}'", one)]
    return [(f"{kind}s[{number}]", path) for number, path in enumerate(several or [])]


def _content(turn: Row, field: str) -> Any:
    """OpenAI's content: a text, or parts of type text, image_url or image."""
    content = turn.get("content")
    if isinstance(content, str):
        if mark := MARK.search(content):
            kind = mark[1]
            raise Fault(f"{field}.content holds <{kind}>, and the row has no '{kind}s': give the list, or use parts")
        return content
    if not isinstance(content, list) or not content:
        raise Fault(f"{field}.content is a text or a list of parts, got {content!r}")
    return [_part(part, f"{field}.content[{number}]") for number, part in enumerate(content)]


def _part(part: Any, field: str) -> Record:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text" and isinstance(part.get("text"), str):
        ours = {key: part[key] for key in ("spelled", "learned", "ids") if part.get(key) is not None}
        return {"type": "text", "text": part["text"], **ours}
    if kind in ("image_url", "video_url"):
        address = part.get(kind)
        path = address.get("url") if isinstance(address, Mapping) else address
        return _picture(path, f"{field}.{kind}", kind.removesuffix("_url"))
    if kind in ("image", "video"):
        return _picture(part.get(kind), f"{field}.{kind}", kind)
    raise Fault(f"{field} is a part of type text, image_url or image, video_url or video, got {part!r}")


def _picture(path: Any, field: str, kind: str = "image") -> Record:
    what = {"image": "picture", "video": "video"}[kind]
    if not isinstance(path, str) or not path:
        raise Fault(f"{field} is the path of a {what}, got {path!r}")
    if path.startswith(("http://", "https://", "data:")):
        raise Fault(f"{field} is an address ({path[:40]}…): save the {what} as a file and give its path")
    if "\0" in path:
        raise Fault(f"{field} is the path of a {what}, and {path!r} holds a character that no path has: mend it")
    return {"type": kind, kind: path.removeprefix("file://")}


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
