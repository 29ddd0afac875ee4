"""The lines of the report's charts, out of the metrics that the stages wrote.

What it is: series by name from `metrics.jsonl`, one colour for every family of data sources, and the stages of the language
model laid one after the other.
"""

from collections.abc import Sequence
from typing import Any

from kimivl.config.recipe import StageConfig
from kimivl.eval.charts import Band, Series, binned
from kimivl.train.metrics import read_metrics
from kimivl.train.run import Run

Line = dict[str, Any]  # of metrics.jsonl
INK = "#1c2733"
# Told apart by people who see few colours too, and dark enough on white.
COLORS = ("#2563a8", "#c2570c", "#2e7d4f", "#8a4fa3", "#b3352b", "#0e7c86", "#8a7410", "#b03a78", "#5c6670", "#80553a")
DASHES = ("", "5 3", "2 2.5", "8 3 2 3")


def metrics_of(run: Run, stage: StageConfig) -> list[Line]:
    """A line for every step; none for a stage that does not train."""
    if not stage.trains:
        return []
    return read_metrics(run.stages_folder / stage.name / "metrics.jsonl")


def points(lines: Sequence[Line], key: str, first_step: int = 0) -> list[tuple[float, float]]:
    """(step, value) of every step that has the key."""
    return [(first_step + line["step"], line[key]) for line in lines if key in line]


def style_of_sources(run: Run) -> dict[str, tuple[str, str]]:
    """(colour, dash) of every source, by first use: a colour for a family ("words", "words_chat"), a dash for a member."""
    names = dict.fromkeys(name for stage in run.recipe.stages for point in stage.mixture for name in point.weights)
    families: dict[str, list[str]] = {}
    for name in names:
        families.setdefault(name.partition("_")[0], []).append(name)
    return {
        name: (COLORS[number % len(COLORS)], DASHES[place % len(DASHES)])
        for number, members in enumerate(families.values())
        for place, name in enumerate(members)
    }


def loss_by_source(lines: Sequence[Line], styles: dict[str, tuple[str, str]]) -> list[Series]:
    """The loss of every source of a stage, and over all of them on top."""
    names = dict.fromkeys(key.partition("/")[2] for line in lines for key in line if key.startswith("loss/"))
    series = [
        Series(name, binned(points(lines, f"loss/{name}"), 60), *_drawn(*styles.get(name, (COLORS[-1], "")))) for name in names
    ]
    return [*series, Series("all", binned(points(lines, "loss"), 60), INK, 2.2)]


def _drawn(color: str, dash: str) -> tuple[str, float, str]:
    return color, 1.5, dash


def chained(run: Run, stages: Sequence[StageConfig], key: str) -> tuple[list[tuple[float, float]], list[Band]]:
    """The values of one key through several stages as if they were one, and where each stage stands."""
    chain: list[tuple[float, float]] = []
    bands: list[Band] = []
    first = 0
    for stage in stages:
        chain += points(metrics_of(run, stage), key, first)
        bands.append(Band(stage.name, first, first + stage.steps))
        first += stage.steps
    return chain, bands


def language_stages(run: Run) -> list[StageConfig]:
    """The stages that train the model's own language model, in their order; some may begin at the same earlier one."""
    return [stage for stage in run.recipe.stages if stage.speaks and stage.trains]
