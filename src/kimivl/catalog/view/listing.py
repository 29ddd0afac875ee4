"""The page of a source: its samples as cards, page after page, all or those that hold a word."""

import re
import time

from kimivl.catalog.view.context import View, picture_address, sample_address, source_address
from kimivl.catalog.view.drawing import marks_of, overlay
from kimivl.catalog.view.markup import Inside, Markup, tag
from kimivl.catalog.view.overview import awaited_figures
from kimivl.catalog.view.page import fault, page, panel, steps
from kimivl.catalog.view.pictures import shown_size
from kimivl.catalog.view.shelf import Entry
from kimivl.data.sample import Sample
from kimivl.data.source import Source
from kimivl.processor.messages import TextPart

CARDS = 48
SNIPPET = 140  # characters
THUMBNAIL = 240  # pixels of the longer side
SECONDS = 1.5  # of searching, before what was found is shown
BLOCK = 16_384  # rows that are looked through at once
PLAIN = re.compile(r"[A-Za-z0-9 _.,:;!?()-]+")  # JSON writes these as they are


def listing(view: View, entry: Entry, start: int, query: str) -> Markup:
    """Cards from row `start` on."""
    source = view.row(entry, start)
    rows, end = found(source, start, query) if query else (list(range(start, min(start + CARDS, len(source)))), start + CARDS)
    done = end >= len(source)
    where = f"Rows {start:,} to {min(end, len(source)) - 1:,} of {len(source):,}"
    said = f"{where} searched for “{query}”: {len(rows)} found" if query else where
    ahead = None if done else source_address(entry, end, query)
    back = source_address(entry, max(0, start - CARDS), query) if start and not query else None
    links = [
        ("« first", source_address(entry, 0, query) if start else None, ""), ("‹ before", back, "prev"),
        ("go on ›" if query else "next ›", ahead, "next"),
    ]  # fmt: skip
    if not query:
        last = (len(source) - 1) // CARDS * CARDS
        links.append(("last »", None if done else source_address(entry, last), ""))
    ways = steps(links)
    cards = [_card(source, entry, row) for row in rows]
    figures = panel(awaited_figures(entry))
    bar = tag("div", _search(entry, query), _go_to(entry, start, len(source)), tag("p", said, class_="note"), ways, class_="bar")
    return page(
        entry.title, [("data", "/"), (entry.title, None)], figures, bar, tag("div", cards, class_="cards"),
        ways if len(cards) > 8 else None,
    )  # fmt: skip


def found(source: Source, start: int, query: str, seconds: float = SECONDS) -> tuple[list[int], int]:
    """Rows from `start` on whose id or text holds the words, upper or lower case; and the first row that was not looked at.

    At most a page of them, and no longer than `seconds`. A row that cannot be read is found if its line holds the words.
    """
    wanted, deadline, rows = query.casefold(), time.monotonic() + seconds, list[int]()
    for first in range(start, len(source), BLOCK):
        stop = min(first + BLOCK, len(source))
        for row in _candidates(source, query, first, stop):
            if wanted in _words(source, row).casefold():
                rows.append(row)
            if len(rows) == CARDS or time.monotonic() > deadline:
                return rows, row + 1
        if time.monotonic() > deadline:
            return rows, stop
    return rows, len(source)


def _candidates(source: Source, query: str, start: int, stop: int) -> list[int]:
    """Rows that may hold the words; others need not be parsed. JSON may write what is not plain in another way."""
    rows = source.holding(query, start, stop)
    if PLAIN.fullmatch(query):
        return rows
    escaped = "\\" if any(sign in query for sign in '"\\/') else "\\u"
    return sorted({*rows, *source.holding(escaped, start, stop)})


def _words(source: Source, row: int) -> str:
    try:
        sample = source[row]
    except ValueError:
        return source.raw(row)
    return "\n".join([sample.id, *(part.text for part in sample.parts if isinstance(part, TextPart))])


def _search(entry: Entry, query: str) -> Markup:
    field = tag("input", type="search", name="q", value=query, placeholder="words in id or text", aria_label="search")
    return tag("form", field, tag("button", "Search"), action=source_address(entry), method="get", class_="search")


def _go_to(entry: Entry, start: int, count: int) -> Inside:
    """A form for a row's number, where there are many."""
    if count <= CARDS:
        return None
    field = tag("input", type="number", name="start", value=start, min=0, max=count - 1, aria_label="row")
    return tag("form", "row ", field, tag("button", "Go"), action=source_address(entry), method="get", class_="search")


def _card(source: Source, entry: Entry, row: int) -> Markup:
    address = sample_address(entry, row)
    try:
        sample = source[row]
    except ValueError as reason:
        return tag("a", fault(str(reason)), class_="card", href=address)
    shown: Inside = tag("img", src=picture_address(entry, row, 0, THUMBNAIL), loading="lazy", alt="") if sample.images else None
    count = len(sample.images)
    many = tag("span", f"{count} pictures", class_="many") if count > 1 else None
    words = tag("span", _snippet(sample, SNIPPET if shown else 4 * SNIPPET), class_="words")
    frame = tag("span", shown, _places(sample), many, class_="thumb") if shown else None
    return tag("a", frame, words, tag("small", sample.id), class_="card", href=address)


def _places(sample: Sample) -> Inside:
    """What the texts name, over the only picture. A picture that cannot be read says so itself."""
    if len(sample.images) != 1 or not ({"coordinates", "outline"} & sample.meta.keys()):
        return None
    try:
        size = shown_size(sample.images[0])
    except (ValueError, OSError):
        return None
    marks = marks_of(sample, size).marks
    return overlay(marks, size, inside=True) if marks else None


def _snippet(sample: Sample, length: int) -> str:
    text = " ".join(" ".join(part.text for part in sample.parts if isinstance(part, TextPart)).split())
    return text if len(text) <= length else text[:length] + "…"
