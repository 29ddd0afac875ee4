"""A stage without training: a model answers problems several times, and the answers are kept as data (Kimi k1.5 §2.4).

What it is: `AnswerSampling`, resumable after a kill at any moment, and `read_groups`, what it wrote.
What it is not: the choice among the responses (`rl/shortest.py`), or the learning from them: stages that name this one in their
mixture learn next tokens from `train.jsonl`, a source like any other, and `dpo` stages learn from pairs in `responses.jsonl`.

    responses.jsonl    one problem a line: all its responses, token by token, judged
    train.jsonl        of each problem the shortest right response, in the tokens in which it was written
    pictures           a link to the folder of the problems, where the pictures lie
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kimivl.config.recipe import StageConfig
from kimivl.data.sample import Sample, write_record
from kimivl.data.source import Order
from kimivl.model.atomic import write_atomic
from kimivl.processor.messages import Message, Part, TextPart
from kimivl.rl.judge import JudgedGroup, answers
from kimivl.rl.problems import Problems
from kimivl.rl.rollout import Rollouts
from kimivl.rl.shortest import shortest_right
from kimivl.rl.verifier import Verifier
from kimivl.train.loop import Watch
from kimivl.train.metrics import MetricsFile, read_metrics

AT_ONCE = 32  # problems whose responses are written together, and lost if the process is killed
RESPONSES = "responses.jsonl"


class AnswerSampling:
    """One `sample` stage.

    Args:
        seed: of the choice of problems; kept with what is written.
        watch: called after every problem with its number.
    Raises: ValueError if there are fewer problems than the stage asks for.
    """

    def __init__(
        self, stage: StageConfig, problems: Problems, rollouts: Rollouts, verifier: Verifier, folder: Path, seed: int,
        watch: Watch = lambda step, metrics: {},
    ):  # fmt: skip
        assert stage.sample is not None  # the recipe's own check
        self.stage, self.settings, self.folder, self.seed, self.watch = stage, stage.sample, folder, seed, watch
        self.problems, self.rollouts, self.verifier = problems, rollouts, verifier
        self.names = self._chosen(list(problems.truths))

    def run(self) -> dict[str, Any]:
        """Answers the problems that are not answered yet and writes the source; returns what it was like.

        Raises: ValueError if no problem has a right answer.
        """
        path = self.folder / RESPONSES
        done = len(read_metrics(path)) if path.exists() else 0
        done -= done % AT_ONCE if done < len(self.names) else 0  # written together, as without a kill
        file = MetricsFile(path, done)
        try:
            for first in range(done, len(self.names), AT_ONCE):
                self._answer(first, file)
        finally:
            file.close()
        return self._write_source(read_groups(self.folder)) | {"seconds": sum(line["seconds"] for line in read_metrics(path))}

    def _chosen(self, names: list[str]) -> list[str]:
        """The stage's problems, in its own order."""
        count = self.settings.problems or len(names)
        if count > len(names):
            raise ValueError(
                f"stage {self.stage.name} asks for {count} problems, but {self.problems.source.path} has {len(names)}: "
                "lower sample.problems"
            )
        order = Order(len(names), self.seed, self.stage.name, self.problems.source.name)
        return [names[order[number]] for number in range(count)]

    def _answer(self, first: int, file: MetricsFile) -> None:
        start, names = time.perf_counter(), self.names[first : first + AT_ONCE]
        groups = answers(names, self.settings.samples, self.problems, self.rollouts, self.verifier)
        seconds = (time.perf_counter() - start) / len(names)
        for number, group in enumerate(groups, start=first):
            file.write({"step": number, "seconds": seconds, **group.to_json()})
            self.watch(number, {"right": sum(group.right) / len(group.right)})

    def _write_source(self, groups: Sequence[JudgedGroup]) -> dict[str, Any]:
        end_id = self.problems.processor.tokenizer.im_end_id
        kept = [(group, place) for group in groups if (place := shortest_right(group, end_id)) is not None]
        if not kept:
            raise ValueError(
                f"stage {self.stage.name}: none of {len(groups)} problems has a right response, so there is nothing to learn; "
                f"raise sample.max_tokens or sample.samples, or sample a better model than that of {self.stage.language}"
            )
        self._link_pictures()
        lines = [write_record(self._sample(group, place), self._path) + "\n" for group, place in kept]
        write_atomic(self.folder / "train.jsonl", "".join(lines))
        right = [len(response.ids) for group in groups for response, ok in zip(group.responses, group.right) if ok]
        return {
            "problems": len(groups),
            "kept": len(kept),
            "right": len(right) / sum(len(group.right) for group in groups),
            "length_right": sum(right) / len(right),
            "length_kept": sum(len(group.responses[place].ids) for group, place in kept) / len(kept),
        }

    def _sample(self, group: JudgedGroup, place: int) -> Sample:
        """The problem with this response as its last turn, the only answer that is learned.

        Raises: ValueError if that would not be read as the very tokens that the model read and wrote.
        """
        problem, response = self.problems.sample(group.problem), group.responses[place]
        answer = Message("assistant", (TextPart(group.texts[place], ids=response.ids[:-1]),))
        messages = (*(_only_read(message) for message in problem.messages[:-1]), answer)
        ids = self.problems.processor.encode_chat(messages).ids.tolist()
        if ids != [*self.problems.prompt(group.problem).ids.tolist(), *response.ids]:
            raise ValueError(f"problem {group.problem}: its earlier turns cannot be written as text that is read, token by token")
        return Sample(problem.id, messages, meta=problem.meta | {"answer": group.truth, "sampled": self._origin(group, place)})

    def _origin(self, group: JudgedGroup, place: int) -> dict[str, Any]:
        """Where a response comes from: the stage, whose model it asked, the response's number, and what became of the others."""
        return {
            "stage": self.stage.name, "model": self.stage.language, "seed": self.seed, "sample": place,
            "right": sum(group.right), "of": len(group.right), "lengths": [len(response.ids) for response in group.responses],
        }  # fmt: skip

    def _link_pictures(self) -> None:
        link = self.folder / "pictures"
        link.unlink(missing_ok=True)
        link.symlink_to(self.problems.source.path.parent.resolve(), target_is_directory=True)

    def _path(self, picture: Path) -> str:
        folder = self.problems.source.path.parent
        return (Path("pictures") / picture.relative_to(folder)).as_posix() if picture.is_relative_to(folder) else str(picture)


def _only_read(message: Message) -> Message:
    """An earlier turn: what it answers is not the model's."""

    def read(part: Part) -> Part:
        return replace(part, learned=False) if isinstance(part, TextPart) else part

    return replace(message, parts=tuple(map(read, message.parts))) if message.role == "assistant" else message


def read_groups(folder: Path) -> list[JudgedGroup]:
    """All responses that a `sample` stage wrote in its folder."""
    return [JudgedGroup.from_json(line) for line in read_metrics(folder / RESPONSES)]
