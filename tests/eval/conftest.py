"""One tiny, real run for all tests of this room: every kind of stage, two steps each, on data that is drawn here."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from kimivl.config.base import parse
from kimivl.config.recipe import RecipeConfig
from kimivl.data.facts import VALUES, statement
from kimivl.train.run import Run

COLORS = ["red", "green", "blue", "black"]
WORDS = "the model reads every word of a long text and keeps what it needs to answer questions about code and data".split()


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def spelled(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value, "spelled": True}


def picture(name: str) -> dict[str, Any]:
    return {"type": "image", "image": f"images/{name}.png"}


def sentences(rng: np.random.Generator, count: int) -> str:
    return "\n".join(" ".join(rng.choice(WORDS, rng.integers(1, 7))).capitalize() + "." for _ in range(count))


def told(value: str) -> str:
    """A fact and the same fact again."""
    return f"{statement('Lima', value)}\n{statement('Lima', value)}"


def write(root: Path, source: str, split: str, records: list[dict[str, Any]]) -> None:
    (root / source).mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"id": f"{source}-{split}-{number}"} | record) + "\n" for number, record in enumerate(records)]
    (root / source / f"{split}.jsonl").write_text("".join(lines))


def draw_square(root: Path, source: str, name: str, color: str, x: int, y: int) -> list[list[float]]:
    """A square of 12 pixels on 32 × 32; returns its corners as shares of the sides."""
    (root / source / "images").mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (32, 32), "white")
    ImageDraw.Draw(image).rectangle((x, y, x + 11, y + 11), fill=color)
    image.save(root / source / "images" / f"{name}.png")
    left, top, right, bottom = x / 32, y / 32, (x + 12) / 32, (y + 12) / 32
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def question(name: str, asked: str, answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [picture(name), text(asked)]}, {"role": "assistant", "content": [answer]}]


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """A data root with text, facts, captions, colour questions (two a picture) and pointing."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    write(root, "text", "train", [{"content": sentences(rng, 20)} for _ in range(10)])
    write(root, "text", "test", [{"content": sentences(rng, 20)} for _ in range(6)])
    write(root, "recall", "train", [{"content": told(value)} for value in VALUES[:12]])
    for split, count in (("train", 12), ("test", 6)):
        captions, colors, points = [], [], []
        for number in range(count):
            color, x, y = COLORS[number % 4], int(rng.integers(20)), int(rng.integers(20))
            name = f"{split}-{number}"
            for source in ("captions", "colors", "points"):
                outline = draw_square(root, source, name, color, x, y)
            captions.append({"content": [picture(name), text(f"a {color} square")]})
            for asked, answer in (("What color?", color), (f"Is it {color}?", "yes")):
                about = {"answer": answer, "family": "colors", "difficulty": 1}
                colors.append({"messages": question(name, asked, text(answer)), "meta": about})
            middle = " ".join(f"{(start + end) / 2:.2f}" for start, end in zip(outline[0], outline[2]))
            points.append(
                {"messages": question(name, "Point to it.", spelled(middle)), "meta": {"answer": middle, "outline": outline}}
            )
        for source, records in (("captions", captions), ("colors", colors), ("points", points)):
            write(root, source, split, records)
    return root


DECODER = {
    "vocab_size": 556, "hidden_size": 32, "intermediate_size": 64, "moe_intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "kv_lora_rank": 16, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16,
    "n_routed_experts": 4, "num_experts_per_tok": 2, "routed_scaling_factor": 1.0, "max_position_embeddings": 64,
}  # fmt: skip
ENCODER = {
    "vocab_size": 556, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
    "max_position_embeddings": 8, "projection_size": 32,
}  # fmt: skip
VISION = {
    "patch_size": 8, "init_pos_emb_height": 4, "init_pos_emb_width": 4, "num_attention_heads": 2, "num_hidden_layers": 1,
    "hidden_size": 32, "intermediate_size": 64,
}  # fmt: skip
LANGUAGE, PICTURES = {"text": 1, "recall": 1}, {"captions": 1}


def stage(name: str, kind: str, mixture: dict[str, float], **more: Any) -> dict[str, Any]:
    schedule = [{"steps": 1, "start": 0, "end": 1e-3}, {"steps": 3, "start": 1e-3, "end": 1e-4, "shape": "cosine"}]
    size = {"steps": 2, "context": 64, "pack_tokens": 256} | ({} if kind == "rl" else {"pack_patches": 512})
    return {"name": name, "kind": kind, "schedule": schedule, "mixture": [{"weights": mixture}]} | size | more


RL = {"prompts": 2, "samples": 2, "max_tokens": 6, "minibatches": 2}


@pytest.fixture(scope="session")
def recipe(data) -> RecipeConfig:
    values = {
        "name": "nano", "seed": 3, "data": data, "dtype": "float32",
        "tokenizer_ranks": 300, "tokenizer_sources": ["text", "colors"],
        "model": {"vision_config": VISION, "text_config": DECODER},
        "caption_decoder": DECODER | {"first_k_dense_replace": 2, "n_routed_experts": 1, "num_experts_per_tok": 1},
        "text_encoder": ENCODER,
        "held_out_text": {"source": "text", "samples": 2, "every": 1},
        "stages": [
            stage("text", "text", LANGUAGE),
            stage("decoder", "text", LANGUAGE, model="caption_decoder"),
            stage("vit", "vit", PICTURES, caption_decoder="decoder"),
            stage("align", "align", PICTURES, language="text", vision="vit"),
            stage("joint", "joint", LANGUAGE | PICTURES, language="align", vision="align"),
            stage("long", "long_context", LANGUAGE, language="joint", vision="joint", context=256, rope_theta=800_000),
            stage("sft", "sft", {"colors": 1, "points": 1}, language="long", vision="long", context=256),
            stage("direct", "sft", {"colors": 1}, language="sft", vision="sft", context=256),
            stage("think", "long_cot", {"colors": 1}, language="sft", vision="sft", context=256),
            stage("rl", "rl", {"colors": 1}, language="think", vision="think", context=256, rl=RL),
        ],
        "chat_stage": "sft",
        "evaluation": {
            "benchmarks": [
                {"key": "easy_vqa_test_accuracy", "source": "colors", "metric": "exact", "max_new_tokens": 3,
                 "controls": {"easy_vqa_blind_accuracy": "blank", "easy_vqa_shuffled_accuracy": "shuffled"}},
                {"key": "reading_cer.known_fonts", "source": "colors", "metric": "character_error_rate", "max_new_tokens": 3},
                {"key": "pointing_hit_rate", "source": "points", "metric": "point_in_outline", "max_new_tokens": 6},
            ],
            "needle": {"before": "joint", "after": "long", "context": 128, "multiples": [1, 4], "items": 4},
            "muon_vs_adamw": {"stage": "text", "steps": 2, "rates": [1e-3, 1e-2]},
            "text_before": "text", "text_after": "joint",
            "thinking": {"source": "colors", "direct": "direct", "sft": "think", "rl": "rl", "max_new_tokens": 8,
                         "budgets": [0, 4], "answer_tokens": 4},
        },
    }  # fmt: skip
    return parse(RecipeConfig, values, "the tests' recipe")


@pytest.fixture(scope="session")
def run(recipe, tmp_path_factory) -> Run:
    """The run, trained."""
    run = Run(recipe, tmp_path_factory.mktemp("runs") / "nano")
    run.train()
    return run
