"""Numbers that stand for places follow the picture, in their old form; others stay."""

import re

import numpy as np
import pytest

from kimivl.data.augment.coordinates import FORMATS, format_named, moved, named
from kimivl.data.augment.geometry import Unspeakable, identity, mirror, resize, straight_turn, turn, window

SIZE = (200, 100)


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("red circle .34 .56", "unit", "red circle .66 .56"),
        ("red circle 0.34 0.56", "unit", "red circle 0.66 0.56"),
        ("It is at (0.250, 0.1).", "unit", "It is at (0.750, 0.1)."),
        ("[0.10, 0.2, 0.3, 0.4]", "unit", "[0.70, 0.2, 0.9, 0.4]"),
        ("box .1 .2 .3 .4, 3 circles", "unit", "box .7 .2 .9 .4, 3 circles"),
        ("click(x=0.25, y=0.5)", "unit", "click(x=0.75, y=0.5)"),
        ("drag(x1=0.1, y1=0.2, x2=0.3, y2=0.4)", "unit", "drag(x1=0.9, y1=0.2, x2=0.7, y2=0.4)"),  # still from its start
        ("box(x1=0.1, y1=0.2, x2=0.3, y2=0.4)", "unit", "box(x1=0.7, y1=0.2, x2=0.9, y2=0.4)"),
        ("click(point=[0.30, 0.50])", "unit", "click(point=[0.70, 0.50])"),
        ("click(0.30, 0.50, clicks=2)", "unit", "click(0.70, 0.50, clicks=2)"),
        ("scroll(x=0.1, y=0.5, amount=3)", "unit", "scroll(x=0.9, y=0.5, amount=3)"),
        ("click(0.25, 0.5) then wait(0.5)", "unit", "click(0.75, 0.5) then wait(0.5)"),
        ("[[10, 20], [30, 20], [30, 40]]", "pixel", "[[190, 20], [170, 20], [170, 40]]"),
        ("[10, 20, 60, 40]", "pixel", "[140, 20, 190, 40]"),
        ("(250, 500) of 12 things", "thousand", "(750, 500) of 12 things"),
        ("There are 3 circles.", "unit", "There are 3 circles."),
        ("swipe(0.1, 0.2, 0.3, 0.4)", "unit", "swipe(0.9, 0.2, 0.7, 0.4)"),  # from one point to another
        ("swipe(500, 800, 500, 200)", "thousand", "swipe(500, 800, 500, 200)"),
        ("滑动(0.1, 0.2, 0.3, 0.4)", "unit", "滑动(0.9, 0.2, 0.7, 0.4)"),
        ("猫在(0.1, 0.2, 0.3, 0.4)", "unit", "猫在(0.7, 0.2, 0.9, 0.4)"),
        ("bbox(0.1, 0.2, 0.3, 0.4)", "unit", "bbox(0.7, 0.2, 0.9, 0.4)"),
        ("（0.25，0.50）和【0.1、0.2】", "unit", "（0.75，0.50）和【0.9、0.2】"),
        ("（310，500）", "thousand", "（690，500）"),
        (
            "click(start_box='<|box_start|>(310,500)<|box_end|>')",
            "thousand",
            "click(start_box='<|box_start|>(690,500)<|box_end|>')",
        ),
        ('{"action": "click", "coordinate": [310, 500]}', "thousand", '{"action": "click", "coordinate": [690, 500]}'),
        ("pyautogui.click(x=0.25, y=0.3)", "unit", "pyautogui.click(x=0.75, y=0.3)"),
        ("click(x=0.25, y=0.3, button='left')", "unit", "click(x=0.75, y=0.3, button='left')"),
        ("<point>0.3 0.5</point>", "unit", "<point>0.7 0.5</point>"),
        ("In 2019, at (10, 20)", "pixel", "In 2019, at (190, 20)"),
    ],
)
def test_places_in_a_mirror_worked_out_by_hand(text, kind, expected):
    assert moved(text, kind, mirror(SIZE)) == expected


def test_a_turned_page_has_other_sides():
    """(50, 20) of 200 × 100, turned clockwise, is (80, 50) of 100 × 200."""
    warp = straight_turn(SIZE, 90)
    assert moved("(50, 20)", "pixel", warp) == "(80, 50)"
    assert moved("(0.25, 0.20)", "unit", warp) == "(0.80, 0.25)"


