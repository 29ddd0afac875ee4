"""The figures of a run: everything that is measured once it is trained, in one file for machines.

What it is: `measure_run`, which makes every measurement that the recipe asks for, once, and writes `summary.json`.
What it is not: the page for people (`report.py`), or the measurements themselves.
A killed evaluation resumes: finished parts lie in `runs/NAME/evaluation/` and are taken from there.

Keys of `summary.json`, dots nested: those of the recipe's benchmarks; `text_loss_before`, `text_loss_after`;
`needle_recall.{before,after}` (at `HEADLINE_MULTIPLE` times the pre-training context), `needle_recall.{before,after}_16x`, …,
`needle.table`; `think.…` (`thinking_gain.py`) with `think.budget_curve`; `muon_vs_adamw`; `train_minutes`, `think_minutes`,
`stages`, `parameters`, `totals`, `machine`, `seed`; `details` holds
intervals and counts of every benchmark.
"""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from kimivl.config.base import ConfigError
from kimivl.config.evaluation import ComparisonConfig, NeedleConfig, ThinkingConfig
from kimivl.config.recipe import RecipeConfig
from kimivl.config.rl import ScoreName
from kimivl.engine.engine import Engine
from kimivl.eval.benchmarks import evaluate_model
from kimivl.eval.comparison import KINDS, OptimizerKind, best_of, measure_training, short_stage
from kimivl.eval.facts import run_facts
from kimivl.eval.haystack import Needle
from kimivl.eval.items import Item, load_items
from kimivl.eval.needle import make_needles, measure_needles
from kimivl.eval.parts import Parts, Result, fingerprint
from kimivl.eval.progress import Lines, progress_lines
from kimivl.eval.text_loss import measure_text_loss
from kimivl.eval.thinking import Budgets
from kimivl.eval.thinking_curve import chance_levels, curve_csv, measure_thinking
from kimivl.eval.thinking_gain import measure_arm, thinking_figures
from kimivl.model.atomic import write_atomic
from kimivl.processor.processor import Processor
from kimivl.rl.verifier import Verifier
from kimivl.train.run import Run

HEADLINE_MULTIPLE = 4


