"""Whether an answer names the right one of several choices.

What it is: `choice`, for answers such as "B", "(B)", "B. a red circle" or "The answer is B."
What it is not: a guess at what was meant. Two letters are no answer, whatever is said between them, and an empty one is wrong.
"""

import re

_ALONE = re.compile(r"\(?([A-Z])\)?[.:)]?")
_WITH_TEXT = re.compile(r"\(?([A-Z])(?:\)|[.:])\s+(?P<text>.*)", re.DOTALL)
_SENTENCE = re.compile(r"(?:the\s+)?(?:correct\s+)?(?:answer|choice|option)(?:\s+is)?\s*:?\s*\(?([A-Z])\)?\.?", re.IGNORECASE)
_LETTER = re.compile(r"(?<![\w'’-])\(?([B-Z])\)?(?![\w'’-])")  # without A, which is a word


def parse_choice(text: str) -> str | None:
    """The chosen letter; None unless exactly one is named."""
    text = text.strip()
    for pattern in (_ALONE, _SENTENCE):
        if match := pattern.fullmatch(text):
            return match[1].upper()
    if (match := _WITH_TEXT.fullmatch(text)) and not _LETTER.search(match["text"]):
        return match[1]
    return None


def choice(prediction: str, truth: str) -> float:
    """1.0 if the answer names the letter `truth` and no other, else 0.0."""
    return float(parse_choice(prediction) == truth.strip().upper())
