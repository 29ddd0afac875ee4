"""`MuonAdamW` equals torch's optimizers where those exist, does not care how matrices are stored, and resumes to the bit."""

import math
import zlib

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from kimivl.optim import MuonAdamW, ParamSpec, all_adamw, muon

EQUAL_SHAPES = {"q": (48, 32), "k": (48, 32), "o": (32, 48), "square": (32, 32), "router": (8, 32)}


def noise(shape: tuple[int, ...], *key: object) -> Tensor:
    """The same values whenever the same key asks."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(repr(key).encode())))


def parameters(shapes: dict[str, tuple[int, ...]]) -> dict[str, nn.Parameter]:
    return {name: nn.Parameter(noise(shape, name)) for name, shape in shapes.items()}


def set_gradients(named: dict[str, nn.Parameter], step: int) -> None:
    for name, parameter in named.items():
        parameter.grad = 1e-3 * noise(tuple(parameter.shape), name, step)


def specs_of(named: dict[str, nn.Parameter], kind: str = "muon", **splits: int) -> list[ParamSpec]:
    return [ParamSpec(name, parameter, kind, splits.get(name, 1), label=name) for name, parameter in named.items()]


def mixed_specs() -> tuple[dict[str, nn.Parameter], list[ParamSpec]]:
    """A little of everything: matrices, an expert stack, a fused matrix, a gain, a bias, a scalar."""
    named = parameters({**EQUAL_SHAPES, "experts": (4, 16, 32), "fused": (96, 32), "gain": (32,), "scale": ()})
    kinds = {"gain": "adamw", "scale": "adamw"}
    splits = {"experts": 2, "fused": 3}
    return named, [ParamSpec(n, p, kinds.get(n, "muon"), splits.get(n, 1), label=n) for n, p in named.items()]


def train(optimizer: torch.optim.Optimizer, named: dict[str, nn.Parameter], steps: range) -> dict[str, Tensor]:
    """Steps with a changing learning rate; returns the values reached."""
    for step in steps:
        set_gradients(named, step)
        for group in optimizer.param_groups:
            group["lr"] = 0.02 / (1 + step)
        optimizer.step()
    return {name: parameter.detach().clone() for name, parameter in named.items()}


def assert_same_bits(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    different = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    assert not different


def test_equals_torch_muon_over_twenty_steps():
    ours, theirs = parameters(EQUAL_SHAPES), parameters(EQUAL_SHAPES)
    peer = torch.optim.Muon(theirs.values(), momentum=0.95, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    expected = train(peer, theirs, range(20))
    for name, value in train(MuonAdamW(specs_of(ours), lr=0.02), ours, range(20)).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-6)


def test_all_adamw_equals_torch_adamw_over_twenty_steps():
    ours, specs = mixed_specs()
    theirs, _ = mixed_specs()
    peer = torch.optim.AdamW(theirs.values(), betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, foreach=False)
    expected = train(peer, theirs, range(20))
    for name, value in train(MuonAdamW(all_adamw(specs), lr=0.02), ours, range(20)).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("ns_dtype", [torch.bfloat16, torch.float32])
def test_a_stack_equals_separate_matrices(ns_dtype):
    stacked = parameters({"experts": (5, 16, 32)})
    apart = {f"{i}": nn.Parameter(matrix.clone()) for i, matrix in enumerate(stacked["experts"].detach())}
    together = MuonAdamW(specs_of(stacked), lr=0.02, ns_dtype=ns_dtype)
    alone = MuonAdamW(specs_of(apart), lr=0.02, ns_dtype=ns_dtype)
    for step in range(5):
        set_gradients(stacked, step)
        for parameter, gradient in zip(apart.values(), stacked["experts"].grad):
            parameter.grad = gradient.clone()
        together.step()
        alone.step()
    assert torch.equal(stacked["experts"], torch.stack(list(apart.values())))


@pytest.mark.parametrize(("shape", "splits"), [((96, 32), 3), ((4, 16, 32), 2)])
def test_a_fused_parameter_equals_its_parts(shape, splits):
    rows = shape[-2] // splits
    pieces = [(first, first + rows) for first in range(0, shape[-2], rows)]
    fused = parameters({"fused": shape})
    parts = {f"{a}": nn.Parameter(fused["fused"].detach()[..., a:b, :].clone()) for a, b in pieces}
    optimizers = [MuonAdamW(specs_of(fused, fused=splits), lr=0.02), MuonAdamW(specs_of(parts), lr=0.02)]
    for step in range(5):
        set_gradients(fused, step)
        for parameter, (a, b) in zip(parts.values(), pieces):
            parameter.grad = fused["fused"].grad[..., a:b, :].clone()
        for optimizer in optimizers:
            optimizer.step()
    assert torch.equal(fused["fused"], torch.cat(list(parts.values()), dim=-2))


@pytest.mark.parametrize("limit", [1, 4000, 2**40])
def test_how_matrices_are_stacked_does_not_change_the_step(limit, monkeypatch):
    named, specs = mixed_specs()
    expected = train(MuonAdamW(specs, lr=0.02), named, range(3))
    monkeypatch.setattr(muon, "STACK_ELEMENTS", limit)
    named, specs = mixed_specs()
    assert_same_bits(train(MuonAdamW(specs, lr=0.02), named, range(3)), expected)


def test_every_parameter_decays_gains_and_scalars_included():
    named, specs = mixed_specs()
    before = {name: parameter.detach().clone() for name, parameter in named.items()}
    MuonAdamW(specs, lr=0.02).step()  # no gradient at all: nothing but decay is left
    for name, parameter in named.items():
        torch.testing.assert_close(parameter.detach(), before[name] * (1 - 0.02 * 0.1))


def test_a_missing_gradient_is_a_zero_gradient():
    results = []
    for missing in (True, False):
        named, specs = mixed_specs()
        optimizer = MuonAdamW(specs, lr=0.02)
        train(optimizer, named, range(2))
        for parameter in named.values():
            parameter.grad = None if missing else torch.zeros_like(parameter)
        optimizer.step()
        results.append({name: parameter.detach() for name, parameter in named.items()} | optimizer.state_dict_by_name())
    assert_same_bits(*results)


def test_an_idle_expert_follows_its_momentum():
    named = parameters({"experts": (2, 16, 32)})
    optimizer = MuonAdamW(specs_of(named), lr=0.02, weight_decay=0.0)
    set_gradients(named, 0)
    optimizer.step()
    before = named["experts"].detach().clone()
    named["experts"].grad[1] = 0
    optimizer.step()
    moved = (named["experts"].detach() - before).square().mean((1, 2)).sqrt() / 0.02
    assert (0.15 < moved).all() and (moved < 0.22).all()


def test_update_rms_is_what_the_parameters_moved_by():
    named, specs = mixed_specs()
    optimizer = MuonAdamW(specs, lr=0.01, weight_decay=0.0)
    train(optimizer, named, range(3))
    optimizer.set_lr(0.01)
    before = {name: parameter.detach().double() for name, parameter in named.items()}
    optimizer.step(measure=True)
    rms = optimizer.update_rms()
    assert list(rms) == list(named)
    for name, parameter in named.items():
        moved = (parameter.detach().double() - before[name]).square().mean().sqrt() / 0.01
        assert rms[name] == pytest.approx(moved.item(), rel=1e-4)


def test_update_rms_pools_the_parameters_of_a_label():
    named = parameters({"a": (64, 128), "b": (256, 32), "gain": (64,)})
    kinds = [("a", "muon", "matrices"), ("b", "muon", "matrices"), ("gain", "adamw", "gains")]
    optimizer = MuonAdamW([ParamSpec(name, named[name], kind, label=label) for name, kind, label in kinds], lr=0.01)
    set_gradients(named, 0)
    optimizer.step(measure=True)
    rms = optimizer.update_rms()
    assert 0.17 < rms["matrices"] < 0.21
    assert rms["gains"] == pytest.approx(1.0, rel=1e-3)  # AdamW's first step is the sign of the gradient


def test_measuring_does_not_change_the_step():
    results = []
    for measure in (True, False):
        named, specs = mixed_specs()
        set_gradients(named, 0)
        MuonAdamW(specs, lr=0.02).step(measure=measure)
        results.append({name: parameter.detach() for name, parameter in named.items()})
    assert_same_bits(*results)


def test_update_rms_before_a_measured_step_is_refused():
    named, specs = mixed_specs()
    optimizer = MuonAdamW(specs, lr=0.02)
    train(optimizer, named, range(1))
    with pytest.raises(ValueError, match=r"step\(measure=True\)"):
        optimizer.update_rms()


@pytest.mark.parametrize("through", ["names in safetensors", "torch's state_dict"])
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(through):
    named, specs = mixed_specs()
    expected = train(MuonAdamW(specs, lr=0.02), named, range(6))

    named, specs = mixed_specs()
    first = MuonAdamW(specs, lr=0.02)
    halfway = train(first, named, range(3))

    resumed, specs = mixed_specs()
    for name, parameter in resumed.items():
        parameter.data.copy_(halfway[name])
    second = MuonAdamW(specs, lr=0.5)
    if through == "names in safetensors":
        second.load_state_by_name(load(save(first.state_dict_by_name())))
    else:
        second.load_state_dict(first.state_dict())
    assert_same_bits(train(second, resumed, range(3, 6)), expected)


def test_state_names_say_parameter_and_part():
    named = parameters({"a.weight": (4, 6), "b.bias": (4,)})
    kinds = {"a.weight": "muon", "b.bias": "adamw"}
    optimizer = MuonAdamW([ParamSpec(name, named[name], kind) for name, kind in kinds.items()], lr=0.1)
    optimizer.step()
    state = optimizer.state_dict_by_name()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == {
        "step": (),
        "a.weight.momentum": (4, 6),
        "b.bias.exp_avg": (4,),
        "b.bias.exp_avg_sq": (4,),
    }
    assert state["step"] == 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda state: state.pop("q.momentum"), "missing: q.momentum"),
        (lambda state: state.update(x=torch.zeros(1)), "unknown: x"),
        (lambda state: state.update({"q.momentum": torch.zeros(2, 2)}), r"q.momentum is .* \[2, 2\], expected .* \[48, 32\]"),
        (lambda state: state.update({"gain.exp_avg": torch.zeros(32).bfloat16()}), "gain.exp_avg is torch.bfloat16"),
        (lambda state: state.pop("step"), "missing: step"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_nothing_is_loaded(fault, message):
    named, specs = mixed_specs()
    donor = MuonAdamW(specs, lr=0.02)
    train(donor, named, range(1))
    state = {name: tensor.clone() for name, tensor in donor.state_dict_by_name().items()}
    fault(state)

    _, specs = mixed_specs()
    optimizer = MuonAdamW(specs, lr=0.02)
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_by_name(state)
    assert not any(tensor.any() for tensor in optimizer.state_dict_by_name().values())


def test_a_muon_state_is_not_an_adamw_state():
    _, specs = mixed_specs()
    state = MuonAdamW(specs, lr=0.02).state_dict_by_name()
    with pytest.raises(ValueError, match="missing: q.exp_avg.* and 9 more; unknown: q.momentum.*choice of Muon or AdamW"):
        MuonAdamW(all_adamw(specs), lr=0.02).load_state_by_name(state)


def test_a_process_that_owns_nothing_steps_and_saves():
    optimizer = MuonAdamW([], lr=0.02)
    optimizer.step(measure=True)
    assert optimizer.update_rms() == {}
    assert list(optimizer.state_dict_by_name()) == ["step"]


def test_a_closure_is_evaluated_with_gradients_before_the_step():
    named = parameters({"q": (8, 16)})
    optimizer = MuonAdamW(specs_of(named), lr=0.02)
    before = named["q"].detach().clone()

    def closure() -> float:
        optimizer.zero_grad()
        loss = named["q"].square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == pytest.approx(before.square().sum().item())
    assert named["q"].square().sum() < before.square().sum()


@pytest.mark.parametrize("lr", [-1e-3, math.nan, math.inf])
def test_an_impossible_learning_rate_is_refused(lr):
    _, specs = mixed_specs()
    with pytest.raises(ValueError, match="learning rate"):
        MuonAdamW(specs, lr=lr)
    with pytest.raises(ValueError, match="learning rate"):
        MuonAdamW(specs, lr=0.1).set_lr(lr)


def test_other_impossible_settings_are_refused():
    named, specs = mixed_specs()
    with pytest.raises(ValueError, match="momentum is 1.0"):
        MuonAdamW(specs, lr=0.1, momentum=1.0)
    with pytest.raises(ValueError, match="beta2 is -0.1"):
        MuonAdamW(specs, lr=0.1, betas=(0.9, -0.1))
    with pytest.raises(ValueError, match="two specs are named q"):
        MuonAdamW([*specs, ParamSpec("q", nn.Parameter(torch.zeros(2, 2)), "muon")], lr=0.1)
    with pytest.raises(ValueError, match="half is torch.bfloat16.*fp32 master weights"):
        MuonAdamW([ParamSpec("half", nn.Parameter(torch.zeros(2, 2).bfloat16()), "muon")], lr=0.1)
    with pytest.raises(ValueError, match="cannot grow"):
        MuonAdamW(specs, lr=0.1).add_param_group({"params": [nn.Parameter(torch.zeros(2))]})
