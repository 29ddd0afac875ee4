"""Starting weights from other models: SigLIP for MoonViT, Moonlight for the decoder (paper §2.1 and §2.3), a Kimi-VL for both.

What it is: readers of the two Hugging Face layouts that the paper starts from and of a Kimi-VL that others trained, each copying
into a KimiVL or CoCa once config.json says that the weights mean the same.
What it is not: loading our own checkpoints (`layout.py`), or fetching files.
Facts: SigLIP's q, k, v are fused in that order, its square position table is resized bicubically to MoonViT's. Its LayerNorm
eps 1e-6 stays behind in MoonViT (reference/model.md §1.2). A published Moonlight has the names of our `language_model`.
"""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kimivl.config.base import Config, read_json
from kimivl.config.model import ModelConfig, TextConfig
from kimivl.model.coca import CoCa
from kimivl.model.kimi_vl import KimiVL
from kimivl.model.layout import CheckpointError, check_fit, load_part, load_weights, official_tensors, stored_tensors

log = logging.getLogger(__name__)

SIGLIP_HEADS = 12  # what an absent num_attention_heads means in a SigLIP config.json

# SigLIP's name of each tensor of a vision block that is copied as it is.
_SIGLIP_BLOCK = {
    "norm0": "layer_norm1", "norm1": "layer_norm2", "wo": "self_attn.out_proj", "mlp.fc0": "mlp.fc1", "mlp.fc1": "mlp.fc2",
}  # fmt: skip

TOKEN_TABLE = "text_encoder.embeddings.token_embedding.weight"

# Fields that change what the weights mean, even where every shape fits.
_TEXT_MEANING = set(TextConfig.model_fields) - {"max_position_embeddings", "initializer_range", "aux_loss_alpha", "kv_norm_eps"}
_VISION_MEANING = {"num_attention_heads", "merge_kernel_size"}


def load_siglip(model: KimiVL, folder: str | Path) -> None:
    """Copies a SigLIP checkpoint (SiglipModel layout) into MoonViT; into a CoCa also text encoder, image head and logit scale.

    Raises: CheckpointError if the checkpoint is not SigLIP's or does not fit the config; the model is unchanged then.
    """
    folder = Path(folder)
    stored = dict(stored_tensors(folder))
    _check_heads(folder, "vision_config", model.config.vision_config)
    if isinstance(model, CoCa):
        _check_heads(folder, "text_config", model.text_encoder.config)
    try:
        source = _vision_from_siglip(stored, model.config)
    except KeyError as error:
        raise CheckpointError(f"{folder} lacks {error}: it is not a SigLIP checkpoint in Hugging Face's layout") from None
    source |= _heads_from_siglip(stored) if isinstance(model, CoCa) else {}

    left_alone: tuple[str, ...] = ("multi_modal_projector.", "language_model.")
    if _has_other_vocabulary(model, source):
        log.warning("%s: its token table is of another vocabulary; the text encoder's is learned anew", folder)
        del source[TOKEN_TABLE]
        left_alone += (TOKEN_TABLE,)
    wanted = {name: view for name, view in official_tensors(model).items() if not name.startswith(left_alone)}
    check_fit(_shapes(wanted), _shapes(source), str(folder))
    for name, tensor in source.items():
        wanted[name].copy_(tensor)


def _has_other_vocabulary(model: KimiVL, source: dict[str, Tensor]) -> bool:
    """SigLIP's token table speaks SigLIP's vocabulary. If ours is another, the table is learned anew (docs/deviations.md)."""
    table = source.get(TOKEN_TABLE)
    return isinstance(model, CoCa) and table is not None and len(table) != model.text_encoder.config.vocab_size


def load_moonlight(model: KimiVL, folder: str | Path) -> None:
    """Copies a Moonlight checkpoint (DeepseekV3ForCausalLM layout) into the decoder.

    Raises: CheckpointError if its config.json or its tensors do not fit the config.
    """
    folder = Path(folder)
    theirs = _moonlight_config(folder, model.config).model_dump(include=_TEXT_MEANING)
    _check_meaning(folder, "text_config", theirs, model.config.text_config)
    load_weights(model.language_model, folder)


def load_kimi_vl_text(model: KimiVL, folder: str | Path, new_rope_base: bool = False) -> None:
    """Copies the decoder of a Kimi-VL checkpoint (the official layout).

    Args:
        new_rope_base: whether the model's RoPE base is set anew from here on, so that the checkpoint's may be another.
    Raises: CheckpointError if its config.json or its tensors do not fit the config.
    """
    folder = Path(folder)
    compared = _TEXT_MEANING - ({"rope_theta"} if new_rope_base else set())
    theirs = _kimi_vl_config(folder).text_config.model_dump(include=compared)
    _check_meaning(folder, "text_config", theirs, model.config.text_config)
    load_part(model.language_model, folder, "language_model.")


