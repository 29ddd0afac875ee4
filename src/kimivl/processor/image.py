"""Pictures → patches, at native resolution, by the rule of the official processor.

What it is: `load_rgb`, which makes an upright RGB picture out of anything that Pillow opens, and `ImageProcessor`, which
shrinks it to the token budget, pads it to whole 2×2 groups of patches, normalises it and cuts it into patches.
What it is not: an augmentation or a fetcher; coordinates in answers refer to the upright picture that is loaded here.
Facts: `reference/model.md` §4 (size rule, padding, values). Where the official code crashes or loses the picture we do not
follow it: transparency is laid on white instead of showing the colour beneath, 16-bit greys are scaled instead of clipped,
palettes are expanded before the picture is resized.

Shapes: H, W pixels; h, w patches along the sides; P = h·w patches of p × p pixels, V = 3·p·p values each.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from PIL import Image, ImageCms, ImageOps

from kimivl.processor.messages import ImagePart
from kimivl.processor.png import is_plain_png, png_pixels
from kimivl.processor.stored import FetchedPicture, StoredPicture

MAX_PIXELS = 89_478_485  # a small file can claim a huge picture; the size in its header is checked before decoding
PROGRAM_FORMATS = {"EPS"}  # Pillow would run Ghostscript on them
MAX_PATCHES_A_SIDE = 512  # the official processor refuses pictures that reach it: the rotary table of MoonViT ends there
ORIENTATION = 0x0112  # EXIF tag
VALUES_AT_A_TIME = 65_536  # of float32: a quarter of a megabyte

ImageSource = str | Path | Image.Image | StoredPicture | FetchedPicture
Size = tuple[int, int]
Grid = tuple[int, int]
T = TypeVar("T")


class ImageError(ValueError):
    """The picture cannot be used; the message names it, and says why."""


def load_rgb(source: ImageSource) -> Image.Image:
    """The picture upright (EXIF applied), decoded, in mode RGB; transparency laid on white. The first frame if it has many,
    or the page or frame that one from a store is.

    Every Pillow mode is understood. Greys of more than 8 bits have no fixed white: see `_eight_bit_grey`.
    Errors: ImageError naming the file, when it is missing, no picture, damaged, empty or above MAX_PIXELS.
    """
    name = image_name(source)
    if isinstance(source, Image.Image):
        return _decoded(source, name)
    if isinstance(source, FetchedPicture):
        if source.stored.frame is not None:
            from kimivl.processor.frames import load_frame  # which speaks of pictures as this file does

            return load_frame(source)
        return _decoded(guarded(lambda: Image.open(BytesIO(source.data)), name), name)
    with open_image(_path(source)) as image:
        return _decoded(image, name)


def upright_size(source: ImageSource) -> Size:
    """(W, H) of what `load_rgb` gives, from the header alone. Errors: ImageError, as far as the header shows."""
    name = image_name(source)
    if isinstance(source, Image.Image):
        image = source
        return guarded(lambda: _turned(image, image.getexif().get(ORIENTATION, 1)), name)
    if isinstance(source, FetchedPicture):
        source = source.stored
    if isinstance(source, StoredPicture):  # its manifest was made from the upright picture
        return source.width, source.height
    with open_image(source) as image:
        with Path(source).open("rb") as file:
            return guarded(lambda: _turned(image, _orientation(image, file)), name)


def picture_facts(data: bytes, name: str) -> tuple[str, Size]:
    """Media type and upright (W, H) of the bytes of a picture file, from its header alone. Errors: ImageError about `name`."""
    with guarded(lambda: Image.open(BytesIO(data)), name) as image:
        _check_header(image, name)
        size = guarded(lambda: _turned(image, _orientation(image, BytesIO(data))), name)
        return Image.MIME.get(image.format or "", f"image/{(image.format or 'unknown').lower()}"), size


def _path(source: str | Path | StoredPicture) -> str | Path:
    if isinstance(source, StoredPicture):
        raise ValueError(f"{image_name(source)} lies in a store: its bytes must be fetched before it is decoded")
    return source


def _turned(image: Image.Image, orientation: int) -> Size:
    """Pillow turns TIFF files itself, and their size is upright before."""
    return image.size[::-1] if 5 <= orientation <= 8 and image.format != "TIFF" else image.size


def _orientation(image: Image.Image, file: BinaryIO) -> int:
    """As EXIF or XMP tell it. Pillow decodes a whole PNG to look for them behind the pixels: only where something is there."""
    if image.format == "PNG" and not _tells_something_behind_its_pixels(file):
        return int(Image.Image.getexif(image).get(ORIENTATION, 1))
    return int(image.getexif().get(ORIENTATION, 1))


def _tells_something_behind_its_pixels(png: BinaryIO) -> bool:
    """Whether a PNG file has EXIF or text chunks behind the first of its pixels."""
    png.seek(8)  # its signature
    pixels = False
    while len(head := png.read(8)) == 8:
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if pixels and kind in (b"eXIf", b"iTXt", b"tEXt", b"zTXt"):
            return True
        pixels = pixels or kind == b"IDAT"
        png.seek(length + 4, 1)  # its data and checksum
    return False


def open_image(path: str | Path) -> Image.Image:
    """The file opened, its header read and its size checked, its pixels not yet decoded. Errors: ImageError."""
    if not Path(path).is_file():
        raise ImageError(f"image {path}: there is no such file")
    image = guarded(lambda: Image.open(path), image_name(path))
    try:
        _check_header(image, image_name(path))
    except ImageError:
        image.close()
        raise
    return image


def image_name(source: ImageSource) -> str:
    """How errors call the picture."""
    if isinstance(source, FetchedPicture):
        source = source.stored
    if isinstance(source, StoredPicture):
        return f"image {source.name} of {source.place.url}"
    if not isinstance(source, Image.Image):
        return f"image {source}"
    file = getattr(source, "filename", "")
    return f"image {file}" if file else f"image in memory ({source.mode}, {source.width}×{source.height})"


def guarded(read: Callable[[], T], name: str) -> T:
    """What `read` returns; any failure in it becomes an ImageError about the picture called `name`."""
    # Pillow's decoders answer damaged bytes with whatever exception they run into, not only with OSError.
    try:
        return read()
    except ImageError:
        raise
    except Image.UnidentifiedImageError:
        raise ImageError(f"{name}: not a picture in a format that Pillow reads, or an empty file") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{name}: claims far more than {MAX_PIXELS:,} pixels; make it smaller first") from None
    except Exception as error:
        raise ImageError(f"{name}: damaged or cut off ({type(error).__name__}: {error})") from error


def _check_header(image: Image.Image, name: str) -> None:
    if image.format in PROGRAM_FORMATS:
        raise ImageError(f"{name}: {image.format} is a program that draws, not a picture; convert it to PNG first")
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"{name}: has no pixels ({width}×{height})")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name}: {width}×{height} is more than {MAX_PIXELS:,} pixels; make it smaller first")


def _decoded(image: Image.Image, name: str) -> Image.Image:
    _check_header(image, name)
    return guarded(lambda: _to_rgb(_plain_pixels(image) or _upright(image), name), name)


def _plain_pixels(image: Image.Image) -> Image.Image | None:
    """Of an upright PNG that need not be decoded by Pillow."""
    if not is_plain_png(image) or image.fp is None:
        return None
    image.fp.seek(0)
    data = image.fp.read()
    return png_pixels(data) if _orientation(image, BytesIO(data)) == 1 else None


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    return ImageOps.exif_transpose(image) if image.getexif().get(ORIENTATION, 1) != 1 else image


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _eight_bit_grey(image, name)
    if image.mode == "LAB":
        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
        assert converted is not None  # only None when converting in place
        return converted
    if not image.has_transparency_data:
        return image.convert("RGB")
    if image.mode == "La":  # Pillow has no direct way from premultiplied grey
        image = image.convert("LA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def _eight_bit_grey(image: Image.Image, name: str) -> Image.Image:
    """16-bit greys from 0 … 65535. 32-bit and float greys have no fixed white, so the values decide: floats in 0 … 1, then
    0 … 255, then 0 … 65535 are taken as such ranges, and anything else runs from its darkest value to its brightest."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ImageError(f"{name}: a float picture with values that are not finite")
    low, high = float(values.min()), float(values.max())
    if image.mode.startswith("I;16"):
        low, high = 0.0, 65535.0
    elif low >= 0:
        ranges = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        fitting = next((limit for limit in ranges if high <= limit), None)
        low, high = (low, high) if fitting is None else (0.0, fitting)
    grey = Image.fromarray(np.rint((values - low) * (255 / max(high - low, 1e-30))).astype(np.uint8))
    transparent = image.info.get("transparency")
    if transparent is not None:  # a PNG may name one grey that is transparent
        opacity = np.where(np.asarray(image) == transparent, 0, 255).astype(np.uint8)
        grey = Image.merge("LA", (grey, Image.fromarray(opacity)))
    return grey


