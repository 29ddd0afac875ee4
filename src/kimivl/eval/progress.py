"""Progress bars of an evaluation: one line per part, each telling how many of its items are done."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Advance = Callable[[int], None]  # so many items more are done
Lines = Callable[[str, int], Advance]  # (name of a part, number of its items) → its line


@contextmanager
def progress_lines() -> Iterator[Lines]:
    """Shows a line for every part that is begun, until the context ends."""
    columns = (TextColumn("{task.description:>30}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn()) as bar:

        def line(name: str, total: int) -> Advance:
            task = bar.add_task(name, total=total)
            return lambda items: bar.advance(task, items)

        yield line


def no_lines(name: str, total: int) -> Advance:
    """Shows nothing."""
    return lambda items: None
