"""The plain average of several models' weights (Kimi k1.5 §2.4, long2short by model merging).

What it is: `average_models`, on model directories; one whole model and single tensors are in memory, however many are averaged.
What it is not: a choice of weights for each model, or training. Every parameter and buffer takes part, the routers' balance
biases too: an expert's bias belongs to the router that it was balanced with.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from kimivl.config.base import ConfigError
from kimivl.config.model import ModelConfig
from kimivl.model.kimi_vl import KimiVL
from kimivl.model.layout import check_fit, load_weights, official_tensors, stored_shapes, stored_tensors


@torch.no_grad()
def average_models(folders: Sequence[Path], dtype: torch.dtype = torch.float32) -> KimiVL:
    """The model whose every tensor is the mean of theirs, in fp32.

    Args:
        folders: at least two model directories of one shape. Their `max_position_embeddings` may differ; the average has the
            largest.
        dtype: to compute in.
    Raises: ValueError for fewer than two; ConfigError naming two folders and the key that differs; CheckpointError for a folder
        whose tensors do not fit its config.
    """
    if len(folders) < 2:
        raise ValueError(f"an average is of at least two models, got {len(folders)}")
    config = _common_config(folders)
    with torch.device("meta"):
        model = KimiVL(config, dtype)
    model = model.to_empty(device="cpu")
    load_weights(model, folders[0])
    views = official_tensors(model)
    for folder in folders[1:]:
        check_fit({name: tuple(view.shape) for name, view in views.items()}, stored_shapes(folder), str(folder))
        for name, tensor in stored_tensors(folder, views):
            views[name] += tensor
    for view in views.values():
        view /= len(folders)
    return model


def _common_config(folders: Sequence[Path]) -> ModelConfig:
    configs = [ModelConfig.load(folder) for folder in folders]
    longest = max(config.text_config.max_position_embeddings for config in configs)
    configs = [config.with_text(max_position_embeddings=longest) for config in configs]
    for folder, config in zip(folders, configs):
        if difference := _difference(configs[0], config):
            raise ConfigError(f"{folders[0]} and {folder} cannot be averaged: {difference}; average models of one shape")
    return configs[0]


def _difference(one: ModelConfig, other: ModelConfig) -> str | None:
    """The first key that differs, with both values."""
    mine, theirs = one.model_dump(), other.model_dump()
    for part, values in mine.items():
        for key, value in values.items():
            if value != theirs[part][key]:
                return f"{part}.{key} is {value} in the one and {theirs[part][key]} in the other"
    return None
