"""`orthogonalize` comes close to the polar factor of the SVD, for every shape, scale and grouping."""

import math

import pytest
import torch

from kimivl.optim import orthogonalize

SHAPES = [(64, 64), (96, 192), (192, 96), (8, 192), (256, 64)]


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(96, 192), (192, 96), (256, 64), (256, 256)])
def test_is_near_the_polar_factor_and_scaled_updates_have_rms_0_2(shape, dtype):
    m = gaussian(*shape)
    result = orthogonalize(m, dtype=dtype).float()
    u, _, vh = torch.linalg.svd(m, full_matrices=False)
    assert torch.cosine_similarity(result.flatten(), (u @ vh).flatten(), dim=0) > 0.97
    assert torch.linalg.matrix_norm(result, 2) < 1.25
    scaled = 0.2 * math.sqrt(max(shape)) * result
    assert 0.17 < scaled.square().mean().sqrt() < 0.21


def test_a_matrix_of_low_rank_gets_a_small_update():
    m = gaussian(256, 4) @ gaussian(4, 256, seed=1)
    rms = orthogonalize(m, dtype=torch.float32).square().mean().sqrt()
    theory = math.sqrt(4 / (256 * 256))
    assert 0.7 < rms / theory < 1.2


@pytest.mark.parametrize("shape", SHAPES)
def test_a_tall_matrix_is_the_transposed_wide_one(shape):
    m = gaussian(*shape)
    tall, wide = orthogonalize(m.mT, dtype=torch.float32), orthogonalize(m, dtype=torch.float32)
    torch.testing.assert_close(tall, wide.mT, rtol=0, atol=2e-6)


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.bfloat16, 2e-2), (torch.float32, 5e-6)])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_stack_gives_its_matrices_one_by_one(shape, dtype, rounding):
    """Up to the order of sums, which on some processors depends on the number of matrices."""
    stack = gaussian(2, 3, *shape)
    one_by_one = [orthogonalize(m, dtype=dtype) for m in stack.flatten(0, 1)]
    found = orthogonalize(stack, dtype=dtype)
    torch.testing.assert_close(found.float(), torch.stack(one_by_one).view(stack.shape).float(), atol=rounding, rtol=0)


def test_a_zero_matrix_stays_zero_and_leaves_its_neighbours_alone():
    m = gaussian(3, 16, 32)
    m[1] = 0
    result = orthogonalize(m)
    assert not result[1].any()
    assert torch.equal(result[2], orthogonalize(m[2]))


@pytest.mark.parametrize("scale", [2.0**-20, 2.0**10])
def test_the_scale_of_the_input_does_not_matter(scale):
    m = gaussian(32, 48)
    assert torch.equal(orthogonalize(m * scale, dtype=torch.float32), orthogonalize(m, dtype=torch.float32))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_input_is_left_unchanged(dtype):
    m = gaussian(32, 48).to(dtype)
    before = m.clone()
    assert orthogonalize(m, dtype=dtype).dtype == dtype
    assert torch.equal(m, before)


def test_a_vector_is_refused():
    with pytest.raises(ValueError, match=r"matrices .* shape \[7\]"):
        orthogonalize(torch.ones(7))
