"""The shape of the model, in the official field names, and the presets `nano`, `mini` and `a3b`.

What it is: the numbers that decide every tensor's shape, read from and written to the official `config.json`.
What it is not: weights, or how the model is trained.
Facts: `a3b` is Kimi-VL-A3B-Instruct's published config; the routed scaling factor follows Moonlight's appendix.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from kimivl.config.base import Config, ConfigError, parse, read_json

RESERVED_TOKENS = 256  # special-token slots after the base ranks
MEDIA_PAD_OFFSET = 21  # place of <|media_pad|> among them
EOS_OFFSET, PAD_OFFSET = 1, 255


class VisionConfig(Config):
    """MoonViT (paper §2.1). Sides are in patches, widths in channels."""

    model_type: Literal["moonvit"] = "moonvit"
    patch_size: int = 14
    init_pos_emb_height: int = 64
    init_pos_emb_width: int = 64
    num_attention_heads: int
    num_hidden_layers: int
    hidden_size: int
    intermediate_size: int
    merge_kernel_size: tuple[int, int] = (2, 2)

    @model_validator(mode="after")
    def _check(self) -> "VisionConfig":
        if self.hidden_size % (4 * self.num_attention_heads):
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of 4 x num_attention_heads ({self.num_attention_heads}): "
                "the 2-D rotary embedding turns channel pairs of rows and of columns"
            )
        return self

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def merged_size(self) -> int:
        """Channels of one merged 2x2 group of patches, the projector's input."""
        return self.hidden_size * self.merge_kernel_size[0] * self.merge_kernel_size[1]


class TextConfig(Config):
    """Moonlight's decoder: MLA without q-LoRA, first layers dense, the others mixtures of experts (paper §2.1)."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    moe_intermediate_size: int
    num_hidden_layers: int
    first_k_dense_replace: int = 1
    num_attention_heads: int
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    n_routed_experts: int
    n_shared_experts: int = 2
    num_experts_per_tok: int
    routed_scaling_factor: float
    rope_theta: float = Field(default=50_000.0, gt=0)
    max_position_embeddings: int = 8192
    rms_norm_eps: float = 1e-5
    kv_norm_eps: float = 1e-6  # class default of the published modelling file, see docs/deviations.md
    initializer_range: float = 0.02
    aux_loss_alpha: float = 0.0  # weight of the optional sequence-wise balance loss

    @model_validator(mode="after")
    def _check(self) -> "TextConfig":
        if self.num_experts_per_tok > self.n_routed_experts:
            raise ValueError(f"num_experts_per_tok {self.num_experts_per_tok} exceeds n_routed_experts {self.n_routed_experts}")
        if self.qk_rope_head_dim % 2:
            raise ValueError(f"qk_rope_head_dim {self.qk_rope_head_dim} must be even: rotary embedding turns pairs")
        return self


class TextEncoderConfig(Config):
    """The shape of stage 1's SigLIP text encoder. `projection_size`, the width of what is compared, is MoonViT's own width."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    projection_size: int


class ModelConfig(Config):
    """The whole Kimi-VL. `to_hf` and `from_hf` speak the official config.json."""

    vision_config: VisionConfig
    text_config: TextConfig

    @property
    def base_ranks(self) -> int:
        """Token ids below this are byte-pair ranks, those from here on are special."""
        return self.text_config.vocab_size - RESERVED_TOKENS

    @property
    def media_placeholder_token_id(self) -> int:
        return self.base_ranks + MEDIA_PAD_OFFSET

    def with_text(self, **changes: Any) -> "ModelConfig":
        """The same model with some fields of the text config replaced, e.g. a new `rope_theta`."""
        return self.model_copy(update={"text_config": self.text_config.model_copy(update=changes)})

    def to_hf(self, dtype: str = "bfloat16") -> dict[str, Any]:
        """The official config.json as a dictionary. `dtype`: of the weights beside it."""
        text = self.text_config.model_dump() | _TEXT_CONSTANTS
        text |= {"num_key_value_heads": self.text_config.num_attention_heads, "bos_token_id": self.base_ranks}
        text |= {"eos_token_id": self.base_ranks + EOS_OFFSET, "pad_token_id": self.base_ranks + PAD_OFFSET}
        return {
            "architectures": ["KimiVLForConditionalGeneration"],
            "model_type": "kimi_vl",
            "vision_config": self.vision_config.model_dump(mode="json"),
            "text_config": text,
            "ignore_index": -100,
            "media_placeholder_token_id": self.media_placeholder_token_id,
            "vocab_size": self.text_config.vocab_size,
            "torch_dtype": dtype,
            "tie_word_embeddings": False,
        }

    @classmethod
    def from_hf(cls, values: dict[str, Any], where: str = "config.json") -> "ModelConfig":
        """Reads the official config.json. Constants that this implementation does not vary must have the official value.

        Raises: ConfigError naming the key that another architecture would set differently.
        """
        if "vision_config" not in values or "text_config" not in values:
            raise ConfigError(f"{where}: not a Kimi-VL config: it needs vision_config and text_config")
        text = _with_rope_theta(values["text_config"], where)
        for key, expected in _TEXT_CONSTANTS.items():
            if text.get(key, expected) != expected:
                raise ConfigError(f"{where}: text_config.{key} is {text[key]!r}; only {expected!r} is Kimi-VL's architecture")
        text = {key: value for key, value in text.items() if key in TextConfig.model_fields}
        vision = {key: value for key, value in values["vision_config"].items() if key in VisionConfig.model_fields}
        return parse(cls, {"vision_config": vision, "text_config": text}, where)

    @classmethod
    def load(cls, folder: str | Path) -> "ModelConfig":
        """Reads `folder/config.json`."""
        path = Path(folder) / "config.json"
        if not path.is_file():
            raise ConfigError(f"{path} does not exist: {folder} is not a model directory")
        return cls.from_hf(read_json(path), str(path))


