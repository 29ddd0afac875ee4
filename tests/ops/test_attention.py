"""`attention` equals its definition, forward and backward, for the segment lengths that take different paths."""

import pytest
import torch

from kimivl.ops import attention as attention_file
from kimivl.ops.attention import attention, attention_reference
from kimivl.ops.segments import ROW_STEP, SHORT, Segments

LENGTHS = {
    "one token": [1],
    "ones among others": [1, 40, 1, 1],
    "not multiples of the row step": [ROW_STEP - 1, ROW_STEP, ROW_STEP + 1, 5],
    "equal, without padding": [32, 32, 32],
    "around the border of short": [SHORT - 1, SHORT, SHORT + 1],
    "long between short": [3, SHORT + 45, 17],
}


def run(function, tensors, lengths, causal):
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    out = function(*leaves, Segments(lengths), causal)
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    (out * weights).sum().backward()
    return [out, *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("value_width", [12, 8, 20], ids=["equal width", "narrower values", "wider values"])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_equals_the_definition(lengths, value_width, causal):
    generator = torch.Generator().manual_seed(0)
    shapes = [(sum(lengths), 3, width) for width in (12, 12, value_width)]
    tensors = [2 * torch.randn(shape, generator=generator) for shape in shapes]
    for fast, slow in zip(run(attention, tensors, lengths, causal), run(attention_reference, tensors, lengths, causal)):
        torch.testing.assert_close(fast, slow, atol=2e-5, rtol=1e-5)


def test_a_token_alone_returns_its_value():
    v_THC = torch.randn(2, 3, 4)
    out = attention(torch.randn(2, 3, 8), torch.randn(2, 3, 8), v_THC, Segments([1, 1]), causal=True)
    torch.testing.assert_close(out, v_THC)


def test_padding_takes_no_part_even_where_values_are_not_numbers():
    """A segment's padding must not leak from its neighbours: not-a-number next door stays next door."""
    q, k, v = (torch.randn(20, 2, 8) for _ in range(3))
    v[5:] = float("nan")
    out = attention(q, k, v, Segments([5, 15]), causal=False)
    assert out[:5].isfinite().all() and out[5:].isnan().all()


def test_an_empty_pack_gives_an_empty_result():
    empty = torch.zeros(0, 2, 8)
    assert attention(empty, empty, empty, Segments([]), causal=False).shape == (0, 2, 8)


def test_the_result_keeps_the_dtype():
    q, k, v = (torch.randn(9, 2, 8, dtype=torch.bfloat16) for _ in range(3))
    exact = attention_reference(q.float(), k.float(), v.float(), Segments([4, 5]), causal=True)
    out = attention(q, k, v, Segments([4, 5]), causal=True)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), exact, atol=3e-2, rtol=3e-2)


@pytest.mark.parametrize("size", [1, 4, 8])
def test_in_bf16_large_scores_cost_no_more_than_their_own_rounding(size):
    """A score rounded to 8 bits is off by at most 2⁻⁹ of itself, a probability by twice the largest such error, and probabilities
    and results are rounded once more; against fp64 from the same inputs."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(200, 2, 32, generator=generator).mul(scale).bfloat16() for scale in (size, 1, 1))
    segments = Segments([200])
    exact = attention_reference(q.double(), k.double(), v.double(), segments, causal=True)
    largest = torch.einsum("thc,shc->hts", q.double(), k.double()).abs().max() * 32**-0.5
    bound = (2 * largest * 2**-9 + 3 * 2**-9) * v.double().abs().max()
    error = (attention(q, k, v, segments, causal=True).double() - exact).abs().max()
    assert error < bound


def test_segments_that_do_not_cover_the_tokens_are_refused():
    with pytest.raises(ValueError, match="segments cover 4 tokens but the queries hold 5"):
        attention(*(torch.zeros(5, 1, 4) for _ in range(3)), Segments([4]), causal=True)


@pytest.mark.parametrize("causal", [True, False])
def test_probabilities_that_are_computed_again_give_the_same_gradients(monkeypatch, causal):
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(SHORT + 50, 2, 8, generator=generator) for _ in range(3)]
    kept = run(attention, tensors, [SHORT + 50], causal)
    monkeypatch.setattr(attention_file, "KEPT_WIDTH", 0)
    for first, second in zip(run(attention, tensors, [SHORT + 50], causal), kept):
        assert torch.equal(first, second)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("value_width", [12, 8, 20])
def test_the_way_of_other_devices_gives_the_same(value_width, causal):
    lengths = [3, SHORT + 5, 1]
    tensors = [torch.randn(sum(lengths), 2, width) for width in (12, 12, value_width)]
    other = run(attention_file._one_by_one, tensors, lengths, causal)
    for first, second in zip(other, run(attention, tensors, lengths, causal)):
        torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("lengths", [[5, 9], [SHORT + 45, 17], [3 * SHORT]], ids=["short", "several tiles", "many tiles"])
def test_in_bf16_gradients_are_those_of_float32_but_for_the_rounding(lengths, causal):
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(sum(lengths), 2, 16, generator=generator).bfloat16() for _ in range(3)]
    exact = run(attention_reference, [tensor.double() for tensor in tensors], lengths, causal)
    for found, definition in zip(run(attention, tensors, lengths, causal), exact):
        assert found.dtype == torch.bfloat16
        assert float((found.double() - definition).norm() / definition.norm()) < 0.02


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_pieces_of_a_single_row_give_the_same(monkeypatch, causal, kept):
    """As for long documents, whose scores of one head fill the cache."""
    lengths = [SHORT + 45, SHORT + 45, 7]
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(sum(lengths), 3, 8, generator=generator) for _ in range(3)]
    exact = run(attention_reference, tensors, lengths, causal)
    monkeypatch.setattr(attention_file, "PIECE_ELEMENTS", 1)
    if not kept:
        monkeypatch.setattr(attention_file, "KEPT_WIDTH", 0)
    for found, definition in zip(run(attention, tensors, lengths, causal), exact):
        torch.testing.assert_close(found, definition, atol=2e-5, rtol=1e-5)
