"""`kimivl data view`."""

import argparse
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kimivl.cli.command import add_command

if TYPE_CHECKING:
    from kimivl.catalog.view.server import ViewServer
    from kimivl.config.recipe import RecipeConfig, StageConfig
    from kimivl.processor.processor import Processor

PORT = 8421  # unless it is taken: links to samples stay good


def add_view(kinds: Any) -> None:
    parser = add_command(
        kinds, "view", _view,
        "open a local page that shows training data as the trainer sees them",
        "  kimivl data view data/nano\n"
        "  kimivl data view data/nano --recipe recipes/nano/recipe.yaml --stage sft --processor runs/nano/processor\n"
        "  kimivl data view data/mine/llava/train.jsonl\n"
        "It listens on 127.0.0.1 only; Ctrl-C stops it.",
    )  # fmt: skip
    parser.add_argument("data", type=Path, metavar="DATA", help="a folder of sources, one source's manifest, or one JSONL file")
    parser.add_argument("--recipe", metavar="RECIPE", help="with --stage: shows packs and augmentation of this recipe's stage")
    parser.add_argument("--stage", metavar="NAME", help="the stage of the recipe")
    parser.add_argument(
        "--processor", type=Path, metavar="DIR",
        help="shows tokens and what is learned: a run's processor or a model directory (default: that of the recipe's run)",
    )  # fmt: skip
    parser.add_argument("--port", type=int, help=f"(default: {PORT}, or a free one if it is taken)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")


def _view(args: argparse.Namespace) -> None:
    from kimivl.config.recipe import load_recipe

    recipe = load_recipe(args.recipe) if args.recipe else None
    stage = _stage(recipe, args.stage)

    from kimivl.catalog.view.context import View
    from kimivl.catalog.view.shelf import Shelf
    from kimivl.config.store import StoreConfig
    from kimivl.data.log import DataLog
    from kimivl.data.store.node import NodeFetcher

    processor = _processor(args.processor, recipe)
    fetch = NodeFetcher(recipe.store if recipe else StoreConfig())
    view = View(Shelf(args.data), fetch, processor, stage)
    if recipe and stage:
        view.seed, view.log = recipe.seed, DataLog(_run_folder(recipe) / "stages" / stage.name / "data_log.jsonl")
    with _server(view, args.port) as server:
        print(f"{server.address}   (Ctrl-C stops it)", flush=True)
        if not args.no_browser:
            _open(server.address)
        server.serve_forever()


def _stage(recipe: "RecipeConfig | None", name: str | None) -> "StageConfig | None":
    if (recipe is None) != (name is None):
        given, lacking = ("--stage", "--recipe") if recipe is None else ("--recipe", "--stage")
        stages = f": {', '.join(stage.name for stage in recipe.stages)}" if recipe else ""
        raise ValueError(f"{given} needs {lacking}{stages}")
    return recipe.stage(name) if recipe and name else None


def _processor(folder: Path | None, recipe: "RecipeConfig | None") -> "Processor | None":
    from kimivl.processor.processor import Processor

    if folder is None and recipe is not None:
        usual = recipe.tokenizer_folder or _run_folder(recipe) / "processor"
        folder = usual if usual.is_dir() else None
    return Processor.from_pretrained(folder) if folder else None


def _run_folder(recipe: "RecipeConfig") -> Path:
    """Where `kimivl run` puts the recipe's run unless told otherwise."""
    return Path("runs") / recipe.name


def _server(view: Any, port: int | None) -> "ViewServer":
    from kimivl.catalog.view.server import ViewServer

    try:
        return ViewServer(view, PORT if port is None else port)
    except OverflowError:
        raise ValueError(f"--port is a number from 0 to 65535, not {port}") from None
    except OSError as reason:
        if port is None:
            return ViewServer(view, 0)
        raise OSError(f"port {port} cannot be taken ({reason.strerror}): give another --port, or none for a free one") from None


def _open(address: str) -> None:
    """In a window of its own; browsers that would take this terminal are left alone."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return
    if type(browser) is not webbrowser.GenericBrowser:
        browser.open(address)
