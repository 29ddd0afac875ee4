"""A sample with its pictures and texts changed together, so that every word about a picture stays true.

What it is: `augmented`. Randomness is keyed by the sample and the epoch alone, so an interrupted run sees the same changes.
What it is not: the map of the plane (`geometry.py`) or what is said anew (`coordinates.py`, `directions.py`, `options.py`).
Where a text cannot be said of the warped picture, the warp gives way and never the text: first what changes directions is left
out, then every warp. Light and noise change no fact; hues are left alone, since texts name colours.
The record says in its meta which numbers are places (`"coordinates": "unit"`, "thousand" or "pixel"), and may keep its pictures
as they are (`"augment": false`).
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from kimivl.config.augment import AugmentConfig
from kimivl.data.augment.coordinates import KINDS, Kind, moved
from kimivl.data.augment.directions import redirected
from kimivl.data.augment.geometry import (
    Size,
    Unspeakable,
    Warp,
    identity,
    mirror,
    perspective,
    resize,
    straight_turn,
    turn,
    window,
)
from kimivl.data.augment.options import choice_count, reordered
from kimivl.data.sample import Sample
from kimivl.processor.image import upright_size
from kimivl.processor.messages import ImagePart, TextPart

SMALLEST = 16  # pixels of a side, below which a picture is not shrunk

# A mirror would turn these round: writing, faces of clocks, maps, hands.
_ONE_WAY_ROUND = re.compile(
    r"\b(?:text|letters?|words?|read|reads|written|writing|spell|says|numbers?|digits?|clock|time|maps?|hands?|flags?|logo|sign)\b"
    r"|[字写读钟图手牌]|时间|数字",
    re.IGNORECASE,
)

Move = Callable[[Size], Warp]


@dataclass(frozen=True)
class Change:
    """What is done to one picture. `light`: shares by which contrast and brightness change. `key`: of the noise."""

    warp: Warp | None
    light: tuple[float, float]
    noise: float
    key: int

    def size(self, before: Size) -> Size:
        """(W, H) of the changed picture."""
        return self.warp.after if self.warp else before

    def picture(self, picture: Image.Image) -> Image.Image:
        """The changed picture."""
        picture = self.warp.picture(picture) if self.warp else picture
        if not any(self.light) and not self.noise:
            return picture
        values = (np.asarray(picture, np.float32) - 128) * np.float32(1 + self.light[0]) + np.float32(128 + 127.5 * self.light[1])
        if self.noise:
            rng = np.random.Generator(np.random.Philox(self.key))
            values = values + rng.standard_normal(values.shape, np.float32) * np.float32(self.noise)
        return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


@dataclass(frozen=True)
class Augmented:
    """`sample`: its pictures carry their changes, which are made when they are decoded. `warp`: what its picture goes through,
    None if nothing moves. `refused`: why a stronger one was given up, or "".
    """

    sample: Sample
    warp: Warp | None
    refused: str


def augmented(sample: Sample, settings: AugmentConfig, rng: np.random.Generator) -> Augmented:
    """The sample as it is seen this time. Of pictures only headers are read.

    Args:
        rng: of this sample in this epoch; always used equally often, so that what is refused changes no later draw.
    Raises: ValueError naming a sample whose meta says something else than it may; ImageError for a picture that cannot be read.
    """
    turning, gentle = _moves(settings, rng)
    contrast, brightness = rng.uniform(-settings.light, settings.light, 2).tolist()
    key, order = int(rng.integers(2**63)), rng.random(9)
    kind, images = _kind(sample), sample.images if _may_change(sample) else []
    warp, refused = None, ""
    if len(images) == 1:  # places in a text about several pictures do not say in which one they lie
        sample, warp, refused = _warped(sample, upright_size(images[0].image), kind, turning, gentle)
    if images and (warp or settings.light or settings.noise):
        changes = [Change(warp, (contrast, brightness), settings.noise, key + place) for place in range(len(images))]
        sample = _with_changes(sample, changes)
    if order[0] < settings.reorder:
        sample = _with_choices_reordered(sample, order[1:])
    return Augmented(sample, warp, refused)


def _moves(settings: AugmentConfig, rng: np.random.Generator) -> tuple[list[Move], list[Move]]:
    """What is drawn for this sample: moves that change directions, and those that do not."""
    chances, degrees = rng.random(2), int(rng.choice([90, 180, 270]))
    angle = float(rng.uniform(-settings.turn, settings.turn))
    margins, growth = rng.uniform(0, settings.margin, 4) / 2, float(rng.uniform(-1, 1))
    inwards = rng.uniform(0, settings.tilt, (4, 2))
    turning: list[Move] = [mirror] if chances[0] < settings.mirror else []
    turning += [lambda size: straight_turn(size, degrees)] if chances[1] < settings.straight_turn else []
    gentle: list[Move] = [lambda size: _framed(size, margins)] if settings.margin else []
    gentle += [lambda size: turn(size, angle)] if settings.turn else []
    gentle += [lambda size: _tilted(size, inwards)] if settings.tilt else []
    gentle += [lambda size: _scaled(size, settings.scale**growth)] if settings.scale > 1 else []
    return turning, gentle


def _warped(
    sample: Sample, size: Size, kind: Kind | None, turning: Sequence[Move], gentle: Sequence[Move]
) -> tuple[Sample, Warp | None, str]:
    """The sample under the strongest of the drawn warps that its texts allow."""
    refused = ""
    for moves in ([*turning, *gentle], gentle) if turning else (gentle,):
        if not moves:
            continue
        warp = identity(size)
        for move in moves:
            warp = warp.then(move(warp.after))
        try:
            return _said_of(sample, kind, warp), warp, refused
        except Unspeakable as reason:
            refused = refused or str(reason)
    return sample, None, refused


def _said_of(sample: Sample, kind: Kind | None, warp: Warp) -> Sample:
    def said(part: TextPart) -> TextPart:
        text = part.text
        if warp.mirrors and (found := _ONE_WAY_ROUND.search(text)):
            raise Unspeakable(f"{found[0]!r}: what the picture shows may not be mirrored")
        text = redirected(moved(text, kind, warp) if kind else text, warp)
        if text != part.text and part.ids is not None:
            raise Unspeakable("the text is to be learned in just these tokens")
        return replace(part, text=text)

    return _with_texts(sample, said)


def _with_choices_reordered(sample: Sample, keys: np.ndarray) -> Sample:
    """The choices of the only question in another order; the sample as it is where they cannot change places."""
    if len(sample.messages) < 2 or [message.role for message in sample.messages[-2:]] != ["user", "assistant"]:
        return sample
    question = [part for part in sample.messages[-2].parts if isinstance(part, TextPart)][-1:]
    answers = [part for part in sample.messages[-1].parts if isinstance(part, TextPart)]
    count = choice_count(question[0].text) if question else 0
    if not 2 <= count <= len(keys) or any(part.ids is not None for part in answers):
        return sample
    order = [int(place) for place in np.argsort(keys[:count])]
    try:
        text, said = reordered(question[0].text, [part.text for part in answers], order)
    except Unspeakable:
        return sample
    written = dict(zip(map(id, [*question, *answers]), [text, *said]))
    return _with_texts(sample, lambda part: replace(part, text=written.get(id(part), part.text)))


def _with_texts(sample: Sample, say: Callable[[TextPart], TextPart]) -> Sample:
    return sample.with_parts(lambda part: say(part) if isinstance(part, TextPart) else part)


def _with_changes(sample: Sample, changes: Sequence[Change]) -> Sample:
    left = iter(changes)
    return sample.with_parts(lambda part: replace(part, change=next(left)) if isinstance(part, ImagePart) else part)


def _kind(sample: Sample) -> Kind | None:
    kind: Kind | None = sample.meta.get("coordinates")
    if kind is not None and kind not in KINDS:
        raise ValueError(f"sample {sample.id}: meta.coordinates is one of {', '.join(KINDS)}, got {kind!r}")
    return kind


def _may_change(sample: Sample) -> bool:
    may = sample.meta.get("augment", True)
    if not isinstance(may, bool):
        raise ValueError(f"sample {sample.id}: meta.augment is true or false, got {may!r}")
    return may


def _framed(size: Size, margins: np.ndarray) -> Warp:
    left, right, top, bottom = (int(margin * side) for margin, side in zip(margins, (size[0], size[0], size[1], size[1])))
    return window(size, (-left, -top, size[0] + right, size[1] + bottom))


def _tilted(size: Size, inwards: np.ndarray) -> Warp:
    directions = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)])
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) + directions * inwards
    return perspective(size, [(float(x), float(y)) for x, y in corners * size])


def _scaled(size: Size, factor: float) -> Warp:
    width, height = (max(math.ceil(side * factor), min(side, SMALLEST)) for side in size)
    return resize(size, (width, height))
