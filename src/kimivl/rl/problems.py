"""The problems that a policy learns from: prompts with a known true answer.

What it is: `Problems`, read from a source of chat records whose last turn is the true answer (or `meta.answer`), and
`fingerprint`, which tells whether two programs look at the same pictures.
What it is not: who draws which problem (`prompt_sampler.py`), or the judgement of an answer (`verifier.py`).
"""

import hashlib

import numpy as np

from kimivl.data.sample import Sample
from kimivl.data.source import Source
from kimivl.processor.messages import ImagePart, Message, TextPart
from kimivl.processor.processor import Encoded, Processor


class Problems:
    """Problems by name. Prompts are encoded when they are asked for.

    Raises: ValueError naming a record that does not end with a question and its true answer.
    """

    def __init__(self, source: Source, processor: Processor):
        self.source, self.processor = source, processor
        self._row: dict[str, int] = {}
        self.truths: dict[str, str] = {}
        self.difficulties: dict[str, float] = {}
        for row in range(len(source)):
            sample = source[row]
            self._row[sample.id] = row
            self.truths[sample.id] = _truth(sample, f"{source.path}:{row + 1} (id {sample.id})")
            self.difficulties[sample.id] = float(sample.meta.get("difficulty", 0))

    def sample(self, name: str) -> Sample:
        """The problem as its source has it."""
        return self.source[self._row[name]]

    def prompt(self, name: str) -> Encoded:
        """What the policy reads, up to where its answer begins."""
        return self.processor.encode_chat(self.messages(name), add_generation_prompt=True)

    def messages(self, name: str) -> tuple[Message, ...]:
        """The conversation that the policy answers."""
        return self.sample(name).messages[:-1]

    def has_pictures(self, name: str) -> bool:
        return any(isinstance(part, ImagePart) for message in self.messages(name) for part in message.parts)


def _truth(sample: Sample, where: str) -> str:
    if len(sample.messages) < 2 or sample.messages[-1].role != "assistant" or sample.messages[-2].role != "user":
        raise ValueError(f"{where}: a problem is a chat that ends with a question of the user and the true answer")
    answer = sample.meta.get("answer", "".join(part.text for part in sample.messages[-1].parts if isinstance(part, TextPart)))
    if not isinstance(answer, str) or not answer.strip():
        raise ValueError(f"{where}: the true answer is empty, so nothing can be right; give it, or remove the record")
    return answer


def fingerprint(prompt: Encoded) -> str:
    """A hash of a prompt's tokens and of its pictures as the model sees them: pixels after preprocessing, grids."""
    digest = hashlib.blake2b(digest_size=12)
    for array in (prompt.ids, prompt.grids, prompt.patches):
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
