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

    Raises: ValueError if the vocabulary does not fit the model's.
    """
    if recipe.tokenizer_folder:
        return _checked(Processor.from_pretrained(recipe.tokenizer_folder), recipe, recipe.tokenizer_folder)
    if not folder.exists():
        assert recipe.tokenizer_ranks is not None  # the recipe's own check
        ranks = train_ranks(_texts(recipe), recipe.tokenizer_ranks)
        vision = recipe.model_config_.vision_config
        images = ImageProcessor(patch_size=vision.patch_size, merge=vision.merge_kernel_size[0])
        with replaced_folder(folder) as new:
            Processor(Tokenizer(ranks), images).save_pretrained(new)
    return _checked(Processor.from_pretrained(folder), recipe, folder)


def _texts(recipe: RecipeConfig) -> Iterator[str]:
    for name in recipe.tokenizer_sources:
        source = Source(recipe.data, name)
        for row in range(len(source)):
            yield from (part.text for part in source[row].parts if isinstance(part, TextPart))


def _checked(processor: Processor, recipe: RecipeConfig, folder: Path) -> Processor:
    expected = recipe.model_config_.text_config.vocab_size
    if processor.tokenizer.vocab_size != expected:
        raise ValueError(
            f"the processor in {folder} has {processor.tokenizer.vocab_size} tokens but the model {expected}: "
            f"set vocab_size to the ranks plus 256, or delete {folder} to train the vocabulary anew"
        )
    return processor
