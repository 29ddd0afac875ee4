"""A chat: its history, the pictures of the next question, and answers as streams.

What it is: `Conversation`, which any surface (terminal, page) can drive.
What it is not: the surface. It prints nothing and reads nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from kimivl.engine.engine import Engine, image_tokens
from kimivl.engine.sampler import Sampling
from kimivl.processor.image import ImageProcessor, load_rgb
from kimivl.processor.messages import ImagePart, Message, Part, TextPart
from kimivl.processor.processor import Encoded


class Conversation:
    """Questions and answers so far. `messages` is the history, `attached` waits for the next question.

    Args:
        sampling: of every answer; each draws by the next seed, so that a question that is asked again can be answered anew.
    """

    def __init__(self, engine: Engine, sampling: Sampling):
        self.engine, self.sampling = engine, sampling
        self.messages: list[Message] = []
        self.attached: list[Part] = []

    def attach(self, parts: Sequence[Part]) -> None:
        """Puts parts before the next question's text. Raises: ValueError for an unusable picture; nothing is attached then."""
        for part in parts:
            if isinstance(part, ImagePart):
                self._images.grid(load_rgb(part.image).size)
        self.attached += parts

    def attach_clip(self, parts: Sequence[Part]) -> None:
        """The same for frames and their labels; frames are shrunk until all of them take about half of the context at most."""
        frames = sum(isinstance(part, ImagePart) for part in parts)
        limit = max(1, self.engine.context // 2 // max(1, frames)) * self._images.merge**2
        self.attach([ImagePart(self._images.shrunk(p.image, limit)) if isinstance(p, ImagePart) else p for p in parts])

    def reset(self) -> None:
        """Forgets everything."""
        self.messages, self.attached = [], []

    def prompt(self, text: str) -> Encoded:
        """What the model reads when `text` is asked now. Raises: ImageError for a picture that cannot be used."""
        return self.engine.processor.encode_chat([*self.messages, self._question(text)], add_generation_prompt=True)

    def ask(self, text: str) -> Iterator[str]:
        """Streams the answer. What was streamed before the iterator is closed or abandoned stays in the history.

        Raises: ValueError at once if the question is too long for the context. The history is unchanged then, but what was
            attached is dropped: the next question would fail by it as well.
        """
        try:
            pieces = self.engine.stream(self.prompt(text), self.sampling)
        except ValueError:
            self.attached = []
            raise
        self.sampling = replace(self.sampling, seed=self.sampling.seed + 1)
        # The answer is in the history from the start and grows, so that an interruption at any moment leaves whole turns.
        self.messages += [self._question(text), Message("assistant", ())]
        self.attached = []
        return self._recorded(pieces)

    def answer(self, text: str) -> dict[str, str | int]:
        """The whole answer at once, with what it cost. The history is unchanged."""
        prompt = self.prompt(text)
        (completion,) = self.engine.generate([prompt], self.sampling)
        return {
            "answer": completion.text,
            "finish_reason": completion.finish_reason,
            "prompt_tokens": len(prompt.ids),
            "image_tokens": image_tokens(prompt),
            "new_tokens": len(completion.ids),
        }

    @property
    def _images(self) -> ImageProcessor:
        return self.engine.processor.image_processor

    def _question(self, text: str) -> Message:
        return Message("user", (*self.attached, TextPart(text)))

    def _recorded(self, pieces: Iterator[str]) -> Iterator[str]:
        answer = ""
        for piece in pieces:
            answer += piece
            self.messages[-1] = Message("assistant", (TextPart(answer),))
            yield piece
