"""What the tests of this room share: a small tokenizer trained on the spot, and the real ranks when a package has them."""

from pathlib import Path

import pytest

from kimivl.processor.bpe import train_ranks
from kimivl.processor.tokenizer import Tokenizer

TEXT = """The quick brown fox jumps over the lazy dog. You are a helpful assistant. How many red squares are in the image?
There are 12 squares, 3 circles and 45 triangles; it's what we'll count. user system assistant image answer: (0.25, 0.75)
床前明月光，疑是地上霜。举头望明月，低头思故乡。 Où est la bibliothèque ? Straße, naïve café, ПРИВЕТ мир.
def area(width, height):\n    return width * height\n\n\n"""


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer(train_ranks([TEXT], 420))


@pytest.fixture(scope="session")
def official_ranks_file(tmp_path_factory) -> Path:
    """The released rank file, rebuilt from a package that carries the ranks. It is never kept: the ranks are Moonshot's."""
    splintr = pytest.importorskip(
        "splintr", reason="the real ranks are checked only where they are: pip install splintr-rs==0.22.0"
    )
    kimi = splintr.Tokenizer.from_pretrained("kimi_k2")
    path = tmp_path_factory.mktemp("ranks") / "tiktoken.model"
    Tokenizer({kimi.decode_token_bytes(rank): rank for rank in range(163_584)}).save(path)
    return path
