"""Samples whose words forbid a warp keep their pictures, and say why."""

import pytest

from kimivl.config.augment import AugmentConfig
from kimivl.curate.records import rng_for
from kimivl.data.augment.geometry import Unspeakable, identity, mirror, resize, straight_turn, turn, window
from kimivl.data.augment.premises import check
from kimivl.data.augment.refusals import Refusal
from kimivl.data.augment.sample import augmented
from kimivl.processor.messages import TextPart
from tests.data.augment.test_sample import sample, texts

SIZE = (200, 100)
MARGIN = window(SIZE, (-10, 0, 200, 100))


def refused(text: str, warp, kind=None, meta=None, spelled=False) -> str:
    try:
        check([TextPart("Look at this picture."), TextPart(text, spelled=spelled)], meta or {}, kind, warp)
    except Unspeakable as reason:
        return reason.reason
    return ""


WRITTEN = [
    "What is the value of the blue bar in the chart?", "Click the Submit button.", "Convert the page to Markdown.",
    "The total is $42.",
    "up by 12%", "scroll(-3)", "press('enter')", "这张图表说明了什么？", "识别截图", "读出文字", "Which app is open?",
    "Transcribe it.",
    "Summarize the document.", "Which way does the driver look?", "What time is it?", "It is an icon of a house.",
    "a chess board",
]  # fmt: skip


@pytest.mark.parametrize("text", WRITTEN)
def test_charts_screens_and_documents_are_not_mirrored_and_may_get_a_margin(text):
    assert refused(text, mirror(SIZE)) == refused(text, mirror(SIZE).then(straight_turn(SIZE, 180))) == "writing"
    assert refused(text, MARGIN) == refused(text, resize(SIZE, (50, 60))) == ""


@pytest.mark.parametrize("text", ["The cup on the table is red.", "Two dogs play.", "一只狗在草地里。", "b2b", "It's a bird"])
def test_scenes_are_mirrored(text):
    assert refused(text, mirror(SIZE)) == ""


def test_what_is_spelled_was_read_off_the_picture():
    assert (
        refused("KQZ", mirror(SIZE), spelled=True) == "writing" and refused(".34 .56", mirror(SIZE), "unit", spelled=True) == ""
    )


@pytest.mark.parametrize(("text", "turned"), [("b", True), ("It is a q.", True), ("x", False), ("B", False)])
def test_signs_that_have_twins_are_neither_mirrored_nor_turned(text, turned):
    for warp in (mirror(SIZE), straight_turn(SIZE, 180), straight_turn(SIZE, 90)):
        assert refused(text, warp) == ("writing" if turned else "")
    assert refused(text, turn(SIZE, 5)) == ""


def test_a_digit_is_not_turned_where_it_was_read():
    with pytest.raises(Unspeakable, match="another sign"):
        check([TextPart("Which digit is this?"), TextPart("6")], {}, None, straight_turn(SIZE, 180))
    check([TextPart("How many dogs are there?"), TextPart("6")], {}, None, straight_turn(SIZE, 180))


@pytest.mark.parametrize("text", ["Le chat est à gauche.", "Wo ist die Katze? Links.", "猫は左です"])
@pytest.mark.parametrize("warp", [mirror(SIZE), straight_turn(SIZE, 90), MARGIN, turn(SIZE, 3)])
def test_other_languages_move_nothing_and_may_be_scaled(text, warp):
    assert refused(text, warp) == "language" and refused(text, resize(SIZE, (50, 60))) == ""
    assert refused("A cup.", warp, meta={"language": "de"}) == "language"


PLACES = [
    "click(x=0.31, y=0.5)",
    "Point: 120 340",
    "x1 is 12, y1 is 20",
    "[10, 20, 30, 40]",
    "（0.25，0.5）",
    ".34 .56",
    '{"x": 31, "y": 50}',
    "<point>31</point>",
    "bbox: 1",
]


@pytest.mark.parametrize("text", PLACES)
@pytest.mark.parametrize("warp", [mirror(SIZE), MARGIN, resize(SIZE, (50, 60)), turn(SIZE, 3)])
def test_what_looks_like_a_place_moves_nothing_where_no_kind_is_said(text, warp):
    assert refused(text, warp) == "places"
    assert refused(text, warp, "pixel") == refused(text, identity(SIZE)) == ""


@pytest.mark.parametrize("text", ["In (2019, 2020) it rained.", "3 apples, 4 pears", "x = 5", "[1, 2, 3]", "wait(5)", "f(x, y)"])
def test_other_numbers_stop_nothing(text):
    assert refused(text, MARGIN) == ""


@pytest.mark.parametrize("text", ["The screen is 1280x720.", "What is the resolution?", "分辨率是多少", "640 × 480"])
def test_a_size_that_is_told_is_not_changed(text):
    assert refused(text, resize(SIZE, (50, 60))) == refused(text, MARGIN) == "places"
    assert refused("3 x 4 tiles", resize(SIZE, (50, 60))) == ""


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("Où est le chat ?", "Il est à gauche.", "language"),
        ("Where is it?", "click(x=0.31, y=0.5)", "places"),
        ("Click Save.", "press('ctrl+s')", "writing"),
        ("Where does it lead?", "here → there", "directions"),
    ],
)
def test_what_gives_way_is_counted(question, answer, reason):
    after = augmented(sample(question, answer=answer), AugmentConfig(mirror=1), rng_for(0, "x"))
    assert after.warp is None and texts(after.sample) == [question, answer] and after.refusals == (Refusal("picture", reason),)
