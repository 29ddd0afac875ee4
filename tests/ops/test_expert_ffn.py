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
    x, w_in, w_out = torch.randn(T, D), torch.randn(E, 2 * F, D), torch.randn(E, D, F)
    experts, weights = choices("idle expert"), torch.rand(T, K)
    grad_y = torch.randn(T, D)
    results = []
    for ffn, dtype in ((expert_ffn_reference, torch.float32), (expert_ffn, torch.bfloat16)):
        leaves = [t.detach().to(kind).requires_grad_() for t, kind in ((x, dtype), (weights, None), (w_in, None), (w_out, None))]
        y = ffn(leaves[0], experts, *leaves[1:])
        y.backward(grad_y.to(dtype))
        results.append([y.detach(), *(leaf.grad for leaf in leaves)])
    exact, found = results
    assert [t.dtype for t in found] == [torch.bfloat16, torch.bfloat16, *[torch.float32] * 3]
    for ours, definition in zip(found, exact):
        assert float((ours.float() - definition).norm() / definition.norm()) < 0.02
    assert found[3][E - 1].abs().sum() == 0  # the idle one


def test_rows_are_rounded_to_few_sizes_with_little_waste():
    sizes = {count: rounded_rows(count) for count in range(1, 5000)}
    assert all(count <= size for count, size in sizes.items())
    assert max(size / count for count, size in sizes.items() if count >= 64) <= 1.125
    assert len(set(sizes.values())) < 70
    assert rounded_rows(0) == 0
