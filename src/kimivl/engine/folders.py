"""Where a trained model lies: from what a user names, or nothing, to a model directory.

What it is: `find_model`. What it is not: the layout of a run (`train/run.py`), which is only read here.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from kimivl.config.base import read_json


def find_model(given: Path | None, runs: Path = Path("runs")) -> Path:
    """A model directory.

    Args:
        given: a model directory, or a run's folder: the stage that its recipe names for chatting, or else the last one that is
            finished; None for the newest finished run.
        runs: the folder of all runs.
    Raises: ValueError naming the folder and what to do.
    """
    if given is None:
        return _newest(runs)
    if not given.is_dir():
        raise ValueError(f"{given}: there is no such folder; name a model directory or the folder of a run")
    if (given / "config.json").is_file():
        return given
    if not (given / "recipe.json").is_file():
        raise ValueError(f"{given} is neither a model directory (it has no config.json) nor a run (it has no recipe.json)")
    stages = [stage for stage, finished in _stages(given) if finished]
    if not stages:
        raise ValueError(f"the run {given} has not finished a stage yet; resume it with `kimivl run`")
    return _chosen(given, stages) / "model"


def _newest(runs: Path) -> Path:
    """The model of the run whose last stage was finished last."""
    ended: list[tuple[float, Path]] = []
    for recipe in runs.glob("*/recipe.json"):
        *_, (last_stage, finished) = [(recipe.parent, False), *_stages(recipe.parent)]  # there may be no such stage
        if finished:
            ended.append(((last_stage / "finished.json").stat().st_mtime, find_model(recipe.parent)))
    if not ended:
        raise ValueError(f"no finished run in {runs}: train one with `kimivl run recipes/nano/recipe.yaml`, or name a model")
    return max(ended)[1]


def _chosen(run: Path, finished: Sequence[Path]) -> Path:
    """The recipe's `chat_stage` if it is finished, else the last one."""
    chosen = run / "stages" / (read_json(run / "recipe.json").get("chat_stage") or "")
    return chosen if chosen in finished else finished[-1]


def _stages(run: Path) -> Iterator[tuple[Path, bool]]:
    """Folder of each stage that makes a whole model, in order, and whether it is finished."""
    for stage in read_json(run / "recipe.json")["stages"]:
        if stage["kind"] not in ("vit", "sample") and stage["model"] == "kimi_vl":
            folder = run / "stages" / stage["name"]
            yield folder, (folder / "finished.json").is_file()
