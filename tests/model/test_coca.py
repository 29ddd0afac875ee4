"""The ViT stage's model: images are encoded once for two objectives."""

import math

import pytest
import torch

from kimivl.config.model import TextEncoderConfig
from kimivl.model.coca import CoCa, siglip_loss
from kimivl.model.layout import load_weights, save_weights
from kimivl.ops.segments import Segments

TEXT = {
    "vocab_size": 320, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "max_position_embeddings": 8,
}  # fmt: skip


@pytest.fixture
def coca(tiny, randomise):
    return randomise(CoCa(tiny, TextEncoderConfig(projection_size=48, **TEXT)))


def caption_ids(config, grids) -> tuple[torch.Tensor, Segments]:
    """For each image one caption: its places, then four words."""
    texts = [torch.cat([torch.full((r * c // 4,), config.media_placeholder_token_id), torch.arange(4)]) for r, c in grids]
    return torch.cat(texts), Segments([len(text) for text in texts])


@torch.no_grad()
def test_captions_read_the_features_that_the_whole_model_would_encode(coca, images):
    patches, grids = images
    ids, segments = caption_ids(coca.config, grids)
    pooled_ND, features = coca.image_embeddings(patches, grids)
    torch.testing.assert_close(features, coca.image_features(patches, grids))
    torch.testing.assert_close(coca.caption(ids, segments, features).hidden_TD, coca(ids, segments, patches, grids).hidden_TD)
    assert pooled_ND.shape == (3, 48)


@torch.no_grad()
def test_both_ends_give_unit_vectors_in_float32(coca, images):
    coca.dtype = torch.bfloat16
    for vectors in (coca.image_embeddings(*images)[0], coca.text_embeddings(torch.randint(320, (3, 8)))):
        assert vectors.dtype == torch.float32
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(3))


@torch.no_grad()
def test_the_result_for_an_image_does_not_depend_on_its_neighbours(coca, images):
    patches, grids = images
    pooled_ND, _ = coca.image_embeddings(patches, grids)
    alone, _ = coca.image_embeddings(patches[64 : 64 + 24], grids[1:2])
    torch.testing.assert_close(pooled_ND[1:2], alone, atol=1e-5, rtol=1e-4)


def test_the_loss_by_hand():
    """Two pairs, scale 2, bias −1. Cosines: own 1 and 0.6, crossed 0 and 0.8."""
    image_ND = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    text_ND = torch.tensor([[1.0, 0.0], [0.8, 0.6]])

    def cost(sign: int, cosine: float) -> float:
        return math.log(1 + math.exp(-sign * (2 * cosine - 1)))

    expected = (cost(1, 1.0) + cost(-1, 0.8) + cost(-1, 0.0) + cost(1, 0.6)) / 2
    assert siglip_loss(image_ND, text_ND, torch.tensor(2.0), torch.tensor(-1.0)).item() == pytest.approx(expected)


def test_every_parameter_learns_from_the_two_objectives_together(coca, images):
    patches, grids = images
    ids, segments = caption_ids(coca.config, grids)
    image_ND, features = coca.image_embeddings(patches, grids)
    text_ND = coca.text_embeddings(torch.arange(24).view(3, 8))
    contrastive = siglip_loss(image_ND, text_ND, coca.logit_scale.exp(), coca.logit_bias)
    captioning = coca.language_model.logits(coca.caption(ids, segments, features).hidden_TD).square().mean()
    (contrastive + 2 * captioning).backward()
    without = {name for name, parameter in coca.named_parameters() if parameter.grad is None or parameter.grad.abs().sum() == 0}
    assert not without


def test_its_weights_are_saved_by_name_and_the_vision_tower_lives_on(tiny, coca, randomise, tmp_path):
    save_weights(coca, tmp_path / "w")
    other = randomise(CoCa(tiny, TextEncoderConfig(projection_size=48, **TEXT)), seed=1)
    load_weights(other, tmp_path / "w")
    for (name, mine), theirs in zip(coca.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), name


def test_ends_of_unequal_width_are_refused(tiny):
    with pytest.raises(ValueError, match="projection_size 40 must equal vision_config.hidden_size 48"):
        CoCa(tiny, TextEncoderConfig(projection_size=40, **TEXT))
