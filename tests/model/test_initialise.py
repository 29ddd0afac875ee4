"""Initial weights depend on seed and name alone."""

import math

import pytest
import torch
from torch import nn

from kimivl.config.model import TextEncoderConfig
from kimivl.model.coca import CoCa
from kimivl.model.initialise import initialise, position_waves
from kimivl.model.kimi_vl import KimiVL


@pytest.fixture
def model(tiny):
    model = KimiVL(tiny)
    initialise(model, seed=7, std=0.02)
    return model


def equal_names(one: nn.Module, other: nn.Module) -> set[str]:
    theirs = other.state_dict()
    return {name for name, value in one.state_dict().items() if name in theirs and torch.equal(value, theirs[name])}


def test_the_same_seed_gives_the_same_weights_whatever_was_drawn_before(tiny, model):
    torch.manual_seed(999)
    torch.randn(10)
    again = KimiVL(tiny)
    initialise(again, seed=7, std=0.02)
    assert equal_names(model, again) == set(model.state_dict())


def test_a_parameter_keeps_its_values_in_another_model(tiny, model):
    """The decoder of a model with text encoder and image head starts as the decoder of one without."""
    coca = CoCa(tiny, text_encoder(tiny))
    initialise(coca, seed=7, std=0.02)
    assert equal_names(model, coca) == set(model.state_dict())


def test_another_seed_or_another_name_gives_other_weights(tiny, model):
    other = KimiVL(tiny)
    initialise(other, seed=8, std=0.02)
    constant = {name for name, value in model.state_dict().items() if value.unique().numel() == 1}
    assert equal_names(model, other) == constant | {"vision_tower.patch_embed.pos_emb.weight"}
    layers = model.language_model.model.layers
    assert not torch.equal(layers[1].self_attn.q_proj.weight, layers[2].self_attn.q_proj.weight)


def text_encoder(tiny) -> TextEncoderConfig:
    return TextEncoderConfig(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=2,
        max_position_embeddings=8, projection_size=tiny.vision_config.hidden_size,
    )  # fmt: skip


def test_the_position_table_is_waves_along_rows_and_columns():
    """The slowest wave is half a turn over the side, the fastest half a turn a cell; all have the size of a sine."""
    table = position_waves(6, 10, 8)
    assert table.shape == (6, 10, 8) and table.square().mean().item() == pytest.approx(0.5)
    assert torch.equal(table[2, 0, :4], table[2, 7, :4]) and torch.equal(table[0, 5, 4:], table[4, 5, 4:])
    assert table[1, 0, 0].item() == pytest.approx(math.sin(math.pi * 1.5 / 6), abs=1e-6)
    assert table[0, 3, 5].item() == pytest.approx(math.sin(math.pi * 3.5), abs=1e-5)  # the faster of two waves
    assert table[0, 3, 6].item() == pytest.approx(math.cos(math.pi * 3.5 / 10), abs=1e-6)


def test_weights_have_the_asked_deviation_and_residual_outputs_a_smaller_one(tiny):
    """Depths 2 (vision), 3 (decoder) and 4 (text encoder) divide by √4, √6 and √8; the image head is no residual stream."""
    model = CoCa(tiny, text_encoder(tiny))
    initialise(model, seed=0, std=0.02)
    expected = {
        "vision_tower.patch_embed.proj.weight": 0.02,
        "vision_tower.encoder.blocks.1.wqkv.weight": 0.02,
        "vision_tower.encoder.blocks.1.wo.weight": 0.02 / math.sqrt(4),
        "vision_tower.encoder.blocks.0.mlp.fc0.weight": 0.02,
        "vision_tower.encoder.blocks.0.mlp.fc1.weight": 0.02 / math.sqrt(4),
        "multi_modal_projector.linear_2.weight": 0.02,
        "language_model.model.embed_tokens.weight": 0.02,
        "language_model.lm_head.weight": 0.02,
        "language_model.model.layers.0.mlp.down_proj.weight": 0.02 / math.sqrt(6),
        "language_model.model.layers.1.self_attn.o_proj.weight": 0.02 / math.sqrt(6),
        "language_model.model.layers.1.mlp.gate.weight": 0.02,
        "language_model.model.layers.1.mlp.experts.gate_up_proj": 0.02,
        "language_model.model.layers.1.mlp.experts.down_proj": 0.02 / math.sqrt(6),
        "language_model.model.layers.2.mlp.shared_experts.down_proj.weight": 0.02 / math.sqrt(6),
        "text_encoder.encoder.layers.3.mlp.fc1.weight": 0.02,
        "text_encoder.encoder.layers.3.mlp.fc2.weight": 0.02 / math.sqrt(8),
        "text_encoder.encoder.layers.3.self_attn.out_proj.weight": 0.02 / math.sqrt(8),
        "image_head.attention.in_proj_weight": 0.02,
        "image_head.attention.out_proj.weight": 0.02,
    }
    weights = dict(model.named_parameters())
    for name, deviation in expected.items():
        assert weights[name].std().item() == pytest.approx(deviation, rel=0.1), name


def test_gains_biases_and_the_logit_scale_start_at_their_fixed_values(tiny):
    model = CoCa(tiny, text_encoder(tiny))
    nn.init.constant_(model.language_model.model.norm.weight, 3.0)
    model.language_model.model.layers[1].mlp.gate.e_score_correction_bias.fill_(3.0)
    initialise(model, seed=0, std=0.02)
    for name, value in model.state_dict().items():
        if name == "logit_scale":
            assert value.exp().item() == pytest.approx(10.0)
        elif name == "logit_bias":
            assert value.item() == -10.0
        elif name.endswith("bias"):
            assert value.eq(0).all(), name
        elif "norm" in name:
            assert value.eq(1).all(), name
        else:
            assert value.std() > 0, name


def test_a_parameter_without_a_rule_is_an_error(model):
    model.language_model.register_parameter("extra", nn.Parameter(torch.zeros(3)))
    with pytest.raises(ValueError, match=r"language_model.extra \(3,\): no rule"):
        initialise(model, seed=0, std=0.02)
