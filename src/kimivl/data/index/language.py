"""The language of a text by its script, where a script belongs to one language; of all others nothing is said.

What it is not: a detector of languages: Latin, Cyrillic, Arabic and Devanagari are written in many. Facts: the blocks of Unicode.
"""

import re

# BCP 47, and the letters that only this language is written in today. Kana come before Han, which Japanese has too.
SCRIPTS = {
    "ja": "\u3040-\u30ff\uff66-\uff9d",
    "ko": "\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3",
    "zh": "\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003134f",
    "th": "\u0e00-\u0e7f",
    "he": "\u0590-\u05ff",
    "el": "\u0370-\u03ff",
    "ka": "\u10a0-\u10ff",
    "hy": "\u0530-\u058f",
    "ta": "\u0b80-\u0bff",
    "te": "\u0c00-\u0c7f",
    "km": "\u1780-\u17ff",
    "lo": "\u0e80-\u0eff",
    "my": "\u1000-\u109f",
}
LOOKED_AT = 2000  # characters
SHARE = 0.3  # of all letters: signs of Chinese say as much as words of Latin letters, names and units stand between them
_LETTER = re.compile(r"[^\W\d_]")
_OF = {language: re.compile(f"[{letters}]") for language, letters in SCRIPTS.items()}


def language_of(text: str) -> str | None:
    """BCP 47, or None where the script does not tell."""
    text = text[:LOOKED_AT]
    if text.isascii():
        return None
    letters = len(_LETTER.findall(text))
    counts = {language: len(pattern.findall(text)) for language, pattern in _OF.items()}
    if counts["ja"]:  # a text with kana is Japanese with its Han
        counts["ja"] += counts.pop("zh")
    best = max(counts, key=lambda language: counts[language])
    return best if counts[best] >= max(1, SHARE * letters) else None
