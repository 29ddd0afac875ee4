r"""Whether an answer is mathematically the expected one: "1/2" is "0.5" is "\frac{1}{2}".

What it is: `maths`. Cheap comparisons come first; only where they cannot tell a child process asks math-verify
(`maths_pool.py`), once for a whole answer, so that a list of hostile entries costs no more than one of them.
What it is not: a search for the truth in what was written. What counts is the one `\boxed{…}`, or the whole text without any; two
boxes, an empty one, or a text much longer than the truth are wrong, because a policy that is rewarded for them stops solving.
Facts: math-verify takes "1728" for "1331 and 1728" and "12:00" for "1:00"; lists are therefore compared item by item, and what
has a colon only as it is written.
"""

import re
from collections.abc import Callable

from kimivl.score import SLACK
from kimivl.score.number import parse_number

Equal = Callable[[str, str], bool]  # (answer, truth): whether the two are equal

# What stands between two answers, one of which could be a guess, unless the truth has it too.
_BETWEEN = re.compile(r"\n|\||->|=>|→|⇒|\\(?:to|rightarrow|Rightarrow|implies|mid)\b|(?<=\d)\.\s+(?=\S)")
# The left side of "x = 5": words, and no other value. Nothing is tried a second way, which could take forever.
_NAMED = re.compile(r"(?:[A-Za-z\\{}()\s$:]|_\{?\w++\}?)++")
# Brackets, numbers with thousands separators, and what stands between the entries of a list.
_PIECE = re.compile(
    r"(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<grouped>(?<!\d)(?<!\d,)\d{1,3}(?:,\d{3})+(?!\d|,\d))|\s*(?:[,;]|\band\b|\bor\b)\s*"
)


def maths(prediction: str, truth: str, equal: Equal) -> float:
    """1.0 if the answer equals the truth, else 0.0.

    Args:
        equal: decides about the whole answer what plain comparison cannot, for example `MathsPool.equal`. Asked at most once.
    """
    answer = marked_answer(prediction)
    if answer is None or len(answer) > 4 * len(truth) + SLACK or _says_several(answer, truth):
        return 0.0
    doubtful = []

    def doubt(*pair: str) -> bool:
        doubtful.append(pair)
        return False

    return float(same_items(answer, truth, doubt) or (bool(doubtful) and equal(answer, truth)))


def _says_several(answer: str, truth: str) -> bool:
    """Whether it holds a second value beside the one that a parser would take, as "0.6 = 0.5" and "$41$ $42$" do."""
    if _BETWEEN.search(answer) and not _BETWEEN.search(truth):
        return True
    if answer.count("$") > max(2, truth.count("$")):
        return True
    if "=" in truth:
        return answer.count("=") > truth.count("=")
    left, equals, right = answer.partition("=")
    return "=" in right or (bool(equals) and not _NAMED.fullmatch(left))


def same_items(answer: str, truth: str, equal: Equal) -> bool:
    """Whether both are the same list of entries, in any order, each once.

    Args:
        equal: compares two entries where plain comparison cannot.
    """
    given, right = items(answer), items(truth)
    if len(given) != len(right):
        return False
    for item in right:
        found = next((place for place, other in enumerate(given) if _same(other, item, equal)), None)
        if found is None:
            return False
        del given[found]
    return True


def marked_answer(text: str) -> str | None:
    r"""What stands in the one `\boxed{…}`, or the whole text without any. None if it is empty, unclosed, or one of several."""
    if r"\boxed" not in text:
        return text.strip() or None
    if text.count(r"\boxed") > 1:
        return None
    start = text.index(r"\boxed") + len(r"\boxed")
    end = _closing_brace(text, start)
    return None if end is None else text[start + 1 : end].strip() or None


def items(text: str) -> list[str]:
    """The entries of a list or set, "1, 2 and 3". Commas inside brackets do not separate, and outside of a set neither do those
    between thousands: "1,000" is one number."""
    text = text.strip().strip("$").strip()
    inside = _inside_braces(text)
    text = text if inside is None else inside
    entries, depth, start = [], 0, 0
    for match in _PIECE.finditer(text):
        if match["open"] or match["close"]:
            depth += 1 if match["open"] else -1
        elif match["grouped"]:
            if inside is not None and depth == 0:
                entries += [text[start : match.start()] + part for part in match[0].split(",")][:-1]
                start = match.end() - len(match[0].split(",")[-1])
        elif depth == 0:
            entries.append(text[start : match.start()])
            start = match.end()
    return [entry.strip() for entry in (*entries, text[start:]) if entry.strip()]


def _inside_braces(text: str) -> str | None:
    r"""What stands in the braces of a set, "\{…\}" or "{…}"; None if the first brace is not closed by the last."""
    plain = text.replace(r"\{", "{").replace(r"\}", "}")
    return plain[1:-1] if plain and _closing_brace(plain, 0) == len(plain) - 1 else None


def _closing_brace(text: str, start: int) -> int | None:
    """Where the brace at `start` is closed; None if none stands there, or it stays open."""
    if text[start : start + 1] != "{":
        return None
    depth = 0
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return place
    return None


def _same(answer: str, truth: str, equal: Equal) -> bool:
    plain, expected = (re.sub(r"\s+", "", side).removesuffix(".") for side in (answer, truth))
    if plain == expected:
        return True
    if ":" in plain or ":" in expected:
        return False
    value, right = parse_number(answer), parse_number(truth)
    if value is not None and right is not None and "%" not in answer + truth:
        return value == right
    return equal(answer, truth)
