"""What a user names, or nothing, leads to the model that is meant, or to an error that says what to do."""

import json
import os

import pytest

from kimivl.engine.folders import find_model

STAGES = [  # name, kind, model
    ("text", "text", "kimi_vl"),
    ("decoder", "text", "caption_decoder"),
    ("vit", "vit", "kimi_vl"),
    ("sft", "sft", "kimi_vl"),
]


def make_run(folder, finished, time=0.0, **more):
    """A run's folder with these finished stages; `more` are further keys of its recipe."""
    folder.mkdir(parents=True)
    stages = [{"name": name, "kind": kind, "model": model} for name, kind, model in STAGES]
    (folder / "recipe.json").write_text(json.dumps({"stages": stages} | more))
    for name in finished:
        stage = folder / "stages" / name
        (stage / "model").mkdir(parents=True)
        (stage / "finished.json").write_text("{}")
        os.utime(stage / "finished.json", (time, time))
    return folder


def test_without_a_name_the_run_that_was_finished_last_is_taken(tmp_path):
    make_run(tmp_path / "old", ["text", "decoder", "vit", "sft"], time=100)
    newest = make_run(tmp_path / "a", ["text", "decoder", "vit", "sft"], time=200)
    make_run(tmp_path / "unfinished", ["text", "decoder", "vit"], time=300)
    assert find_model(None, tmp_path) == newest / "stages" / "sft" / "model"


def test_a_run_without_a_whole_model_is_passed_over(tmp_path):
    made = make_run(tmp_path / "a", ["text", "decoder", "vit", "sft"])
    make_run(tmp_path / "only_vision", ["vit"], time=300)
    (tmp_path / "only_vision" / "recipe.json").write_text('{"stages": [{"name": "vit", "kind": "vit", "model": "kimi_vl"}]}')
    assert find_model(None, tmp_path) == made / "stages" / "sft" / "model"


def test_a_damaged_recipe_is_named(tmp_path):
    (make_run(tmp_path / "a", ["text"]) / "recipe.json").write_text('{"stages": [')
    with pytest.raises(ValueError, match=r"a/recipe\.json: not valid JSON"):
        find_model(tmp_path / "a")


@pytest.mark.parametrize(
    ("finished", "stage"), [(["text", "decoder", "vit"], "text"), (["text", "decoder", "vit", "sft"], "sft")]
)
def test_a_run_means_its_last_finished_stage_that_is_a_whole_model(tmp_path, finished, stage):
    run = make_run(tmp_path / "run", finished)
    assert find_model(run) == run / "stages" / stage / "model"


@pytest.mark.parametrize(
    ("finished", "stage"), [(["text"], "text"), (["text", "think", "sft"], "think"), (["text", "sft"], "sft")]
)
def test_a_run_means_the_stage_that_its_recipe_names_for_chatting_once_it_is_finished(tmp_path, finished, stage):
    stages = [{"name": name, "kind": "sft", "model": "kimi_vl"} for name in ("text", "think", "sft")]
    run = make_run(tmp_path / "run", finished, stages=stages, chat_stage="think")
    assert find_model(run) == run / "stages" / stage / "model"


def test_a_recipe_that_names_no_stage_for_chatting_means_its_last_finished_one(tmp_path):
    run = make_run(tmp_path / "run", ["text", "decoder", "vit", "sft"], chat_stage=None)
    assert find_model(run) == run / "stages" / "sft" / "model"


def test_the_newest_run_too_chats_with_the_stage_that_its_recipe_names(tmp_path):
    make_run(tmp_path / "old", ["text", "decoder", "vit", "sft"], time=100)
    newest = make_run(tmp_path / "new", ["text", "decoder", "vit", "sft"], time=200, chat_stage="text")
    make_run(tmp_path / "unfinished", ["text", "decoder", "vit"], time=300, chat_stage="text")  # chats, but has not ended
    assert find_model(None, tmp_path) == newest / "stages" / "text" / "model"


def test_a_stage_of_samples_has_no_model(tmp_path):
    stages = [{"name": name, "kind": name, "model": "kimi_vl"} for name in ("sft", "sample")]
    run = make_run(tmp_path / "run", ["sft", "sample"], stages=stages)
    assert find_model(run) == find_model(None, tmp_path) == run / "stages" / "sft" / "model"


def test_a_model_directory_means_itself(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert find_model(tmp_path) == tmp_path


def test_what_leads_to_no_model_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    for given, message in (
        (tmp_path / "nowhere", "nowhere: there is no such folder"),
        (tmp_path / "empty", "empty is neither a model directory"),
        (make_run(tmp_path / "runs" / "new", []), "new has not finished a stage yet"),
        (None, "no finished run in .*kimivl run recipes/nano/recipe.yaml"),
    ):
        with pytest.raises(ValueError, match=message):
            find_model(given, tmp_path / "runs")
