"""Training and test crops share no pixel of a photograph."""

import numpy as np
import pytest
from PIL import Image

from kimivl.curate.photo import photos
from kimivl.curate.photo.photos import TEST_LEFT, TRAIN_RIGHT, crop
from kimivl.curate.records import rng_for


@pytest.mark.parametrize("size", [(400, 300), (191, 172), (1411, 1411)])
def test_sides_are_disjoint(size):
    """A picture whose grey value is its column says where a crop comes from."""
    columns = np.broadcast_to(np.linspace(0, 255, size[0])[None, :, None], (size[1], size[0], 3)).round().astype(np.uint8)
    ramp = Image.fromarray(np.ascontiguousarray(columns))
    for i in range(50):
        assert np.asarray(crop(ramp, 0.0, TRAIN_RIGHT, rng_for(0, "train", i))).max() <= 255 * TRAIN_RIGHT + 2
        test = crop(ramp, TEST_LEFT, 1.0, rng_for(0, "test", i))
        assert np.asarray(test).min() >= 255 * TEST_LEFT - 2
        assert all(48 <= side <= 128 for side in test.size)


def test_a_missing_photograph_is_named(monkeypatch):
    with pytest.raises(ValueError, match="skimage/data/nothing.png is not installed"):
        photos.open_photo("skimage/data/nothing.png")
