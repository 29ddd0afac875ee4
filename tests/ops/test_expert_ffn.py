"""`expert_ffn` equals its definition, whatever the router chose, forward and backward."""

import pytest
import torch

from kimivl.ops.expert_ffn import expert_ffn, expert_ffn_reference

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
