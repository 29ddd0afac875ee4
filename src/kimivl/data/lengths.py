"""How many tokens each row of a source has, counted once, so that packs can be planned without rendering any text.

What it is: `measure_lengths`, which writes a table beside the source, twelve bytes a row, and a note of whose tokens they are;
`lengths_of`, which finds it, and `all_lengths`, which finds those of any vocabulary; `Length`, which also tells which tokens and
which mask were counted.
What it is not: needed. A source without a table, or one that was changed since, is rendered as it is planned, by every rank.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kimivl.data.sample import Sample
from kimivl.data.source import Source
from kimivl.model.atomic import write_atomic, writing
from kimivl.processor.chat import SUPERVISED, Provenance, render_chat, render_document
from kimivl.processor.thoughts import forget_thoughts
from kimivl.processor.tokenizer import Tokenizer

RENDERING = 1  # raised when the chat format changes, so that older tables are not found any more
TABLE = np.dtype([("fingerprint", "<u8"), ("tokens", "<i4")])
_IS_SUPERVISED = np.array([kind in SUPERVISED for kind in Provenance])


class Length(NamedTuple):
    """Of a rendered sample, its pictures left out. `fingerprint`: of its ids, and of which of them are learned."""

    fingerprint: int
    tokens: int


@dataclass(frozen=True)
class Counted:
    """The tokens of all rows. `tokenizer`: digest of the vocabulary, and `vocabulary` its size. `called`: as whoever counted
    called it. `tokens_N`: of each row, pictures left out."""

    tokenizer: str
    vocabulary: int
    called: str
    tokens_N: np.ndarray

    @property
    def name(self) -> str:
        """For people."""
        return tokenizer_name(self.called, self.vocabulary, self.tokenizer)


def tokenizer_name(called: str, vocabulary: int, digest: str) -> str:
    """A vocabulary, for people."""
    return f"{called or 'vocabulary'} ({vocabulary:,} tokens, digest {digest[:8]})"


def length_of(sample: Sample, tokenizer: Tokenizer) -> Length:
    """Renders a sample and counts. Raises: ValueError for one that cannot be rendered."""
    pictures = [1] * len(sample.images)
    if sample.is_chat:
        rendered = render_chat(forget_thoughts(sample.messages), tokenizer, pictures)
    else:
        rendered = render_document(sample.content, tokenizer, pictures)
    provenance = np.array(rendered.provenance, np.uint8)
    return counted(np.array(rendered.ids, np.int64), _IS_SUPERVISED[provenance], provenance)


def counted(ids: np.ndarray, supervised: np.ndarray, provenance: np.ndarray) -> Length:
    """The same of what was rendered already. Args: as of `Outline`."""
    is_text = provenance != Provenance.MEDIA
    digest = hashlib.blake2b(ids[is_text].tobytes(), digest_size=8)
    digest.update(supervised[is_text].tobytes())
    return Length(int.from_bytes(digest.digest(), "little"), int(is_text.sum()))


def measure_lengths(
    source: Source, tokenizer: Tokenizer, watch: Callable[[int], object] = lambda more: None, called: str = ""
) -> Path:
    """Renders every row of a source and writes the table. Returns: its path.

    Args:
        watch: told how many rows more are counted.
        called: what people call the vocabulary.
    Raises: ValueError naming a row that cannot be rendered; NotWritten naming the table.
    """
    table = np.empty(len(source), TABLE)
    for row in range(len(source)):
        sample = source[row]
        try:
            table[row] = length_of(sample, tokenizer)
        except ValueError as error:
            raise ValueError(f"sample {sample.id} of {source.path}: {error}") from None
        watch(1)
    path = _path(source.path, source.records.identity, tokenizer.digest)
    new = path.with_name(f".{path.name}.new")
    with writing(path):
        path.parent.mkdir(exist_ok=True)
        with new.open("wb") as file:
            np.save(file, table)
            os.fsync(file.fileno())
        new.replace(path)
    note = {"tokenizer": tokenizer.digest, "vocabulary": tokenizer.vocab_size, "called": called}
    write_atomic(path.with_suffix(".json"), json.dumps(note) + "\n")
    return path


def lengths_of(source: Source, tokenizer: Tokenizer) -> np.ndarray | None:
    """The table of a source as it is now and of this vocabulary, `TABLE` by row, mapped into memory; None without one."""
    path = _path(source.path, source.records.identity, tokenizer.digest)
    return np.load(path, mmap_mode="r") if path.exists() else None


def all_lengths(path: Path, identity: str) -> list[Counted]:
    """What was counted of a source as it is now, by whichever vocabulary.

    Args:
        path: of its file or manifest. identity: of its records.
    """
    found = []
    for note in sorted(path.with_suffix(".lengths").glob("*.json")):
        said = json.loads(note.read_text())
        table = _path(path, identity, said["tokenizer"])
        if table.with_suffix(".json") == note and table.exists():
            found.append(Counted(**said, tokens_N=np.load(table, mmap_mode="r")["tokens"]))
    return found


def _path(path: Path, identity: str, tokenizer: str) -> Path:
    key = hashlib.blake2b(repr((identity, tokenizer, RENDERING)).encode(), digest_size=8).hexdigest()
    return path.with_suffix(".lengths") / f"{key}.npy"
