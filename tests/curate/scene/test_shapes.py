"""Every answer about a scene follows from the list of its shapes, recomputed here from captions."""

import re

import numpy as np
import pytest

from kimivl.curate.records import rng_for
from kimivl.curate.scene import shapes
from kimivl.curate.scene.drawing import Scene, Shape, outline
from kimivl.curate.scene.shapes import (
    box_text,
    caption,
    count_phrases,
    grounding,
    pair,
    place,
    point_text,
    several,
    unique_names,
)
from kimivl.curate.workshop import plain_text, read_records
from kimivl.score.pointing import point_in_outline


def scene_of(*names: str) -> Scene:
    """Shapes in a row from left to right, 100 pixels wide."""
    rng = rng_for(0, "row")
    placed = [
        Shape(n.split()[1], n.split()[0], (1, 2, 3), outline(n.split()[1], (20 * i + 10, 25), 5, rng))
        for i, n in enumerate(names)
    ]
    return Scene((100, 50), (255, 255, 255), tuple(placed))


def test_captions_read_from_left_to_right():
    assert caption(scene_of("red circle")) == "a red circle"
    assert caption(scene_of("black star", "red circle", "blue triangle")) == "a black star, a red circle and a blue triangle"


def test_only_unambiguous_names_are_asked_for():
    names = unique_names(scene_of("red circle", "blue circle", "red star", "red star"))
    assert set(names) == {"red circle", "blue circle", "blue shape"}


def test_coordinates_are_shares_of_width_and_height():
    scene = scene_of("red circle", "blue circle")
    assert point_text(scene.shapes[1], scene.size) == ".30 .50"
    assert box_text(scene.shapes[1], scene.size) == ".25 .40 .35 .60"


def test_counts():
    phrases = dict(count_phrases(scene_of("red circle", "blue circle", "red star"), rng_for(0, "count")))
    assert phrases.items() >= {"shapes": 3, "circles": 2, "stars": 1, "red shapes": 2, "blue shapes": 1}.items()
    (absent,) = set(phrases) - {"shapes", "circles", "stars", "red shapes", "blue shapes"}
    assert phrases[absent] == 0


def test_yes_and_no_by_reading_the_question():
    """A wording denies if it holds 'no' or 'not'; the truth is then turned round. Three in ten do."""
    scene = scene_of("red circle", "black star")
    answers = {True: set(), False: set()}
    denied = 0
    for i in range(2000):
        question, answer = shapes._yes_no(scene, rng_for(0, "yes-no", i))
        thing = re.search(r"(\w+ )?(circle|rectangle|triangle|star|shape)", question)
        words = set(question.strip("?").split()) & set("red green blue yellow gray black teal brown".split())
        color, kind = next(iter(words), None), thing[2]
        there = any((color in (None, s.color)) and kind in ("shape", s.kind) for s in scene.shapes)
        denies = bool(re.search(r"\b(no|not)\b", question))
        assert answer == ("yes" if there != denies else "no"), question
        answers[denies].add(answer)
        denied += denies
    assert answers[True] == answers[False] == {"yes", "no"}
    assert 0.27 < denied / 2000 < 0.33


