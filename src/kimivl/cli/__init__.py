"""The command `kimivl`: parses, calls one function, prints.

What it is not: the work. A file a group of subcommands; heavy imports stand inside them, so that `kimivl --help` answers at once.
Errors that a user can mend are one line on stderr and exit code 1; a wrong command line is exit code 2; Ctrl-C is 130.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from kimivl.cli.bench import add_bench
from kimivl.cli.chat import add_chat
from kimivl.cli.data import add_data
from kimivl.cli.run import add_eval, add_report, add_run

MENDABLE = (ValueError, OSError, FloatingPointError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns the exit code."""
    args = _parse(arguments)
    try:
        return int(args.run(args) or 0)
    except KeyboardInterrupt:
        print(f"\n{args.when_stopped}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, for example `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MENDABLE as error:
        print(f"kimivl: {error}", file=sys.stderr)
        return 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    args, rest = parser.parse_known_args(arguments)
    # argparse gives up on words that stand behind an option once it has seen some before it.
    if rest and (not hasattr(args, "words") or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        args.words = [*args.words, *rest]
    return args


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kimivl",
        description="An open implementation of Kimi-VL: build data, train, evaluate, talk.",
        epilog="`kimivl COMMAND --help` explains a command. A first tour:\n  kimivl data build nano\n"
        '  kimivl run recipes/nano/recipe.yaml\n  kimivl chat --image x.png "What shape is in the image?"',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_data(commands)
    add_run(commands)
    add_chat(commands)
    add_eval(commands)
    add_report(commands)
    add_bench(commands)
    return parser
