"""The documentation points at things that exist: links between pages, and the files that the paper map names."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
REPOSITORY_PATH = re.compile(r"`((?:src|tests|recipes|docs|benchmarks)/[^`\s…]*)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_of_the_repository(page):
    targets = [target for target in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in target]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing, f"{page.name} links to {missing}, which do not exist"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_named_in_the_text_exist(page):
    missing = sorted({path for path in REPOSITORY_PATH.findall(page.read_text(encoding="utf-8")) if not (ROOT / path).exists()})
    assert not missing, f"{page.name} names {missing}, which do not exist"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_placeholder_is_left(page):
    left = re.findall(r"\{\{[^}]*\}\}", page.read_text(encoding="utf-8"))
    assert not left, f"{page.name} still has {len(left)} placeholders, the first is {left[0]}"


def test_the_paper_map_gives_every_row_a_state():
    rows = [line for line in (ROOT / "docs" / "paper_map.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    body = [row for row in rows if not row.startswith(("|---", "| place "))]
    assert len(body) > 40
    for row in body:
        state = row.strip("|").split("|")[-1].strip()
        assert state.startswith(("done", "partly", "not yet")), f"no state in: {row}"
        if state.startswith("done"):
            assert "`" in row, f"done, but no file is named: {row}"
