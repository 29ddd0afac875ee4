"""Long answers made short, as a recipe: weights averaged, the shortest learned, pairs preferred, and a short limit in RL.

The problem is always the same: the right answer is "a" behind any number of spaces, each of them a token. A little model learns
to write up to seven of them, and now and then a wrong "b".
"""

import json

import pytest
import torch

from kimivl.data.source import Source
from kimivl.engine.folders import find_model
from kimivl.eval.facts import run_facts
from kimivl.eval.report_training import stages, training
from kimivl.model.layout import load_model
from kimivl.train.metrics import read_metrics
from kimivl.train.run import Run
from kimivl.train.sampling import read_groups

QUESTIONS = 24
FAST = [{"steps": 100, "start": 5e-3, "end": 5e-3}]
SLOW = [{"steps": 100, "start": 1e-3, "end": 1e-3}]
SAMPLE = {"samples": 8, "max_tokens": 16}


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    (root / "padded").mkdir()
    lines = []
    for number in range(QUESTIONS):
        asked = {"role": "user", "content": f"{number % 10}?"}
        answered = {"role": "assistant", "content": " " * (number % 8) + ("b" if number % 5 == 0 else "a")}
        lines.append({"id": f"p{number}", "messages": [asked, answered], "meta": {"answer": "a"}})
    (root / "padded" / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (root / "text").mkdir()
    (root / "text" / "train.jsonl").write_text(json.dumps({"id": "t", "content": "a"}) + "\n")
    return root


def sample(name: str, model: str) -> dict:
    padded = [{"weights": {"padded": 1}}]
    return {
        "name": name,
        "kind": "sample",
        "language": model,
        "vision": model,
        "context": 128,
        "mixture": padded,
        "sample": SAMPLE,
    }


@pytest.fixture(scope="module")
def recipe(make_recipe, make_stage, data_folder):
    start, padded, tries = {"language": "long", "vision": "long"}, [{"weights": {"padded": 1}}], [{"weights": {"tries": 1}}]
    short_limit = {"prompts": 8, "samples": 4, "max_tokens": 5, "minibatches": 2, "length_reward": {"weight": 0.5}}
    short_limit["sampling"] = {"easy_first": 2, "pass_rates": "tries"}
    return make_recipe(
        make_stage("sft", "long", steps=40, mixture=padded, schedule=FAST, pack_tokens=512),
        sample("tries", "long"),
        make_stage("sft", "shortest", steps=15, mixture=tries, schedule=FAST, pack_tokens=512, **start),
        make_stage(
            "dpo",
            "preferred",
            steps=20,
            schedule=SLOW,
            pack_tokens=1024,
            dpo={"pairs": 8},
            **start,
            mixture=[{"weights": {"tries": 1}}],
        ),
        make_stage("rl", "limited", steps=15, schedule=SLOW, pack_tokens=1024, mixture=padded, rl=short_limit, **start),
        {"name": "mean", "kind": "average", "average": ["long", "shortest"]},
        *(sample(f"tries_{model}", model) for model in ("shortest", "preferred", "limited", "mean")),
        data=data_folder,
        caption_decoder=None,
        text_encoder=None,
    )


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory) -> Run:
    run = Run(recipe, tmp_path_factory.mktemp("runs") / "run")
    run.train()
    return run


def length_of_right(run: Run, model: str) -> float:
    """Tokens of the right responses that were sampled from a stage's model."""
    name = "tries" if model == "long" else f"tries_{model}"
    lengths = [
        len(response.ids)
        for group in read_groups(run.stages_folder / name)
        for response, right in zip(group.responses, group.right)
        if right
    ]
    return sum(lengths) / len(lengths)


@pytest.mark.parametrize(("model", "share"), [("shortest", 0.7), ("preferred", 0.7), ("limited", 0.7), ("mean", 0.9)])
def test_right_answers_become_shorter(run, model, share):
    assert length_of_right(run, model) < share * length_of_right(run, "long")
    assert run.finished(run.recipe.stage(f"tries_{model}"))["length_right"] == length_of_right(run, model)


