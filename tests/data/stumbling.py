"""Changes of a picture that do something to the process that decodes it. Workers unpickle them, so they live in a module."""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image


@dataclass(frozen=True)
class Unchanged:
    def size(self, before: tuple[int, int]) -> tuple[int, int]:
        return before

    def picture(self, picture: Image.Image) -> Image.Image:
        self.happen()
        return picture

    def happen(self) -> None:
        pass


@dataclass(frozen=True)
class Dies(Unchanged):
    """Kills its process, `times` times in all; `marks` is an empty folder."""

    marks: Path
    times: int

    def happen(self) -> None:
        for number in range(self.times):
            with suppress(FileExistsError):  # another process died this time
                (self.marks / str(number)).touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Hangs(Unchanged):
    """Hangs the first time; `mark` is a file that is not there yet."""

    mark: Path

    def happen(self) -> None:
        if not self.mark.exists():
            self.mark.touch()
            time.sleep(3600)


@dataclass(frozen=True)
class Waits(Unchanged):
    """Until the file `mark` is there."""

    mark: Path

    def happen(self) -> None:
        while not self.mark.exists():
            time.sleep(0.01)


@dataclass(frozen=True)
class Fails(Unchanged):
    """With an error that does not survive pickling."""

    def happen(self) -> None:
        raise Odd("left", "right")


class Odd(Exception):
    def __init__(self, left: str, right: str):
        super().__init__(f"{left} and {right}")


@dataclass(frozen=True)
class Slow:
    """A store whose files are read after `seconds`."""

    seconds: float

    def __call__(self, places):
        time.sleep(self.seconds)
        return [Path(place.url.removeprefix("file://")).read_bytes()[place.start :][: place.length] for place in places]
