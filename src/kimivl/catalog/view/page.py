"""The frame of every page: head, policy, style and script inside, and the way up.

What it is: `page`, small blocks that several pages share, and `POLICY`, by which a browser runs our one script, loads pictures
from this server alone, and refuses everything else, whatever a record holds.
"""

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources

from kimivl.catalog.view.markup import Inside, Markup, joined, tag, verbatim


def _asset(name: str) -> str:
    return resources.files("kimivl.catalog.view").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


STYLE, SCRIPT = _asset("view.css"), _asset("view.js")
POLICY = (
    f"default-src 'none'; img-src 'self' data:; connect-src 'self'; form-action 'self'; style-src {_hash(STYLE)}; "
    f"script-src {_hash(SCRIPT)}; base-uri 'none'; frame-ancestors 'none'"
)

Link = tuple[str, str | None]  # words, address


def page(title: str, way: Sequence[Link], *body: Inside, refresh: bool = False) -> Markup:
    """The whole document.

    Args:
        way: from the overview down to here; the last is this page.
        refresh: asks for itself again at once: the answer is still being worked on.
    """
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="refresh", content="0") if refresh else None,
        tag("title", f"{title} · kimivl data"),
        tag("link", rel="icon", href="data:,"),  # or the browser would ask for one
        verbatim("style", STYLE),
    ]
    crumbs = [tag("li", tag("a", words, href=address) if address else words) for words, address in way]
    header = tag("header", tag("nav", tag("ol", crumbs), aria_label="where you are"), tag("h1", title))
    inside = tag("main", header, body)
    html = tag("html", tag("head", head), tag("body", inside, verbatim("script", SCRIPT)), lang="en")
    return joined([Markup("<!doctype html>\n"), html])


def panel(*inside: Inside, kind: str = "") -> Markup:
    return tag("section", inside, class_=f"panel {kind}".rstrip())


def facts(rows: Sequence[tuple[str, Inside]]) -> Markup:
    """Names and values."""
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in rows], class_="facts")


def fault(words: str) -> Markup:
    """What is wrong, plainly."""
    return tag("p", words, class_="fault", role="alert")


def steps(links: Sequence[tuple[str, str | None, str]]) -> Markup:
    """Ways to the neighbours: (words, address or None where there is none, rel). The arrow keys follow `prev` and `next`."""
    return tag(
        "nav",
        [
            tag("a", words, href=address, rel=rel) if address else tag("span", words, class_="off")
            for words, address, rel in links
        ],
        class_="steps",
        aria_label="neighbours",
    )
