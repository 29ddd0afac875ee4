"""Pictures of many samples, decoded into one array."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kimivl.processor.image import ImageProcessor
from kimivl.processor.messages import ImagePart
from kimivl.processor.pictures import Pictures, Undecodable, decode
from kimivl.processor.stored import CorruptObject, StoredBytes, StoredPicture

IMAGES = ImageProcessor(patch_size=4)


@pytest.fixture
def files(tmp_path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for number, path in enumerate(paths):
        pixels = np.random.default_rng(number).integers(0, 256, (8 + 5 * number, 21, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return paths


def wanted(*files: Path) -> Pictures:
    return Pictures(tuple(map(ImagePart, files)), tuple(IMAGES(file)[1] for file in files), None)


def stored(*files: Path) -> Pictures:
    parts = []
    for file in files:
        place = StoredBytes(f"s3://bucket/{file.name}", "", 0, file.stat().st_size, "")
        with Image.open(file) as image:
            parts.append(ImagePart(StoredPicture(file.name, place, "image/png", *image.size)))
    return Pictures(tuple(parts), tuple(IMAGES(file)[1] for file in files), None)


@dataclass
class Store:
    """Answers with the files of a folder and keeps what it was asked for."""

    folder: Path
    corrupt: str = ""

    def __post_init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, places):
        names = [place.url.rpartition("/")[2] for place in places]
        self.asked.append(names)
        if self.corrupt in names:
            raise CorruptObject(self.corrupt, "is not what was indexed")
        return [(self.folder / name).read_bytes() for name in names]


def decoded(samples: list[Pictures], fetch=None) -> np.ndarray:
    out = np.full((sum(each.patches for each in samples), 3, 4, 4), np.nan, np.float32)
    decode(samples, IMAGES, out, fetch)
    return out


def test_patches_lie_one_sample_after_the_other_and_fill_the_array(files):
    expected = np.concatenate([IMAGES(file)[0] for file in files])
    assert np.array_equal(decoded([wanted(*files[:2]), Pictures((), (), None), wanted(*files[2:])]), expected)


def test_what_lies_in_a_store_is_asked_for_all_at_once(files, tmp_path):
    store = Store(tmp_path)
    found = decoded([stored(files[0]), wanted(files[1]), stored(files[2], files[3])], store)
    assert store.asked == [["0.png", "2.png", "3.png"]]
    assert np.array_equal(found, np.concatenate([IMAGES(file)[0] for file in files[:4]]))


class Held(bytes):
    """Of an original; `bytes_held` is what all of them take."""

    bytes_held = 0

    def __new__(cls, data):
        cls.bytes_held += len(data)
        return super().__new__(cls, data)

    def __del__(self):
        Held.bytes_held -= len(self)


def test_no_more_than_a_bound_of_originals_is_held_and_each_comes_once(files, tmp_path, monkeypatch):
    """The bound holds two of the three originals, which the samples show in turns; the patches are those of plain files."""
    sizes, most = [file.stat().st_size for file in files], 0
    monkeypatch.setattr("kimivl.processor.pictures.AT_ONCE", max(sizes[0] + sizes[1], sizes[2]))
    store = Store(tmp_path)

    def fetch(places):
        nonlocal most
        assert Held.bytes_held == 0  # what was there before is gone
        found = [Held(data) for data in store(places)]
        most = max(most, Held.bytes_held)
        return found

    shown = [(0, 1, 2), (2, 1, 0), (1,), (2, 0)]
    samples = [stored(*(files[number] for number in numbers)) for numbers in shown]
    samples.insert(2, wanted(files[3]))
    expected = [IMAGES(files[number])[0] for number in (*shown[0], *shown[1], 3, *shown[2], *shown[3])]
    assert np.array_equal(decoded(samples, fetch), np.concatenate(expected))
    assert store.asked == [["0.png", "1.png"], ["2.png"]] and 0 < most <= max(sizes[0] + sizes[1], sizes[2])


def test_an_original_above_the_bound_comes_alone(files, tmp_path, monkeypatch):
    monkeypatch.setattr("kimivl.processor.pictures.AT_ONCE", 1)
    store = Store(tmp_path)
    found = decoded([stored(files[0], files[1]), stored(files[0])], store)
    assert store.asked == [["0.png"], ["1.png"]]
    assert np.array_equal(found, np.concatenate([IMAGES(files[number])[0] for number in (0, 1, 0)]))


def test_deflated_originals_count_as_the_pixels_that_they_may_become(files, tmp_path, monkeypatch):
    """8 rows of 21 pixels are 504 bytes, 13 rows are 819, whatever lies in the store."""
    monkeypatch.setattr("kimivl.processor.pictures.AT_ONCE", 504 + 819 - 1)
    store, sample = Store(tmp_path), stored(files[0], files[1])
    deflated = [replace(part.image, place=replace(part.image.place, length=9, deflated=True)) for part in sample.parts]
    decoded([replace(sample, parts=tuple(map(ImagePart, deflated)))], store)
    assert store.asked == [["0.png"], ["1.png"]]


def test_a_corrupt_object_is_told_to_its_sample(files, tmp_path):
    with pytest.raises(Undecodable) as raised:
        decoded([stored(files[0]), stored(files[1], files[2]), stored(files[3])], Store(tmp_path, corrupt="2.png"))
    assert raised.value.index == 1 and isinstance(raised.value.cause, CorruptObject)


def test_a_picture_that_was_replaced_is_named(files):
    sample = wanted(files[0], files[1])
    Image.new("RGB", (40, 40)).save(files[1])
    with pytest.raises(Undecodable) as raised:
        decoded([wanted(files[2]), sample])
    assert raised.value.index == 1
    assert str(raised.value.cause) == f"image {files[1]}: (10, 10) patches where its header told (4, 6); was it replaced?"


@pytest.mark.parametrize("patch_size", [4, 14, 50])
@pytest.mark.parametrize("size", [(256, 1), (300, 200), (56, 56)])
def test_all_256_values_become_floats_by_three_roundings_for_every_mean_and_deviation(patch_size, size):
    """Equal to the bit; also where a picture is cut in several goes, and into memory that held something else."""
    mean, std = (0.48145466, 0.5, 0.40821073), (0.26862954, 0.5, 0.27577711)
    images = ImageProcessor(patch_size=patch_size, mean=mean, std=std)
    values = np.arange(size[0] * size[1] * 3).reshape(size[1], size[0], 3) * 7 % 256
    (h, w), p = images.grid(size), patch_size
    padded = np.zeros((h * p, w * p, 3), np.float32)
    padded[: size[1], : size[0]] = values
    expected = (padded / np.float32(255) - np.array(mean, np.float32)) / np.array(std, np.float32)
    expected = expected.reshape(h, p, w, p, 3).transpose(0, 2, 4, 1, 3).reshape(h * w, 3, p, p)
    out = np.full((h * w, 3, p, p), np.nan, np.float32)
    assert images.cut(values.astype(np.uint8), (h, w), out) is out and np.array_equal(out, expected)
    assert np.array_equal(images.cut(values.astype(np.uint8), (h, w)), expected)
