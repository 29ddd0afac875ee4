"""JSON that others wrote, with every way in which it may fail told in plain words.

What it is: `parse_json`, and for readers that go on behind a value `why_not` and `check`. Python's own parser fails in three
ways: for a text that is not JSON, for a number of more digits than it converts, and where lists nest deeper than its stack; how
deep that is depends on who calls, so that a limit of ours comes first. Halves of characters it lets pass, and no file holds them;
so it does NaN and Infinity, which JSON has not and other readers stop at.
What it is not: what the values mean.
"""

import json
import math
import re
import sys
from collections.abc import Callable
from typing import Any

DEEPEST = 100  # lists and objects in one another
_TOO_DEEP = f"lists and objects nest more than {DEEPEST} deep: leave out the field that does, or write it as a text"
_HALF = re.compile("[\ud800-\udfff]")  # surrogates
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # or one of a pair, which is a character
_NOT_FINITE = re.compile(r"NaN|Infinity|[eE]\+?\d{3}")  # or a text that says so, or a number that is long written


class NotJson(ValueError):
    """Its text says what is wrong, in which field where that is known, and the fix; the file and line are the caller's."""


def parse_json(text: str) -> Any:
    """The value. Raises: NotJson."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotJson(why_not(error, text)) from None
    check(value, text)
    return value


def why_not(error: Exception, text: str) -> str:
    """What a person is told of an exception of the parser. `text`: what it was given."""
    if isinstance(error, json.JSONDecodeError):
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        return f"not valid JSON ({error.msg} at {line}column {error.colno})"
    if isinstance(error, RecursionError):
        return _TOO_DEEP
    most = sys.get_int_max_str_digits()
    long = re.search(rf"\d{{{most},}}", text)
    return f"the number {long[0][:12] if long else ''}… has more than {most} digits: write it as a text, in quotes"


def check(value: Any, text: str) -> None:
    """`text`: where the value stands, and nothing else, so that most cost little. Raises: NotJson."""
    if text.count("[") + text.count("{") > DEEPEST and _is_deep(value):
        raise NotJson(_TOO_DEEP)
    if _ESCAPED_HALF.search(text) and (field := _first(value, _is_half)) is not None:
        raise NotJson(f"{field or 'it'} holds half of a character (one of two surrogates): mend it")
    if _NOT_FINITE.search(text) and (field := _first(value, _is_not_finite)) is not None:
        raise NotJson(f"{field or 'it'} is no number that JSON has (NaN or infinite): write null, or leave it out")


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [of for of in level if isinstance(of, (list, dict))]
        if not level:
            return False
        level = [inner for of in level for inner in (of.values() if isinstance(of, dict) else of)]
    return True


def _is_half(value: Any) -> bool:
    return isinstance(value, str) and _HALF.search(value) is not None


def _is_not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _first(value: Any, is_wrong: Callable[[Any], bool], field: str = "") -> str | None:
    """The first field whose value, or name, is wrong, None if none is; "" is the value as such."""
    if isinstance(value, list):
        found = (_first(inner, is_wrong, f"{field}[{number}]") for number, inner in enumerate(value))
        return next((each for each in found if each is not None), None)
    if isinstance(value, dict):
        for key, inner in value.items():
            name = f"{field}.{key}".lstrip(".")
            if is_wrong(key):
                return ascii(name)
            if (each := _first(inner, is_wrong, name)) is not None:
                return each
        return None
    return field if is_wrong(value) else None
