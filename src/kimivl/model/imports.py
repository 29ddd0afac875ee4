"""Starting weights from other models: MoonViT from SigLIP, the decoder from Moonlight (paper §2.1 and §2.3).

What it is: readers of the two Hugging Face layouts that the paper starts from, each copying into a KimiVL or CoCa.
What it is not: loading our own checkpoints (`layout.py`), or fetching files.
Facts: SigLIP's q, k, v are fused in that order, its square position table is resized bicubically to MoonViT's. Its LayerNorm
eps 1e-6 stays behind in MoonViT (reference/model.md §1.2). A published Moonlight has the names of our `language_model`.
"""

import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kimivl.config.base import read_json
from kimivl.config.model import ModelConfig, TextConfig
from kimivl.model.coca import CoCa
from kimivl.model.kimi_vl import KimiVL
from kimivl.model.layout import CheckpointError, check_fit, load_weights, official_tensors, stored_tensors

SIGLIP_HEADS = 12  # what an absent num_attention_heads means in a SigLIP config.json

# SigLIP's name of each tensor of a vision block that is copied as it is.
_SIGLIP_BLOCK = {
    "norm0": "layer_norm1", "norm1": "layer_norm2", "wo": "self_attn.out_proj", "mlp.fc0": "mlp.fc1", "mlp.fc1": "mlp.fc2",
}  # fmt: skip

TOKEN_TABLE = "text_encoder.embeddings.token_embedding.weight"

# Fields of the text config that change what the weights mean, even where every shape fits.
_MEANING = set(TextConfig.model_fields) - {"max_position_embeddings", "initializer_range", "aux_loss_alpha", "kv_norm_eps"}


def load_siglip(model: KimiVL, folder: str | Path) -> None:
    """Copies a SigLIP checkpoint (SiglipModel layout) into MoonViT; into a CoCa also text encoder, image head and logit scale.

    Raises: CheckpointError if the checkpoint is not SigLIP's or does not fit the config; the model is unchanged then.
    """
    folder = Path(folder)
    stored = dict(stored_tensors(folder))
    ours = model.config.vision_config.num_attention_heads
    theirs = _config(folder).get("vision_config", {}).get("num_attention_heads", SIGLIP_HEADS)
    if ours != theirs:
        raise CheckpointError(f"{folder} has {theirs} vision heads, the config has vision_config.num_attention_heads {ours}")
    try:
        source = _vision_from_siglip(stored, model.config)
    except KeyError as error:
        raise CheckpointError(f"{folder} lacks {error}: it is not a SigLIP checkpoint in Hugging Face's layout") from None
    source |= _heads_from_siglip(stored) if isinstance(model, CoCa) else {}

    left_alone: tuple[str, ...] = ("multi_modal_projector.", "language_model.")
    if _has_other_vocabulary(model, source):
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
    theirs, ours = _moonlight_config(folder, model.config), model.config.text_config
    for key in sorted(_MEANING):
        if getattr(theirs, key) != getattr(ours, key):
            raise CheckpointError(
                f"{folder / 'config.json'} has {key} {getattr(theirs, key)}, the config text_config.{key} {getattr(ours, key)}: "
                "the weights mean something else there; use the checkpoint's value"
            )
    load_weights(model.language_model, folder)


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
    """The checkpoint's config.json as a text config. transformers 5 keeps the rotary base in `rope_parameters`."""
    values = _config(folder)
    rope = values.get("rope_parameters") or {}
    values = {"rope_theta": rope.get("rope_theta", TextConfig.model_fields["rope_theta"].default)} | values
    if rope.get("rope_type", "default") != "default":
        values["rope_scaling"] = rope
    vision = config.vision_config.model_dump()
    return ModelConfig.from_hf({"vision_config": vision, "text_config": values}, str(folder / "config.json")).text_config


def _shapes(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist: a checkpoint is the folder with config.json and its safetensors")
    return read_json(path)
