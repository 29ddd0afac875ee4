"""The first page: all sources, and for each, once it comes into sight, its figures."""

from kimivl.catalog.view.context import View, pack_address, sample_address, source_address
from kimivl.catalog.view.figures import Figures, in_bytes
from kimivl.catalog.view.histograms import bars, histogram
from kimivl.catalog.view.markup import Inside, Markup, tag
from kimivl.catalog.view.page import fault, page, panel
from kimivl.catalog.view.shelf import Entry

FAULTS = 5  # that are listed


def overview(view: View) -> Markup:
    entries = view.shelf.entries
    said = f"{len(entries)} sources in {view.shelf.root}" if len(entries) > 1 else f"one source in {view.shelf.root}"
    return page(
        view.shelf.root.name or "Data",
        [("data", None)],
        tag("p", said, class_="lead"),
        _stage(view),
        [_card(entry) for entry in entries],
    )


def _stage(view: View) -> Inside:
    if view.stage is None:
        return None
    words = f"Packs of the stage {view.stage.name}, as its trainer sees them: "
    return tag("p", words, tag("a", "step 0", href=pack_address(0)))


def _card(entry: Entry) -> Markup:
    size = "manifest" if entry.is_manifest else f"JSONL, {in_bytes(entry.path.stat().st_size)}"
    head = tag("h2", tag("a", entry.title, href=source_address(entry)), " ", tag("small", size))
    return panel(head, awaited_figures(entry))


def awaited_figures(entry: Entry) -> Markup:
    """The place that the script fills with a source's figures when it comes into sight."""
    return tag("div", tag("p", "counting …", class_="note"), class_="figures", data_fragment=f"/figures/{entry.index}")


def figures_fragment(view: View, entry: Entry) -> Markup:
    """What the card of a source fetches."""
    try:
        figures = view.figures(entry)
    except (ValueError, OSError) as reason:
        return fault(str(reason))
    facts = " · ".join([f"{figures.rows:,} rows", *figures.facts])
    return tag("div", tag("p", facts, class_="note"), tag("div", _charts(figures), class_="charts"), _faults(entry, figures))


def _charts(figures: Figures) -> list[Markup]:
    charts = [
        tag(
            "figure",
            tag("figcaption", spread.title, " ", tag("small", spread.basis)),
            histogram(spread.bins, spread.unit),
        )
        for spread in figures.spreads
    ]
    if figures.languages:
        caption = tag("figcaption", "Language", " ", tag("small", figures.languages_basis))
        charts.append(tag("figure", caption, bars(figures.languages)))
    return charts


def _faults(entry: Entry, figures: Figures) -> Inside:
    if not figures.faults:
        return None
    listed = [
        tag("li", tag("a", f"row {row}", href=sample_address(entry, row)), f": {words}") for row, words in figures.faults[:FAULTS]
    ]
    more = len(figures.faults) - FAULTS
    return tag("div", tag("p", f"{len(figures.faults)} of the rows that were read are at fault:"), tag("ul", listed),
               tag("p", f"and {more} more") if more > 0 else None, class_="fault")  # fmt: skip