def test_grounding_lines_point_into_their_object():
    for i in range(200):
        rng = rng_for(0, "grounding", i)
        scene = several(rng)
        by_name = unique_names(scene)
        for line in "".join(p["text"] for p in grounding(scene, rng)).splitlines():
            words, numbers = line.split(" .", 1)
            name, numbers = named(words), f".{numbers}"
            values = np.array([float(n) for n in numbers.split()]) * (scene.size * (len(numbers.split()) // 2))
            x0, y0, x1, y1 = by_name[name].box
            if len(values) == 2:
                assert x0 < values[0] < x1 and y0 < values[1] < y1
            else:
                assert np.abs(values - by_name[name].box).max() <= 0.005 * max(scene.size) + 0.01


def named(words: str) -> str:
    """The name in a question that a label stands for."""
    return words if words.split()[-1] in shapes.SHAPES else f"{words} shape"


def test_places_are_the_quarters_of_the_picture(nano_root):
    for i in range(200):
        scene = pair(rng_for(0, "pair", i))
        first, second = scene.shapes
        assert first.color != second.color and first.kind != second.kind
        for shape in scene.shapes:
            vertical, horizontal = place(shape, scene.size).split()
            x0, y0, x1, y1 = shape.box
            assert (vertical == "top") == (y0 + y1 < scene.size[1]) and (horizontal == "left") == (x0 + x1 < scene.size[0])
    for record in read_records(nano_root / "pairs_places" / "train.jsonl"):
        lines = plain_text(record).splitlines()
        assert len(lines) == 2 and all(re.fullmatch(r"[a-z]+ (top|bottom) (left|right)", line) for line in lines)


def test_the_pointing_test_names_one_object_and_its_outline_holds_the_answer(nano_root):
    for record in read_records(nano_root / "scenes_grounding" / "test_pointing.jsonl"):
        assert re.fullmatch(r"Point to the [a-z]+( [a-z]+)?\.", plain_text({"messages": record["messages"][:1]}))
        outline = record["meta"]["outline"]
        assert 0 <= np.min(outline) and np.max(outline) <= 1
        assert point_in_outline(record["meta"]["answer"], outline)


def test_a_conversation_asks_one_question_or_points_at_different_places(nano_root):
    """Every other second answer could follow from the words of the first."""
    pointing = 0
    for record in read_records(nano_root / "scenes_chat" / "train.jsonl"):
        answers = [m["content"] for m in record["messages"][1::2]]
        coordinates = [answer[-1]["text"] for answer in answers if isinstance(answer, list) and "." in answer[-1]["text"]]
        assert len(answers) == 1 or len(coordinates) == len(set(coordinates)) == len(answers)
        pointing += len(coordinates)
    assert pointing > 100


@pytest.mark.parametrize("source", ["singles_qa", "scenes_qa"])
def test_a_document_asks_one_question(nano_root, source):
    for record in read_records(nano_root / source / "train.jsonl"):
        assert re.fullmatch(r"Question: [a-z ]+\? Answer: [a-z0-9]+", plain_text(record))


def test_single_shapes_are_named_by_color_and_kind(nano_root):
    for record in read_records(nano_root / "singles_caption" / "train.jsonl"):
        assert re.fullmatch(rf"a ({'|'.join(shapes.COLORS)}) ({'|'.join(shapes.SHAPES)})", plain_text(record))


def test_presence_is_asked_once_for_a_color_and_once_for_a_kind_and_the_answers_are_those_of_the_caption(nano_root):
    """Half of the things are there; where a wording denies, the answer is turned round."""
    captions = [plain_text(record).split()[1:] for record in read_records(nano_root / "singles_caption" / "train.jsonl")]
    lines = [plain_text(record).splitlines() for record in read_records(nano_root / "singles_presence" / "train.jsonl")]
    there, bare = [], 0
    for own, pair_of_lines in zip(captions, lines, strict=True):
        asked = []
        for line in pair_of_lines:
            match = re.fullmatch(r"(.*?)\b(" + "|".join([*shapes.COLORS, *shapes.SHAPES]) + r")\b(.*) (yes|no)", line)
            before, name, behind, answer = match.groups()
            denies = " not " in f" {before}" or before.startswith("is no ")
            assert (answer == "yes") == ((name in own) != denies), (own, line)
            there.append(name in own)
            asked.append(name in shapes.COLORS)
            bare += not before and not behind
        assert sorted(asked) == [False, True]
    assert np.mean(there) == pytest.approx(0.5, abs=4 * 0.5 / len(there) ** 0.5)  # four standard errors
    assert bare / len(there) == pytest.approx(0.5, abs=4 * 0.5 / len(there) ** 0.5)
