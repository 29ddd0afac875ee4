"""Line charts as SVG text: small, calm, without any library or script.

What it is: `line_chart`, with bands for stages, linear or logarithmic axes, intervals around lines, and one point per bucket of
steps.
What it is not: legends, which are HTML beside the chart so that they wrap on a phone (`page.py`).
Texts are sized for a chart of 460 units across, which is about its width in pixels on a page.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

LEFT, RIGHT, TOP, BOTTOM = 56.0, 10.0, 20.0, 34.0
LETTER = 7.0  # mean width of a letter at the charts' text size


@dataclass(frozen=True)
class Series:
    """One line: `points` are (x, y) in order of x. `spread` is an area around it: (x, low, high), in order of x."""

    name: str
    points: Sequence[tuple[float, float]]
    color: str
    width: float = 1.8
    dash: str = ""
    dots: bool = False
    spread: Sequence[tuple[float, float, float]] = ()


@dataclass(frozen=True)
class Band:
    """A named stretch of the x axis."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class Axis:
    """What an axis shows, from `low` to `high`; `length` pixels from `start` on (negative: upwards)."""

    low: float
    high: float
    start: float
    length: float
    log: bool = False

    def place(self, value: float) -> float:
        low, high, value = (math.log(v) for v in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return self.start + self.length * (value - low) / (high - low)

    def ticks(self, most: int = 6) -> list[float]:
        return log_ticks(self.low, self.high) if self.log else linear_ticks(self.low, self.high, most)


def line_chart(
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    bands: Sequence[Band] = (),
    size: tuple[float, float] = (460, 240),
    log_x: bool = False,
    log_y: bool = False,
    y_low: float | None = None,
    x_ticks: Sequence[tuple[float, str]] = (),
) -> str:
    """An `<svg>` element.

    Args:
        y_low: where the y axis begins; a little below the lowest point unless given.
        x_ticks: places and labels of the x axis; round numbers unless given.
    Raises: ValueError if no series has a point.
    """
    points = [point for one in series for point in one.points]
    if not points:
        raise ValueError(f"the chart of {y_label} has nothing to show")
    width, height = size
    bounds = _range([x for x, _ in points] + [edge for band in bands for edge in (band.start, band.end)], log_x, exact=not log_x)
    x_axis = Axis(*bounds, LEFT, width - LEFT - RIGHT, log_x)
    low, high = _range([y for _, y in points] + [edge for one in series for _, *edges in one.spread for edge in edges], log_y)
    y_axis = Axis(low if y_low is None else y_low, high, height - BOTTOM, -(height - TOP - BOTTOM), log_y)
    ticks = x_ticks or [(tick, short(tick)) for tick in x_axis.ticks()]
    parts = [*_bands(bands, x_axis, height), *_grid(x_axis, y_axis, ticks, size), *_labels(x_label, y_label, size)]
    parts += [_spread(one, x_axis, y_axis) for one in series if one.spread]
    parts += [_line(one, x_axis, y_axis) for one in series if one.points]
    label = escape(f"{y_label} over {x_label}: {', '.join(one.name for one in series)}")
    return f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def binned(points: Sequence[tuple[float, float]], most: int = 100) -> list[tuple[float, float]]:
    """At most `most` points: the means of equally many neighbours each."""
    size = -(-len(points) // most) if points else 1
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def linear_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """At most `most` + 1 round numbers (1, 2 or 5 times a power of ten apart) from `low` to `high`."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten from `low` to `high`; with 2 and 5 times each if the range is short."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if math.log10(high / low) > 2.5 else (1, 2, 5)
    ticks = [factor * 10.0**exponent for exponent in exponents for factor in factors]
    return [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]


def short(value: float) -> str:
    """A number for an axis: 1500000 → 1.5M, 2000 → 2k, 0.004 → 0.004."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{letter}"
    return f"{value:.3g}"


def _range(values: Sequence[float], log: bool, exact: bool = False) -> tuple[float, float]:
    low, high = min(values), max(values)
    if log:
        return low / 1.15, high * 1.15
    if low == high:
        return low - 0.5, high + 0.5
    room = 0.0 if exact else 0.04 * (high - low)
    return low - room, high + room


def _bands(bands: Sequence[Band], x_axis: Axis, height: float) -> list[str]:
    parts = []
    for number, band in enumerate(bands):
        left, right = x_axis.place(band.start), x_axis.place(band.end)
        shade = "odd" if number % 2 else "even"
        box = f'x="{left:.1f}" y="{TOP:g}" width="{right - left:.1f}" height="{height - TOP - BOTTOM:g}"'
        parts.append(f'<rect class="band {shade}" {box}><title>{escape(band.name)}</title></rect>')
        if right - left > LETTER * len(band.name) + 6:
            parts.append(f'<text class="band-name" x="{(left + right) / 2:.1f}" y="{TOP - 6:g}">{escape(band.name)}</text>')
    return parts


def _grid(x_axis: Axis, y_axis: Axis, x_ticks: Sequence[tuple[float, str]], size: tuple[float, float]) -> list[str]:
    width, height = size
    parts = []
    for tick in y_axis.ticks():
        y = y_axis.place(tick)
        parts.append(f'<line class="grid" x1="{LEFT:g}" x2="{width - RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick y" x="{LEFT - 5:g}" y="{y + 3.5:.1f}">{short(tick)}</text>')
    for tick, label in x_ticks:
        x = min(max(x_axis.place(tick), LEFT), width - RIGHT)
        anchor = "end" if x > width - RIGHT - 8 else "middle"
        parts.append(f'<text class="tick" x="{x:.1f}" y="{height - BOTTOM + 14:g}" text-anchor="{anchor}">{escape(label)}</text>')
    parts.append(f'<line class="axis" x1="{LEFT:g}" x2="{width - RIGHT:g}" y1="{height - BOTTOM:g}" y2="{height - BOTTOM:g}"/>')
    return parts


def _labels(x_label: str, y_label: str, size: tuple[float, float]) -> list[str]:
    width, height = size
    middle = TOP + (height - TOP - BOTTOM) / 2
    return [
        f'<text class="label" x="{(LEFT + width - RIGHT) / 2:g}" y="{height - 5:g}">{escape(x_label)}</text>',
        f'<text class="label" transform="rotate(-90)" x="{-middle:g}" y="11">{escape(y_label)}</text>',
    ]


def _spread(series: Series, x_axis: Axis, y_axis: Axis) -> str:
    """The area between both edges: along the upper one, and back along the lower one."""
    upper = [(x, high) for x, _, high in series.spread]
    lower = [(x, low) for x, low, _ in series.spread]
    corners = " ".join(f"{x_axis.place(x):.1f},{y_axis.place(y):.1f}" for x, y in [*upper, *reversed(lower)])
    return f'<path class="spread" d="M{corners}Z" fill="{series.color}" fill-opacity="0.14"/>'


def _line(series: Series, x_axis: Axis, y_axis: Axis) -> str:
    places = [(x_axis.place(x), y_axis.place(y)) for x, y in series.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dash = f' stroke-dasharray="{series.dash}"' if series.dash else ""
    line = f'<polyline points="{path}" fill="none" stroke="{series.color}" stroke-width="{series.width:g}"{dash}/>'
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.4" fill="{series.color}"/>' for x, y in places) if series.dots else ""
    return f"<g><title>{escape(series.name)}</title>{line}{dots}</g>"
