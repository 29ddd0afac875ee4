"""Questions with a known answer, read from chat records, and the rule by which an answer to each is verified.

What it is: `Question`, `read_questions`, and `Verifiers`, which choose a score by the form of the truth.
What it is not: a judge of free text. Where the truth is a phrase, an answer must be that phrase, or a judge must decide.
"""

import json
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kimivl.curate.records import Record
from kimivl.data.sample import Sample, read_record
from kimivl.processor.messages import Message, TextPart
from kimivl.processor.thoughts import split_thought
from kimivl.score import Score
from kimivl.score.choice import choice
from kimivl.score.exact import exact
from kimivl.score.maths import maths
from kimivl.score.maths_pool import MathsPool
from kimivl.score.number import number, parse_number


@dataclass(frozen=True)
class Question:
    """`asked` are the record's messages up to the last user's turn, in JSON form, with image paths relative to `folder`."""

    id: str
    asked: tuple[Record, ...]
    truth: str
    folder: Path
    meta: dict[str, Any]

    @property
    def text(self) -> str:
        """The words of the last turn."""
        content = self.asked[-1]["content"]
        return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)

    def images(self) -> list[Path]:
        """The files of all pictures, in order."""
        contents = [message["content"] for message in self.asked if not isinstance(message["content"], str)]
        return [self.folder / part["image"] for content in contents for part in content if part["type"] == "image"]


def read_questions(path: Path) -> list[Question]:
    """All questions of a JSONL file of chats. The truth is `meta.answer`, else what the last turn answers.

    Raises: OSError for a file that cannot be read, ValueError naming the line and the fix: no chat, no truth, a picture that is
        missing, an id that was there before.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text (byte {error.start + 1}); save the file as UTF-8") from None
    questions: dict[str, Question] = {}
    for place, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}:{place}"
        question = _question(read_record(line, where, path.parent), json.loads(line), path.parent, where)
        if question.id in questions:
            raise ValueError(f"{where}: a question before has the id {question.id!r} too; give every question its own")
        questions[question.id] = question
    if not questions:
        raise ValueError(f"{path} holds no questions")
    return list(questions.values())


def _question(sample: Sample, record: Record, folder: Path, where: str) -> Question:
    where = f"{where} (id {sample.id})"
    messages = list(sample.messages)
    answered = bool(messages) and messages[-1].role == "assistant"
    asked = messages[:-1] if answered else messages
    if not asked or asked[-1].role != "user":
        raise ValueError(f"{where}: a question is a chat whose last turn, before the answer, is the user's")
    given = sample.meta.get("answer", _answer(messages[-1]) if answered else "")
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise ValueError(f"{where}: meta.answer must be a text or a number, got {given!r}")
    truth = str(given).strip()
    if not truth:
        raise ValueError(f"{where}: there is no answer to check tries by; add it as a last assistant turn or as meta.answer")
    question = Question(sample.id, tuple(record["messages"][: len(asked)]), truth, folder, sample.meta)
    for image in question.images():
        if not image.is_file():
            raise ValueError(f"{where}: there is no picture {image}")
    return question


def _answer(message: Message) -> str:
    return split_thought("".join(part.text for part in message.parts if isinstance(part, TextPart)))[1]


class Verifiers:
    """Scores by the form of the truth; used with `with`, at whose end the processes of mathematics end."""

    def __init__(self) -> None:
        self._pool = MathsPool(workers=2)  # a process starts only when there is mathematics to compare

    def __enter__(self) -> "Verifiers":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.close()

    def of(self, truth: str) -> tuple[str, Score]:
        r"""(name, score) for a truth: "choice" for one capital letter, "number", "maths" for formulas, else "exact"."""
        if re.fullmatch(r"[A-Z]", truth):
            return "choice", choice
        if parse_number(truth) is not None:
            return "number", number
        if re.search(r"[\\^$]", truth):
            return "maths", partial(maths, equal=self._pool.equal)
        return "exact", exact
