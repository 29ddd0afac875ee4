"""What a stage writes down: one JSON line per step, and a progress bar.

What it is: `MetricsFile`, which a resumed run continues without repeated or lost steps.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from kimivl.model.atomic import write_atomic


class MetricsFile:
    """`metrics.jsonl` of a stage.

    Args:
        first_step: lines of this and later steps, written by a run that was interrupted after its last checkpoint, are dropped.
    Attributes:
        dropped: those lines by their steps, which are made again.
    """

    def __init__(self, path: Path, first_step: int):
        lines = read_metrics(path) if path.exists() else []
        self.dropped = {int(line["step"]): line for line in lines if line["step"] >= first_step}
        write_atomic(path, "".join(json.dumps(line) + "\n" for line in lines if line["step"] < first_step))
        self.path, self._file = path, path.open("a")

    def write(self, values: Mapping[str, Any]) -> None:
        """Appends one step; the line is on its way to disk when this returns. Raises: OSError naming the file (a full disk)."""
        try:
            self._file.write(json.dumps(values) + "\n")
            self._file.flush()
        except OSError as error:
            raise OSError(f"could not write {self.path}: {error}. Free some space and run again, the run resumes") from error

    def close(self) -> None:
        with suppress(OSError):  # `write` has reported it
            self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All complete lines; a line that a killed process left half-written is dropped."""
    lines = path.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1] if line]
