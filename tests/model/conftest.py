"""A tiny model for parity tests, with weights large enough that no error can hide behind small numbers."""

import pytest
import torch
from torch import Tensor, nn
from transformers import DeepseekV3Config

from kimivl.config.model import ModelConfig, TextConfig, VisionConfig

GRIDS = [(8, 8), (4, 6), (10, 12)]  # the position table as it is, shrunk, and enlarged


@pytest.fixture(scope="session")
def tiny() -> ModelConfig:
    vision = VisionConfig(
        hidden_size=48, num_attention_heads=4, num_hidden_layers=2, intermediate_size=96,
        init_pos_emb_height=8, init_pos_emb_width=8,
    )  # fmt: skip
    text = TextConfig(
        vocab_size=320, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, qk_nope_head_dim=16, qk_rope_head_dim=8,
        v_head_dim=16, kv_lora_rank=32, intermediate_size=176, moe_intermediate_size=44, n_routed_experts=8,
        num_experts_per_tok=3, routed_scaling_factor=2.446, rope_theta=50_000.0,
    )  # fmt: skip
    return ModelConfig(vision_config=vision, text_config=text)


@torch.no_grad()
def _randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter and buffer random: gains near 1, biases and balance biases away from 0, matrices a little expanding."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if tensor.dim() < 2:
            tensor.copy_(0.3 * noise + (1.0 if "norm" in name and name.endswith("weight") else 0.0))
        elif "emb" in name:
            tensor.copy_(noise)
        else:
            fan_in = tensor[0].numel() if name.endswith("patch_embed.proj.weight") else tensor.shape[-1]
            tensor.copy_(noise * 1.5 / fan_in**0.5)
    return module


@pytest.fixture(scope="session")
def randomise():
    return _randomise


@pytest.fixture(scope="session")
def images():
    """Three images of unequal sizes as one pack: (patches, grids)."""
    total = sum(rows * columns for rows, columns in GRIDS)
    return torch.randn(total, 3, 14, 14, generator=torch.Generator().manual_seed(1)), GRIDS


@pytest.fixture(scope="session")
def deepseek_config():
    """The same decoder as a transformers config: text config → DeepseekV3Config."""

    def convert(text: TextConfig) -> DeepseekV3Config:
        same = text.model_dump(exclude={"kv_norm_eps", "initializer_range", "aux_loss_alpha"})
        fixed = {"q_lora_rank": None, "n_group": 1, "topk_group": 1, "num_nextn_predict_layers": 0, "tie_word_embeddings": False}
        return DeepseekV3Config(num_key_value_heads=text.num_attention_heads, **fixed, **same)

    return convert


def _k25_vision_state(model: nn.Module) -> dict[str, Tensor]:
    """MoonViT's weights by Kimi-K2.5's names: q, k, v apart, and q, k rows of each head even-then-odd, as it rotates halves."""
    renamed = {"pos_emb.weight": "pos_emb.position_embeddings", "encoder.blocks": "layers", "encoder.": "", ".wo.": ".attn.proj."}
    renamed |= {"norm1": "norm2", "norm0": "norm1", "fc1": "fc2", "fc0": "fc1"}
    halves = torch.arange(model.config.hidden_size).view(-1, model.config.head_dim // 2, 2).mT.flatten()
    theirs = {}
    for name, value in model.state_dict().items():
        for old, new in renamed.items():
            name = name.replace(old, new)
        if ".wqkv." in name:
            for kind, part in zip("qkv", value.chunk(3)):
                theirs[name.replace("wqkv", f"attn.{kind}_proj")] = part if kind == "v" else part[halves]
        else:
            theirs[name] = value
    return theirs


@pytest.fixture(scope="session")
def k25_vision_state():
    return _k25_vision_state
