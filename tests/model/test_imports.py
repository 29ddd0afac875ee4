"""Checkpoints written by transformers start our models: SigLIP the image and text encoders, DeepseekV3 the decoder. A Kimi-VL in
the official layout starts both.
"""

import json

import pytest
import torch
import torch.nn.functional as F
from transformers import DeepseekV3ForCausalLM, SiglipConfig, SiglipModel

from kimivl.config.model import TextEncoderConfig
from kimivl.model import moonvit
from kimivl.model.coca import CoCa
from kimivl.model.imports import load_kimi_vl_text, load_kimi_vl_vision, load_moonlight, load_siglip
from kimivl.model.kimi_vl import KimiVL
from kimivl.model.layout import CheckpointError, save_model
from kimivl.ops.segments import Segments

SIDE = 6  # patches of SigLIP's fixed square images
TEXT = {
    "vocab_size": 300, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "max_position_embeddings": 8, "projection_size": 48,
}  # fmt: skip


def siglip(randomise, **vision) -> SiglipModel:
    shape = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    shape |= {"image_size": SIDE * 14, "patch_size": 14} | vision
    return randomise(SiglipModel(SiglipConfig(text_config=TEXT, vision_config=shape)).eval())


def with_table(config, rows: int, columns: int):
    vision = config.vision_config.model_copy(update={"init_pos_emb_height": rows, "init_pos_emb_width": columns})
    return config.model_copy(update={"vision_config": vision})


def patches_of(pixels: torch.Tensor) -> torch.Tensor:
    """[N, 3, side, side] images → their patches, row by row."""
    return F.unfold(pixels, 14, stride=14).mT.reshape(-1, 3, 14, 14)


def standing_still(grids, channels, device="cpu") -> torch.Tensor:
    """Rotary angles of zero: SigLIP has no rotary embedding."""
    return torch.tensor([1.0, 0.0]).expand(sum(rows * columns for rows, columns in grids), channels // 2, 2)


@torch.no_grad()
def test_without_rotation_the_encoders_are_siglip(tiny, randomise, tmp_path, monkeypatch):
    """On SigLIP's own grid, at its LayerNorm eps. Everything that the ViT stage starts from is compared."""
    peer = siglip(randomise)
    peer.save_pretrained(tmp_path)
    ours = CoCa(with_table(tiny, SIDE, SIDE), TextEncoderConfig(**TEXT))
    load_siglip(ours, tmp_path)

    monkeypatch.setattr(moonvit, "rope_2d", standing_still)
    for module in ours.vision_tower.modules():
        if isinstance(module, torch.nn.LayerNorm):
            assert module.eps == 1e-5
            module.eps = 1e-6
    pixels = torch.randn(2, 3, SIDE * 14, SIDE * 14)
    ids_BL = torch.randint(300, (2, 8))
    output = peer(input_ids=ids_BL, pixel_values=pixels)
    encoded = ours.vision_tower(patches_of(pixels), [(SIDE, SIDE)] * 2)
    expected = output.vision_model_output.last_hidden_state.flatten(0, 1)
    assert expected.std() > 0.5
    torch.testing.assert_close(encoded, expected, atol=1e-4, rtol=0)

    image_ND, _ = ours.image_embeddings(patches_of(pixels), [(SIDE, SIDE)] * 2)
    text_ND = ours.text_embeddings(ids_BL)
    torch.testing.assert_close(image_ND, output.image_embeds, atol=1e-4, rtol=0)
    torch.testing.assert_close(text_ND, output.text_embeds, atol=1e-4, rtol=0)
    logits_NN = image_ND @ text_ND.T * ours.logit_scale.exp() + ours.logit_bias
    torch.testing.assert_close(logits_NN, output.logits_per_image, atol=1e-4, rtol=0)


@torch.no_grad()
def test_the_position_table_is_resized_as_siglip_would(tiny, randomise, tmp_path):
    peer = siglip(randomise)
    peer.save_pretrained(tmp_path)
    ours = KimiVL(with_table(tiny, 8, 10))
    load_siglip(ours, tmp_path)
    embeddings = peer.vision_model.embeddings
    expected = embeddings.interpolate_pos_encoding(torch.zeros(1, 80, 48), 8 * 14, 10 * 14)
    torch.testing.assert_close(ours.vision_tower.patch_embed.pos_emb.weight.flatten(0, 1), expected[0], atol=1e-6, rtol=0)


def test_projector_and_decoder_are_left_alone(tiny, randomise, tmp_path):
    siglip(randomise).save_pretrained(tmp_path)
    ours = randomise(KimiVL(tiny), seed=4)
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    load_siglip(ours, tmp_path)
    changed = {name.split(".")[0] for name, tensor in ours.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"vision_tower"}


@pytest.mark.parametrize(
    ("vision", "words"),
    [
        ({"num_attention_heads": 6}, "has num_attention_heads 6, the config vision_config.num_attention_heads 4"),
        ({"num_hidden_layers": 3}, "unexpected: vision_tower.encoder.blocks.2"),
        ({"num_hidden_layers": 1}, "missing: vision_tower.encoder.blocks.1"),
        ({"intermediate_size": 100}, r"mlp.fc0.weight is \(100, 48\) in the file, the config needs \(96, 48\)"),
        ({"patch_size": 12, "image_size": 72}, r"patch_embed.proj.weight is \(48, 3, 12, 12\)"),
    ],
)
def test_a_siglip_of_another_shape_is_refused(tiny, randomise, tmp_path, vision, words):
    siglip(randomise, **vision).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=words):
        load_siglip(KimiVL(tiny), tmp_path)


