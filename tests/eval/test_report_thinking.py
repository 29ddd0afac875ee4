"""The report's section about thinking: every budget at its place, every family in a panel, and the cause in words."""

import re
import xml.etree.ElementTree as ET

import pytest

from kimivl.eval.items import Item
from kimivl.eval.report_thinking import thinking
from kimivl.eval.thinking import POLICIES, Outcome
from kimivl.eval.thinking_curve import chance_levels, curve_rows

BUDGETS = (0, 8, 16, 32)
NEEDS = {"paths": (6, 20, 30), "<search>": (12,)}


def result(budgets=BUDGETS, families=True):
    items = [
        Item(f"{family}{need}{copy}", (), "?", "1", (), None, family if families else "", need if families else None)
        for family, needs in NEEDS.items()
        for need in needs
        for copy in range(2)
    ]
    needs = [need for all_needs in NEEDS.values() for need in all_needs for _ in range(2)]
    outcomes = [
        Outcome(place, policy, budget, min(need, budget), need > budget, "", float(need <= budget))
        for place, need in enumerate(needs)
        for policy in POLICIES
        for budget in budgets
    ]
    return {"answer_tokens": 6, "waits": 4, "rows": curve_rows(outcomes, items, chance_levels(items))}


@pytest.fixture(scope="module")
def html():
    return thinking(result())


def charts(html):
    return re.findall(r'<svg class="chart".*?</svg>', html)


def lines(chart):
    """{name: [(x, y), …]}"""
    found = re.findall(r'<g><title>([^<]*)</title><polyline points="([^"]*)"', chart)
    return {name: [tuple(map(float, pair.split(","))) for pair in points.split()] for name, points in found}


def test_the_section_is_well_formed_whatever_the_names(html):
    assert ET.fromstring(html.strip()).tag == "section"
    assert "&lt;search&gt;" in html and "6 tokens of answer" in html and "up to 4 times" in html and "chains finish" in html


def test_doubled_budgets_are_equal_steps_and_nothing_stands_one_step_before(html):
    drawn = lines(charts(html)[0])
    assert list(drawn) == [*POLICIES, "chance"]
    xs = [x for x, _ in drawn["force"]]
    steps = [after - before for before, after in zip(xs, xs[1:])]
    assert len(xs) == 4 and steps == pytest.approx([steps[0]] * 3, abs=0.2)
    assert {y for _, y in drawn["chance"]} == {y for _, y in drawn["chance"][:1]}


def test_each_policy_has_its_interval_in_the_charts_of_the_whole_set(html):
    first, second, *families = charts(html)
    assert first.count('class="spread"') == second.count('class="spread"') == len(POLICIES)
    assert not any("spread" in chart for chart in families)


def test_every_family_has_a_panel_with_a_line_for_each_size(html):
    _, _, *families = charts(html)
    assert [list(lines(chart)) for chart in families] == [["size 12", "chance"], ["size 6", "size 20", "size 30", "chance"]]


def test_the_table_has_a_line_for_each_budget(html):
    table = ET.fromstring(html[html.index("<table>") : html.index("</table>") + len("</table>")])
    rows = [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]
    # of 8 thoughts of 6, 12, 20 and 30 tokens, two each
    assert [row[0] for row in rows] == ["budget", "0", "8", "16", "32"]
    assert [row[4] for row in rows[1:]] == ["100.0", "75.0", "50.0", "0.0"]
    assert [row[5] for row in rows[1:]] == ["0.0", "7.5", "12.5", "17.0"]
    assert [row[1].split()[0] for row in rows[1:]] == ["0.0", "25.0", "50.0", "100.0"]


@pytest.mark.parametrize("budgets", [(0,), (7,), (0, 1), tuple(range(40))])
def test_any_budgets_can_be_drawn(budgets):
    chart = charts(thinking(result(budgets, families=False)))[0]
    labels = re.findall(r'<text class="tick" [^>]*>([^<]*)<', chart)
    assert labels[0] == str(budgets[-1]) and len(labels) <= 12


def test_nothing_measured_is_nothing_shown():
    assert thinking({}) == ""
