"""MoonViT equals the vision model of transformers' Kimi-K2.5 on still images; its two position codes give published numbers."""

import pytest
import torch
from transformers import Kimi_K25VisionConfig, Kimi_K25VisionModel

from kimivl.config.model import VisionConfig
from kimivl.model.moonvit import MoonViT, PositionTable, merge_patches


@torch.no_grad()
def test_packed_images_give_the_features_of_transformers(tiny, randomise, images, k25_vision_state):
    model = randomise(MoonViT(tiny.vision_config))
    patches, grids = images
    config = Kimi_K25VisionConfig(
        patch_size=14, pos_emb_height=8, pos_emb_width=8, num_attention_heads=4, num_hidden_layers=2, hidden_size=48,
        intermediate_size=96,
    )  # fmt: skip
    peer = Kimi_K25VisionModel(config).eval()
    peer.load_state_dict(k25_vision_state(model))
    output = peer(patches, torch.tensor([(1, *grid) for grid in grids]))
    encoded = model(patches, grids)
    assert encoded.std() > 0.5
    torch.testing.assert_close(encoded, output.last_hidden_state, atol=1e-4, rtol=0)
    torch.testing.assert_close(merge_patches(encoded, grids), output.pooler_output, atol=1e-4, rtol=0)


@torch.no_grad()
def test_rows_and_columns_are_told_apart(tiny, randomise):
    """With a table without content, only the rotary code knows where a patch lies; swapping the axes must be seen."""
    model = randomise(MoonViT(tiny.vision_config))
    model.patch_embed.pos_emb.weight.zero_()
    patches = torch.randn(8, 3, 14, 14)
    wide = model(patches, [(2, 4)])
    transposed = model(patches.view(2, 4, 3, 14, 14).transpose(0, 1).flatten(0, 1), [(4, 2)])
    assert (wide - transposed.view(4, 2, -1).transpose(0, 1).flatten(0, 1)).abs().max() > 0.05


def test_the_position_table_is_resized_bicubically():
    """Published row: torch's cubic (A = -0.75), half-pixel centres, no antialiasing."""
    table = PositionTable(4, 4, 1)
    table.weight.data = torch.arange(16.0).view(4, 4, 1)
    first_row = table([(3, 5)])[:5, 0]
    torch.testing.assert_close(first_row, torch.tensor([0.4439, 1.1154, 2.0046, 2.8939, 3.5654]), atol=1e-4, rtol=0)


def test_the_position_table_is_used_as_it_is_on_its_own_grid():
    table = PositionTable(4, 6, 5)
    table.weight.data = torch.randn(4, 6, 5)
    assert torch.equal(table([(4, 6)]), table.weight.view(24, 5))


def test_equal_grids_share_one_interpolation_and_its_gradient():
    table = PositionTable(4, 4, 2)
    table.weight.data = torch.randn(4, 4, 2)
    table([(2, 2), (2, 2), (2, 2)]).sum().backward()
    thrice = table.weight.grad.clone()
    table.weight.grad = None
    table([(2, 2)]).sum().backward()
    torch.testing.assert_close(thrice, 3 * table.weight.grad)


def test_merging_takes_neighbourhoods_row_by_row():
    """Two images, 2×4 and 4×2, whose patches are numbered in reading order."""
    numbers = torch.cat([torch.arange(8), 10 + torch.arange(8)]).float()[:, None]
    merged = merge_patches(numbers, [(2, 4), (4, 2)])[..., 0].tolist()
    assert merged == [[0, 1, 4, 5], [2, 3, 6, 7], [10, 11, 12, 13], [14, 15, 16, 17]]


def test_an_odd_grid_cannot_be_merged():
    with pytest.raises(ValueError, match="3×4 cannot be merged 2×2"):
        merge_patches(torch.zeros(12, 8), [(3, 4)])


def test_patches_must_match_the_grids(tiny):
    with pytest.raises(ValueError, match="grids cover 8 patches but 7"):
        MoonViT(tiny.vision_config)(torch.zeros(7, 3, 14, 14), [(2, 4)])


def test_heads_must_hold_whole_rotary_pairs_of_both_axes():
    with pytest.raises(ValueError, match="multiple of 4 x num_attention_heads"):
        VisionConfig(hidden_size=40, num_attention_heads=4, num_hidden_layers=1, intermediate_size=64)
