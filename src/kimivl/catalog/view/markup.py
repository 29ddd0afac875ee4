"""HTML and SVG out of values, such that text of a record can never become markup.

What it is: `Markup`, text that is markup already, and `tag`, the way to make more of it: whatever is not `Markup` is escaped.
What it is not: a template language, or what the pages say.
"""

from collections.abc import Iterable
from html import escape


class Markup(str):
    """Text that is HTML already. Outside of this file it is made of constants only."""


Inside = Markup | str | int | None | Iterable["Inside"]
Value = str | int | float | bool | None


def tag(name: str, /, *inside: Inside, **attributes: Value) -> Markup:
    """An element.

    Args:
        attributes: `class_` is written as class, `data_x` as data-x, `True` as a bare name; `None` and `False` are left out.
    """
    head = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None and value is not False)
    if name in ("img", "input", "meta", "br", "link"):
        return Markup(f"<{name}{head}>")
    return Markup(f"<{name}{head}>{joined(inside)}</{name}>")


def joined(inside: Inside) -> Markup:
    """Markup one after the other, texts escaped."""
    if inside is None:
        return Markup("")
    if isinstance(inside, Markup):
        return inside
    if isinstance(inside, str | int):
        return Markup(escape(str(inside)))
    return Markup("".join(map(joined, inside)))


def verbatim(name: str, text: str) -> Markup:
    """A `<style>` or `<script>` of our own; their text is not escaped in HTML."""
    if f"</{name}" in text:
        raise ValueError(f"a {name} that ends inside itself")
    return Markup(f"<{name}>{text}</{name}>")


def _attribute(key: str, value: Value) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    return f' {name}="{escape(f"{value:.6g}" if isinstance(value, float) else str(value))}"'
