"""Every parameter of every stage has exactly one rule, and the shapes that mislead go where the papers put them."""

import pytest
import torch
from torch import nn

from kimivl.optim import ParamSpec, all_adamw, groups, param_specs

D, H, F, E, R, V = 12, 6, 8, 5, 4, 30  # width, head rows, expert width, experts, latent rank, vocabulary

BLOCK = "vision_tower.encoder.blocks.1"
LAYER = "language_model.model.layers"
TEXT = "text_encoder.encoder.layers.0"

# name → shape, kind, row blocks: the official names with stacked experts, and what stage 1 adds.
EXPECTED: dict[str, tuple[tuple[int, ...], str, int]] = {
    "vision_tower.patch_embed.proj.weight": ((D, 3, 2, 2), "adamw", 1),
    "vision_tower.patch_embed.proj.bias": ((D,), "adamw", 1),
    "vision_tower.patch_embed.pos_emb.weight": ((4, 4, D), "adamw", 1),
    f"{BLOCK}.norm0.weight": ((D,), "adamw", 1),
    f"{BLOCK}.norm0.bias": ((D,), "adamw", 1),
    f"{BLOCK}.norm1.weight": ((D,), "adamw", 1),
    f"{BLOCK}.norm1.bias": ((D,), "adamw", 1),
    f"{BLOCK}.wqkv.weight": ((3 * D, D), "muon", 3),
    f"{BLOCK}.wqkv.bias": ((3 * D,), "adamw", 1),
    f"{BLOCK}.wo.weight": ((D, D), "muon", 1),
    f"{BLOCK}.wo.bias": ((D,), "adamw", 1),
    f"{BLOCK}.mlp.fc0.weight": ((F, D), "muon", 1),
    f"{BLOCK}.mlp.fc0.bias": ((F,), "adamw", 1),
    f"{BLOCK}.mlp.fc1.weight": ((D, F), "muon", 1),
    f"{BLOCK}.mlp.fc1.bias": ((D,), "adamw", 1),
    "vision_tower.encoder.final_layernorm.weight": ((D,), "adamw", 1),
    "vision_tower.encoder.final_layernorm.bias": ((D,), "adamw", 1),
    "multi_modal_projector.pre_norm.weight": ((D,), "adamw", 1),
    "multi_modal_projector.pre_norm.bias": ((D,), "adamw", 1),
    "multi_modal_projector.linear_1.weight": ((4 * D, 4 * D), "muon", 1),
    "multi_modal_projector.linear_1.bias": ((4 * D,), "adamw", 1),
    "multi_modal_projector.linear_2.weight": ((D, 4 * D), "muon", 1),
    "multi_modal_projector.linear_2.bias": ((D,), "adamw", 1),
    "language_model.model.embed_tokens.weight": ((V, D), "adamw", 1),
    "language_model.lm_head.weight": ((V, D), "adamw", 1),
    "language_model.model.norm.weight": ((D,), "adamw", 1),
    f"{LAYER}.0.input_layernorm.weight": ((D,), "adamw", 1),
    f"{LAYER}.0.post_attention_layernorm.weight": ((D,), "adamw", 1),
    f"{LAYER}.0.self_attn.q_proj.weight": ((H, D), "muon", 1),
    f"{LAYER}.0.self_attn.kv_a_proj_with_mqa.weight": ((R + 2, D), "muon", 1),
    f"{LAYER}.0.self_attn.kv_a_layernorm.weight": ((R,), "adamw", 1),
    f"{LAYER}.0.self_attn.kv_b_proj.weight": ((H, R), "muon", 1),
    f"{LAYER}.0.self_attn.o_proj.weight": ((D, H), "muon", 1),
    f"{LAYER}.0.mlp.gate_proj.weight": ((F, D), "muon", 1),
    f"{LAYER}.0.mlp.up_proj.weight": ((F, D), "muon", 1),
    f"{LAYER}.0.mlp.down_proj.weight": ((D, F), "muon", 1),
    f"{LAYER}.26.mlp.gate.weight": ((E, D), "muon", 1),
    f"{LAYER}.26.mlp.shared_experts.gate_proj.weight": ((F, D), "muon", 1),
    f"{LAYER}.26.mlp.shared_experts.up_proj.weight": ((F, D), "muon", 1),
    f"{LAYER}.26.mlp.shared_experts.down_proj.weight": ((D, F), "muon", 1),
    f"{LAYER}.26.mlp.experts.gate_up_proj": ((E, 2 * F, D), "muon", 2),
    f"{LAYER}.26.mlp.experts.down_proj": ((E, D, F), "muon", 1),
    "text_encoder.embeddings.token_embedding.weight": ((V, D), "adamw", 1),
    "text_encoder.embeddings.position_embedding.weight": ((9, D), "adamw", 1),
    f"{TEXT}.layer_norm1.weight": ((D,), "adamw", 1),
    f"{TEXT}.layer_norm1.bias": ((D,), "adamw", 1),
    f"{TEXT}.self_attn.q_proj.weight": ((D, D), "muon", 1),
    f"{TEXT}.self_attn.k_proj.weight": ((D, D), "muon", 1),
    f"{TEXT}.self_attn.v_proj.weight": ((D, D), "muon", 1),
    f"{TEXT}.self_attn.out_proj.weight": ((D, D), "muon", 1),
    f"{TEXT}.self_attn.out_proj.bias": ((D,), "adamw", 1),
    f"{TEXT}.layer_norm2.weight": ((D,), "adamw", 1),
    f"{TEXT}.mlp.fc1.weight": ((F, D), "muon", 1),
    f"{TEXT}.mlp.fc2.weight": ((D, F), "muon", 1),
    "text_encoder.final_layer_norm.weight": ((D,), "adamw", 1),
    "text_encoder.final_layer_norm.bias": ((D,), "adamw", 1),
    "text_encoder.head.weight": ((D, D), "muon", 1),
    "text_encoder.head.bias": ((D,), "adamw", 1),
    "image_head.probe": ((1, 1, D), "adamw", 1),
    "image_head.attention.in_proj_weight": ((3 * D, D), "muon", 3),
    "image_head.attention.in_proj_bias": ((3 * D,), "adamw", 1),
    "image_head.attention.out_proj.weight": ((D, D), "muon", 1),
    "image_head.attention.out_proj.bias": ((D,), "adamw", 1),
    "image_head.layernorm.weight": ((D,), "adamw", 1),
    "image_head.layernorm.bias": ((D,), "adamw", 1),
    "image_head.mlp.fc1.weight": ((F, D), "muon", 1),
    "image_head.mlp.fc2.weight": ((D, F), "muon", 1),
    "logit_scale": ((), "adamw", 1),
    "logit_bias": ((), "adamw", 1),
}


