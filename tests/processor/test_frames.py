"""Pages and frames: the pixels that other ways of reading give, found by time stamp or by counting."""

import io
from fractions import Fraction

import av
import numpy as np
import pypdfium2
import pytest
from PIL import Image

from kimivl.processor import frames
from kimivl.processor.frames import PAGE_DPI, PDF, film, load_frame, page_sizes
from kimivl.processor.image import ImageError, load_rgb
from kimivl.processor.stored import FetchedPicture, StoredBytes, StoredPicture
from tests.data.index.originals import write_video

CODECS = [
    ("a.mp4", "libx264", {"g": "12", "bf": "3"}), ("a.webm", "libvpx-vp9", {"g": "12"}), ("a.mkv", "libvpx", {"g": "12"}),
    ("a.gif", "gif", {}), ("open.mp4", "libx265", {"g": "12", "x265-params": "open-gop=1:log-level=none"}),
]  # fmt: skip


def fetched(data: bytes, media_type: str, frame: int | None, pts: int | None = None) -> FetchedPicture:
    return FetchedPicture(StoredPicture("it", StoredBytes("file:///it", "", 0, 0, ""), media_type, 1, 1, frame, pts), data)


def sequential(data: bytes) -> list[np.ndarray]:
    with av.open(io.BytesIO(data)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize(("name", "codec", "options"), CODECS)
def test_a_frame_is_what_reading_the_whole_video_gives(tmp_path, name, codec, options):
    write_video(tmp_path / name, 30, codec, **options)
    data = (tmp_path / name).read_bytes()
    found, shown = film(data, name), sequential(data)
    assert found.size == (64, 48) and len(found.pts) == len(shown) == 30
    unit = Fraction(found.time_base)
    assert [round(float((pts - found.pts[0]) * unit), 2) for pts in found.pts] == [round(0.1 * n, 2) for n in range(30)]
    for number, pixels in enumerate(shown):
        for pts in (found.pts[number], None):
            assert np.array_equal(np.asarray(load_frame(fetched(data, "video/any", number, pts))), pixels)


def test_a_frame_is_found_without_reading_from_the_start(tmp_path, monkeypatch):
    """Key frames lie 10 apart, so that frame 25 takes six frames and not 26."""
    write_video(tmp_path / "a.mp4", 30, g="10", bf="0", sc_threshold="0")
    data = (tmp_path / "a.mp4").read_bytes()
    wanted, read, whole = fetched(data, "video/mp4", 25, film(data, "a").pts[25]), [], frames._frames
    monkeypatch.setattr(frames, "_frames", lambda *how: (read.append(frame) or frame for frame in whole(*how)))
    load_frame(wanted)
    assert [frame.pts for frame in read] == list(film(data, "a").pts[20:26])


def turned(data: bytes) -> bytes:
    """With the matrix of a phone held upright in the track's header: (x, y) → (−y, x), a quarter turn clockwise."""
    one, nothing = (1 << 16).to_bytes(4, "big"), bytes(4)
    straight = one + nothing * 3 + one + nothing * 3 + (1 << 30).to_bytes(4, "big")
    quarter = nothing + one + nothing + (-(1 << 16)).to_bytes(4, "big", signed=True) + nothing * 4 + straight[-4:]
    at = data.index(straight, data.index(b"tkhd"))
    return data[:at] + quarter + data[at + len(straight) :]


def test_frames_stand_upright(tmp_path):
    write_video(tmp_path / "a.mp4", 3)
    data = (tmp_path / "a.mp4").read_bytes()
    clockwise = [np.rot90(pixels, -1) for pixels in sequential(data)]
    assert film(turned(data), "a").size == (48, 64)
    assert all(np.array_equal(np.asarray(load_frame(fetched(turned(data), "video/mp4", n))), clockwise[n]) for n in range(3))


def book(*sizes: tuple[int, int]) -> bytes:
    """Pages of those sizes in points, each of one grey."""
    pages = [Image.new("L", size, 50 * number) for number, size in enumerate(sizes, start=1)]
    file = io.BytesIO()
    pages[0].save(file, "PDF", resolution=72, save_all=True, append_images=pages[1:])
    return file.getvalue()


def poster() -> bytes:
    """An empty page of 10,000 points a side."""
    document, file = pypdfium2.PdfDocument.new(), io.BytesIO()
    document.new_page(10_000, 10_000)
    document.save(file)
    return file.getvalue()


def test_a_page_is_drawn_at_the_size_that_was_told_before():
    data = book((200, 301), (99, 50))
    sizes = page_sizes(data, "book")
    assert sizes == [(points[0] * PAGE_DPI // 72, points[1] * PAGE_DPI // 72) for points in ((200, 301), (99, 50))]
    for page, size in enumerate(sizes):
        picture = load_rgb(fetched(data, PDF, page))  # as training asks for it
        assert (picture.mode, picture.size) == ("RGB", size)
        assert abs(int(np.asarray(picture)[20, 20, 0]) - 50 * (page + 1)) <= 2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: page_sizes(b"%PDF-1.4 rubbish", "image it"), "image it: damaged or no PDF"),
        (lambda: load_frame(fetched(book((20, 20)), PDF, 1)), "it has 1 pages, there is no page 2"),
        (lambda: page_sizes(poster(), "image it"), "image it: 20000×20000 pixels is none or more than"),
        (lambda: film(b"rubbish" * 100, "image it"), "image it: damaged or cut off"),
        (lambda: load_frame(fetched(b"rubbish" * 100, "video/mp4", 0)), "image it .*damaged or cut off"),
    ],
)
def test_what_cannot_be_read_is_named(call, words):
    with pytest.raises(ImageError, match=words):
        call()


def test_a_frame_that_is_not_there_and_sound_without_pictures(tmp_path):
    write_video(tmp_path / "a.mp4", 3)
    with pytest.raises(ImageError, match="the video has no frame 3"):
        load_frame(fetched((tmp_path / "a.mp4").read_bytes(), "video/mp4", 3))
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(ImageError, match="there is no video stream"):
        film((tmp_path / "a.wav").read_bytes(), "image it")
