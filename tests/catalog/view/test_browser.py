"""The page in a real browser: marks lie where they are written, the mask is the trainer's, hostile records stay text."""

import os
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from kimivl.data.plan import Planner

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
REASON = "no Chromium is installed (`make test` installs it where apt and root allow)"
pytestmark = pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason=REASON)
FLAGS = """--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-background-networking
--disable-sync --hide-scrollbars --virtual-time-budget=10000"""
GROUND, DISC, MARK = (10, 120, 30), (240, 220, 0), (194, 24, 47)
ZOOM = 2  # pictures of 200 × 100 pixels are shown twice as large


@pytest.fixture(scope="module")
def browse(server, tmp_path_factory):
    """Opens a path and gives the standard output."""
    profile = tmp_path_factory.mktemp("profile")

    def browse(path: str, *arguments: str) -> str:
        assert CHROMIUM, REASON  # in CI, where nothing is left out
        command = [CHROMIUM, *FLAGS.split(), f"--user-data-dir={profile}", *arguments, server.address.rstrip("/") + path]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout

    return browse


@pytest.fixture
def dom(browse, elements):
    return lambda path: elements(browse(path, "--dump-dom"))


@pytest.fixture
def shot(browse, tmp_path):
    """A photograph of a page, as pixels [H, W, 3]."""

    def shot(path: str, width: int = 1100, height: int = 900) -> np.ndarray:
        file = tmp_path / "shot.png"
        browse(path, f"--screenshot={file}", f"--window-size={width},{height}", "--blink-settings=preferredColorScheme=1")
        return np.asarray(Image.open(file).convert("RGB")).astype(int)

    return shot


def where(pixels: np.ndarray, color: tuple[int, int, int], near: int) -> np.ndarray:
    """Places (x, y) of the pixels of a colour, as the middles of pixels. [N, 2]"""
    rows, columns = np.nonzero((np.abs(pixels - np.array(color)) <= near).all(2))
    return np.stack([columns, rows], 1) + 0.5


def test_a_cross_is_drawn_at_the_written_coordinate(shot, index):
    """The first disc lies at (0.25, 0.6): 100 and 120 pixels from the top left of a picture shown as 400 × 200."""
    pixels = shot(f"/sample/{index('discs')}/0")
    ground = where(pixels, GROUND, 2)
    left, top = ground.min(0) - 0.5
    assert (ground.max(0) + 0.5 - (left, top)).tolist() == [400, 200]
    inside = pixels[int(top) : int(top) + 200, int(left) : int(left) + 400]
    cross = where(inside, MARK, 12)
    assert len(cross) > 40
    assert np.abs((cross.min(0) + cross.max(0)) / 2 - (0.25 * 400, 0.6 * 200)).max() <= 1


@pytest.mark.parametrize("epoch", [0, 1])
def test_in_a_changed_picture_the_cross_lies_on_the_disc_that_moved(shot, index, epoch):
    """Nothing of the geometry is used here: the disc's own pixels say where it is."""
    pixels = shot(f"/sample/{index('discs')}/1?epoch={epoch}")
    disc = where(pixels, DISC, 90)
    cross = where(pixels[:, : int(disc[:, 0].max()) + 80], MARK, 12)
    cross = cross[np.abs(cross - disc.mean(0)).max(1) < 60]
    assert len(disc) > 100 and len(cross) > 40
    # The cross is smaller than the disc, whose edges stay in sight.
    assert np.abs((cross.min(0) + cross.max(0)) / 2 - (disc.min(0) + disc.max(0)) / 2).max() <= 3


def test_the_changed_pictures_differ_from_the_stored_one(ask, index):
    pictures = {ask(f"/picture/{index('discs')}/1/0{query}")[2] for query in ("", "?epoch=0", "?epoch=1", "?epoch=2")}
    assert len(pictures) == 4


@pytest.mark.parametrize(("source", "row"), [("talk", 7), ("discs", 0)])
def test_tokens_are_coloured_as_the_trainer_learns_them(dom, view, processor, index, source, row):
    shown = dom(f"/sample/{index(source)}/{row}").of("token")
    sample = view.shelf.source(view.shelf.find(source))[row]
    encoded = processor.encode_chat(sample.messages, limit=4096)
    learned, ids = np.zeros(len(encoded.ids), bool), np.zeros(len(encoded.ids), int)
    for chip in (one for one in shown if "data-at" in one):
        at, count, kinds = int(chip["data-at"]), int(chip["data-count"]), chip["class"].split()
        assert ("learned" in kinds) != ("read" in kinds)
        learned[at : at + count] = "learned" in kinds
        ids[at : at + count] = [int(id) for id in chip["data-ids"].split()]
    assert np.array_equal(learned, encoded.supervised) and np.array_equal(ids, encoded.ids)
    assert 0 < learned.sum() < len(learned)


@pytest.mark.parametrize("path", ["/", "/source/{}", "/sample/{}/0"])
def test_what_a_record_says_stays_text(dom, index, attack, path):
    page = dom(path.format(index("hostile")))
    assert not [text for text in page.texts if text.startswith("owned")]  # the title would be
    scripts = [attributes for name, attributes in page.found if name == "script"]
    assert scripts == [{}] and not [attributes for _, attributes in page.found if "onerror" in attributes]
    assert any("document.title='owned'" in text for text in page.texts if "IntersectionObserver" not in text)


def test_a_picture_that_is_none_says_why_where_it_should_be(dom, index):
    page = dom(f"/source/{index('hostile')}")
    assert any("page.png: not a picture in a format that Pillow reads" in text for text in page.texts)


def test_the_packs_are_the_planners(dom, view, stage, processor):
    """Planned anew, from files opened anew; bars as long as the samples."""
    planner = Planner(stage, {name: view.shelf.source(view.shelf.find(name)) for name in stage.sources}, processor, 3)
    for step in range(4):
        packs = planner.packs(step)
    page = dom("/packs/3/1")
    bars = [one for one in page.found if one[0] == "rect" and "data-sample" in one[1]]
    tokens = [(one[1]["data-sample"], float(one[1]["width"])) for one in bars]
    expected = [
        (piece.sample.id, 1000 * length / budget)
        for pack in packs
        for lengths, budget in (([piece.tokens for piece in pack], 2400), ([piece.patches for piece in pack], 8000))
        for piece, length in zip(pack, lengths)
        if length
    ]
    assert [name for name, _ in tokens] == [name for name, _ in expected] and len(expected) > 10
    assert np.allclose([width for _, width in tokens], [width for _, width in expected], rtol=1e-4)
    rows = [attributes["data-sample"] for name, attributes in page.found if name == "tr" and "data-sample" in attributes]
    assert rows == [piece.sample.id for piece in packs[1]]
    assert planner.state.digest in "".join(page.texts)


def test_figures_come_when_they_are_seen(dom):
    page = dom("/")
    assert len(page.of("chart")) >= 8
    assert any("130 rows" in text for text in page.texts)


@pytest.mark.parametrize("path", ["/sample/{}/0", "/packs/2/0"])
def test_nothing_is_wider_than_a_phone(shot, index, path):
    pixels = shot(path.format(index("discs")), 500, 1400)
    assert {tuple(pixels[y, x]) for x in (1, 498) for y in range(0, 1400, 9)} == {(246, 247, 248)}
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 30  # it is a page, not an empty one