def test_a_stroke_still_begins_where_it_began_a_thousand_times():
    """Each end is worked out by itself; written by place and by name, as an action and as a call of a module."""
    rng = np.random.default_rng(4)
    forms = (
        "swipe({}, {}, {}, {})",
        "drag(x1={}, y1={}, x2={}, y2={})",
        "pyautogui.dragTo({}, {}, {}, {})",
        "[({}, {}), ({}, {})]",
    )
    for number in range(1000):
        size = (int(rng.integers(40, 2000)), int(rng.integers(40, 2000)))
        warp = [mirror(size), straight_turn(size, 90), mirror(size).then(straight_turn(size, 180)), turn(size, 7)][number % 4]
        ends = rng.uniform(0, 1, (2, 2)).round(4)
        text = forms[int(rng.integers(len(forms)))].format(*(f"{value:.4f}" for value in ends.flatten()))
        written = re.findall(r"\d\.\d+", moved(text, "unit", warp))
        expected = warp.points(ends * size) / warp.after
        assert np.allclose(np.array(written, float).reshape(2, 2), expected, atol=6e-5), text
        again = (
            re.findall(r"\d\.\d+", moved(moved(text, "unit", warp), "unit", warp.inverse)) if number % 4 != 3 else ends.flatten()
        )
        assert np.allclose(np.array(again, float), ends.flatten(), atol=2e-4), text


def test_shares_do_not_change_with_the_size():
    assert moved("(0.31, 0.77)", "unit", resize(SIZE, (50, 300))) == "(0.31, 0.77)"
    assert moved("(100, 20)", "pixel", resize(SIZE, (50, 300))) == "(25, 60)"


def test_a_mirror_twice_changes_no_text():
    rng = np.random.default_rng(0)
    for _ in range(1000):
        x, y = rng.uniform(0, 1, 2)
        left, right = sorted(rng.uniform(0, 1, 2))
        text = f"click(x={x:.2f}, y={y:.3f}) in [{left:.2f}, 0.10, {right + 0.005:.2f}, 0.90]".replace("1.01", "1.00")
        if f"{left:.2f}" == f"{right + 0.005:.2f}":
            continue
        assert moved(moved(text, "unit", mirror(SIZE)), "unit", mirror(SIZE)) == text


def test_written_points_lie_where_the_warp_puts_them():
    rng = np.random.default_rng(1)
    for _ in range(1000):
        warp = turn(SIZE, float(rng.uniform(-10, 10)))
        x, y = (rng.uniform(0.25, 0.75, 2) * SIZE).tolist()
        written = moved(f"({x:.6f}, {y:.6f})", "pixel", warp)
        assert np.allclose([float(n) for n in re.findall(r"[\d.]+", written)], warp.points(np.array([(x, y)]))[0], atol=1e-5)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        (".1 .2 .3", "unit", "has 3 numbers"),
        ("(0.1, 1.2)", "unit", "lies outside of a picture"),
        ("[0.5, 0.1, 0.2, 0.9]", "unit", "not left, top, right, bottom"),
        ("click(x=0.1)", "unit", "not in pairs"),
        ("circle 340 560", "thousand", "write places in brackets"),
        ('{"x": 310, "y": 500}', "thousand", "may be a place"),
        ("x=310 and y=500", "pixel", "may be a place"),
        ("(34%, 56%)", "unit", "may be a place"),
        ("click(x=34%, y=5%)", "unit", "may be a place"),
        ("click(x=1e-3, y=0.5)", "unit", "hold more than x and y"),
        ("click(x=0.5, y=0.2, dx=3)", "unit", "hold more than x and y"),
        ("<loc_310><loc_200>", "thousand", "may be a place"),
        ("x 310, y 500", "thousand", "may be a place"),
        ("drag(x_start=10, y_start=20)", "pixel", "may be a place"),
        ("drag(startX=10, startY=20)", "pixel", "may be a place"),
        ('{"left": 10, "top": 20}', "pixel", "may be a place"),
        ("300 px from here", "pixel", "may be a place"),
        ("（310，500，7）", "thousand", "has 3 numbers"),
        ("310、500", "thousand", "may be a place"),
        ("(−0.1, 0.2)", "unit", "negative"),
        ('{"box_2d": [10, 20, 30, 40]}', "thousand", "not left, top, right, bottom|these are not"),
        ("as [x, y, w, h]: [10, 20, 30, 40]", "pixel", "these are not"),
        ("(1999, 2005)", "pixel", "may be years"),
        ('{"action": "swipe", "coordinate": [100, 200, 300, 400]}', "thousand", "two ends"),
        ("拖到 [100, 200, 300, 400]", "thousand", "two ends"),
        ("click(x=0.1, y=0.2, box=[0.1, 0.2, 0.3, 0.4])", "unit", "click|hold more than x and y"),
    ],
)
def test_what_is_no_place_is_refused(text, kind, words):
    with pytest.raises(Unspeakable, match=words):
        moved(text, kind, mirror(SIZE))


def test_a_place_that_a_crop_cuts_off_is_refused():
    with pytest.raises(Unspeakable, match="outside"):
        moved("(0.1, 0.5)", "unit", window(SIZE, (100, 0, 200, 100)))


