"""Questions about rendered scenes whose answers are exact: naming, counting, pointing, boxes, yes and no.

What it is: `build`, which draws three families of pictures and writes what can be said about them. `singles`: one shape, where
kinds and colours are learned (`singles_caption`, `singles_presence`, `singles_qa`). `pairs`: two shapes on a small picture,
where finding the named one is learned (`pairs_places`). `scenes`: two to four shapes (`scenes_caption`, `scenes_grounding`,
`scenes_qa`, chats `scenes_chat`; tests `scenes_grounding/test_pointing`, `scenes_qa/test_counting`).
What it is not: a copy of easy-VQA; pictures and most wordings are ours.
Facts: coordinates are x then y, shares of the picture's own width and height (not of a padded one), two decimals without the
zero in front of them, spelled. They stand directly behind what they locate, because a small model learns to look for a thing
at the word that names it long before it learns to carry the name along (docs/nano.md). An object is only asked for by a name
that fits it alone. A sample holds one question, or points at different shapes: no answer may follow from an earlier one.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np

from kimivl.curate.records import Part, Record, chat, document, image, join_lines, text
from kimivl.curate.scene.drawing import COLORS, EASY, EVERYTHING, SHAPES, Scene, Shape, paint, random_scene
from kimivl.curate.workshop import Workshop

SOURCES = (
    "singles_caption", "singles_presence", "singles_qa",
    "pairs_places",
    "scenes_caption", "scenes_grounding", "scenes_qa", "scenes_chat",
)  # fmt: skip
SINGLES, PAIRS, SCENES, TEST_ITEMS = 24_000, 12_000, 24_000, 500
# Small pictures: what is learned here takes many of them, and each costs tokens by its area.
SINGLE_SIDES, SINGLE_RADII = (32, 48, 64), (4.5, 15.0)
PAIR_SIZE, PAIR_RADII = (32, 32), (5.0, 7.0)
SCENE_SIZE, SCENE_RADII = (48, 48), (6.0, 9.5)
ASKING = ("is there a {}?", "does the image contain a {}?", "can you see a {}?", "is a {} visible?", "is a {} present?")
DENYING = ("is there not a {}?", "does the image not contain a {}?", "is no {} visible?", "is no {} present?")
# Were as many questions denied as not, the answer would not go with what the picture shows, only with picture and wording
# together, and a small model would not find out that it has to look (docs/nano.md).
DENYING_SHARE = 0.3

Answer = str | Part | list[Part]
Turn = tuple[str, Answer]
T = TypeVar("T")


def build(shop: Workshop) -> None:
    """Write all sources."""
    families = {
        "singles": (shop.count(SINGLES), single, _single_records),
        "pairs": (shop.count(PAIRS), pair, _pair_records),
        "scenes": (shop.count(SCENES), several, _scene_records),
    }
    drawn, total = 0, sum(count for count, _, _ in families.values())
    for family, (count, draw, records_of) in families.items():
        _write_family(shop, family, count, draw, records_of, partial(_advance, shop, drawn, total))
        drawn += count
    tests = range(shop.count(TEST_ITEMS))
    shop.write("scenes_grounding", "test_pointing", (_pointing_test(shop, i, shop.rng("scenes pointing test", i)) for i in tests))
    shop.write("scenes_qa", "test_counting", (_counting_test(shop, i, shop.rng("scenes counting test", i)) for i in tests))


def _advance(shop: Workshop, before: int, total: int, done: int) -> None:
    shop.progress(before + done, total)


def _write_family(
    shop: Workshop,
    family: str,
    count: int,
    draw: Callable[[np.random.Generator], Scene],
    records_of: Callable[[int, str, Scene, np.random.Generator], dict[str, Record]],
    advance: Callable[[int], None],
) -> None:
    """`count` pictures; `records_of` gives each source of the family its record of one of them. The sources share the files."""
    owner, *others = (source for source in SOURCES if source.startswith(f"{family}_"))
    lines: dict[str, list[Record]] = {source: [] for source in (owner, *others)}
    for i in range(count):
        rng = shop.rng(family, i)
        scene, name = draw(rng), f"{i:05d}"
        path = shop.save_image(owner, name, paint(scene))
        for source in others:
            shop.share_image(source, name, owner)
        for source, record in records_of(i, path, scene, rng).items():
            lines[source].append(record)
        advance(i)
    for source, written in lines.items():
        shop.write(source, "train", written)


def _single_records(number: int, path: str, scene: Scene, rng: np.random.Generator) -> dict[str, Record]:
    forms = {
        "caption": [text(caption(scene))],
        "qa": question_line(scene, rng),
        "presence": [text(presence(scene.shapes[0], rng))],
    }
    return _documents("singles", number, path, forms)


def _pair_records(number: int, path: str, scene: Scene, rng: np.random.Generator) -> dict[str, Record]:
    """Lines 'red top left'. Colours mostly, kinds sometimes: one word says which shape is meant."""
    named = [(shape.color if rng.random() < 0.7 else shape.kind, shape) for shape in _shuffled(list(scene.shapes), rng)]
    lines = "\n".join(f"{name} {place(shape, scene.size)}" for name, shape in named)
    return _documents("pairs", number, path, {"places": [text(lines)]})


def _scene_records(number: int, path: str, scene: Scene, rng: np.random.Generator) -> dict[str, Record]:
    forms = {
        "caption": [text(caption(scene))],
        "grounding": grounding(scene, rng),
        "qa": question_line(scene, rng),
    }
    chats = {"scenes_chat": conversation(f"scenes-chat-{number}", path, scene, rng)}
    return _documents("scenes", number, path, forms) | chats


def _documents(family: str, number: int, path: str, forms: dict[str, list[Part]]) -> dict[str, Record]:
    return {f"{family}_{form}": document(f"{family}-{form}-{number}", [image(path), *parts]) for form, parts in forms.items()}


def single(rng: np.random.Generator) -> Scene:
    """One shape of any size that fits, mostly of easy-VQA's kinds."""
    side = int(SINGLE_SIDES[rng.integers(len(SINGLE_SIDES))])
    least, most = SINGLE_RADII
    return random_scene(1, (side, side), (least, min(most, side / 2 - 2)), EASY if rng.random() < 0.8 else EVERYTHING, rng)


