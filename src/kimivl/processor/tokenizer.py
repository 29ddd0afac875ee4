"""Text ↔ ids: Kimi's byte-level BPE, at any number of ranks.

What it is: `Tokenizer`, a thin hull around tiktoken with Kimi's split pattern and id layout, and the reader and writer of
the rank file (`tiktoken.model`: one base64 token and its rank a line). The official file has 163,584 ranks; a nano file
has a few thousand and is read by the same class.
What it is not: a chat template (`chat.py`) or a trainer of ranks (`bpe.py`). Text can never produce a special token:
a user who types `<|im_end|>` gets the ordinary tokens of those ten characters. Only `special(name)` gives structure.
Facts: `reference/model.md` §5 (pattern, slot order, cut lengths, the dispute over [PAD] and [UNK]).

Layout of the ids: ranks 0 … n−1, then 256 slots in the official order, so slot k has the official id 163584 + k.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import tiktoken

# Letters of every script but Han (`&&` is set intersection): those that may open a capitalised word, those that may go on.
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
SPLIT_PATTERN = "|".join(  # the first alternative that matches wins
    [
        r"[\p{Han}]+",
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTION}",
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTION}",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)

SLOT_COUNT = 256
# Slot → name; a slot without a name is called `<|reserved_token_{id}|>`. Two sources disagree on which of the last two is
# [PAD]; config.json says pad_token_id 163839, and nothing here depends on it: both are padding and neither is generated.
SLOT_NAMES = {
    0: "[BOS]",
    1: "[EOS]",
    2: "<|im_end|>",
    3: "<|im_user|>",
    4: "<|im_assistant|>",
    6: "<|start_header_id|>",
    7: "<|end_header_id|>",
    9: "[EOT]",
    10: "<|im_system|>",
    17: "<|im_middle|>",
    18: "<|media_start|>",
    19: "<|media_content|>",
    20: "<|media_end|>",
    21: "<|media_pad|>",
    254: "[UNK]",
    255: "[PAD]",
}

# tiktoken's regex engine fails on very long inputs and slows down on very long runs; the official wrapper cuts here, and
# since a cut changes the ids, so must we.
MAX_CHARS = 400_000
MAX_RUN = 25_000


class Tokenizer:
    """Encodes and decodes; immutable, picklable, safe to share between threads.

    Args:
        ranks: token bytes → rank. Ranks are 0 … n−1 and all 256 single bytes are among them.
    Errors: ValueError when they are not.
    """

    def __init__(self, ranks: Mapping[bytes, int]) -> None:
        _check_ranks(ranks)
        self.n_ranks = len(ranks)
        self.vocab_size = self.n_ranks + SLOT_COUNT
        names = [SLOT_NAMES.get(slot, f"<|reserved_token_{self.n_ranks + slot}|>") for slot in range(SLOT_COUNT)]
        self._specials = {name: self.n_ranks + slot for slot, name in enumerate(names)}
        self._ranks = dict(ranks)
        self._byte_ids = [ranks[bytes([value])] for value in range(256)]
        self._encoding = tiktoken.Encoding(
            "kimi", pat_str=SPLIT_PATTERN, mergeable_ranks=self._ranks, special_tokens=self._specials
        )
        self.eos_id = self.special("[EOS]")
        self.im_end_id = self.special("<|im_end|>")
        self.media_pad_id = self.special("<|media_pad|>")
        self.pad_id = self.special("[PAD]")
        # Turns end with <|im_end|>, documents with [EOS]; the official generation_config names only the latter.
        self.stop_ids = frozenset({self.eos_id, self.im_end_id})

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Reads a rank file. Errors: ValueError naming the file and the line."""
        if not Path(path).is_file():
            raise ValueError(f"{path}: there is no such rank file")
        try:
            return cls(_read_ranks(Path(path)))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def save(self, path: str | Path) -> None:
        """Writes the rank file, in the order of ranks."""
        ordered = sorted(self._ranks.items(), key=lambda item: item[1])
        Path(path).write_bytes(b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ordered))

    @property
    def digest(self) -> str:
        """Tells one vocabulary from another."""
        return hashlib.blake2b(repr(sorted(self._ranks.items(), key=lambda item: item[1])).encode(), digest_size=12).hexdigest()

    def special(self, name: str) -> int:
        """The id of a special token. Errors: ValueError listing the names when there is none of this name."""
        try:
            return self._specials[name]
        except KeyError:
            raise ValueError(f"no special token is called {name!r}; the names are {', '.join(SLOT_NAMES.values())}") from None

    def encode(self, text: str, *, spelled: bool = False) -> list[int]:
        """Ids of a text, without special tokens whatever the text contains.

        `spelled` gives one id per UTF-8 byte, character after character and without merges; it decodes to the same text.
        A lone surrogate, which is not text, becomes U+FFFD. The cost is linear in the length for any input.
        """
        if spelled:
            return [self._byte_ids[value] for value in _utf8(text)]
        if len(text) <= MAX_RUN:
            return self._encoding.encode_ordinary(text)
        return [id for piece in _pieces(text) for id in self._encoding.encode_ordinary(piece)]

    def written(self, ids: Sequence[int], text: str) -> list[int]:
        """The ids in which a model wrote `text`, as they are.

        Errors: ValueError if they are not text, or another one: they were written with another tokenizer.
        """
        if any(not 0 <= id < self.n_ranks for id in ids) or self.decode(ids) != text:
            raise ValueError(
                f"the ids of the text {text[:40]!r} do not spell it with this tokenizer: another one wrote them; remove them"
            )
        return list(ids)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of some ids; special tokens appear by name, bytes that are no UTF-8 (a character cut in two) as U+FFFD.

        Errors: ValueError naming the id outside [0, vocab_size).
        """
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Bytes of some ids: what a streaming server needs, since a character may straddle two tokens."""
        checked = [self._check_id(int(id)) for id in ids]
        return self._encoding.decode_bytes(checked)

    def _check_id(self, id: int) -> int:
        if not 0 <= id < self.vocab_size:
            raise ValueError(f"id {id} is outside the vocabulary of {self.vocab_size}")
        return id

    def special_names(self) -> dict[str, int]:
        """Name → id of the named slots, in id order."""
        return {name: self._specials[name] for name in SLOT_NAMES.values()}


