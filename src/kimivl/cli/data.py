"""`kimivl data …`: building, converting, looking at training data."""

import argparse
import contextlib
import json
import os
from pathlib import Path
from typing import Any

from kimivl.cli.catalog import add_catalog
from kimivl.cli.changes import add_changes
from kimivl.cli.command import RESUMES, add_command
from kimivl.cli.index import add_index
from kimivl.cli.lengths import add_lengths
from kimivl.cli.view import add_view

NANO_SEED = 0  # the recipe's numbers in docs/nano.md are of the data of this seed


def add_data(commands: Any) -> None:
    data = commands.add_parser("data", help="build training data")
    kinds = data.add_subparsers(required=True, metavar="COMMAND")
    build = kinds.add_parser("build", help="build a data set")
    nano = add_command(
        build.add_subparsers(required=True, metavar="NAME"), "nano", _data_build_nano,
        "the data of the nano recipe, built from what installed packages bring; what is finished is kept",
        "  kimivl data build nano\n  kimivl data build nano --root /big/disk/nano",
    )  # fmt: skip
    nano.add_argument("--root", type=Path, default=Path("data/nano"), help="where to build it (default: data/nano)")
    nano.set_defaults(when_stopped=RESUMES)
    think = add_command(
        kinds, "think", _data_think,
        "have a model behind an OpenAI-compatible endpoint think about questions; the thoughts that end right become a source",
        "  kimivl data think questions.jsonl --endpoint http://127.0.0.1:8000/v1 --model NAME --out data/thoughts\n"
        "The key of the endpoint is read from OPENAI_API_KEY; local servers need none.",
    )  # fmt: skip
    think.add_argument("questions", type=Path, metavar="QUESTIONS.jsonl", help="chats with an answer, or with meta.answer")
    think.add_argument("--endpoint", required=True, metavar="URL", help="its address, mostly ending in /v1")
    think.add_argument("--model", required=True, metavar="NAME", help="the name by which the endpoint knows the model")
    think.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the source that is written")
    think.add_argument("--tries", type=int, default=8, metavar="N", help="thoughts per question (default: 8)")
    think.add_argument("--keep", type=int, default=2, metavar="K", help="right ones of them that are kept (default: 2)")
    think.add_argument("--temperature", type=float, default=1.0, help="of the tries (default: 1)")
    think.add_argument("--judge", metavar="MODEL", help="a model there that must agree; it alone decides about free text")
    think.add_argument("--json", action="store_true", help="print the counts as one JSON object and no progress")
    think.set_defaults(when_stopped=RESUMES)

    convert = add_command(
        kinds, "convert", _data_convert,
        "make a source of rows as OpenAI (messages), ShareGPT and LLaVA (conversations) or OBELICS (texts, images) have them",
        "  kimivl data convert llava.json data/mine/llava/train.jsonl --images /data/coco\n"
        "Then name it in a recipe: data: data/mine, mixture: [{weights: {llava: 1}}].",
    )  # fmt: skip
    convert.add_argument("rows", type=Path, metavar="ROWS", help="a JSONL file, or a JSON file with a list")
    convert.add_argument("out", type=Path, metavar="OUT.jsonl", help="<data>/<source>/<split>.jsonl, where a recipe finds it")
    convert.add_argument(
        "--images", type=Path, metavar="DIR", help="what paths of pictures are relative to (default: ROWS' folder)"
    )
    convert.add_argument(
        "--form", help="messages, conversations, interleaved, document or captioned (default: what each row's keys say)"
    )
    convert.add_argument("--json", action="store_true", help="print the counts as one JSON object")
    add_index(kinds)
    add_lengths(kinds)
    add_changes(kinds)
    add_view(kinds)
    add_catalog(kinds)


def _data_convert(args: argparse.Namespace) -> None:
    from kimivl.data.convert.files import convert

    counts = convert(args.rows, args.out, args.images, args.form)
    if args.json:
        print(json.dumps(counts))
        return
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    print(f"source: {args.out}")


def _data_build_nano(args: argparse.Namespace) -> None:
    from kimivl.curate.nano import build_nano

    manifest = build_nano(args.root, NANO_SEED)
    print(f"{len(manifest['sources'])} sources in {args.root}; counts and duplicates are in {args.root / 'manifest.json'}")


def _data_think(args: argparse.Namespace) -> None:
    from kimivl.curate.reason.endpoint import Endpoint
    from kimivl.curate.reason.think import Thinking, think
    from kimivl.eval.progress import no_lines, progress_lines

    how = Thinking(args.model, args.tries, args.keep, args.temperature, args.judge)
    endpoint = Endpoint(args.endpoint, os.environ.get("OPENAI_API_KEY") or "none")
    with contextlib.nullcontext(no_lines) if args.json else progress_lines() as lines:
        counts = think(args.questions, endpoint, how, args.out, lines)
    if args.json:
        print(json.dumps(counts))
        return
    print(f"{counts['kept']} of {counts['tries']} thoughts kept, {counts['solved']} of {counts['questions']} questions solved")
    for reason, tries in counts["dropped"].items():
        print(f"  {reason:<12} {tries}")
    print(f"source: {args.out / 'train.jsonl'}")
