"""`expert_ffn` equals its definition, whatever the router chose, forward and backward."""

import pytest
import torch

from kimivl.ops.expert_ffn import expert_ffn, expert_ffn_reference, rounded_rows

E, D, F, T, K = 5, 12, 7, 33, 2


def choices(kind: str) -> torch.Tensor:
    """Router outcomes that broke other implementations: an idle expert, everything on one, a single token."""
    if kind == "one token":
        return torch.tensor([[4, 0]])
    if kind == "all on one":
        return torch.tensor([[3, 3]]).repeat(T, 1)
    ids = torch.stack([torch.randperm(E)[:K] for _ in range(T)])
    return ids.clamp(max=E - 2) if kind == "idle expert" else ids


@pytest.mark.parametrize("kind", ["balanced", "idle expert", "all on one", "one token"])
def test_equals_the_definition(kind):
    torch.manual_seed(0)
    experts = choices(kind)
    inputs = [torch.randn(len(experts), D), torch.rand(experts.shape), torch.randn(E, 2 * F, D), torch.randn(E, D, F)]
    results = []
    for ffn in (expert_ffn, expert_ffn_reference):
        x, weights, w_in, w_out = leaves = [t.double().clone().requires_grad_() for t in inputs]
        y = ffn(x, experts, weights, w_in, w_out)
        y.square().sum().backward()
        results.append([y, *(leaf.grad for leaf in leaves)])
    for fast, slow in zip(*results):
        torch.testing.assert_close(fast, slow)


def test_frozen_experts_pass_gradients_on_without_one_of_their_own():
    x = torch.randn(T, D, requires_grad=True)
    w_in, w_out = torch.randn(E, 2 * F, D), torch.randn(E, D, F)
    expert_ffn(x, choices("balanced"), torch.rand(T, K), w_in, w_out).sum().backward()
    assert x.grad.abs().sum() > 0 and w_in.grad is None and w_out.grad is None


def test_fp32_weights_serve_bf16_activations():
    """Master weights are cast on the way; their gradients are fp32."""
    torch.manual_seed(0)
    x, w_in, w_out = torch.randn(T, D), torch.randn(E, 2 * F, D, requires_grad=True), torch.randn(E, D, F, requires_grad=True)
    experts, weights = choices("idle expert"), torch.rand(T, K)
    exact = expert_ffn_reference(x, experts, weights, w_in, w_out)
    out = expert_ffn(x.bfloat16(), experts, weights, w_in, w_out)
    out.sum().backward()
    assert out.dtype == torch.bfloat16 and w_in.grad.dtype == w_out.grad.dtype == torch.float32
    assert float((out - exact).detach().norm() / exact.detach().norm()) < 0.02
    assert w_in.grad[E - 1].abs().sum() == 0  # the idle one


def test_rows_are_rounded_to_few_sizes_with_little_waste():
    sizes = {count: rounded_rows(count) for count in range(1, 5000)}
    assert all(count <= size for count, size in sizes.items())
    assert max(size / count for count, size in sizes.items() if count >= 64) <= 1.125
    assert len(set(sizes.values())) < 70
    assert rounded_rows(0) == 0
