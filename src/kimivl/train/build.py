"""Builds a stage's model out of earlier stages' results and imported checkpoints.

What it is: which weights go where. Everything starts from weights drawn by name, then the parts that a recipe names are
read in: the language model from one place, MoonViT (and the projector, where it fits) from another.
"""

from pathlib import Path

import torch

from kimivl.config.model import ModelConfig
from kimivl.config.recipe import RecipeConfig, StageConfig
from kimivl.model.coca import CoCa
from kimivl.model.imports import load_kimi_vl_text, load_kimi_vl_vision, load_moonlight, load_siglip
from kimivl.model.initialise import initialise
from kimivl.model.kimi_vl import KimiVL
from kimivl.model.layout import load_part


class Builder:
    """Makes models for the stages of one run.

    Args:
        stages_folder: each finished stage's model lies in `<stages_folder>/<stage>/model`.
    """

    def __init__(self, recipe: RecipeConfig, stages_folder: Path, dtype: torch.dtype):
        self.recipe, self.stages_folder, self.dtype = recipe, stages_folder, dtype

    def kimi_vl(self, stage: StageConfig) -> KimiVL:
        """The model that a language-model stage starts from."""
        config = self._config(stage)
        model = KimiVL(config, self.dtype)
        initialise(model, self.recipe.seed, config.text_config.initializer_range)
        if stage.language:
            self._read_language(model, stage.language, new_rope_base=stage.rope_theta is not None)
        if stage.vision:
            self._read_vision(model, stage.vision)
        return model

    def coca(self, stage: StageConfig) -> CoCa:
        """The model of stage 1: MoonViT, the text encoder, and the tiny decoder."""
        config, text_encoder = self.decoder_config(), self.recipe.text_encoder
        assert text_encoder is not None  # the recipe's own check
        model = CoCa(config, text_encoder, self.dtype)
        initialise(model, self.recipe.seed, config.text_config.initializer_range)
        if stage.vision:
            load_siglip(model, self.recipe.imports[stage.vision].folder)
        if stage.caption_decoder:
            load_part(model.language_model, self.model_folder(stage.caption_decoder), "language_model.")
        return model

    def decoder_config(self) -> ModelConfig:
        """The model's shape with the tiny caption decoder in the language model's place."""
        assert self.recipe.caption_decoder is not None  # the recipe's own check
        return self.recipe.model_config_.model_copy(update={"text_config": self.recipe.caption_decoder})

    def model_folder(self, stage_name: str) -> Path:
        return self.stages_folder / stage_name / "model"

    def _config(self, stage: StageConfig) -> ModelConfig:
        """The RoPE base set by an earlier stage stays in force."""
        if stage.model == "caption_decoder":
            return self.decoder_config()
        config = self.recipe.model_config_
        if stage.language and stage.language not in self.recipe.imports:
            config = ModelConfig.load(self.model_folder(stage.language))
        changes = {"max_position_embeddings": max(stage.context, config.text_config.max_position_embeddings)}
        return config.with_text(**changes | ({"rope_theta": stage.rope_theta} if stage.rope_theta else {}))

    def _read_language(self, model: KimiVL, source: str, new_rope_base: bool) -> None:
        if source not in self.recipe.imports:
            load_part(model.language_model, self.model_folder(source), "language_model.")
        elif self.recipe.imports[source].kind == "moonlight":
            load_moonlight(model, self.recipe.imports[source].folder)
        else:
            load_kimi_vl_text(model, self.recipe.imports[source].folder, new_rope_base)

    def _read_vision(self, model: KimiVL, source: str) -> None:
        if source not in self.recipe.imports:
            load_part(model.vision_tower, self.model_folder(source), "vision_tower.")
            if self.recipe.stage(source).kind != "vit":  # its projector feeds the tiny decoder
                load_part(model.multi_modal_projector, self.model_folder(source), "multi_modal_projector.")
        elif self.recipe.imports[source].kind == "siglip":
            load_siglip(model, self.recipe.imports[source].folder)
        else:
            load_kimi_vl_vision(model, self.recipe.imports[source].folder)
