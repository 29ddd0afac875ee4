"""A small mixed corpus that is drawn, not downloaded: long texts, captions, and chats whose answers name places in pictures.

What it is: what the benches of the data system read, and the processor that reads it; the same on every machine.
What it is not: anything to learn from (`curate/`).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from kimivl.config.base import parse
from kimivl.config.recipe import StageConfig
from kimivl.processor.bpe import train_ranks
from kimivl.processor.image import ImageProcessor
from kimivl.processor.processor import Processor
from kimivl.processor.tokenizer import Tokenizer

COLOURS = ("red", "green", "blue", "orange", "purple", "black")
WORDS = "the picture shows a model that reads every word of a long text and keeps what it needs to answer questions".split()
DOCUMENTS, CAPTIONS, PLACES = 400, 240, 160  # samples of each source


def draw_corpus(root: Path) -> None:
    """Writes the sources `documents`, `captions` and `places` below `root`."""
    rng = np.random.default_rng(0)
    lengths = rng.lognormal(4, 1, DOCUMENTS).astype(int) % 2000 + 5
    _write(root, "documents", [{"content": " ".join(rng.choice(WORDS, length))} for length in lengths])
    _write(root, "captions", [_caption(root, number, rng) for number in range(CAPTIONS)])
    _write(root, "places", [_place(root, number, rng) for number in range(PLACES)])


def corpus_processor() -> Processor:
    """A byte-pair vocabulary of the corpus' words, and patches of 14 pixels."""
    return Processor(Tokenizer(train_ranks([" ".join(WORDS + list(COLOURS))] * 4, 320)), ImageProcessor(patch_size=14))


def corpus_stage(steps: int, **changes: Any) -> StageConfig:
    """A stage that mixes all three sources, and augments one of them."""
    values: dict[str, Any] = {
        "name": "bench", "kind": "joint", "steps": steps, "packs": 4, "context": 1024, "pack_tokens": 2048, "pack_patches": 4096,
        "schedule": [{"steps": steps, "start": 1e-3, "end": 1e-3}], "look_ahead": 8,
        "mixture": [{"weights": {"documents": 2, "captions": 1, "places": 1}}],
        "augment": {"places": {"mirror": 0.5, "margin": 0.3, "turn": 8, "scale": 1.5, "light": 0.3}},
    }  # fmt: skip
    return parse(StageConfig, values | changes, "the stage of the bench")


def _write(root: Path, source: str, records: list[dict[str, Any]]) -> None:
    (root / source).mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"id": f"{source}-{number}"} | record) + "\n" for number, record in enumerate(records)]
    (root / source / "train.jsonl").write_text("".join(lines))


def _caption(root: Path, number: int, rng: np.random.Generator) -> dict[str, Any]:
    picture, colour, _ = _picture(root / "captions" / f"{number}.jpg", rng)
    words = " ".join(rng.choice(WORDS, rng.integers(3, 40)))
    return {"content": [picture, {"type": "text", "text": f"a {colour} box. {words}"}]}


def _place(root: Path, number: int, rng: np.random.Generator) -> dict[str, Any]:
    picture, colour, box = _picture(root / "places" / f"{number}.png", rng)
    question = {"role": "user", "content": [picture, {"type": "text", "text": f"Where is the {colour} box?"}]}
    answer = {"role": "assistant", "content": f"[{', '.join(f'{side:.3f}' for side in box)}]"}
    return {"messages": [question, answer], "meta": {"coordinates": "unit"}}


def _picture(path: Path, rng: np.random.Generator) -> tuple[dict[str, str], str, list[float]]:
    """Draws a coloured box on noise: the part of the record, the colour, and the box as shares of the sides."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = (int(side) for side in rng.integers(60, 400, 2))
    image = Image.fromarray(rng.integers(150, 256, (height, width, 3), dtype=np.uint8))
    left, top = rng.uniform(0, 0.6, 2)
    box = [left, top, left + 0.3, top + 0.3]
    colour = str(rng.choice(COLOURS))
    sides = [box[0] * width, box[1] * height, box[2] * width, box[3] * height]
    ImageDraw.Draw(image).rectangle([round(side) for side in sides], fill=colour)
    image.save(path)
    return {"type": "image", "image": path.name}, colour, box
