"""Made-up facts inside text: what makes a model learn to copy from its context, near and far.

What it is: `build`, which writes `recall_short` (facts said again and again: the ability to look back emerges here),
`recall_long_1024` and `recall_long_4096` (a fact in a haystack of real text, a few times and once more at the end) and the
chat forms `recall_chat` and `recall_long_chat`.
What it is not: the form of a fact (`data/facts.py`), or the needle evaluation (`eval/needle.py`).
Facts: paper §2.3 (long-context activation needs long data whose answer lies far away). Test values never occur in training.
"""

from collections.abc import Callable, Sequence

import numpy as np

from kimivl.curate.records import Record, chat, document
from kimivl.curate.text.library import shop_words, training_texts
from kimivl.curate.workshop import Workshop
from kimivl.data.facts import VALUES, is_held_out, question, statement

SOURCES = ("recall_short", "recall_long_1024", "recall_long_4096", "recall_chat", "recall_long_chat")
SHORT_DOCUMENTS, SHORT_CHATS, LONG_CHATS = 24_000, 4_000, 1_200
LONG_DOCUMENTS = {"recall_long_1024": (4_000, 1024), "recall_long_4096": (1_500, 4096)}  # documents, tokens
CHARS_PER_TOKEN = 3.5  # of a few thousand byte-pair ranks on this text
FACT_TOKENS = 14
FILLER_TOKENS = 26
SHORT_TOKENS = 220
MOST_TIMES = 6  # that a long document tells its fact before the end
TRAINING_VALUES = tuple(value for value in VALUES if not is_held_out(value))

# Names that a fact can be about. Words and made-up names (below) join them, so that copying does not hang on a list.
NAMES = """
Lima Oslo Cairo Quito Dakar Hanoi Tunis Delhi Kyoto Paris Berlin Madrid Lisbon Vienna Prague Warsaw Athens Dublin Havana
Bogota Nairobi Lagos Accra Seoul Tokyo Osaka Manila Jakarta Sydney Perth Boston Denver Dallas Austin Seattle Chicago Toronto
Ottawa Geneva Zurich Milan Turin Naples Seville Porto Bergen Malmo Turku Riga Vilnius Tallinn Minsk Kiev Odessa Sofia Varna
Zagreb Split Ankara Izmir Tehran Baghdad Muscat Doha Kabul Lahore Karachi Mumbai Chennai Dhaka Rangoon Bangkok Saigon Taipei
Harbin Lhasa Suva Apia Nome Juneau Helena Salem Fresno Tucson Omaha Tulsa Wichita Mobile Anna Boris Clara David Emma Felix
Greta Henry Irene Jacob Karen Louis Maria Nora Oscar Peter Quentin Rosa Simon Tessa Ursula Victor Wanda Xavier Yvonne Zora
""".split()
_SYLLABLES = """
ba be bi bo bu da de do du fa fe fi ga go ha he ka ke ki ko la le li lo lu ma me mi mo mu na ne ni no nu pa pe po ra re ri ro
ru sa se si so su ta te ti to tu va ve vi vo za zo
""".split()


def build(shop: Workshop) -> None:
    """Write the five sources."""
    texts = training_texts(shop)
    words = [word for word in shop_words(shop, texts) if len(word) > 3]
    for step, (source, (make, count)) in enumerate(_plan().items(), start=1):
        shop.write(source, "train", (make(source, i, texts, words, shop.rng(source, i)) for i in range(shop.count(count))))
        shop.progress(step, len(SOURCES))


def _plan() -> dict[str, tuple[Callable[..., Record], int]]:
    return {
        "recall_short": (_short, SHORT_DOCUMENTS),
        **{source: (_long, documents) for source, (documents, _) in LONG_DOCUMENTS.items()},
        "recall_chat": (_short_chat, SHORT_CHATS),
        "recall_long_chat": (_long_chat, LONG_CHATS),
    }


def _facts(count: int, words: Sequence[str], rng: np.random.Generator) -> dict[str, str]:
    """`count` training facts, value by name."""
    facts: dict[str, str] = {}
    while len(facts) < count:
        facts.setdefault(_name(words, rng), TRAINING_VALUES[rng.integers(len(TRAINING_VALUES))])
    return facts


def _name(words: Sequence[str], rng: np.random.Generator) -> str:
    """A name, a word of the documentation or a made-up name."""
    kind = rng.integers(3)
    if kind == 0:
        return NAMES[rng.integers(len(NAMES))]
    if kind == 1:
        return words[int(rng.integers(len(words)))].capitalize()
    return "".join(_SYLLABLES[i] for i in rng.integers(len(_SYLLABLES), size=rng.integers(2, 4))).capitalize()


