"""The held-out text loss is the mean over all tokens of the whole split, each within one pre-training context."""

import pytest
import torch

from kimivl.data.source import Source
from kimivl.eval.text_loss import measure_text_loss, text_packs
from kimivl.model.layout import load_model
from kimivl.ops.segments import Segments
from kimivl.processor.processor import Processor


def test_equal_to_one_text_after_the_other(run, recipe):
    folder = run.stages_folder / "text" / "model"
    processor, model = Processor.from_pretrained(folder), load_model(folder)
    source, total, count = Source(recipe.data, "text", "test"), 0.0, 0
    for row in range(len(source)):
        ids = torch.from_numpy(processor.encode_document(source[row].content).ids)
        for start in range(0, len(ids) - 1, 64):
            part, labels = ids[:-1][start : start + 64], ids[1:][start : start + 64]
            with torch.no_grad():
                logits = model.language_model.logits(model(part, Segments([len(part)])).hidden_TD)
            total += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
            count += len(labels)
    done = []
    result = measure_text_loss(folder, recipe, torch.float32, done.append)
    assert result == {"loss": pytest.approx(total / count, rel=1e-5), "tokens": count}
    assert done == [1]


def test_context_is_that_of_pretraining(recipe):
    assert recipe.pretraining_context == 64  # long and sft have 256


def test_fewer_samples_are_the_first_ones(run, recipe):
    processor = Processor.from_pretrained(run.folder / "processor")
    assert names(text_packs(recipe, processor, 2)) == {"text-test-0", "text-test-1"}
    assert names(text_packs(recipe, processor)) == {f"text-test-{row}" for row in range(6)}


def names(packs):
    return {name for pack in packs for name in pack.sample_ids}