@pytest.mark.parametrize(
    ("text", "kind", "form", "expected"),
    [
        ("(0.25, 0.5)", "unit", "pixel", "(50, 50)"),
        ("[.1 .2 .3 .4]", "unit", "thousand", "[100 200 300 400]"),
        ("click(x=0.25, y=0.5)", "unit", "unit-3", "click(x=0.250, y=0.500)"),
        ("red circle .345 .5", "unit", "unit-2", "red circle 0.34 0.50"),  # halves go to the even neighbour
        ("drag(x1=20, y1=10, x2=200, y2=0) to [[0, 0], [100, 50], [7, 1]]", "pixel", "thousand",
         "drag(x1=100, y1=100, x2=1000, y2=0) to [[0, 0], [500, 500], [35, 10]]"),
        ("box(x1=10, y1=20, x2=60, y2=40)", "pixel", "unit-2", "box(x1=0.05, y1=0.20, x2=0.30, y2=0.40)"),
        ("wait(0.5) for 12 things", "unit", "pixel", "wait(0.5) for 12 things"),
    ],
)  # fmt: skip
def test_places_are_written_in_another_format(text, kind, form, expected):
    assert moved(text, kind, identity(SIZE), FORMATS[form]) == expected


@pytest.mark.parametrize(
    ("text", "form", "words"),
    [
        ("red circle .34 .56", "thousand", "has no brackets"),  # "340 560" might be anything
        ("click(0.30, 0.50, clicks=2)", "pixel", "has no brackets"),
        ("[0.496, 0.1, 0.504, 0.2]", "unit-2", "too small"),
        ("(0.5, 1.2)", "pixel", "lies outside"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(text, form, words):
    with pytest.raises(Unspeakable, match=words):
        moved(text, "unit", mirror(SIZE), FORMATS[form])


def test_a_place_is_the_same_in_every_format_a_thousand_times():
    """Within half a unit of what is written, behind any warp, and there and back within half a unit of the coarser."""
    rng, names = np.random.default_rng(2), list(FORMATS)
    for _ in range(1000):
        size = (int(rng.integers(40, 3000)), int(rng.integers(40, 3000)))
        first, second = (FORMATS[names[int(place)]] for place in rng.integers(4, size=2))
        warp = turn(size, float(rng.uniform(-10, 10))) if rng.random() < 0.5 else mirror(size)
        sides, kinds = np.array(warp.after), {"unit": 1.0, "thousand": 1000.0}
        place = rng.uniform(0.1, 0.9, 2) * size
        written = moved(f"click(x={place[0]:.6f}, y={place[1]:.6f})", "pixel", warp, first)
        there = read(written) / kinds.get(first.kind, sides)  # in shares
        steps = [10.0**-form.decimals / kinds.get(form.kind, sides) * np.ones(2) for form in (first, second)]
        assert (np.abs(there - warp.points(place[None])[0] / sides) <= steps[0] / 2 + 1e-6).all()
        again = read(moved(written, first.kind, identity(warp.after), second)) / kinds.get(second.kind, sides)
        assert (np.abs(again - there) <= np.maximum(*steps) / 2 + 1e-6).all()


def read(text: str) -> np.ndarray:
    return np.array([float(number) for number in re.findall(r"=([\d.]+)", text)])


@pytest.mark.parametrize(
    "text",
    ["Give normalized coordinates.", "in pixels", "0 to 1000", "between 0 and 1", "归一化坐标", "像素坐标", "0到1000"],
)  # fmt: skip
def test_a_format_that_is_named_is_seen(text):
    assert format_named(text)


@pytest.mark.parametrize(
    "text", ["Where is the red circle?", "[0, 1, 20, 30]", "Count from 0 to 10.", "click(x=0.1, y=0.2)", "在哪里？"]
)
def test_other_texts_name_no_format(text):
    assert not format_named(text)


@pytest.mark.parametrize("text", ["box [1, 2, 3, 4] and click(x=5, y=6)", "(7, 8)", "no place"])
def test_places_are_named_where_they_would_be_moved_from(text):
    """All numbers of these texts are places, and moved by nothing they are written as they were."""
    found, note = named(text, "pixel", (20, 20))
    numbers = [float(number) for one in found for number in one.pixels_N2.flatten()]
    assert note == "" and sorted(numbers) == [float(number) for number in re.findall(r"\d+", text)]
    assert moved(text, "pixel", identity((20, 20))) == text


def test_where_moving_would_stop_naming_says_so():
    found, note = named("(1, 2), and 3, 4", "pixel", (20, 20))
    assert len(found) == 1 and "'3, 4' may be a place" in note


@pytest.mark.parametrize(
    "text", ["[-0.1, 0.2]", "(0.1, -0.2)", "click(x=-0.1, y=0.2)", "a box [0.1, 0.2, - .3, 0.4]", "at -0.1, 0.2"]
)
def test_a_negative_place_stops_the_warp_and_is_not_read_without_its_sign(text):
    with pytest.raises(Unspeakable, match="negative"):
        moved(text, "unit", mirror(SIZE))


def test_a_dash_is_no_sign():
    assert moved("two - 3 apples - at (0.25, 0.5)", "unit", mirror(SIZE)) == "two - 3 apples - at (0.75, 0.5)"
