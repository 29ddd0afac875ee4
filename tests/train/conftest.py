"""A tiny recipe and its data, drawn here: every kind of stage at sizes of milliseconds a step.

The vocabulary is the 256 bytes and the special tokens, so ids can be told from the text.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kimivl.config.base import parse
from kimivl.config.recipe import RecipeConfig
from kimivl.data.batch import PackedBatch
from kimivl.data.loader import Loader
from kimivl.data.plan import PlanState
from kimivl.processor.processor import Processor
from kimivl.processor.thoughts import CLOSE, OPEN
from kimivl.train.run import Run
from kimivl.train.trainer import Trainer
from kimivl.train.vocabulary import prepare_processor

COLORS = ["red", "lime", "blue", "black", "red", "blue"]
WORDS = "the model reads every word of a long text and keeps what it needs".split()
VOCABULARY = 512  # 256 bytes and 256 special tokens

DECODER = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "moe_intermediate_size": 16, "num_hidden_layers": 3,
    "num_attention_heads": 2, "kv_lora_rank": 16, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16,
    "n_routed_experts": 4, "num_experts_per_tok": 2, "routed_scaling_factor": 1.0, "max_position_embeddings": 64,
}  # fmt: skip
CAPTION_DECODER = DECODER | {"num_hidden_layers": 1, "n_routed_experts": 1, "num_experts_per_tok": 1}
ENCODER = {
    "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "max_position_embeddings": 8, "projection_size": 32,
}  # fmt: skip
VISION = {
    "patch_size": 4, "init_pos_emb_height": 4, "init_pos_emb_width": 4, "num_attention_heads": 2, "num_hidden_layers": 1,
    "hidden_size": 32, "intermediate_size": 48,
}  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Sums of several threads may differ in the last bit between processes; these matrices gain nothing from a second one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def write(root: Path, source: str, records: Sequence[dict[str, Any]], split: str = "train") -> None:
    (root / source).mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"id": f"{source}-{number}"} | record) + "\n" for number, record in enumerate(records)]
    (root / source / f"{split}.jsonl").write_text("".join(lines))


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """`text`, `captions` of one picture each (some with equal texts), and the same pictures as questions: `colors`."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    documents = [{"content": " ".join(rng.choice(WORDS, rng.integers(1, 30)))} for _ in range(40)]
    write(root, "text", documents)
    write(root, "text", documents[:3][::-1], split="test")
    for source in ("captions", "colors", "thoughts"):
        (root / source).mkdir()
        for number, color in enumerate(COLORS):
            Image.new("RGB", (8 + 8 * (number % 3), 16), color).save(root / source / f"{number}.png")
    pictures = [{"type": "image", "image": f"{number}.png"} for number in range(len(COLORS))]
    texts = [{"type": "text", "text": color} for color in COLORS]
    write(root, "captions", [{"content": [picture, text]} for picture, text in zip(pictures, texts)])
    questions = [{"role": "user", "content": [picture, {"type": "text", "text": "What?"}]} for picture in pictures]
    answers = [{"role": "assistant", "content": [text]} for text in texts]
    write(root, "colors", [{"messages": [question, answer]} for question, answer in zip(questions, answers)])
    thoughts = [{"role": "assistant", "content": f"{OPEN}look{CLOSE}{color}"} for color in COLORS]
    write(root, "thoughts", [{"messages": [question, answer]} for question, answer in zip(questions, thoughts)])
    return root


RL = {"prompts": 3, "samples": 4, "max_tokens": 12, "segment": 7, "minibatches": 2}
MIXTURES: dict[str, dict[str, float]] = {
    "text": {"text": 1}, "vit": {"captions": 1}, "align": {"captions": 1}, "joint": {"text": 1, "captions": 1},
    "cooldown": {"text": 1, "captions": 1}, "long_context": {"text": 1}, "sft": {"colors": 1},
    "long_cot": {"thoughts": 1}, "rl": {"colors": 1}, "dpo": {"tries": 1},
}  # fmt: skip


