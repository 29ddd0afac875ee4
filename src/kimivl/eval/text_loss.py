"""Held-out text loss of a stage's model: did learning to see cost it any of its language?

What it is: the mean loss per token over the whole held-out text split, cut to the pre-training context. The curve that is
drawn during training uses the split's first samples only (`held_out_text` in the recipe).
"""

from pathlib import Path

import torch

from kimivl.config.recipe import RecipeConfig
from kimivl.data.batch import PackedBatch
from kimivl.data.loader import held_out_packs
from kimivl.data.source import Source
from kimivl.eval.parts import Result
from kimivl.eval.progress import Advance
from kimivl.model.kimi_vl import KimiVL
from kimivl.model.layout import load_model
from kimivl.processor.processor import Processor
from kimivl.train.stages.language import mean_loss

PACK_TOKENS = 8192


def measure_text_loss(model_folder: Path, recipe: RecipeConfig, dtype: torch.dtype, advance: Advance) -> Result:
    """`loss` in nats per token, and over how many `tokens`, each in the reach of at most one pre-training context."""
    packs = text_packs(recipe, Processor.from_pretrained(model_folder))
    result = text_loss(load_model(model_folder, dtype), packs)
    advance(1)
    return result


def text_packs(recipe: RecipeConfig, processor: Processor, samples: int | None = None) -> list[PackedBatch]:
    """The first `samples` texts of the held-out split, or all of it, packed. Raises: FileNotFoundError naming the split."""
    assert recipe.held_out_text is not None  # the caller's check
    source = Source(recipe.data, recipe.held_out_text.source, recipe.held_out_text.split)
    context = recipe.pretraining_context
    return held_out_packs(source, processor, context, max(context, PACK_TOKENS), samples or len(source))


def text_loss(model: KimiVL, packs: list[PackedBatch]) -> Result:
    """The mean loss over all tokens of the packs."""
    return {"loss": mean_loss(model, packs), "tokens": int(sum(pack.weight for pack in packs))}
