"""Arrows and relations are true of the warped picture, and words that only look like directions stay."""

import numpy as np
import pytest

from kimivl.data.augment.directions import redirected
from kimivl.data.augment.geometry import Unspeakable, Warp, identity, mirror, perspective, straight_turn, turn, window
from kimivl.data.augment.phrases import ARROWS, pointed

SIZE = (200, 100)
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


def drawn(rng: np.random.Generator) -> Warp:
    """Mirrors and straight turns, one after the other."""
    warp = identity((int(rng.integers(60, 300)), int(rng.integers(60, 300))))
    for _ in range(int(rng.integers(1, 4))):
        warp = warp.then(mirror(warp.after) if rng.random() < 0.5 else straight_turn(warp.after, int(rng.choice([90, 180, 270]))))
    return warp


# What is said of a thing that lies to this side of another, or of the middle. {at}: "top left" and the like.
RELATIONS = {
    "The disc is to the left of the square.": "left", "The disc right of the square": "right", "It is above the square.": "up",
    "Below the square.": "down", "圆在方块的左边": "left", "圆在右侧": "right", "它在上方": "up",
    "Which is on the left?": "left",
    "It is at the top.": "up", "the bottom half": "down", "the rightmost disc": "right", "It points to the left.": "left",
    "facing down": "down", "箭头朝右": "right", "往下看": "down", "最上的圆": "up", "THE LEFT SIDE": "left", "←": "left",
    "⬆": "up",
    "its right edge": "right", "moving left and": "left", "moves right.": "right",
}  # fmt: skip
READ = {  # what shows in a text which way it speaks of
    "left": ("left", "左", "←", "⬅"), "right": ("right", "右", "→", "➡"),
    "up": ("above", "top", "up", "upper", "上", "↑", "⬆"), "down": ("below", "bottom", "down", "lower", "下", "↓", "⬇"),
}  # fmt: skip


def way_of(text: str) -> str:
    [found] = {way for way, words in READ.items() if any(word in text.lower() for word in words)}
    return found


def test_what_is_said_lies_where_it_is_said_a_thousand_times():
    """The side is worked out from the places of two points, not from the names of directions."""
    rng, said = np.random.default_rng(0), 0
    for _ in range(1000):
        text, way = list(RELATIONS.items())[int(rng.integers(len(RELATIONS)))]
        warp = drawn(rng)
        middle = np.array(warp.before) / 2
        there, here = warp.points(np.array([middle + np.array(WAYS[way]) * 20, middle]))
        step = np.round(there - here)
        expected = next(name for name, unit in WAYS.items() if np.array_equal(np.sign(step), unit))
        try:
            after = redirected(text, warp)
        except Unspeakable:
            assert text.startswith("mov")  # what moves up or down may be a price
            continue
        assert way_of(after) == expected, (text, after)
        assert way_of(redirected(after, warp.inverse)) == way, (text, after)
        said += 1
    assert said > 900


def test_arrows_point_where_the_warp_takes_them_a_thousand_times():
    rng = np.random.default_rng(1)
    for _ in range(1000):
        sign, warp = list(ARROWS)[int(rng.integers(len(ARROWS)))], drawn(rng)
        middle = np.array(warp.before) / 2
        step = sum(np.array(WAYS[way]) for way in ARROWS[sign])
        try:
            after = pointed(sign, warp)
        except Unspeakable:
            assert sign in "⟵⟶"  # of which none points up or down
            continue
        there, here = warp.points(np.array([middle + step * 20, middle]))
        assert np.array_equal(np.sign(np.round(there - here)), sum(np.array(WAYS[way]) for way in ARROWS[after]))
        assert pointed(after, warp.inverse) == sign and redirected(f"{sign}.", warp) == f"{after}."


