"""Which weights go where: from earlier stages, from imports, or drawn by name."""

import json

import pytest
import torch

from kimivl.config.recipe import RecipeConfig
from kimivl.model.kimi_vl import KimiVL
from kimivl.model.layout import load_model, save_model, stored_tensors
from kimivl.train.build import Builder


def builder(recipe: RecipeConfig, folder) -> Builder:
    return Builder(recipe, folder, torch.float32)


def stored(builder: Builder, stage: str, prefix: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in stored_tensors(builder.model_folder(stage)) if name.startswith(prefix)}


def same(model: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> bool:
    """Whether the model's tensors of these names are these. Experts are stacked in memory and left out."""
    state = model.state_dict()
    names = [name for name in tensors if ".experts." not in name or "shared" in name]
    return bool(names) and all(torch.equal(state[name], tensors[name]) for name in names)


def test_initial_weights_are_keyed_by_name_whatever_the_stage(make_recipe, make_stage, tmp_path, moved):
    """MoonViT is the same in stage 1's model, in a model of text alone, and wherever the stage stands; a seed changes it."""
    stages = [make_stage("text"), make_stage("vit"), make_stage("joint")]
    recipe = make_recipe(*stages)
    first = builder(recipe, tmp_path).kimi_vl(recipe.stage("text")).state_dict()
    last = builder(recipe, tmp_path).kimi_vl(recipe.stage("joint")).state_dict()
    vit = builder(recipe, tmp_path).coca(recipe.stage("vit")).state_dict()
    assert not moved(first, last)
    one, two = (first[f"language_model.model.layers.{layer}.self_attn.o_proj.weight"] for layer in (0, 1))
    assert one.shape == two.shape and not torch.equal(one, two)
    shared = [name for name in first if name.startswith("vision_tower.")]
    assert len(shared) > 10 and all(torch.equal(first[name], vit[name]) for name in shared)
    other = builder(make_recipe(*stages, seed=4), tmp_path).kimi_vl(recipe.stage("text")).state_dict()
    drawn = {name for name, tensor in first.items() if tensor.dim() > 1 and not name.endswith("pos_emb.weight")}
    assert moved(first, other) == drawn


def test_a_stage_takes_each_part_from_the_stage_that_it_names(finished):
    """`align` trained MoonViT from `vit` on and left the language model of `text`; `vit` began with the decoder of `decoder`."""
    build = finished.builder
    align = build.kimi_vl(finished.recipe.stage("align"))
    assert same(align, stored(build, "text", "language_model.")) and same(align, stored(build, "vit", "vision_tower."))
    joint = build.kimi_vl(finished.recipe.stage("joint"))
    assert all(
        same(joint, stored(build, "align", part)) for part in ("language_model.", "vision_tower.", "multi_modal_projector.")
    )
    assert same(build.coca(finished.recipe.stage("vit")), stored(build, "decoder", "language_model."))


def test_stage_1s_projector_is_not_handed_on(finished):
    """It feeds the tiny decoder, whose width the language model need not have."""
    align = finished.builder.kimi_vl(finished.recipe.stage("align"))
    assert not same(align, stored(finished.builder, "vit", "multi_modal_projector."))
    fresh = finished.builder.kimi_vl(finished.recipe.stage("text"))
    names = [name for name in align.state_dict() if name.startswith("multi_modal_projector.")]
    assert all(torch.equal(align.state_dict()[name], fresh.state_dict()[name]) for name in names)


def test_a_trained_balance_bias_is_handed_on(finished):
    joint = finished.builder.kimi_vl(finished.recipe.stage("joint"))
    biases = [tensor for name, tensor in joint.named_buffers() if name.endswith("e_score_correction_bias")]
    assert len(biases) == 2 and all(bias.abs().sum() > 0 for bias in biases)


def test_the_rope_base_that_a_stage_sets_stays_in_force_and_is_written_down(finished):
    """`long` sets it; those after it say nothing."""
    bases = {}
    for stage in finished.recipe.stages:
        if stage.kind != "vit":
            config = json.loads((finished.builder.model_folder(stage.name) / "config.json").read_text())
            bases[stage.name] = config["text_config"]["rope_theta"]
    before, after = ("text", "decoder", "align", "joint"), ("long", "sft", "long_cot", "rl")
    assert bases == dict.fromkeys(before, 5e4) | dict.fromkeys(after, 8e5)
    assert finished.builder.kimi_vl(finished.recipe.stage("sft")).config.text_config.rope_theta == 8e5


def test_the_context_in_the_config_grows_with_the_stages(finished):
    """The model's own 64 until a stage trains on more."""
    lengths = {}
    for name in ("joint", "long", "sft"):
        lengths[name] = load_model(finished.builder.model_folder(name)).config.text_config.max_position_embeddings
    assert lengths == {"joint": 64, "long": 128, "sft": 128}


def test_a_published_kimi_vl_gives_all_its_parts(make_recipe, make_stage, tmp_path, moved):
    published = builder(make_recipe(make_stage("text"), seed=9), tmp_path).kimi_vl(make_recipe(make_stage("text")).stages[0])
    save_model(published, tmp_path / "published")
    imports = {"ours": {"kind": "kimi_vl", "folder": tmp_path / "published"}}
    recipe = make_recipe(make_stage("sft", language="ours", vision="ours"), imports=imports)
    assert not moved(published.state_dict(), builder(recipe, tmp_path).kimi_vl(recipe.stages[0]).state_dict())


def test_a_published_kimi_vl_that_means_something_else_is_refused_though_its_shapes_fit(make_recipe, make_stage, tmp_path, moved):
    """Its RoPE base may be another only where the stage sets its own."""
    plain = make_recipe(make_stage("text"), seed=9)
    published = builder(plain, tmp_path).kimi_vl(plain.stages[0])
    save_model(published, tmp_path / "published")
    path = tmp_path / "published" / "config.json"
    official = json.loads(path.read_text())

    def built(changes: dict[str, dict], **more) -> KimiVL:
        path.write_text(json.dumps(official | {section: official[section] | values for section, values in changes.items()}))
        imports = {"ours": {"kind": "kimi_vl", "folder": tmp_path / "published"}}
        recipe = make_recipe(make_stage("sft", language="ours", vision="ours", **more), imports=imports)
        return builder(recipe, tmp_path).kimi_vl(recipe.stages[0])

    with pytest.raises(ValueError, match="has rope_theta 800000.0, the config text_config.rope_theta 50000.0"):
        built({"text_config": {"rope_theta": 800_000.0}})
    with pytest.raises(ValueError, match="has num_attention_heads 1, the config vision_config.num_attention_heads 2"):
        built({"vision_config": {"num_attention_heads": 1}}, rope_theta=800_000)
    with pytest.raises(ValueError, match="has num_experts_per_tok 1"):
        built({"text_config": {"num_experts_per_tok": 1}}, rope_theta=800_000)
    reset = built({}, rope_theta=800_000)  # 50,000 until here
    assert reset.config.text_config.rope_theta == 800_000
    assert not moved(reset.state_dict(), published.state_dict())


def test_an_import_of_another_shape_is_refused(finished, make_recipe, make_stage, tmp_path):
    wide = make_recipe().model_config_
    wide = wide.model_copy(update={"vision_config": wide.vision_config.model_copy(update={"intermediate_size": 64})})
    imports = {"ours": {"kind": "kimi_vl", "folder": finished.builder.model_folder("joint")}}
    recipe = make_recipe(make_stage("align", language="ours", vision="ours"), imports=imports, model=wide)
    with pytest.raises(ValueError, match="(?s)joint/model: .*wrong shape: vision_tower.*wrong checkpoint for the config"):
        builder(recipe, tmp_path).kimi_vl(recipe.stages[0])


def test_the_caption_decoder_is_a_small_model_of_its_own(finished):
    decoder = finished.builder.kimi_vl(finished.recipe.stage("decoder"))
    assert isinstance(decoder, KimiVL) and decoder.config.text_config.num_hidden_layers == 1
    assert decoder.config.vision_config == finished.recipe.model_config_.vision_config


# The dtype of activations


def test_models_compute_in_the_given_dtype_and_keep_fp32_weights(make_recipe, make_stage, tmp_path):
    recipe = make_recipe(make_stage("text"))
    model = Builder(recipe, tmp_path, torch.bfloat16).kimi_vl(recipe.stages[0])
    assert model.dtype == torch.bfloat16 and {parameter.dtype for parameter in model.parameters()} == {torch.float32}
