"""The needle test asks evenly over depths and lengths, and counts only whole values."""

from dataclasses import dataclass

import pytest

from kimivl.engine.engine import Completion
from kimivl.eval.needle import by_depth, found, make_needles, measure_needles
from kimivl.processor.processor import Processor


@pytest.fixture(scope="module")
def needles(run, recipe):
    return make_needles(Processor.from_pretrained(run.folder / "processor"), recipe, recipe.evaluation.needle)


@dataclass
class Scripted:
    """A stand-in for the engine that answers what it is told to."""

    answers: list[str]

    def generate(self, prompts, sampling, progress):
        assert sampling.temperature == 0 and sampling.max_new_tokens > 3
        progress(len(prompts))
        return [Completion([], answer, "length", []) for answer in self.answers]


def test_depths_are_spread_evenly_at_every_length(needles):
    assert list(needles) == [1, 4]
    for multiple, hidden in needles.items():
        assert [needle.depth for needle in hidden] == [0.125, 0.375, 0.625, 0.875]
        assert all(0.98 * 128 * multiple <= len(needle.prompt.ids) + needle.answer_tokens <= 128 * multiple for needle in hidden)


def test_the_same_recipe_asks_the_same(needles, run, recipe):
    again = make_needles(Processor.from_pretrained(run.folder / "processor"), recipe, recipe.evaluation.needle)
    for multiple in needles:
        assert [needle.value for needle in again[multiple]] == [needle.value for needle in needles[multiple]]
        assert [needle.prompt.ids.tolist() for needle in again[multiple]] == [n.prompt.ids.tolist() for n in needles[multiple]]


def test_only_the_whole_value_is_found(needles):
    hidden, done = needles[1], []
    values = [needle.value for needle in hidden]
    told = [
        f" {values[0]}. The code",
        f" {values[1].split()[0]}.",
        f" {' '.join(values[2].split()[::-1])}.",
        f" the {values[3]}.",
    ]
    assert found(Scripted(told), hidden, done.append) == [True, False, False, False]
    assert done == [4]


def test_shares_by_depth():
    depths = [0.0, 0.05, 0.19, 0.55, 1.0]
    expected = [0.5, 1.0, None, None, None, 0.0, None, None, None, 1.0]
    assert by_depth(depths, [True, False, True, False, True]) == expected


def test_a_model_is_asked_beyond_its_own_context(run, needles):
    # the model of stage joint names 64 places; the documents have 128 and 512 tokens
    done = []
    result = measure_needles(run.stages_folder / "joint" / "model", "float32", needles, 128, done.append)
    assert [(row["multiple"], row["tokens"], row["items"]) for row in result["lengths"]] == [(1, 128, 4), (4, 512, 4)]
    assert all(0 <= row["low"] <= row["recall"] <= row["high"] <= 1 for row in result["lengths"])
    assert sum(done) == 8
