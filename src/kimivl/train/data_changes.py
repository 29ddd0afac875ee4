"""Changes to the data of a stage that is running, or was interrupted: other shares of its sources, samples left out or taken in.

What it is: what `kimivl data mix`, `exclude` and `include` do: they add an entry to the stage's data log (`data/log.py`).
What it is not: the meaning of entries (`data/plan.py`).
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from kimivl.config.base import parse, read_json
from kimivl.config.recipe import RecipeConfig, StageConfig
from kimivl.data.log import DataLog, Entry, Exclusion, Inclusion, exclusions_of
from kimivl.data.source import Source, source_path
from kimivl.train.claim import is_claimed
from kimivl.train.metrics import steps_made

MARGIN = 20  # steps behind the last one in the metrics: a run makes fewer until the entry is on disk


def _nothing(source: Path) -> None:
    pass


def change_mixture(
    run: Path, stage: str, weights: Mapping[str, float], at: int | None = None, hold: Callable[[Path], object] = _nothing
) -> int:
    """From a step on, the stage draws by these weights instead of its recipe's. Returns: the step.

    Args:
        run: the folder of the run.
        at: the first step; unless given, a few behind the last one that was made.
        hold: is called with the file or manifest of each source before the change is written, and may refuse it.
    Raises: ValueError naming a stage that is finished or does not train on packs, a step that was made, or a weight;
        FileNotFoundError naming a source that is not there; what `hold` raises.
    """
    recipe, config = _changeable(run, stage, at)
    sources = [source_path(recipe.data, name) for name in weights if name not in recipe.samplings]
    entry = parse(Entry, {"step": at or 0, "weights": dict(weights)}, "the mixture")
    for source in sources:
        hold(source)
    return _append(run, config, entry, at)


def exclude_sample(run: Path, stage: str, source: str, sample: str, reason: str, at: int | None = None) -> int:
    """From a step on, the stage leaves out a sample. Returns, args and raises: as of `change_mixture`."""
    recipe, config = _changeable(run, stage, at)
    sources = dict.fromkeys([*config.sources, *_log(run, config).sources])
    if source not in sources:
        raise ValueError(f"stage {stage} has no source {source}; its sources are {', '.join(sources)}")
    records = Source(run / "stages" if source in recipe.samplings else recipe.data, source)
    if not any(records[row].id == sample for row in range(len(records))):
        raise ValueError(f"source {source} has no sample {sample}; `kimivl data view {records.path}` shows its ids")
    return _append(run, config, Entry(step=at or 0, excluded=Exclusion(source=source, id=sample, reason=reason)), at)


def include_sample(run: Path, stage: str, source: str, sample: str, at: int | None = None) -> int:
    """From a step on, the stage has a sample again that was left out. Returns, args and raises: as of `change_mixture`."""
    _, config = _changeable(run, stage, at)
    step = _step(run, config, at)
    excluded = exclusions_of(_log(run, config).until(step))
    if (source, sample) not in excluded:
        names = ", ".join(f"{name} of {of}" for of, name in excluded) or "none"
        raise ValueError(f"sample {sample} of {source} is not left out at step {step} of stage {stage}; left out there: {names}")
    return _append(run, config, Entry(step=step, included=Inclusion(source=source, id=sample)), at)


def _changeable(run: Path, name: str, at: int | None) -> tuple[RecipeConfig, StageConfig]:
    """The run's recipe and its stage, if that may be changed at a step as things stand."""
    recipe = parse(RecipeConfig, read_json(run / "recipe.json"), str(run / "recipe.json"))
    stage = recipe.stage(name)
    if not stage.reads_packs:
        raise ValueError(f"stage {name} is of kind {stage.kind!r}, which has no mixture of packs")
    if (_folder(run, stage) / "finished.json").exists():
        raise ValueError(f"stage {name} of {run} is finished; what it learned from does not change any more")
    _step(run, stage, at)
    return recipe, stage


def _step(run: Path, stage: StageConfig, at: int | None) -> int:
    """The step of a change. Raises: ValueError for one that is made, or may be while the entry is on its way."""
    metrics = _folder(run, stage) / "metrics.jsonl"
    made, goes_on = steps_made(metrics), metrics.exists() and is_claimed(run)
    first = made + MARGIN if goes_on else made
    step = (made + MARGIN if made else first) if at is None else at
    if not first <= step < stage.steps:
        while_it_runs = f" while it is being trained; the first that can be is {first}" if goes_on else ""
        raise ValueError(
            f"stage {stage.name} has made {made} of its {stage.steps} steps, so step {step} cannot be changed{while_it_runs}"
        )
    return step


def _append(run: Path, stage: StageConfig, entry: Entry, at: int | None) -> int:
    """Writes the entry for the step that it can have now: what came before may have taken a while."""
    step = _step(run, stage, at)
    _log(run, stage).append(entry.model_copy(update={"step": step}))
    return step


def _folder(run: Path, stage: StageConfig) -> Path:
    return run / "stages" / stage.name


def _log(run: Path, stage: StageConfig) -> DataLog:
    return DataLog(_folder(run, stage) / "data_log.jsonl")
