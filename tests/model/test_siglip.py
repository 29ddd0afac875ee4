"""SigLIP's text encoder and image head equal transformers', and the head takes images of unequal sizes."""

import pytest
import torch
from transformers import SiglipTextConfig, SiglipTextModel, SiglipVisionConfig
from transformers.models.siglip.modeling_siglip import SiglipMultiheadAttentionPoolingHead

from kimivl.config.model import TextEncoderConfig
from kimivl.model.siglip import ImageHead, TextEncoder

SHAPE = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 72, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 16, "projection_size": 48,
}  # fmt: skip


@pytest.mark.parametrize("length", [16, 5, 1])
@torch.no_grad()
def test_text_vectors_are_those_of_transformers(randomise, length):
    ours = randomise(TextEncoder(TextEncoderConfig(**SHAPE)))
    peer = SiglipTextModel(SiglipTextConfig(**SHAPE)).eval()
    peer.load_state_dict(ours.state_dict())
    ids_BL = torch.randint(300, (7, length), generator=torch.Generator().manual_seed(2))
    expected = peer(input_ids=ids_BL).pooler_output
    assert expected.std() > 0.3
    torch.testing.assert_close(ours(ids_BL), expected, atol=1e-4, rtol=0)


def test_texts_longer_than_the_positions_are_refused():
    with pytest.raises(ValueError, match="texts of 17 tokens, but the text encoder has 16 positions"):
        TextEncoder(TextEncoderConfig(**SHAPE))(torch.zeros(2, 17, dtype=torch.int64))


def test_images_of_unequal_sizes_are_pooled_as_transformers_pools_each(tiny, randomise, images):
    vision = tiny.vision_config
    ours = randomise(ImageHead(vision))
    config = SiglipVisionConfig(hidden_size=vision.hidden_size, intermediate_size=vision.intermediate_size, num_attention_heads=4)
    peer = SiglipMultiheadAttentionPoolingHead(config).eval()
    peer.load_state_dict(ours.state_dict())

    _, grids = images
    lengths = [rows * columns for rows, columns in grids]
    x_PD = 2 * torch.randn(sum(lengths), vision.hidden_size, requires_grad=True)
    pooled_ND = ours(x_PD, grids)
    expected = torch.cat([peer(image[None]) for image in x_PD.split(lengths)])
    assert expected.std() > 0.3
    torch.testing.assert_close(pooled_ND, expected, atol=1e-4, rtol=0)

    weights = torch.randn_like(expected)
    mine, theirs = (torch.autograd.grad((y * weights).sum(), x_PD)[0] for y in (pooled_ND, expected))
    torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=0)
