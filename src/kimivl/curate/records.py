"""The two record forms that curation writes, and the numbered randomness it draws from.

What it is: small builders of JSON-ready dictionaries (chat and document samples) and `rng_for`.
What it is not: reading or checking records; the data room does that.
Facts: images are named by a path relative to the JSONL's folder. `spelled` text is tokenized letter by letter,
so an answer that is read off a picture is a choice among letters, never a guess of a whole word.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

Part = dict[str, Any]
Record = dict[str, Any]


def text(value: str, spelled: bool = False) -> Part:
    """A text part; `spelled` text is later written as one token a letter."""
    return {"type": "text", "text": value, "spelled": True} if spelled else {"type": "text", "text": value}


def image(path: str) -> Part:
    """An image part; `path` is relative to the folder of the JSONL that names it."""
    return {"type": "image", "image": path}


def document(sample_id: str, content: str | Sequence[Part], meta: dict[str, Any] | None = None) -> Record:
    """Plain or interleaved text, every text token of which is learned."""
    record: Record = {"id": sample_id, "content": content if isinstance(content, str) else list(content)}
    return record | ({"meta": meta} if meta else {})


def chat(
    sample_id: str, turns: Sequence[tuple[str | Sequence[Part], str | Part | Sequence[Part]]], meta: dict[str, Any] | None = None
) -> Record:
    """A conversation of (user content, answer) pairs; an answer may be one or more parts, so that it can be spelled."""
    messages: list[Record] = []
    for asked, answer in turns:
        messages.append({"role": "user", "content": asked if isinstance(asked, str) else list(asked)})
        content = answer if isinstance(answer, str) else [answer] if isinstance(answer, dict) else list(answer)
        messages.append({"role": "assistant", "content": content})
    record: Record = {"id": sample_id, "messages": messages}
    return record | ({"meta": meta} if meta else {})


def join_lines(lines: Iterable[Sequence[Part]]) -> list[Part]:
    """Lines of text parts as the parts of one text; neighbours that are both spelled or both not become one part."""
    joined: list[Part] = []
    for number, line in enumerate(lines):
        for part in ([text("\n")] if number else []) + list(line):
            if joined and joined[-1].get("spelled") == part.get("spelled"):
                joined[-1] = {**part, "text": joined[-1]["text"] + part["text"]}
            else:
                joined.append(part)
    return joined


def rng_for(seed: int, source: str, index: int = 0) -> np.random.Generator:
    """The randomness of one item, a function of (seed, source, index) alone: order and parallel runs cannot change it."""
    return np.random.Generator(np.random.PCG64(stable_hash(f"{seed}/{source}/{index}")))


def stable_hash(value: str) -> int:
    """64 bits that do not change between runs or machines (Python's own `hash` of strings does)."""
    return int.from_bytes(hashlib.blake2b(value.encode(), digest_size=8).digest(), "big")


def held_out(value: str, fraction: float, purpose: str) -> bool:
    """Whether `value` belongs to the held-out `fraction`: decided by its hash, so a split never moves as data grows."""
    return stable_hash(f"{purpose}/{value}") < fraction * 2**64
