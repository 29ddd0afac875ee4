"""Averaged weights: every tensor's mean, and models that do not belong together refused by name."""

import pytest
import torch

from kimivl.config.base import ConfigError
from kimivl.model.average import average_models
from kimivl.model.kimi_vl import KimiVL
from kimivl.model.layout import CheckpointError, load_model, save_model, save_weights


@pytest.fixture
def folders(tiny, randomise, tmp_path):
    """Three models with other weights each."""
    made = [tmp_path / name for name in "abc"]
    for seed, folder in enumerate(made):
        save_model(randomise(KimiVL(tiny), seed), folder)
    return made


def test_every_tensor_is_the_mean_of_the_models_the_balance_biases_too(folders):
    averaged = average_models(folders).state_dict()
    parts = [load_model(folder).state_dict() for folder in folders]
    assert averaged.keys() == parts[0].keys() and any(name.endswith("e_score_correction_bias") for name in averaged)
    for name, tensor in averaged.items():
        torch.testing.assert_close(tensor, sum(part[name] for part in parts) / 3, msg=name)
        assert not torch.equal(tensor, parts[0][name]), name


def test_a_model_averaged_with_itself_is_itself(folders):
    averaged, alone = average_models([folders[0], folders[0]]).state_dict(), load_model(folders[0]).state_dict()
    assert all(torch.equal(tensor, alone[name]) for name, tensor in averaged.items())


def test_the_average_reads_as_far_as_the_longest_of_its_models(tiny, randomise, folders, tmp_path):
    longer = tiny.with_text(max_position_embeddings=2 * tiny.text_config.max_position_embeddings)
    save_model(randomise(KimiVL(longer)), tmp_path / "longer")
    for order in ([folders[0], tmp_path / "longer"], [tmp_path / "longer", folders[0]]):
        assert average_models(order).config == longer


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_size": 32}, "text_config.hidden_size is 64 in the one and 32 in the other; average models of one shape"),
        ({"rope_theta": 800_000.0}, "text_config.rope_theta is 50000.0 in the one and 800000.0 in the other"),
    ],
)
def test_models_of_other_shapes_are_refused_with_both_folders_and_the_key(tiny, folders, tmp_path, change, words):
    save_model(KimiVL(tiny.with_text(**change)), tmp_path / "other")
    with pytest.raises(ConfigError, match=f"{folders[0]} and {tmp_path / 'other'} cannot be averaged: {words}"):
        average_models([folders[0], tmp_path / "other"])


def test_weights_that_do_not_fit_their_config_and_a_lone_model_are_refused(tiny, folders):
    save_weights(KimiVL(tiny.with_text(hidden_size=32)), folders[1] / "weights")
    (folders[1] / "weights" / "model.safetensors").replace(folders[1] / "model.safetensors")
    with pytest.raises(CheckpointError, match=rf"{folders[1]}: .* of another shape"):
        average_models(folders)
    with pytest.raises(ValueError, match="an average is of at least two models, got 1"):
        average_models(folders[:1])
