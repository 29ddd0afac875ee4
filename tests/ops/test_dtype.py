"""bf16 where the processor multiplies it, unless a recipe says otherwise."""

import pytest
import torch

from kimivl.ops.dtype import compute_dtype


@pytest.mark.parametrize(("name", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_a_dtype_that_the_recipe_names_is_taken(name, dtype):
    assert compute_dtype(name) == dtype


@pytest.mark.parametrize(
    ("abilities", "dtype"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": False, "avx512_f": True}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_auto_is_bf16_where_the_processor_multiplies_it(monkeypatch, abilities, dtype):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)
    assert compute_dtype("auto") == dtype
