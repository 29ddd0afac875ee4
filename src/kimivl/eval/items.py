"""The questions of a held-out set, and the controls that show whether pictures matter.

What it is: `load_items`, which makes prompts out of the chat records of a test split, and `with_blank_pictures` and
`with_shuffled_pictures`, the same questions about no picture and about a wrong one.
What it is not: generation or scoring (`benchmarks.py`). A model that scores the same under a control does not look.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from kimivl.data.sample import Sample
from kimivl.data.source import Source, key_of
from kimivl.processor.image import load_rgb
from kimivl.processor.messages import ImagePart, Message, Part, TextPart
from kimivl.score.pointing import Point


@dataclass(frozen=True)
class Item:
    """One question with its true answer. `messages` end with the question; `images` are the files that they show."""

    id: str
    messages: tuple[Message, ...]
    question: str
    truth: str
    images: tuple[Path, ...]
    outline: tuple[Point, ...] | None = None  # of what is to be pointed at
    family: str = ""  # the kind of problem
    difficulty: int | None = None  # the problem's size, comparable within its family


def load_items(root: Path, source: str, split: str) -> list[Item]:
    """All questions of `<root>/<source>/<split>.jsonl`, in file order.

    Raises: ValueError naming the record that asks nothing, has no true answer, or whose family or difficulty is none.
    """
    records = Source(root, source, split)
    return [_item(records[row], records.path) for row in range(len(records))]


def _item(sample: Sample, path: Path) -> Item:
    where = f"{path} (id {sample.id})"
    if len(sample.messages) < 2 or sample.messages[-1].role != "assistant" or sample.messages[-2].role != "user":
        raise ValueError(f"{where}: a test record is a chat that ends with a question of the user and the assistant's answer")
    if not isinstance(sample.meta.get("answer"), str):
        raise ValueError(f'{where}: a test record has its true answer in "meta": {{"answer": "…"}}')
    prompt = sample.messages[:-1]
    outline = sample.meta.get("outline")
    files = [part.image for message in prompt for part in message.parts if isinstance(part, ImagePart)]
    images = tuple(file for file in files if isinstance(file, Path))
    corners = tuple((x, y) for x, y in outline) if outline else None
    family, difficulty = _kind(sample, where)
    return Item(sample.id, prompt, _question(prompt[-1]), sample.meta["answer"], images, corners, family, difficulty)


def _kind(sample: Sample, where: str) -> tuple[str, int | None]:
    """The problem's family and size, where the record tells them."""
    family, difficulty = sample.meta.get("family", ""), sample.meta.get("difficulty")
    if not isinstance(family, str) or not (difficulty is None or isinstance(difficulty, int)):
        raise ValueError(f'{where}: "family" is a name and "difficulty" a whole number, not {family!r} and {difficulty!r}')
    return family, difficulty


def _question(message: Message) -> str:
    """The words behind the last picture; all words if there are none behind it."""
    pictures = [place for place, part in enumerate(message.parts) if isinstance(part, ImagePart)]
    behind = message.parts[pictures[-1] + 1 :] if pictures else message.parts
    return _text(behind) or _text(message.parts)


def _text(parts: Sequence[Part]) -> str:
    return " ".join(part.text.strip() for part in parts if isinstance(part, TextPart))


def with_blank_pictures(items: Sequence[Item]) -> list[Item]:
    """Every picture replaced by a white one of the same size: what the question alone gives away.

    White, because it is what an empty picture of the test sets looks like; the number of image tokens stays the same.
    """
    blanks: dict[tuple[int, int], Image.Image] = {}

    def blank(file: Path) -> Image.Image:
        size = load_rgb(file).size
        return blanks.setdefault(size, Image.new("RGB", size, "white"))

    return [_with_pictures(item, blank) for item in items]


def with_shuffled_pictures(items: Sequence[Item]) -> list[Item]:
    """Every picture replaced by that of another question, never by its own.

    The files stand in one fixed random circle and each gives way to its successor, so questions about one picture still
    share one, and every picture is used as often as before.
    Raises: ValueError for fewer than two different files.
    """
    files = list(dict.fromkeys(file for item in items for file in item.images))
    if len(files) < 2:
        raise ValueError(f"the shuffled control needs at least two different pictures, but these questions show {len(files)}")
    circle = np.random.Generator(np.random.Philox(key=key_of("shuffled pictures"))).permutation(len(files))
    successor = {files[here]: files[there] for here, there in zip(circle, np.roll(circle, -1))}
    return [_with_pictures(item, successor.__getitem__) for item in items]


CONTROLS: dict[str, Callable[[Sequence[Item]], list[Item]]] = {"blank": with_blank_pictures, "shuffled": with_shuffled_pictures}


def _with_pictures(item: Item, other: Callable[[Path], Path | Image.Image]) -> Item:
    """The same question about other pictures. `images` names the files that are shown: none for pictures in memory."""

    def swapped(part: Part) -> Part:
        return ImagePart(other(part.image)) if isinstance(part, ImagePart) and isinstance(part.image, Path) else part

    messages = tuple(replace(message, parts=tuple(map(swapped, message.parts))) for message in item.messages)
    shown = [part.image for message in messages for part in message.parts if isinstance(part, ImagePart)]
    return replace(item, messages=messages, images=tuple(file for file in shown if isinstance(file, Path)))
