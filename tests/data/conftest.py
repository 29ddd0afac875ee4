"""Data roots written by hand, and a processor without merges: the id of a text token is its byte, special tokens follow."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from kimivl.config.recipe import StageConfig
from kimivl.data.source import Source
from kimivl.processor.image import ImageProcessor
from kimivl.processor.processor import Processor
from kimivl.processor.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def processor() -> Processor:
    """Patches of 4 × 4 pixels; a picture of 8 × 8 is one token."""
    return Processor(Tokenizer({bytes([value]): value for value in range(256)}), ImageProcessor(patch_size=4))


@pytest.fixture
def write(tmp_path):
    """Writes `<root>/<name>/<split>.jsonl` with ids `<name>-0`, `<name>-1`, … and opens it."""

    def write(name: str, records: Iterable[dict[str, Any]], split: str = "train") -> Source:
        (tmp_path / name).mkdir(exist_ok=True)
        lines = [json.dumps({"id": f"{name}-{number}"} | record) for number, record in enumerate(records)]
        (tmp_path / name / f"{split}.jsonl").write_text("".join(line + "\n" for line in lines))
        return Source(tmp_path, name, split)

    return write


@pytest.fixture
def write_documents(write):
    """Plain text documents of the given lengths in bytes, all different."""

    def write_documents(name: str, lengths: Iterable[int], split: str = "train") -> Source:
        texts = (f"{number}:".ljust(length, chr(97 + number % 26))[:length] for number, length in enumerate(lengths))
        return write(name, ({"content": text} for text in texts), split)

    return write_documents


@pytest.fixture
def paint(tmp_path):
    """Draws `<root>/<name>/<file>`, all of one grey, and returns the part of a record that shows it."""

    def paint(name: str, file: str, size: tuple[int, int], grey: int = 0) -> dict[str, str]:
        (tmp_path / name).mkdir(exist_ok=True)
        Image.new("RGB", size, (grey, grey, grey)).save(tmp_path / name / file)
        return {"type": "image", "image": file}

    return paint


@pytest.fixture(scope="session")
def make_stage():
    """A stage of 10 steps (100 at most) from what differs; `mixture` may be the plain weights."""

    def make_stage(mixture: Any, **changes: Any) -> StageConfig:
        points = mixture if isinstance(mixture, list) else [{"weights": mixture}]
        values = {"name": "stage", "kind": "joint", "steps": 10, "context": 32, "pack_tokens": 64, "pack_patches": 64}
        values |= {"schedule": [{"steps": 100, "start": 0, "end": 1e-3}], "mixture": points}
        return StageConfig.model_validate(values | changes)

    return make_stage


@pytest.fixture
def root(tmp_path) -> Path:
    """Where `write` and `paint` put their files."""
    return tmp_path
