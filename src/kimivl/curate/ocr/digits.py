"""Handwritten digits: the 1,797 real scans that scikit-learn ships.

What it is: `build`, which writes `digits` (documents: one digit, or a row of two to four; test: single held-out scans)
and `digits_chat` (the same pictures with questions).
What it is not: MNIST; these are 8x8 scans with 17 grey levels (UCI optical recognition of handwritten digits).
Facts: the last fifth of the scans, in the file's order, is the test: writers are disjoint from the first part as far as
the order tells (scikit-learn's own examples split this way). Only training scans are varied and put into rows.
"""

import numpy as np
from PIL import Image

from kimivl.curate.records import Record, chat, document, image, text
from kimivl.curate.workshop import Workshop

SOURCES = ("digits", "digits_chat")
TEST_SHARE = 0.2
COPIES = 6  # pictures of each training scan, the first one unvaried
ROWS = 6000
SIDE = 32
PAD = 2  # empty scan pixels around the digit, so that it can turn and shift
ONE = ("What digit is this?", "Which digit do you see?", "Read the digit.")
MANY = ("Read the digits.", "Which digits do you see?", "What number is written here?")


def build(shop: Workshop) -> None:
    """Write both sources."""
    from sklearn.datasets import load_digits

    scans = load_digits()
    first_test = round(len(scans.images) * (1 - TEST_SHARE))
    train = shop.count(first_test)
    total = train * COPIES + shop.count(ROWS)
    labels: list[tuple[str, str]] = []  # (name, digits)
    for i in range(train * COPIES):
        scan = i % train
        picture = draw(scans.images[scan], shop.rng("digits", i) if i >= train else None)
        shop.save_image("digits", f"one-{i:05d}", picture)
        labels.append((f"one-{i:05d}", str(scans.target[scan])))
        shop.progress(i, total)
    for i in range(shop.count(ROWS)):
        rng = shop.rng("digits rows", i)
        chosen = rng.integers(train, size=rng.integers(2, 5))
        shop.save_image("digits", f"row-{i:05d}", _row([draw(scans.images[c], rng) for c in chosen]))
        labels.append((f"row-{i:05d}", "".join(str(scans.target[c]) for c in chosen)))
    order = shop.rng("digits order").permutation(len(labels))
    labels = [labels[i] for i in order]

    shop.write(
        "digits",
        "train",
        (document(f"digits-{name}", [image(f"images/{name}.png"), text(answer, spelled=True)]) for name, answer in labels),
    )
    shop.write("digits_chat", "train", (_chat(shop, i, name, answer) for i, (name, answer) in enumerate(labels)))
    tests = range(first_test, len(scans.images))[: shop.count(len(scans.images) - first_test)]
    shop.write("digits", "test", (_test(shop, i, scans.images[i], str(scans.target[i])) for i in tests))


def draw(scan: np.ndarray, rng: np.random.Generator | None) -> Image.Image:
    """A scan [8, 8] with values 0..16 as a 32x32 picture, dark on light; `rng` turns, scales, shifts and tints it a little."""
    ink = Image.fromarray(np.pad(scan * (255 / 16), PAD).round().astype(np.uint8))
    angle, scale, shift = (
        (0.0, 1.0, np.zeros(2)) if rng is None else (rng.uniform(-0.25, 0.25), rng.uniform(0.85, 1.15), rng.uniform(-0.6, 0.6, 2))
    )
    step = scan.shape[0] / SIDE / scale  # scan pixels per picture pixel
    turn = step * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array(ink.size) / 2 + shift - turn @ np.array([SIDE / 2, SIDE / 2])
    matrix = (turn[0, 0], turn[0, 1], middle[0], turn[1, 0], turn[1, 1], middle[1])
    cover = ink.transform((SIDE, SIDE), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    ground, pen = (255, 0) if rng is None else (int(rng.integers(215, 256)), int(rng.integers(0, 60)))
    picture = Image.new("L", (SIDE, SIDE), ground)
    picture.paste(pen, (0, 0), cover)
    return picture.convert("RGB")


def _row(pictures: list[Image.Image]) -> Image.Image:
    row = Image.new("RGB", (SIDE * len(pictures), SIDE))
    for place, picture in enumerate(pictures):
        row.paste(picture, (SIDE * place, 0))
    return row


def _chat(shop: Workshop, index: int, name: str, answer: str) -> Record:
    path = shop.share_image("digits_chat", name, "digits")
    questions = ONE if len(answer) == 1 else MANY
    question = questions[shop.rng("digits_chat", index).integers(len(questions))]
    return chat(f"digits-chat-{name}", [([image(path), text(question)], text(answer, spelled=True))])


def _test(shop: Workshop, index: int, scan: np.ndarray, answer: str) -> Record:
    path = shop.save_image("digits", f"test-{index}", draw(scan, None))
    return chat(f"digits-test-{index}", [([image(path), text(ONE[0])], text(answer, spelled=True))], {"answer": answer})
