"""`kimivl run`, `kimivl eval` and `kimivl report`."""

import argparse
import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kimivl.cli.command import RESUMES, add_command

if TYPE_CHECKING:
    from kimivl.config.recipe import RecipeConfig
    from kimivl.train.run import Run


def add_run(commands: Any) -> None:
    parser = add_command(
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
        help="processes that decode pictures ahead; the result does not depend on it (default: 0, which suits two cores)",
    )  # fmt: skip
    parser.add_argument(
        "--damaged", choices=("stop", "quarantine"), default="stop",
        help="what is done about a sample with a picture that cannot be used: stop (the default), or write it into the stage's "
        "data_log.jsonl and go on without it",
    )  # fmt: skip
    parser.set_defaults(when_stopped=RESUMES)


def _run(args: argparse.Namespace) -> None:
    from kimivl.config.recipe import load_recipe

    recipe = load_recipe(args.recipe, args.words)  # before the slow imports: a typo shows at once

    from kimivl.eval.report import write_report
    from kimivl.eval.summary import check_questions, measure_run
    from kimivl.train.run import Run

    run = Run(recipe, args.runs / (args.name or recipe.name), args.workers, args.damaged)
    check_questions(recipe)
    hold_versions(run)
    run.train()
    measure_run(run)
    write_report(run)
    print(f"scores: {run.folder / 'summary.json'}\nreport: {run.folder / 'report' / 'index.html'}")


def hold_versions(run: "Run") -> None:
    """Notes in their catalogs that the run needs the versions that it reads, so that nobody deletes them meanwhile."""
    if run.manifests:
        from kimivl.catalog.lifecycle import hold_manifest

        for folder in run.manifests.values():
            hold_manifest(folder, run.folder)


def add_eval(commands: Any) -> None:
    parser = add_command(
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


def add_report(commands: Any) -> None:
    parser = add_command(
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
