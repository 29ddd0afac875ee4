"""Benchmarks: answers become scores and lines, per set and control; counting is checked by hand with a scripted engine."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from kimivl.engine.engine import Completion
from kimivl.eval.benchmarks import METRICS, answer, evaluate_model, rate
from kimivl.eval.items import Item, load_items
from kimivl.eval.parts import Parts


def item(truth, outline=None, name="a"):
    return Item(name, (), "?", truth, (), outline)


@dataclass
class Echo:
    """A stand-in for the engine: answers with the number of tokens of each prompt."""

    processor: object

    def generate(self, prompts, sampling, progress):
        progress(len(prompts))
        return [Completion([], f" {len(prompt.ids)}\n", "stop", []) for prompt in prompts]


SQUARE = ((0.4, 0.4), (0.6, 0.4), (0.6, 0.6), (0.4, 0.6))


def test_scores_by_hand():
    assert METRICS["exact"]("Red.", item("red")) == (1.0, 1.0)
    assert METRICS["exact"]("blue", item("red")) == (0.0, 1.0)
    assert METRICS["character_error_rate"]("wird", item("word")) == (1.0, 4.0)
    assert METRICS["point_in_outline"]("0.5 0.5", item("", SQUARE)) == (1.0, 1.0)
    assert METRICS["point_in_outline"]("nothing", item("", SQUARE)) == (0.0, 1.0)


def test_pointing_without_an_outline_names_the_record():
    with pytest.raises(ValueError, match="record p7 has no outline"):
        METRICS["point_in_outline"]("0.5 0.5", item("", name="p7"))


def test_a_sets_score_is_the_sum_over_the_sum():
    result = rate([(1.0, 4.0), (0.0, 16.0)], [item("word", name="a"), item("sixteen letters.", name="b")])
    assert result["score"] == pytest.approx(1 / 20)
    assert result["low"] == 0.0 and result["high"] == pytest.approx(1 / 4)


def test_answers_come_in_the_order_of_the_questions_without_space_around(run, data):
    from kimivl.processor.processor import Processor

    processor = Processor.from_pretrained(run.folder / "processor")
    items = load_items(data, "colors", "test")
    done = []
    answers = answer(Echo(processor), items, 4, done.append)
    lengths = [len(processor.encode_chat(one.messages, add_generation_prompt=True).ids) for one in items]
    assert answers == [str(length) for length in lengths]
    assert len(np.unique(lengths)) > 1 and sum(done) == len(items)


@pytest.fixture(scope="module")
def output(run, recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    return folder, evaluate_model(run.stages_folder / "sft" / "model", recipe, folder)


def test_every_benchmark_and_control_has_a_result(output):
    _, results = output
    assert list(results) == [
        "easy_vqa_test_accuracy", "easy_vqa_blind_accuracy", "easy_vqa_shuffled_accuracy",
        "reading_cer.known_fonts", "pointing_hit_rate",
    ]  # fmt: skip
    assert [results[key]["control"] for key in results] == [None, "blank", "shuffled", None, None]
    assert [results[key]["items"] for key in results] == [12, 12, 12, 12, 6]
    assert all(results[key]["low"] <= results[key]["score"] <= results[key]["high"] for key in results)


def test_every_answer_is_kept_and_the_score_follows_from_the_lines(output, data):
    folder, results = output
    for key, result in results.items():
        lines = [json.loads(line) for line in (folder / f"{key}.jsonl").read_text().splitlines()]
        assert len(lines) == result["items"]
        if result["metric"] != "character_error_rate":
            assert result["score"] == pytest.approx(sum(line["score"] for line in lines) / len(lines))
        else:
            edits = sum(line["score"] * len(line["truth"]) for line in lines)
            assert result["score"] == pytest.approx(edits / sum(len(line["truth"]) for line in lines))
        shown = [name for line in lines for name in line["images"]]
        assert all((data / name).is_file() for name in shown) and bool(shown) == (result["control"] != "blank")


def test_finished_benchmarks_are_not_answered_again(output, run, recipe, monkeypatch):
    folder, results = output
    monkeypatch.setattr("kimivl.eval.benchmarks.Engine", None)  # would fail if it were used
    assert evaluate_model(run.stages_folder / "sft" / "model", recipe, folder) == results


def test_another_model_is_answered_anew(output, run, recipe, monkeypatch):
    folder, _ = output
    measured = []
    monkeypatch.setattr(Parts, "measured", lambda self, name, inputs, measure: measured.append(inputs["model"]) or {})
    evaluate_model(run.stages_folder / "sft" / "model", recipe, folder)
    evaluate_model(run.stages_folder / "joint" / "model", recipe, folder)
    assert len(set(measured)) == 2


def test_a_missing_split_is_named(run, recipe, tmp_path):
    broken = recipe.model_copy(update={"data": tmp_path})
    with pytest.raises(FileNotFoundError, match=r"colors/test\.jsonl"):
        evaluate_model(run.stages_folder / "sft" / "model", broken, tmp_path)
