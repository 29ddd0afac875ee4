"""A tiny random policy with problems to answer: some with pictures, one without."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from kimivl.config.model import ModelConfig, TextConfig, VisionConfig
from kimivl.data.source import Source
from kimivl.engine.engine import Engine
from kimivl.model.initialise import initialise
from kimivl.model.kimi_vl import KimiVL
from kimivl.processor.bpe import train_ranks
from kimivl.processor.image import ImageProcessor
from kimivl.processor.processor import Processor
from kimivl.processor.tokenizer import Tokenizer
from kimivl.rl.problems import Problems
from kimivl.rl.rollout import Limits, NativeRollouts, Response

RANKS = 300
PICTURES = [0, 1, 2, 1]  # of each problem


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def policy() -> KimiVL:
    vision = VisionConfig(
        patch_size=4, init_pos_emb_height=4, init_pos_emb_width=4, num_attention_heads=2, num_hidden_layers=1, hidden_size=16,
        intermediate_size=24,
    )  # fmt: skip
    text = TextConfig(
        vocab_size=RANKS + 256, hidden_size=32, intermediate_size=48, moe_intermediate_size=16, num_hidden_layers=3,
        num_attention_heads=2, kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=8, n_routed_experts=4,
        num_experts_per_tok=2, routed_scaling_factor=1.5, max_position_embeddings=512,
    )  # fmt: skip
    model = KimiVL(ModelConfig(vision_config=vision, text_config=text))
    initialise(model, seed=0, std=0.3)
    return model


@pytest.fixture(scope="session")
def processor() -> Processor:
    words = "how many circles are there? what is the colour of the shape in the image? you are a helpful assistant user system "
    return Processor(Tokenizer(train_ranks([words * 3], RANKS)), ImageProcessor(patch_size=4))


@pytest.fixture(scope="session")
def problem_source(tmp_path_factory) -> Source:
    """p0 … p3 with 0, 1, 2 and 1 pictures; the truth is in the last turn, in p3 in its meta."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    (root / "problems").mkdir()
    lines = []
    for number, count in enumerate(PICTURES):
        parts = []
        for picture in range(count):
            pixels = rng.integers(0, 256, (8 + 8 * picture, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "problems" / f"{number}-{picture}.png")
            parts.append({"type": "image", "image": f"{number}-{picture}.png"})
        asked = {"role": "user", "content": [*parts, {"type": "text", "text": "how many circles are there?"}]}
        meta = {"difficulty": number} | ({"answer": "seven"} if number == 3 else {})
        lines.append({"id": f"p{number}", "messages": [asked, {"role": "assistant", "content": str(number)}], "meta": meta})
    (root / "problems" / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Source(root, "problems")


@pytest.fixture(scope="session")
def problems(problem_source, processor) -> Problems:
    return Problems(problem_source, processor)


@pytest.fixture(scope="session")
def prompts(problems):
    return {name: problems.prompt(name) for name in problems.truths}


@pytest.fixture
def engine(policy, processor) -> Engine:
    return Engine(policy, processor)


@pytest.fixture(scope="session")
def new_group():
    """Empty responses to problems: `new_group(["p0", "p1"], samples=3)`."""

    def make(names, samples=3, iteration=0):
        return [Response(name, iteration, sample) for name in names for sample in range(samples)]

    return make


@pytest.fixture
def rollouts(engine):
    def make(max_tokens=30, segment=None, repeat_stop=0):
        return NativeRollouts(engine, Limits(max_tokens, segment or max_tokens, repeat_stop), seed=5)

    return make
