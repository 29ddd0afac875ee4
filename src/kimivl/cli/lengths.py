"""`kimivl data lengths`."""

import argparse
from pathlib import Path
from typing import Any

from kimivl.cli.command import add_command


def add_lengths(kinds: Any) -> None:
    lengths = add_command(
        kinds, "lengths", _data_lengths,
        "count the tokens of a source once, so that packs are planned without rendering its texts",
        "  kimivl data lengths data/mine/llava --processor runs/mine/processor",
    )  # fmt: skip
    lengths.add_argument("source", type=Path, metavar="SOURCE", help="the folder of a source")
    lengths.add_argument(
        "--processor", type=Path, required=True, metavar="DIR", help="whose vocabulary: a model directory, or a run's processor"
    )
    lengths.add_argument("--split", default="train", help="(default: train)")


def _data_lengths(args: argparse.Namespace) -> None:
    from kimivl.data.lengths import measure_lengths
    from kimivl.data.source import Source
    from kimivl.eval.progress import progress_lines
    from kimivl.processor.processor import Processor

    source = Source(args.source.parent, args.source.name, args.split)
    tokenizer = Processor.from_pretrained(args.processor).tokenizer
    with progress_lines() as lines:
        path = measure_lengths(source, tokenizer, lines(source.name, len(source)), str(args.processor))
    print(f"lengths: {path}")
