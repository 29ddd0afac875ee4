"""Long documents with one hidden fact, of an exact number of tokens.

What it is: `Haystack`, which cuts held-out text into sentences and builds documents out of them, and `unused_facts`, names
and values that no training document ever told.
What it is not: the test itself (`needle.py`).
Facts: the form is that of the recall documents in training (`data/facts.py`): "The code of NAME is VALUE." between sentences
of real text, and the same words without the value at the end.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kimivl.config.recipe import RecipeConfig
from kimivl.data.facts import VALUES, opening, statement
from kimivl.data.source import Source
from kimivl.processor.messages import TextPart
from kimivl.processor.processor import Encoded, Processor

TOLERANCE = 0.02  # a document may be this much shorter than asked for
MOST_JOINTS = 8
FREE_FALL = 80  # tokens of room below which sentences are chosen to fit instead of in the text's order
NAMES = """
Bruno Carmen Dagmar Elsa Gustav Helga Ivan Judith Kevin Linda Marco Nadia Olga Paula Ralf Sonja Theo Ulla Vera Wilma Yuri
Cordoba Dresden Florence Genoa Kobe Leeds Lyon Malaga Nantes Palermo Utrecht Verona York Zadar Bilbao Cadiz Tampere Graz Basel
""".split()
_NAME_IN_TRAINING = re.compile(rb"[Cc]ode of (\w+)")
_VALUE_IN_TRAINING = re.compile(rb"\b[a-z]+ [a-z]+ [a-z]+(?=[.\"])")  # three words before a full stop or the end of an answer


@dataclass(frozen=True)
class Needle:
    """A prompt that ends where the answer `value` begins; together they are at most as long as was asked for."""

    prompt: Encoded
    name: str
    value: str
    answer_tokens: int
    depth: float


@dataclass(frozen=True)
class Sentence:
    text: str
    tokens: int  # with the line break after it


class Haystack:
    """Sentences of held-out texts, to build documents from.

    Raises: ValueError if the texts hold no sentence.
    """

    def __init__(self, texts: Sequence[str], processor: Processor):
        self.processor = processor
        documents = [[self._sentence(line) for line in _sentences(text)] for text in texts]
        self.documents = [document for document in documents if document]
        if not self.documents:
            raise ValueError("the held-out text holds no sentences to hide a needle in")

    def needle(self, tokens: int, depth: float, name: str, value: str, rng: np.random.Generator) -> Needle:
        """A document of `tokens` tokens, prompt and answer together, and at most `TOLERANCE` less.

        Args:
            depth: where the fact stands, from 0 (start) to 1 (just before the question).
        Raises: ValueError if the document cannot be made that long, which means that `tokens` is too small.
        """
        answer = len(self.processor.tokenizer.encode(f" {value}"))
        room = tokens - len(self._encode([], [], name, value).ids) - answer
        for joints in range(MOST_JOINTS):  # where text and fact meet, tokens can come or go
            before = self._lines(round((room - joints) * depth), rng)
            after = self._lines(room - joints - sum(sentence.tokens for sentence in before), rng)
            prompt = self._encode(before, after, name, value)
            if tokens * (1 - TOLERANCE) <= len(prompt.ids) + answer <= tokens:
                return Needle(prompt, name, value, answer, depth)
        raise ValueError(
            f"the held-out text gives no needle document of {tokens} tokens: ask for longer ones, or give shorter sentences"
        )

    def _lines(self, room: int, rng: np.random.Generator) -> list[Sentence]:
        """Sentences in the texts' own order from a random place on, again and again; the last ones are chosen by length."""
        lines: list[Sentence] = []
        while room > FREE_FALL and self._longest_within(room):
            document = self.documents[rng.integers(len(self.documents))]
            for sentence in document[rng.integers(len(document)) :]:
                if sentence.tokens > room:
                    break
                lines.append(sentence)
                room -= sentence.tokens
        while fitting := self._longest_within(room):
            chosen = fitting[rng.integers(len(fitting))]
            lines.append(chosen)
            room -= chosen.tokens
        return lines

    def _longest_within(self, room: int) -> list[Sentence]:
        """All sentences of the greatest length that fits."""
        length = max((length for length in self._by_length if length <= room), default=0)
        return self._by_length.get(length, [])

    @cached_property
    def _by_length(self) -> dict[int, list[Sentence]]:
        by_length: dict[int, list[Sentence]] = {}
        for sentence in (sentence for document in self.documents for sentence in document):
            by_length.setdefault(sentence.tokens, []).append(sentence)
        return by_length

    def _sentence(self, text: str) -> Sentence:
        return Sentence(text, len(self.processor.tokenizer.encode(text + "\n")))

    def _encode(self, before: Sequence[Sentence], after: Sequence[Sentence], name: str, value: str) -> Encoded:
        told = " ".join(["\n".join(sentence.text for sentence in before), statement(name, value)]).strip()
        rest = " ".join([told, "\n".join(sentence.text for sentence in after)]).strip()
        return without_end(self.processor.encode_document([TextPart(f"{rest}\n{opening(name)}")]))


def without_end(document: Encoded) -> Encoded:
    """The document without its closing [EOS], for the model to go on from."""
    return Encoded(document.ids[:-1], document.supervised[:-1], document.provenance[:-1], document.patches, document.grids)


def _sentences(text: str) -> list[str]:
    return [sentence.strip() for line in text.split("\n") for sentence in re.split(r"(?<=[.!?]) ", line) if sentence.strip()]


def unused_facts(recipe: RecipeConfig) -> tuple[list[str], list[str]]:
    """Names that no fact of the recipe's training data is about, and values that stand nowhere in it.

    Raises: ValueError if training has used up all names or all values.
    """
    names, values = set(), set()
    sources = {name for stage in recipe.stages for name in stage.sources} - set(recipe.samplings)  # answers tell no facts
    for source in sorted(sources):
        content = Source(recipe.data, source).path.read_bytes()
        names |= {name.decode() for name in _NAME_IN_TRAINING.findall(content)}
        values |= {value.decode() for value in _VALUE_IN_TRAINING.findall(content)}
    free_names = [name for name in NAMES if name not in names]
    free_values = [value for value in VALUES if value not in values]
    if not free_names or not free_values:
        raise ValueError("the training data tells a fact about every name or with every value: keep some for the needle test")
    return free_names, free_values
