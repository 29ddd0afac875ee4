"""The loss of DPO against numbers from hand, and the direction in which it pushes."""

import math

import pytest
import torch

from kimivl.rl.preference import preference_losses


def test_the_loss_by_hand():
    """Ratios are +1 and −2 nats in the first pair, 0 and +4 in the second: margins 3 and −4; −log σ(x) = log(1 + e^−x)."""
    logp = torch.tensor([[-9.0, -22.0], [-7.0, -6.0]])
    reference = torch.tensor([[-10.0, -20.0], [-7.0, -10.0]])
    losses, margins = preference_losses(logp, reference, beta=0.5)
    assert margins.tolist() == [3.0, -4.0]
    assert losses.tolist() == pytest.approx([math.log1p(math.exp(-1.5)), math.log1p(math.exp(2.0))])


def test_it_starts_at_log_two_and_pushes_each_pair_apart_by_half_beta():
    logp = torch.tensor([[-3.0, -8.0]], requires_grad=True)
    losses, margins = preference_losses(logp, logp.detach(), beta=0.2)
    losses.sum().backward()
    assert losses.item() == pytest.approx(math.log(2)) and margins.item() == 0
    torch.testing.assert_close(logp.grad, torch.tensor([[-0.1, 0.1]]))
