"""`kimivl bench …`."""

import argparse
from pathlib import Path
from typing import Any

from kimivl.cli.command import add_command


def add_bench(commands: Any) -> None:
    bench = commands.add_parser("bench", help="measure what is claimed, and compare speed with other programs")
    names = bench.add_subparsers(required=True, metavar="NAME")
    step = add_command(
        names, "step", _bench_step,
        "one training step (forward, backward, optimizer) against transformers at the same shape, in turns",
        "  kimivl bench step --preset mini --json",
    )  # fmt: skip
    step.add_argument("--preset", default="mini", help="shape of the model: nano, mini or a3b (default: mini)")
    step.add_argument("--json", action="store_true", help="print nothing but the JSON lines")

    data = add_command(
        names, "data", _bench_data,
        "the claims about the data system: kill and resume, mixture, packing, store, memory, decoding against other loaders",
        "  kimivl bench data --peers peers\n  kimivl bench data kill store --json",
    )  # fmt: skip
    data.add_argument(
        "words", nargs="*", metavar="PART", help="kill, mixture, resume, index, packing, store, memory, decode (default: all)"
    )
    data.add_argument(
        "--recipe", default="recipes/nano/recipe.yaml", help="whose data are packed (default: recipes/nano/recipe.yaml)"
    )
    data.add_argument("--peers", type=Path, metavar="DIR", help="virtual environment with webdataset and mosaicml-streaming")
    data.add_argument("--json", action="store_true", help="print nothing but the JSON lines")


def _bench_data(args: argparse.Namespace) -> int | None:
    from kimivl.bench.data import Options, main

    return main(args.words, Options(args.recipe, args.peers), as_json=args.json)


def _bench_step(args: argparse.Namespace) -> int | None:
    from kimivl.bench.step import main as bench_step

    return bench_step(args.preset, as_json=args.json)
