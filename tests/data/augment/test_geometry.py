"""Pictures, points, boxes and directions go to the same place; every warp can be undone."""

import math

import numpy as np
import pytest
from PIL import Image, ImageDraw

from kimivl.data.augment.geometry import (
    DIRECTIONS,
    Unspeakable,
    Warp,
    identity,
    mirror,
    perspective,
    resize,
    straight_turn,
    turn,
    window,
)

CASES = 1000


def drawn(rng: np.random.Generator) -> Warp:
    """A warp of a picture of any size: one to three of the simple ones, one after the other."""
    size = (int(rng.integers(40, 200)), int(rng.integers(40, 200)))
    warp = identity(size)
    for _ in range(int(rng.integers(1, 4))):
        warp = warp.then(simple(warp.after, rng))
    return warp


def simple(size: tuple[int, int], rng: np.random.Generator) -> Warp:
    width, height = size
    left, top = int(rng.integers(0, width // 4)), int(rng.integers(0, height // 4))
    shifts = rng.uniform(-0.08, 0.08, (4, 2)) * size
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)]) + shifts
    choices = [
        lambda: mirror(size),
        lambda: straight_turn(size, int(rng.choice([90, 180, 270]))),
        lambda: turn(size, float(rng.uniform(-12, 12))),
        lambda: window(size, (left, -top, width - left // 2, height + top // 2)),
        lambda: resize(size, (int(rng.integers(30, 220)), int(rng.integers(30, 220)))),
        lambda: perspective(size, [tuple(corner) for corner in corners.tolist()]),
    ]
    return choices[int(rng.integers(len(choices)))]()


def test_a_warp_and_its_inverse_change_nothing():
    rng = np.random.default_rng(0)
    for _ in range(CASES):
        warp = drawn(rng)
        points = rng.uniform(0, 1, (5, 2)) * warp.before
        assert np.allclose(warp.inverse.points(warp.points(points)), points, atol=1e-6)
        assert np.allclose(warp.then(warp.inverse).points(points), points, atol=1e-6)
        assert warp.inverse.mirrors == warp.mirrors


def test_a_drawn_marker_lies_where_its_place_goes():
    """The middle of what is dark in the warped picture, against the warped point."""
    rng = np.random.default_rng(1)
    seen = 0
    for _ in range(CASES):
        warp = drawn(rng)
        place = np.floor(rng.uniform(0.1, 0.9, 2) * warp.before)
        picture = Image.new("RGB", warp.before, "white")
        ImageDraw.Draw(picture).rectangle([*(place - 4), *(place + 3)], fill="black")  # eight pixels around the edge at `place`
        [expected] = warp.points(place[None])
        if (expected < 12).any() or (expected > np.array(warp.after) - 12).any():
            continue
        ink = 255.0 - np.asarray(warp.picture(picture).convert("L"), float)
        rows, columns = np.indices(ink.shape)
        found = np.array([(ink * (columns + 0.5)).sum(), (ink * (rows + 0.5)).sum()]) / ink.sum()
        assert np.abs(found - expected).max() < 0.75, (warp, place)
        seen += 1
    assert seen > CASES / 2


@pytest.mark.parametrize(
    ("warp", "place", "expected"),
    [
        (mirror((200, 100)), (10, 20), (190, 20)),
        (straight_turn((200, 100), 90), (10, 20), (80, 10)),
        (straight_turn((200, 100), 180), (10, 20), (190, 80)),
        (straight_turn((200, 100), 270), (10, 20), (20, 190)),
        (window((200, 100), (5, 10, 105, 60)), (10, 20), (5, 10)),
        (window((200, 100), (-5, 0, 200, 100)), (10, 20), (15, 20)),
        (resize((200, 100), (100, 200)), (10, 20), (5, 40)),
        (turn((200, 100), 90), (110, 50), (50, 110)),
        (perspective((2, 2), [(0, 0), (2, 0), (1.5, 2), (0.5, 2)]), (2, 2), (1.5, 2)),
    ],
)
def test_places_worked_out_by_hand(warp, place, expected):
    assert np.allclose(warp.points(np.array([place])), [expected])


def test_a_mirrored_box_is_as_wide_as_before():
    """Points and boxes with the same rule: a box's corners are points."""
    assert mirror((200, 100)).box((10, 20, 60, 40)) == (140, 20, 190, 40)
    assert straight_turn((200, 100), 90).box((10, 20, 60, 40)) == (60, 10, 80, 60)


def test_a_turned_box_holds_the_whole_thing():
    """20 × 10 around the middle, turned by 30 degrees: half sides are 10 cos + 5 sin and 10 sin + 5 cos. 137 pixels hold all."""
    box = turn((100, 100), 30).box((40, 45, 60, 55))
    cosine, sine = math.cos(math.radians(30)), math.sin(math.radians(30))
    across, along = 10 * cosine + 5 * sine, 10 * sine + 5 * cosine
    assert box == pytest.approx((68.5 - across, 68.5 - along, 68.5 + across, 68.5 + along))


def test_a_turned_picture_is_not_cut():
    rng = np.random.default_rng(3)
    for _ in range(200):
        warp = turn((int(rng.integers(1, 300)), int(rng.integers(1, 300))), float(rng.uniform(-180, 180)))
        width, height = warp.before
        corners = warp.points(np.array([(0, 0), (width, 0), (width, height), (0, height)]))
        assert (corners > -1e-5).all() and (corners < np.array(warp.after) + 1e-5).all()
        assert np.abs(np.ptp(corners, axis=0) - warp.after).max() < 1


def test_a_box_is_cut_at_the_frame_and_refused_outside():
    warp = window((100, 100), (50, 0, 100, 100))
    assert warp.box((40, 10, 80, 20)) == (0, 10, 30, 20)
    with pytest.raises(Unspeakable, match="lies outside"):
        warp.box((10, 10, 50.5, 20))


def test_directions_turn_with_the_picture():
    size = (120, 80)
    assert [mirror(size).direction(way) for way in ("left", "right", "up", "down")] == ["right", "left", "up", "down"]
    assert [straight_turn(size, 90).direction(way) for way in ("up", "right", "down", "left")] == ["right", "down", "left", "up"]
    assert all(turn(size, 15).direction(way) == way for way in DIRECTIONS)
    with pytest.raises(Unspeakable, match="no single straight direction"):
        turn(size, 30).direction("left")


def test_whole_pixels_stay_as_they_are():
    picture = Image.fromarray(np.random.default_rng(2).integers(0, 256, (7, 11, 3), np.uint8))
    values = np.asarray(picture)
    expected = {
        mirror((11, 7)): values[:, ::-1],
        straight_turn((11, 7), 90): np.rot90(values, -1),
        straight_turn((11, 7), 180): values[::-1, ::-1],
        straight_turn((11, 7), 270): np.rot90(values),
        window((11, 7), (2, 1, 9, 6)): values[1:6, 2:9],
        window((11, 7), (-2, 0, 11, 8)): np.pad(values, ((0, 1), (2, 0), (0, 0)), constant_values=255),
        identity((11, 7)): values,
    }
    for warp, wanted in expected.items():
        assert np.array_equal(np.asarray(warp.picture(picture)), wanted)


def test_only_an_odd_number_of_mirrors_mirrors():
    size = (30, 20)
    assert mirror(size).mirrors and not mirror(size).then(mirror(size)).mirrors
    assert not straight_turn(size, 90).mirrors and straight_turn(size, 90).then(mirror((20, 30))).mirrors


def test_the_frame_is_kept_by_what_moves_it_as_a_whole():
    size = (30, 20)
    assert all(warp.keeps_frame for warp in (mirror(size), straight_turn(size, 270), resize(size, (9, 50))))
    assert not any(warp.keeps_frame for warp in (turn(size, 3), window(size, (0, 0, 29, 20))))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: straight_turn((4, 4), 45), "90, 180 or 270 degrees, got 45"),
        (lambda: window((4, 4), (2, 0, 2, 4)), "at least one pixel"),
        (lambda: resize((4, 4), (0, 4)), "at least one pixel"),
        (lambda: mirror((4, 4)).then(mirror((5, 4))), "does not fit"),
        (lambda: mirror((4, 4)).picture(Image.new("RGB", (5, 4))), r"of pictures of \(4, 4\), not of \(5, 4\)"),
        (lambda: perspective((4, 4), [(0, 0), (0, 0), (0, 0), (0, 0)]), "can be undone|on one line"),
        (lambda: Warp(((1, 0, 0), (0, 1, 0), (-0.5, 0, 1)), (4, 4), (4, 4)), "behind the eye"),
    ],
)
def test_warps_that_cannot_be_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
