"""Histograms and bars as SVG, in the manner of the report's charts.

What it is: `bins_of` numbers, which are looked at a piece at a time and not kept; `histogram` of these, `bars` of named counts.
What it is not: where the numbers come from (`figures.py`). Axes and ticks are those of `eval/charts.py`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from kimivl.catalog.view.markup import Markup, tag
from kimivl.eval.charts import Axis, short

WIDTH, HEIGHT = 320.0, 150.0
LEFT, RIGHT, TOP, BOTTOM = 38.0, 8.0, 8.0, 32.0
BINS = 24
FAR = 12  # times the least value: from there on an axis is logarithmic
ROW, NAMES = 19.0, 128.0  # height of a bar with its gap, room for its name
MOST = 6  # bars; the rest is one


@dataclass(frozen=True)
class Bins:
    """How numbers are spread: how many, from `low` to `high`; `counts` between `edges`, which are evenly spaced, or by factors
    if `log`."""

    count: int
    low: float
    high: float
    log: bool
    edges: np.ndarray
    counts: np.ndarray


def bins_of(pieces: Callable[[], Iterable[np.ndarray]]) -> Bins | None:
    """The bins of positive finite numbers; None if there are none. Args: `pieces`: gives them, twice."""
    ends = [(len(piece), float(piece.min()), float(piece.max())) for piece in pieces() if len(piece)]
    if not ends:
        return None
    low, high = min(end[1] for end in ends), max(end[2] for end in ends)
    log = high > FAR * low
    edges = _edges(low, high, log)
    counts = sum((np.histogram(piece, edges)[0] for piece in pieces()), np.zeros(BINS, np.int64))
    return Bins(sum(end[0] for end in ends), low, high, log, edges, counts)


def histogram(bins: Bins, label: str) -> Markup:
    """An `<svg>`."""
    edges, counts, log = bins.edges, bins.counts, bins.log
    x_axis = Axis(float(edges[0]), float(edges[-1]), LEFT, WIDTH - LEFT - RIGHT, log)
    y_axis = Axis(0.0, float(counts.max()) * 1.05, HEIGHT - BOTTOM, -(HEIGHT - TOP - BOTTOM))
    parts = []
    for tick in (tick for tick in y_axis.ticks(3) if tick == round(tick)):  # half a value was never counted
        y = y_axis.place(tick)
        parts += [tag("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y)]
        parts += [tag("text", short(tick), class_="tick y", x=LEFT - 5, y=y + 3.5)]
    for low, high, count in zip(edges.tolist(), edges.tolist()[1:], counts.tolist()):
        if count:
            left, right, y = x_axis.place(low), x_axis.place(high), y_axis.place(count)
            size = {"x": left, "y": y, "width": max(right - left - 0.8, 0.8), "height": HEIGHT - BOTTOM - y}
            parts.append(tag("rect", tag("title", f"{short(low)} to {short(high)}: {count:,}"), class_="bar", **size))
    for tick in _ticks(x_axis):
        parts.append(tag("text", short(tick), class_="tick", x=x_axis.place(tick), y=HEIGHT - BOTTOM + 13, text_anchor="middle"))
    parts.append(tag("line", class_="axis", x1=LEFT, x2=WIDTH - RIGHT, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM))
    parts.append(tag("text", label, class_="label", x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 4))
    summary = f"{label}: {bins.count:,} values from {short(bins.low)} to {short(bins.high)}"
    return tag("svg", parts, class_="chart", viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}", role="img", aria_label=summary)


def bars(counts: Mapping[str, int]) -> Markup:
    """An `<svg>` with a bar a name, longest first; the least are summed up."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    rows = (
        ordered[:MOST] if len(ordered) <= MOST + 1 else [*ordered[:MOST], ("others", sum(count for _, count in ordered[MOST:]))]
    )
    rows = ordered if len(ordered) == MOST + 1 else rows
    largest, height = max(count for _, count in rows), ROW * len(rows) + 4
    axis = Axis(0.0, float(largest), NAMES, WIDTH - NAMES - 44)
    parts = []
    for number, (name, count) in enumerate(rows):
        y = ROW * number + 2
        cut = name if len(name) <= 20 else name[:19] + "…"
        parts += [
            tag("text", cut, class_="tick y", x=NAMES - 6, y=y + 12),
            tag("rect", tag("title", f"{name}: {count:,}"), class_="bar", x=NAMES, y=y,
                width=max(axis.place(count) - NAMES, 1), height=ROW - 5),
            tag("text", short(count), class_="tick", x=axis.place(count) + 5, y=y + 12),
        ]  # fmt: skip
    summary = "; ".join(f"{name}: {count}" for name, count in rows)
    return tag("svg", parts, class_="chart", viewBox=f"0 0 {WIDTH:g} {height:g}", role="img", aria_label=summary)


def _edges(low: float, high: float, log: bool) -> np.ndarray:
    if log:
        return np.geomspace(low / 1.02, high * 1.02, BINS + 1)
    room = 0.02 * (high - low) or 0.5 * abs(high) or 0.5  # all alike: a bar with room around it
    return np.linspace(low - room, high + room, BINS + 1)


def _ticks(axis: Axis) -> list[float]:
    """Not more than fit beside each other, each with another label."""
    ticks = list({short(tick): tick for tick in reversed(axis.ticks())}.values())[::-1]
    while len(ticks) > 7:
        ticks = ticks[::2]
    return ticks
