"""PNG files by the faster decoder: pixels, errors and turns are those that Pillow alone gives."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from kimivl.processor import png
from kimivl.processor.image import ORIENTATION, ImageError, load_rgb
from kimivl.processor.png import is_plain_png, png_pixels


def noise(mode: str, width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    return Image.fromarray(values).convert("RGB" if mode == "RGB;16" else mode)


def written(image: Image.Image, **options) -> bytes:
    file = BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data))


def loaded(data: bytes) -> bytes | str:
    """The pixels, or the error."""
    try:
        return load_rgb(opened(data)).tobytes()
    except ImageError as error:
        return str(error)


@pytest.fixture
def pillow_alone(monkeypatch):
    """Calls a function as if the faster decoder were not installed."""

    def pillow_alone(call, *values):
        with monkeypatch.context() as without:
            without.setattr(png, "INSTALLED", False)
            return call(*values)

    return pillow_alone


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (130, 3), (301, 217)])
@pytest.mark.parametrize("smooth", [True, False])
def test_plain_pixels_are_those_that_were_written(mode, size, smooth):
    """Smooth pictures make Pillow's encoder choose other filters than noise does."""
    picture = noise(mode, *size)
    picture = picture.resize((4, 4)).resize(size, Image.Resampling.BICUBIC) if smooth else picture
    for options in ({}, {"compress_level": 0}, {"optimize": True}):
        data = written(picture, **options)
        assert is_plain_png(opened(data))
        pixels = png_pixels(data)
        assert pixels is not None and pixels.mode == mode and pixels.tobytes() == picture.tobytes()
        assert load_rgb(opened(data)).tobytes() == picture.convert("RGB").tobytes()


@pytest.mark.parametrize(
    ("picture", "options"),
    [
        (noise("P", 9, 7), {}),
        (noise("1", 9, 7), {}),
        (noise("LA", 9, 7), {}),
        (noise("RGBA", 9, 7), {}),
        (noise("RGB", 9, 7), {"transparency": (1, 2, 3)}),
        (noise("L", 9, 7), {"transparency": 3}),
        (Image.fromarray(np.arange(63, dtype=np.uint16).reshape(7, 9)), {}),
        (noise("RGB", 9, 7), {"save_all": True, "append_images": [noise("RGB", 9, 7, 1)]}),
    ],
    ids=["palette", "bits", "grey and alpha", "alpha", "transparent colour", "transparent grey", "16 bits", "animation"],
)
def test_what_is_not_plain_is_left_to_pillow(picture, options, pillow_alone):
    data = written(picture, **options)
    assert not is_plain_png(opened(data))
    assert loaded(data) == pillow_alone(loaded, data)


def test_other_formats_are_not_plain_png():
    file = BytesIO()
    noise("RGB", 20, 10).save(file, "JPEG")
    assert not is_plain_png(opened(file.getvalue())) and not is_plain_png(noise("RGB", 20, 10))


def test_a_damaged_file_is_told_as_pillow_tells_it(pillow_alone):
    """A thousand files with one bit that is not as it was, and one cut off at every place of its last pixels and behind."""
    data, rng = written(noise("RGB", 24, 20)), np.random.default_rng(0)
    files = [data[:length] for length in range(len(data) - 60, len(data))]
    for place, bit in zip(rng.integers(data.index(b"IDAT") + 4, len(data), 1000), rng.integers(0, 8, 1000)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(bit)
        files.append(bytes(flipped))
    outcomes = [(loaded(file), pillow_alone(loaded, file)) for file in files]
    assert all(ours == pillows for ours, pillows in outcomes)
    assert sum(isinstance(ours, str) for ours, _ in outcomes) > 900
    assert sum(isinstance(ours, bytes) for ours, _ in outcomes) > 10


@pytest.mark.parametrize("behind_its_pixels", [False, True])
def test_a_picture_that_is_to_be_turned_is_turned(behind_its_pixels):
    picture, exif = noise("RGB", 12, 5), Image.Exif()
    exif[ORIENTATION] = 6
    data = written(picture, exif=exif)
    if behind_its_pixels:
        at = data.index(b"eXIf") - 4
        length = 12 + int.from_bytes(data[at : at + 4], "big")
        chunk, rest = data[at : at + length], data[:at] + data[at + length :]
        data = rest[:-12] + chunk + rest[-12:]
    assert load_rgb(opened(data)).tobytes() == picture.transpose(Image.Transpose.ROTATE_270).tobytes()


def test_text_in_a_file_changes_nothing(pillow_alone):
    info = PngInfo()
    info.add_text("Comment", "a picture")
    data = written(noise("RGB", 12, 5), pnginfo=info)
    assert loaded(data) == noise("RGB", 12, 5).tobytes()
