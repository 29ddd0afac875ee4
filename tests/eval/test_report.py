"""The report is one well-formed page that holds the run's figures and needs nothing beside itself."""

import json
import re
from html.parser import HTMLParser

import pytest

from kimivl.eval.goals import percent
from kimivl.eval.page import heat_map, table
from kimivl.eval.report import set_title, write_report
from kimivl.eval.summary import measure_run

VOID = {"meta", "link", "br", "img"}


class Reader(HTMLParser):
    """Checks that tags are closed in order, and collects text and addresses."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.addresses = [], [], []

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def page(run):
    measure_run(run)
    path = write_report(run)
    assert path == run.folder / "report" / "index.html"
    return path.read_text()


@pytest.fixture(scope="module")
def read(page):
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def test_it_has_all_sections(page):
    assert re.findall(r"<h2>(.*?)</h2>", page) == [
        "Asked and reached", "What it answers", "Held-out scores and controls", "How it was trained", "Stage by stage",
        "Learning to think", "Thinking longer", "Needle in a haystack", "Muon and AdamW", "Sizes and speeds",
    ]  # fmt: skip


def test_it_loads_nothing(page, read):
    assert read.addresses and all(address.startswith("data:") for address in read.addresses)
    assert "<script" not in page and "@import" not in page and "url(" not in page
    assert "default-src 'none'" in page


def test_figures_of_the_summary_are_in_it(read, run):
    summary = json.loads((run.folder / "summary.json").read_text())
    text = " ".join(read.text)
    for key, result in summary["details"].items():
        assert percent(result["score"]) in text
        assert result["control"] or set_title(key) in text
    assert f"{summary['parameters']['total']:,}" in text
    assert f"{summary['totals']['tokens']:,}" in text
    assert all(name in text for name in summary["stages"])


def test_the_time_is_that_of_all_stages_the_thinking_ones_included(read, run):
    facts = json.loads((run.folder / "summary.json").read_text())
    minutes = facts["train_minutes"] + facts["think_minutes"]
    assert facts["think_minutes"] > 0 and f"through {len(facts['stages'])} stages in {minutes:.1f} minutes" in " ".join(read.text)


def test_every_stage_has_its_chart(page, run):
    # two more for the ViT's contrastive loss and the perplexity of alignment, four of both widths, one of the optimizers, two of
    # reinforcement learning, and three of budgets: all problems twice and their one family
    assert page.count('<svg class="chart"') == len(run.recipe.stages) + 2 + 4 + 1 + 2 + 3


def test_answers_are_shown_with_their_pictures(page):
    # 6 pictures a set, and 2 of the pointing ones beyond the first 4 are wrong
    assert page.count('<figure class="sample">') == 3 * 6
    assert page.count('class="true-outline"') == 6


def test_a_run_that_only_trains_has_a_report(run, tmp_path, recipe):
    summary = json.loads((run.folder / "summary.json").read_text())
    for key in ("needle", "muon_vs_adamw", "text_loss_before", "text_loss_after", "needle_recall", "think"):
        del summary[key]

    class Bare:
        folder, stages_folder = tmp_path, run.stages_folder

    Bare.recipe = recipe
    (tmp_path / "summary.json").write_text(json.dumps(summary | {"details": {}, "name": "other"}))
    text = write_report(Bare()).read_text()
    assert re.findall(r"<h2>(.*?)</h2>", text) == ["How it was trained", "Stage by stage", "Sizes and speeds"]


def test_an_unmeasured_run_has_no_report(run, tmp_path):
    class Unmeasured:
        folder = tmp_path

    with pytest.raises(FileNotFoundError, match="summary.json"):
        write_report(Unmeasured())


def test_heat_cells_are_per_cent_and_empty_where_nothing_was_measured():
    cells = heat_map(["256"], {"0–10 %": [None], "10–20 %": [0.5]}, [0.25])
    assert "<td></td>" in cells and ">50</td>" in cells and ">25</td>" in cells


def test_tables_keep_texts_as_texts():
    assert "&lt;b&gt;" in table(["a", "b"], [["<b>", "1"]])
