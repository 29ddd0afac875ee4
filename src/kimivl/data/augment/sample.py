"""A sample with its pictures and texts changed together, so that every word about a picture stays true.

What it is: `augmented`. Randomness is keyed by the sample and the epoch alone, so an interrupted run sees the same changes.
What it is not: the map of the plane (`geometry.py`), what forbids a warp (`premises.py`), what is said anew (`coordinates.py`,
`directions.py`, `options.py`, `paraphrase.py`) or noise of paper (`documents.py`).
Where a text cannot be said of the warped picture, the warp gives way and never the text: first what changes directions is left
out, then every warp. Light and noise change no fact; hues are left alone, since texts name colours. Instructions change their
words last, when what they say of the picture has been weighed, and a format of coordinates is asked for behind them.
The record says in its meta which numbers are places (`"coordinates": "unit"`, "thousand" or "pixel"), and may keep its pictures,
instructions and numbers as they are (`"augment": false`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from kimivl.config.augment import AugmentConfig
from kimivl.data.augment.coordinates import FORMATS, KINDS, Format, Kind, format_named, moved
from kimivl.data.augment.directions import redirected
from kimivl.data.augment.documents import Page
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
from kimivl.data.augment.paraphrase import bank, joined, language_of
from kimivl.data.augment.premises import check
from kimivl.data.augment.refusals import Refusal
from kimivl.data.sample import Sample
from kimivl.processor.image import upright_size
from kimivl.processor.messages import ImagePart, Message, PictureChange, TextPart

SMALLEST = 16  # pixels of a side, below which a picture is not shrunk

Move = Callable[[Size], Warp]
Asked = tuple[str, Size]  # a format of places, and the size of the picture that they lie in


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
    None if nothing moves. `refused`: why a stronger one was given up, or "". `refusals`: all that gave way.
    """

    sample: Sample
    warp: Warp | None
    refused: str
    refusals: tuple[Refusal, ...] = ()


@dataclass(frozen=True)
class _Later:
    """What is drawn behind the rest, so that settings without it draw as if it were not there. `key`: of wordings."""

    paraphrase: bool
    coordinates: bool
    form: str
    key: int
    strength: float
    page_key: int


def augmented(sample: Sample, settings: AugmentConfig, rng: np.random.Generator) -> Augmented:
    """The sample as it is seen this time. Of pictures only headers are read.

    Args:
        rng: of this sample in this epoch; always used equally often, so that what is refused changes no later draw.
    Raises: ValueError naming a sample whose meta says something else than it may; ImageError for a picture that cannot be read.
    """
    turning, gentle = _moves(settings, rng)
    contrast, brightness = rng.uniform(-settings.light, settings.light, 2).tolist()
    key, order = int(rng.integers(2**63)), rng.random(9)
    later = _later(settings, rng)
    kind, may_change, original = _kind(sample), _may_change(sample), sample
    images = sample.images if may_change else []
    warp, refused, refusals, asked = None, "", list[Refusal](), None
    if len(images) == 1:  # places in a text about several pictures do not say in which one they lie
        size = upright_size(images[0].image)
        sample, warp, reasons = _warped(sample, size, kind, turning, gentle)
        refusals += [Refusal("picture", reason.reason) for reason in reasons]
        refused = str(reasons[0]) if reasons else ""
        if kind and later.coordinates:
            try:
                asked, sample = _in_format(original, kind, warp or identity(size), later.form, sample)
            except Unspeakable as reason:
                refusals.append(Refusal("coordinates", reason.reason))
    elif images:
        refusals += [Refusal("picture", "pictures")] if turning or gentle else []
        refusals += [Refusal("coordinates", "pictures")] if kind and later.coordinates else []
    if images:
        plain = Change(warp, (contrast, brightness), settings.noise, key)
        sample = _with_changes(sample, [_change(plain, later, place) for place in range(len(images))])
    if order[0] < settings.reorder:
        try:
            sample = _with_choices_reordered(sample, order[1:])
        except Unspeakable as reason:
            refusals.append(Refusal("choices", reason.reason))
    if may_change:
        sample = _said_otherwise(sample, later, asked)
    return Augmented(sample, warp, refused, tuple(refusals))


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


def _later(settings: AugmentConfig, rng: np.random.Generator) -> _Later:
    chances, form = rng.random(2), list(FORMATS)[int(rng.integers(len(FORMATS)))]
    strength, (key, page_key) = float(rng.uniform(0, settings.document)), rng.integers(2**63, size=2).tolist()
    return _Later(chances[0] < settings.paraphrase, chances[1] < settings.coordinates, form, key, strength, page_key)


def _change(plain: Change, later: _Later, place: int) -> PictureChange | None:
    """Of the picture at a place among the sample's; None where nothing happens to it."""
    change = replace(plain, key=plain.key + place) if plain.warp or any(plain.light) or plain.noise else None
    return Page(later.strength, later.page_key + place, change) if later.strength else change


