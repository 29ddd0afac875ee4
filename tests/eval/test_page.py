"""The report's building blocks show what they are given, and nothing of it can become markup."""

from xml.etree import ElementTree

import pytest

from kimivl.eval import page
from kimivl.eval.charts import Series

SCRIPT = "<script>alert('x')</script>"


@pytest.mark.parametrize(
    "made",
    [
        page.section(SCRIPT, page.paragraph(SCRIPT)),
        page.heading(SCRIPT, SCRIPT),
        page.table([SCRIPT, SCRIPT], [[SCRIPT, SCRIPT]]),
        page.legend([Series(SCRIPT, [(0, 1.0)], "#123456")]),
        page.strip({SCRIPT: 1.0, "b": 2.0}, ["#111111"], "min"),
        page.heat_map([SCRIPT], {SCRIPT: [0.5]}, [0.5]),
    ],
)
def test_text_stays_text_and_every_element_is_closed(made):
    tree = ElementTree.fromstring(f"<root>{made.replace('&nbsp;', ' ')}</root>")
    assert SCRIPT in "".join(tree.itertext()) and tree.find(".//script") is None


def test_the_page_allows_no_request():
    made = page.page("a & b", "<p>body</p>")
    assert "<title>a &amp; b</title>" in made and "default-src 'none'" in made
    assert "http://" not in made and "https://" not in made and "src=" not in made


def test_what_is_empty_leaves_nothing():
    assert page.section("title") == page.section("title", "", "") == page.grid([]) == ""


def test_a_table_names_its_rows_and_their_kinds():
    tree = ElementTree.fromstring(page.table(["set", "score"], [["easy", "1"], ["blank", "0"]], ["", "control"]))
    assert [cell.text for cell in tree.iter("th")] == ["set", "score", "easy", "blank"]
    assert [(row.get("class"), row[1].text) for row in tree.iter("tr")][1:] == [("", "1"), ("control", "0")]


def test_heat_runs_from_light_to_dark_and_a_gap_stays_empty():
    tree = ElementTree.fromstring(page.heat_map(["1x", "4x"], {"0.1": [0.0, None]}, [1.0, 0.25]))
    cells = list(tree.iter("td"))
    assert [cell.text for cell in cells] == ["0", None, "100", "25"]
    assert f"rgb{page.HEAT_LOW}" in cells[0].get("style") and f"rgb{page.HEAT_HIGH}" in cells[2].get("style")
