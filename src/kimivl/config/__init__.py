"""Typed configurations: the model's shape and the recipes of runs. Knows nothing of torch."""

from kimivl.config.model import ModelConfig, TextConfig, VisionConfig, gaussian_routed_scaling, preset

__all__ = ["ModelConfig", "TextConfig", "VisionConfig", "gaussian_routed_scaling", "preset"]
