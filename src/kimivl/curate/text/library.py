"""The text sources as they lie on disk: documents, their prose-like part, and short questions with honest answers.

What it is: `build`, which writes `text` (train and whole held-out files as test), `text_high_quality` (for the cooldown)
and `text_qa` (chat: what a documented function does, and small tasks on words whose answers a rule decides).
What it is not: the reading and cleaning, which is `docs.py` and `prose.py`.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from kimivl.curate.records import Record, chat, document, held_out, text
from kimivl.curate.text.docs import HIGH_QUALITY, Document, read_library
from kimivl.curate.workshop import Workshop, plain_text, read_records

SOURCES = ("text", "text_high_quality", "text_qa")
RULE_QUESTIONS = 4000
TEST_WORD_SHARE = 0.1


def build(shop: Workshop) -> None:
    """Write the three sources."""
    library = read_library(shop.seed, shop.scale)
    order = shop.rng("text order").permutation(len(library.train))  # neighbours on disk are not from one file
    train = [library.train[i] for i in order]
    shop.progress(3, 4)
    shop.write("text", "train", (_record("text", i, item) for i, item in enumerate(train)))
    shop.write("text", "test", (_record("text-test", i, item) for i, item in enumerate(library.test)))
    shop.write(
        "text_high_quality", "train", (_record("text-hq", i, item) for i, item in enumerate(train) if item.score >= HIGH_QUALITY)
    )
    questions = [
        _what_it_does(i, name, answer, shop.rng("text_qa docs", i)) for i, (name, answer) in enumerate(_unique(library.summaries))
    ]
    words = [word for word in shop_words(shop, [item.text for item in train]) if not is_held_out_word(word)]
    questions += [_word_task(i, words, shop.rng("text_qa rules", i)) for i in range(shop.count(RULE_QUESTIONS))]
    shuffled = shop.rng("text_qa order").permutation(len(questions))
    shop.write("text_qa", "train", (questions[i] for i in shuffled))


def shop_words(shop: Workshop, texts: Sequence[str]) -> list[str]:
    """The words that are common in `texts`; in the small builds of tests, all of them."""
    return common_words(texts, least_count=1 if shop.scale < 1 else 3)


def common_words(texts: Sequence[str], least_count: int) -> list[str]:
    """Lower-case words of 3 to 10 letters that occur at least so often in `texts`, most frequent first, ties by spelling."""
    counts: Counter[str] = Counter()
    for one in texts:
        counts.update(re.findall(r"(?<![\w.'-])[A-Za-z][a-z]{2,9}(?![\w'-]|\.\w)", one))
    merged: Counter[str] = Counter()
    for word, count in counts.items():
        merged[word.lower()] += count
    return sorted((word for word, count in merged.items() if count >= least_count), key=lambda word: (-merged[word], word))


def is_held_out_word(word: str) -> bool:
    """Whether a word (in any case) is kept for the reading tests: it is never rendered or spelled in training."""
    return held_out(word.lower(), TEST_WORD_SHARE, "words")


def training_texts(shop: Workshop) -> list[str]:
    """The text of every training document, for sources that are made from it."""
    return [plain_text(record) for record in read_records(shop.root / "text" / "train.jsonl")]


def _record(prefix: str, index: int, item: Document) -> Record:
    return document(f"{prefix}-{index}", item.text, {"origin": item.origin, "title": item.title})


def _unique(summaries: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """One answer a name, one name an answer: a question must not have two truths."""
    by_name = dict(reversed(summaries))
    by_answer = {answer: name for name, answer in by_name.items()}
    return sorted((name, answer) for answer, name in by_answer.items())


def _what_it_does(index: int, name: str, answer: str, rng: np.random.Generator) -> Record:
    question = rng.choice(["What does {} do?", "What is {}?", "Describe {} in one sentence.", "Tell me about {}."])
    return chat(f"text-qa-doc-{index}", [(str(question).format(name), answer)])


def _word_task(index: int, words: list[str], rng: np.random.Generator) -> Record:
    """Several small tasks about words in one conversation."""
    turns = [
        _one_task(str(words[rng.integers(len(words))]), str(words[rng.integers(len(words))]), rng)
        for _ in range(rng.integers(1, 5))
    ]
    return chat(f"text-qa-rule-{index}", turns)


def _one_task(word: str, other: str, rng: np.random.Generator) -> tuple[str, str | dict[str, object]]:
    kind = rng.integers(6)
    if kind == 0:
        return f"Spell the word {word}.", text(" ".join(word), spelled=True)
    if kind == 1:
        return f'What is the first letter of "{word}"?', text(word[0], spelled=True)
    if kind == 2:
        return f'How many letters does "{word}" have?', text(str(len(word)), spelled=True)
    if kind == 3:
        return f"Write {word} in capital letters.", text(word.upper(), spelled=True)
    if kind == 4:
        first, second = (int(n) for n in rng.integers(0, 50, 2))
        return f"What is {first} + {second}?", text(str(first + second), spelled=True)
    second_word = word if rng.integers(2) else other
    return f'Do "{word}" and "{second_word}" start with the same letter?', "yes" if word[0] == second_word[0] else "no"
