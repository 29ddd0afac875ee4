"""Points, boxes, paths and outlines over a picture, where the texts of a sample say they are.

What it is: `marks_of`, which reads them out of the texts exactly as augmentation does (`data/augment/coordinates.py`), and
`overlay`, an SVG of the picture's own size that lies upon it.
What it is not: a guess: without `coordinates` in a record's meta, no number is a place.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kimivl.catalog.view.markup import Markup, tag
from kimivl.data.augment.coordinates import KINDS, Named, named
from kimivl.data.augment.geometry import Size
from kimivl.data.sample import Sample
from kimivl.processor.messages import TextPart


@dataclass(frozen=True)
class Mark:
    """One place. `who`: in whose text it stands, "user", "assistant", …, "document", or "meta" for the truth of a test record."""

    named: Named
    who: str
    outside: bool

    @property
    def words(self) -> str:
        """ "point (0.31, 0.5)"; of long outlines only how many corners they have."""
        if len(self.named.numbers_N2) > 6:
            return f"{self.named.form} of {len(self.named.numbers_N2)} corners"
        return f"{self.named.form} {_written(self.named.numbers_N2)}"


@dataclass(frozen=True)
class Marks:
    """All places of a sample; `note`: why there may be more than could be drawn, or ""."""

    marks: list[Mark]
    note: str


def marks_of(sample: Sample, size: Size, changed: bool = False) -> Marks:
    """The places that the texts of a sample with one picture of this size name, and the outline in its meta.

    Args:
        changed: the picture was warped: texts follow it, what stands in meta does not.
    """
    truth = [] if changed else _truth(sample.meta.get("outline"), size)
    kind = sample.meta.get("coordinates")
    if kind is None:
        return Marks(truth, "")
    if kind not in KINDS:
        return Marks(truth, f"meta.coordinates is one of {', '.join(KINDS)}, not {kind!r}: nothing is drawn")
    if len(sample.images) != 1:
        return Marks(truth, "places in texts about several pictures do not say in which one they lie: nothing is drawn")
    marks, notes = list[Mark](), []
    for who, text in _texts(sample):
        found, note = named(text, kind, size)
        marks += [Mark(one, who, _outside(one, size)) for one in found]
        notes += [note] if note else []
    far = [mark.words for mark in marks if mark.outside]
    notes += [f"outside of the picture: {', '.join(far)}"] if far else []
    return Marks(marks + truth, "; ".join(notes))


def overlay(marks: list[Mark], size: Size, inside: bool = False) -> Markup:
    """An `<svg>` that is laid upon the picture: one unit is one pixel of it, edges lie at 0 and at its width.

    Args:
        inside: the picture is fitted into a box that may have another shape, as this is then.
    """
    shapes = [_shape(number, mark, size) for number, mark in enumerate(marks, 1) if not mark.outside]
    return tag(
        "svg", shapes, class_="overlay", viewBox=f"0 0 {size[0]} {size[1]}",
        preserveAspectRatio="xMidYMid meet" if inside else "none", role="img",
        aria_label="; ".join(mark.words for mark in marks) or "no places",
    )  # fmt: skip


def _texts(sample: Sample) -> list[tuple[str, str]]:
    parts = [(message.role, part) for message in sample.messages for part in message.parts]
    return [
        (who, part.text) for who, part in [*parts, *(("document", part) for part in sample.content)] if isinstance(part, TextPart)
    ]


def _truth(outline: Any, size: Size) -> list[Mark]:
    """`meta.outline`: corners as shares of the sides, as test records have it (docs/nano.md)."""
    try:
        corners_N2 = np.array(outline, np.float64)
    except (TypeError, ValueError):
        return []
    if corners_N2.ndim != 2 or corners_N2.shape[1] != 2 or len(corners_N2) < 3 or not np.isfinite(corners_N2).all():
        return []
    one = Named("outline", corners_N2, corners_N2 * size)
    return [Mark(one, "meta", _outside(one, size))]


def _outside(one: Named, size: Size) -> bool:
    return bool((one.pixels_N2 < -1e-6).any() or (one.pixels_N2 > np.array(size) + 1e-6).any())


def _shape(number: int, mark: Mark, size: Size) -> Markup:
    points_N2 = mark.named.pixels_N2
    title = tag("title", f"{number}: {mark.words}, {mark.who}")
    if mark.named.form == "box":
        (left, top), (right, bottom) = points_N2.tolist()
        left, right, top, bottom = min(left, right), max(left, right), min(top, bottom), max(top, bottom)
        lines = _twice("rect", x=left, y=top, width=right - left, height=bottom - top)
    elif mark.named.form == "point":
        x, y = points_N2[0].tolist()
        far, near = 0.05 * max(size), 0.02 * max(size)  # what is pointed at stays in sight, but for a dot
        across = f"M{x - far:.3f} {y:.3f}H{x - near:.3f}M{x + near:.3f} {y:.3f}H{x + far:.3f}"
        down = f"M{x:.3f} {y - far:.3f}V{y - near:.3f}M{x:.3f} {y + near:.3f}V{y + far:.3f}"
        lines = [*_twice("path", d=f"{across}{down}"), tag("path", class_="line dot", d=f"M{x:.3f} {y:.3f}h0.001")]
    else:
        corners = " ".join(f"{x:.3f},{y:.3f}" for x, y in points_N2.tolist())
        lines = _twice("polyline" if mark.named.form == "path" else "polygon", points=corners)
    return tag("g", title, lines, class_=f"mark {mark.named.form} by-{mark.who}", data_mark=number)


def _twice(name: str, **attributes: str | float) -> list[Markup]:
    """A light line below a coloured one: seen on any ground."""
    return [tag(name, class_="halo", **attributes), tag(name, class_="line", **attributes)]


def _written(numbers_N2: np.ndarray) -> str:
    return "(" + ", ".join(f"{number:g}" for number in numbers_N2.flatten().tolist()) + ")"
