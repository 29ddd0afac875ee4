"""Samples → arrays: the one door between words and pictures on one side and the model on the other.

What it is: `Processor`, a tokenizer and an image processor together, `Encoded`, what it makes of a sample, and the files of
both in a model directory (the official layout: `tiktoken.model`, `preprocessor_config.json`, `tokenizer_config.json`,
`chat_template.jinja`).
What it is not: batching or packing (`data/`), tensors, or anything that needs the weights.
Facts: `reference/model.md` §4, §5 and §10. Conversions of the released models that renumber the special tokens exist, and the
official image class has other defaults than the official file has values: both are refused here instead of guessed at.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kimivl.config.base import read_json
from kimivl.config.model import ModelConfig
from kimivl.processor.chat import CHAT_TEMPLATE, SUPERVISED, Provenance, Rendered, render_chat, render_document
from kimivl.processor.image import ImageProcessor
from kimivl.processor.messages import ImagePart, Message, Part
from kimivl.processor.pictures import Pictures, decode_one
from kimivl.processor.stored import Fetch
from kimivl.processor.thoughts import forget_thoughts
from kimivl.processor.tokenizer import Tokenizer

RANKS_FILE = "tiktoken.model"
IMAGE_FILE = "preprocessor_config.json"
TOKENIZER_FILE = "tokenizer_config.json"
TEMPLATE_FILE = "chat_template.jinja"

# Names of the official code files, for programs that run them: they are neither shipped nor ever loaded by us.
IMAGE_CODE = {
    "AutoImageProcessor": "image_processing_kimi_vl.KimiVLImageProcessor",
    "AutoProcessor": "processing_kimi_vl.KimiVLProcessor",
}
TOKENIZER_CODE = {"AutoTokenizer": ["tokenization_moonshot.TikTokenTokenizer", None]}

_IS_SUPERVISED = np.array([kind in SUPERVISED for kind in Provenance])


@dataclass(frozen=True)
class Outline:
    """One sample before its pictures are decoded: all that packing needs to know. T tokens, N images.

    `supervised` says whether a token is a target of the language model; the shift by one is the batch's business.
    """

    ids: np.ndarray  # int64 [T]
    supervised: np.ndarray  # bool [T]
    provenance: np.ndarray  # uint8 [T], values of `Provenance`
    grids: np.ndarray  # int64 [N, 2], (h, w) of each image
    pictures: tuple[ImagePart, ...]
    limit: int | None  # patch budget of each image

    @property
    def patches(self) -> int:
        """P, of all images."""
        return int(self.grids.prod(1).sum())

    @property
    def wanted(self) -> Pictures:
        """What has to be decoded."""
        return Pictures(self.pictures, tuple((rows, columns) for rows, columns in self.grids.tolist()), self.limit)


@dataclass(frozen=True)
class Encoded:
    """One sample as arrays: an `Outline` with the patches of all N images, one after another."""

    ids: np.ndarray  # int64 [T]
    supervised: np.ndarray  # bool [T]
    provenance: np.ndarray  # uint8 [T], values of `Provenance`
    patches: np.ndarray  # float32 [P, 3, p, p]
    grids: np.ndarray  # int64 [N, 2], (h, w) of each image; h·w add up to P


@dataclass(frozen=True)
class Processor:
    """Encodes conversations and documents; immutable, picklable."""

    tokenizer: Tokenizer
    image_processor: ImageProcessor

    def encode_chat(self, messages: Sequence[Message], add_generation_prompt: bool = False, limit: int | None = None) -> Encoded:
        """A conversation in the Kimi chat format. Thoughts of turns before the last are left out (`thoughts.py`).

        Args:
            add_generation_prompt: end with the header of an assistant turn, for the model to answer.
            limit: patch budget of each image for this call, in place of the configured `in_token_limit`.
        Errors: ValueError for an empty conversation, ImageError naming a picture that cannot be used.
        """
        return self.filled(self.outline_chat(messages, add_generation_prompt, limit))

    def encode_document(self, parts: Sequence[Part], limit: int | None = None) -> Encoded:
        """A text or an interleaved document; `limit` and errors as in `encode_chat`."""
        return self.filled(self.outline_document(parts, limit))

    def outline_chat(self, messages: Sequence[Message], add_generation_prompt: bool = False, limit: int | None = None) -> Outline:
        """What `encode_chat` makes of a conversation, without its patches: only headers of pictures are read."""
        messages = forget_thoughts(messages)
        parts = (part for message in messages for part in message.parts)
        return self._outline(
            parts, lambda image_tokens: render_chat(messages, self.tokenizer, image_tokens, add_generation_prompt), limit
        )

    def outline_document(self, parts: Sequence[Part], limit: int | None = None) -> Outline:
        """The same of a document."""
        return self._outline(parts, lambda image_tokens: render_document(parts, self.tokenizer, image_tokens), limit)

    def filled(self, outline: Outline, fetch: Fetch | None = None) -> Encoded:
        """With its pictures decoded.

        Args:
            fetch: gets the bytes of pictures that lie in a store.
        Errors: ImageError naming a picture; ValueError for one in a store without `fetch`; what `fetch` raises.
        """
        p = self.image_processor.patch_size
        patches = np.empty((outline.patches, 3, p, p), np.float32)
        decode_one(outline.wanted, self.image_processor, patches, fetch)
        return Encoded(outline.ids, outline.supervised, outline.provenance, patches, outline.grids)

    def _outline(self, parts: Iterable[Part], render: Callable[[list[int]], Rendered], limit: int | None) -> Outline:
        pictures = tuple(part for part in parts if isinstance(part, ImagePart))
        grids = [self.image_processor.grid_of(part, limit) for part in pictures]
        rendered = render([self.image_processor.tokens(grid) for grid in grids])
        provenance = np.array(rendered.provenance, np.uint8)
        return Outline(
            ids=np.array(rendered.ids, np.int64),
            supervised=_IS_SUPERVISED[provenance],
            provenance=provenance,
            grids=np.array(grids, np.int64).reshape(-1, 2),
            pictures=pictures,
            limit=limit,
        )

    def misfit(self, config: ModelConfig) -> str | None:
        """How a model of this config could not read what is made here, as the end of a sentence; None if they belong together."""
        images, vision, tokens = self.image_processor, config.vision_config, config.text_config.vocab_size
        if self.tokenizer.vocab_size != tokens:
            return f"has {self.tokenizer.vocab_size} tokens but the model {tokens}"
        merge = (images.merge, images.merge)
        if (images.patch_size, merge) != (vision.patch_size, vision.merge_kernel_size):
            expected = _cutting(vision.patch_size, vision.merge_kernel_size)
            return f"makes patches of {_cutting(images.patch_size, merge)}, but the model expects {expected}"
        return None

    @classmethod
    def from_pretrained(cls, directory: str | Path) -> "Processor":
        """Reads a model directory. `chat_template.jinja` is for other programs and is not read.

        Errors: ValueError naming the file and the key: a file or a value is missing, or has a meaning that we do not have.
        """
        directory = Path(directory)
        if not (directory / RANKS_FILE).is_file():
            raise ValueError(f"{directory / RANKS_FILE}: there is no such file, so {directory} is no model directory")
        tokenizer = Tokenizer.load(directory / RANKS_FILE)
        if (directory / TOKENIZER_FILE).is_file():
            _check_special_ids(tokenizer, directory / TOKENIZER_FILE)
        return cls(tokenizer, _read_image_config(directory / IMAGE_FILE))

    def save_pretrained(self, directory: str | Path) -> None:
        """Writes the four files; the directory is made if needed."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save(directory / RANKS_FILE)
        _write_json(directory / IMAGE_FILE, _image_config(self.image_processor))
        _write_json(directory / TOKENIZER_FILE, _tokenizer_config(self.tokenizer))
        (directory / TEMPLATE_FILE).write_text(CHAT_TEMPLATE, encoding="utf-8")


