"""The whole model: equal to transformers' Kimi-K2.5 end to end, exact in size, and indifferent to packing."""

import copy

import pytest
import torch
import torch.nn.functional as F
from transformers import Kimi_K25Config, Kimi_K25ForConditionalGeneration

from kimivl.config.model import preset
from kimivl.model.kimi_vl import KimiVL
from kimivl.model.layout import official_tensors
from kimivl.model.moonvit import PatchEmbed, merge_patches
from kimivl.model.projector import Projector
from kimivl.ops.segments import Segments


def image_tokens(grids) -> list[int]:
    return [rows * columns // 4 for rows, columns in grids]


def text_with_images(config, counts: list[int], seed: int = 5) -> torch.Tensor:
    """Random words, then for each image its places and random words again."""
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.randint(config.base_ranks, (4,), generator=generator)]
    for count in counts:
        parts.append(torch.full((count,), config.media_placeholder_token_id))
        parts.append(torch.randint(config.base_ranks, (5,), generator=generator))
    return torch.cat(parts)


@pytest.fixture
def peer_of(deepseek_config, k25_vision_state):
    """KimiVL → Kimi-K2.5 with the same weights."""

    def convert(model: KimiVL) -> Kimi_K25ForConditionalGeneration:
        vision = model.config.vision_config.model_dump(exclude={"model_type", "init_pos_emb_height", "init_pos_emb_width"})
        vision |= {"pos_emb_height": 8, "pos_emb_width": 8}
        config = Kimi_K25Config(
            text_config=deepseek_config(model.config.text_config).to_dict(), vision_config=vision,
            projection_hidden_size=vision["hidden_size"], image_token_id=model.config.media_placeholder_token_id,
            video_token_id=model.config.text_config.vocab_size + 1, tie_word_embeddings=False,
        )  # fmt: skip
        theirs = {f"model.vision_tower.{name}": value for name, value in k25_vision_state(model.vision_tower).items()}
        for name, value in model.multi_modal_projector.state_dict().items():
            name = name.replace("linear_1", "in_proj").replace("linear_2", "out_proj")
            theirs[f"model.mm_projector.{name}"] = value
        for name, value in model.language_model.state_dict().items():
            theirs[name if name.startswith("lm_head") else f"model.language_model.{name.removeprefix('model.')}"] = value
        peer = Kimi_K25ForConditionalGeneration(config).eval()
        peer.load_state_dict(theirs)
        return peer

    return convert


@torch.no_grad()
def test_logits_with_images_are_those_of_transformers(tiny, randomise, images, peer_of):
    model = randomise(KimiVL(tiny))
    patches, grids = images
    ids = text_with_images(tiny, image_tokens(grids))
    grid_thw = torch.tensor([(1, *grid) for grid in grids])
    peer = peer_of(model)

    features = model.image_features(patches, grids)
    projected = torch.cat(peer.get_image_features(patches, grid_thw).pooler_output)
    assert features.std() > 0.5
    torch.testing.assert_close(features, projected, atol=1e-4, rtol=0)

    hidden = model(ids, Segments([len(ids)]), patches, grids).hidden_TD
    expected = peer(input_ids=ids[None], pixel_values=patches, image_grid_thw=grid_thw).logits[0]
    assert expected.std() > 0.5
    torch.testing.assert_close(model.language_model.logits(hidden), expected, atol=1e-4, rtol=0)


def test_a3b_has_exactly_the_published_size():
    with torch.device("meta"):
        model = KimiVL(preset("a3b"))

    def size(module) -> int:  # the published total counts the 26 × 64 balance biases
        return sum(t.numel() for t in module.state_dict().values())

    assert size(model) == 16_407_656_048
    assert size(model.vision_tower) == 416_866_032
    assert size(model.multi_modal_projector) == 30_679_808
    assert size(model.language_model) == 15_960_110_208


def test_a3b_has_the_published_tensors():
    """5,679 names, of which 27 are rotary frequencies that follow from the config; a few shapes of every kind."""
    with torch.device("meta"):
        tensors = official_tensors(KimiVL(preset("a3b")))
    assert len(tensors) == 5679 - 27
    layer = "language_model.model.layers.26"
    published = {
        "vision_tower.patch_embed.proj.weight": (1152, 3, 14, 14),
        "vision_tower.patch_embed.pos_emb.weight": (64, 64, 1152),
        "vision_tower.encoder.blocks.26.wqkv.bias": (3456,),
        "vision_tower.encoder.blocks.26.mlp.fc0.weight": (4304, 1152),
        "vision_tower.encoder.final_layernorm.bias": (1152,),
        "multi_modal_projector.pre_norm.weight": (1152,),
        "multi_modal_projector.linear_2.weight": (2048, 4608),
        "language_model.lm_head.weight": (163840, 2048),
        "language_model.model.layers.0.mlp.down_proj.weight": (2048, 11264),
        f"{layer}.self_attn.q_proj.weight": (3072, 2048),
        f"{layer}.self_attn.kv_a_proj_with_mqa.weight": (576, 2048),
        f"{layer}.self_attn.kv_b_proj.weight": (4096, 512),
        f"{layer}.mlp.gate.e_score_correction_bias": (64,),
        f"{layer}.mlp.experts.63.gate_proj.weight": (1408, 2048),
        f"{layer}.mlp.experts.63.down_proj.weight": (2048, 1408),
        f"{layer}.mlp.shared_experts.up_proj.weight": (2816, 2048),
    }
    assert {name: tuple(tensors[name].shape) for name in published} == published