def pair(rng: np.random.Generator) -> Scene:
    """Two shapes of different kinds and colours."""
    while True:
        scene = random_scene(2, PAIR_SIZE, PAIR_RADII, EVERYTHING, rng)
        if len({shape.kind for shape in scene.shapes}) == len({shape.color for shape in scene.shapes}) == 2:
            return scene


def several(rng: np.random.Generator) -> Scene:
    """Two to four shapes of which one can be named, in two of five scenes of few kinds and colours, so that counts vary."""
    while True:
        palette = EVERYTHING
        if rng.random() < 0.4:
            kinds, colors = (_shuffled(list(names), rng) for names in EVERYTHING)
            palette = tuple(kinds[:2]), tuple(colors[:3])
        scene = random_scene(int(rng.integers(2, 5)), SCENE_SIZE, SCENE_RADII, palette, rng)
        if unique_names(scene):
            return scene


def caption(scene: Scene) -> str:
    """'a red circle, a blue star and a green triangle', in the order left to right."""
    names = [f"a {shape.color} {shape.kind}" for shape in sorted(scene.shapes, key=lambda s: s.box[0])]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def unique_names(scene: Scene) -> dict[str, Shape]:
    """Every name that fits one shape only: 'red circle', 'circle', 'red shape'."""
    names = [
        (name, shape) for shape in scene.shapes for name in (f"{shape.color} {shape.kind}", shape.kind, f"{shape.color} shape")
    ]
    counts = Counter(name for name, _ in names)
    return {name: shape for name, shape in names if counts[name] == 1}


def _one_name_each(scene: Scene, rng: np.random.Generator) -> list[tuple[str, Shape]]:
    """The shapes that can be named, in any order: a second name of one could be answered by copying the first answer."""
    by_shape = {id(shape): (name, shape) for name, shape in _shuffled(list(unique_names(scene).items()), rng)}
    return list(by_shape.values())


def normalized_box(shape: Shape, size: tuple[int, int]) -> list[float]:
    """x0, y0, x1, y1 as shares of the picture's width and height."""
    return [round(value / side, 4) for value, side in zip(shape.box, (*size, *size))]