def _cutting(size: int, merge: tuple[int, int]) -> str:
    return f"{size} pixels, merged {merge[0]}×{merge[1]}"


def _image_config(processor: ImageProcessor) -> dict[str, Any]:
    return {
        "auto_map": IMAGE_CODE,
        "image_processor_type": "KimiVLImageProcessor",
        "patch_size": processor.patch_size,
        "merge_kernel_size": [processor.merge, processor.merge],
        "in_token_limit": processor.in_token_limit,
        "pad_input": True,
        "num_pooled_tokens": processor.in_token_limit // processor.merge**2,
        "image_mean": list(processor.mean),
        "image_std": list(processor.std),
    }


def _read_image_config(path: Path) -> ImageProcessor:
    config = read_json(path)
    needed = ["patch_size", "merge_kernel_size", "in_token_limit", "pad_input", "image_mean", "image_std"]
    missing = [key for key in needed if key not in config]
    if missing:
        # The official class would fill in CLIP's mean and std and no padding, which no released model was trained with.
        raise ValueError(f"{path}: {missing} must be given, since the usual defaults are not those of Kimi-VL")
    if config["pad_input"] is not True:
        raise ValueError(f"{path}: pad_input must be true; cropping can leave an odd grid, which the merger cannot take")
    try:
        rows, columns = config["merge_kernel_size"]
        if rows != columns:
            raise ValueError(f"merge_kernel_size must have equal sides, got {rows}×{columns}")
        mean, std = tuple(config["image_mean"]), tuple(config["image_std"])
        return ImageProcessor(config["patch_size"], rows, config["in_token_limit"], mean, std)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def _tokenizer_config(tokenizer: Tokenizer) -> dict[str, Any]:
    names = tokenizer.special_names()
    entry = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    return {
        "auto_map": TOKENIZER_CODE,
        "tokenizer_class": "TikTokenTokenizer",
        "added_tokens_decoder": {str(id): {"content": name, **entry} for name, id in names.items()},
        "additional_special_tokens": [name for name in names if name.startswith("<|")],
        "bos_token": "[BOS]",
        "eos_token": "[EOS]",
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "clean_up_tokenization_spaces": False,
    }


def _check_special_ids(tokenizer: Tokenizer, path: Path) -> None:
    """The names in the file must have our ids. [PAD] and [UNK] may be the other way round: nothing depends on them."""
    ours = tokenizer.special_names()
    for id, entry in read_json(path).get("added_tokens_decoder", {}).items():
        name = entry["content"]
        if name in ours and name not in ("[PAD]", "[UNK]") and int(id) != ours[name]:
            raise ValueError(
                f"{path}: {name} has the id {id}, but in the official layout it is {ours[name]}; this directory was made by "
                "a conversion that renumbers special tokens, so take the original one"
            )


def _write_json(path: Path, config: dict[str, Any]) -> None:
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
