"""`kimivl bench step` compares equal work, reports it in the agreed form, and says what is missing."""

import json
import math
import sys

import pytest
import torch

from kimivl.bench import step
from kimivl.bench.deepseek import IGNORED, Form, Peer, forms
from kimivl.bench.step import Load
from kimivl.config.model import TextConfig
from kimivl.model.initialise import initialise
from kimivl.model.moonlight import Moonlight
from kimivl.optim import MuonAdamW, param_specs

TINY = TextConfig(
    vocab_size=64, hidden_size=32, intermediate_size=48, moe_intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
    kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=8, n_routed_experts=4, num_experts_per_tok=2,
    routed_scaling_factor=1.5,
)  # fmt: skip
LOAD = Load("short", "three samples", (5, 9, 2), TINY.vocab_size)


@pytest.fixture
def ours() -> Moonlight:
    model = Moonlight(TINY)
    initialise(model, 0, 0.2)
    return model


def test_both_sides_read_the_same_tokens():
    """Packed and padded, each token and its label, in the same order; padding is not learned."""
    ids_BL, labels_BL, mask_BL = LOAD.padded
    real_BL = labels_BL != IGNORED
    assert torch.equal(ids_BL[real_BL], LOAD.packed[0]) and torch.equal(labels_BL[real_BL], LOAD.packed[1])
    assert torch.equal(mask_BL, real_BL.long()) and int(mask_BL.sum()) == 16
    assert torch.equal(LOAD.packed[1][:4], LOAD.packed[0][1:5])  # a label is the next token


def test_full_rows_need_no_mask():
    assert Load("rows", "two rows", (4, 4), 64).padded[2] is None


def test_both_sides_have_the_same_loss_and_take_the_same_muon_step(ours):
    """In fp32: the peer's torch.optim.Muon gets the very blocks that ours orthogonalises."""
    peer = Peer(ours, Form(torch.float32, "eager", torch.float32))
    specs = param_specs((f"language_model.{name}", parameter) for name, parameter in ours.named_parameters())
    sides = [step._our_side(ours, torch.float32), step._peer_side(peer)]
    losses = [[side(LOAD)["loss"] for side in sides] for _ in range(3)]
    for our_loss, peer_loss in losses:
        assert our_loss == pytest.approx(peer_loss, rel=1e-4)
    assert losses[2][0] < losses[0][0]
    assert sum(len(spec.blocks(spec.parameter)) for spec in specs if spec.kind == "muon") > 10


def test_muon_alone_steps_both_sides_alike(ours):
    peer = Peer(ours, Form(torch.float32, "grouped_mm", torch.float32))
    specs = param_specs((f"language_model.{name}", parameter) for name, parameter in ours.named_parameters())
    theirs = dict(peer.model.named_parameters())
    for name, parameter in ours.named_parameters():
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name)))
        theirs[name].grad = parameter.grad.clone()
    MuonAdamW(specs, 0.1, weight_decay=0.1).step()
    peer.muon(0.1, 0.1)()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(theirs[name], parameter, rtol=0, atol=2e-3, msg=lambda text, name=name: f"{name}: {text}")


def test_the_peer_is_tried_in_every_form_of_its_users():
    assert {str(form) for form in forms(torch.bfloat16)} == {
        "autocast over float32 weights, grouped_mm experts",
        "autocast over float32 weights, eager experts",
        "bfloat16 weights, grouped_mm experts",
        "bfloat16 weights, eager experts",
    }
    assert all(form.weights == torch.float32 for form in forms(torch.float32))


def test_sides_that_compute_something_else_are_not_compared(ours):
    peer = Peer(ours, Form(torch.float32, "eager", torch.float32))
    step._check_same_model(ours, peer, torch.float32, LOAD)
    with torch.no_grad():
        ours.model.layers[1].mlp.experts.down_proj.neg_()
    with pytest.raises(RuntimeError, match=r"do not train the same model: their logits differ by 0\.[1-9]"):
        step._check_same_model(ours, peer, torch.float32, LOAD)


@pytest.fixture
def tiny_bench(monkeypatch):
    monkeypatch.setattr(step, "preset", lambda name: {"tiny": type("Config", (), {"text_config": TINY})()}[name])
    monkeypatch.setattr(step, "_loads", lambda text: [Load("rows", "two rows", (6, 6), text.vocab_size), LOAD])


def test_a_comparison_is_one_json_object_a_line(tiny_bench, capsys):
    assert step.main("tiny", as_json=True) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["name"] for record in records] == ["step", "step.rows.adamw", "step.short.muon", "step.short.adamw"]
    for record in records:
        assert {"name", "ours", "peer", "peer_name", "unit", "ratio", "bar", "where"} <= set(record)
        assert math.isclose(record["ratio"], record["ours"] / record["peer"], rel_tol=0.01)
        assert "DeepseekV3ForCausalLM" in record["peer_name"] and "torch" in record["where"]
    assert records[0]["bar"] == 1.3


def test_without_the_option_it_is_said_in_words_too(tiny_bench, capsys):
    assert step.main("tiny") == 0
    said = capsys.readouterr()
    assert "times as fast (asked for: 1.3)" in said.err.splitlines()[0]
    assert json.loads(said.out.splitlines()[0])["bar"] == 1.3


def test_a_missing_peer_is_an_error_that_says_how_to_install_it(tiny_bench, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert step.main("tiny", as_json=True) == 1
    output = capsys.readouterr()
    assert output.out == "" and "pip install 'transformers" in output.err


def test_a_preset_that_does_not_fit_is_refused_before_it_is_built():
    with pytest.raises(ValueError, match=r"16\.0 G parameters need \d+ GB .* choose a smaller preset"):
        step.run("a3b")