def test_a_sample_stage_is_a_source_beside_its_responses(run):
    folder = run.stages_folder / "tries"
    assert {path.name for path in folder.iterdir()} == {"responses.jsonl", "train.jsonl", "pictures", "finished.json"}
    groups, source = read_groups(folder), Source(run.stages_folder, "tries")
    assert sorted(group.problem for group in groups) == sorted(f"p{number}" for number in range(QUESTIONS))
    assert [group.problem for group in groups] != [f"p{number}" for number in range(QUESTIONS)]  # in the stage's own order
    assert {len(group.responses) for group in groups} == {8}
    kept = {source[row].id: source[row] for row in range(len(source))}
    for group in groups:
        lengths = [len(response.ids) for response in group.responses]
        ended = [text for text, response in zip(group.texts, group.responses) if response.finish == "stop"]
        right = [len(text) + 1 for text in ended if text.strip() == "a"]  # a token a letter, and the one that ends the turn
        assert (group.problem in kept) == bool(right)
        if right:
            origin = kept[group.problem].meta["sampled"]
            assert (origin["stage"], origin["model"], origin["seed"]) == ("tries", "long", 3)
            assert (origin["right"], origin["of"], origin["lengths"]) == (len(right), 8, lengths)
            assert lengths[origin["sample"]] == min(right) and kept[group.problem].meta["answer"] == "a"


def test_preferences_are_learned_from_all_pairs_of_the_sampled_responses(run):
    """Counted by hand: before the shortest right answer stand longer wrong ones, and right ones half again as long."""
    count = 0
    for group in read_groups(run.stages_folder / "tries"):
        lengths = [(len(response.ids), right) for response, right in zip(group.responses, group.right)]
        shortest = min((length for length, right in lengths if right), default=10**6)
        count += sum(2 * length >= 3 * shortest if right else length > shortest for length, right in lengths)
    assert run.finished(run.recipe.stage("preferred"))["pairs"] == count > 50
    lines = read_metrics(run.stages_folder / "preferred" / "metrics.jsonl")
    assert lines[0]["margin"] == 0 and lines[-1]["margin"] > 1 and lines[-1]["preferred"] > 0.8


def test_a_second_phase_of_rl_has_a_short_limit(run):
    lines = read_metrics(run.stages_folder / "limited" / "metrics.jsonl")
    assert lines[0]["truncated"] > 0.2 > lines[-1]["truncated"] and max(line["length"] for line in lines) <= 5


def test_a_curriculum_by_measured_pass_rates_begins_with_what_was_solved_most_often(run):
    """The first iteration draws 8 problems from the easiest 8 of 24."""
    rates = sorted((sum(group.right) for group in read_groups(run.stages_folder / "tries")), reverse=True)
    solved = {group.problem: sum(group.right) for group in read_groups(run.stages_folder / "tries")}
    first = read_metrics(run.stages_folder / "limited" / "responses.jsonl")[0]["problem"]
    assert solved[first] >= rates[7] > rates[-1]


def test_an_average_is_a_model_directory_without_training(run):
    folder = run.stages_folder / "mean"
    assert {path.name for path in folder.iterdir()} == {"model", "finished.json"} and run.finished(run.recipe.stages[-5])[
        "steps"
    ] == 0
    mean, one, other = (load_model(run.builder.model_folder(name)).state_dict() for name in ("mean", "long", "shortest"))
    for name, tensor in mean.items():
        torch.testing.assert_close(tensor, (one[name] + other[name]) / 2, msg=name)


def test_a_finished_run_is_left_alone_and_chats_with_its_last_model(run):
    before = {path: path.stat().st_mtime_ns for path in run.stages_folder.rglob("*")}
    Run(run.recipe, run.folder).train()
    assert {path: path.stat().st_mtime_ns for path in run.stages_folder.rglob("*")} == before
    assert find_model(run.folder, run.folder.parent) == run.builder.model_folder("mean")


def test_the_report_tells_of_every_stage(run):
    facts = run_facts(run)
    assert facts["stages"]["mean"]["loss"] is None and facts["stages"]["preferred"]["loss"] < 0.6
    assert facts["totals"]["steps"] == sum(stage.steps for stage in run.recipe.stages)
    sections = training(run, facts) + stages(run, facts)
    assert "direct preference optimization" in sections and "reinforcement learning" in sections