def test_arrows_worked_out_by_hand():
    said = [redirected("→ ↗, ⬆\ufe0f", warp) for warp in (mirror(SIZE), straight_turn(SIZE, 90), straight_turn(SIZE, 180))]
    assert said == ["← ↖, ⬆\ufe0f", "↓ ↘, ➡\ufe0f", "← ↙, ⬇\ufe0f"]
    assert redirected("↔", straight_turn(SIZE, 90)) == "↕" and redirected("↔", mirror(SIZE)) == "↔"


STILL = [
    "left-click the square", "She left the room.", "The train has left.", "That's right.", "click(button=\"left\")",
    "the left mouse button", "右键点击它", "左键", "30岁左右", "约10米左右", "这是什么东西？", "今天上午", "去上海", "早上",
    "点一下",
    "桌子上的猫", "西瓜", "A right angle", "\\left( x \\right)", "leftover food", "bright lights", "copyright",
    "right_single", "all right",
]  # fmt: skip


@pytest.mark.parametrize("text", STILL)
def test_words_that_are_no_directions_stay_whatever_moves(text):
    for warp in (mirror(SIZE), straight_turn(SIZE, 90), straight_turn(SIZE, 180), turn(SIZE, 5), window(SIZE, (-5, 0, 200, 100))):
        assert redirected(text, warp) == text


REFUSED = [
    "click the left button", "左右", "东西方向", "\\rightarrow", "A → B", "File -> Open", "ArrowLeft", "left arrow key",
    "swipe left", "what is left of the cake?",
    'scroll(direction="left")', "swipe_left", "top_left", "3 o'clock", "在3点钟方向", "northeast", "NE",
    "How many are left of the ten?", "What is left of the square?", "right of way", "right side up",
    "John left half of the cake",
    "on the right click", "the first circle", "first in the row", "second from the window",
    "第一个", "第12列", "👈", "右方向键", "text-align: left", "hscroll(3)",
    "It is mirrored.",
    "左邻右舍", "the right of the people", "座右铭",
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_what_may_be_a_direction_or_may_not_be_is_refused(text):
    for warp in (mirror(SIZE), straight_turn(SIZE, 180)):
        with pytest.raises(Unspeakable):
            redirected(text, warp)


UPRIGHT = [
    "as mentioned below", "above 50", "The options above", "above the average", "heads up", "moved up", "PageDown",
    "以上方法", "下面的圆",
    "scroll down", "swipe(0.1, 0.2, 0.1, 0.9)", "It is tilted", "最上层", "dy=3", "the man's left side",
]  # fmt: skip


@pytest.mark.parametrize("text", UPRIGHT)
def test_what_a_turned_page_would_make_untrue_is_refused(text):
    for degrees in (90, 180):
        with pytest.raises(Unspeakable):
            redirected(text, straight_turn(SIZE, degrees))
    assert redirected(text, mirror(SIZE)) == text.replace("left", "right")


@pytest.mark.parametrize(
    ("text", "mirrored"),
    [
        ("counter clockwise", "clockwise"), ("CLOCKWISE", "COUNTERCLOCKWISE"), ("順時針", "逆時針"), ("TOP LEFT", "TOP RIGHT"),
        ("the left-hand side", "the right-hand side"), ("左邊", "右邊"), ("turned right away", "turned right away"),
        ("Left side: red", "Right side: red"), ("Top Left", "Top Right"),
    ],
)  # fmt: skip
def test_what_is_said_in_a_mirror(text, mirrored):
    assert redirected(text, mirror(SIZE)) == mirrored
    if mirrored != "clockwise":
        assert redirected(mirrored, mirror(SIZE)) == text


def test_a_right_angle_is_none_where_the_picture_is_seen_askew():
    with pytest.raises(Unspeakable, match="askew"):
        redirected("a right angle", perspective(SIZE, [(5, 5), (200, 0), (200, 100), (0, 100)]))


def test_arrows_between_words_stay_where_no_direction_changes():
    for warp in (turn(SIZE, 5), window(SIZE, (-5, 0, 200, 100))):
        assert redirected("File → Open, then ArrowLeft", warp) == "File → Open, then ArrowLeft"
