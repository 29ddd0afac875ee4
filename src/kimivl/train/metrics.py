"""What a stage writes down: one JSON line per step, and a progress bar.

What it is: `MetricsFile`, which a resumed run continues without repeated or lost steps.

    metrics.jsonl                every step once
    metrics.interrupted.jsonl    while they are made again: the lines of steps that an interrupted run made after its checkpoint
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from kimivl.model.atomic import write_atomic


class MetricsFile:
    """`metrics.jsonl` of a stage.

    Args:
        first_step: lines of this and later steps, written by a run that was interrupted after its last checkpoint, leave the
            file; they stay beside it until their steps are made again, however often that is interrupted.
    Attributes:
        interrupted: those lines by their steps.
    """

    def __init__(self, path: Path, first_step: int):
        self.path, self._aside = path, _aside(path)
        lines, aside = _lines_of(path), _lines_of(self._aside)
        self.interrupted = {int(line["step"]): line for line in [*lines, *aside] if line["step"] >= first_step}
        if self.interrupted:  # first here, then no more there: a kill in between loses nothing
            write_atomic(self._aside, _text(self.interrupted.values()))
        write_atomic(path, _text(line for line in lines if line["step"] < first_step))
        self._file = path.open("a")
        self._forget_before(first_step)

    def write(self, values: Mapping[str, Any]) -> None:
        """Appends one step; the line is on its way to disk when this returns. Raises: OSError naming the file (a full disk)."""
        try:
            self._file.write(_text([values]))
            self._file.flush()
            self._forget_before(values["step"] + 1)
        except OSError as error:
            raise OSError(f"could not write {self.path}: {error}. Free some space and run again, the run resumes") from error

    def close(self) -> None:
        with suppress(OSError):  # `write` has reported it
            self._file.close()

    def _forget_before(self, step: int) -> None:
        """Once all the steps of an interrupted run are made again, its lines are of no use."""
        if max(self.interrupted, default=-1) < step:
            self._aside.unlink(missing_ok=True)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All complete lines; a line that a killed process left half-written is dropped."""
    lines = path.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def steps_made(path: Path) -> int:
    """How many steps a stage has made by its `metrics.jsonl`, those counted that are to be made again."""
    return 1 + max((int(line["step"]) for file in (path, _aside(path)) for line in _lines_of(file)), default=-1)


def _aside(path: Path) -> Path:
    return path.with_suffix(".interrupted.jsonl")


def _lines_of(path: Path) -> list[dict[str, Any]]:
    return read_metrics(path) if path.exists() else []


def _text(lines: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)