def test_a_336_pixel_square_becomes_144_tokens_of_a3b():
    config = preset("a3b")
    with torch.device("meta"):
        embedded = PatchEmbed(config.vision_config)(torch.empty(576, 3, 14, 14), [(24, 24)])
        merged = merge_patches(embedded, [(24, 24)])
        projected = Projector(config)(merged)
    assert [tuple(x.shape) for x in (embedded, merged, projected)] == [(576, 1152), (144, 4, 1152), (144, 2048)]


def packed_and_single(config):
    """Segments with no image, one image and two images: (ids, patches, grids) of each."""
    generator = torch.Generator().manual_seed(9)
    samples = []
    for grids in ([], [(4, 6)], [(2, 2), (8, 8)]):
        patches = torch.randn(sum(r * c for r, c in grids), 3, 14, 14, generator=generator, dtype=torch.float64)
        samples.append((text_with_images(config, image_tokens(grids), seed=len(grids)), patches, grids))
    return samples


def gradients_of_the_loss(model: KimiVL, batches) -> dict[str, torch.Tensor]:
    """One summed next-token loss over all batches, each a list of samples run as one pack; the loss itself under 'loss'."""
    total = torch.zeros((), dtype=torch.float64)
    for batch in batches:
        ids, patches = torch.cat([sample[0] for sample in batch]), torch.cat([sample[1] for sample in batch])
        grids = [grid for sample in batch for grid in sample[2]]
        hidden = model(ids, Segments([len(sample[0]) for sample in batch]), patches, grids).hidden_TD
        last = torch.tensor([len(sample[0]) for sample in batch]).cumsum(0) - 1
        predicts = torch.ones(len(ids), dtype=torch.bool).index_fill(0, last, False)
        total = total + F.cross_entropy(model.language_model.logits(hidden[predicts]), ids.roll(-1)[predicts], reduction="sum")
    total.backward()
    return {"loss": total.detach()} | {name: parameter.grad for name, parameter in model.named_parameters()}


def test_packing_changes_neither_the_loss_nor_any_gradient(tiny, randomise):
    model = randomise(KimiVL(tiny, torch.float64)).double()
    samples = packed_and_single(tiny)
    packed = gradients_of_the_loss(copy.deepcopy(model), [samples])
    single = gradients_of_the_loss(model, [[sample] for sample in samples])
    for name, expected in single.items():
        assert expected is not None and expected.norm() > 0, f"{name} has no gradient"
        error = (packed[name] - expected).norm() / expected.norm()
        assert error < 1e-5, f"{name}: relative error {error}"


@torch.no_grad()
def test_segments_do_not_see_each_other(tiny, randomise):
    model = randomise(KimiVL(tiny))
    (first, *_), (second, patches, grids), _ = packed_and_single(tiny)
    alone = model(second, Segments([len(second)]), patches.float(), grids).hidden_TD
    packed = model(torch.cat([first, second]), Segments([len(first), len(second)]), patches.float(), grids).hidden_TD
    torch.testing.assert_close(packed[len(first) :], alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_bfloat16_stays_near_float32(tiny, randomise, images):
    """Parameters stay fp32; only the arithmetic is narrower. Routing may flip on near ties, so the features are compared."""
    model = randomise(KimiVL(tiny))
    exact = model.image_features(*images)
    model.dtype = torch.bfloat16
    narrow = model.image_features(*images)
    assert narrow.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(narrow.float(), exact, dim=-1).min() > 0.99


def test_places_and_features_must_match(tiny, images):
    patches, grids = images
    ids = text_with_images(tiny, [3])
    with pytest.raises(ValueError, match="places for 3 image features but the images give 52"):
        KimiVL(tiny)(ids, Segments([len(ids)]), patches, grids)
    with pytest.raises(ValueError, match="places for 3 image features but the images give 0"):
        KimiVL(tiny)(ids, Segments([len(ids)]))
