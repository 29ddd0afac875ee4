"""Pictures of every kind become the patches of the official rule, or an error that names them."""

import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from kimivl.processor.image import MAX_PIXELS, ImageError, ImageProcessor, load_rgb

OFFICIAL = ImageProcessor()
THINKING_2506 = ImageProcessor(in_token_limit=16384)

# size, then (resized, padded, grid, tokens) for the limit of 4096 patches and for that of 16384; "same" as for 4096.
GOLDEN = [
    ((13, 13), ((13, 13), (28, 28), (2, 2), 1), "same"),
    ((100, 75), ((100, 75), (112, 84), (6, 8), 12), "same"),
    ((224, 224), ((224, 224), (224, 224), (16, 16), 64), "same"),
    ((336, 336), ((336, 336), (336, 336), (24, 24), 144), "same"),
    ((640, 480), ((640, 480), (644, 504), (36, 46), 414), "same"),
    ((896, 896), ((896, 896), (896, 896), (64, 64), 1024), "same"),
    ((900, 896), ((900, 896), (924, 896), (64, 66), 1056), "same"),
    ((1024, 1024), ((897, 897), (924, 924), (66, 66), 1089), ((1024, 1024), (1036, 1036), (74, 74), 1369)),
    ((1280, 720), ((1202, 676), (1204, 700), (50, 86), 1075), ((1280, 720), (1288, 728), (52, 92), 1196)),
    ((1920, 1080), ((1196, 672), (1204, 672), (48, 86), 1032), ((1920, 1080), (1932, 1092), (78, 138), 2691)),
    ((3840, 2160), ((1196, 672), (1204, 672), (48, 86), 1032), ((2392, 1345), (2408, 1372), (98, 172), 4214)),
    ((1792, 1792), ((896, 896), (896, 896), (64, 64), 1024), ((1792, 1792), (1792, 1792), (128, 128), 4096)),
]


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def unpatch(patches: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Patches back to [H, W, 3], one patch after another in reading order."""
    (h, w), p = grid, patches.shape[-1]
    picture = np.empty((h * p, w * p, 3), patches.dtype)
    for index, patch in enumerate(patches):
        row, column = divmod(index, w)
        picture[row * p : (row + 1) * p, column * p : (column + 1) * p] = patch.transpose(1, 2, 0)
    return picture


# ---- size ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "at_4096", "at_16384"), GOLDEN, ids=lambda value: str(value)[:12])
def test_golden_sizes(size, at_4096, at_16384):
    for processor, golden in ((OFFICIAL, at_4096), (THINKING_2506, at_4096 if at_16384 == "same" else at_16384)):
        resized, padded, grid, tokens = golden
        assert processor.resized(size) == resized
        assert processor.grid(size) == grid == (padded[1] // 14, padded[0] // 14)
        assert processor.tokens(grid) == tokens


def test_the_grid_known_beforehand_is_the_grid_that_comes_out():
    rng = random.Random(0)
    for _ in range(15):
        size = rng.randint(1, 500), rng.randint(1, 500)
        for processor in (ImageProcessor(in_token_limit=256), ImageProcessor(patch_size=8, in_token_limit=400)):
            patches, grid = processor(Image.new("RGB", size))
            assert grid == processor.grid(size)
            assert patches.shape == (grid[0] * grid[1], 3, processor.patch_size, processor.patch_size)
            assert patches.dtype == np.float32


@pytest.mark.parametrize("patch_size", [8, 14])
def test_sizes_over_a_thousand_pictures(patch_size):
    processor = ImageProcessor(patch_size=patch_size, in_token_limit=1024)
    rng = random.Random(1)
    for _ in range(1000):
        width, height = rng.randint(1, 2000), rng.randint(1, 2000)
        w, h = processor.resized((width, height))
        rows, columns = processor.grid((width, height))
        assert w <= width and h <= height
        whole_patches = (width // patch_size) * (height // patch_size)
        area = width * height * min(1, 1024 / max(1, whole_patches))  # of the picture shrunk exactly to the budget
        assert w * h <= area + 1e-6 and (w + 1) * (h + 1) > area
        assert rows % 2 == columns % 2 == 0
        assert 0 <= rows * patch_size - h < 2 * patch_size and 0 <= columns * patch_size - w < 2 * patch_size
        assert (w, h) == (width, height) or abs(width / height * h - w) <= 1 + width / height  # aspect, up to truncation


@pytest.mark.parametrize("processor", [OFFICIAL, THINKING_2506])
@pytest.mark.parametrize("size", [(20, 7200), (7200, 20), (1, 7168)])
def test_a_side_of_512_patches_is_refused_by_name(processor, size, tmp_path):
    path = tmp_path / "strip.png"
    Image.new("L", size).save(path)
    with pytest.raises(ImageError, match=r"strip\.png.*below 512"):
        processor(path)


def test_the_longest_allowed_side_is_510_patches():
    assert OFFICIAL.grid((14, 510 * 14)) == (510, 2)
    with pytest.raises(ValueError, match="512×2"):
        OFFICIAL.grid((14, 510 * 14 + 1))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (13, 14), (14, 27), (28, 29)])
def test_pictures_smaller_than_a_group_are_padded_not_enlarged(size):
    patches, grid = OFFICIAL(Image.new("RGB", size, "white"))
    picture = unpatch(patches, grid)
    width, height = size
    assert (picture[:height, :width] == 1).all()
    assert (picture == 1).sum() == 3 * width * height
    assert (picture[height:] == -1).all() and (picture[:, width:] == -1).all()


def test_a_limit_for_one_call_replaces_the_configured_one():
    picture = noise(280, 280)
    assert OFFICIAL(picture)[1] == (20, 20)
    assert OFFICIAL(picture, limit=100)[1] == (10, 10)
    assert ImageProcessor(in_token_limit=100)(picture, limit=4096)[1] == (20, 20)
    assert OFFICIAL(picture, limit=1)[1] == (2, 2)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        OFFICIAL(picture, limit=0)


def test_a_budget_that_would_leave_no_column_leaves_one():
    assert OFFICIAL.resized((20, 50_000), limit=4) == (1, 1673)


# ---- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("patch_size", [8, 14])
def test_patches_are_the_normalised_pixels_in_reading_order(patch_size):
    picture = noise(6 * patch_size, 4 * patch_size)
    patches, grid = ImageProcessor(patch_size=patch_size)(picture)
    assert grid == (4, 6)
    expected = (np.asarray(picture).astype(np.float32) / 255 - np.float32(0.5)) / np.float32(0.5)
    assert np.array_equal(unpatch(patches, grid), expected)


def test_mean_and_std_apply_by_channel():
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    patches, _ = ImageProcessor(mean=mean, std=std)(Image.new("RGB", (28, 28), (255, 0, 51)))
    expected = [(1 - mean[0]) / std[0], -mean[1] / std[1], (0.2 - mean[2]) / std[2]]
    np.testing.assert_allclose(patches, np.broadcast_to(np.reshape(expected, (3, 1, 1)), patches.shape), rtol=1e-6)


def test_padding_is_black_at_the_right_and_the_bottom():
    patches, grid = OFFICIAL(Image.new("RGB", (100, 75), "white"))
    picture = unpatch(patches, grid)
    assert picture.shape == (84, 112, 3)
    assert (picture[:75, :100] == 1).all() and (picture[75:] == -1).all() and (picture[:, 100:] == -1).all()


def test_shrinking_is_bicubic_with_antialiasing():
    picture = noise(100, 60)
    patches, grid = ImageProcessor(patch_size=8, in_token_limit=40)(picture)
    expected = np.asarray(picture.resize((69, 41), Image.Resampling.BICUBIC)).astype(np.float32) / 127.5 - 1
    np.testing.assert_allclose(unpatch(patches, grid)[:41, :69], expected, atol=1e-6)


# ---- upright -------------------------------------------------------------------------------------------------------

CORNERS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
# EXIF orientation → where the stored top-left, top-right, bottom-left and bottom-right corners have to be seen, by the
# definition of the tag ("2: row 0 is the top, column 0 the right side" and so on).
SEEN = {
    1: ("tl", "tr", "bl", "br"),
    2: ("tr", "tl", "br", "bl"),
    3: ("br", "bl", "tr", "tl"),
    4: ("bl", "br", "tl", "tr"),
    5: ("tl", "bl", "tr", "br"),
    6: ("tr", "br", "tl", "bl"),
    7: ("br", "tr", "bl", "tl"),
    8: ("bl", "tl", "br", "tr"),
}


def four_corners() -> Image.Image:
    """48×32: a red, a green, a blue and a white quarter."""
    picture = Image.new("RGB", (48, 32))
    for (x, y), colour in zip([(0, 0), (24, 0), (0, 16), (24, 16)], CORNERS.values()):
        picture.paste(colour, (x, y, x + 24, y + 16))
    return picture


def seen_corners(picture: Image.Image) -> dict[str, str]:
    """Place → name of the nearest colour."""
    places = {"tl": (0.25, 0.25), "tr": (0.75, 0.25), "bl": (0.25, 0.75), "br": (0.75, 0.75)}
    pixels = np.asarray(picture).astype(int)
    seen = {}
    for place, (x, y) in places.items():
        pixel = pixels[int(y * picture.height), int(x * picture.width)]
        seen[place] = min(CORNERS, key=lambda name: np.abs(pixel - CORNERS[name]).sum())
    return seen


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_the_orientation_of_a_camera_is_applied(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo.{suffix}"
    four_corners().save(path, exif=exif.tobytes(), **({"quality": 95, "subsampling": 0} if suffix == "jpg" else {}))
    expected = dict(zip(SEEN[orientation], CORNERS))
    assert seen_corners(load_rgb(path)) == expected
    with Image.open(path) as lazy:
        assert seen_corners(load_rgb(lazy)) == expected
    grid = ImageProcessor(patch_size=8)(path)[1]
    assert grid == ((4, 6) if orientation < 5 else (6, 4))


def test_an_upright_picture_is_not_turned_again():
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    four_corners().save(buffer, "PNG", exif=exif.tobytes())
    once = load_rgb(Image.open(buffer))
    assert seen_corners(load_rgb(once)) == seen_corners(once)


# ---- modes ---------------------------------------------------------------------------------------------------------


def saved_and_opened(picture: Image.Image, format: str = "PNG", **options) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return Image.open(io.BytesIO(buffer.getvalue()))


def colour_of(picture: Image.Image) -> tuple[int, ...]:
    """The one colour of a picture of one colour."""
    rgb = load_rgb(picture)
    assert rgb.mode == "RGB"
    colours = rgb.getcolors()
    assert colours is not None and len(colours) == 1
    return colours[0][1]


def palette(transparent: bool) -> Image.Image:
    picture = Image.new("P", (30, 20), 1)
    picture.putpalette([10, 20, 30, 200, 100, 50])
    return saved_and_opened(picture, transparency=1) if transparent else saved_and_opened(picture)


def lab() -> Image.Image:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.profileToProfile(Image.new("RGB", (30, 20), (200, 100, 50)), *profiles, outputMode="LAB")


@pytest.mark.parametrize(
    ("picture", "colour"),
    [
        (Image.new("1", (30, 20), 1), (255, 255, 255)),
        (Image.new("L", (30, 20), 77), (77, 77, 77)),
        (Image.new("RGB", (30, 20), (200, 100, 50)), (200, 100, 50)),
        (Image.new("RGBX", (30, 20), (200, 100, 50, 9)), (200, 100, 50)),
        (Image.new("CMYK", (30, 20), (55, 155, 205, 0)), (200, 100, 50)),
        (Image.new("RGB", (30, 20), (200, 100, 50)).convert("YCbCr"), (200, 100, 50)),
        (Image.new("RGB", (30, 20), (200, 100, 50)).convert("HSV"), (200, 100, 50)),
        (lab(), (200, 100, 50)),
        (palette(transparent=False), (200, 100, 50)),
        (Image.new("RGBA", (30, 20), (200, 100, 50, 255)), (200, 100, 50)),
        (Image.new("LA", (30, 20), (77, 255)), (77, 77, 77)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "",
)
def test_opaque_pictures_of_every_mode_keep_their_colour(picture, colour):
    np.testing.assert_allclose(colour_of(picture), colour, atol=3)


@pytest.mark.parametrize(
    ("picture", "colour"),
    [
        (Image.new("RGBA", (30, 20), (0, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (30, 20), (200, 100, 0, 51)), (244, 224, 204)),  # a fifth of the colour, four fifths white
        (Image.new("RGBA", (30, 20), (200, 100, 0, 51)).convert("RGBa"), (244, 224, 204)),
        (Image.new("LA", (30, 20), (0, 51)), (204, 204, 204)),
        (Image.new("LA", (30, 20), (0, 51)).convert("La"), (204, 204, 204)),
        (Image.new("RGBA", (30, 20), (0, 0, 0, 0)).convert("PA"), (255, 255, 255)),
        (palette(transparent=True), (255, 255, 255)),
        (saved_and_opened(Image.new("RGB", (30, 20), (9, 9, 9)), transparency=(9, 9, 9)), (255, 255, 255)),
        (saved_and_opened(Image.new("L", (30, 20), 9), transparency=9), (255, 255, 255)),
        (saved_and_opened(Image.new("RGBA", (30, 20), (0, 0, 0, 0)), "WEBP", lossless=True), (255, 255, 255)),
        (saved_and_opened(Image.new("RGBA", (30, 20), (0, 0, 0, 0)), "GIF"), (255, 255, 255)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "",
)
def test_transparency_shows_white(picture, colour):
    np.testing.assert_allclose(colour_of(picture), colour, atol=1)


def grey(values: list[list[float]], dtype: str) -> Image.Image:
    return Image.fromarray(np.array(values, dtype))


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (grey([[0, 257, 65535, 32896]], "uint16"), [0, 1, 255, 128]),
        (saved_and_opened(grey([[0, 257, 65535, 32896]], "uint16")), [0, 1, 255, 128]),
        (saved_and_opened(grey([[0, 257, 65535, 32896]], "uint16"), "TIFF"), [0, 1, 255, 128]),
        (grey([[0, 1, 254]], "int32"), [0, 1, 254]),
        (grey([[0, 257, 65535]], "int32"), [0, 1, 255]),
        (grey([[-100, 0, 155]], "int32"), [0, 100, 255]),
        (grey([[0, 100_000]], "int32"), [0, 255]),
        (grey([[0, 0.5, 1]], "float32"), [0, 128, 255]),
        (grey([[0, 100, 200.4]], "float32"), [0, 100, 200]),
        (grey([[-1, 0, 1]], "float32"), [0, 128, 255]),
        (grey([[7e6, 7e6]], "float32"), [0, 0]),
        (saved_and_opened(grey([[0.25, 0.75]], "float32"), "TIFF"), [64, 191]),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "",
)
def test_greys_of_more_than_eight_bits_are_scaled_not_clipped(picture, expected):
    rgb = np.asarray(load_rgb(picture))
    np.testing.assert_array_equal(rgb[0].T, [expected] * 3)


def test_a_16_bit_grey_that_is_named_transparent_shows_white():
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 2, 1, 16, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" + struct.pack(">HH", 1000, 2570))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"tRNS", struct.pack(">H", 1000)) + chunk(b"IDAT", pixels)
    rgb = load_rgb(Image.open(io.BytesIO(png + chunk(b"IEND", b""))))
    assert [pixel[0] for pixel in np.asarray(rgb)[0]] == [255, 10]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_float_picture_must_be_finite(value):
    with pytest.raises(ImageError, match="not finite"):
        load_rgb(grey([[0, value]], "float32"))


def test_the_picture_of_the_caller_is_left_as_it_was():
    picture = Image.new("RGBA", (30, 20), (200, 100, 0, 51))
    before = picture.copy()
    OFFICIAL(picture)
    assert picture == before


def test_an_animation_gives_its_first_frame(tmp_path):
    first, second = Image.new("RGB", (30, 20), "red"), Image.new("RGB", (30, 20), "blue")
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    assert load_rgb(tmp_path / "a.gif").getpixel((0, 0)) == (255, 0, 0)


# ---- what cannot be used -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"])
def test_a_truncated_file_is_named(tmp_path, format):
    buffer = io.BytesIO()
    noise(200, 200).save(buffer, format)
    path = tmp_path / f"cut.{format.lower()}"
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(ImageError, match=rf"cut\.{format.lower()}: (damaged or cut off|not a picture)"):
        load_rgb(path)


def test_a_damaged_picture_in_memory_is_described():
    buffer = io.BytesIO()
    noise(200, 200).save(buffer, "PNG")
    lazy = Image.open(io.BytesIO(buffer.getvalue()[:20_000]))
    with pytest.raises(ImageError, match=r"image in memory \(RGB, 200×200\): damaged"):
        OFFICIAL(lazy)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>"])
def test_a_file_that_is_no_picture_is_named(tmp_path, content):
    (tmp_path / "odd.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"odd\.png: (not a picture|damaged)"):
        load_rgb(tmp_path / "odd.png")


def test_a_picture_that_another_program_would_have_to_draw_is_refused(tmp_path):
    noise(20, 20).save(tmp_path / "drawn.eps")
    with pytest.raises(ImageError, match=r"drawn\.eps: EPS is a program"):
        load_rgb(tmp_path / "drawn.eps")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "no.png", tmp_path):
        with pytest.raises(ImageError, match=f"{path}: there is no such file"):
            load_rgb(path)


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_a_picture_without_pixels_is_refused(size):
    with pytest.raises(ImageError, match=f"has no pixels \\({size[0]}×{size[1]}\\)"):
        load_rgb(Image.new("RGB", size))


@pytest.mark.parametrize("side", [9_500, 30_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path, side):
    buffer = io.BytesIO()
    Image.new("1", (1, 1)).save(buffer, "PNG")
    png = bytearray(buffer.getvalue())
    png[16:24] = struct.pack(">II", side, side)
    png[29:33] = struct.pack(">I", zlib.crc32(bytes(png[12:29])))
    (tmp_path / "bomb.png").write_bytes(png)
    assert side * side > MAX_PIXELS
    with pytest.raises(ImageError, match=r"bomb\.png: .*89,478,485 pixels; make it smaller"):
        load_rgb(tmp_path / "bomb.png")


@pytest.mark.parametrize(
    "options", [{"patch_size": 0}, {"merge": 0}, {"in_token_limit": 0}, {"mean": (0.5, 0.5)}, {"std": (0.5, 0.0, 0.5)}]
)
def test_impossible_settings_are_refused(options):
    with pytest.raises(ValueError, match="must be at least 1|three values"):
        ImageProcessor(**options)
