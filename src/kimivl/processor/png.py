"""The pixels of plain PNG files, faster than Pillow has them.

What it is: `png_pixels`, by the libspng of imagecodecs, whose filters and inflation use vector instructions. It gives the pixels
that Pillow gives, and gives up on all that is not whole, so that Pillow has the last word.
What it is not: needed. Without imagecodecs everything is read as before.
Why not others: the libpng of imagecodecs 2026.3.6 is as fast, but frees None with every damaged file; pyspng 0.1.4 gives pixels
of files whose checksums are wrong.
"""

from importlib.util import find_spec
from typing import TypeGuard

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

INSTALLED = find_spec("imagecodecs") is not None


def is_plain_png(image: Image.Image) -> TypeGuard[PngImageFile]:
    """Whether what Pillow has opened, and not decoded, is one PNG picture of eight bits a value, in grey or RGB, and opaque."""
    if not isinstance(image, PngImageFile) or len(image.tile) != 1 or image.is_animated:
        return False
    return image.tile[0].args in ("RGB", "L") and not image.has_transparency_data  # the file's own form of pixels, and the mode


def png_pixels(data: bytes) -> Image.Image | None:
    """The pixels of a plain PNG file; None if it is damaged, and without imagecodecs."""
    if not INSTALLED:
        return None
    from imagecodecs import SpngError, spng_decode

    try:
        pixels: np.ndarray = spng_decode(data)
    except SpngError:
        return None
    return Image.fromarray(pixels)