def _warped(
    sample: Sample, size: Size, kind: Kind | None, turning: Sequence[Move], gentle: Sequence[Move]
) -> tuple[Sample, Warp | None, list[Unspeakable]]:
    """The sample under the strongest of the drawn warps that its texts allow, and why others were given up."""
    refused = list[Unspeakable]()
    for moves in ([*turning, *gentle], gentle) if turning else (gentle,):
        if not moves:
            continue
        warp = identity(size)
        for move in moves:
            warp = warp.then(move(warp.after))
        try:
            return _said_of(sample, kind, warp), warp, refused
        except Unspeakable as reason:
            refused.append(reason)
    return sample, None, refused


def _in_format(original: Sample, kind: Kind, warp: Warp, form: str, warped: Sample) -> tuple[Asked | None, Sample]:
    """What is to be asked for, and the sample with its places in this format; None and `warped` where that changes nothing.

    Raises: Unspeakable where a text already says how places are written, or none of a user could.
    """
    for part in original.parts:
        if isinstance(part, TextPart) and (found := format_named(part.text)):
            raise Unspeakable(f"{found!r} says how places are written", "format")
    if not any(_asks(message) for message in original.messages):
        raise Unspeakable("no question could say how places are written", "format")
    written = _said_of(original, kind, warp, FORMATS[form])
    return ((form, warp.after), written) if written != warped else (None, warped)


def _said_of(sample: Sample, kind: Kind | None, warp: Warp, into: Format | None = None) -> Sample:
    def said(part: TextPart) -> TextPart:
        text = redirected(moved(part.text, kind, warp, into) if kind else part.text, warp)
        if text != part.text and part.ids is not None:
            raise Unspeakable("the text is to be learned in just these tokens", "tokens")
        return replace(part, text=text)

    check([part for part in sample.parts if isinstance(part, TextPart)], sample.meta, kind, warp)
    return _with_texts(sample, said)


def _with_choices_reordered(sample: Sample, keys: np.ndarray) -> Sample:
    """The choices of the only question in another order; the sample as it is where there are none.

    Raises: Unspeakable where they cannot change places.
    """
    if len(sample.messages) < 2 or [message.role for message in sample.messages[-2:]] != ["user", "assistant"]:
        return sample
    question = [part for part in sample.messages[-2].parts if isinstance(part, TextPart)][-1:]
    answers = [part for part in sample.messages[-1].parts if isinstance(part, TextPart)]
    count = choice_count(question[0].text) if question else 0
    if not 2 <= count <= len(keys):
        return sample
    if any(part.ids is not None for part in (*question, *answers)):
        raise Unspeakable("the text is to be learned in just these tokens", "tokens")
    order = [int(place) for place in np.argsort(keys[:count])]
    text, said = reordered(question[0].text, [part.text for part in answers], order)
    written = dict(zip(map(id, [*question, *answers]), [text, *said]))
    return _with_texts(sample, lambda part: replace(part, text=written.get(id(part), part.text)))


def _said_otherwise(sample: Sample, later: _Later, asked: Asked | None) -> Sample:
    """Instructions in other words, and the first question asking for the format that places are written in."""
    if not later.paraphrase and not asked:
        return sample
    rng = np.random.Generator(np.random.Philox(key=np.array([later.key, bank().digest], np.uint64)))
    messages = list(sample.messages)
    for place, message in enumerate(messages):
        if later.paraphrase and message.role != "assistant":
            parts = [
                replace(part, text=bank().paraphrased(part.text, rng))
                if isinstance(part, TextPart) and _may_be_said(part)
                else part
                for part in message.parts
            ]
            messages[place] = replace(message, parts=tuple(parts))
    if asked:
        place = next(place for place, message in enumerate(messages) if _asks(message))
        messages[place] = _asking_for(messages[place], asked, rng)
    return replace(sample, messages=tuple(messages))


def _asking_for(question: Message, asked: Asked, rng: np.random.Generator) -> Message:
    """The question with a sentence behind its last text, in its language."""
    last = [part for part in question.parts if isinstance(part, TextPart) and _may_be_said(part)][-1]
    sentence = bank().asks_for(*asked, language_of(last.text), rng)
    parts = [replace(part, text=joined(part.text, sentence)) if part is last else part for part in question.parts]
    return replace(question, parts=tuple(parts))


def _asks(message: Message) -> bool:
    """Whether it is a user's, with a text behind which more can be said."""
    return message.role == "user" and any(isinstance(part, TextPart) and _may_be_said(part) for part in message.parts)


def _may_be_said(part: TextPart) -> bool:
    return part.ids is None and not part.spelled and bool(part.text.strip())


def _with_texts(sample: Sample, say: Callable[[TextPart], TextPart]) -> Sample:
    return sample.with_parts(lambda part: say(part) if isinstance(part, TextPart) else part)


def _with_changes(sample: Sample, changes: Sequence[PictureChange | None]) -> Sample:
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
