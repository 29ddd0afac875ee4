"""Key-value facts inside text: what makes a model learn to copy from its context, near and far.

What it is: `build`, which writes `recall_short` (many facts, many repeats: the ability to look back emerges here),
`recall_long_1024` and `recall_long_4096` (a haystack of real text, a few facts, asked again at the end) and the chat
forms `recall_chat`; and `needle_document`, the same construction with held-out text for evaluation.
What it is not: the needle evaluation; that chooses lengths and depths and runs the model.
Facts: paper §2.3 (long-context activation needs long data whose answer lies far away). Values are four digits,
spelled, so that an answer is four choices among ten. Test keys and values never occur in training facts.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from kimivl.curate.records import Part, Record, chat, document, held_out, text
from kimivl.curate.text.library import common_words, training_texts
from kimivl.curate.workshop import Workshop

SOURCES = ("recall_short", "recall_long_1024", "recall_long_4096", "recall_chat", "recall_long_chat")
SHORT_DOCUMENTS, SHORT_CHATS, LONG_CHATS = 16_000, 4_000, 1_200
LONG_DOCUMENTS = {"recall_long_1024": (4_000, 1024), "recall_long_4096": (1_500, 4096)}  # documents, tokens
CHARS_PER_TOKEN = 3.5  # of a few thousand byte-pair ranks on this text; a fact costs its letters / 3.5 + 6 tokens
SHORT_TOKENS = 220
PASSAGE_SHARE = 0.4
TEST_SHARE = 0.15  # of keys and of values

# Names that a fact can be about. Made-up names (below) join them in training, so that copying does not hang on a list.
NAMES = """
Lima Oslo Cairo Quito Dakar Hanoi Tunis Delhi Kyoto Paris Berlin Madrid Lisbon Vienna Prague Warsaw Athens Dublin Havana
Bogota Nairobi Lagos Accra Seoul Tokyo Osaka Manila Jakarta Sydney Perth Boston Denver Dallas Austin Seattle Chicago Toronto
Ottawa Geneva Zurich Milan Turin Naples Seville Porto Bergen Malmo Turku Riga Vilnius Tallinn Minsk Kiev Odessa Sofia Varna
Zagreb Split Ankara Izmir Tehran Baghdad Muscat Doha Kabul Lahore Karachi Mumbai Chennai Dhaka Rangoon Bangkok Saigon Taipei
Harbin Lhasa Suva Apia Nome Juneau Helena Salem Fresno Tucson Omaha Tulsa Wichita Mobile Anna Boris Clara David Emma Felix
Greta Henry Irene Jacob Karen Louis Maria Nora Oscar Peter Quentin Rosa Simon Tessa Ursula Victor Wanda Xavier Yvonne Zora
Amber Basil Cedar Daisy Fern Ginger Hazel Iris Jasmine Laurel Maple Olive Poppy Sage Violet Willow Falcon Heron Otter Badger
Lynx Tiger Panda Zebra Gecko Raven Robin Swan Orca Cobra Bison Camel Koala Lemur Moose Llama Mercury Venus Jupiter Saturn
Neptune Pluto Orion Vega Sirius Rigel Cobalt Copper Nickel Silver Quartz Topaz Garnet Opal Amethyst Onyx Marble Granite
""".split()
_SYLLABLES = """
ba be bi bo bu da de do du fa fe fi ga go ha he ka ke ki ko la le li lo lu ma me mi mo mu na ne ni no nu pa pe po ra re ri ro
ru sa se si so su ta te ti to tu va ve vi vo za zo
""".split()


@dataclass(frozen=True)
class Needle:
    """A document with one hidden fact: `prompt` ends where the answer begins; `answer` is the value."""

    prompt: list[Part]
    answer: str

    def content(self) -> list[Part]:
        """The whole document, as training sees it."""
        return [*self.prompt, text(self.answer, spelled=True), text(".")]


def is_held_out_key(key: str) -> bool:
    """Whether `key` is kept for evaluation."""
    return held_out(key, TEST_SHARE, "recall keys")


def is_held_out_value(value: str) -> bool:
    """Whether `value` is kept for evaluation."""
    return held_out(value, TEST_SHARE, "recall values")


def held_out_needles(count: int, rng: np.random.Generator, training_texts: Iterable[str] = ()) -> list[tuple[str, str]]:
    """`count` (key, value) pairs for evaluation, none of which training facts use.

    Values that stand as a number in `training_texts` (years, powers of two) are left out as well. Values are distinct;
    keys repeat when the held-out names run out.
    Raises: ValueError if more pairs are asked for than there are held-out values.
    """
    written = {number for one in training_texts for number in re.findall(r"(?<!\d)\d{4}(?!\d)", one)}
    keys = [name for name in NAMES if is_held_out_key(name)]
    values = [value for value in map("{:04d}".format, range(10_000)) if is_held_out_value(value) and value not in written]
    if count > len(values):
        raise ValueError(f"{count} needles asked for, but only {len(values)} values are held out of training")
    return [(keys[i % len(keys)], values[v]) for i, v in enumerate(rng.permutation(len(values))[:count])]


def fact(key: str, value: str) -> list[Part]:
    """The statement of a fact as parts: 'The code of Lima is 4821.'"""
    return [text(f"The code of {key} is "), text(value, spelled=True), text(".")]


def needle_document(
    haystack_texts: Sequence[str], length_chars: int, depth: float, key: str, value: str, rng: np.random.Generator
) -> Needle:
    """Real text of `length_chars` characters with one fact at `depth` (0 start, 1 just before the question).

    Args:
        haystack_texts: documents to cut the haystack from, for evaluation held-out ones; reused in a new order if short.
    The fact stands between sentences. The prompt ends with 'The code of KEY is ' on a line of its own.
    """
    before, after = _split_haystack(haystack_texts, length_chars, depth, rng)
    return Needle(_join([text(before), *fact(key, value), text(after), text(f"\nThe code of {key} is ")]), value)


def needle_question(
    haystack_texts: Sequence[str], length_chars: int, depth: float, key: str, value: str, rng: np.random.Generator
) -> Needle:
    """The same in chat form: `prompt` is the content of the user's message, which ends with the question."""
    before, after = _split_haystack(haystack_texts, length_chars, depth, rng)
    return Needle(_join([text(before), *fact(key, value), text(after), text(f"\nWhat is the code of {key}?")]), value)


