"""Learns the ranks of a byte-level BPE from texts, for models whose vocabulary is smaller than the official one.

What it is: one function, `train_ranks`. Texts are split with Kimi's own pattern, equal words are counted once, and the most
frequent pair of neighbours inside words becomes the next token, until there are `n_ranks`.
What it is not: the tokenizer (`tokenizer.py`, which also writes the rank file: `Tokenizer(ranks).save(path)`).
Facts: `reference/model.md` §5 for the pattern, which Python's `regex` understands in its version 1 syntax. A pair is known by
the bytes it spells, as in tiktoken. That loses nothing: wherever the same bytes stand as whole tokens, the earlier merges
split them alike, so no two different pairs ever spell the same bytes, and a merged pair never comes up again.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable

import regex

from kimivl.processor.tokenizer import SPLIT_PATTERN


def train_ranks(texts: Iterable[str], n_ranks: int) -> dict[bytes, int]:
    """Token bytes → rank: the 256 bytes in order, then merges, the most frequent first (ties: the smaller bytes).

    Deterministic, and independent of the order of the texts.
    Errors: ValueError when n_ranks is below 256, or when the texts have too few different words to fill it.
    Cost on one core for 2,500 ranks: 2 to 3 s for 5 MB of English or code. Chinese is the slow case, since its words are
    runs of characters between punctuation that hardly repeat: 16 s for 5 MB of random ones.
    """
    if n_ranks < 256:
        raise ValueError(f"n_ranks is {n_ranks}: the 256 single bytes alone need 256")
    pairs = _Pairs(_count_words(texts))
    ranks = {bytes([value]): value for value in range(256)}
    while len(ranks) < n_ranks:
        token = pairs.most_frequent()
        if token is None:
            raise ValueError(f"the texts give only {len(ranks)} tokens, {n_ranks} were asked for: add text or ask for fewer")
        pairs.merge(token)
        ranks[token] = len(ranks)
    return ranks


def _count_words(texts: Iterable[str]) -> dict[bytes, int]:
    """Different words of two bytes or more, and how often each occurs."""
    split = regex.compile(SPLIT_PATTERN, regex.V1)
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(split.findall(text))
    encoded: Counter[bytes] = Counter()
    for word, count in counts.items():
        encoded[word.encode("utf-8", errors="replace")] += count
    return {word: count for word, count in encoded.items() if len(word) > 1}


class _Pairs:
    """The words with the places where their tokens start, and how often neighbours spell each possible next token.

    A word stays the bytes it is; merging two neighbours only clears the mark between them. So a pair is a slice, and the
    search for it runs at the speed of `bytes.find` also in Chinese, where a word can be a whole sentence.
    """

    def __init__(self, counted_words: dict[bytes, int]) -> None:
        self.words = list(counted_words)
        self.counts = list(counted_words.values())
        self.starts = [bytearray(b"\1" * (len(word) + 1)) for word in self.words]  # the end counts as a start
        self.frequency: dict[bytes, int] = defaultdict(int)
        # Words that had the pair at some time; one that lost it since costs a look and changes nothing.
        self.words_with: dict[bytes, list[int]] = defaultdict(list)
        for index, (word, count) in enumerate(zip(self.words, self.counts)):
            for first in range(len(word) - 1):
                self.frequency[word[first : first + 2]] += count
                self.words_with[word[first : first + 2]].append(index)
        self.heap = [(-count, token) for token, count in self.frequency.items()]
        heapq.heapify(self.heap)

    def most_frequent(self) -> bytes | None:
        """None when every word is one token."""
        # Every change of a count pushes an entry and removes none, so an entry is true or there is a truer one.
        while self.heap:
            negative, token = heapq.heappop(self.heap)
            if 0 < -negative == self.frequency.get(token):
                return token
        return None

    def merge(self, token: bytes) -> None:
        """Joins the neighbours that spell `token`, from left to right, in every word that has them."""
        change: dict[bytes, int] = defaultdict(int)
        for index in self.words_with.pop(token):
            self._merge_in_word(index, token, change)
        for pair, difference in change.items():
            if difference:
                self.frequency[pair] += difference
                heapq.heappush(self.heap, (-self.frequency[pair], pair))

    def _merge_in_word(self, index: int, token: bytes, change: dict[bytes, int]) -> None:
        word, starts, count = self.words[index], self.starts[index], self.counts[index]
        first = word.find(token)
        while first >= 0:
            end = first + len(token)
            if not (starts[first] and starts[end] and starts.count(1, first + 1, end) == 1):
                first = word.find(token, first + 1)  # the same bytes, but not two whole tokens
                continue
            middle = starts.find(1, first + 1)
            starts[middle] = 0
            change[token] -= count
            if first > 0:
                before = starts.rfind(1, 0, first)
                change[word[before:middle]] -= count
                change[word[before:end]] += count
                self.words_with[word[before:end]].append(index)
            if end < len(word):
                after = starts.find(1, end + 1)
                change[word[middle:after]] -= count
                change[word[first:after]] += count
                self.words_with[word[first:after]].append(index)
            first = word.find(token, end)
