"""Rendered words: real English words and random letter strings in the fonts that matplotlib ships.

What it is: `build`, which writes `words` (document: picture, then the text spelled; tests `test_known` and
`test_heldout`), `letters` (the same with one to three letters, where reading begins) and `words_chat` (words with a question).
What it is not: page layout. A picture is one word as a line detector would hand it over: 16 pixels high, the baseline always on
the same row, one size a font, as wide as a multiple of 16 needs to be.
Facts: a third of the strings is random so that reading cannot be replaced by guessing. Tests use words (types, by hash)
that no training picture shows; `test_heldout` also uses a font family, DejaVu Serif, that occurs nowhere in training.
"""

import string
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from kimivl.curate.fonts import font
from kimivl.curate.records import Record, chat, document, image, text
from kimivl.curate.text.library import is_held_out_word, shop_words, training_texts
from kimivl.curate.workshop import Workshop

SOURCES = ("words", "letters", "words_chat")
TRAIN_ITEMS, LETTER_ITEMS, CHAT_ITEMS, TEST_ITEMS = 60_000, 24_000, 30_000, 500
RANDOM_SHARE = 0.35
HEIGHT, WIDTH_STEP = 16, 16  # one row of merged patches: a line of text costs few tokens
BASELINE = 12  # rows above the line that letters stand on
# File name -> size in pixels that fills the height; Computer Modern letters are smaller at the same size.
FONTS = {
    "DejaVuSans": 12,
    "DejaVuSans-Bold": 12,
    "DejaVuSansMono": 12,
    "STIXGeneral": 14,
    "STIXGeneralBol": 14,
    "cmr10": 14,
    "cmb10": 14,
    "cmss10": 14,
    "cmtt10": 14,
}
HELD_OUT_FONTS = {"DejaVuSerif": 12}
QUESTIONS = ("Read the word.", "What does the picture say?", "What is written here?", "Which word do you see?", "Read the text.")
_SAME_IN_BOTH_CASES = set("coswvxz")  # a string of these alone could be either case


def build(shop: Workshop) -> None:
    """Write the three sources."""
    words = shop_words(shop, training_texts(shop))
    known = [word for word in words if not is_held_out_word(word)]
    unseen = [word for word in words if is_held_out_word(word)]
    total = shop.count(TRAIN_ITEMS)

    labels: list[tuple[str, str]] = []  # (path, word)
    for i in range(total):
        rng = shop.rng("words", i)
        word = _random_string(rng, 2, 7) if rng.random() < RANDOM_SHARE else _cased(str(known[rng.integers(len(known))]), rng)
        picture = render(word, _pick(FONTS, rng), rng, jitter=True)
        labels.append((shop.save_image("words", f"{i:05d}", picture), word))
        shop.progress(i, total)
    shop.write(
        "words",
        "train",
        (document(f"words-{i}", [image(path), text(word, spelled=True)]) for i, (path, word) in enumerate(labels)),
    )
    shop.write("words", "test_known", _test(shop, "known", FONTS, unseen))
    shop.write("words", "test_heldout", _test(shop, "heldout", HELD_OUT_FONTS, unseen))

    shop.write("letters", "train", (_letters(shop, i) for i in range(shop.count(LETTER_ITEMS))))

    for i in range(shop.count(CHAT_ITEMS)):
        shop.share_image("words_chat", f"{i:05d}", "words")
    shop.write(
        "words_chat",
        "train",
        (_chat(i, path, word, shop.rng("words_chat", i)) for i, (path, word) in enumerate(labels[: shop.count(CHAT_ITEMS)])),
    )


