"""The command `kimivl`: parses, calls one function, prints.

What it is not: the work. Heavy imports stand inside the subcommands, so that `kimivl --help` answers at once.
Errors that a user can mend are one line on stderr and exit code 1; a wrong command line is exit code 2; Ctrl-C is 130.
"""

import argparse
import contextlib
import json
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kimivl.config.recipe import RecipeConfig

MENDABLE = (ValueError, OSError, FloatingPointError)
Command = Callable[[argparse.Namespace], int | None]  # returns the exit code, None for 0

RESUMES = "stopped; run the same command again to resume"
NANO_SEED = 0  # the recipe's numbers in docs/nano.md are of the data of this seed


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
    _add_data(commands)
    _add_run(commands)
    _add_chat(commands)
    _add_eval(commands)
    _add_report(commands)
    _add_bench(commands)
    return parser


def _command(commands: Any, name: str, run: Command, about: str, examples: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=about,
        description=about[0].upper() + about[1:] + ".",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, when_stopped="stopped")
    return parser


# data ----------------------------------------------------------------------------------------------------------------


def _add_data(commands: Any) -> None:
    data = commands.add_parser("data", help="build training data")
    kinds = data.add_subparsers(required=True, metavar="COMMAND")
    build = kinds.add_parser("build", help="build a data set")
    nano = _command(
        build.add_subparsers(required=True, metavar="NAME"), "nano", _data_build_nano,
        "the data of the nano recipe, built from what installed packages bring; what is finished is kept",
        "  kimivl data build nano\n  kimivl data build nano --root /big/disk/nano",
    )  # fmt: skip
    nano.add_argument("--root", type=Path, default=Path("data/nano"), help="where to build it (default: data/nano)")
    nano.set_defaults(when_stopped=RESUMES)
    think = _command(
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

    convert = _command(
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
    convert.add_argument("--form", help="messages, conversations or interleaved (default: what each row's keys say)")
    convert.add_argument("--json", action="store_true", help="print the counts as one JSON object")


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


# run -----------------------------------------------------------------------------------------------------------------


def _add_run(commands: Any) -> None:
    parser = _command(
        commands, "run", _run,
        "train all stages of a recipe, measure the result and write its report; finished stages are skipped, "
        "an interrupted one is resumed",
        "  kimivl run recipes/nano/recipe.yaml\n  kimivl run recipes/nano/recipe.yaml --name other seed=2 dtype=float32",
    )  # fmt: skip
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file, see recipes/")
    parser.add_argument("words", nargs="*", metavar="key.path=value", help="replaces a value of the recipe")
    parser.add_argument("--name", help="name of the run (default: the recipe's name)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs (default: runs)")
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N",
        help="threads that decode pictures ahead; the result does not depend on it (default: 0, which suits two cores)",
    )  # fmt: skip
    parser.set_defaults(when_stopped=RESUMES)


def _run(args: argparse.Namespace) -> None:
    from kimivl.config.recipe import load_recipe

    recipe = load_recipe(args.recipe, args.words)  # before the slow imports: a typo shows at once

    from kimivl.eval.report import write_report
    from kimivl.eval.summary import check_questions, measure_run
    from kimivl.train.run import Run

    run = Run(recipe, args.runs / (args.name or recipe.name), args.workers)
    check_questions(recipe)
    run.train()
    measure_run(run)
    write_report(run)
    print(f"scores: {run.folder / 'summary.json'}\nreport: {run.folder / 'report' / 'index.html'}")


# chat ----------------------------------------------------------------------------------------------------------------


def _add_chat(commands: Any) -> None:
    parser = _command(
        commands, "chat", _chat,
        "talk to a model about text, pictures and clips; with a PROMPT, one answer",
        '  kimivl chat --image x.png "What shape is in the image?"\n  kimivl chat runs/nano --clip dance.gif "What moves?"\n'
        "  kimivl chat            a conversation; inside it /image PATH, /clip PATH, /reset, /quit; Ctrl-C stops an answer",
    )  # fmt: skip
    parser.add_argument(
        "words", nargs="*", metavar="MODEL PROMPT",
        help="MODEL: a model directory or the folder of a run (default: the newest finished run). One word alone is the MODEL "
        "if it is a path, else the PROMPT",
    )  # fmt: skip
    parser.add_argument("--image", type=Path, action="append", default=[], metavar="PATH", help="a picture; can be repeated")
    parser.add_argument("--clip", type=Path, action="append", default=[], metavar="PATH", help="an animated GIF, WebP or PNG")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 takes the likeliest words, 1 draws freely (default: 0)")
    parser.add_argument("--top-p", type=float, default=1.0, metavar="P", help="draw only from the likeliest (default: 1)")
    parser.add_argument("--seed", type=int, help="of the draws (default: another one each time)")
    parser.add_argument("--max-new-tokens", type=int, default=256, metavar="N", help="the longest answer (default: 256)")
    parser.add_argument("--json", action="store_true", help="print one JSON object with the answer and its costs; needs a PROMPT")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are looked for (default: runs)")


def _chat(args: argparse.Namespace) -> int:
    model, prompt = _model_and_prompt(args.words)
    if args.json and prompt is None:
        print("kimivl chat: --json needs a PROMPT", file=sys.stderr)
        return 2

    from kimivl.engine.conversation import Conversation
    from kimivl.engine.engine import Engine
    from kimivl.engine.folders import find_model
    from kimivl.engine.sampler import Sampling
    from kimivl.engine.terminal import clip, picture, show, talk

    folder = find_model(model, args.runs)
    seed = secrets.randbits(32) if args.seed is None else args.seed
    sampling = Sampling(args.max_new_tokens, args.temperature, args.top_p, seed)
    pictures, clips = [picture(path) for path in args.image], [clip(path) for path in args.clip]  # a bad file shows at once
    conversation = Conversation(Engine.from_pretrained(folder), sampling)
    for parts in pictures:
        conversation.attach(parts)
    for parts in clips:
        conversation.attach_clip(parts)
    if prompt is None:
        talk(conversation, str(folder))
    elif args.json:
        print(json.dumps({"model": str(folder), "seed": seed} | conversation.answer(prompt), ensure_ascii=False))
    else:
        show(conversation.ask(prompt))
    return 0


def _model_and_prompt(words: Sequence[str]) -> tuple[Path | None, str | None]:
    if len(words) > 2:
        raise ValueError(f"chat takes a MODEL and a PROMPT, got {len(words)} words: put the prompt in quotation marks")
    if len(words) == 2:
        return Path(words[0]), words[1]
    if not words:
        return None, None
    is_path = os.path.isdir(words[0]) or (os.sep in words[0] and not any(letter.isspace() for letter in words[0]))
    return (Path(words[0]), None) if is_path else (None, words[0])


# eval, report --------------------------------------------------------------------------------------------------------


def _add_eval(commands: Any) -> None:
    parser = _command(
        commands, "eval", _eval,
        "answer the held-out sets of a recipe with a model and print the scores; every answer is kept beside the model",
        "  kimivl eval runs/nano\n  kimivl eval runs/nano/stages/sft/model --json\n"
        "  kimivl eval some/model --recipe recipes/nano/recipe.yaml",
    )  # fmt: skip
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model directory, or the folder of a run")
    parser.add_argument("--recipe", help="the YAML file that names the held-out sets (default: the recipe of the model's run)")
    parser.add_argument("--json", action="store_true", help="print all results as one JSON object")
    parser.set_defaults(when_stopped=RESUMES)


def _eval(args: argparse.Namespace) -> None:
    from kimivl.config.recipe import load_recipe

    recipe = load_recipe(args.recipe) if args.recipe else _recipe_of(args.model)

    from kimivl.engine.folders import find_model
    from kimivl.eval.benchmarks import evaluate_model
    from kimivl.eval.progress import no_lines, progress_lines

    folder = find_model(args.model)
    answers = folder.with_name(f"{folder.name}.evaluation")
    with contextlib.nullcontext(no_lines) if args.json else progress_lines() as lines:
        results = evaluate_model(folder, recipe, answers, lines)
    if args.json:
        print(json.dumps(results, ensure_ascii=False))
        return
    for key, result in results.items():
        print(f"{key:<32} {result['score']:.4f}   {result['low']:.4f} … {result['high']:.4f}   {result['items']} items")
    print(f"answers: {answers}")


def _add_report(commands: Any) -> None:
    parser = _command(
        commands, "report", _report,
        "write the report page of a finished run again",
        "  kimivl report runs/nano",
    )  # fmt: skip
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="the folder of the run, for example runs/nano")


