"""RMSNorm equals its definition, forward and backward, with fp32 statistics."""

import pytest
import torch

from kimivl.ops.norm import rms_norm, rms_norm_reference


def test_a_hand_worked_row():
    """Mean square of (3, 4) is 12.5; with eps 3.5 the divisor is 4."""
    torch.testing.assert_close(rms_norm(torch.tensor([[3.0, 4.0]]), torch.tensor([1.0, 2.0]), 3.5), torch.tensor([[0.75, 2.0]]))


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e3])
def test_equals_the_definition_forward_and_backward(scale):
    x_TD, gain_D = torch.randn(6, 10) * scale, torch.randn(10)
    results = []
    for function in (rms_norm, rms_norm_reference):
        x, gain = x_TD.clone().requires_grad_(), gain_D.clone().requires_grad_()
        y = function(x, gain, 1e-5)
        (y * torch.linspace(-1, 1, 60).view(6, 10)).sum().backward()
        results.append((y, x.grad, gain.grad))
    for fast, slow in zip(*results):
        torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5 * float(slow.detach().abs().max()))


def test_statistics_are_float32():
    """300² overflows float16, and bfloat16 would lose the small channels of the sum."""
    x_TD = torch.full((1, 4096), 300.0)
    assert rms_norm(x_TD.half(), torch.ones(4096), 1e-5).tolist()[0][0] == pytest.approx(1.0, abs=1e-3)
    ramp = torch.linspace(0, 1, 4096)[None].bfloat16()
    out = rms_norm(ramp, torch.ones(4096), 1e-5)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), rms_norm_reference(ramp.float(), torch.ones(4096), 1e-5), rtol=1e-2, atol=1e-2)


def test_in_bf16_gradients_are_those_of_float32_but_for_the_rounding():
    generator = torch.Generator().manual_seed(0)
    x_TD, gain_D, grad_TD = (torch.randn(shape, generator=generator) for shape in ((64, 48), (48,), (64, 48)))
    results = []
    for function, dtype in ((rms_norm_reference, torch.float32), (rms_norm, torch.bfloat16)):
        x, gain = x_TD.bfloat16().to(dtype).requires_grad_(), gain_D.clone().requires_grad_()
        y = function(x, gain, 1e-5)
        y.backward(grad_TD.to(y.dtype))
        results.append((y.detach().float(), x.grad.float(), gain.grad))
    for exact, found in zip(*results):
        assert float((found - exact).norm() / exact.norm()) < 0.01


def test_any_number_of_leading_dimensions():
    x, gain = torch.randn(2, 3, 8, requires_grad=True), torch.randn(8, requires_grad=True)
    rms_norm(x, gain, 1e-5).sum().backward()
    flat, flat_gain = x.detach().flatten(0, 1).requires_grad_(), gain.detach().clone().requires_grad_()
    rms_norm(flat, flat_gain, 1e-5).sum().backward()
    torch.testing.assert_close(x.grad.flatten(0, 1), flat.grad)
    torch.testing.assert_close(gain.grad, flat_gain.grad)
