"""The report's building blocks: HTML text out of plain values.

What it is: the page's frame with its style inside, tables, legends, panels, the heat map and the strip of stage times.
What it is not: what the report says (`report.py`). There is no script, and the page's own policy forbids every request.
"""

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources

from kimivl.eval.charts import Series

# Even a mistake in the page cannot load anything: pictures come from inside it, everything else is refused.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
HEAT_LOW, HEAT_HIGH = (247, 240, 222), (20, 92, 92)  # colours of 0 and 1


def page(title: str, body: str) -> str:
    """The whole document."""
    style = resources.files("kimivl.eval").joinpath("report.css").read_text(encoding="utf-8")
    head = [
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        '<link rel="icon" href="data:,">',  # or the browser would ask for one
        f"<style>\n{style}</style>",
    ]
    lines = ["<!doctype html>", '<html lang="en">', "<head>", *head, "</head>", "<body><main>", body, "</main></body>", "</html>"]
    return "\n".join(lines) + "\n"


def section(title: str, *parts: str) -> str:
    """A heading and what belongs to it; nothing if there are no parts."""
    body = "\n".join(part for part in parts if part)
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>\n" if body else ""


def paragraph(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def heading(title: str, *facts: str) -> str:
    """A small heading with lines of facts below it."""
    lines = "<br>".join(escape(fact) for fact in facts)
    return f"<h3>{escape(title)}</h3>" + (f'<div class="facts">{lines}</div>' if facts else "")


def panel(*parts: str) -> str:
    return f'<div class="panel">{"".join(parts)}</div>'


def grid(panels: Sequence[str], kind: str = "") -> str:
    return f'<div class="grid {kind}">\n' + "\n".join(panels) + "\n</div>" if panels else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], kinds: Sequence[str] = ()) -> str:
    """A table of plain texts: the first column names the row, the others are right-aligned numbers.

    Args:
        kinds: class of each row ("" for none): "control" for a row that belongs to the one above, "sum" for totals.
    """

    def cells(values: Sequence[str], tag: str) -> str:
        first, *others = (escape(value) for value in values)
        return f"<th>{first}</th>" + "".join(f'<{tag} class="number">{value}</{tag}>' for value in others)

    kinds = kinds or [""] * len(rows)
    body = "".join(f'<tr class="{kind}">{cells(row, "td")}</tr>' for row, kind in zip(rows, kinds))
    return f'<div class="scroll"><table><thead><tr>{cells(head, "th")}</tr></thead><tbody>{body}</tbody></table></div>'


def legend(series: Sequence[Series]) -> str:
    """Names of a chart's lines with their last values."""
    items = [_legend_item(_stroke(one), one.name, f"{one.points[-1][1]:.3g}") for one in series if one.points]
    return f'<ul class="legend">{"".join(items)}</ul>'


def _stroke(series: Series) -> str:
    dash = f' stroke-dasharray="{series.dash}"' if series.dash else ""
    line = f'<line x1="0" x2="20" y1="4" y2="4" stroke="{series.color}" stroke-width="2.4"{dash}/>'
    return f'<svg viewBox="0 0 20 8" aria-hidden="true">{line}</svg>'


def _legend_item(mark: str, name: str, value: str) -> str:
    return f'<li>{mark}<span>{escape(name)}</span> <span class="last">{value}</span></li>'


def strip(shares: Mapping[str, float], colors: Sequence[str], unit: str) -> str:
    """A bar cut into named parts, and their names with values below."""
    total = sum(shares.values())
    parts, names = [], []
    for number, (name, value) in enumerate(shares.items()):
        hue = f"--hue:{colors[number % len(colors)]}"
        inside = escape(name) if value > 0.011 * total * len(name) else ""
        parts.append(f'<span style="flex-grow:{value:.4f};{hue}" title="{escape(name)}: {value:.2f} {unit}">{inside}</span>')
        names.append(_legend_item(f'<i class="swatch" style="{hue}"></i>', name, f"{value:.1f}"))
    return f'<div class="strip">{"".join(parts)}</div><ul class="legend">{"".join(names)}</ul>'


def heat_map(columns: Sequence[str], rows: Mapping[str, Sequence[float | None]], totals: Sequence[float]) -> str:
    """Shares from 0 to 1 as coloured cells; `totals` stand below."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr><th>{escape(name)}</th>{''.join(map(_heat_cell, values))}</tr>" for name, values in rows.items())
    last = f'<tr class="all"><th>all</th>{"".join(map(_heat_cell, totals))}</tr>'
    cells = f"<thead><tr><th></th>{head}</tr></thead><tbody>{body}{last}</tbody>"
    return f'<div class="scroll"><table class="heat">{cells}</table></div>'


def _heat_cell(value: float | None) -> str:
    if value is None:
        return "<td></td>"
    color = tuple(round(low + value * (high - low)) for low, high in zip(HEAT_LOW, HEAT_HIGH))
    text = "#fff" if value > 0.7 else "#1c2733"
    return f'<td style="background:rgb{color};color:{text}">{100 * value:.0f}</td>'
