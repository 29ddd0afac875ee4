"""The folder of a run: what stands in it, what is skipped, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest

from kimivl.config.base import ConfigError
from kimivl.model.atomic import write_atomic
from kimivl.model.layout import load_model
from kimivl.processor.processor import Processor
from kimivl.train.metrics import read_metrics
from kimivl.train.run import Run


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_finished_stage_is_a_model_directory_with_its_metrics(finished):
    assert names(finished.folder) == {"recipe.json", "data.json", "processor", "stages"}
    official = {"config.json", "model.safetensors", "tiktoken.model", "preprocessor_config.json"}
    for stage in finished.recipe.stages:
        folder = finished.stages_folder / stage.name
        written = {"responses.jsonl"} if stage.kind == "rl" else set()
        assert names(folder) == {"model", "metrics.jsonl", "finished.json"} | written
        if stage.kind != "vit":
            assert official <= names(folder / "model")
            load_model(folder / "model")
            assert Processor.from_pretrained(folder / "model").tokenizer.vocab_size == 512
        assert [line["step"] for line in read_metrics(folder / "metrics.jsonl")] == [0, 1, 2]
        assert finished.is_finished(stage) and finished.finished(stage)["steps"] == 3
        seconds = sum(line["seconds"] for line in read_metrics(folder / "metrics.jsonl"))
        assert finished.finished(stage)["seconds"] >= seconds


def test_the_recipe_is_written_down_as_it_ran(finished):
    assert type(finished.recipe).model_validate_json((finished.folder / "recipe.json").read_text()) == finished.recipe


def test_held_out_text_is_followed_at_the_asked_steps_where_the_language_model_takes_part(finished):
    """Every 2 steps of 3, and at the last: 0 and 2. Stage 1 and the caption decoder have no language model to follow.

    Reinforcement learning follows its reward instead.
    """
    for stage in finished.recipe.stages:
        lines = read_metrics(finished.stages_folder / stage.name / "metrics.jsonl")
        followed = [line["step"] for line in lines if "held_out_text_loss" in line]
        assert followed == ([] if stage.name in ("vit", "decoder", "rl") else [0, 2]), stage.name


@pytest.mark.parametrize(("every", "steps"), [(1, [0, 1, 2, 3, 4]), (2, [0, 2, 4]), (3, [0, 3, 4]), (50, [0, 4])])
def test_the_last_step_is_always_followed(make_recipe, make_stage, tmp_path, every, steps):
    settings = {"source": "text", "samples": 1, "every": every}
    Run(make_recipe(make_stage("text", steps=5), held_out_text=settings), tmp_path).train()
    lines = read_metrics(tmp_path / "stages" / "text" / "metrics.jsonl")
    assert [line["step"] for line in lines if "held_out_text_loss" in line] == steps


def test_alignment_leaves_the_held_out_text_loss_as_it_was(finished):
    """The language model does not move there: the loss is that of the end of `text`, to the bit."""
    losses = {}
    for name in ("text", "align"):
        lines = read_metrics(finished.stages_folder / name / "metrics.jsonl")
        losses[name] = [line["held_out_text_loss"] for line in lines if "held_out_text_loss" in line]
    assert losses["align"] == [losses["text"][-1]] * 2


def test_a_finished_run_is_left_alone(finished):
    before = times(finished.stages_folder) | times(finished.folder / "processor")
    Run(finished.recipe, finished.folder).train()
    assert times(finished.stages_folder) | times(finished.folder / "processor") == before


def test_only_the_stages_that_are_not_finished_are_trained(finished, tmp_path):
    """Without `sft`'s mark of success it is trained again, from nothing, and ends with the same losses."""
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    (folder / "stages" / "sft" / "finished.json").unlink()
    before = times(folder)
    Run(finished.recipe, folder).train()
    written = {path for path, when in times(folder).items() if before.get(path) != when}
    assert {Path(path).relative_to(folder).parts[:2] for path in written} <= {
        (),
        ("recipe.json",),
        ("data.json",),
        ("stages",),
        ("stages", "sft"),
    }
    losses = [
        [line["loss"] for line in read_metrics(run / "stages" / "sft" / "metrics.jsonl")] for run in (finished.folder, folder)
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"seed": 4}, 'there "seed": 3, here "seed": 4'),
        ({"steps": 9}, 'there "steps": 3, here "steps": 9'),
        ({"held_out_text": {"source": "text"}}, 'there "held_out_text": null, here "held_out_text": {'),
    ],
)
def test_a_folder_of_another_recipe_is_refused_with_the_difference(make_recipe, make_stage, tmp_path, changes, difference):
    (tmp_path / "recipe.json").write_text(make_recipe(make_stage("text")).model_dump_json(indent=1))
    text = (tmp_path / "recipe.json").read_text()
    stage = make_stage("text", steps=changes.pop("steps", 3))
    with pytest.raises(ConfigError) as caught:
        Run(make_recipe(stage, **changes), tmp_path)
    assert str(caught.value).startswith(f"{tmp_path} holds a run of another recipe: {difference}. Choose another --name")
    assert (tmp_path / "recipe.json").read_text() == text


