"""The trained ranks are those of the definition, and a tokenizer can use them."""

import random
from collections import Counter

import pytest
import regex

from kimivl.processor.bpe import train_ranks
from kimivl.processor.tokenizer import SPLIT_PATTERN, Tokenizer


def train_by_definition(texts: list[str], n_ranks: int) -> list[bytes]:
    """Counts everything again for every merge."""
    words = Counter(word for text in texts for word in regex.findall(SPLIT_PATTERN, text, regex.V1))
    split = {word: [bytes([value]) for value in word.encode()] for word in words}
    tokens = [bytes([value]) for value in range(256)]
    while len(tokens) < n_ranks:
        counts: Counter[tuple[bytes, bytes]] = Counter()
        for word, parts in split.items():
            for pair in zip(parts, parts[1:]):
                counts[pair] += words[word]
        best = min(counts, key=lambda pair: (-counts[pair], pair[0] + pair[1]))
        for parts in split.values():
            at = 0
            while at < len(parts) - 1:
                if (parts[at], parts[at + 1]) == best:
                    parts[at : at + 2] = [best[0] + best[1]]
                at += 1
        tokens.append(best[0] + best[1])
    return tokens


@pytest.mark.parametrize("alphabet", ["ab", "aab ", "abc日", "abcdefgh ABC.12\n"])
def test_equals_the_definition(alphabet):
    for seed in range(5):
        rng = random.Random(seed)
        texts = ["".join(rng.choice(alphabet) for _ in range(200)) for _ in range(5)]
        assert list(train_ranks(texts, 290)) == train_by_definition(texts, 290)


def test_a_small_case_worked_out_by_hand():
    # Words: "ab" 3 times (" ab" twice), "abc" once. Pairs: ab 4, " a" 3, bc 1.
    ranks = train_ranks(["ab ab ab abc"], 259)
    assert list(ranks.items())[256:] == [(b"ab", 256), (b" ab", 257), (b" abc", 258)]


def test_bytes_come_first_and_ranks_have_no_holes():
    ranks = train_ranks(["to be or not to be, that is the question " * 3, "明月光明月光"], 280)
    assert list(ranks)[:256] == [bytes([value]) for value in range(256)]
    assert list(ranks.values()) == list(range(280))


def test_the_order_of_texts_does_not_matter():
    texts = ["one fish two fish", "red fish blue fish", "un poisson rouge", "一条红鱼"]
    assert train_ranks(texts, 290) == train_ranks(reversed(texts), 290)


def test_no_token_crosses_a_word_or_holds_four_digits():
    for token in list(train_ranks(["1234567 1234567 go-go go-go 12345 go\n\n" * 5], 264))[256:]:
        assert len(regex.findall(SPLIT_PATTERN, token.decode(), regex.V1)) == 1


def test_a_tokenizer_writes_the_training_text_in_few_tokens():
    text = "the cat sat on the mat. the dog sat on the log. " * 20
    tokenizer = Tokenizer(train_ranks([text], 270))
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode(text)) < len(text) / 2.5


@pytest.mark.parametrize(
    ("texts", "n_ranks", "named"),
    [(["abc"], 255, "256 single bytes"), (["ab ab"], 300, "give only 258"), ([], 257, "give only 256")],
)
def test_an_impossible_size_is_refused(texts, n_ranks, named):
    with pytest.raises(ValueError, match=named):
        train_ranks(texts, n_ranks)


def test_equals_the_definition_on_many_words_of_uneven_frequency():
    """Word counts fall as in natural text, so that pairs tie, overtake each other and die out."""
    rng = random.Random(0)
    syllables = [first + vowel for first in "bcdfghklmnprstvz" for vowel in "aeiou"]
    vocabulary = ["".join(rng.choices(syllables, k=rng.randint(1, 5))) for _ in range(3_000)]
    weights = [1 / rank for rank in range(1, len(vocabulary) + 1)]
    text = " ".join(rng.choices(vocabulary, weights, k=20_000))
    assert list(train_ranks([text], 500)) == train_by_definition([text], 500)
