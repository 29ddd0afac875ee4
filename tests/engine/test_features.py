"""A picture is encoded once, whatever it is called and wherever it stands; different pictures never share."""

import numpy as np
import pytest
import torch

from kimivl.engine import features as features_module
from kimivl.engine.features import FeatureCache


@pytest.fixture
def model(new_model, monkeypatch):
    """A model that counts the pictures of each call of its encoder."""
    model = new_model()
    encode, model.calls = model.image_features, []

    def counting(patches_P, grids):
        model.calls.append(len(grids))
        return encode(patches_P, grids)

    monkeypatch.setattr(model, "image_features", counting)
    return model


def plain(model, prompt):
    with torch.inference_mode():
        return model.image_features(torch.from_numpy(prompt.patches), [tuple(grid) for grid in prompt.grids.tolist()])


def test_all_pictures_of_a_batch_are_encoded_in_one_call_and_equal_single_ones(model, prompts):
    features = FeatureCache(model).features(prompts)
    assert model.calls == [4]  # five pictures, of which one comes twice
    expected = torch.cat([plain(model, prompt) for prompt in prompts if len(prompt.grids)])
    torch.testing.assert_close(features, expected)


def test_a_picture_seen_before_is_not_encoded_again(model, new_prompt, new_picture):
    cache = FeatureCache(model)
    first = cache.features([new_prompt("a", new_picture(1))])
    other = cache.features([new_prompt("a", new_picture(2))])
    again = cache.features([new_prompt("another question", new_picture(1), new_picture(2))])
    assert model.calls == [1, 1]
    assert torch.equal(again, torch.cat([first, other]))
    assert not torch.equal(first, other)


def test_the_same_pixels_in_another_grid_are_another_picture(model, new_prompt, new_picture):
    cache = FeatureCache(model)
    wide = new_prompt("a", new_picture(1, (32, 8)))
    tall = type(wide)(wide.ids, wide.supervised, wide.provenance, wide.patches, np.ascontiguousarray(wide.grids[:, ::-1]))
    assert not torch.equal(cache.features([wide]), cache.features([tall]))


def test_text_alone_has_no_features(model, new_prompt):
    assert FeatureCache(model).features([new_prompt("hello")]) is None
    assert model.calls == []


def test_the_picture_unused_for_longest_makes_room(model, new_prompt, new_picture):
    size = plain(model, new_prompt("a", new_picture(0))).nbytes
    one, two, three = (new_prompt("a", new_picture(seed)) for seed in range(3))
    cache = FeatureCache(model, max_bytes=2 * size)
    model.calls.clear()
    for prompt in (one, two, one, three, one, two):  # three replaces two, so only two is encoded twice
        cache.features([prompt])
    assert model.calls == [1, 1, 1, 1]


def test_a_batch_larger_than_the_cache_is_served_whole(model, prompts):
    features = FeatureCache(model, max_bytes=1).features(prompts)
    torch.testing.assert_close(features, FeatureCache(model).features(prompts))


def test_many_pictures_are_encoded_within_the_patch_budget(model, new_prompt, new_picture, monkeypatch):
    monkeypatch.setattr(features_module, "PATCH_BUDGET", 40)
    pictures = [new_picture(seed) for seed in range(5)] + [new_picture(9, (64, 64))]  # five of 16 patches, one of 256
    features = FeatureCache(model).features([new_prompt("a", each) for each in pictures])
    assert model.calls == [2, 2, 1, 1]
    assert len(features) == 5 * 4 + 64
