"""Whether an answer names the right one of several choices.

What it is: `choice`, for answers such as "B", "(B)", "B. a red circle" or "The answer is B."
What it is not: a guess at what was meant. Two letters are no answer, whatever is said between them ("B. or A", "B: not A"), an
empty one is wrong, and so is one that talks on for longer than a choice is.
"""

import re

from kimivl.score import SLACK

_ALONE = re.compile(r"\(?([A-Z])\)?[.:)]?")
_WITH_TEXT = re.compile(r"\(?([A-Z])(?:\)|[.:])\s+(?P<text>.*)", re.DOTALL)
_SENTENCE = re.compile(
    r"(?:the\s+)?(?:correct\s+)?(?:answer|choice|option)(?:\s+is)?(?:\s*:\s*|\s+)\(?([A-Z])\)?(?:\.|[.:]\s+(?P<text>.*))?",
    re.IGNORECASE | re.DOTALL,
)
_LETTER = re.compile(r"(?<![\w'’-])\(?([A-Z])\)?(?![\w'’-])")
# "A cat" at the beginning, "I see": letters that are words.
_WORD = re.compile(r"^A(?=\s+(?!(?:or|and|nor|but|not|is|was|could|would|may|might|too)\b)\w{2,})|(?<![\w'’-])I(?=\s+[a-z]{2,})")
_HEDGE = re.compile(r"\b(?:or|and|nor|but|not)\s+\(?[A-Za-z]\)?\s*(?:[.,;:!?]|$)", re.IGNORECASE)  # "or a", whatever its case


def parse_choice(text: str) -> str | None:
    """The chosen letter; None unless exactly one is named."""
    text = text.strip()
    for pattern in (_ALONE, _SENTENCE, _WITH_TEXT):
        match = pattern.fullmatch(text)
        if match is None:
            continue
        letter, said = match[1].upper(), (match.groupdict().get("text") or "").strip()
        others = {found[1] for found in _LETTER.finditer(_WORD.sub("", said))} - {letter}
        several = others or _ALONE.fullmatch(said.upper()) or _HEDGE.search(said)
        return None if several or len(said) > SLACK else letter
    return None


def choice(prediction: str, truth: str) -> float:
    """1.0 if the answer names the letter `truth` and no other, else 0.0."""
    return float(parse_choice(prediction) == truth.strip().upper())
