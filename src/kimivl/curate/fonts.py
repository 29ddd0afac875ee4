"""The fonts that matplotlib ships, for pictures with letters in them."""

import functools
from pathlib import Path

from PIL import ImageFont


@functools.cache
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """A font by its file's name without suffix, `size` in pixels."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"), size)
