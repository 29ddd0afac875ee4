"""Samples become arrays, and a model directory in the official layout survives saving and loading."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from kimivl.config.model import preset
from kimivl.processor.chat import Provenance
from kimivl.processor.image import ImageError, ImageProcessor
from kimivl.processor.messages import ImagePart, Message, TextPart
from kimivl.processor.processor import Processor
from kimivl.processor.thoughts import CLOSE, OPEN

OFFICIAL_IMAGE_CONFIG = {
    "image_processor_type": "KimiVLImageProcessor",
    "in_token_limit": 4096,
    "merge_kernel_size": [2, 2],
    "num_pooled_tokens": 1024,
    "pad_input": True,
    "patch_size": 14,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


@pytest.fixture
def processor(tokenizer) -> Processor:
    return Processor(tokenizer, ImageProcessor(patch_size=8))


@pytest.fixture
def directory(processor, tmp_path):
    processor.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def rewrite(path, **changes) -> None:
    """Changes keys of a JSON file; None takes a key away."""
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def picture(width: int, height: int, colour: str = "red") -> ImagePart:
    return ImagePart(Image.new("RGB", (width, height), colour))


def conversation() -> list[Message]:
    return [
        Message("user", (picture(64, 32, "white"), TextPart("and"), picture(10, 20, "black"), TextPart("?"))),
        Message("assistant", (TextPart("12", spelled=True),)),
    ]


MAKES = "makes patches of 8 pixels, merged 2×2"


@pytest.mark.parametrize(
    ("text", "vision", "words"),
    [
        ({}, {}, None),
        ({"vocab_size": 677}, {}, "has 676 tokens but the model 677"),
        ({}, {"patch_size": 14}, f"{MAKES}, but the model expects 14 pixels, merged 2×2"),
        ({}, {"merge_kernel_size": (2, 1)}, f"{MAKES}, but the model expects 8 pixels, merged 2×1"),
    ],
)
def test_it_is_told_how_a_model_of_another_config_does_not_fit(processor, text, vision, words):
    config = preset("nano").with_text(**{"vocab_size": 420 + 256} | text)
    config = config.model_copy(update={"vision_config": config.vision_config.model_copy(update=vision)})
    assert processor.misfit(config) == words


def test_a_conversation_with_two_images(processor):
    encoded = processor.encode_chat(conversation())
    assert encoded.grids.tolist() == [[4, 8], [4, 2]]
    assert encoded.patches.shape == (32 + 8, 3, 8, 8)
    assert (encoded.patches[:32] == 1).all() and (encoded.patches[32:] == -1).all()
    is_pad = encoded.ids == processor.tokenizer.media_pad_id
    assert is_pad.sum() == 8 + 2
    assert np.array_equal(is_pad, encoded.provenance == Provenance.MEDIA)
    assert [a.dtype for a in (encoded.ids, encoded.supervised, encoded.provenance, encoded.patches, encoded.grids)] == [
        np.int64,
        np.bool_,
        np.uint8,
        np.float32,
        np.int64,
    ]


def test_the_supervised_tokens_of_a_conversation_are_its_answers_and_special_tokens(processor):
    encoded = processor.encode_chat(conversation())
    media = "<|media_start|><|media_content|><|media_end|>"
    assert processor.tokenizer.decode(encoded.ids[encoded.supervised]) == (
        "<|im_system|><|im_middle|><|im_end|>"
        f"<|im_user|><|im_middle|>{media}{media}<|im_end|>"
        "<|im_assistant|><|im_middle|>12<|im_end|>"
    )


def test_text_alone_has_no_patches(processor):
    for encoded in (processor.encode_chat([Message("user", (TextPart("hi"),))]), processor.encode_document([TextPart("hi")])):
        assert encoded.patches.shape == (0, 3, 8, 8)
        assert encoded.grids.shape == (0, 2)
        assert encoded.ids.ndim == 1 and len(encoded.ids) == len(encoded.supervised) == len(encoded.provenance)


def test_all_text_of_a_document_is_supervised(processor):
    encoded = processor.encode_document([TextPart("red: "), picture(16, 16), TextPart("blue.")])
    expected = "red: <|media_start|><|media_content|><|media_end|>blue.[EOS]"
    assert processor.tokenizer.decode(encoded.ids[encoded.supervised]) == expected


def test_a_limit_shrinks_every_image_and_its_placeholders(processor):
    parts = [picture(160, 160), picture(16, 16)]
    assert processor.encode_document(parts).grids.tolist() == [[20, 20], [2, 2]]
    small = processor.encode_document(parts, limit=100)
    assert small.grids.tolist() == [[10, 10], [2, 2]]
    assert (small.provenance == Provenance.MEDIA).sum() == 25 + 1
    assert processor.encode_chat([Message("user", tuple(parts))], limit=100).grids.tolist() == [[10, 10], [2, 2]]


def test_a_generation_prompt_ends_with_the_header_of_an_answer(processor):
    encoded = processor.encode_chat([Message("user", (TextPart("hi"),))], add_generation_prompt=True)
    assert processor.tokenizer.decode(encoded.ids).endswith("hi<|im_end|><|im_assistant|>assistant<|im_middle|>")


def test_a_placeholder_that_a_user_types_takes_no_image_away(processor):
    encoded = processor.encode_chat([Message("user", (TextPart("what is <|media_pad|>?"), picture(16, 16)))])
    assert (encoded.ids == processor.tokenizer.media_pad_id).sum() == 1
    assert len(encoded.grids) == 1


def test_a_missing_image_is_named(processor, tmp_path):
    with pytest.raises(ImageError, match="gone.png"):
        processor.encode_document([ImagePart(tmp_path / "gone.png")])


def test_saving_and_loading_keeps_ids_and_patches(processor, directory):
    loaded = Processor.from_pretrained(directory)
    assert loaded.image_processor == processor.image_processor
    for before, after in zip(
        vars(processor.encode_chat(conversation())).values(), vars(loaded.encode_chat(conversation())).values(), strict=True
    ):
        assert np.array_equal(before, after)


def test_the_saved_directory_has_the_official_files_and_values(tokenizer, tmp_path):
    Processor(tokenizer, ImageProcessor()).save_pretrained(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["chat_template.jinja", "preprocessor_config.json", "tiktoken.model", "tokenizer_config.json"]
    image_config = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert {key: image_config[key] for key in OFFICIAL_IMAGE_CONFIG} == OFFICIAL_IMAGE_CONFIG
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    decoder = {entry["content"]: int(id) for id, entry in config["added_tokens_decoder"].items()}
    assert decoder["<|media_pad|>"] == tokenizer.media_pad_id
    assert decoder[config["eos_token"]] == tokenizer.eos_id
    assert decoder[config["pad_token"]] == tokenizer.pad_id


def test_an_official_directory_loads(official_ranks_file, tmp_path):
    (tmp_path / "tiktoken.model").write_bytes(official_ranks_file.read_bytes())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(OFFICIAL_IMAGE_CONFIG))
    decoder = {"163605": {"content": "<|media_pad|>"}, "163838": {"content": "[PAD]"}, "163839": {"content": "[UNK]"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": decoder}))
    processor = Processor.from_pretrained(tmp_path)
    assert processor.image_processor == ImageProcessor()
    encoded = processor.encode_chat([Message("user", (picture(336, 336), TextPart("Describe.")))])
    assert (encoded.ids == 163605).sum() == 144
    assert encoded.ids[:5].tolist() == [163594, 14062, 163601, 3900, 554]


def test_the_values_of_the_file_are_honoured(directory):
    values = {"in_token_limit": 16384, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "patch_size": 14}
    rewrite(directory / "preprocessor_config.json", **values)
    expected = ImageProcessor(14, 2, 16384, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert Processor.from_pretrained(directory).image_processor == expected


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"image_mean": None}, r"\['image_mean'\] must be given"),
        ({"pad_input": None, "patch_size": None}, r"\['patch_size', 'pad_input'\] must be given"),
        ({"pad_input": False}, "pad_input must be true"),
        ({"merge_kernel_size": [2, 1]}, "equal sides"),
        ({"merge_kernel_size": 2}, "cannot unpack"),
        ({"image_std": [0.5, 0.5]}, "three values"),
        ({"patch_size": 0}, "at least 1"),
    ],
)
def test_image_settings_without_a_meaning_here_are_refused(directory, changes, named):
    rewrite(directory / "preprocessor_config.json", **changes)
    with pytest.raises(ValueError, match=f"preprocessor_config.json: .*{named}"):
        Processor.from_pretrained(directory)


def test_renumbered_special_tokens_are_refused(directory, tokenizer):
    decoder = {str(tokenizer.n_ranks): {"content": "<|im_end|>"}}
    rewrite(directory / "tokenizer_config.json", added_tokens_decoder=decoder)
    with pytest.raises(ValueError, match=rf"tokenizer_config.json: <\|im_end\|> has the id {tokenizer.n_ranks}, but"):
        Processor.from_pretrained(directory)


@pytest.mark.parametrize("name", ["tiktoken.model", "preprocessor_config.json"])
def test_a_missing_file_is_named(directory, name):
    (directory / name).unlink()
    with pytest.raises(ValueError, match=f"{name}: there is no such file"):
        Processor.from_pretrained(directory)


def test_a_file_that_is_no_json_is_named(directory):
    (directory / "preprocessor_config.json").write_text("{")
    with pytest.raises(ValueError, match="preprocessor_config.json: not valid JSON"):
        Processor.from_pretrained(directory)


def test_a_directory_without_optional_files_loads(directory):
    (directory / "chat_template.jinja").unlink()
    (directory / "tokenizer_config.json").unlink()
    Processor.from_pretrained(directory)


def test_a_copy_sent_to_another_process_is_equal(processor):
    copy = pickle.loads(pickle.dumps(processor))
    assert np.array_equal(copy.encode_chat(conversation()).ids, processor.encode_chat(conversation()).ids)


def test_training_and_chat_read_the_same_history_without_its_thoughts(processor):
    def says(role, text):
        return Message(role, (TextPart(text),))

    talk = [says("user", "q"), says("assistant", f"{OPEN}a{CLOSE}1"), says("user", "r")]
    asked = processor.encode_chat(talk, add_generation_prompt=True)
    assert OPEN not in processor.tokenizer.decode(asked.ids.tolist())
    learned = processor.encode_chat([*talk, says("assistant", f"{OPEN}b{CLOSE}2")])
    assert learned.ids[: len(asked.ids)].tolist() == asked.ids.tolist()
    answers = learned.ids[learned.provenance == Provenance.ANSWER].tolist()
    assert processor.tokenizer.decode(answers) == f"{OPEN}b{CLOSE}2"