def test_a_text_encoder_of_another_shape_is_refused(tiny, randomise, tmp_path):
    siglip(randomise).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"position_embedding.weight is \(8, 48\) in the file, the config needs \(9, 48\)"):
        load_siglip(CoCa(tiny, TextEncoderConfig(**TEXT | {"max_position_embeddings": 9})), tmp_path)
    with pytest.raises(CheckpointError, match="has num_attention_heads 2, the config text_config.num_attention_heads 4"):
        load_siglip(CoCa(tiny, TextEncoderConfig(**TEXT | {"num_attention_heads": 4})), tmp_path)


@torch.no_grad()
def test_a_text_encoder_with_another_vocabulary_keeps_its_own_token_table_and_says_so(tiny, randomise, tmp_path, caplog):
    peer = siglip(randomise)
    peer.save_pretrained(tmp_path)
    ours = randomise(CoCa(tiny, TextEncoderConfig(**TEXT | {"vocab_size": 310})))
    before = ours.text_encoder.embeddings.token_embedding.weight.clone()
    load_siglip(ours, tmp_path)
    assert "token table is of another vocabulary" in caplog.text
    assert torch.equal(ours.text_encoder.embeddings.token_embedding.weight, before)
    assert torch.equal(ours.text_encoder.head.weight, peer.text_model.head.weight)


def test_something_else_is_not_siglip(tiny, randomise, deepseek_config, tmp_path):
    DeepseekV3ForCausalLM(deepseek_config(tiny.text_config)).save_pretrained(tmp_path / "text")
    config = json.loads((tmp_path / "text" / "config.json").read_text()) | {"vision_config": {"num_attention_heads": 4}}
    (tmp_path / "text" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="lacks 'vision_model.embeddings.position_embedding.weight'"):
        load_siglip(KimiVL(tiny), tmp_path / "text")
    (tmp_path / "text" / "config.json").unlink()
    with pytest.raises(CheckpointError, match="config.json does not exist"):
        load_siglip(KimiVL(tiny), tmp_path / "text")


@pytest.fixture
def moonlight(tiny, randomise, deepseek_config, tmp_path):
    peer = randomise(DeepseekV3ForCausalLM(deepseek_config(tiny.text_config)).eval())
    peer.save_pretrained(tmp_path / "moonlight")
    return peer, tmp_path / "moonlight"


@torch.no_grad()
def test_a_moonlight_checkpoint_becomes_the_decoder(tiny, moonlight):
    peer, folder = moonlight
    ours = KimiVL(tiny)
    load_moonlight(ours, folder)
    ids = torch.arange(40, 60)
    logits = ours.language_model.logits(ours(ids, Segments([20])).hidden_TD)
    torch.testing.assert_close(logits, peer(ids[None]).logits[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"routed_scaling_factor": 2.5}, "has routed_scaling_factor 2.446, the config text_config.routed_scaling_factor 2.5"),
        ({"rope_theta": 800_000.0}, "has rope_theta 50000.0, the config text_config.rope_theta 800000.0"),
        ({"num_experts_per_tok": 2}, "has num_experts_per_tok 3"),
        ({"qk_nope_head_dim": 8, "qk_rope_head_dim": 16}, "has qk_nope_head_dim 16"),
        ({"vocab_size": 400}, "has vocab_size 320"),
    ],
)
def test_a_moonlight_that_means_something_else_is_refused_even_if_shapes_fit(tiny, moonlight, change, words):
    with pytest.raises(CheckpointError, match=words):
        load_moonlight(KimiVL(tiny.with_text(**change)), moonlight[1])


