"""`kimivl data mix`, `kimivl data exclude` and `kimivl data include`: changes to the data of a stage that runs."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kimivl.cli.command import add_command


def add_changes(kinds: Any) -> None:
    mix = add_command(
        kinds, "mix", _data_mix,
        "change the shares of a stage's sources while it runs, or before it is resumed",
        "  kimivl data mix runs/nano joint captions=2 documents=1\n  kimivl data mix runs/nano joint documents=1 --at 400",
    )  # fmt: skip
    mix.add_argument("run_folder", type=Path, metavar="RUN", help="the folder of the run")
    mix.add_argument("stage", metavar="STAGE", help="a stage that is not finished")
    mix.add_argument("words", nargs="+", metavar="source=weight", help="all sources from then on; others are drawn no more")
    mix.add_argument("--at", type=int, metavar="STEP", help="the first step (default: a few behind the last one that was made)")
    exclude = add_command(
        kinds, "exclude", _data_exclude,
        "leave a sample out of a stage while it runs, or before it is resumed",
        "  kimivl data exclude runs/nano joint captions captions-17 --reason 'the caption is wrong'",
    )  # fmt: skip
    exclude.add_argument("--reason", default="", help="kept in the log")
    include = add_command(
        kinds, "include", _data_include,
        "take a sample in again that was left out, since what was wrong with it is mended",
        "  kimivl data include runs/nano joint captions captions-17",
    )  # fmt: skip
    for command in (exclude, include):
        command.add_argument("run_folder", type=Path, metavar="RUN", help="the folder of the run")
        command.add_argument("stage", metavar="STAGE", help="a stage that is not finished")
        command.add_argument("source", metavar="SOURCE", help="the source that has it")
        command.add_argument("id", metavar="ID", help="the sample's id")
        command.add_argument(
            "--at", type=int, metavar="STEP", help="the first step (default: a few behind the last one that was made)"
        )


def _data_mix(args: argparse.Namespace) -> None:
    from kimivl.catalog.lifecycle import hold_manifest
    from kimivl.train.data_changes import change_mixture

    shares = _shares(args.words)
    step = change_mixture(args.run_folder, args.stage, shares, args.at, lambda source: hold_manifest(source, args.run_folder))
    print(f"from step {step} on, stage {args.stage} draws {', '.join(args.words)}")


def _shares(words: Sequence[str]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for name, weight in map(_share, words):
        if name in shares:
            raise ValueError(f"{name} has two shares: give one")
        shares[name] = weight
    return shares


def _share(word: str) -> tuple[str, float]:
    name, _, weight = word.partition("=")
    try:
        return name, float(weight)
    except ValueError:
        raise ValueError(f"{word!r} is no share: write source=weight, for example captions=2") from None


def _data_exclude(args: argparse.Namespace) -> None:
    from kimivl.train.data_changes import exclude_sample

    step = exclude_sample(args.run_folder, args.stage, args.source, args.id, args.reason, args.at)
    print(f"from step {step} on, stage {args.stage} leaves out {args.id} of {args.source}")


def _data_include(args: argparse.Namespace) -> None:
    from kimivl.train.data_changes import include_sample

    step = include_sample(args.run_folder, args.stage, args.source, args.id, args.at)
    print(f"from step {step} on, stage {args.stage} has {args.id} of {args.source} again")
