"""The summary holds every key that was asked for, is written whole, and is made from finished parts only."""

import json

import pytest

from kimivl.config.base import ConfigError
from kimivl.eval.summary import at, check_questions, measure_run, nested, recalls
from kimivl.train.run import Run


@pytest.fixture(scope="module")
def summary(run):
    return measure_run(run)


def test_keys_of_the_issue_are_there(summary):
    keys = """train_minutes easy_vqa_test_accuracy easy_vqa_blind_accuracy easy_vqa_shuffled_accuracy reading_cer.known_fonts
    pointing_hit_rate text_loss_before text_loss_after needle_recall.before needle_recall.after needle_recall.after_1x
    muon_vs_adamw.muon.loss muon_vs_adamw.adamw.lr stages.vit.tokens_per_second stages.sft.minutes
    parameters.total parameters.active totals.tokens
    think_minutes think.direct_accuracy think.sft_accuracy think.rl_accuracy think.sft_minus_direct think.rl_minus_sft
    think.rl_minus_sft_error think.mean_tokens_rl think.budget_curve.rows
    machine.cores machine.versions.torch seed""".split()
    assert [key for key in keys if at(summary, key) is None] == []


def test_the_file_is_the_summary(summary, run):
    assert json.loads((run.folder / "summary.json").read_text()) == json.loads(json.dumps(summary))


def test_scores_are_those_of_the_kept_parts(summary, run):
    for key, result in summary["details"].items():
        kept = json.loads((run.folder / "evaluation" / f"{key}.json").read_text())["result"]
        assert kept == result and at(summary, key) == result["score"]
    assert len(summary["muon_vs_adamw"]["all"]) == 4
    assert [row["tokens"] for row in summary["needle"]["table"]["after"]] == [128, 512]


def test_a_second_call_measures_nothing(summary, run, monkeypatch):
    for name in ("benchmarks.Engine", "needle.Engine", "comparison.Trainer", "text_loss.load_model"):
        monkeypatch.setattr(f"kimivl.eval.{name}", None)  # would fail if it were used
    assert measure_run(run) == summary


def test_a_lost_part_alone_is_measured_again(summary, run, monkeypatch):
    for name in ("benchmarks.Engine", "needle.Engine", "comparison.Trainer"):
        monkeypatch.setattr(f"kimivl.eval.{name}", None)
    (run.folder / "evaluation" / "text_loss_after.json").unlink()
    assert measure_run(run)["text_loss_after"] == pytest.approx(summary["text_loss_after"])


def test_an_unfinished_run_is_not_measured(recipe, tmp_path):
    with pytest.raises(ConfigError, match="stage text of .* is not finished"):
        measure_run(Run(recipe, tmp_path / "nano"))


def test_a_question_that_nothing_could_answer_shows_before_anything_trains(recipe, tmp_path):
    evaluation = recipe.evaluation.model_copy(update={"benchmarks": ()})
    asked = recipe.model_copy(update={"data": tmp_path, "evaluation": evaluation})
    path = tmp_path / evaluation.thinking.source / f"{evaluation.thinking.split}.jsonl"
    path.parent.mkdir()
    with pytest.raises(FileNotFoundError, match=str(path)):
        check_questions(asked)
    record = {"id": "p1", "messages": [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": "red"}]}
    path.write_text(json.dumps(record | {"meta": {"answer": "red"}}))
    check_questions(asked)
    path.write_text(json.dumps(record | {"meta": {"answer": "."}}))
    with pytest.raises(ValueError, match="problem p1: the truth '.' is empty"):
        check_questions(asked)
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"id p1.*a test record has its true answer"):
        check_questions(asked)


def test_dots_become_levels():
    assert nested({"a.b": 1, "a.c": 2, "d": 3}) == {"a": {"b": 1, "c": 2}, "d": 3}
    assert at({"a": {"b": 1}}, "a.b") == 1
    assert at({"a": {"b": 1}}, "a.c") is None and at({"a": 1}, "a.b") is None


@pytest.mark.parametrize("flat", [{"a": 1, "a.b": 2}, {"a.b": 2, "a": 1}])
def test_a_key_cannot_be_a_value_and_a_level(flat):
    with pytest.raises(ConfigError, match="rename one of them"):
        nested(flat)


def test_recalls_at_four_times_the_context_are_the_headline():
    before = [{"multiple": 1, "recall": 0.9}, {"multiple": 4, "recall": 0.1}]
    table = {"before": before, "after": [{"multiple": 16, "recall": 0.8}]}
    assert recalls(table) == {"before_1x": 0.9, "before_4x": 0.1, "after_16x": 0.8, "before": 0.1}