def model_parameters() -> list[tuple[str, nn.Parameter]]:
    return [(name, nn.Parameter(torch.zeros(shape))) for name, (shape, _, _) in EXPECTED.items()]


def test_every_parameter_gets_the_expected_treatment_once_and_in_order():
    specs = param_specs(model_parameters())
    assert [spec.name for spec in specs] == list(EXPECTED)
    assert {spec.name: (tuple(spec.parameter.shape), spec.kind, spec.splits) for spec in specs} == EXPECTED


@pytest.mark.parametrize("name", EXPECTED)
def test_no_name_fits_two_rules(name):
    assert len([rule.pattern for rule in groups.RULES if rule.matches(name)]) == 1


def test_every_rule_is_needed():
    for rule in groups.RULES:
        assert any(rule.matches(name) for name in EXPECTED), f"no parameter is named like {rule.pattern}"


@pytest.mark.parametrize(
    "name",
    [
        "language_model.model.layers.3.mlp.gate.e_score_correction_bias",  # a buffer, moved by the balance rule alone
        "language_model.model.layers.3.mlp.experts.7.up_proj.weight",  # the layout on disk, not ours
        "vision_tower.encoder.blocks.0.mlp.fc2.weight",
        "xlogit_scale",
        "language_model_model_norm.weight",  # a dot in a pattern is a dot
    ],
)
def test_an_unknown_name_is_an_error_that_says_what_to_do(name):
    with pytest.raises(ValueError, match=rf"no optimizer rule for parameter {name} \[2, 3\].*RULES"):
        param_specs([(name, nn.Parameter(torch.zeros(2, 3)))])


def test_frozen_parameters_are_left_out_whatever_their_name():
    frozen = nn.Parameter(torch.zeros(2), requires_grad=False)
    trained = nn.Parameter(torch.zeros(2))
    specs = param_specs([("who.knows", frozen), ("language_model.model.norm.weight", trained)])
    assert [spec.parameter for spec in specs] == [trained]


def test_a_tied_parameter_is_refused():
    tied = nn.Parameter(torch.zeros(V, D))
    names = ["language_model.model.embed_tokens.weight", "language_model.lm_head.weight"]
    with pytest.raises(ValueError, match="lm_head.weight occurs twice .*embed_tokens"):
        param_specs([(name, tied) for name in names])


def test_a_repeated_name_is_refused():
    with pytest.raises(ValueError, match="logit_bias occurs twice"):
        param_specs([("logit_bias", nn.Parameter(torch.zeros(()))) for _ in range(2)])


def test_blocks_are_views_of_the_fused_matrices_in_order():
    specs = {spec.name: spec for spec in param_specs(model_parameters())}

    qkv = specs[f"{BLOCK}.wqkv.weight"]
    assert qkv.block_shape == (D, D)
    assert qkv.blocks(qkv.parameter).data_ptr() == qkv.parameter.data_ptr()
    assert torch.equal(qkv.blocks(qkv.parameter)[2], qkv.parameter[2 * D :])

    experts = specs[f"{LAYER}.26.mlp.experts.gate_up_proj"]
    values = torch.arange(E * 2 * F * D).view(E, 2 * F, D)
    assert experts.block_shape == (F, D)
    assert torch.equal(experts.blocks(values)[0], values[0, :F])  # gate of expert 0
    assert torch.equal(experts.blocks(values)[3], values[1, F:])  # up of expert 1


def test_all_adamw_keeps_everything_but_the_kind():
    specs = param_specs(model_parameters())
    changed = all_adamw(specs)
    assert {spec.kind for spec in changed} == {"adamw"}
    assert [(spec.name, spec.parameter, spec.label) for spec in changed] == [(s.name, s.parameter, s.label) for s in specs]


@pytest.mark.parametrize(
    ("parameter", "kind", "splits", "message"),
    [
        (torch.zeros(7), "muon", 1, r"x: Muon wants a matrix.*\[7\]"),
        (torch.zeros(2, 3, 4, 5), "muon", 1, r"x: Muon wants a matrix.*\[2, 3, 4, 5\]"),
        (torch.zeros(7, 4), "muon", 3, "x: 7 rows cannot be cut into 3"),
        (torch.zeros(7, 4).T, "muon", 1, "x: Muon wants a contiguous"),
        (torch.zeros(7, 4), "sgd", 1, "x: kind is 'sgd'"),
    ],
)
def test_a_shape_that_muon_cannot_treat_is_refused(parameter, kind, splits, message):
    with pytest.raises(ValueError, match=message):
        ParamSpec("x", parameter, kind, splits)
