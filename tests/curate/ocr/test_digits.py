"""Digit pictures show their scan, and the last fifth of the scans never reaches training."""

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from kimivl.curate.nano import build_nano
from kimivl.curate.ocr.digits import draw
from kimivl.curate.records import rng_for
from kimivl.curate.workshop import read_records


def test_an_unvaried_picture_shows_its_scan():
    for scan in load_digits().images[:50]:
        gray = np.asarray(draw(scan, None))[..., 0].astype(float)
        small = 16 - gray.reshape(8, 4, 8, 4).mean((1, 3)) * 16 / 255
        assert np.corrcoef(small.ravel(), scan.ravel())[0, 1] > 0.97


def test_varied_pictures_differ_but_stay_near():
    scan = load_digits().images[3]
    plain = np.asarray(draw(scan, None)).astype(float)
    varied = [np.asarray(draw(scan, rng_for(0, "digit", i))).astype(float) for i in range(20)]
    assert len({v.tobytes() for v in varied}) == 20
    assert np.mean([np.corrcoef(plain.ravel(), v.ravel())[0, 1] for v in varied]) > 0.6


def test_test_scans_are_the_last_fifth(tmp_path):
    build_nano(tmp_path, 0, scale=0.02, only=["digits"], progress=False)
    digits = load_digits()
    for i, record in enumerate(read_records(tmp_path / "digits" / "test.jsonl")):
        assert record["meta"]["answer"] == str(digits.target[1438 + i])
        kept = np.asarray(Image.open(tmp_path / "digits" / record["messages"][0]["content"][0]["image"]))
        np.testing.assert_array_equal(kept, np.asarray(draw(digits.images[1438 + i], None)))


def test_rows_are_as_wide_as_their_digits_are_many(nano_root):
    lengths = set()
    for record in read_records(nano_root / "digits" / "train.jsonl"):
        answer = record["content"][1]["text"]
        with Image.open(nano_root / "digits" / record["content"][0]["image"]) as picture:
            assert picture.size == (32 * len(answer), 32)
        lengths.add(len(answer))
    assert lengths == {1, 2, 3, 4}
