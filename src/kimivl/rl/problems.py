"""The problems that a policy learns from: prompts with a known true answer.

What it is: `Problems`, read from a source of chat records whose last turn is the true answer (or `meta.answer`), `true_answers`,
what is to be said, and `fingerprint`, which tells whether two programs look at the same pictures.
What it is not: who draws which problem (`prompt_sampler.py`), or the judgement of an answer (`verifier.py`).
"""

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Mapping

import numpy as np

from kimivl.data.sample import Sample
from kimivl.data.source import Source
from kimivl.processor.messages import ImagePart, Message, TextPart
from kimivl.processor.processor import Encoded, Processor


class Problems:
    """Problems by name. Prompts are encoded when they are asked for.

    `difficulties` are shares from 0 to 1, comparable among all problems: of the problems of the same `meta.family`, the share
    that is strictly easier by `meta.difficulty`, plus half of the share that is equally hard. Why not the numbers themselves:
    one family counts tiles, another hops. Problems without a family are one together; no difficulty is a difficulty of 0.
    Raises: ValueError naming file, line and id of a record that does not end with a question and its true answer, whose answer,
        family or difficulty is of the wrong type, or whose id was there before.
    """

    def __init__(self, source: Source, processor: Processor):
        self.source, self.processor = source, processor
        self.truths = true_answers(source)
        self._row = {name: row for row, name in enumerate(self.truths)}
        families: dict[str, dict[str, float]] = {}
        for row in range(len(source)):
            sample = source[row]
            where = _where(source, row, sample)
            families.setdefault(_family(sample, where), {})[sample.id] = _size(sample, where)
        self.difficulties = {name: rank for sizes in families.values() for name, rank in _mid_ranks(sizes).items()}

    def sample(self, name: str) -> Sample:
        """The problem as its source has it."""
        return self.source.at_hand(self._row[name])

    def prompt(self, name: str) -> Encoded:
        """What the policy reads, up to where its answer begins."""
        return self.processor.encode_chat(self.messages(name), add_generation_prompt=True)

    def messages(self, name: str) -> tuple[Message, ...]:
        """The conversation that the policy answers."""
        return self.sample(name).messages[:-1]

    def has_pictures(self, name: str) -> bool:
        return any(isinstance(part, ImagePart) for message in self.messages(name) for part in message.parts)


def true_answers(source: Source) -> dict[str, str]:
    """Of each problem, by name, in the order of the file.

    Raises: ValueError naming file, line and id of a record that is no problem, or whose id was there before.
    """
    truths: dict[str, str] = {}
    for row in range(len(source)):
        sample = source[row]
        where = _where(source, row, sample)
        if sample.id in truths:
            first = list(truths).index(sample.id) + 1
            raise ValueError(f"{where}: line {first} has this id too; give every problem its own")
        truths[sample.id] = _truth(sample, where)
    return truths


def _where(source: Source, row: int, sample: Sample) -> str:
    return f"{source.path}:{row + 1} (id {sample.id})"


def _truth(sample: Sample, where: str) -> str:
    if len(sample.messages) < 2 or sample.messages[-1].role != "assistant" or sample.messages[-2].role != "user":
        raise ValueError(f"{where}: a problem is a chat that ends with a question of the user and the true answer")
    answer = sample.meta.get("answer", "".join(part.text for part in sample.messages[-1].parts if isinstance(part, TextPart)))
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        raise ValueError(f"{where}: meta.answer must be a text or a number, got {answer!r}")
    if not str(answer).strip():
        raise ValueError(f"{where}: the true answer is empty, so nothing can be right; give it, or remove the record")
    return str(answer)


def _family(sample: Sample, where: str) -> str:
    family = sample.meta.get("family", "")
    if not isinstance(family, str):
        raise ValueError(f"{where}: meta.family must be a text, got {family!r}; name the kind of problem, or leave it out")
    return family


def _size(sample: Sample, where: str) -> float:
    size = sample.meta.get("difficulty", 0)
    if isinstance(size, bool) or not isinstance(size, int | float):
        raise ValueError(f"{where}: meta.difficulty must be a number, the larger the harder, got {size!r}; or leave it out")
    return size


def _mid_ranks(sizes: Mapping[str, float]) -> dict[str, float]:
    """The share of all that is smaller, plus half of the share that is equal, itself included; from 0 to 1."""
    ordered = sorted(sizes.values())
    return {name: (bisect_left(ordered, size) + bisect_right(ordered, size)) / (2 * len(ordered)) for name, size in sizes.items()}


def fingerprint(prompt: Encoded) -> str:
    """A hash of a prompt's tokens and of its pictures as the model sees them: pixels after preprocessing, grids."""
    digest = hashlib.blake2b(digest_size=12)
    for array in (prompt.ids, prompt.grids, prompt.patches):
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