def build(shop: Workshop) -> None:
    """Write the five sources."""
    texts = training_texts(shop)
    words = [word.capitalize() for word in common_words(texts, 3 if shop.scale == 1.0 else 1) if len(word) > 3]
    shop.write(
        "recall_short",
        "train",
        (_short(i, texts, words, shop.rng("recall_short", i)) for i in range(shop.count(SHORT_DOCUMENTS))),
    )
    for step, (source, (documents, tokens)) in enumerate(LONG_DOCUMENTS.items(), start=2):
        shop.write(
            source, "train", (_long(source, i, tokens, texts, words, shop.rng(source, i)) for i in range(shop.count(documents)))
        )
        shop.progress(step, 4)
    shop.write(
        "recall_chat", "train", (_short_chat(i, texts, words, shop.rng("recall_chat", i)) for i in range(shop.count(SHORT_CHATS)))
    )
    shop.write(
        "recall_long_chat",
        "train",
        (_long_chat(i, texts, words, shop.rng("recall_long_chat", i)) for i in range(shop.count(LONG_CHATS))),
    )


def _key(words: Sequence[str], rng: np.random.Generator) -> str:
    """A training key: a name, a word of the documentation or a made-up name, never a test key."""
    while True:
        kind = rng.integers(3)
        if kind == 0:
            key = NAMES[rng.integers(len(NAMES))]
        elif kind == 1:
            key = words[int(rng.integers(len(words)))]
        else:
            key = "".join(_SYLLABLES[i] for i in rng.integers(len(_SYLLABLES), size=rng.integers(2, 4))).capitalize()
        if not is_held_out_key(key):
            return key


def _facts(count: int, words: Sequence[str], rng: np.random.Generator) -> dict[str, str]:
    """`count` training facts with distinct keys."""
    facts: dict[str, str] = {}
    while len(facts) < count:
        value = f"{rng.integers(10_000):04d}"
        if not is_held_out_value(value):
            facts.setdefault(_key(words, rng), value)
    return facts


def _fact_tokens(key: str) -> float:
    return (len(key) + 16) / CHARS_PER_TOKEN + 6


def _short(index: int, texts: Sequence[str], words: Sequence[str], rng: np.random.Generator) -> Record:
    """Words in random order, said again and again; or facts, repeated.

    A random passage can only be continued by looking back, at every one of its tokens: copying is learned there first, and facts
    need the same skill at a few tokens of each line.
    """
    parts = _repeated_passage(words, rng) if rng.random() < PASSAGE_SHARE else _repeated_facts(texts, words, rng)
    return document(f"recall-short-{index}", _join(parts))


def _repeated_passage(words: Sequence[str], rng: np.random.Generator) -> list[Part]:
    passage = " ".join(words[i].lower() for i in rng.integers(len(words), size=rng.integers(6, 30)))
    times = max(2, round(SHORT_TOKENS / (len(passage) / CHARS_PER_TOKEN + 1)))
    return [text("\n".join([passage] * times))]


def _repeated_facts(texts: Sequence[str], words: Sequence[str], rng: np.random.Generator) -> list[Part]:
    """One to six facts, then the same facts again and again in random order, often with sentences between."""
    facts = _facts(int(rng.choice([1, 1, 2, 2, 3, 4, 5, 6])), words, rng)
    filler_share = float(rng.choice([0.0, 0.2, 0.4]))
    keys = list(facts)
    lines = [fact(key, facts[key]) for key in keys]
    room = SHORT_TOKENS - 10 - sum(map(_fact_tokens, keys))
    while room > 0:
        if rng.random() < filler_share:
            sentence = _piece(texts, 90, rng)
            lines.append([text(sentence)])
            room -= len(sentence) / CHARS_PER_TOKEN + 1
            continue
        key = keys[rng.integers(len(keys))]
        lines.append(fact(key, facts[key]))
        room -= _fact_tokens(key)
    return [part for line in lines[:-1] for part in line]


