"""Stage 1: L = L_siglip + 2 · L_caption, with the texts that belong to the images."""

import numpy as np
import pytest
import torch

from kimivl.data.batch import PackedBatch
from kimivl.data.sample import Sample
from kimivl.data.source import Source
from kimivl.model.coca import CoCa
from kimivl.ops.segments import Segments
from kimivl.processor.messages import ImagePart, TextPart
from kimivl.train.run import Run
from kimivl.train.stages.task import StepTotals
from kimivl.train.stages.vit import caption_texts, equal_rows, vit_task
from tests.pieces import pack, pieces_of

END, PAD = 500, 511


@pytest.fixture
def model(make_recipe, make_stage, tmp_path) -> CoCa:
    """With a temperature and a bias that are not those of the start."""
    recipe = make_recipe(make_stage("vit"))
    model = Run(recipe, tmp_path / "run").builder.coca(recipe.stages[0])
    with torch.no_grad():
        model.logit_scale.fill_(1.5)
        model.logit_bias.fill_(-0.7)
    return model


def captions(data, processor, rows: list[int]) -> PackedBatch:
    source = Source(data, "captions")
    return pack([piece for row in rows for piece in pieces_of(source[row], "captions", processor, 64)])


def batch_of(*segments: list[int]) -> PackedBatch:
    ids_T = torch.tensor([id for segment in segments for id in segment])
    lengths, names = [len(segment) for segment in segments], tuple(f"sample-{number}" for number in range(len(segments)))
    return PackedBatch(ids_T, ids_T, torch.ones(len(ids_T)), Segments(lengths), torch.zeros(0), [], names, names)


def test_a_text_is_what_follows_its_image_padded_and_cut_to_one_length():
    batch = batch_of([9, 9, END, 1, 2], [9, END, 3, 4, 5, 6], [END, 7, 8, 9], [9, END])
    assert caption_texts(batch, END, PAD, 3).tolist() == [[1, 2, PAD], [3, 4, 5], [7, 8, 9], [PAD, PAD, PAD]]


@pytest.mark.parametrize(("segment", "images"), [([1, 2, 3], 0), ([END, 1, END, 2], 2)])
def test_a_sample_that_is_no_pair_is_named(segment, images):
    with pytest.raises(ValueError, match=f"sample sample-1 has {images} images; the vit stage trains on one image and its text"):
        caption_texts(batch_of([END, 1], segment), END, PAD, 4)


def test_equal_texts_match_each_other_by_hand():
    rows = torch.tensor([[1, 2], [1, 3], [1, 2], [2, 1]])
    assert equal_rows(rows).int().tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]


def sigmoid_loss_by_hand(image_ND: np.ndarray, text_ND: np.ndarray, texts: list[str]) -> float:
    """SigLIP's pairwise loss in float64: every pair is a question with the answer "same text?"."""
    total = 0.0
    for image_D in range(len(texts)):
        for text_D in range(len(texts)):
            cosine = float(image_ND[image_D] @ text_ND[text_D])
            logit = np.exp(1.5) * cosine - 0.7
            total += np.log1p(np.exp(-logit if texts[image_D] == texts[text_D] else logit))
    return total / len(texts)


