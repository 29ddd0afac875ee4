"""The report's section about thinking: accuracy against the tokens that a thought may take.

What it is: `thinking`, charts and a table out of what `thinking_curve.py` measured, as HTML text.
What it is not: the measurement, or the page (`report.py`).
The budget's axis is its logarithm to base 2, as in the paper's figure 13; a budget of 0 has no logarithm and stands one step
before the first.
"""

import math
from collections.abc import Sequence

from kimivl.eval.charts import Series, line_chart
from kimivl.eval.curves import COLORS
from kimivl.eval.page import grid, heading, legend, panel, paragraph, section, table
from kimivl.eval.parts import Result
from kimivl.eval.thinking import POLICIES
from kimivl.eval.thinking_curve import WHOLE

RIGHT, BUDGET, USED = "right answers, %", "thinking tokens allowed", "thinking tokens used, mean"
STYLES: dict[str, tuple[str, str]] = dict(zip(POLICIES, zip(COLORS, ("", "5 3", "2 2.5"))))
CHANCE_COLOR = "#5c6670"
CAUSE = (
    "Why the curve rises: chains finish. A problem needs the tokens of its own chain of thought; below them its answer is a "
    "guess, above them more tokens add nothing. For problems of one size the curve is nearly a step, and the mix of sizes "
    "makes it smooth; only where a thought has to search is its length a matter of luck. The curve saturates at the length "
    "that the problems need, and says nothing about thoughts longer than those that were learned."
)
FEW, MANY = (158, 200, 200), (12, 66, 84)  # colours of a family's smallest and largest problems


def thinking(result: Result) -> str:
    """The section; nothing if nothing was measured."""
    rows = result.get("rows")
    if not rows:
        return ""
    whole = [row for row in rows if row["family"] == WHOLE]
    charts = grid([_budget_panel(whole), _used_panel(whole)], "wide")
    families = grid([_family_panel(name, rows) for name in dict.fromkeys(row["family"] for row in rows) if name != WHOLE], "wide")
    words = [paragraph(_rules(result)), paragraph(CAUSE)]
    return section("Thinking longer", *words, charts, families, grid([panel(_table(whole))], "stack"))


def _rules(result: Result) -> str:
    return (
        "One model, one greedy run for every question, cut at each budget; nothing is tuned for a budget. Truncate: a thought "
        "that is not closed within the budget has no answer. Force: it is closed there, and the model may write "
        f"{result['answer_tokens']} tokens of answer. Wait: in addition, a thought that ends earlier is told to wait and goes "
        f"on, up to {result['waits']} times. Bands are 95 % intervals over questions; chance is what the commonest answer of "
        "each family scores."
    )


def _budget_panel(rows: Sequence[Result]) -> str:
    place = _places(rows)
    series = [
        _policy_series(policy, [(place[row["budget"]], row) for row in rows if row["policy"] == policy]) for policy in POLICIES
    ]
    series.append(_chance(rows, list(place.values())))
    chart = line_chart(series, BUDGET, RIGHT, y_low=0, x_ticks=_ticks(place))
    return panel(heading("Accuracy by budget", _count(rows)), chart, legend(series))


def _used_panel(rows: Sequence[Result]) -> str:
    """The same over what was really thought: a policy that thinks more for the same answer lies further right."""
    series = [
        _policy_series(policy, [(row["thinking_tokens"], row) for row in rows if row["policy"] == policy]) for policy in POLICIES
    ]
    series.append(_chance(rows, [row["thinking_tokens"] for row in rows]))
    return panel(heading("Accuracy by tokens used", _count(rows)), line_chart(series, USED, RIGHT, y_low=0), legend(series))


def _family_panel(family: str, rows: Sequence[Result]) -> str:
    """How each size of a family's problems fares when the thought is closed at the budget."""
    own = [row for row in rows if row["family"] == family and row["policy"] == "force"]
    place, sizes = _places(own), list(dict.fromkeys(row["difficulty"] for row in own if row["difficulty"] is not None))
    series = [
        Series(f"size {size}", _points(place, own, size), _shade(number, len(sizes)), 2.0) for number, size in enumerate(sizes)
    ] or [Series("all", _points(place, own, None), _shade(0, 1), 2.0)]
    series.append(_chance(own, list(place.values())))
    whole = [row for row in own if row["difficulty"] is None]
    chart = line_chart(series, BUDGET, RIGHT, y_low=0, x_ticks=_ticks(place))
    return panel(heading(family, f"by size of the problem, closed by force · {_count(whole)}"), chart, legend(series))


def _points(place: dict[int, float], rows: Sequence[Result], size: int | None) -> list[tuple[float, float]]:
    return [(place[row["budget"]], 100 * row["accuracy"]) for row in rows if row["difficulty"] == size]


def _policy_series(policy: str, placed: Sequence[tuple[float, Result]]) -> Series:
    color, dash = STYLES[policy]
    placed = sorted(placed, key=lambda pair: pair[0])
    points = [(x, 100 * row["accuracy"]) for x, row in placed]
    spread = [(x, 100 * row["low"], 100 * row["high"]) for x, row in placed]
    return Series(policy, points, color, 2.0, dash, dots=True, spread=spread)


def _chance(rows: Sequence[Result], places: Sequence[float]) -> Series:
    level = 100 * rows[0]["chance"]
    return Series("chance", [(min(places), level), (max(places), level)], CHANCE_COLOR, 1.3, "1 3")


def _places(rows: Sequence[Result]) -> dict[int, float]:
    """Where each budget stands on the axis."""
    budgets = sorted({row["budget"] for row in rows})
    before = min((math.log2(budget) for budget in budgets if budget), default=1.0) - 1
    return {budget: math.log2(budget) if budget else before for budget in budgets}


def _ticks(place: dict[int, float]) -> list[tuple[float, str]]:
    """A label for the largest budget, and for each smaller one that is not too near to the next."""
    apart = (max(place.values()) - min(place.values())) / 11
    ticks: list[tuple[float, str]] = []
    for budget, x in reversed(place.items()):
        if not ticks or ticks[-1][0] - x >= apart:
            ticks.append((x, f"{budget:,}"))
    return ticks


def _shade(number: int, count: int) -> str:
    """From light to dark, so that the order of sizes is seen."""
    share = number / (count - 1) if count > 1 else 1.0
    return "#" + "".join(f"{round(few + share * (many - few)):02x}" for few, many in zip(FEW, MANY))


def _count(rows: Sequence[Result]) -> str:
    return f"{rows[0]['items']:,} questions"


def _table(rows: Sequence[Result]) -> str:
    """A line for each budget. Truncate and force cut the same thoughts."""
    by_run = {(row["policy"], row["budget"]): row for row in rows}
    head = ["budget", *(f"{policy}, %" for policy in POLICIES), "thoughts cut, %", "tokens thought", "with wait"]
    return table(head, [_table_row([by_run[policy, budget] for policy in POLICIES]) for budget in _places(rows)])


def _table_row(rows: Sequence[Result]) -> list[str]:
    truncate, _, wait = rows
    shares = [f"{100 * row['accuracy']:.1f} ({100 * row['low']:.1f} – {100 * row['high']:.1f})" for row in rows]
    tokens = [f"{row['thinking_tokens']:.1f}" for row in (truncate, wait)]
    return [f"{truncate['budget']:,}", *shares, f"{100 * truncate['truncated']:.1f}", *tokens]
