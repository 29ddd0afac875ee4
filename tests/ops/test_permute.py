"""Reordering rows equals indexing, forward and backward."""

import torch

from kimivl.ops.permute import inverse, permute_rows


def test_equals_indexing_forward_and_backward():
    order = torch.tensor([3, 0, 4, 1, 2])
    x = torch.randn(5, 2, 3)
    results = []
    for function in (permute_rows, lambda rows, order: rows[order]):
        leaf = x.clone().requires_grad_()
        y = function(leaf, order)
        (y * torch.arange(30.0).view(5, 2, 3)).sum().backward()
        results.append((y, leaf.grad))
    assert all(torch.equal(fast, slow) for fast, slow in zip(*results))


def test_the_inverse_undoes_an_order():
    order = torch.tensor([2, 0, 3, 1])
    assert order[inverse(order)].tolist() == inverse(order)[order].tolist() == [0, 1, 2, 3]
