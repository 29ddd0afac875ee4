"""Clips become time labels and frames, in order, from every kind of source."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kimivl.processor.clip import clip_parts, clip_parts_from_file, sampled_indices, time_label
from kimivl.processor.image import ImageError, load_rgb
from kimivl.processor.messages import ImagePart, TextPart

COLOURS = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0), (0, 250, 250), (250, 0, 250)]


def frames(mode: str = "RGB") -> list[Image.Image]:
    return [Image.new("RGB", (24, 16), colour).convert(mode) for colour in COLOURS]


def save_animation(path: Path, **options) -> Path:
    first, *rest = frames()
    first.save(path, save_all=True, append_images=rest, **options)
    return path


def labels(parts) -> list[str]:
    return [part.text for part in parts if isinstance(part, TextPart)]


def colours(parts) -> list[int]:
    """Which of COLOURS each frame shows."""
    seen = [np.asarray(load_rgb(part.image))[8, 12].astype(int) for part in parts if isinstance(part, ImagePart)]
    return [min(range(6), key=lambda index: np.abs(pixel - COLOURS[index]).sum()) for pixel in seen]


def test_a_label_stands_before_each_frame():
    red, green = frames()[:2]
    assert clip_parts([red, green], [0, 0.5], max_frames=8) == (
        TextPart("0.0s"),
        ImagePart(red),
        TextPart("0.5s"),
        ImagePart(green),
    )


def test_files_are_passed_on_unopened():
    parts = clip_parts(["a.png", Path("b.png")], [0, 1], max_frames=8)
    assert [part.image for part in parts if isinstance(part, ImagePart)] == [Path("a.png"), Path("b.png")]


@pytest.mark.parametrize(
    ("count", "room", "expected"),
    [
        (3, 8, [0, 1, 2]),
        (4, 4, [0, 1, 2, 3]),
        (5, 3, [0, 2, 4]),
        (9, 5, [0, 2, 4, 6, 8]),
        (100, 2, [0, 99]),
        (100, 1, [50]),
        (1, 1, [0]),
    ],
)
def test_sampling_is_even_and_keeps_both_ends(count, room, expected):
    assert sampled_indices(count, room) == expected


def test_sampling_never_takes_a_frame_twice_or_leaves_a_large_gap():
    for count in range(1, 60):
        for room in range(2, 20):
            indices = sampled_indices(count, room)
            assert len(indices) == min(count, room) and indices[0] == 0 and indices[-1] == count - 1
            gaps = [later - earlier for earlier, later in zip(indices, indices[1:])]
            assert not gaps or (min(gaps) >= 1 and max(gaps) - min(gaps) <= 1)


@pytest.mark.parametrize(
    ("seconds", "label"), [(0, "0.0s"), (0.5, "0.5s"), (1 / 30, "0.03s"), (12, "12.0s"), (59.999, "60.0s"), (3723.25, "3723.25s")]
)
def test_labels(seconds, label):
    assert time_label(seconds) == label


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_an_animation_brings_its_own_times(tmp_path, suffix):
    path = save_animation(tmp_path / f"a.{suffix}", duration=[500, 500, 1000, 100, 100, 100])
    parts = clip_parts_from_file(path, max_frames=8)
    assert labels(parts) == ["0.0s", "0.5s", "1.0s", "2.0s", "2.1s", "2.2s"]
    assert colours(parts) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_frames_are_sampled_evenly_from_a_file(tmp_path, suffix):
    path = save_animation(tmp_path / f"a.{suffix}", **({} if suffix == "tiff" else {"duration": 100}))
    parts = clip_parts_from_file(path, max_frames=2, fps=4)
    assert (labels(parts), colours(parts)) == (["0.0s", "1.25s"], [0, 5])


def test_a_frame_of_no_duration_lasts_a_tenth_of_a_second(tmp_path):
    path = save_animation(tmp_path / "a.gif", duration=[0, 0, 0, 500, 0, 0])
    assert labels(clip_parts_from_file(path, max_frames=3)) == ["0.0s", "0.2s", "0.9s"]


def test_pages_need_a_rate(tmp_path):
    with pytest.raises(ImageError, match=r"pages\.tiff: .*give fps"):
        clip_parts_from_file(save_animation(tmp_path / "pages.tiff"), max_frames=3)


def test_a_rate_of_zero_is_refused(tmp_path):
    with pytest.raises(ValueError, match="fps must be above zero, got 0"):
        clip_parts_from_file(save_animation(tmp_path / "a.gif", duration=100), max_frames=3, fps=0)


def test_a_still_picture_is_a_clip_of_one_frame(tmp_path):
    frames()[2].save(tmp_path / "still.png")
    parts = clip_parts_from_file(tmp_path / "still.png", max_frames=3)
    assert (labels(parts), colours(parts)) == (["0.0s"], [2])


def test_transparent_frames_show_white(tmp_path):
    empty = Image.new("RGBA", (24, 16), (0, 0, 0, 0))
    red = Image.new("RGBA", (24, 16), (250, 0, 0, 255))
    empty.save(tmp_path / "a.webp", save_all=True, append_images=[red], duration=100, lossless=True)
    first, second = [part.image for part in clip_parts_from_file(tmp_path / "a.webp", 2) if isinstance(part, ImagePart)]
    assert first.getpixel((0, 0)) == (255, 255, 255)
    assert second.getpixel((0, 0)) == (250, 0, 0)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_a_clip_cut_off_in_the_middle_is_named(tmp_path, suffix):
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)) for _ in range(4)]
    path = tmp_path / f"cut.{suffix}"
    noise[0].save(path, save_all=True, append_images=noise[1:])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 5])
    with pytest.raises(ImageError, match=rf"cut\.{suffix}"):
        clip_parts_from_file(path, max_frames=4, fps=1)


def test_a_missing_clip_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"no\.gif: there is no such file"):
        clip_parts_from_file(tmp_path / "no.gif", max_frames=4)


@pytest.mark.parametrize(
    ("count", "times", "room", "named"),
    [
        (2, [0], 4, "2 frames and 1 times"),
        (2, [1, 0.5], 4, "never fall"),
        (1, [-1], 4, "zero or later"),
        (0, [], 4, "0 frames"),
        (2, [0, 1], 0, "max_frames 0"),
    ],
)
def test_frames_times_and_room_must_make_sense(count, times, room, named):
    with pytest.raises(ValueError, match=named):
        clip_parts(frames()[:count], times, room)