def _long(source: str, index: int, tokens: int, texts: Sequence[str], words: Sequence[str], rng: np.random.Generator) -> Record:
    """A haystack of up to `tokens` tokens: half the documents hide one fact, the others two to six and ask for all."""
    facts = _facts(1 if rng.random() < 0.5 else int(rng.integers(2, 7)), words, rng)
    room = tokens - 12 - 2 * sum(map(_fact_tokens, facts))
    length = int(room * rng.uniform(0.5, 1.0) * CHARS_PER_TOKEN)
    parts = _scatter(facts, length, texts, rng)
    asked = [list(facts)[i] for i in rng.permutation(len(facts))]
    for key in asked:
        parts += [text(f"\nThe code of {key} is "), text(facts[key], spelled=True), text(".")]
    return document(f"{source.replace('_', '-')}-{index}", _join(parts))


def _short_chat(index: int, texts: Sequence[str], words: Sequence[str], rng: np.random.Generator) -> Record:
    facts = _facts(int(rng.integers(1, 7)), words, rng)
    parts = _scatter(facts, int(rng.integers(0, 300)), texts, rng)
    return _ask(f"recall-chat-{index}", parts, facts, rng)


def _long_chat(index: int, texts: Sequence[str], words: Sequence[str], rng: np.random.Generator) -> Record:
    facts = _facts(int(rng.integers(1, 4)), words, rng)
    tokens = int(rng.choice([512, 1024, 1024, 2048]))
    parts = _scatter(facts, int(tokens * rng.uniform(0.5, 0.9) * CHARS_PER_TOKEN), texts, rng)
    return _ask(f"recall-long-chat-{index}", parts, facts, rng)


def _ask(sample_id: str, parts: list[Part], facts: dict[str, str], rng: np.random.Generator) -> Record:
    """A conversation whose first message holds the text and the first question, and which goes on asking."""
    keys = [list(facts)[i] for i in rng.permutation(len(facts))][: rng.integers(1, len(facts) + 1)]
    first, *others = [(f"What is the code of {key}?", text(facts[key], spelled=True)) for key in keys]
    return chat(sample_id, [(_join([*parts, text("\n" + first[0])]), first[1]), *others])


def _scatter(facts: dict[str, str], length: int, texts: Sequence[str], rng: np.random.Generator) -> list[Part]:
    """The facts at random places between sentences of a haystack of `length` characters."""
    depths = np.sort(rng.random(len(facts)))
    parts: list[Part] = []
    written = 0.0
    for (key, value), depth in zip(facts.items(), depths):
        parts += [text(_piece(texts, round((depth - written) * length), rng)), *fact(key, value)]
        written = float(depth)
    return parts + [text(_piece(texts, round((1 - written) * length), rng))]


def _split_haystack(texts: Sequence[str], length: int, depth: float, rng: np.random.Generator) -> tuple[str, str]:
    if not 0 <= depth <= 1:
        raise ValueError(f"depth of the needle is {depth}: give a share between 0 (start) and 1 (end)")
    return _piece(texts, round(depth * length), rng), _piece(texts, round((1 - depth) * length), rng)


def _piece(texts: Sequence[str], length: int, rng: np.random.Generator) -> str:
    """About `length` characters (never more) of whole sentences, from as many texts as it takes."""
    pieces: list[str] = []
    room = length
    while room > 30:
        one = texts[int(rng.integers(len(texts)))]
        start = (
            one.find(". ", int(rng.integers(len(one)))) + 2 if len(one) > room else 0
        )  # `find` gives -1 at the end: from near the start
        cut = one[max(start, 0) : max(start, 0) + room]
        stop = cut.rfind(". ") if len(cut) == room else len(cut) - 1
        cut = cut[: stop + 1].strip()
        if len(cut) < 20:  # the next sentence is longer than what is left
            room -= 10
            continue
        pieces.append(cut)
        room -= len(cut) + 1
    return "\n".join(pieces)


def _join(parts: Sequence[Part]) -> list[Part]:
    """Parts with spaces between statements; neighbours of one kind become one part, empty ones vanish."""
    joined: list[Part] = []
    for part in parts:
        value, spelled = part["text"], part.get("spelled", False)
        if not value:
            continue
        if joined and not spelled and not joined[-1].get("spelled"):
            gap = "" if value[0] in "\n." or joined[-1]["text"].endswith((" ", "\n")) else " "
            joined[-1] = text(joined[-1]["text"] + gap + value)
        else:
            joined.append(dict(part))
    return joined