def _read_ranks(path: Path) -> dict[bytes, int]:
    """Errors: ValueError naming the line."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error):
            raise ValueError(f"line {number} is not a base64 token, a space and a rank: {line[:80]!r}") from None
        if len(ranks) != number:
            raise ValueError(f"line {number} repeats the token of an earlier line")
    return ranks


def _check_ranks(ranks: Mapping[bytes, int]) -> None:
    missing = [value for value in range(256) if bytes([value]) not in ranks]
    if missing:
        raise ValueError(f"{len(missing)} of the 256 single bytes have no rank (the first is {missing[0]:#04x})")
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise ValueError(f"the {len(ranks)} ranks are not 0 … {len(ranks) - 1}, each once")


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:  # the same repair that tiktoken makes: pair surrogates up, replace lone ones
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode("utf-8")


def _pieces(text: str) -> Iterator[str]:
    """Cuts of at most 400,000 characters, each cut again inside runs of more than 25,000 (non-)space characters."""
    for first in range(0, len(text), MAX_CHARS):
        block = text[first : first + MAX_CHARS]
        cuts = [0, *_run_cuts(block), len(block)]
        yield from (block[start:end] for start, end in zip(cuts, cuts[1:]))


def _run_cuts(block: str) -> Sequence[int]:
    runs = ((match.start(), match.end()) for match in re.finditer(r"\s+|\S+", block))
    return [cut for start, end in runs if end - start > MAX_RUN for cut in range(start + MAX_RUN, end, MAX_RUN)]