def load_kimi_vl_vision(model: KimiVL, folder: str | Path) -> None:
    """Copies MoonViT and the projector of a Kimi-VL checkpoint (the official layout).

    Raises: CheckpointError if its config.json or its tensors do not fit the config.
    """
    folder = Path(folder)
    theirs = _kimi_vl_config(folder).vision_config.model_dump(include=_VISION_MEANING)
    _check_meaning(folder, "vision_config", theirs, model.config.vision_config)
    load_part(model.vision_tower, folder, "vision_tower.")
    load_part(model.multi_modal_projector, folder, "multi_modal_projector.")


def _check_heads(folder: Path, section: str, ours: Config) -> None:
    heads = _config(folder).get(section, {}).get("num_attention_heads", SIGLIP_HEADS)
    _check_meaning(folder, section, {"num_attention_heads": heads}, ours)


def _check_meaning(folder: Path, section: str, theirs: Mapping[str, Any], ours: Config) -> None:
    """Compares what the shapes of tensors cannot show.

    Args:
        section: of the model's config, which is `ours`.
        theirs: the fields to compare, as the checkpoint's config.json has them.
    Raises: CheckpointError naming the first field that differs.
    """
    for key in sorted(theirs):
        if theirs[key] != getattr(ours, key):
            raise CheckpointError(
                f"{folder / 'config.json'} has {key} {theirs[key]}, the config {section}.{key} {getattr(ours, key)}: "
                "the weights mean something else there; use the checkpoint's value"
            )


def _vision_from_siglip(stored: dict[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """MoonViT's tensors, by our names."""
    table_PD = stored["vision_model.embeddings.position_embedding.weight"]
    ours = {"vision_tower.patch_embed.pos_emb.weight": _position_table(table_PD, config)}
    layers = {int(name.split(".")[3]) for name in stored if name.startswith("vision_model.encoder.layers.")}
    for kind in ("weight", "bias"):
        ours[f"vision_tower.patch_embed.proj.{kind}"] = stored[f"vision_model.embeddings.patch_embedding.{kind}"]
        ours[f"vision_tower.encoder.final_layernorm.{kind}"] = stored[f"vision_model.post_layernorm.{kind}"]
        for layer in layers:
            block, source = f"vision_tower.encoder.blocks.{layer}", f"vision_model.encoder.layers.{layer}"
            ours |= {f"{block}.{name}.{kind}": stored[f"{source}.{theirs}.{kind}"] for name, theirs in _SIGLIP_BLOCK.items()}
            ours[f"{block}.wqkv.{kind}"] = torch.cat([stored[f"{source}.self_attn.{x}_proj.{kind}"] for x in "qkv"])
    return ours


def _position_table(table_PD: Tensor, config: ModelConfig) -> Tensor:
    side = math.isqrt(len(table_PD))
    if side * side != len(table_PD):
        raise CheckpointError(f"SigLIP's position table has {len(table_PD)} places, which is no square grid")
    size = (config.vision_config.init_pos_emb_height, config.vision_config.init_pos_emb_width)
    table = table_PD.float().view(1, side, side, -1).permute(0, 3, 1, 2)
    return F.interpolate(table, size=size, mode="bicubic", align_corners=False)[0].permute(1, 2, 0)


def _heads_from_siglip(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Text encoder, image head and logit scale: equal names under other prefixes."""
    ours: dict[str, Tensor] = {name: stored[name].reshape(()) for name in ("logit_scale", "logit_bias") if name in stored}
    for old, new in (("text_model.", "text_encoder."), ("vision_model.head.", "image_head.")):
        ours |= {new + name.removeprefix(old): tensor for name, tensor in stored.items() if name.startswith(old)}
    return ours


def _moonlight_config(folder: Path, config: ModelConfig) -> TextConfig:
    """The checkpoint's config.json as a text config."""
    values = {"vision_config": config.vision_config.model_dump(), "text_config": _config(folder)}
    return ModelConfig.from_hf(values, str(folder / "config.json")).text_config


def _kimi_vl_config(folder: Path) -> ModelConfig:
    return ModelConfig.from_hf(_config(folder), str(folder / "config.json"))


def _shapes(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist: a checkpoint is the folder with config.json and its safetensors")
    return read_json(path)
