"""`linear_cross_entropy` equals its definition, in pieces or at once, forward and backward."""

import math

import pytest
import torch

from kimivl.ops import cross_entropy
from kimivl.ops.cross_entropy import linear_cross_entropy, linear_cross_entropy_reference

S, D, V = 150, 12, 40


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """64 rows a piece, so that 150 tokens make three."""
    monkeypatch.setattr(cross_entropy, "PIECE_ROWS", 64)


def run(function, hidden, weight, labels):
    leaves = [tensor.clone().requires_grad_() for tensor in (hidden, weight)]
    losses = function(*leaves, labels)
    (losses * torch.linspace(0, 1, len(labels))).sum().backward()
    return [losses, *(leaf.grad for leaf in leaves)]


def inputs(scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (scale * torch.randn(shape, generator=generator) for shape in ((S, D), (V, D)))
    return hidden, weight, torch.randint(V, (S,), generator=generator)


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_equals_the_definition(scale):
    results = [run(function, *inputs(scale)) for function in (linear_cross_entropy, linear_cross_entropy_reference)]
    for fast, slow in zip(*results):
        torch.testing.assert_close(fast, slow, atol=1e-5, rtol=1e-5)


def test_every_token_equally_likely_costs_the_logarithm_of_their_number():
    losses = linear_cross_entropy(torch.zeros(2, D), torch.randn(V, D), torch.tensor([0, 5]))
    assert losses.tolist() == pytest.approx([math.log(V)] * 2)


def test_a_label_that_is_next_to_impossible_has_a_finite_loss():
    """exp(-400) is no float32; the loss must still be 400, and its gradient that of a wrong guess."""
    weight = torch.eye(V)[:, :D].clone()
    hidden = torch.zeros(1, D)
    hidden[0, 0] = 400.0
    hidden.requires_grad_()
    loss = linear_cross_entropy(hidden, weight, torch.tensor([1]))
    loss.sum().backward()
    assert loss.item() == pytest.approx(400.0)
    assert hidden.grad[0, :2].tolist() == pytest.approx([1.0, -1.0])


def test_bf16_activations_give_losses_and_weight_gradients_in_fp32():
    hidden, weight, labels = inputs()
    losses, grad_hidden, grad_weight = run(linear_cross_entropy, hidden.bfloat16(), weight, labels)
    exact = run(linear_cross_entropy_reference, hidden, weight, labels)
    assert (losses.dtype, grad_hidden.dtype, grad_weight.dtype) == (torch.float32, torch.bfloat16, torch.float32)
    for low, high in zip((losses, grad_hidden, grad_weight), exact):
        assert float((low - high).detach().norm() / high.detach().norm()) < 0.01


def test_a_frozen_output_layer_gets_no_gradient():
    hidden, weight, labels = inputs()
    hidden.requires_grad_()
    linear_cross_entropy(hidden, weight, labels).sum().backward()
    assert hidden.grad is not None and weight.grad is None