def point_text(shape: Shape, size: tuple[int, int]) -> str:
    """The middle of the shape's box, '.34 .56'."""
    return _shares(_middle(shape, size))


def box_text(shape: Shape, size: tuple[int, int]) -> str:
    """'.25 .40 .43 .72'."""
    return _shares(normalized_box(shape, size))


def place(shape: Shape, size: tuple[int, int]) -> str:
    """The quarter of the picture that holds the middle of the shape, 'top left'."""
    x, y = _middle(shape, size)
    return f"{'top' if y < 0.5 else 'bottom'} {'left' if x < 0.5 else 'right'}"


def _middle(shape: Shape, size: tuple[int, int]) -> tuple[float, float]:
    x0, y0, x1, y1 = normalized_box(shape, size)
    return (x0 + x1) / 2, (y0 + y1) / 2


def _shares(values: Sequence[float]) -> str:
    return " ".join(f"{value:.2f}".lstrip("0") for value in values)


def label(name: str) -> str:
    """A name as it stands in front of a place: 'red' for 'red shape', others as they are."""
    return name.removesuffix(" shape")


def _located(name: str, coordinates: str) -> list[Part]:
    """'red circle .34 .56', the coordinates spelled."""
    return [text(f"{label(name)} "), text(coordinates, spelled=True)]


