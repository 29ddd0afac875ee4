"""The dtype to compute in on this machine."""

import torch


def compute_dtype(name: str) -> torch.dtype:
    """The dtype of activations: "auto" is bf16 where the processor multiplies it natively, else fp32."""
    if name != "auto":
        return {"bfloat16": torch.bfloat16, "float32": torch.float32}[name]
    abilities = torch.cpu.get_capabilities()
    return torch.bfloat16 if abilities.get("avx512_bf16") or abilities.get("amx_bf16") else torch.float32