def unit(rows: torch.Tensor) -> np.ndarray:
    values = rows.detach().double().numpy()
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def test_the_loss_is_the_contrast_plus_twice_the_caption_by_hand(model, data, processor):
    """Rows 0 and 4 are both "red": they match crosswise. The text encoder reads 8 places, padded with [EOS]."""
    rows, texts = [0, 1, 4, 3], ["red", "lime", "red", "black"]
    batch = captions(data, processor, rows)
    result = vit_task(model, processor.tokenizer).pack_loss(batch, StepTotals(100.0, 2, sequences=1))

    eos = 256 + 1
    ids_NL = torch.tensor([list(text.encode()) + [eos] * (8 - len(text)) for text in texts])
    text_ND = unit(model.text_encoder(ids_NL))
    image_ND = unit(model.image_head(model.vision_tower(batch.patches_P, batch.grids), batch.grids))
    contrast = sigmoid_loss_by_hand(image_ND, text_ND, texts)

    output = model(batch.ids_T, batch.segments, batch.patches_P, batch.grids)
    logits_TV = model.language_model.logits(output.hidden_TD).detach().double().numpy()
    log_TV = logits_TV - np.log(np.exp(logits_TV).sum(-1, keepdims=True))
    losses_T = -log_TV[np.arange(len(batch.ids_T)), batch.labels_T.numpy()]
    caption = losses_T[batch.weights_T.numpy() == 1].sum()

    assert result.loss.item() == pytest.approx(contrast / 2 + 2 * caption / 100, rel=1e-5)  # 2 packs; a step of weight 100
    assert result.metrics["siglip"] == (pytest.approx(contrast, rel=1e-5), 1.0)
    assert result.metrics["loss"] == (pytest.approx(caption, rel=1e-6), float(batch.weights_T.sum()))
    assert result.load_LE == []


def test_a_mixture_decoder_is_balanced(make_recipe, make_stage, tmp_path, data, processor):
    """Its loads reach the bias rule, and its balance loss the gradient of its router."""
    mixture = make_recipe().model_config_.with_text(num_hidden_layers=2).text_config
    batch, losses = captions(data, processor, [0, 1, 2]), []
    for alpha in (0.0, 0.5):
        recipe = make_recipe(make_stage("vit"), caption_decoder=mixture.model_copy(update={"aux_loss_alpha": alpha}))
        model = Run(recipe, tmp_path / str(alpha)).builder.coca(recipe.stages[0])
        result = vit_task(model, processor.tokenizer).pack_loss(batch, StepTotals(10.0, 1, sequences=1))
        assert [int(load.sum()) for load in result.load_LE] == [2 * len(batch.ids_T)]  # one mixture layer, two experts a token
        losses.append(result.loss.item())
    assert losses[1] > losses[0] + 0.4  # α times a loss that is 1 where all experts are used alike, and more elsewhere


def test_two_pictures_of_one_text_are_no_mistake(model, data, processor):
    """With the same picture and text twice, all four pairs match: the loss is that of the pair alone, twice as often."""
    task = vit_task(model, processor.tokenizer)
    step = StepTotals(1.0, 1, sequences=1)
    once, twice = (task.pack_loss(captions(data, processor, rows), step).metrics["siglip"][0] for rows in ([0], [0, 0]))
    assert twice == pytest.approx(2 * once, rel=1e-5)


def test_gradients_reach_both_ends_of_the_comparison_and_the_decoder(model, data, processor):
    batch = captions(data, processor, [0, 1, 2])
    vit_task(model, processor.tokenizer).pack_loss(batch, StepTotals.of([batch])).loss.backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert not without
    for name in ("vision_tower.patch_embed.proj.weight", "text_encoder.head.weight", "image_head.probe", "logit_scale"):
        assert model.get_parameter(name).grad.abs().sum() > 0


def test_a_document_without_a_picture_is_refused(model, processor):
    sample = Sample("plain-1", content=(TextPart("no picture"),))
    batch = pack(pieces_of(sample, "plain", processor, 64))
    with pytest.raises(ValueError, match="plain-1 has 0 images"):
        vit_task(model, processor.tokenizer).pack_loss(batch, StepTotals(1.0, 1, sequences=1))


def test_text_in_front_of_a_picture_is_not_its_caption(data, processor):
    image = Source(data, "captions")[0].images[0]
    sample = Sample("a", content=(TextPart("before"), ImagePart(image.image), TextPart("ox")))
    batch = pack(pieces_of(sample, "a", processor, 64))
    end = processor.tokenizer.special("<|media_end|>")
    assert caption_texts(batch, end, processor.tokenizer.eos_id, 3).tolist() == [[ord("o"), ord("x"), 257]]