@pytest.fixture(scope="session")
def make_stage():
    """The plain values of a stage of 3 steps: `make_stage(kind, name=kind, **more)`."""

    def make_stage(kind: str, name: str = "", **more: Any) -> dict[str, Any]:
        schedule = [{"steps": 1, "start": 1e-3, "end": 2e-3}, {"steps": 9, "start": 2e-3, "end": 1e-4, "shape": "cosine"}]
        longer = kind in ("sft", "long_context", "long_cot", "rl", "dpo")
        size = {"context": 128, "pack_tokens": 192} if longer else {"context": 64, "pack_tokens": 128}
        values = {"name": name or kind, "kind": kind, "steps": 3} | size | ({} if kind in ("rl", "dpo") else {"pack_patches": 64})
        more = ({"rl": RL} if kind == "rl" else {}) | more
        schedule += [{"steps": 90, "start": 1e-4, "end": 1e-4}]  # room for longer stages
        return values | {"schedule": schedule, "mixture": [{"weights": MIXTURES[kind]}]} | more

    return make_stage


@pytest.fixture(scope="session")
def make_recipe(data):
    """A recipe of the given stages."""

    def make_recipe(*stages: dict[str, Any], **more: Any) -> RecipeConfig:
        values: dict[str, Any] = {
            "name": "tiny", "seed": 3, "data": data, "dtype": "float32", "tokenizer_ranks": 256, "tokenizer_sources": ["text"],
            "model": {"vision_config": VISION, "text_config": DECODER}, "caption_decoder": CAPTION_DECODER,
            "text_encoder": ENCODER, "stages": stages,
        }  # fmt: skip
        return parse(RecipeConfig, values | more, "the tests' recipe")

    return make_recipe


@pytest.fixture(scope="session")
def all_stages(make_stage) -> list[dict[str, Any]]:
    """Every kind of stage, each building on the ones before."""
    return [
        make_stage("text"),
        make_stage("text", "decoder", model="caption_decoder"),
        make_stage("vit", caption_decoder="decoder"),
        make_stage("align", language="text", vision="vit"),
        make_stage("joint", language="align", vision="align"),
        make_stage("long_context", "long", language="joint", vision="joint", rope_theta=800_000),
        make_stage("sft", language="long", vision="long"),
        make_stage("long_cot", language="sft", vision="sft"),
        make_stage("rl", language="long_cot", vision="long_cot"),
    ]


@pytest.fixture(scope="session")
def finished(make_recipe, all_stages, tmp_path_factory) -> Run:
    """A whole run of `all_stages`. Do not change its folder."""
    recipe = make_recipe(*all_stages, held_out_text={"source": "text", "samples": 3, "every": 2})
    run = Run(recipe, tmp_path_factory.mktemp("runs") / "tiny")
    run.train()
    return run


@pytest.fixture(scope="session")
def processor(make_recipe, tmp_path_factory) -> Processor:
    return prepare_processor(make_recipe(), tmp_path_factory.mktemp("processor") / "processor")


class Given:
    """A loader that gives the same packs in every step."""

    def __init__(self, given: list[PackedBatch]):
        self.given, self.state, self.refused = given, PlanState(), {}

    def packs(self, step: int) -> list[PackedBatch]:
        return self.given


@pytest.fixture
def make_trainer(make_stage, make_recipe, processor, tmp_path):
    """A trainer of one stage that starts at random; in `folder`, with the loader's packs unless some are given."""

    def make_trainer(
        kind: str, folder: Path | None = None, given: list[PackedBatch] | None = None, watch=None, recipe=None, **changes: Any
    ) -> Trainer:
        run = Run(make_recipe(make_stage(kind, **changes), **(recipe or {})), tmp_path / "run")
        stage = run.recipe.stages[0]
        loader = Loader(stage, run.sources(stage), processor, run.recipe.seed)
        extra = {"watch": watch} if watch else {}
        trainer = Trainer(
            stage, run.task(stage, processor), Given(given) if given else loader, folder or tmp_path / "stage", **extra
        )
        return trainer

    return make_trainer


def tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Copies of all parameters and buffers."""
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.fixture(scope="session")
def snapshot():
    return tensors


@pytest.fixture(scope="session")
def moved():
    """Names of the tensors that differ in any bit."""

    def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
        assert before.keys() == after.keys()
        return {name for name in before if not torch.equal(before[name], after[name])}

    return moved
