"""`kimivl bench …`."""

import argparse
from typing import Any

from kimivl.cli.command import add_command


def add_bench(commands: Any) -> None:
    bench = commands.add_parser("bench", help="compare speed with other programs")
    step = add_command(
        bench.add_subparsers(required=True, metavar="NAME"), "step", _bench_step,
        "one training step (forward, backward, optimizer) against transformers at the same shape, in turns",
        "  kimivl bench step --preset mini --json",
    )  # fmt: skip
    step.add_argument("--preset", default="mini", help="shape of the model: nano, mini or a3b (default: mini)")
    step.add_argument("--json", action="store_true", help="print nothing but the JSON lines")


def _bench_step(args: argparse.Namespace) -> int | None:
    from kimivl.bench.step import main as bench_step

    return bench_step(args.preset, as_json=args.json)
