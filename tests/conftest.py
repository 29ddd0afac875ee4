"""A tiny random model with its processor, and prompts for it, for the rooms that let a model answer."""

import numpy as np
import pytest
import torch
from PIL import Image

from kimivl.config.model import ModelConfig, TextConfig, VisionConfig
from kimivl.engine.engine import Engine
from kimivl.model.initialise import initialise
from kimivl.model.kimi_vl import KimiVL
from kimivl.processor.bpe import train_ranks
from kimivl.processor.image import ImageProcessor
from kimivl.processor.messages import ImagePart, Message, TextPart
from kimivl.processor.processor import Encoded, Processor
from kimivl.processor.tokenizer import Tokenizer

RANKS = 300
TEXT = "what is the colour of the shape in the image? is there a red circle? you are a helpful assistant user system " * 3


def make_model(dtype: torch.dtype = torch.float32, **text_changes: float) -> KimiVL:
    vision = VisionConfig(
        patch_size=4, init_pos_emb_height=4, init_pos_emb_width=4, num_attention_heads=2, num_hidden_layers=1, hidden_size=16,
        intermediate_size=24,
    )  # fmt: skip
    text = TextConfig(
        vocab_size=RANKS + 256, hidden_size=32, intermediate_size=48, moe_intermediate_size=16, num_hidden_layers=3,
        num_attention_heads=2, kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=8, n_routed_experts=4,
        num_experts_per_tok=2, routed_scaling_factor=1.5, max_position_embeddings=512,
    )  # fmt: skip
    model = KimiVL(ModelConfig(vision_config=vision, text_config=text).with_text(**text_changes), dtype)
    initialise(model, seed=0, std=0.3)  # large, so that neighbours and pictures matter for every answer
    return model


@pytest.fixture
def one_thread():
    """Matrices this small leave a second thread nothing but waiting."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def processor() -> Processor:
    return Processor(Tokenizer(train_ranks([TEXT], RANKS)), ImageProcessor(patch_size=4))


@pytest.fixture
def engine(processor) -> Engine:
    return Engine(make_model(), processor)


@pytest.fixture(scope="session")
def new_model():
    return make_model


def picture(seed: int, size: tuple[int, int] = (16, 16)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="session")
def new_picture():
    return picture


@pytest.fixture(scope="session")
def new_prompt(processor):
    """A question with pictures in front, encoded up to the assistant's turn."""

    def make(text: str, *pictures: Image.Image) -> Encoded:
        parts = (*(ImagePart(each) for each in pictures), TextPart(text))
        return processor.encode_chat([Message("user", parts)], add_generation_prompt=True)

    return make


@pytest.fixture(scope="session")
def prompts(new_prompt) -> list[Encoded]:
    """Lengths all different, with 0, 1 and 2 pictures of several sizes."""
    return [
        new_prompt("is there a red circle?", picture(1)),
        new_prompt("hello"),
        new_prompt("what is the colour of the shape in the image?", picture(2, (24, 12)), picture(1)),
        new_prompt("is there"),
        new_prompt("what?", picture(3)),
        new_prompt("you are a helpful assistant, " * 12, picture(4, (32, 24))),
    ]


@pytest.fixture
def scripted(engine, monkeypatch):
    """An engine whose model wants to say given ids, one after the other, whatever it is asked."""

    def follow(ids: list[int]) -> Engine:
        wanted = iter(ids)
        vocabulary = engine.processor.tokenizer.vocab_size

        def logits(hidden_BD: torch.Tensor) -> torch.Tensor:
            wish = torch.zeros(vocabulary)
            wish[next(wanted)] = 9.0
            return wish.repeat(len(hidden_BD), 1)

        monkeypatch.setattr(engine.model.language_model, "logits", logits)
        return engine

    return follow