def count_phrases(scene: Scene, rng: np.random.Generator) -> list[tuple[str, int]]:
    """(name in the plural, how many), weighted by repetition: all shapes, each kind and colour that is there, one that is not."""
    counts = Counter(f"{s.kind}s" for s in scene.shapes)
    counts += Counter(f"{s.color} shapes" for s in scene.shapes)
    absent = [f"{k}s" for k in SHAPES if f"{k}s" not in counts] + [f"{c} shapes" for c in COLORS if f"{c} shapes" not in counts]
    weighted = [
        item for item in counts.items() for _ in range(item[1] ** 2)
    ]  # ones are many, larger counts are what is to be learned
    return [("shapes", len(scene.shapes))] * (1 + len(weighted) // 2) + weighted + [(absent[rng.integers(len(absent))], 0)]


def grounding(scene: Scene, rng: np.random.Generator) -> list[Part]:
    """Lines 'red circle .34 .56' (a point) or 'red circle .25 .40 .43 .72' (a box), each shape at most once."""
    write = box_text if rng.random() < 0.15 else point_text
    return join_lines(_located(name, write(shape, scene.size)) for name, shape in _one_name_each(scene, rng))


def presence(shape: Shape, rng: np.random.Generator) -> str:
    """Two lines, a colour and a kind, each with yes or no behind it: 'gray no', 'a circle? yes', 'is there a circle? yes'.

    Mostly the answer stands directly behind the name: there a small model compares the name with the picture within a
    hundred steps. Behind a whole question it learns the usual answer to the wording instead, and stays with it; the lines
    in between lead from the one to the other (docs/nano.md).
    """
    lines = [_presence_line(shape.color, tuple(COLORS), " shape", rng), _presence_line(shape.kind, SHAPES, "", rng)]
    return "\n".join(_shuffled(lines, rng))


def _presence_line(true_name: str, names: Sequence[str], noun: str, rng: np.random.Generator) -> str:
    present = rng.random() < 0.5
    name = true_name if present else _one([other for other in names if other != true_name], rng)
    distance = rng.random()
    if distance < 0.75:
        form = "{}" if distance < 0.4 else f"{{}}{noun}" if distance < 0.6 else f"a {{}}{noun}?"
        return f"{form.format(name)} {'yes' if present else 'no'}"
    return " ".join(_asked(name + noun, present, rng))


def _asked(name: str, present: bool, rng: np.random.Generator) -> tuple[str, str]:
    """A question for a thing, and its answer."""
    denying = rng.random() < DENYING_SHARE
    return _one(DENYING if denying else ASKING, rng).format(name), "yes" if present != denying else "no"


def question_line(scene: Scene, rng: np.random.Generator) -> list[Part]:
    """'Question: … Answer: …'; counts are spelled."""
    if len(scene.shapes) > 1 and rng.random() < 0.4:
        name, count = _one(count_phrases(scene, rng), rng)
        return [text(f"Question: how many {name}? Answer: "), text(str(count), spelled=True)]
    question, answer = _naming(scene, rng) if rng.random() < 0.3 else _yes_no(scene, rng)
    return [text(f"Question: {question} Answer: {answer}")]


def conversation(sample_id: str, path: str, scene: Scene, rng: np.random.Generator) -> Record:
    """One picture and, mostly, one to three points at different shapes; else one other question."""
    others_than_points = (_box, _count, _count, _yes_no, _naming, _describe)
    turns = _points(scene, rng) if rng.random() < 0.55 else [_one(others_than_points, rng)(scene, rng)]
    (question, answer), *others = turns
    return chat(sample_id, [([image(path), text(question)], answer), *others])


def _points(scene: Scene, rng: np.random.Generator) -> list[Turn]:
    """One to three questions for the points of different shapes."""
    wordings = ("Point to the {}.", "Point to the {}.", "Where is the {}?")
    return [
        (_one(wordings, rng).format(name), _located(name, point_text(shape, scene.size)))
        for name, shape in _one_name_each(scene, rng)[: rng.integers(1, 4)]
    ]


def _box(scene: Scene, rng: np.random.Generator) -> Turn:
    name, shape = _one(list(unique_names(scene).items()), rng)
    return f"Give the box of the {name}.", _located(name, box_text(shape, scene.size))


def _count(scene: Scene, rng: np.random.Generator) -> Turn:
    name, count = _one(count_phrases(scene, rng), rng)
    return f"How many {name}?", text(str(count), spelled=True)


def _yes_no(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    """Half of the things asked for are there. Kinds are asked for most: they are harder to see than colours."""
    there = {name for s in scene.shapes for name in (f"{s.color} {s.kind}", s.kind, f"{s.color} shape")}
    kinds, colors = [*SHAPES], [f"{c} shape" for c in COLORS]
    both = [f"{c} {k}" for c in COLORS for k in SHAPES]
    present = rng.random() < 0.5
    fitting = [[name for name in group if (name in there) == present] for group in (kinds, kinds, kinds, colors, colors, both)]
    return _asked(_one(_one([names for names in fitting if names], rng), rng), present, rng)


def _naming(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    """Colour of a shape named by its kind (or of the only one), or kind of a shape named by its colour."""
    names = list(unique_names(scene).items())
    by_kind = [(f"what color is the {name}?", shape.color) for name, shape in names if name == shape.kind]
    by_color = [(f"what is the {name}?", shape.kind) for name, shape in names if name.endswith(" shape")]
    if len(scene.shapes) == 1:
        by_kind.append(("what color is the shape?", scene.shapes[0].color))
        by_color.append(("what shape is in the image?", scene.shapes[0].kind))
    return _one(by_kind + by_color, rng) if by_kind or by_color else _yes_no(scene, rng)


def _describe(scene: Scene, rng: np.random.Generator) -> Turn:
    return _one(("Describe the picture.", "What is in the picture?"), rng), caption(scene)


def _pointing_test(shop: Workshop, index: int, rng: np.random.Generator) -> Record:
    """A new scene of two to four shapes and one unambiguous object in it."""
    scene = several(rng)
    name, shape = _one(list(unique_names(scene).items()), rng)
    path = shop.save_image("scenes_grounding", f"test-{index:03d}", paint(scene))
    answer = point_text(shape, scene.size)
    return chat(
        f"scenes-pointing-test-{index}",
        [([image(path), text(f"Point to the {name}.")], _located(name, answer))],
        {"answer": answer, "outline": (shape.outline / scene.size).round(4).tolist()},
    )


def _counting_test(shop: Workshop, index: int, rng: np.random.Generator) -> Record:
    scene = several(rng)
    name, count = _one(count_phrases(scene, rng), rng)
    path = shop.save_image("scenes_qa", f"test-{index:03d}", paint(scene))
    return chat(
        f"scenes-counting-test-{index}",
        [([image(path), text(f"How many {name}?")], text(str(count), spelled=True))],
        {"answer": str(count)},
    )


def _one(items: Sequence[T], rng: np.random.Generator) -> T:
    return items[int(rng.integers(len(items)))]


def _shuffled(items: list[T], rng: np.random.Generator) -> list[T]:
    return [items[i] for i in rng.permutation(len(items))]
