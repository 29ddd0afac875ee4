"""The projector: from merged vision features to the language model's embedding space (paper §2.1).

Facts: reference/model.md §3.2. LayerNorm acts on each patch vector before the four are joined; the GELU is the exact one.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from kimivl.config.model import ModelConfig
from kimivl.model.layers import LayerNorm, Linear


class Projector(nn.Module):
    """LayerNorm per patch, join 2×2 patches, two linear layers."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        merged = config.vision_config.merged_size
        self.pre_norm = LayerNorm(config.vision_config.hidden_size)
        self.linear_1 = Linear(merged, merged)
        self.linear_2 = Linear(merged, config.text_config.hidden_size)

    def forward(self, merged_T4D: Tensor) -> Tensor:
        """[tokens, 4, vision width] → [tokens, text width]"""
        return self.linear_2(F.gelu(self.linear_1(self.pre_norm(merged_T4D).flatten(1))))
