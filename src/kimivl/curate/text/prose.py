"""From docstrings and reStructuredText to readable English paragraphs.

What it is: `paragraphs`, which keeps the prose of a documentation string and drops code, tables, signatures,
reference lists and mathematics, and `Novelty`, which recognises paragraphs that were (nearly) seen before.
What it is not: a renderer of the markup; what is not prose is dropped, not converted.
Facts: the layouts are the numpydoc, Google and plain Sphinx conventions as the installed packages use them.
"""

import re
import zlib

_RULE = re.compile(r"^[=\-~^#*+_.'`\"]{3,}$")
_BULLET = re.compile(r"^(?:[-*•+]|\(?\d{1,2}[.)])\s+")
_CODE = re.compile(r"^(?:>>>|\.\.\.|\$ |%|@|#|In \[|Out\[|\||\.\. )|^(?:import|from) \w+|[{}]|\\|^:\w+")
_MARKUP = (
    (re.compile(r":math:`[^`]*`"), r"\\"),  # a backslash makes the paragraph fail the prose test
    (re.compile(r":[\w:+-]+:`[~!]?([^`<]*?)(?:\s*<[^`]*>)?`"), r"\1"),
    (re.compile(r"`([^`<]*?)\s*<[^`]*>`_{1,2}"), r"\1"),
    (re.compile(r"\[([^\]]+)\]\([^)]*\)"), r"\1"),
    (re.compile(r"`{1,2}~?([^`]+)`{1,2}_{0,2}"), r"\1"),
    (re.compile(r"\*{1,2}([^*\s](?:[^*]*[^*\s])?)\*{1,2}"), r"\1"),
    (re.compile(r"\s*\[[\w.]+\]_"), ""),
    (re.compile(r"[“”]"), '"'),
    (re.compile(r"[‘’]"), "'"),
    (re.compile(r"[–—]"), "-"),
    (re.compile(r"\s+"), " "),
)
_WORD = re.compile(r"[A-Za-z]+")
_LITTLE_WORDS = frozenset(
    """
    a an and are as at be by can do for from has have if in is it its may not of on or that the this
    to was when which will with you
    """.split()
)
_PLAIN_WORD = re.compile(r"[(\"']?[A-Za-z][a-z'-]*[.,;:!?)\"']*")
SHINGLE = 8  # words


def paragraphs(doc: str) -> list[str]:
    """The prose paragraphs of a documentation string, one line each, in order; `doc` has its common indent removed."""
    kept = [_clean(block) for block in _blocks(doc)]
    return [paragraph for paragraph in kept if _is_prose(paragraph)]


def _blocks(doc: str) -> list[list[str]]:
    """Groups of lines that belong together: same indent, no blank line between, bullets apart, literal blocks left out."""
    blocks: list[list[str]] = []
    literal_indent: int | None = None  # the text that announced a literal block with '::' stood at this indent
    previous_indent, open_block, hanging = 0, False, False
    for line in doc.expandtabs().splitlines():
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        if not stripped:
            open_block = False
            continue
        if literal_indent is not None:
            if indent > literal_indent:
                continue
            literal_indent = None
        if _RULE.match(stripped):
            if open_block:
                blocks.pop()  # the line above was a title
            open_block = False
            continue
        bullet = _BULLET.match(stripped)
        if not open_block or bullet or (indent != previous_indent and not (hanging and indent > previous_indent)):
            blocks.append([])
        hanging = bool(bullet)  # the second line of a list item is indented more than the first
        blocks[-1].append(_BULLET.sub("", stripped) if bullet else stripped)
        open_block, previous_indent = True, indent
        if stripped.endswith("::") or stripped.startswith(".. "):
            literal_indent = indent
    return [block for block in blocks if block]


def _clean(lines: list[str]) -> str:
    if any(_CODE.search(line) for line in lines) or lines[-1].endswith("::"):  # code, or what only announces code
        return ""
    joined = " ".join(lines)
    for pattern, replacement in _MARKUP:
        joined = pattern.sub(replacement, joined)
    return joined.strip()


def _is_prose(paragraph: str) -> bool:
    words = _WORD.findall(paragraph)
    if len(words) < 6 or len(paragraph) < 40 or not paragraph.isascii() or "\\" in paragraph or paragraph[-1] not in ".?!:)":
        return False
    letters = sum(character.isalpha() or character == " " for character in paragraph)
    little = sum(word.lower() in _LITTLE_WORDS for word in words)
    return letters >= 0.86 * len(paragraph) and little >= 0.18 * len(words) and max(map(len, paragraph.split())) < 40


def prose_score(text: str) -> float:
    """How much a text reads like written English, 0..1: plain words, little words, and paragraphs of several sentences."""
    words = text.split()
    plain = sum(bool(_PLAIN_WORD.fullmatch(word)) for word in words) / max(len(words), 1)
    little = sum(word.lower() in _LITTLE_WORDS for word in words) / max(len(words), 1)
    paragraph_length = len(text) / (text.count("\n") + 1)
    return plain * min(1.0, little / 0.35) * min(1.0, paragraph_length / 250)


class Novelty:
    """Remembers the shingles (runs of eight words) of accepted paragraphs.

    A paragraph is a near-duplicate when more than `known_share` of its shingles are known.
    """

    def __init__(self, known_share: float = 0.5) -> None:
        self.known_share = known_share
        self._seen: set[int] = set()

    def accept(self, paragraph: str) -> bool:
        """True, and remembered, if most of the paragraph is new."""
        shingles = shingle_hashes(paragraph)
        if self._are_known(shingles):
            return False
        self._seen |= shingles
        return True

    def knows(self, paragraph: str) -> bool:
        """Whether it is a near-duplicate of what was accepted; it is not remembered."""
        return self._are_known(shingle_hashes(paragraph))

    def _are_known(self, shingles: set[int]) -> bool:
        return len(shingles & self._seen) > self.known_share * len(shingles)


def shingle_hashes(paragraph: str) -> set[int]:
    """Hashes of every run of eight lower-cased words (of the whole, if it is shorter)."""
    words = [word.lower() for word in _WORD.findall(paragraph)]
    runs = range(max(1, len(words) - SHINGLE + 1))
    return {zlib.crc32(" ".join(words[start : start + SHINGLE]).encode()) for start in runs}