def render(word: str, font: tuple[str, int], rng: np.random.Generator, jitter: bool) -> Image.Image:
    """A picture of `word`, [16, multiple of 16] pixels, RGB.

    Args:
        font: (file name without suffix, size in pixels).
        jitter: vary width, weight and slant a little, as if more fonts existed; tests show fonts as they are.
    """
    weight = float(rng.choice([0.0, 0.0, 0.0, 0.25])) if jitter else 0.0
    mask = _mask(word, *font, weight)
    if jitter and rng.random() < 0.5:
        mask = _stretch(mask, rng.uniform(0.94, 1.08), rng.uniform(-0.06, 0.06))
    left = int(rng.integers(1, 4))
    width = -(-(mask.width + left + 1) // WIDTH_STEP) * WIDTH_STEP
    ground, ink = _colors(rng)
    picture = Image.new("RGB", (width, HEIGHT), ground)
    picture.paste(ink, (left, 0), mask)
    return picture


def _mask(word: str, name: str, size: int, weight: float) -> Image.Image:
    """Coverage of the word's pixels, `HEIGHT` rows; drawn with room on both sides, as fonts misjudge their own extent."""
    face = font(name, size)
    canvas = Image.new("L", (round(face.getlength(word)) + 2 * size, HEIGHT))
    ImageDraw.Draw(canvas).text((size, BASELINE), word, fill=255, font=face, stroke_width=weight, anchor="ls")
    return _cut_sides(canvas)


def _stretch(mask: Image.Image, factor: float, slant: float) -> Image.Image:
    """Scale the width by `factor` and lean by `slant` (horizontal shift per row)."""
    lean = abs(slant) * mask.height
    width = round(mask.width * factor + lean)
    shift = -lean if slant > 0 else 0.0
    leaned = mask.transform(
        (width, mask.height),
        Image.Transform.AFFINE,
        (1 / factor, slant / factor, shift / factor, 0, 1, 0),
        Image.Resampling.BICUBIC,
    )
    return _cut_sides(leaned)


def _cut_sides(mask: Image.Image) -> Image.Image:
    """Without the empty columns on both sides."""
    left, _, right, _ = mask.getbbox() or (0, 0, *mask.size)
    return mask.crop((left, 0, right, mask.height))


def _colors(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(background, ink): dark on light, in one of six pictures light on dark."""
    light, dark = tuple(rng.integers(205, 256, 3).tolist()), tuple(rng.integers(0, 90, 3).tolist())
    return (light, dark) if rng.random() < 5 / 6 else (dark, light)


def _pick(fonts: dict[str, int], rng: np.random.Generator) -> tuple[str, int]:
    return list(fonts.items())[rng.integers(len(fonts))]


def _cased(word: str, rng: np.random.Generator) -> str:
    """Lower case mostly, some Capitalised, some UPPER (unless upper case could be read as lower)."""
    draw = rng.random()
    if draw < 0.75 or (draw >= 0.9 and set(word) <= _SAME_IN_BOTH_CASES):
        return word
    return word.capitalize() if draw < 0.9 else word.upper()


def _letters(shop: Workshop, index: int) -> Record:
    rng = shop.rng("letters", index)
    string_ = _random_string(rng, 1, 3)
    path = shop.save_image("letters", f"{index:05d}", render(string_, _pick(FONTS, rng), rng, jitter=True))
    return document(f"letters-{index}", [image(path), text(string_, spelled=True)])


def _random_string(rng: np.random.Generator, least: int, most: int) -> str:
    """`least` to `most` letters of one case (or Capitalised) whose case can be told, and which are no test word."""
    while True:
        letters = "".join(string.ascii_lowercase[i] for i in rng.integers(26, size=rng.integers(least, most + 1)))
        cased = _cased(letters, rng)
        # In a sans-serif font 'Ixb' looks like 'lxb', and 'I' like 'l'.
        capital_i_or_l = (cased[0] == "I" and cased != cased.upper()) or set(cased) <= {"I", "l"}
        if not set(letters) <= _SAME_IN_BOTH_CASES and not capital_i_or_l and not is_held_out_word(letters):
            return cased


def _test(shop: Workshop, kind: str, fonts: dict[str, int], unseen: Sequence[str]) -> list[Record]:
    """The same held-out words for both tests, so that the fonts alone make the difference."""
    order = shop.rng("words test").permutation(len(unseen))
    records = []
    for i in range(shop.count(TEST_ITEMS)):
        rng = shop.rng(f"words {kind}", i)
        word, font = _cased(unseen[order[i % len(order)]], shop.rng("words test case", i)), _pick(fonts, rng)
        path = shop.save_image("words", f"{kind}-{i:03d}", render(word, font, rng, jitter=False))
        records.append(
            chat(
                f"words-{kind}-{i}",
                [([image(path), text(QUESTIONS[0])], text(word, spelled=True))],
                {"answer": word, "font": font[0]},
            )
        )
    return records


def _chat(index: int, path: str, word: str, rng: np.random.Generator) -> Record:
    question = QUESTIONS[0] if rng.random() < 0.4 else QUESTIONS[rng.integers(len(QUESTIONS))]
    return chat(f"words-chat-{index}", [([image(path), text(question)], text(word, spelled=True))])
