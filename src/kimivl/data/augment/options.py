"""The choices of a question in another order, with every letter that names one changed to match.

What it is: `reordered`, for questions whose choices stand one after the other as "A. …", "(A) …" or "A) …".
What it is not: a new question: only the places of what is offered change. Choices that speak of their order ("all of the above",
"both A and B") are left as they are, by refusing; so are answers in which it cannot be told what names a choice
(`references.py`).
"""

import re
from collections.abc import Sequence

from kimivl.data.augment.geometry import Unspeakable
from kimivl.data.augment.references import renamed

_MARKER = re.compile(r"(?:(?<=^)|(?<=[\n ]))(?P<mark>\((?P<in>[A-H])\)|(?P<bare>[A-H])[.):])(?= )", re.MULTILINE)
_OF_ORDER = re.compile(
    r"\b(?:above|below|both|neither|all of|any of|none of|previous|preceding|following|former|latter)\b"
    r"|\b(?:first|second|third|last|other|next) (?:two|three|ones?|options?|choices?|answers?)\b"
    r"|以上|以下|上述|上面|下面|都|皆|[前后][者两三]|其他选项|两者",
    re.IGNORECASE,
)
_STEM_NAMES = re.compile(
    r"\b(?:options?|choices?|answers?|statements?)[:：]? \(?(?-i:[A-H])\)?(?![\w'’-])"
    r"|(?:选项|答案)\s*(?-i:[A-H])(?![A-Za-z])",
    re.IGNORECASE,
)
_NAMED = re.compile(r"(?<![A-Za-z0-9_])[A-H]+(?![A-Za-z0-9_+#]|['’][a-rt-z]|-\w)")  # letters alone may name choices
_EXAMPLE = re.compile(r"\b(?:e\.g\.|for example|such as|like)[^\n]*|例如.*", re.IGNORECASE)
_ARTICLE = re.compile(r"(?<![\w'’-])A(?=\s+[a-z]{2})")  # or is the word "a"


def reordered(question: str, answers: Sequence[str], order: Sequence[int]) -> tuple[str, list[str]]:
    """(question, answers) with the choice that stood at place `order[n]` at place n.

    Args:
        answers: the texts that may name choices by their letters.
        order: a permutation of the choices' places.
    Raises: Unspeakable where there are no choices or they speak of their order; ValueError for an order that is no permutation.
    """
    before, choices, after = _choices(question)
    if sorted(order) != list(range(len(choices))):
        raise ValueError(f"{list(order)} is no order of {len(choices)} choices")
    for _, text in choices:
        found = [match[0] for match in _NAMED.finditer(_ARTICLE.sub("", text)) if max(match[0]) < chr(ord("A") + len(choices))]
        found += [match[0] for match in _OF_ORDER.finditer(text)]
        if found:
            raise Unspeakable(f"a choice speaks of the others: {found[0]!r}", "choices")
    if named := _STEM_NAMES.search(_EXAMPLE.sub("", before + after)):
        raise Unspeakable(f"the question speaks of a choice: {named[0]!r}", "choices")
    texts = [text for _, text in choices]
    ends = [text[len(text.rstrip()) :] for text in texts]  # a choice leaves the line end behind it to its successor
    moved = [mark + texts[old].rstrip() + ends[place] for place, ((mark, _), old) in enumerate(zip(choices, order))]
    letters = {chr(ord("A") + old): chr(ord("A") + new) for new, old in enumerate(order)}
    offered = {chr(ord("A") + place): text for place, text in enumerate(texts)}
    in_brackets = choices[0][0].startswith("(")
    return before + "".join(moved) + after, [renamed(answer, offered, letters, in_brackets) for answer in answers]


def choice_count(question: str) -> int:
    """How many choices a question has; 0 if it has none."""
    try:
        return len(_choices(question)[1])
    except Unspeakable:
        return 0


def _choices(question: str) -> tuple[str, list[tuple[str, str]], str]:
    """What stands before the choices, (marker, text) of each, and what stands behind their last line."""
    found = list(_MARKER.finditer(question))
    letters = [match["in"] or match["bare"] for match in found]
    if len(letters) < 2 or letters != [chr(ord("A") + place) for place in range(len(letters))]:
        raise Unspeakable(f"no choices from A on stand in {question!r}", "choices")
    end = question.find("\n", found[-1].end())
    end = len(question) if end < 0 else end
    bounds = [*(match.start() for match in found), end]
    choices = [(match["mark"], question[match.end() : bound]) for match, bound in zip(found, bounds[1:])]
    return question[: found[0].start()], choices, question[end:]