def _short(source: str, index: int, texts: Sequence[str], words: Sequence[str], rng: np.random.Generator) -> Record:
    """One to three facts, mostly one, then the same again in random order, often with sentences between.

    Most documents are short: where there is little to look at, looking anywhere at all already helps, and looking back begins
    there. With one fact any code that is found is the right one; that is learned long before telling facts apart.
    """
    room = int(SHORT_TOKENS * (FACT_TOKENS * 2 / SHORT_TOKENS) ** rng.random())  # evenly spread on a logarithmic scale
    facts = _facts(min(int(rng.choice([1, 1, 1, 1, 1, 2, 3])), room // (2 * FACT_TOKENS)), words, rng)
    filler_share = float(rng.choice([0.0, 0.5, 0.8]))
    names = list(facts)
    lines = [statement(name, facts[name]) for name in names]
    room -= FACT_TOKENS * len(lines)
    while room >= FACT_TOKENS:
        if rng.random() < filler_share and room >= FACT_TOKENS + FILLER_TOKENS:
            lines.append(_piece(texts, int(FILLER_TOKENS * CHARS_PER_TOKEN), rng))
            room -= FILLER_TOKENS
        else:
            name = names[rng.integers(len(names))]
            lines.append(statement(name, facts[name]))
            room -= FACT_TOKENS
    return document(f"recall-short-{index}", " ".join(line for line in lines if line))


def _long(source: str, index: int, texts: Sequence[str], words: Sequence[str], rng: np.random.Generator) -> Record:
    """A haystack of nearly the source's length with one fact at one to six places, and once more at the end.

    Said at the end only, it would give a thousand tokens of text three words to learn looking back from. The places lie in a
    first part of any size, so that the last look back goes over every distance up to the whole length.
    """
    ((name, value),) = _facts(1, words, rng).items()
    times = int(rng.integers(1, MOST_TIMES + 1))
    room = LONG_DOCUMENTS[source][1] - FACT_TOKENS * (times + 3)
    length = int(room * rng.uniform(0.8, 0.95) * CHARS_PER_TOKEN)
    haystack = _scatter([(name, value)] * times, length, texts, rng, part=float(rng.random()))
    return document(f"{source.replace('_', '-')}-{index}", f"{haystack}\n{statement(name, value)}")


def _short_chat(source: str, index: int, texts: Sequence[str], words: Sequence[str], rng: np.random.Generator) -> Record:
    facts = _facts(int(rng.integers(1, 5)), words, rng)
    return _ask(f"recall-chat-{index}", _scatter(list(facts.items()), int(rng.integers(0, 300)), texts, rng), facts, rng)


def _long_chat(source: str, index: int, texts: Sequence[str], words: Sequence[str], rng: np.random.Generator) -> Record:
    facts = _facts(int(rng.integers(1, 4)), words, rng)
    tokens = int(rng.choice([512, 1024, 1024, 2048]))
    haystack = _scatter(list(facts.items()), int(tokens * rng.uniform(0.5, 0.9) * CHARS_PER_TOKEN), texts, rng)
    return _ask(f"recall-long-chat-{index}", haystack, facts, rng)


def _ask(sample_id: str, haystack: str, facts: dict[str, str], rng: np.random.Generator) -> Record:
    """A conversation whose first message holds the text and the first question, and which goes on asking."""
    names = [list(facts)[i] for i in rng.permutation(len(facts))][: rng.integers(1, len(facts) + 1)]
    (first, answer), *others = [(question(name), facts[name]) for name in names]
    return chat(sample_id, [(f"{haystack}\n{first}", answer), *others])


def _scatter(
    facts: Sequence[tuple[str, str]], length: int, texts: Sequence[str], rng: np.random.Generator, part: float = 1.0
) -> str:
    """The facts at random places in the first `part` of a haystack of `length` characters, between its sentences."""
    pieces: list[str] = []
    written = 0.0
    for (name, value), depth in zip(facts, np.sort(rng.random(len(facts))) * part):
        pieces += [_piece(texts, round((depth - written) * length), rng), statement(name, value)]
        written = float(depth)
    pieces.append(_piece(texts, round((1 - written) * length), rng))
    return " ".join(piece for piece in pieces if piece)


def _piece(texts: Sequence[str], length: int, rng: np.random.Generator) -> str:
    """About `length` characters (never more) of whole sentences, from as many texts as it takes."""
    pieces: list[str] = []
    room = length
    while room > 30:
        one = texts[int(rng.integers(len(texts)))]
        # From a sentence's beginning; behind the last one `find` gives -1, so that the text is cut near its start.
        start = one.find(". ", int(rng.integers(len(one)))) + 2 if len(one) > room else 0
        cut = one[start : start + room]
        stop = cut.rfind(". ") if len(cut) == room else len(cut) - 1
        cut = cut[: stop + 1].strip()
        if len(cut) < 20:  # the next sentence is longer than what is left
            room -= 10
            continue
        pieces.append(cut)
        room -= len(cut) + 1
    return "\n".join(pieces)