def measure_run(run: Run) -> Result:
    """Measures a finished run and writes `runs/NAME/summary.json`. The model of `recipe.answering` answers the benchmarks.

    Raises: ConfigError naming a stage that is not finished, or a setting that a measurement lacks.
    """
    _check(run)
    with progress_lines() as lines:
        summary = run_facts(run) | _Measurements(run, lines).all()
    write_atomic(run.folder / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    return summary


def check_questions(recipe: RecipeConfig) -> None:
    """Reads all that will be asked at the end, so that a bad record does not show hours later.

    Raises: FileNotFoundError naming a missing file, ValueError naming a record that asks nothing or whose truth nothing can meet.
    """
    settings = recipe.evaluation
    for benchmark in settings.benchmarks:
        load_items(recipe.data, benchmark.source, benchmark.split)
    if settings.thinking:
        asked = load_items(recipe.data, settings.thinking.source, settings.thinking.split)
        with Verifier(thinking_score(recipe, settings.thinking)) as verifier:
            verifier.check_truths({item.id: item.truth for item in asked})


def thinking_score(recipe: RecipeConfig, settings: ThinkingConfig) -> ScoreName:
    """Right is what reinforcement learning rewards."""
    rewarded = recipe.stage(settings.rl).rl
    return rewarded.score if rewarded else "exact"


class _Measurements:
    """The recipe's measurements of one run, each made once."""

    def __init__(self, run: Run, lines: Lines):
        self.run, self.recipe, self.settings, self.lines = run, run.recipe, run.recipe.evaluation, lines
        self.folder = run.folder / "evaluation"
        self.parts = Parts(self.folder)

    def all(self) -> Result:
        """Every figure that the recipe asks for."""
        figures = self.benchmarks()
        for when, stage in (("before", self.settings.text_before), ("after", self.settings.text_after)):
            figures |= {f"text_loss_{when}": self.text_loss(f"text_loss_{when}", stage)} if stage else {}
        figures |= self.needles(self.settings.needle) if self.settings.needle else {}
        figures |= {"think": self.thinking(self.settings.thinking)} if self.settings.thinking else {}
        figures |= {"muon_vs_adamw": self.comparison(self.settings.muon_vs_adamw)} if self.settings.muon_vs_adamw else {}
        return figures

    def benchmarks(self) -> Result:
        results = evaluate_model(self._model(self.recipe.answering), self.recipe, self.folder, self.lines)
        return nested({key: result["score"] for key, result in results.items()}) | {"details": results}

    def text_loss(self, name: str, stage: str) -> float:
        model = self._model(stage)
        inputs = self._inputs(model) | {"context": self.recipe.pretraining_context}

        def measure() -> Result:
            return measure_text_loss(model, self.recipe, self.run.dtype, self.lines(name, 1))

        return float(self.parts.measured(name, inputs, measure)["loss"])

    def needles(self, settings: NeedleConfig) -> Result:
        stages = {"before": settings.before, "after": settings.after}
        table = {when: self._needle_rows(f"needle_recall.{when}", self._model(stage), settings) for when, stage in stages.items()}
        return {"needle_recall": recalls(table), "needle": {"stages": stages, "table": table}}

    def _needle_rows(self, name: str, model: Path, settings: NeedleConfig) -> list[Result]:
        inputs = self._inputs(model) | {"needle": settings.model_dump(), "seed": self.recipe.seed}

        def measure() -> Result:
            line = self.lines(name, settings.items * len(settings.multiples))
            return measure_needles(model, self.recipe.dtype, self._made_needles, settings.context, line)

        return list(self.parts.measured(name, inputs, measure)["lengths"])

    @cached_property
    def _made_needles(self) -> dict[int, list[Needle]]:
        """Made once for both models: they are asked the same."""
        assert self.settings.needle is not None  # the caller's check
        processor = Processor.from_pretrained(self._model(self.recipe.stages[-1].name))
        return make_needles(processor, self.recipe, self.settings.needle)

    def thinking(self, settings: ThinkingConfig) -> Result:
        items = load_items(self.recipe.data, settings.source, settings.split)
        arms = {name: self._thinking_arm(name, stage, settings, items) for name, stage in settings.arms.items()}
        figures = thinking_figures(arms)
        return figures | ({"budget_curve": self._budget_curve(settings, items)} if settings.budgets else {})

    def _thinking_arm(self, name: str, stage: str, settings: ThinkingConfig, items: list[Item]) -> Result:
        inputs = self._thinking_inputs(stage, settings) | {"max_new_tokens": settings.max_new_tokens}

        def measure() -> Result:
            engine = Engine.from_pretrained(self._model(stage), self.recipe.dtype)
            line = self.lines(f"think.{name}", len(items))
            with self._verifier(settings) as verifier:
                return measure_arm(engine, items, settings.max_new_tokens, line, verifier.score)

        return self.parts.measured(f"think.{name}", inputs, measure)

    def _budget_curve(self, settings: ThinkingConfig, items: list[Item]) -> Result:
        budgets = Budgets(settings.budgets, settings.answer_tokens)
        inputs = self._thinking_inputs(settings.rl, settings) | {"budgets": [list(budgets.tokens), budgets.answer, budgets.waits]}

        def measure() -> Result:
            engine = Engine.from_pretrained(self._model(settings.rl), self.recipe.dtype)
            chance, line = chance_levels(items), self.lines("think.budget_curve", len(items))
            with self._verifier(settings) as verifier:
                return measure_thinking(engine, items, budgets, chance, line, verifier.score)

        result = self.parts.measured("think.budget_curve", inputs, measure)
        write_atomic(self.folder / "think.budget_curve.csv", curve_csv(result["rows"]))
        return result

    def _thinking_inputs(self, stage: str, settings: ThinkingConfig) -> Result:
        problems = self.recipe.data / settings.source / f"{settings.split}.jsonl"
        inputs = {"model": fingerprint(self._model(stage)), "problems": fingerprint(problems), "dtype": str(self.run.dtype)}
        return inputs | {"score": thinking_score(self.recipe, settings)}

    def _verifier(self, settings: ThinkingConfig) -> Verifier:
        return Verifier(thinking_score(self.recipe, settings))

    def comparison(self, settings: ComparisonConfig) -> Result:
        trials = [self._trial(settings, kind, rate) for kind in KINDS for rate in settings.rates]
        return best_of(trials) | {"stage": settings.stage, "steps": settings.steps}

    def _trial(self, settings: ComparisonConfig, kind: OptimizerKind, rate: float) -> Result:
        stage = short_stage(self.recipe.stage(settings.stage), settings, kind, rate)
        processor = Processor.from_pretrained(self._model(stage.name))
        name = f"muon_vs_adamw.{kind}_{rate:g}"
        starts = [self._model(start) for start in (stage.language, stage.vision) if start and start not in self.recipe.imports]
        inputs = self._inputs(*starts) | {"stage": stage.model_dump(mode="json"), "seed": self.recipe.seed}

        def measure() -> Result:
            return measure_training(self.run, stage, processor, self.lines(name, settings.steps))

        return {"kind": kind, "lr": rate} | self.parts.measured(name, inputs, measure)

    def _model(self, stage: str) -> Path:
        return self.run.builder.model_folder(self.recipe.stage(stage).name)

    def _inputs(self, *models: Path) -> Result:
        """What every measurement of language depends on."""
        assert self.recipe.held_out_text is not None  # the recipe's own check
        text = self.recipe.data / self.recipe.held_out_text.source / f"{self.recipe.held_out_text.split}.jsonl"
        return {"models": [fingerprint(model) for model in models], "text": fingerprint(text), "dtype": str(self.run.dtype)}


def nested(flat: Mapping[str, Any]) -> Result:
    """Dots in keys become levels: {"a.b": 1, "a.c": 2} → {"a": {"b": 1, "c": 2}}.

    Raises: ConfigError if one key is the beginning of another, which cannot be both a value and a level.
    """
    tree: Result = {}
    for key, value in flat.items():
        *levels, last = key.split(".")
        branch: Any = tree
        for level in levels:
            branch = branch.setdefault(level, {})
            if not isinstance(branch, dict):
                raise ConfigError(f"evaluation key {key!r}: {level!r} is the name of a value already; rename one of them")
        if last in branch:
            raise ConfigError(f"evaluation key {key!r} is there twice, or begins another key; rename one of them")
        branch[last] = value
    return tree


def at(tree: Mapping[str, Any], key: str) -> Any:
    """The value behind a key with dots, None if there is none."""
    for level in key.split("."):
        tree = tree.get(level) if isinstance(tree, Mapping) else None  # type: ignore[assignment]
    return tree


def _check(run: Run) -> None:
    for stage in run.recipe.stages:
        if not run.is_finished(stage):
            raise ConfigError(f"stage {stage.name} of {run.folder} is not finished: train the run before it is measured")


def recalls(rows: Mapping[str, list[Result]]) -> dict[str, float]:
    """`before_4x`, … of every length, and at the headline's length also without the length: `before`, `after`."""
    by_key = {f"{when}_{row['multiple']}x": row["recall"] for when, table in rows.items() for row in table}
    headline = {when: by_key[f"{when}_{HEADLINE_MULTIPLE}x"] for when in rows if f"{when}_{HEADLINE_MULTIPLE}x" in by_key}
    return headline | by_key
