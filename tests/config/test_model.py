"""Model shapes: the published config.json, the presets, and errors that name the key."""

import json

import pytest

from kimivl.config.base import ConfigError, parse
from kimivl.config.model import ModelConfig, TextConfig, gaussian_routed_scaling, preset

# Values of the published Kimi-VL-A3B-Instruct config.json that this implementation reads or writes.
PUBLISHED_TEXT = {
    "vocab_size": 163840, "hidden_size": 2048, "num_hidden_layers": 27, "intermediate_size": 11264, "hidden_act": "silu",
    "num_attention_heads": 16, "num_key_value_heads": 16, "attention_bias": False, "attention_dropout": 0.0,
    "kv_lora_rank": 512, "q_lora_rank": None, "qk_rope_head_dim": 64, "v_head_dim": 128, "qk_nope_head_dim": 128,
    "moe_intermediate_size": 1408, "n_routed_experts": 64, "n_shared_experts": 2, "num_experts_per_tok": 6, "moe_layer_freq": 1,
    "first_k_dense_replace": 1, "topk_method": "noaux_tc", "n_group": 1, "topk_group": 1, "scoring_func": "sigmoid",
    "norm_topk_prob": True, "routed_scaling_factor": 2.446, "aux_loss_alpha": 0.001, "rms_norm_eps": 1e-5,
    "initializer_range": 0.02, "rope_theta": 800000.0, "rope_scaling": None, "max_position_embeddings": 131072,
    "tie_word_embeddings": False, "bos_token_id": 163584, "eos_token_id": 163585, "pad_token_id": 163839,
}  # fmt: skip
PUBLISHED_VISION = {
    "model_type": "moonvit", "patch_size": 14, "num_attention_heads": 16, "num_hidden_layers": 27, "hidden_size": 1152,
    "intermediate_size": 4304, "init_pos_emb_height": 64, "init_pos_emb_width": 64, "merge_kernel_size": [2, 2],
}  # fmt: skip
PUBLISHED = {
    "architectures": ["KimiVLForConditionalGeneration"], "model_type": "kimi_vl", "ignore_index": -100, "vocab_size": 163840,
    "media_placeholder_token_id": 163605, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip


def test_the_published_config_is_a3b():
    extra = {"ep_size": 1, "pretraining_tp": 1, "use_cache": True, "seq_aux": True, "torch_dtype": "bfloat16"}
    parts = {"text_config": PUBLISHED_TEXT | extra, "vision_config": PUBLISHED_VISION}
    assert ModelConfig.from_hf(PUBLISHED | parts | {"transformers_version": "4.50.3"}) == preset("a3b")


def test_a3b_writes_the_published_config():
    written = json.loads(json.dumps(preset("a3b").to_hf()))
    assert {key: written["text_config"][key] for key in PUBLISHED_TEXT} == PUBLISHED_TEXT
    assert {key: written["vision_config"][key] for key in PUBLISHED_VISION} == PUBLISHED_VISION
    assert {key: written[key] for key in PUBLISHED} == PUBLISHED


@pytest.mark.parametrize("name", ["nano", "mini", "a3b"])
def test_every_preset_survives_its_config_file(name, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(preset(name).to_hf()))
    assert ModelConfig.load(tmp_path) == preset(name)


def test_a_media_placeholder_of_any_vocabulary_keeps_its_distance_from_the_end():
    """163605 of 163840 stands 235 before the end."""
    assert preset("nano").media_placeholder_token_id == preset("nano").text_config.vocab_size - 235


@pytest.mark.parametrize(
    ("key", "value"),
    [("q_lora_rank", 1536), ("topk_method", "greedy"), ("n_group", 8), ("rope_scaling", {"type": "x"}), ("attention_bias", True)],
)
def test_another_architecture_is_refused_by_its_key(key, value):
    values = preset("nano").to_hf()
    values["text_config"][key] = value
    with pytest.raises(ConfigError, match=f"text_config.{key} is .*Kimi-VL's architecture"):
        ModelConfig.from_hf(values)


def test_the_rotary_base_is_found_where_transformers_5_writes_it_and_never_guessed():
    values = preset("nano").to_hf()
    del values["text_config"]["rope_theta"]
    with pytest.raises(ConfigError, match="config.json: rope_theta is missing"):
        ModelConfig.from_hf(values)
    values["text_config"]["rope_parameters"] = {"rope_type": "default", "rope_theta": 800_000.0}
    assert ModelConfig.from_hf(values).text_config.rope_theta == 800_000.0
    values["text_config"]["rope_parameters"]["rope_type"] = "yarn"
    with pytest.raises(ConfigError, match="text_config.rope_scaling is .*yarn.*Kimi-VL's architecture"):
        ModelConfig.from_hf(values)


def test_a_text_only_config_is_refused():
    with pytest.raises(ConfigError, match="needs vision_config and text_config"):
        ModelConfig.from_hf({"hidden_size": 2048})


def test_a_folder_without_config_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="not a model directory"):
        ModelConfig.load(tmp_path)


def test_a_typo_is_refused_with_the_likely_key():
    values = preset("nano").model_dump()
    values["text_config"]["hiden_size"] = 3
    with pytest.raises(ConfigError, match="text_config.hiden_size: unknown key; did you mean 'hidden_size'"):
        parse(ModelConfig, values, "recipe.yaml")


def test_a_missing_value_is_named():
    values = preset("nano").to_hf()
    del values["text_config"]["kv_lora_rank"]
    with pytest.raises(ConfigError, match="text_config.kv_lora_rank"):
        ModelConfig.from_hf(values, "model/config.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [({"num_experts_per_tok": 9}, "num_experts_per_tok 9 exceeds n_routed_experts 8"), ({"qk_rope_head_dim": 9}, "must be even")],
)
def test_impossible_shapes_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        TextConfig(**preset("nano").text_config.model_dump() | change)


def test_fields_of_the_text_config_can_be_replaced():
    changed = preset("nano").with_text(rope_theta=800_000.0)
    assert changed.text_config.rope_theta == 800_000.0
    assert changed.with_text(rope_theta=50_000.0) == preset("nano")


@pytest.mark.parametrize(("experts", "chosen", "published"), [(64, 6, 2.446), (256, 8, 2.827)])
def test_the_scaling_factor_follows_from_gaussian_logits(experts, chosen, published):
    """Published for 64 experts; the reference simulation gives 2.8273 for 256. 200,000 draws leave an error near 1e-3."""
    assert gaussian_routed_scaling(experts, chosen, draws=50_000) == pytest.approx(published, abs=3e-3)


def test_a_damaged_config_file_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"vision_config": {')
    with pytest.raises(ConfigError, match=r"config\.json: not valid JSON"):
        ModelConfig.load(tmp_path)


def test_an_unknown_preset_is_refused():
    with pytest.raises(ConfigError, match="known: nano, mini, a3b"):
        preset("giga")
