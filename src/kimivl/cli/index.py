"""`kimivl data index`: originals in a store as a manifest that recipes name."""

import argparse
import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kimivl.cli.command import add_command, add_rate


def add_index(kinds: Any) -> None:
    index = add_command(
        kinds, "index", _index,
        "make a manifest of pictures, archives, PDFs and videos that stay where they are, and of the rows that speak of them",
        "  kimivl data index s3://bucket/coco data/mine/coco/train.manifest --licence CC-BY-4.0\n"
        "  kimivl data index 'photos/data/train-*.parquet' data/mine/photos/train.manifest\n"
        "Then name it in a recipe: data: data/mine, mixture: [{weights: {coco: 1}}]. docs/manifests.md tells what is understood.",
    )  # fmt: skip
    index.add_argument("url", metavar="URL", help="a folder or a file: local, or s3://bucket/prefix; * in its last parts chooses")
    index.add_argument("out", type=Path, metavar="OUT", help="<data>/<source>/<split>.manifest, where a recipe finds it")
    index.add_argument("--licence", metavar="SPDX", help="of all that does not say its own, for example CC-BY-4.0")
    index.add_argument("--language", metavar="BCP47", help="of all that does not say its own (default: what the script tells)")
    index.add_argument("--images", metavar="URL", help="folder that paths of pictures are relative to (default: URL)")
    index.add_argument("--frames", type=int, default=8, metavar="N", help="of a video, at most (default: 8)")
    add_rate(index)
    index.add_argument("--json", action="store_true", help="print the counts as one JSON object and no progress")
    index.set_defaults(when_stopped="stopped; the same command goes on from what was read")


def _index(args: argparse.Namespace) -> None:
    from kimivl.catalog.pace import client
    from kimivl.data.index.build import index, unseen

    store = client(None, args.requests_per_second)
    with contextlib.nullcontext(unseen) if args.json else _bars() as show:
        counts = index(args.url, args.out, args.licence, args.language, args.images, args.frames, store, show)
    if args.json:
        print(json.dumps(counts))
        return
    print(f"{counts['samples']} samples with {counts['pictures']} pictures ({counts['layout']})")
    print(
        f"{counts['originals']} originals in {counts['objects']} objects, of which {counts['read']} were read and "
        f"{counts['unchanged']} are unchanged; {counts['unused']} objects are in no sample"
    )
    if counts["skipped"]:
        more = " …" if counts["skipped"] > len(counts["skipped_first"]) else ""
        print(f"{counts['skipped']} files are of no kind that is read: {', '.join(counts['skipped_first'])}{more}")
    if counts["extracted"]:
        print(f"{counts['extracted']} pictures were copied out of tables into {args.out.with_suffix('.pictures')}")
    print(f"manifest: {args.out}")


@contextlib.contextmanager
def _bars() -> Iterator[Callable[[str, int | None], Callable[[int], None]]]:
    """A line for each thing that is done; bytes are shown in their units, the rest as numbers."""
    from rich.progress import BarColumn, Progress, Task, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Done(TextColumn):
        def render(self, task: Task) -> Text:
            if "bytes" not in task.description:
                return Text(f"{task.completed:,.0f}")
            return Text(f"{task.completed / 1e6:,.1f} / {(task.total or 0) / 1e6:,.1f} MB")

    with Progress(TextColumn("{task.description:>20}"), BarColumn(), Done(""), TimeElapsedColumn()) as bar:

        def show(what: str, total: int | None) -> Callable[[int], None]:
            task = bar.add_task(what, total=total)
            return lambda done: bar.advance(task, done)

        yield show
