"""A tiny random policy with problems to answer: some with pictures, one without."""

import json

import numpy as np
import pytest
from PIL import Image

from kimivl.data.source import Source
from kimivl.engine.engine import Engine
from kimivl.model.kimi_vl import KimiVL
from kimivl.rl.problems import Problems
from kimivl.rl.rollout import Limits, NativeRollouts, Response

PICTURES = [0, 1, 2, 1]  # of each problem


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    """For all tests of this room."""


@pytest.fixture
def policy(new_model) -> KimiVL:
    return new_model()


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
        return NativeRollouts(engine, Limits(max_tokens, segment or max_tokens, engine.context, repeat_stop), seed=5)

    return make