def _report(args: argparse.Namespace) -> None:
    from kimivl.eval.report import write_report
    from kimivl.train.run import Run

    run = Run(_recipe_of(args.run_folder), args.run_folder)
    write_report(run)
    print(f"report: {run.folder / 'report' / 'index.html'}")


def _recipe_of(path: Path) -> "RecipeConfig":
    """The recipe of a run, or of the run that a model directory lies in."""
    from kimivl.config.base import parse, read_json
    from kimivl.config.recipe import RecipeConfig

    for folder in (path, *path.parents):
        if (recipe := folder / "recipe.json").is_file():
            return parse(RecipeConfig, read_json(recipe), str(recipe))
    raise ValueError(f"{path} is neither the folder of a run nor inside one: there is no recipe.json")


# bench ---------------------------------------------------------------------------------------------------------------


def _add_bench(commands: Any) -> None:
    bench = commands.add_parser("bench", help="compare speed with other programs")
    step = _command(
        bench.add_subparsers(required=True, metavar="NAME"), "step", _bench_step,
        "one training step (forward, backward, optimizer) against transformers at the same shape, in turns",
        "  kimivl bench step --preset mini --json",
    )  # fmt: skip
    step.add_argument("--preset", default="mini", help="shape of the model: nano, mini or a3b (default: mini)")
    step.add_argument("--json", action="store_true", help="print nothing but the JSON lines")


def _bench_step(args: argparse.Namespace) -> int | None:
    from kimivl.bench.step import main as bench_step

    return bench_step(args.preset, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
