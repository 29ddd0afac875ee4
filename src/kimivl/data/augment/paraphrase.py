"""Instructions in other words of the same meaning, from a bank with a version.

What it is: `Bank`, read from `paraphrases.yaml`, and `Bank.paraphrased`, which exchanges a whole text, or its first and last
sentence, for another wording of the group that it stands in; and the sentences that ask for a format of coordinates.
What it is not: a language model, or a judge of meaning: what stands in no group, in two, or in quotation marks stays as it is,
and so does what is to be translated or repeated.
Groups are by meaning and by the form of the answer, and by language; only questions and system texts are ever given here.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Literal

import numpy as np
import yaml

from kimivl.data.augment.coordinates import FORMATS

Language = Literal["en", "zh"]

_HAN = "\u4e00-\u9fff"
_SLOTS = {
    "object": rf"(?:the|this|that|an?) (?:[\w'’-]+ ){{0,5}}[\w'’-]+|[{_HAN}]{{1,15}}",
    "things": rf"(?:[a-z'’-]+ ){{0,3}}[a-z'’-]+s|people|men|women|children|[{_HAN}]{{1,12}}",
    "question": r"\S.*",
}
_SMALL = "when|where|if|more|fewer|less|than|of|from|to|at|on|in|into|for|with|by|now|here|there|and|or|are|is|do|does"
# Names that a sentence may go on in: "the man looking" would be torn from what he looks at, so it is left alone.
_TORN = {
    "object": re.compile(rf"\b(?:{_SMALL}|\w+ing|\w+ed)$|[的了着]$|^[请你我问这那]", re.IGNORECASE),
    "things": re.compile(rf"\b(?:{_SMALL})\b", re.IGNORECASE),
    "question": re.compile(r"(?!)"),
}
_SLOT = re.compile(r"\{(" + "|".join(_SLOTS) + r")\}")
_END = re.compile(r"(?<=[.?!])\s+|(?<=[。？！])|\s*\n\s*")  # between sentences
_STOPS = ".?!。？！"
# A text that speaks of words may mean just these: "Translate into Chinese: Describe the image."
_OF_WORDS = re.compile(
    r"\b(?:translat|rewrit|rephras|paraphras|repeat|proofread|summari[sz]e the (?:sentence|question)|grammar)\w*"
    r"|\b(?:sentence|phrase|prompt|instruction)s?\b[^.?!\n]*:|\bhow many words\b"
    r"|翻译|改写|复述|重复|润色|语法|句子[^。？！\n]*[：:]",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Bank:
    """Wordings that mean the same.

    `version`: of the file. `groups`: by name. `formats`: how a text asks for one of `FORMATS`, by language.
    Raises: ValueError naming the group whose wordings have different slots, or are fewer than two.
    """

    version: int
    groups: Mapping[str, tuple[str, ...]]
    formats: Mapping[str, Mapping[str, tuple[str, ...]]]

    def __post_init__(self) -> None:
        for name, wordings in self.groups.items():
            if len({frozenset(_SLOT.findall(wording)) for wording in wordings}) != 1 or len(set(wordings)) < 2:
                raise ValueError(f"paraphrases: group {name} needs two wordings or more, all with the same slots")
        if set(self.formats) != set(FORMATS):
            raise ValueError(f"paraphrases: formats are {', '.join(FORMATS)}, got {', '.join(self.formats)}")

    @cached_property
    def digest(self) -> int:
        """64 bits of all that the bank says; part of the key of whatever is drawn from it."""
        said = repr((self.version, sorted(self.groups.items()), sorted((k, sorted(v.items())) for k, v in self.formats.items())))
        return int.from_bytes(hashlib.blake2b(said.encode(), digest_size=8).digest(), "little")

    def paraphrased(self, text: str, rng: np.random.Generator) -> str:
        """The text with its instructions in other words; without known ones it stays as it is."""
        whole = text.strip()
        if said := self._otherwise(whole, rng):
            return text.replace(whole, said, 1)
        sentences = [part for part in _END.split(text) if part.strip()]
        if len(sentences) < 2 or _OF_WORDS.search(text):
            return text
        first, last = sentences[0].strip(), sentences[-1].strip()
        if said := self._otherwise(last, rng):
            start = text.rindex(last)
            if not _in_quotes(text[:start]):
                text = text[:start] + said + text[start + len(last) :]
        if said := self._otherwise(first, rng):
            text = text.replace(first, said, 1)
        return text

    def asks_for(self, form: str, size: tuple[int, int], language: Language, rng: np.random.Generator) -> str:
        """A sentence that asks for places in a format of `FORMATS`, in a picture of `size`."""
        wordings = self.formats[form][language]
        return wordings[int(rng.integers(len(wordings)))].format(width=size[0], height=size[1])

    def _otherwise(self, sentence: str, rng: np.random.Generator) -> str:
        """Another wording of a sentence; "" if it stands in no group, or in more than one."""
        found = self._found(sentence)
        if len({name for name, _, _ in found}) != 1:
            return ""
        name, old, slots = found[0]
        others = [wording for wording in self.groups[name] if wording != old]
        wording = others[int(rng.integers(len(others)))]
        return _SLOT.sub(lambda match: slots[match[1]], wording)

    def _found(self, sentence: str) -> list[tuple[str, str, dict[str, str]]]:
        """(group, wording, what its slots hold) of the wordings that the sentence is."""
        plain = self._plain.get(_key(sentence))
        if plain:
            return [(*plain, {})]
        lower = sentence.lower()
        matches = [
            (name, wording, pattern.fullmatch(sentence)) for name, wording, part, pattern in self._patterns if part in lower
        ]
        found = [(name, wording, match.groupdict()) for name, wording, match in matches if match]
        return [one for one in found if not any(_TORN[slot].search(value) for slot, value in one[2].items())]

    @cached_property
    def _plain(self) -> dict[str, tuple[str, str]]:
        """Wordings without slots."""
        return {
            _key(wording): (name, wording)
            for name, wordings in self.groups.items()
            for wording in wordings
            if not _SLOT.search(wording)
        }

    @cached_property
    def _patterns(self) -> list[tuple[str, str, str, re.Pattern[str]]]:
        """Wordings with slots, and a part of each that is found faster than the whole."""
        return [
            (name, wording, max(re.split(r"\{\w+\}|：", wording.rstrip(_STOPS)), key=len).lower(), _pattern(wording))
            for name, wordings in self.groups.items()
            for wording in wordings
            if _SLOT.search(wording)
        ]


@cache
def bank() -> Bank:
    """The bank of this package."""
    values = yaml.safe_load(files("kimivl.data.augment").joinpath("paraphrases.yaml").read_text(encoding="utf-8"))
    return Bank(
        values["version"],
        {name: tuple(wordings) for name, wordings in values["groups"].items()},
        {form: {language: tuple(said) for language, said in by.items()} for form, by in values["formats"].items()},
    )


def language_of(text: str) -> Language:
    """Chinese where at least a third of its letters are."""
    han = len(re.findall(f"[{_HAN}]", text))
    return "zh" if han and 2 * han >= len(re.findall("[A-Za-z]", text)) else "en"


def joined(text: str, sentence: str) -> str:
    """A text with a sentence behind it: on a line of its own where the text has lines, or ends without a stop."""
    text = text.rstrip()
    if "\n" in text or text[-1:] not in tuple(_STOPS):
        return f"{text}\n{sentence}" if text else sentence
    return text + sentence if text[-1] in "。？！" else f"{text} {sentence}"


def _pattern(wording: str) -> re.Pattern[str]:
    """Of a wording with slots, upper or lower case, its last stop left out or not."""
    stopped = wording.rstrip(_STOPS)
    parts = re.split(r"(\{\w+\})", stopped)
    pattern = "".join(
        f"(?P<{part[1:-1]}>{_SLOTS[part[1:-1]]})" if _SLOT.fullmatch(part) else re.escape(part).replace("：", "[：:]\\s*")
        for part in parts
    )
    flags = re.DOTALL if "{question}" in wording else 0
    return re.compile(pattern if stopped == wording else f"{pattern}[{_STOPS}]?", flags | re.IGNORECASE)


def _key(sentence: str) -> str:
    return re.sub(r"\s+", " ", sentence).rstrip(_STOPS).lower()


def _in_quotes(before: str) -> bool:
    """Whether a quotation is still open behind this text."""
    pairs = (("“", "”"), ("「", "」"), ("『", "』"), ("«", "»"))
    return any(before.count(mark) % 2 for mark in '"`') or any(before.count(a) > before.count(b) for a, b in pairs)
