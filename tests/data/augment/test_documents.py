"""A soiled page: nothing on it moves, it can still be read, and it is the same wherever it is made."""

import os
import random
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from kimivl.config.augment import AugmentConfig
from kimivl.data.augment import documents
from kimivl.data.augment.documents import INK, MACHINE, PAPER, Page, check_available, printed

if not os.environ.get("CI"):  # there it must be installed
    pytest.importorskip("augraphy", reason="OpenCV wants libgl1 of the system", exc_type=ImportError)
EFFECTS = [(name, settings) for kind in (INK, PAPER, MACHINE) for name, settings in kind.items()]
READABLE = 90  # of 255: how much lighter paper is than ink, at full strength; black on white has 255


def page(size=(300, 200), place=(170.0, 90.0)) -> Image.Image:
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for y in range(10, size[1] - 30, 24):
        draw.text((12, y), "The quick brown fox jumps over it 0123456789", fill=(10, 10, 10), font=ImageFont.load_default(14))
    x, y = place
    draw.ellipse([x - 12, y - 12, x + 12, y + 12], fill=(220, 0, 0))
    return picture


def middle_of_red(picture: Image.Image) -> np.ndarray:
    """Of what is more than half as red as the marker's reddest part."""
    values = np.asarray(picture).astype(float)
    redness = values[..., 0] - values[..., 1]
    rows, columns = np.nonzero(redness > np.percentile(redness, 99.5) / 2)
    return np.array([columns.mean(), rows.mean()])


def contrast(picture: Image.Image, clean: Image.Image) -> float:
    grey, before = np.asarray(picture.convert("L")).astype(float), np.asarray(clean.convert("L"))
    return float(grey[before > 250].mean() - grey[before < 50].mean())


@pytest.mark.parametrize(("name", "settings"), EFFECTS, ids=[name for name, _ in EFFECTS])
def test_no_effect_moves_a_marker_or_hides_the_ink(name, settings):
    for seed in range(8):
        place = tuple(np.random.default_rng(seed).uniform(40, 150, 2).tolist())
        clean = page(place=place)
        with documents._seeded(seed):
            changed = Image.fromarray(np.ascontiguousarray(documents._effect(name, settings, np.asarray(clean))))
        assert changed.size == clean.size and changed.tobytes() != clean.tobytes()
        assert np.abs(middle_of_red(changed) - middle_of_red(clean)).max() <= 0.5, seed
        assert contrast(changed, clean) > READABLE


def test_a_page_at_full_strength_keeps_places_hues_and_contrast():
    clean = page()
    ink = np.asarray(clean.convert("L")) < 50
    for key in range(24):
        changed = printed(clean, 1.0, key)
        assert changed.tobytes() != clean.tobytes(), key
        assert np.abs(middle_of_red(changed) - middle_of_red(clean)).max() <= 0.5, key
        assert contrast(changed, clean) > READABLE, key
        values = np.asarray(changed).astype(float)
        assert np.ptp(values[~ink & (np.asarray(clean)[..., 1] > 250)].mean(0)) < 2, key  # white paper is grey, never yellow


def test_strength_is_a_share_of_the_change():
    clean = np.asarray(page()).astype(float)
    weak, strong = (np.abs(np.asarray(printed(page(), strength, 3)) - clean).mean() for strength in (0.25, 1.0))
    assert weak == pytest.approx(strong / 4, rel=0.15) and not np.abs(np.asarray(printed(page(), 0.0, 3)) - clean).any()


def test_threads_and_processes_make_the_same_pages():
    """In processes of their own: here a library's thread, left by another test, may draw from the states that augraphy uses."""
    script = (
        "import sys; from concurrent.futures import ThreadPoolExecutor; from PIL import Image\n"
        "from kimivl.data.augment.documents import printed\n"
        "picture = Image.frombytes('RGB', (300, 200), sys.stdin.buffer.read())\n"
        "with ThreadPoolExecutor(int(sys.argv[1])) as threads:\n"
        "    pages = list(threads.map(lambda key: printed(picture, 0.8, key).tobytes(), range(12)))\n"
        "sys.stdout.buffer.write(b''.join(pages))"
    )

    def pages(threads: int) -> list[bytes]:
        command = [sys.executable, "-c", script, str(threads)]
        made = subprocess.run(command, input=page().tobytes(), capture_output=True, check=True, timeout=120).stdout
        return [made[start : start + len(made) // 12] for start in range(0, len(made), len(made) // 12)]

    alone, together = pages(1), pages(4)
    assert [one == other for one, other in zip(alone, together)] == [True] * 12 and len(set(alone)) == 12


def test_the_randomness_of_others_is_left_as_it_was():
    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.random()
    random.seed(5)
    np.random.seed(5)
    printed(page(), 1.0, 0)
    assert (random.random(), np.random.random()) == expected


@pytest.mark.parametrize("size", [(1, 1), (15, 300), (16, 16), (16, 900), (900, 17), (101, 33)])
def test_pictures_of_every_size_pass(size):
    picture = Image.effect_noise(size, 90).convert("RGB")
    pages = [printed(picture, 1.0, key) for key in range(12)]
    assert all(page.size == size for page in pages)
    assert (len({page.tobytes() for page in pages}) == 1) == (min(size) < 16)


def test_the_page_is_soiled_before_it_is_moved():
    class Turned:
        def size(self, before):
            return before[::-1]

        def picture(self, picture):
            return picture.transpose(Image.Transpose.ROTATE_90)

    change = Page(0.7, 4, Turned())
    assert change.size((300, 200)) == (200, 300)
    assert change.picture(page()).tobytes() == printed(page(), 0.7, 4).transpose(Image.Transpose.ROTATE_90).tobytes()


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    check_available(AugmentConfig(document=0.5))
    monkeypatch.setitem(sys.modules, "augraphy", None)
    check_available(AugmentConfig(light=0.5))
    with pytest.raises(ValueError, match=r"needs augraphy: run pip install 'kimivl\[noise\]'"):
        check_available(AugmentConfig(document=0.5))
