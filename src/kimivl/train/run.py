"""Runs a recipe's stages in order: skips the finished ones, resumes the interrupted one.

What it is: the folder of a run and the order of work. What it is not: the loop of a stage (`loop.py`), the measuring of the
result (`eval/`), or the command line.

    runs/NAME/recipe.json               the recipe as it ran
    runs/NAME/data.json                 which build of the data it reads, where the data have a manifest
    runs/NAME/lock                      held by the process that trains
    runs/NAME/processor/                tokenizer and image settings
    runs/NAME/stages/STAGE/metrics.jsonl, checkpoint/   while it trains (and metrics.interrupted.jsonl, as of `metrics.py`)
    runs/NAME/stages/STAGE/data_log.jsonl               what was changed about its data meanwhile
    runs/NAME/stages/STAGE/model/, finished.json        when it is done; a `sample` stage has data in the place of a model
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from kimivl.config.base import ConfigError, parse, read_json
from kimivl.config.recipe import RecipeConfig, StageConfig
from kimivl.data.augment.documents import check_available
from kimivl.data.batch import PackedBatch
from kimivl.data.loader import Damaged, Loader, held_out_packs
from kimivl.data.log import DataLog
from kimivl.data.manifest.manifest import digest_of, is_far, is_manifest
from kimivl.data.source import Source, Sources, key_of, source_path
from kimivl.data.store.node import NodeFetcher
from kimivl.engine.engine import Engine
from kimivl.model.atomic import replaced_folder, write_atomic
from kimivl.model.average import average_models
from kimivl.model.kimi_vl import KimiVL
from kimivl.model.layout import save_model, save_weights
from kimivl.ops.dtype import compute_dtype
from kimivl.processor.processor import Processor
from kimivl.rl.problems import Problems, true_answers
from kimivl.rl.rollout import Limits, NativeRollouts
from kimivl.rl.shortest import pairs
from kimivl.rl.verifier import Verifier
from kimivl.train.build import Builder
from kimivl.train.claim import claimed
from kimivl.train.policy_trainer import PolicyTrainer
from kimivl.train.preference_trainer import PreferenceTrainer
from kimivl.train.rollout_engines import rollouts_for
from kimivl.train.sampling import AnswerSampling, read_groups
from kimivl.train.stages.language import language_task, mean_loss
from kimivl.train.stages.task import Task
from kimivl.train.stages.vit import vit_task
from kimivl.train.trainer import Trainer
from kimivl.train.vocabulary import prepare_processor

STORE_EVERY = 20  # steps between lines of metrics with the counts of the fetch service


class Run:
    """One run of a recipe in `folder`.

    Args:
        workers: processes that decode pictures ahead; what a run gives does not depend on it.
        damaged: what is done about samples with pictures that cannot be used, as of `Loader`.
    Raises: ConfigError if the folder holds a run of another recipe, or on another build of the data.
    """

    def __init__(self, recipe: RecipeConfig, folder: Path, workers: int = 0, damaged: Damaged = "stop"):
        self.recipe, self.folder, self.workers, self.damaged = recipe, folder, workers, damaged
        self.stages_folder = folder / "stages"
        self.dtype = compute_dtype(recipe.dtype)
        self.fetch = NodeFetcher(recipe.store)  # asks nothing before a picture lies in a store
        self.builder = Builder(recipe, self.stages_folder, self.dtype)
        self._check_recipe()
        self._check_build()

    def train(self) -> None:
        """Trains every stage that is not finished. Raises: FileNotFoundError, before the first, naming data that are missing."""
        unfinished = [stage for stage in self.recipe.stages if not self.is_finished(stage)]
        if unfinished:
            self._check_data()
        for stage in unfinished:
            self._check_problems(stage)
            for settings in stage.augment.values():
                check_available(settings)
        with claimed(self.folder):
            self._write_down()
            processor = prepare_processor(self.recipe, self.folder / "processor")
            for stage in unfinished:
                self._runner(stage)(stage, processor)

    def source(self, name: str) -> Source:
        """What a mixture calls by this name: what a `sample` stage wrote, else a folder of the data."""
        return Source(self.stages_folder if name in self.recipe.samplings else self.recipe.data, name, fetch=self.fetch)

    def sources(self, stage: StageConfig) -> dict[str, Source]:
        """All that the stage's mixture and its data log name. Raises: FileNotFoundError naming what is missing."""
        return Sources(self.source, dict.fromkeys([*stage.sources, *self.data_log(stage).sources]))

    def data_log(self, stage: StageConfig) -> DataLog:
        """What was changed about the stage's data since it began."""
        return DataLog(self.stages_folder / stage.name / "data_log.jsonl")

    def is_finished(self, stage: StageConfig) -> bool:
        return (self.stages_folder / stage.name / "finished.json").exists()

    def finished(self, stage: StageConfig) -> dict[str, Any]:
        """Seconds and steps of a finished stage."""
        values: dict[str, Any] = json.loads((self.stages_folder / stage.name / "finished.json").read_text())
        return values

    def _runner(self, stage: StageConfig) -> Callable[[StageConfig, Processor], None]:
        runners = {"rl": self._train_policy, "average": self._average, "sample": self._sample, "dpo": self._train_preferences}
        return runners.get(stage.kind, self._train_stage)

    def _train_stage(self, stage: StageConfig, processor: Processor) -> None:
        folder = self.stages_folder / stage.name
        task = self.task(stage, processor)
        loader = Loader(
            stage, self.sources(stage), processor, self.recipe.seed, workers=self.workers, log=self.data_log(stage),
            fetch=self.fetch, damaged=self.damaged,
        )  # fmt: skip
        held_out, every = self._held_out_text(stage, processor)
        far = any(is_far(folder) for folder in self.manifests.values())
        with closing(loader), _progress_bar() as bar:
            line = bar.add_task(stage.name, total=stage.steps, note="")

            def watch(step: int, metrics: dict[str, Any]) -> dict[str, Any]:
                bar.update(line, completed=step + 1, note=f"loss {metrics['loss']:.3f}")
                due = held_out and (step % every == 0 or step + 1 == stage.steps)
                followed = {"held_out_text_loss": mean_loss(task.model, held_out)} if due else {}
                return followed | ({"store": self.fetch.counts()} if far and step % STORE_EVERY == 0 else {})

            progress = Trainer(stage, task, loader, folder, watch).run()
        self._finish(stage, task.model, processor, {"steps": progress.step, "seconds": progress.seconds})

    def _train_policy(self, stage: StageConfig, processor: Processor) -> None:
        """A stage of reinforcement learning."""
        settings, folder = stage.rl, self.stages_folder / stage.name
        assert settings is not None  # the recipe's own check
        engine = Engine(self.builder.kimi_vl(stage), processor, stage.context)
        problems = Problems(self.source(stage.sources[0]), processor)
        with _progress_bar() as bar, Verifier(settings.score) as verifier:
            line = bar.add_task(stage.name, total=stage.steps, note="")

            def watch(step: int, metrics: dict[str, Any]) -> dict[str, Any]:
                note = f"right {metrics['right']:.2f}, {metrics['length']:.0f} tokens" if "right" in metrics else "writing"
                bar.update(line, completed=step + 1, note=note)
                return {}

            verifier.check_truths(problems.truths)
            seed = self._policy_seed(stage)
            with rollouts_for(settings, engine, problems, folder, seed) as rollouts:
                rates = self._pass_rates(settings.sampling.pass_rates)
                trainer = PolicyTrainer(stage, engine, problems, rollouts, verifier, folder, seed, watch, rates)
                progress = trainer.run()
        summary = {"steps": progress.step, "seconds": progress.seconds, "quarantined": trainer.sampler.quarantined}
        self._finish(stage, engine.model, processor, summary)

    def _pass_rates(self, sampled: str | None) -> dict[str, float]:
        """How often each problem of a `sample` stage was solved."""
        groups = read_groups(self.stages_folder / sampled) if sampled else []
        return {group.problem: sum(group.right) / len(group.right) for group in groups}

    def _policy_seed(self, stage: StageConfig) -> int:
        """Stages that start from the same model meet the same problems with the same draws; a stage behind another does not."""
        return key_of(self.recipe.seed, stage.kind, stage.language)

    def _average(self, stage: StageConfig, processor: Processor) -> None:
        """The mean of earlier stages' models."""
        assert stage.average is not None  # the recipe's own check
        start = time.perf_counter()
        model = average_models([self.builder.model_folder(name) for name in stage.average], self.dtype)
        self._finish(stage, model, processor, {"steps": 0, "seconds": time.perf_counter() - start})

    def _sample(self, stage: StageConfig, processor: Processor) -> None:
        """Answers to problems, as data for later stages."""
        settings, folder = stage.sample, self.stages_folder / stage.name
        assert settings is not None  # the recipe's own check
        engine = Engine(self.builder.kimi_vl(stage), processor, stage.context)
        limits = Limits(settings.max_tokens, settings.max_tokens, stage.context, settings.repeat_stop)
        rollouts = NativeRollouts(engine, limits, self._policy_seed(stage))
        problems = Problems(self.source(stage.sources[0]), processor)
        with _progress_bar() as bar, Verifier(settings.score) as verifier:
            line = bar.add_task(stage.name, total=settings.problems or len(problems.truths), note="")

            def watch(step: int, metrics: dict[str, Any]) -> dict[str, Any]:
                bar.update(line, completed=step + 1)
                return {}

            verifier.check_truths(problems.truths)
            summary = AnswerSampling(stage, problems, rollouts, verifier, folder, self.recipe.seed, watch).run()
        self._mark_finished(stage, {"steps": 0} | summary)

    def _train_preferences(self, stage: StageConfig, processor: Processor) -> None:
        """A stage of direct preference optimization."""
        sampled = self.recipe.stage(stage.sources[0])
        found = pairs(read_groups(self.stages_folder / sampled.name), processor.tokenizer.im_end_id)
        problems = Problems(self.source(sampled.sources[0]), processor)
        engine = Engine(self.builder.kimi_vl(stage), processor, stage.context)
        with _progress_bar() as bar:
            line = bar.add_task(stage.name, total=stage.steps, note="")

            def watch(step: int, metrics: dict[str, Any]) -> dict[str, Any]:
                bar.update(line, completed=step + 1, note=f"{len(found)} pairs, loss {metrics['loss']:.3f}")
                return {}

            folder = self.stages_folder / stage.name
            progress = PreferenceTrainer(stage, engine, problems, found, folder, self.recipe.seed, watch).run()
        summary = {"steps": progress.step, "seconds": progress.seconds, "pairs": len(found)}
        self._finish(stage, engine.model, processor, summary)

    def task(self, stage: StageConfig, processor: Processor) -> Task:
        """The stage's model at its start, and its loss."""
        if stage.kind == "vit":
            return vit_task(self.builder.coca(stage), processor.tokenizer)
        return language_task(self.builder.kimi_vl(stage), stage.kind)

    def _finish(self, stage: StageConfig, model: KimiVL, processor: Processor, summary: dict[str, Any]) -> None:
        """Turns a trained stage into its model directory. `finished.json` is written last: it is the mark of success."""
        folder = self.stages_folder / stage.name
        with replaced_folder(folder / "model") as new:
            if stage.kind == "vit":  # MoonViT lives on; the rest is kept for study
                save_weights(model, new)
            else:
                save_model(model, new)
                processor.save_pretrained(new)
        self._mark_finished(stage, summary)

    def _mark_finished(self, stage: StageConfig, summary: dict[str, Any]) -> None:
        write_atomic(self.stages_folder / stage.name / "finished.json", json.dumps(summary) + "\n")
        self._drop_checkpoint(stage)

    def _drop_checkpoint(self, stage: StageConfig) -> None:
        shutil.rmtree(self.stages_folder / stage.name / "checkpoint", ignore_errors=True)

    def _held_out_text(self, stage: StageConfig, processor: Processor) -> tuple[list[PackedBatch], int]:
        """The packs whose loss is followed, and every how many steps; none in stages that do not train the language model."""
        settings = self.recipe.held_out_text
        if settings is None or stage.kind == "vit" or stage.model == "caption_decoder":
            return [], 1
        source = Source(self.recipe.data, settings.source, settings.split)
        return held_out_packs(
            source, processor, self.recipe.pretraining_context, stage.pack_tokens, settings.samples
        ), settings.every

    def _write_down(self) -> None:
        """Writes down whose folder this is, and removes what a stage that died as it finished has left."""
        write_atomic(self.folder / "recipe.json", self.recipe.model_dump_json(indent=1) + "\n")
        if fingerprints := self.fingerprints:
            write_atomic(self.folder / "data.json", json.dumps(fingerprints, indent=1) + "\n")
        for stage in filter(self.is_finished, self.recipe.stages):
            self._drop_checkpoint(stage)

    def _check_recipe(self) -> None:
        path = self.folder / "recipe.json"
        if not path.exists():
            return
        there = parse(RecipeConfig, read_json(path), str(path))  # keys that came later have their defaults
        free = {"evaluation": self.recipe.evaluation, "store": self.recipe.store}  # neither changes what is trained
        there = there.model_copy(update=free)
        if there != self.recipe:
            difference = _first_difference(there.model_dump_json(indent=1), self.recipe.model_dump_json(indent=1))
            raise ConfigError(f"{self.folder} holds a run of another recipe: {difference}. {ADVICE}")

    def _check_build(self) -> None:
        """Later stages must not train on, nor scores be of, other samples than those that the first stages saw."""
        path, fingerprints = self.folder / "data.json", self.fingerprints
        kept = read_json(path) if path.exists() and fingerprints else fingerprints
        came_later = set(self._changed_sources) - set(kept)  # a data log brought them; they are held from now on
        names = {*kept, *fingerprints} - came_later
        if changed := sorted(name for name in names if kept.get(name) != fingerprints.get(name)):
            raise ConfigError(f"{self.recipe.data} was built anew since {self.folder} began: {', '.join(changed)}. {ADVICE}")

    @property
    def fingerprints(self) -> dict[str, str]:
        """Which build of each group of sources the data are, where they have a manifest of their build; else the contents of each
        source's file. Which manifest each source in a store has."""
        built = self.recipe.data / "manifest.json"
        manifests = {name: digest_of(folder) for name, folder in self.manifests.items()}
        if built.exists():
            return dict(read_json(built)["fingerprints"]) | manifests
        files = {name: self.recipe.data / name / "train.jsonl" for name in self._source_names if name not in manifests}
        return {name: _contents(path) for name, path in files.items() if path.exists()} | manifests

    @property
    def manifests(self) -> dict[str, Path]:
        """The manifests of sources in a store, by source."""
        folders = {name: self.recipe.data / name / "train.manifest" for name in self._source_names}
        return {name: folder for name, folder in folders.items() if is_manifest(folder)}

    @property
    def _source_names(self) -> list[str]:
        """Of all stages, those that their data logs brought among them."""
        own = [name for stage in self.recipe.stages for name in stage.sources]
        return list(dict.fromkeys([*own, *self._changed_sources]))

    @property
    def _changed_sources(self) -> list[str]:
        """All that the data logs give a share and the recipe does not name."""
        own = {name for stage in self.recipe.stages for name in stage.sources}
        return [name for stage in self.recipe.stages for name in self.data_log(stage).sources if name not in own]

    def _check_data(self) -> None:
        """What only a later stage or the evaluation reads must not be missed after all the stages before it."""
        names = [name for stage in self.recipe.stages for name in stage.sources if name not in self.recipe.samplings]
        training = [(name, "train") for name in names]
        for name, split in [*training, *self.recipe.held_out_files]:
            path = source_path(self.recipe.data, name, split)
            if path.is_dir() and (name, split) in self.recipe.held_out_files:
                raise ValueError(f"{path} is a manifest; held-out sets are JSONL files: write them with `kimivl data convert`")

    def _check_problems(self, stage: StageConfig) -> None:
        """A truth that no answer could meet must not end a run hours after its start.

        Raises: ValueError naming file, line or problem, and the fix.
        """
        settings = stage.rl or stage.sample
        if settings is None or stage.sources[0] in self.recipe.samplings:
            return
        with Verifier(settings.score) as verifier:
            verifier.check_truths(true_answers(self.source(stage.sources[0])))


ADVICE = "Choose another --name, or delete the folder to start anew"


def _contents(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]


def _first_difference(old: str, new: str) -> str:
    for before, after in zip(old.splitlines(), new.splitlines()):
        if before != after:
            return f"there {before.strip().rstrip(',')}, here {after.strip().rstrip(',')}"
    return "one has more keys"


def _progress_bar() -> Progress:
    columns = (TextColumn("{task.description:>14}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
    return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn())
