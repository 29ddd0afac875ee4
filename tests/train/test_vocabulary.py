"""The processor of a run is made once, from the recipe's own text, and must fit the model."""

from dataclasses import replace

import pytest

from kimivl.config.recipe import RecipeConfig
from kimivl.processor.image import ImageProcessor
from kimivl.processor.processor import Processor
from kimivl.train.vocabulary import prepare_processor


def with_vocabulary(make_recipe, size: int, **more) -> RecipeConfig:
    """A recipe whose model has `size` tokens, without stage 1's companions, which would need as many."""
    model = make_recipe().model_config_.with_text(vocab_size=size)
    return make_recipe(model=model, caption_decoder=None, text_encoder=None, **more)


def test_the_vocabulary_is_trained_on_the_texts_of_the_named_sources(make_recipe, data, tmp_path):
    """Two merges. `bl` is the most frequent pair of the captions (blue, blue, black), and the texts have none of it."""
    lengths = {}
    for source in ("text", "captions"):
        recipe = with_vocabulary(make_recipe, 256 + 2 + 256, tokenizer_ranks=258, tokenizer_sources=[source])
        made = prepare_processor(recipe, tmp_path / source).tokenizer
        lengths[source] = [len(made.encode(word)) for word in (" the", " blue")]
    assert lengths["text"][0] < 4 and lengths["text"][1] == 5
    assert lengths["captions"][0] == 4 and lengths["captions"][1] < 5


def test_pictures_are_cut_as_the_model_needs_them(make_recipe, tmp_path):
    made = prepare_processor(make_recipe(), tmp_path / "processor")
    assert (made.image_processor.patch_size, made.image_processor.merge) == (4, 2)


def test_it_is_made_once(make_recipe, tmp_path):
    folder = tmp_path / "processor"
    prepare_processor(make_recipe(), folder)
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    nowhere = make_recipe(data=tmp_path / "nowhere")
    assert prepare_processor(nowhere, folder).tokenizer.vocab_size == 512
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == times and len(times) == 4


def test_another_processor_can_be_taken(make_recipe, processor, tmp_path):
    processor.save_pretrained(tmp_path / "published")
    recipe = make_recipe(tokenizer_ranks=None, tokenizer_folder=tmp_path / "published")
    assert isinstance(prepare_processor(recipe, tmp_path / "processor"), Processor)
    assert not (tmp_path / "processor").exists()


@pytest.mark.parametrize(
    ("taken", "words"),
    [
        (False, "processor in .*/processor has 512 tokens but the model 513: correct the model's config .*, or delete"),
        (True, "processor in .*/published has 512 tokens but the model 513: name this model's processor as tokenizer_folder"),
    ],
)
def test_a_vocabulary_of_another_size_than_the_models_is_refused(make_recipe, processor, tmp_path, taken, words):
    processor.save_pretrained(tmp_path / "published")
    origin = {"tokenizer_ranks": None, "tokenizer_folder": tmp_path / "published"} if taken else {}
    with pytest.raises(ValueError, match=words):
        prepare_processor(with_vocabulary(make_recipe, 513, **origin), tmp_path / "processor")


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (ImageProcessor(patch_size=14), "makes patches of 14 pixels, merged 2×2"),
        (ImageProcessor(patch_size=4, merge=4), "makes patches of 4 pixels, merged 4×4"),
    ],
)
def test_a_processor_that_cuts_pictures_in_another_way_is_refused(make_recipe, processor, tmp_path, images, words):
    replace(processor, image_processor=images).save_pretrained(tmp_path / "published")
    recipe = make_recipe(tokenizer_ranks=None, tokenizer_folder=tmp_path / "published")
    words += ", but the model expects 4 pixels, merged 2×2: name this model's processor as tokenizer_folder"
    with pytest.raises(ValueError, match=f"processor in .*/published {words}"):
        prepare_processor(recipe, tmp_path / "processor")


def test_too_little_text_is_an_error_and_leaves_nothing_behind(make_recipe, tmp_path):
    recipe = with_vocabulary(make_recipe, 256 + 9999, tokenizer_ranks=9999)
    with pytest.raises(ValueError, match="the texts give only .* tokens, 9999 were asked for"):
        prepare_processor(recipe, tmp_path / "processor")
    assert not list(tmp_path.iterdir())
