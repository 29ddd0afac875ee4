"""The optimizer comparison gives both the same short stage, and chooses without looking at what it reports."""

import pytest

from kimivl.config.evaluation import ComparisonConfig
from kimivl.config.recipe import PhaseConfig
from kimivl.eval.comparison import best_of, measure_training, short_stage
from kimivl.optim.schedule import Phase, Schedule
from kimivl.processor.processor import Processor


def stage_with(recipe, *phases, start=0):
    schedule = tuple(PhaseConfig(steps=steps, start=a, end=b, shape=shape) for steps, a, b, shape in phases)
    return recipe.stages[0].model_copy(update={"schedule": schedule, "schedule_start": start})


def settings(steps, rate=1e-2):
    return ComparisonConfig(stage="text", steps=steps, rates=(rate,))


def test_warm_up_and_decay_are_squeezed_and_scaled(recipe):
    stage = stage_with(recipe, (20, 0, 4e-3, "linear"), (180, 4e-3, 1e-3, "cosine"), (500, 1e-3, 0, "linear"), start=7)
    short = short_stage(stage, settings(50), "adamw", 1e-2)
    assert [(p.steps, p.start, p.end, p.shape) for p in short.schedule] == [
        (5, 0.0, pytest.approx(1e-2), "linear"),
        (45, pytest.approx(1e-2), pytest.approx(2.5e-3), "cosine"),
    ]
    assert (short.steps, short.schedule_start, short.optimizer.kind) == (50, 0, "adamw")
    assert short.mixture == stage.mixture and short.optimizer.weight_decay == stage.optimizer.weight_decay


def test_a_short_warm_up_keeps_one_step_and_the_peak_is_reached(recipe):
    stage = stage_with(recipe, (1, 0, 4e-3, "linear"), (999, 4e-3, 4e-4, "cosine"))
    schedule = Schedule(Phase(**phase.model_dump()) for phase in short_stage(stage, settings(60), "muon", 3e-3).schedule)
    assert schedule.total_steps == 60
    assert max(schedule.lr(step) for step in range(60)) == pytest.approx(3e-3)


def test_only_the_optimizer_differs(recipe):
    muon, adamw = (short_stage(recipe.stages[0], settings(10), kind, 1e-3) for kind in ("muon", "adamw"))
    assert muon.optimizer.kind == "muon" and adamw.optimizer.kind == "adamw"
    assert muon.model_copy(update={"optimizer": adamw.optimizer}) == adamw


def trial(kind, lr, train_loss, loss):
    return {"kind": kind, "lr": lr, "train_loss": train_loss, "loss": loss, "seconds": 1.0}


def test_the_rate_is_chosen_by_training_loss():
    trials = [trial("muon", 1e-3, 3.0, 2.9), trial("muon", 1e-2, 2.8, 3.1)]
    trials += [trial("adamw", 1e-3, 3.2, 3.3), trial("adamw", 1, None, None)]
    best = best_of(trials)
    assert best["muon"] == {"loss": 3.1, "lr": 1e-2}
    assert best["adamw"] == {"loss": 3.3, "lr": 1e-3}
    assert best["all"] == trials


def test_an_optimizer_that_always_diverged_has_no_best():
    assert best_of([trial("muon", 1, None, None)])["muon"] is None


def test_training_is_reproducible_and_leaves_the_run_alone(run):
    processor = Processor.from_pretrained(run.folder / "processor")
    stage = short_stage(run.recipe.stages[0], settings(2), "adamw", 1e-2)
    before = sorted(path.name for path in run.folder.rglob("*"))
    done = []
    first, second = (measure_training(run, stage, processor, done.append) for _ in range(2))
    assert (first["loss"], first["train_loss"]) == (second["loss"], second["train_loss"])
    assert sum(done) == 4 and sorted(path.name for path in run.folder.rglob("*")) == before


def test_a_diverged_run_is_a_result(run, monkeypatch):
    def diverge(self):
        raise FloatingPointError("the loss is nan")

    monkeypatch.setattr("kimivl.eval.comparison.Trainer.run", diverge)
    stage = short_stage(run.recipe.stages[0], settings(2), "adamw", 1e-2)
    result = measure_training(run, stage, Processor.from_pretrained(run.folder / "processor"), lambda items: None)
    assert result == {"loss": None, "train_loss": None, "seconds": None}
