"""Builds a source of thoughts with an endpoint: what `kimivl data think` does.

What it is: `think`, which has every question of a file tried, and writes what was kept as a source that training reads:
`train.jsonl`, the pictures, `counts.json`, and `dropped.jsonl`, the failures with their reasons (for preference pairs).
What it is not: the rules (`rejection.py`) or the requests (`endpoint.py`).
Resuming: a question that is done is a file in `<out>/.finished/`, named by all that decides its result. The source itself is
written when all are done, so that it is never a part of one.
"""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kimivl.curate.reason.endpoint import JUDGE, THINK, Endpoint, EndpointError, judge, thinker
from kimivl.curate.reason.questions import Question, Verifiers, read_questions
from kimivl.curate.reason.rejection import Rules, Sampled, Tally, sampled
from kimivl.curate.reason.thought import Thought
from kimivl.curate.reason.threads import in_threads
from kimivl.curate.records import Record, rng_for
from kimivl.eval.progress import Lines
from kimivl.model.atomic import write_atomic, writing

SEED = 0  # the seeds of all requests follow from it and the question's id


@dataclass(frozen=True)
class Thinking:
    """How questions are tried.

    Args:
        model: the name that the endpoint knows it by.
        tries, keep: n, and how many right thoughts of a question are kept at most.
        judge: name of a model on the same endpoint; without it the rules alone decide.
    Raises: ValueError for numbers that make no sense.
    """

    model: str
    tries: int = 8
    keep: int = 2
    temperature: float = 1.0
    judge: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.keep <= self.tries:
            raise ValueError(f"keep at least one try and no more than there are: {self.keep} of {self.tries}")
        if not 0 <= self.temperature <= 2:
            raise ValueError(f"a temperature lies from 0 to 2, got {self.temperature:g}")


def think(questions_file: Path, endpoint: Endpoint, how: Thinking, out: Path, lines: Lines) -> dict[str, Any]:
    """Tries all questions that are not finished, writes the source `out` and returns its counts.

    Raises: ValueError or OSError naming the question, the endpoint or the file, and the fix; what is finished stays finished.
        ValueError if nothing was kept at all: then `counts.json` and `dropped.jsonl` are there, and no `train.jsonl`.
    """
    questions = read_questions(questions_file)
    finished = out / ".finished"
    if (out / "train.jsonl").exists() and not finished.is_dir():
        raise ValueError(f"{out} holds a source that was not made by this command: write to another folder")
    files = {question.id: finished / f"{_fingerprint(question, how)}.json" for question in questions}
    waiting = [question for question in questions if not files[question.id].exists()]
    advance = lines("questions", len(questions))
    advance(len(questions) - len(waiting))
    with Verifiers() as verifiers:

        def finish(question: Question) -> None:
            result = _tried(question, endpoint, how, verifiers)
            write_atomic(files[question.id], json.dumps(_as_json(result), ensure_ascii=False))

        for _ in in_threads(finish, waiting, endpoint.concurrency):
            advance(1)
        return _write(questions, files, how, verifiers, out)


def _fingerprint(question: Question, how: Thinking) -> str:
    """Of everything that decides what becomes of a question, apart from the endpoint's own doing."""
    pictures = [hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest() for path in question.images()]
    key = json.dumps([SEED, THINK, JUDGE, asdict(how), question.id, question.asked, question.truth, pictures])
    return hashlib.blake2b(key.encode(), digest_size=16).hexdigest()


def _tried(question: Question, endpoint: Endpoint, how: Thinking, verifiers: Verifiers) -> Sampled:
    name, score = verifiers.of(question.truth)

    def is_right(question: Question, answer: str) -> bool:
        return score(answer, question.truth) == 1.0

    rules = Rules[Question](
        verify=None if name == "exact" and how.judge else is_right,  # a phrase can be said in other words: the judge decides
        judge=judge(endpoint, how.judge) if how.judge else None,
        keep=how.keep,
    )
    generate = thinker(endpoint, how.model, how.temperature)
    try:
        return sampled(question, generate, rules, how.tries, rng_for(SEED, f"think {question.id}"))
    except EndpointError as error:
        raise EndpointError(f"question {question.id!r}: {error}") from error


