"""The easy-vqa package: pictures of one coloured shape with questions, in the package's own split.

What it is: `build`, which writes `easy_vqa` (chat) and `easy_vqa_caption` (document: image, 'a red circle'). A sample holds one
question: a second could be answered from the text of the first.
What it is not: a new split or a relabelling. Captions are derived from answers of the training questions alone.
Facts: 4,000 + 1,000 PNG files of 64x64, 38,575 + 9,673 questions, 13 answers; MIT licence. No test picture equals
a training picture pixel by pixel (counted at every build, in the manifest's `duplicates`).
"""

import importlib.util
import json
import re
from collections import defaultdict
from pathlib import Path

from kimivl.curate.records import chat, document, image, text
from kimivl.curate.workshop import Workshop

SOURCES = ("easy_vqa", "easy_vqa_caption")
SHAPES = ("circle", "rectangle", "triangle")
COLORS = ("red", "green", "blue", "yellow", "gray", "black", "teal", "brown")

Questions = dict[int, list[tuple[str, str]]]  # image number -> (question, answer) pairs


def build(shop: Workshop) -> None:
    """Write both sources. Raises ValueError if the package's files are not as its 1.0 release has them."""
    folder = _package_data()
    train, test = (_questions(folder / split) for split in ("train", "test"))
    train = dict(list(train.items())[: shop.count(len(train))])
    test = dict(list(test.items())[: shop.count(len(test))])
    names = {("train", n): f"train-{n}" for n in train} | {("test", n): f"test-{n}" for n in test}
    paths: dict[tuple[str, int], str] = {}
    for done, ((split, number), name) in enumerate(names.items(), start=1):
        paths[split, number] = shop.take_image("easy_vqa", name, folder / split / "images" / f"{number}.png")
        if split == "train":
            shop.share_image("easy_vqa_caption", name, "easy_vqa")
        shop.progress(done, len(names))

    for split, questions in (("train", train), ("test", test)):
        shop.write(
            "easy_vqa",
            split,
            (
                chat(f"easy-vqa-{split}-{n}-{i}", [([image(paths[split, n]), text(question)], answer)], {"answer": answer})
                for n, pairs in questions.items()
                for i, (question, answer) in enumerate(pairs)
            ),
        )
    captions = {n: caption for n, pairs in train.items() if (caption := caption_of(pairs))}
    shop.write(
        "easy_vqa_caption",
        "train",
        (document(f"easy-vqa-caption-{n}", [image(paths["train", n]), text(caption)]) for n, caption in captions.items()),
    )


def caption_of(pairs: list[tuple[str, str]]) -> str | None:
    """'a red circle' from an image's training questions and answers, None where they do not decide shape and colour.

    A direct answer ('what color …' → red), a confirmed name ('is there a circle' → yes) or, by exclusion, all other
    names denied decide; so do the names that a question takes for granted ('what color is the circle?').
    """
    found = [_decide(pairs, names) for names in (COLORS, SHAPES)]
    return f"a {found[0]} {found[1]}" if all(found) else None


def _decide(pairs: list[tuple[str, str]], names: tuple[str, ...]) -> str | None:
    denied: set[str] = set()
    for question, answer in pairs:
        if answer in names:
            return answer
        named = next((name for name in names if re.search(rf"\b{name}\b", question)), None)
        if named is None:
            continue
        if answer not in ("yes", "no"):
            return named
        negated = bool(re.search(r"\b(?:not|no)\b", question))
        if (answer == "yes") != negated:
            return named
        denied.add(named)
    left = set(names) - denied
    return left.pop() if len(left) == 1 else None


def _package_data() -> Path:
    spec = importlib.util.find_spec("easy_vqa")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError("the package 'easy-vqa' is not installed: install the demo's packages with `pip install 'kimivl[data]'`")
    return Path(spec.submodule_search_locations[0]) / "data"


def _questions(split: Path) -> Questions:
    """The (question, answer) pairs of each image of a split, images in number order."""
    by_image: Questions = defaultdict(list)
    for question, answer, number in json.loads((split / "questions.json").read_text()):
        by_image[int(number)].append((question, answer))
    return dict(sorted(by_image.items()))