def _shrunk(picture: Image.Image, size: Size) -> Image.Image:
    return picture if picture.size == size else picture.resize(size, Image.Resampling.BICUBIC)


@dataclass(frozen=True)
class ImageProcessor:
    """The size rule, normalisation and patches. The defaults are the official values of Kimi-VL-A3B-Instruct.

    Args:
        patch_size: side of a patch in pixels.
        merge: patches along the side of a group that becomes one token.
        in_token_limit: budget in patches (not tokens). Both the shrinking and the padding of the official rule may end above it:
            at most 5,352 patches for 4,096, found by trying all sides below 8,000 pixels (the maximum is a long strip).
        mean, std: per channel, of values in 0 … 1.
    """

    patch_size: int = 14
    merge: int = 2
    in_token_limit: int = 4096
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        if min(self.patch_size, self.merge, self.in_token_limit) < 1:
            raise ValueError(f"patch_size, merge and in_token_limit must be at least 1: {self}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(f"mean and std need three values each, std above zero: {self}")

    def __call__(self, image: ImageSource, limit: int | None = None) -> tuple[np.ndarray, Grid]:
        """Patches float32 [h·w, 3, p, p] in reading order, and the grid (h, w); h and w are multiples of `merge`.

        Args:
            image: file or picture.
            limit: a budget in patches for this call, in place of `in_token_limit`.
        Errors: ImageError naming the picture: unreadable, or 512 patches or more along a side.
        """
        pixels_HWC, grid = self.pixels(image, limit)
        return self.cut(pixels_HWC, grid), grid

    def pixels(self, image: ImageSource, limit: int | None = None) -> tuple[np.ndarray, Grid]:
        """The picture shrunk to the budget, uint8 [H, W, 3], and the grid (h, w) that `cut` makes of it; as of a call."""
        picture = load_rgb(image)
        grid = self._named_grid(image, picture.size, limit)
        return np.asarray(_shrunk(picture, self.resized(picture.size, limit))), grid

    def grid_of(self, part: ImagePart, limit: int | None = None) -> Grid:
        """Patch rows and columns of a part's picture, changes included, from its header. Errors: as of a call."""
        size = upright_size(part.image)
        return self._named_grid(part.image, part.change.size(size) if part.change else size, limit)

    def _named_grid(self, image: ImageSource, size: Size, limit: int | None) -> Grid:
        try:
            return self.grid(size, limit)
        except ValueError as error:
            raise ImageError(f"{image_name(image)}: {error}") from None

    def shrunk(self, image: ImageSource, limit: int) -> Image.Image:
        """The upright picture, shrunk to a budget of `limit` patches if it is above. Errors: ImageError."""
        picture = load_rgb(image)
        return _shrunk(picture, self.resized(picture.size, limit))

    def resized(self, size: Size, limit: int | None = None) -> Size:
        """(W, H) after shrinking to the budget; never larger than before."""
        width, height = size
        limit = self.in_token_limit if limit is None else limit
        if limit < 1:
            raise ValueError(f"the patch budget must be at least 1, got {limit}")
        patches = (width // self.patch_size) * (height // self.patch_size)
        if patches <= limit:
            return size
        scale = math.sqrt(limit / patches)
        return max(1, int(width * scale)), max(1, int(height * scale))

    def grid(self, size: Size, limit: int | None = None) -> Grid:
        """Patch rows and columns (h, w) of an upright picture of (W, H) pixels, known without decoding it.

        Errors: ValueError when a side reaches 512 patches.
        """
        group = self.patch_size * self.merge
        w, h = (-(-side // group) * self.merge for side in self.resized(size, limit))
        if max(h, w) >= MAX_PATCHES_A_SIDE:
            raise ValueError(
                f"{size[0]}×{size[1]} pixels are {h}×{w} patches (rows × columns); a side must stay below "
                f"{MAX_PATCHES_A_SIDE}, so cut the picture into pieces"
            )
        return h, w

    def tokens(self, grid: Grid) -> int:
        """Tokens of one image in the language model."""
        return grid[0] * grid[1] // self.merge**2

    def cut(self, pixels_HWC: np.ndarray, grid: Grid, out: np.ndarray | None = None) -> np.ndarray:
        """Pads, cuts and normalises what `pixels` gives.

        Args:
            out: where the patches go, float32 [h·w, 3, p, p] without gaps; new memory without it.
        Returns: the patches.
        """
        (h, w), p = grid, self.patch_size
        height, width, _ = pixels_HWC.shape
        if (height, width) != (h * p, w * p):
            padded_HWC = np.zeros((h * p, w * p, 3), np.uint8)  # black, hence −1 after the official normalisation
            padded_HWC[:height, :width] = pixels_HWC
            pixels_HWC = padded_HWC
        pixels_PV = np.ascontiguousarray(pixels_HWC.reshape(h, p, w, p, 3).transpose(0, 2, 4, 1, 3)).reshape(h * w, 3 * p * p)
        patches = np.empty((h * w, 3, p, p), np.float32) if out is None else out
        self._normalise(pixels_PV, patches.reshape(h * w, 3 * p * p))
        return patches

    def _normalise(self, pixels_PV: np.ndarray, out_PV: np.ndarray) -> None:
        """Three roundings, in the official order, so that values are equal to the bit. Some patches at a time, which stay in the
        processor's cache from the first of them to the last."""
        mean_V, std_V = (np.repeat(np.array(values, np.float32), self.patch_size**2) for values in (self.mean, self.std))
        step = max(1, VALUES_AT_A_TIME // out_PV.shape[1])
        for start in range(0, len(out_PV), step):
            values_PV = out_PV[start : start + step]
            values_PV[...] = pixels_PV[
                start : start + step
            ]  # bytes are moved to their patches before they are four times as large
            values_PV /= np.float32(255)
            values_PV -= mean_V
            values_PV /= std_V
