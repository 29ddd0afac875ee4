"""The run's processor, with a byte-pair vocabulary trained on the recipe's own text.

What it is: `prepare_processor`, called once before the first stage.
What it is not: the training of the ranks (`processor/bpe.py`).
"""

from collections.abc import Iterator
from pathlib import Path

from kimivl.config.recipe import RecipeConfig
from kimivl.data.source import Source
from kimivl.model.atomic import replaced_folder
from kimivl.processor.bpe import train_ranks
from kimivl.processor.image import ImageProcessor
from kimivl.processor.messages import TextPart
from kimivl.processor.processor import Processor
from kimivl.processor.tokenizer import Tokenizer


def prepare_processor(recipe: RecipeConfig, folder: Path) -> Processor:
    """The processor in `folder`; made there first if it does not exist.

    Raises: ValueError if the vocabulary or the cutting of pictures does not fit the model.
    """
    if recipe.tokenizer_folder:
        fix = "name this model's processor as tokenizer_folder, or give the model's config these values"
        return _checked(recipe, recipe.tokenizer_folder, fix)
    if not folder.exists():
        assert recipe.tokenizer_ranks is not None  # the recipe's own check
        ranks = train_ranks(_texts(recipe), recipe.tokenizer_ranks)
        vision = recipe.model_config_.vision_config
        images = ImageProcessor(patch_size=vision.patch_size, merge=vision.merge_kernel_size[0])
        with replaced_folder(folder) as new:
            Processor(Tokenizer(ranks), images).save_pretrained(new)
    fix = f"correct the model's config (vocab_size is tokenizer_ranks plus 256), or delete {folder} to make it anew"
    return _checked(recipe, folder, fix)


def _texts(recipe: RecipeConfig) -> Iterator[str]:
    for name in recipe.tokenizer_sources:
        source = Source(recipe.data, name)
        for row in range(len(source)):
            yield from (part.text for part in source[row].parts if isinstance(part, TextPart))


def _checked(recipe: RecipeConfig, folder: Path, fix: str) -> Processor:
    processor = Processor.from_pretrained(folder)
    if misfit := processor.misfit(recipe.model_config_):
        raise ValueError(f"the processor in {folder} {misfit}: {fix}")
    return processor
