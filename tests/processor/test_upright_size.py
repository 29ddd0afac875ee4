"""A picture's size is told by its header, as it will be when the picture is decoded and upright."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from kimivl.processor.image import ImageError, load_rgb, upright_size


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff"])
@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
def test_the_header_tells_the_upright_size(tmp_path, suffix, orientation):
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    noise(7, 11).save(path, exif=exif.tobytes())
    assert upright_size(path) == load_rgb(path).size == ((11, 7) if orientation in (5, 6, 7, 8) else (7, 11))


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_png_may_tell_its_orientation_behind_its_pixels(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    payload = exif.tobytes().removeprefix(b"Exif\x00\x00")
    chunk = struct.pack(">I", len(payload)) + b"eXIf" + payload + struct.pack(">I", zlib.crc32(b"eXIf" + payload))
    buffer = io.BytesIO()
    noise(7, 11).save(buffer, "PNG")
    path = tmp_path / "late.png"
    path.write_bytes(buffer.getvalue()[:-12] + chunk + buffer.getvalue()[-12:])  # in front of IEND
    assert upright_size(path) == load_rgb(path).size == ((11, 7) if orientation == 6 else (7, 11))


def test_no_pixel_of_a_png_is_decoded_for_its_size(tmp_path):
    path = tmp_path / "a.png"
    noise(40, 30).save(path)
    path.write_bytes(path.read_bytes()[:800])  # cut off in its pixels
    assert upright_size(path) == (40, 30)
    with pytest.raises(ImageError, match="damaged or cut off"):
        load_rgb(path)


def test_sizes_of_files_that_are_no_pictures_are_errors_that_name_them(tmp_path):
    (tmp_path / "a.png").write_text("no")
    for name, words in (("a.png", "not a picture"), ("b.png", "no such file")):
        with pytest.raises(ImageError, match=f"{name}: .*{words}"):
            upright_size(tmp_path / name)
