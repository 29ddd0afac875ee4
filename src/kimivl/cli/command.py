"""What all subcommands share: how one is declared, and what it says when it is stopped."""

import argparse
from collections.abc import Callable
from typing import Any

Command = Callable[[argparse.Namespace], int | None]  # returns the exit code, None for 0

RESUMES = "stopped; run the same command again to resume"


def add_command(commands: Any, name: str, run: Command, about: str, examples: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=about,
        description=about[0].upper() + about[1:] + ".",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, when_stopped="stopped")
    return parser


def add_rate(*parsers: argparse.ArgumentParser) -> None:
    """A budget of requests for commands that send many."""
    for parser in parsers:
        parser.add_argument(
            "--requests-per-second", type=_rate, metavar="R", help="at most, to each store that is asked (default: no limit)"
        )


def _rate(text: str) -> float:
    from kimivl.catalog.pace import LEAST

    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not LEAST <= rate < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of {LEAST} or more")
    return rate
