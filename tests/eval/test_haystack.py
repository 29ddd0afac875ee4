"""Needle documents have the asked length, hide the fact at the asked depth, and ask for what was never told in training."""

import json
import re

import numpy as np
import pytest

from kimivl.data.facts import VALUES
from kimivl.eval.haystack import Haystack, unused_facts
from kimivl.eval.needle import held_out_texts
from kimivl.processor.processor import Processor


@pytest.fixture(scope="module")
def processor(run):
    return Processor.from_pretrained(run.folder / "processor")


@pytest.fixture(scope="module")
def haystack(processor, recipe):
    return Haystack(held_out_texts(recipe.data, recipe.held_out_text), processor)


def make(haystack, tokens, depth, seed=0):
    return haystack.needle(tokens, depth, "Graz", "opal maple otter", np.random.default_rng(seed))


@pytest.mark.parametrize("tokens", [128, 300, 1000])
@pytest.mark.parametrize("depth", [0.0, 0.3, 0.5, 1.0])
def test_length_is_exact_to_two_per_cent(haystack, tokens, depth):
    for seed in range(5):
        needle = make(haystack, tokens, depth, seed)
        length = len(needle.prompt.ids) + needle.answer_tokens
        assert 0.98 * tokens <= length <= tokens


def test_the_document_is_text_with_one_fact_and_the_question(haystack, processor, recipe):
    text = processor.tokenizer.decode(make(haystack, 400, 0.4).prompt.ids)
    assert text.endswith("\nThe code of Graz is") and text.count("The code of") == 2
    before, after = re.split(r" ?The code of Graz is opal maple otter\. ?", text.removesuffix("\nThe code of Graz is"))
    held_out = "\n".join(held_out_texts(recipe.data, recipe.held_out_text)).split("\n")
    assert len(before) > 50 and len(after) > 50
    assert set(f"{before}\n{after}".split("\n")) <= set(held_out)  # whole sentences, all of held-out text


@pytest.mark.parametrize("depth", [0.0, 0.25, 0.75, 1.0])
def test_the_fact_stands_where_it_should(haystack, processor, depth):
    text = processor.tokenizer.decode(make(haystack, 1000, depth).prompt.ids)
    haystack_only = text.removesuffix("\nThe code of Graz is")
    before, after = haystack_only.split("The code of Graz is opal maple otter.")
    assert len(before) / (len(before) + len(after)) == pytest.approx(depth, abs=0.03)


def test_the_prompt_is_open(haystack, processor):
    assert processor.tokenizer.eos_id not in make(haystack, 200, 0.5).prompt.ids.tolist()


def test_equal_seeds_give_equal_documents(haystack):
    assert make(haystack, 300, 0.5, 1).prompt.ids.tolist() == make(haystack, 300, 0.5, 1).prompt.ids.tolist()
    assert make(haystack, 300, 0.5, 1).prompt.ids.tolist() != make(haystack, 300, 0.5, 2).prompt.ids.tolist()


def test_too_short_a_document_is_an_error(haystack):
    with pytest.raises(ValueError, match="no needle document of 20 tokens"):
        make(haystack, 20, 0.5)


def test_text_without_sentences_is_an_error(processor):
    with pytest.raises(ValueError, match="no sentences"):
        Haystack(["", "\n"], processor)


def test_facts_of_training_are_not_asked_for(recipe):
    names, values = unused_facts(recipe)
    assert "Lima" not in names and "Graz" in names
    assert len(values) == len(VALUES) - 12 and VALUES[0] not in values and VALUES[11] not in values and VALUES[12] in values


def test_names_and_values_told_anywhere_in_training_are_left_out(recipe, tmp_path):
    (tmp_path / "text").mkdir()
    told = f"In 1987 the code of Graz was {VALUES[7]}."
    (tmp_path / "text" / "train.jsonl").write_text(json.dumps({"id": "text-0", "content": told}) + "\n")
    mixture = (recipe.stages[0].mixture[0].model_copy(update={"weights": {"text": 1}}),)
    stage = recipe.stages[0].model_copy(update={"mixture": mixture})
    names, values = unused_facts(recipe.model_copy(update={"data": tmp_path, "stages": (stage,)}))
    assert "Graz" not in names and "Basel" in names
    assert set(VALUES) - set(values) == {VALUES[7]}
