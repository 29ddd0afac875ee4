"""Noise of printers, scanners, paper and shadows on pictures of documents: pixels change, and none of them moves.

What it is: `Page`, a change of a picture as `Change` of `sample.py` is one, `printed`, and `check_available` for whoever starts
a stage. The page is printed and soiled first, and what moves or lights it comes after.
What it is not: a warp: of augraphy's effects only those are used that leave every pixel in its place and its hue (measured:
`tests/data/augment/test_documents.py`). Effects that bend, shift or paint (Folding, InkShifter, ColorPaper, BleedThrough, stains)
are left out, as are those that draw in compiled code, whose randomness has no seed (DirtyRollers). A fold's shade is our own.
Facts: augraphy 8.2 draws from the global states of `random` and numpy. They are set, used and put back under a lock, so threads
and processes make the same page. Whoever draws from these states in another thread meanwhile would change it: nothing that runs
while a stage trains does, each draw of this package has a generator of its own.
"""

import importlib
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from kimivl.config.augment import AugmentConfig
from kimivl.processor.messages import PictureChange

SMALLEST = 16  # pixels of a side: below it some effects fail, and nothing is a page
SHADE_SIDE = 256  # pixels of the sheet on which shadows are drawn, which have no edges to lose

# What may happen to a page, one of each kind: augraphy's name of the effect, and its settings at full strength.
INK: dict[str, dict[str, Any]] = {
    "InkBleed": {"intensity_range": (0.4, 0.7), "kernel_size": (3, 3), "severity": (0.15, 0.35)},
    "InkMottling": {"ink_mottling_alpha_range": (0.2, 0.4)},
    "LowInkRandomLines": {"count_range": (3, 9), "use_consistent_lines": False},
}
PAPER: dict[str, dict[str, Any]] = {"NoiseTexturize": {}, "BrightnessTexturize": {"texturize_range": (0.8, 0.95)}}
MACHINE: dict[str, dict[str, Any]] = {
    "DirtyDrum": {"noise_intensity": 0.4},
    "SubtleNoise": {"subtle_range": 20},
    "Jpeg": {"quality_range": (25, 60)},
}
SHADOW: dict[str, Any] = {"shadow_opacity_range": (0.2, 0.45), "shadow_blur_kernel_range": (61, 121)}

_AUGRAPHY = threading.Lock()


def check_available(settings: AugmentConfig) -> None:
    """To be called before a stage begins. Raises: ValueError saying what to install, where `document` needs it."""
    if settings.document:
        _augraphy()


@dataclass(frozen=True)
class Page:
    """A picture as if printed and scanned. `strength`: 0 to 1. `key`: of its randomness. `then`: what happens to it next."""

    strength: float
    key: int
    then: PictureChange | None = None

    def size(self, before: tuple[int, int]) -> tuple[int, int]:
        """(W, H) of the changed picture."""
        return self.then.size(before) if self.then else before

    def picture(self, picture: Image.Image) -> Image.Image:
        """The changed picture."""
        page = printed(picture, self.strength, self.key)
        return self.then.picture(page) if self.then else page


def printed(picture: Image.Image, strength: float, key: int) -> Image.Image:
    """The picture with a share of the noise: a function of its pixels, `strength` and `key` alone. Small ones stay as they are.

    Raises: ValueError as `check_available`.
    """
    if min(picture.size) < SMALLEST:
        return picture
    clean = np.asarray(picture.convert("RGB"))
    rng = np.random.Generator(np.random.Philox(key))
    takes_part, which = rng.random(4) < 0.6, rng.random(3)
    page = clean
    with _seeded(int(rng.integers(2**32))):
        for kind, wanted, place in zip((INK, PAPER, MACHINE), takes_part, which):
            if wanted:
                name = list(kind)[int(place * len(kind))]
                page = _effect(name, kind[name], page)
        shade = _shadow(picture.size) if takes_part[3] else None
    values = page.astype(np.float32)
    if shade is not None:
        values *= shade
    if not takes_part.any() or rng.random() < 0.3:  # a page is never left as it was
        values *= _fold(picture.size, rng)
    mixed = clean + (values - clean) * np.float32(strength)
    return Image.fromarray(np.clip(np.rint(mixed), 0, 255).astype(np.uint8))


def _effect(name: str, settings: dict[str, Any], page: np.ndarray) -> np.ndarray:
    """One of augraphy's, on RGB: it takes BGR. [H, W, 3] uint8 → the same"""
    effect = getattr(_augraphy(), name)(p=1, **settings)
    changed: np.ndarray = np.asarray(effect(page[..., ::-1].copy(), force=True))
    return changed[..., ::-1]


def _shadow(size: tuple[int, int]) -> np.ndarray:
    """What is left of the light, on a page of `size`. [H, W, 1] float32, up to 1"""
    scale = SHADE_SIDE / max(size)
    width, height = (max(SMALLEST, round(side * scale)) for side in size)
    sheet = _effect("ShadowCast", SHADOW, np.full((height, width, 3), 255, np.uint8))
    shade = Image.fromarray(np.ascontiguousarray(sheet[..., 0])).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(shade, np.float32)[..., None] / 255


def _fold(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Light along a crease, across or down the page: a thin dark line, and one of its sides a little in the shade. [H, W, 1]"""
    width, height = size
    down, place, slope = rng.random() < 0.5, rng.uniform(0.25, 0.75), rng.uniform(-0.04, 0.04)
    depth, shade = rng.uniform(0.1, 0.3), rng.uniform(0.05, 0.15)
    rows, columns = np.ogrid[0.0:height, 0.0:width]
    along, across, length = (rows, columns, width) if down else (columns, rows, height)
    away = (across - length * place - slope * along) / max(2.0, length / 200)
    light = 1 - depth * np.exp(-(away**2)) - shade / (1 + np.exp(-np.clip(away / 4, -30, 30)))
    return light.astype(np.float32)[..., None]


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The global states of randomness set to `seed`, for one thread at a time, and put back."""
    with _AUGRAPHY:
        _augraphy()  # loading it must not draw from them
        before, numpy_before = random.getstate(), np.random.get_state()
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(before)
            np.random.set_state(numpy_before)


def _augraphy() -> Any:
    """The library; loading it takes seconds, and once. Raises: ValueError saying what to install."""
    try:
        return importlib.import_module("augraphy")
    except ModuleNotFoundError as error:
        raise ValueError(f"noise of documents needs {error.name}: run pip install 'kimivl[noise]'") from None
    except ImportError as error:  # a library of the system
        raise ValueError(
            f"noise of documents needs OpenCV, which does not load here ({error}): install the system's libgl1 and libglib2.0-0, "
            "or run pip uninstall opencv-python, then pip install opencv-python-headless"
        ) from None
