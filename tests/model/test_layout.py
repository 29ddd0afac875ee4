"""The official layout on disk: names, dtypes, shards, errors, and a full disk."""

import json
import os
import resource
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import load_file, save_file

from kimivl.model.kimi_vl import KimiVL
from kimivl.model.layout import CheckpointError, load_model, load_part, load_weights, official_tensors, save_model, save_weights


@pytest.fixture
def model(tiny, randomise):
    return randomise(KimiVL(tiny))


def assert_equal_weights(one, other):
    for (name, mine), (same, theirs) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert name == same and torch.equal(mine, theirs), name


def test_a_model_survives_its_folder(model, tmp_path):
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model", torch.bfloat16)
    assert loaded.config == model.config and loaded.dtype == torch.bfloat16
    assert_equal_weights(model, loaded)


def test_experts_are_single_on_disk_and_nothing_else_is_renamed(model, tmp_path):
    save_weights(model, tmp_path / "w")
    stored = load_file(tmp_path / "w" / "model.safetensors")
    layer = "language_model.model.layers.2.mlp"
    stacks = model.language_model.model.layers[2].mlp.experts
    assert torch.equal(stored.pop(f"{layer}.experts.5.gate_proj.weight"), stacks.gate_up_proj[5, :44])
    assert torch.equal(stored.pop(f"{layer}.experts.5.up_proj.weight"), stacks.gate_up_proj[5, 44:])
    assert torch.equal(stored.pop(f"{layer}.experts.5.down_proj.weight"), stacks.down_proj[5])
    own = {name for name in model.state_dict() if ".experts." not in name}
    assert {name for name in stored if ".mlp.experts." not in name} == own


def test_shards_are_bounded_and_load_again(tiny, model, tmp_path):
    save_weights(model, tmp_path / "w", shard_bytes=100_000)
    index = json.loads((tmp_path / "w" / "model.safetensors.index.json").read_text())
    files = sorted(set(index["weight_map"].values()))
    assert len(files) > 3 and files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    assert set(index["weight_map"]) == set(official_tensors(model))
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in official_tensors(model).values())
    for file in files:
        tensors = load_file(tmp_path / "w" / file)
        assert sum(tensor.nbytes for tensor in tensors.values()) <= 100_000 or len(tensors) == 1
    other = KimiVL(tiny)
    load_weights(other, tmp_path / "w")
    assert_equal_weights(model, other)


def test_weights_may_be_stored_in_bfloat16_but_balance_biases_never(tiny, model, tmp_path):
    save_weights(model, tmp_path / "w", torch.bfloat16)
    dtypes = {name: tensor.dtype for name, tensor in load_file(tmp_path / "w" / "model.safetensors").items()}
    wide = {name for name, dtype in dtypes.items() if dtype == torch.float32}
    assert wide == {f"language_model.model.layers.{layer}.mlp.gate.e_score_correction_bias" for layer in (1, 2)}
    loaded = KimiVL(tiny)
    load_weights(loaded, tmp_path / "w")
    assert loaded.language_model.lm_head.weight.dtype == torch.float32
    assert torch.equal(loaded.language_model.lm_head.weight, model.language_model.lm_head.weight.bfloat16().float())


@pytest.mark.parametrize(("dtype", "written"), [(None, "float32"), (torch.bfloat16, "bfloat16")])
def test_the_config_names_the_dtype_of_the_weights_beside_it(model, tmp_path, dtype, written):
    """Other programs narrow weights to it as they load."""
    save_model(model, tmp_path / "model", dtype)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["torch_dtype"] == written


def test_stored_rotary_frequencies_are_ignored(tiny, model, tmp_path):
    save_weights(model, tmp_path / "w")
    file = tmp_path / "w" / "model.safetensors"
    extra = {f"language_model.model.layers.{layer}.self_attn.rotary_emb.inv_freq": torch.ones(4) for layer in range(3)}
    save_file(load_file(file) | extra, file)
    other = KimiVL(tiny)
    load_weights(other, tmp_path / "w")
    assert_equal_weights(model, other)


def test_one_part_can_be_taken_from_a_checkpoint(tiny, model, randomise, tmp_path):
    save_weights(model, tmp_path / "w")
    other = randomise(KimiVL(tiny.with_text(hidden_size=32)), seed=1)
    before = other.language_model.lm_head.weight.clone()
    load_part(other.vision_tower, tmp_path / "w", "vision_tower.")
    assert_equal_weights(model.vision_tower, other.vision_tower)
    assert torch.equal(other.language_model.lm_head.weight, before)


def test_a_checkpoint_of_another_config_is_refused_and_changes_nothing(tiny, model, randomise, tmp_path):
    save_weights(model, tmp_path / "w")
    other = randomise(KimiVL(tiny.with_text(intermediate_size=180)), seed=1)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_weights(other, tmp_path / "w")
    assert "layers.0.mlp.gate_proj.weight is (176, 64) in the file, the config needs (180, 64)" in str(caught.value)
    assert "3 of another shape, 0 missing, 0 unexpected" in str(caught.value)
    assert "wrong checkpoint for the config" in str(caught.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in other.state_dict().items())


def test_missing_and_unexpected_tensors_are_named(tiny, model, tmp_path):
    save_weights(model, tmp_path / "w")
    with pytest.raises(CheckpointError, match=r"missing: language_model.model.layers.3.self_attn.q_proj.weight \(96, 64\)"):
        load_weights(KimiVL(tiny.with_text(num_hidden_layers=4)), tmp_path / "w")
    with pytest.raises(CheckpointError, match=r"unexpected: language_model.model.layers.2.\S+ \("):
        load_weights(KimiVL(tiny.with_text(num_hidden_layers=2)), tmp_path / "w")


def test_a_language_model_alone_is_recognised(tiny, model, tmp_path):
    save_weights(model.language_model, tmp_path / "w")
    with pytest.raises(CheckpointError, match="this is a language model alone"):
        load_weights(KimiVL(tiny), tmp_path / "w")
    load_weights(KimiVL(tiny).language_model, tmp_path / "w")


def test_missing_and_damaged_files_are_named(tiny, model, tmp_path):
    with pytest.raises(CheckpointError, match="neither model.safetensors nor model.safetensors.index.json"):
        load_weights(model, tmp_path)

    save_weights(model, tmp_path / "w", shard_bytes=100_000)
    shard = sorted((tmp_path / "w").glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=f"{shard.name} is damaged"):
        load_weights(model, tmp_path / "w")
    shard.unlink()
    with pytest.raises(CheckpointError, match=f"names the file '{shard.name}', which is not in"):
        load_weights(model, tmp_path / "w")

    index = tmp_path / "w" / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "../w/model-00001-of-00002.safetensors"}}')
    with pytest.raises(CheckpointError, match="which is not in"):
        load_weights(model, tmp_path / "w")
    index.write_text("[]")
    with pytest.raises(CheckpointError, match="not a safetensors index"):
        load_weights(model, tmp_path / "w")


@contextmanager
def files_limited_to(size: int):
    """A disk that is nearly full, as far as one process can have one: writing further fails in the same call."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_leaves_the_earlier_model(tiny, model, randomise, tmp_path):
    save_model(model, tmp_path / "model")
    with files_limited_to(50_000), pytest.raises(OSError, match="File too large") as caught:
        save_model(randomise(KimiVL(tiny), seed=1), tmp_path / "model")
    assert str(tmp_path / "model") in str(caught.value)
    assert os.listdir(tmp_path) == ["model"]
    assert_equal_weights(model, load_model(tmp_path / "model"))