def test_a_finished_run_may_be_measured_in_another_way(finished, tmp_path):
    """Choosing on a validation split and reporting the test must not train twice."""
    shutil.copytree(finished.folder, tmp_path / "run")
    before = times(tmp_path / "run" / "stages")
    other = finished.recipe.evaluation.model_copy(update={"text_after": "text", "text_before": None})
    assert other != finished.recipe.evaluation
    recipe = finished.recipe.model_copy(update={"evaluation": other})
    Run(recipe, tmp_path / "run").train()
    assert times(tmp_path / "run" / "stages") == before
    assert type(recipe).model_validate_json((tmp_path / "run" / "recipe.json").read_text()) == recipe


def test_a_run_refuses_data_that_were_built_anew(make_recipe, make_stage, tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    recipe = make_recipe(make_stage("text"), data=root)
    built = {"words": "1a", "text": "2b"}
    (root / "manifest.json").write_text(json.dumps({"fingerprints": built}))
    write_atomic(tmp_path / "run" / "data.json", json.dumps(built))
    Run(recipe, tmp_path / "run")  # the same build
    (root / "manifest.json").write_text(json.dumps({"fingerprints": {"words": "9c", "text": "2b"}}))
    with pytest.raises(ConfigError, match=r"data was built anew since .*run began: words\. Choose another --name"):
        Run(recipe, tmp_path / "run")


def test_a_run_refuses_a_file_of_samples_that_was_changed(make_recipe, make_stage, data, tmp_path):
    """Another number of rows is another order: samples would repeat or be left out without a word."""
    root = tmp_path / "data"
    shutil.copytree(data, root)
    recipe = make_recipe(make_stage("text"), data=root)
    Run(recipe, tmp_path / "run").train()
    with (root / "text" / "train.jsonl").open("a") as file:
        file.write('{"id": "new", "content": "one more"}\n')
    with pytest.raises(ConfigError, match="was built anew since .*/run began: text"):
        Run(recipe, tmp_path / "run")


def test_opening_a_run_writes_nothing(make_recipe, make_stage, tmp_path):
    Run(make_recipe(make_stage("text")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_whose_recipe_was_written_before_a_key_existed_goes_on(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    path = tmp_path / "run" / "recipe.json"
    values = json.loads(path.read_text())
    del values["stages"][0]["checkpoint_every"]
    path.write_text(json.dumps(values))
    Run(finished.recipe, tmp_path / "run").train()
    assert json.loads(path.read_text())["stages"][0]["checkpoint_every"] == 200


def test_what_a_stage_left_that_died_as_it_finished_is_removed(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    left = tmp_path / "run" / "stages" / "text" / "checkpoint"
    left.mkdir()
    Run(finished.recipe, tmp_path / "run").train()
    assert not left.exists()


def test_a_missing_source_stops_a_stage_before_it_trains(make_recipe, make_stage, tmp_path):
    recipe = make_recipe(make_stage("text", mixture=[{"weights": {"text": 1, "nowhere": 1}}]))
    with pytest.raises(FileNotFoundError, match="data source 'nowhere' has no file"):
        Run(recipe, tmp_path).train()
    assert not (tmp_path / "stages").exists()


def test_problems_that_nothing_could_solve_are_told_before_the_first_stage(make_recipe, make_stage, tmp_path):
    policy = make_stage("rl", language="text", rl={"prompts": 2, "max_tokens": 8, "minibatches": 1, "score": "number"})
    with pytest.raises(ValueError, match="problem .*: the truth '.*' is no number"):
        Run(make_recipe(make_stage("text"), policy), tmp_path).train()
    assert names(tmp_path) == set()  # so that another rl.score may be tried in the same folder


HELD_OUT = {"key": "colors", "source": "colors", "split": "test_hard", "metric": "exact"}


@pytest.mark.parametrize(
    ("weights", "more", "missing"),
    [
        ({"colors": 1}, {"evaluation": {"benchmarks": [HELD_OUT]}}, "colors/test_hard.jsonl"),
        ({"colors": 1}, {"held_out_text": {"source": "captions"}}, "captions/test.jsonl"),
        ({"colors": 1, "nowhere": 1}, {}, "nowhere/train.jsonl"),
    ],
)
def test_data_that_only_the_end_needs_are_missed_before_the_first_stage(
    make_recipe, make_stage, data, tmp_path, weights, more, missing
):
    last = make_stage("sft", language="text", mixture=[{"weights": weights}])
    with pytest.raises(FileNotFoundError, match=rf"has no file {data / missing}; build it with `kimivl data build"):
        Run(make_recipe(make_stage("text"), last, **more), tmp_path).train()
    assert names(tmp_path) == set()


def test_a_finished_run_needs_no_data(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    recipe = finished.recipe.model_copy(update={"data": tmp_path / "gone"})
    (tmp_path / "run" / "recipe.json").write_text(recipe.model_dump_json(indent=1) + "\n")
    Run(recipe, tmp_path / "run").train()


def test_a_small_file_is_replaced_whole(tmp_path):
    path = tmp_path / "new" / "finished.json"
    for text in ("first", "second"):
        write_atomic(path, text)
        assert path.read_text() == text and names(path.parent) == {"finished.json"}


def test_a_small_file_that_cannot_be_written_is_named_and_the_old_one_stays(tmp_path):
    """Every write to /dev/full fails as it does on a full disk."""
    path = tmp_path / "finished.json"
    write_atomic(path, "old")
    (tmp_path / ".finished.json.new").symlink_to("/dev/full")
    with pytest.raises(OSError, match=rf"could not write {path}: .*No space left on device"):
        write_atomic(path, json.dumps({"steps": 3}))
    assert path.read_text() == "old" and names(tmp_path) == {"finished.json"}