def _as_json(result: Sampled) -> dict[str, Any]:
    kept = [asdict(thought) for thought in result.kept]
    return {"kept": kept, "dropped": [[asdict(thought), reason] for thought, reason in result.dropped], "right": result.right}


def _from_json(saved: dict[str, Any]) -> Sampled:
    def thought(one: dict[str, Any]) -> Thought:
        return Thought(tuple(one["parts"]), one["cut"], one["notes"])

    dropped = tuple((thought(one), reason) for one, reason in saved["dropped"])
    return Sampled(tuple(thought(one) for one in saved["kept"]), dropped, saved["right"])


def _write(questions: list[Question], files: dict[str, Path], how: Thinking, verifiers: Verifiers, out: Path) -> dict[str, Any]:
    """The source, from what is finished."""
    tally = Tally()
    kept: list[Record] = []
    dropped: list[Record] = []
    for question in questions:
        result = _from_json(json.loads(files[question.id].read_text(encoding="utf-8")))
        tally.add(result)
        asked = _with_pictures(question, out)
        verifier = verifiers.of(question.truth)[0]
        meta = _provenance(question, result, how, "judge" if verifier == "exact" and how.judge else verifier)
        everything = [(thought, "") for thought in result.kept] + list(result.dropped)
        for place, (thought, reason) in enumerate(everything):
            messages = [*asked, {"role": "assistant", "content": list(thought.parts)}]
            more = dict(thought.notes) | ({"reason": reason} if reason else {})
            record = {"id": f"{question.id}-{place}", "messages": messages, "meta": meta | more}
            (dropped if reason else kept).append(record)
    counts = tally.summary()
    write_atomic(out / "counts.json", json.dumps(counts, indent=1) + "\n")
    write_atomic(out / "dropped.jsonl", _jsonl(dropped))
    if not kept:
        (out / "train.jsonl").unlink(missing_ok=True)  # of an earlier call with other settings
        reasons = ", ".join(f"{reason}: {n}" for reason, n in counts["dropped"].items() if n)
        raise ValueError(f"none of {counts['tries']} tries was kept ({reasons}): see {out / 'dropped.jsonl'}")
    write_atomic(out / "train.jsonl", _jsonl(kept))
    return counts


def _provenance(question: Question, result: Sampled, how: Thinking, verifier: str) -> dict[str, Any]:
    return {
        "answer": question.truth,
        "question": question.id,
        "question_meta": question.meta,
        "model": how.model,
        "sampler": {"temperature": how.temperature, "prompt": hashlib.blake2b(THINK.encode(), digest_size=8).hexdigest()},
        "verifier": verifier,
        "judge": how.judge,
        "k": result.right,
        "n": result.tries,
    }


def _with_pictures(question: Question, out: Path) -> list[Record]:
    """The question's messages; their pictures are copied to `out` under names that follow from their content."""

    def moved(part: Record) -> Record:
        return {**part, "image": _copied(question.folder / part["image"], out)} if part["type"] == "image" else part

    def content(message: Record) -> Any:
        return message["content"] if isinstance(message["content"], str) else [moved(part) for part in message["content"]]

    return [{**message, "content": content(message)} for message in question.asked]


def _copied(picture: Path, out: Path) -> str:
    name = f"images/{hashlib.blake2b(picture.read_bytes(), digest_size=12).hexdigest()}{picture.suffix.lower()}"
    if not (out / name).exists():
        with writing(out / name):
            (out / "images").mkdir(parents=True, exist_ok=True)
            new = (out / name).with_suffix(".new")
            shutil.copyfile(picture, new)
            new.replace(out / name)
    return name


def _jsonl(records: list[Record]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n" for record in records)