def _with_rope_theta(text: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A text config with the rotary base where published files have it. transformers 5 keeps it in `rope_parameters`."""
    rope = text.get("rope_parameters") or {}
    if "rope_theta" not in text and "rope_theta" not in rope:
        raise ConfigError(f"{where}: rope_theta is missing; without the base of the rotary angles weights have no meaning")
    scaling = {"rope_scaling": rope} if rope.get("rope_type", "default") != "default" else {}
    return {"rope_theta": rope.get("rope_theta"), **text, **scaling}


# Keys of the official text_config whose value is part of the architecture, not a choice.
_TEXT_CONSTANTS: dict[str, Any] = {
    "q_lora_rank": None,
    "rope_scaling": None,
    "moe_layer_freq": 1,
    "n_group": 1,
    "topk_group": 1,
    "topk_method": "noaux_tc",
    "scoring_func": "sigmoid",
    "norm_topk_prob": True,
    "hidden_act": "silu",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "tie_word_embeddings": False,
}


@lru_cache
def gaussian_routed_scaling(experts: int, chosen: int, draws: int = 200_000) -> float:
    """The factor that gives the chosen experts' mixed output the size of one expert's (Moonlight, appendix C).

    Mean over Gaussian router logits of 1 / ||p||₂, p = the renormalised top sigmoid scores: 2.446 at 64 experts, 6 chosen.
    """
    logits = np.random.Generator(np.random.Philox(0)).standard_normal((draws, experts), dtype=np.float32)
    top = np.partition(logits, experts - chosen, axis=1)[:, experts - chosen :]
    scores = 1 / (1 + np.exp(-top))
    shares = scores / scores.sum(axis=1, keepdims=True)
    return round(float((1 / np.sqrt((shares**2).sum(axis=1))).mean()), 3)


def preset(name: str) -> ModelConfig:
    """A shipped model shape: `nano` (two CPU cores), `mini` (about 110 M, for measurements) or `a3b` (Kimi-VL-A3B)."""
    if name not in _PRESETS:
        raise ConfigError(f"unknown model preset {name!r}; known: {', '.join(_PRESETS)}")
    return _PRESETS[name]()


def _a3b() -> ModelConfig:
    vision = VisionConfig(num_attention_heads=16, num_hidden_layers=27, hidden_size=1152, intermediate_size=4304)
    text = TextConfig(
        vocab_size=163_840, hidden_size=2048, intermediate_size=11_264, moe_intermediate_size=1408, num_hidden_layers=27,
        num_attention_heads=16, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128,
        n_routed_experts=64, num_experts_per_tok=6, routed_scaling_factor=2.446, aux_loss_alpha=0.001,
        rope_theta=800_000.0, max_position_embeddings=131_072,
    )  # fmt: skip
    return ModelConfig(vision_config=vision, text_config=text)


def _mini() -> ModelConfig:
    vision = VisionConfig(num_attention_heads=6, num_hidden_layers=6, hidden_size=384, intermediate_size=1152)
    text = TextConfig(
        vocab_size=32_000, hidden_size=512, intermediate_size=1408, moe_intermediate_size=352, num_hidden_layers=8,
        num_attention_heads=8, kv_lora_rank=128, qk_nope_head_dim=64, qk_rope_head_dim=32, v_head_dim=64,
        n_routed_experts=16, num_experts_per_tok=4, routed_scaling_factor=gaussian_routed_scaling(16, 4),
    )  # fmt: skip
    return ModelConfig(vision_config=vision, text_config=text)


def _nano() -> ModelConfig:
    vision = VisionConfig(
        patch_size=8, init_pos_emb_height=16, init_pos_emb_width=16,
        num_attention_heads=4, num_hidden_layers=4, hidden_size=128, intermediate_size=384,
    )  # fmt: skip
    text = TextConfig(
        vocab_size=2816, hidden_size=192, intermediate_size=512, moe_intermediate_size=128, num_hidden_layers=4,
        num_attention_heads=6, kv_lora_rank=64, qk_nope_head_dim=32, qk_rope_head_dim=16, v_head_dim=32,
        n_routed_experts=8, num_experts_per_tok=2, routed_scaling_factor=gaussian_routed_scaling(8, 2),
        max_position_embeddings=256,
    )  # fmt: skip
    return ModelConfig(vision_config=vision, text_config=text)


_PRESETS = {"nano": _nano, "mini": _mini, "a3b": _a3b}
