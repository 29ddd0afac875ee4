"""The box and colour that a scene states are those of its pixels."""

import numpy as np
import pytest

from kimivl.curate.records import rng_for
from kimivl.curate.scene.drawing import COLORS, EVERYTHING, SHAPES, Scene, Shape, outline, paint, random_scene


@pytest.mark.parametrize("kind", SHAPES)
def test_painted_pixels_fill_the_stated_box(kind):
    for i in range(20):
        rng = rng_for(0, kind, i)
        shape = Shape(
            kind, "blue", (0, 0, 255), outline(kind, (rng.uniform(20, 44), rng.uniform(20, 44)), rng.uniform(5, 15), rng)
        )
        pixels = np.asarray(paint(Scene((64, 64), (255, 255, 255), (shape,))))
        ys, xs = np.nonzero((pixels != 255).any(-1))
        painted = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        assert np.abs(painted - np.array(shape.box)).max() <= 1.25  # a pixel, and a quarter of one that smoothing adds
        x0, y0, x1, y1 = shape.box
        assert pixels[int((y0 + y1) / 2), int((x0 + x1) / 2)].tolist() == [0, 0, 255]  # the point that is asked for is on it


def test_shapes_are_apart_and_inside():
    for i in range(100):
        scene = random_scene(5, (96, 80), (7, 13), EVERYTHING, rng_for(0, "scene", i))
        boxes = np.array([s.box for s in scene.shapes])
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2] <= 96).all() and (boxes[:, 3] <= 80).all()
        alone = [
            set(zip(*np.nonzero((np.asarray(paint(Scene(scene.size, scene.ground, (s,)))) != scene.ground).any(-1))))
            for s in scene.shapes
        ]
        assert sum(map(len, alone)) == len(set().union(*alone))


def test_colours_are_told_apart_by_their_pixels():
    for i, color in enumerate(COLORS):
        scene = random_scene(1, (64, 64), (8, 8), (SHAPES, (color,)), rng_for(0, "colour", i))
        nearest = min(COLORS, key=lambda name: sum((a - b) ** 2 for a, b in zip(COLORS[name], scene.shapes[0].rgb)))
        assert nearest == color


def test_an_unknown_shape_is_refused():
    with pytest.raises(ValueError, match="'blob'"):
        outline("blob", (0, 0), 1, rng_for(0, "x"))
