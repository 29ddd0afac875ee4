"""Rotary embedding: published frequencies, the order of the axes, and the properties a rotation must have."""

import math

import pytest
import torch

from kimivl.ops.rope import rope_1d, rope_2d, rotate, rotate_reference


def angles(table: torch.Tensor) -> torch.Tensor:
    return torch.atan2(table[..., 1], table[..., 0])


@pytest.mark.parametrize(("theta", "first", "last"), [(8e5, 0.653926, 1.91153e-6), (5e4, 0.713111, 2.80461e-5)])
def test_decoder_frequencies_are_the_published_ones(theta, first, last):
    """64 channels, at place 1 the angle is the frequency."""
    frequency = angles(rope_1d(torch.tensor([1]), 64, theta))[0]
    assert frequency[[0, 1, 31]].tolist() == pytest.approx([1.0, first, last], rel=1e-5)


def test_vision_frequencies_are_the_published_ones_and_columns_come_first():
    """72 channels. The patch at row 0, column 1 turns the even pairs only; the one at row 1, column 0 the odd pairs only."""
    table = angles(rope_2d([(2, 2)], 72))
    column_1, row_1 = table[1], table[2]
    for pairs, still in ((column_1[0::2], column_1[1::2]), (row_1[1::2], row_1[0::2])):
        assert pairs[[0, 1, 17]].tolist() == pytest.approx([1.0, 0.599484, 1.6681e-4], rel=1e-4)
        assert still.abs().max() == 0


def test_every_image_counts_from_its_own_corner():
    both, second = rope_2d([(2, 4), (6, 2)], 8), rope_2d([(6, 2)], 8)
    assert torch.equal(both[8:], second)


def test_adjacent_channels_are_turned_together():
    """As complex numbers: channel pair m times exp(i · angle m)."""
    x_THC = torch.randn(5, 2, 8, dtype=torch.float64)
    place_T = torch.tensor([0, 1, 7, 100, 4000])
    turned = rotate(x_THC, rope_1d(place_T, 8, 50_000.0))
    for channel in range(0, 8, 2):
        frequency = 50_000.0 ** (-channel / 8)
        for token, place in enumerate(place_T.tolist()):
            pair = complex(*x_THC[token, 1, channel : channel + 2].tolist())
            expected = pair * complex(math.cos(place * frequency), math.sin(place * frequency))
            assert turned[token, 1, channel : channel + 2].tolist() == pytest.approx([expected.real, expected.imag], abs=1e-3)


def test_products_depend_on_the_distance_alone():
    q, k = torch.randn(1, 1, 16, dtype=torch.float64), torch.randn(1, 1, 16, dtype=torch.float64)

    def product(query_place: int, key_place: int) -> float:
        turned = [rotate(x, rope_1d(torch.tensor([place]), 16, 800_000.0)) for x, place in ((q, query_place), (k, key_place))]
        return (turned[0] * turned[1]).sum().item()

    assert product(9, 4) == pytest.approx(product(1005, 1000), abs=1e-3)
    assert abs(product(9, 4) - product(9, 5)) > 1e-3


def test_half_precision_is_turned_in_float32():
    x_THC = torch.randn(4, 1, 8).bfloat16()
    table = rope_1d(torch.arange(4), 8, 10_000.0)
    turned = rotate(x_THC, table)
    assert turned.dtype == torch.bfloat16
    torch.testing.assert_close(turned, rotate(x_THC.float(), table).bfloat16(), rtol=0, atol=0)


def test_no_images_give_no_angles():
    assert rope_2d([], 12).shape == (0, 6, 2)


def test_equals_the_definition_forward_and_backward():
    x_THC, grad = torch.randn(2, 7, 3, 8).unbind(0)
    table = rope_1d(torch.arange(7), 8, 10_000.0)
    results = []
    for function in (rotate, rotate_reference):
        x = x_THC.clone().requires_grad_()
        out = function(x, table)
        out.backward(grad)
        results.append((out, x.grad))
    for fast, slow in zip(*results):
        torch.testing.assert_close(fast, slow)


def test_a_short_table_turns_the_last_channels_and_leaves_the_others():
    x_THC = torch.randn(7, 3, 12, requires_grad=True)
    table = rope_1d(torch.arange(7), 8, 10_000.0)
    out = rotate(x_THC, table)
    assert torch.equal(out[..., :4], x_THC[..., :4])
    torch.testing.assert_close(out[..., 4:], rotate_reference(x_THC[..., 4:], table))
    out.sum().backward()
    assert torch.equal(x_THC.grad[..., :4], torch.ones(7, 3, 4))


def test_the_input_is_left_alone():
    """The rotation happens in place, on a copy."""
    x_THC = torch.randn(4, 1, 8)
    before = x_THC.clone()
    rotate(x_THC, rope_1d(torch.arange(4), 8, 10_000.0))
    assert torch.equal(x_THC, before)
