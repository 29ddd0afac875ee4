"""Counts and times of a run, checked against the published ones and against the stages' own files."""

import json

import pytest
import torch

from kimivl.config.model import preset
from kimivl.eval.facts import parameter_counts, run_facts, stage_facts


def test_parameters_of_the_published_model():
    counts = parameter_counts(preset("a3b"))
    assert (counts["total"], counts["vision"], counts["projector"]) == (16_407_656_048, 416_866_032, 30_679_808)
    assert counts["language"] == counts["total"] - counts["vision"] - counts["projector"]
    # 26 mixture layers, 58 of 64 experts idle, each 3 · 2048 · 1408 weights
    assert counts["active"] == counts["total"] - 26 * 58 * 3 * 2048 * 1408


def test_mini_has_the_size_of_the_reference_model():
    assert parameter_counts(preset("mini"))["language"] == pytest.approx(110.07e6, abs=5e3)


def test_a_stages_facts_are_sums_over_its_steps(run):
    stage = run.recipe.stage("vit")
    folder = run.stages_folder / "vit"
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    seconds = json.loads((folder / "finished.json").read_text())["seconds"]
    facts = stage_facts(run, stage)
    assert facts["tokens"] == steps[0]["tokens"] + steps[1]["tokens"] and facts["patches"] > 0
    assert facts["steps"] == 2 and facts["kind"] == "vit" and facts["loss"] == steps[1]["loss"]
    assert facts["minutes"] == pytest.approx(seconds / 60)
    assert facts["tokens_per_second"] == pytest.approx(facts["tokens"] / seconds)


def test_the_runs_facts_add_up(run):
    facts = run_facts(run)
    assert list(facts["stages"]) == [stage.name for stage in run.recipe.stages]
    minutes = [stage["minutes"] for stage in facts["stages"].values()]  # the first seven lead to the model that chats
    assert facts["train_minutes"] == pytest.approx(sum(minutes[:7])) and facts["think_minutes"] == pytest.approx(sum(minutes[7:]))
    assert facts["totals"]["steps"] == 20 and facts["seed"] == 3
    assert facts["machine"]["dtype"] == "float32" and facts["machine"]["versions"]["torch"] == torch.__version__
    assert json.loads(json.dumps(facts)) == facts