def test_a_stretched_rotary_embedding_is_refused(tiny, moonlight):
    config = json.loads((moonlight[1] / "config.json").read_text())
    config["rope_parameters"] = {"rope_type": "yarn", "rope_theta": 50_000.0, "factor": 4.0}
    (moonlight[1] / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="rope_scaling"):
        load_moonlight(KimiVL(tiny), moonlight[1])


@pytest.fixture
def kimi_vl(tiny, randomise, tmp_path):
    peer = randomise(KimiVL(tiny), seed=7)
    save_model(peer, tmp_path / "kimi_vl")
    return peer, tmp_path / "kimi_vl"


def rewrite_config(folder, section: str, drop: str = "", **values) -> None:
    """Changes a section of a config.json, and takes away the key `drop`."""
    config = json.loads((folder / "config.json").read_text())
    config[section] = {key: value for key, value in (config[section] | values).items() if key != drop}
    (folder / "config.json").write_text(json.dumps(config))


def test_the_parts_of_a_kimi_vl_are_read_apart(tiny, randomise, kimi_vl):
    peer, folder = kimi_vl
    ours = randomise(KimiVL(tiny), seed=4)
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    load_kimi_vl_text(ours, folder)
    theirs = peer.state_dict()
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, (theirs if name.startswith("language_model.") else before)[name]), name
    load_kimi_vl_vision(ours, folder)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.state_dict().items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rope_theta": 800_000.0}, "has rope_theta 800000.0, the config text_config.rope_theta 50000.0"),
        ({"num_experts_per_tok": 2}, "has num_experts_per_tok 2, the config text_config.num_experts_per_tok 3"),
        ({"routed_scaling_factor": 2.5}, "has routed_scaling_factor 2.5, the config"),
        ({"drop": "rope_theta", "rope_parameters": {"rope_theta": 800_000.0}}, "has rope_theta 800000.0, the config"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "rope_scaling"),
        ({"scoring_func": "softmax"}, "text_config.scoring_func is 'softmax'"),
    ],
)
def test_a_kimi_vl_whose_decoder_means_something_else_is_refused_though_shapes_fit(tiny, kimi_vl, change, words):
    rewrite_config(kimi_vl[1], "text_config", **change)
    with pytest.raises(ValueError, match=rf"kimi_vl/config\.json.*{words}"):
        load_kimi_vl_text(KimiVL(tiny), kimi_vl[1])


def test_a_rope_base_that_is_set_anew_may_be_another_and_nothing_else(tiny, kimi_vl):
    peer, folder = kimi_vl
    ours = KimiVL(tiny.with_text(rope_theta=800_000.0))
    load_kimi_vl_text(ours, folder, new_rope_base=True)
    assert torch.equal(ours.language_model.lm_head.weight, peer.language_model.lm_head.weight)
    rewrite_config(folder, "text_config", num_experts_per_tok=2)
    with pytest.raises(CheckpointError, match="num_experts_per_tok"):
        load_kimi_vl_text(ours, folder, new_rope_base=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_attention_heads": 2}, "has num_attention_heads 2, the config vision_config.num_attention_heads 4"),
        ({"merge_kernel_size": [4, 1]}, r"has merge_kernel_size \(4, 1\), the config vision_config.merge_kernel_size \(2, 2\)"),
    ],
)
def test_a_kimi_vl_whose_vision_means_something_else_is_refused_though_shapes_fit(tiny, kimi_vl, change, words):
    rewrite_config(kimi_vl[1], "vision_config", **change)
    with pytest.raises(CheckpointError, match=rf"kimi_vl/config\.json {words}: the weights mean something else"):
        load_kimi_vl_vision(KimiVL(tiny), kimi_vl[1])


def test_a_language_model_alone_is_no_kimi_vl(tiny, moonlight):
    with pytest.raises(ValueError, match="moonlight/config.json: not a Kimi-VL config"):
        load_kimi_vl_vision(KimiVL(tiny), moonlight[1])
