"""Pages of PDFs and frames of videos as pictures.

What it is: `load_frame`, which makes an upright RGB picture of a page or a frame, and `page_sizes` and `film`, which find out
once, when a manifest is made, what that needs: the sizes of all pages, the time stamps of all frames.
What it is not: how a clip is spoken of (`clip.py`), or which frames are taken.
A frame is found by its time stamp: decoding starts at the key frame before it and not at the first one. Where that does not give
just this frame (streams with open groups of pictures), it starts again from the first frame; the picture is the same either way.
Pixels of video are taken as square. Facts: `reference/data.md` §7.
"""

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any

from PIL import Image

from kimivl.processor.image import MAX_PIXELS, ImageError, Size, guarded, image_name
from kimivl.processor.stored import FetchedPicture

PDF = "application/pdf"
PAGE_DPI = 144  # pages have no pixels of their own; at twice the points of PDF, small print is still read
_TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
_ONE_AT_A_TIME = threading.Lock()  # PDFium is not made for threads


@dataclass(frozen=True)
class Film:
    """A video. `size`: upright (W, H) of all frames. `pts`: when each is shown, in units of `time_base`, a fraction of a
    second."""

    size: Size
    pts: tuple[int, ...]
    time_base: str


def load_frame(picture: FetchedPicture) -> Image.Image:
    """The page or frame in mode RGB, upright. Errors: ImageError naming it: damaged, or not there; ValueError without the library
    that reads it."""
    stored, name = picture.stored, image_name(picture)
    assert stored.frame is not None
    if stored.media_type == PDF:
        return _page(picture.data, stored.frame, name)
    return _frame(picture.data, stored.frame, stored.pts, name)


def page_sizes(data: bytes, name: str) -> list[Size]:
    """(W, H) of every page as `load_frame` draws it. Errors: ImageError about `name`."""
    with _ONE_AT_A_TIME:
        document = _document(data, name)
        try:
            return [_page_size(guarded(partial(document.get_page_size, number), name), name) for number in range(len(document))]
        finally:
            document.close()


def film(data: bytes, name: str) -> Film:
    """Decodes the whole video once, since what a container says of its frames need not be what its decoder gives.

    Errors: ImageError about `name`: damaged, no frames, frames of several sizes, or time stamps that are missing or do not rise.
    """
    pts: list[int] = []
    sizes: set[Size] = set()
    time_base = ""
    for frame in _frames(data, name):
        if frame.pts is None or (pts and frame.pts <= pts[-1]):
            raise ImageError(f"{name}: frame {len(pts)} has no time stamp above that before it: write it anew, as MP4")
        pts.append(frame.pts)
        sizes.add((frame.height, frame.width) if frame.rotation % 180 else (frame.width, frame.height))
        time_base = f"{frame.time_base.numerator}/{frame.time_base.denominator}"
    if len(sizes) != 1:
        raise ImageError(f"{name}: " + (f"its frames have several sizes {sorted(sizes)}: cut it there" if sizes else "no frames"))
    (size,) = sizes
    _check_size(size, name)
    return Film(size, tuple(pts), time_base)


def _page(data: bytes, number: int, name: str) -> Image.Image:
    with _ONE_AT_A_TIME:
        document = _document(data, name)
        try:
            if number >= len(document):
                raise ImageError(f"{name}: it has {len(document)} pages, there is no page {number + 1}")
            _page_size(guarded(partial(document.get_page_size, number), name), name)
            picture = guarded(lambda: document[number].render(scale=PAGE_DPI / 72).to_pil(), name)
            return picture.convert("RGB")
        finally:
            document.close()


def _page_size(points: tuple[float, float], name: str) -> Size:
    width, height = (math.ceil(side * (PAGE_DPI / 72)) for side in points)
    _check_size((width, height), name)
    return width, height


def _check_size(size: Size, name: str) -> None:
    if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        raise ImageError(f"{name}: {size[0]}×{size[1]} pixels is none or more than {MAX_PIXELS:,}: scale it first")


def _document(data: bytes, name: str) -> Any:
    try:
        import pypdfium2  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise ValueError(f"{name}: PDF pages need pypdfium2: pip install 'kimivl[documents]'") from None
    try:
        return pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise ImageError(f"{name}: the PDF is locked with a password: save it without one") from None
        raise ImageError(f"{name}: damaged or no PDF ({error})") from None


def _frame(data: bytes, number: int, pts: int | None, name: str) -> Image.Image:
    found = None if pts is None else _frame_at(data, pts, name)
    if found is None:
        found = next((frame for index, frame in enumerate(_frames(data, name)) if index == number), None)
    if found is None:
        raise ImageError(f"{name}: the video has no frame {number}")
    picture = guarded(lambda: found.to_image(), name)
    turn = found.rotation % 360
    if turn and turn not in _TURNS:
        raise ImageError(f"{name}: its frames are turned by {turn} degrees: write them upright")
    return picture.transpose(_TURNS[turn]) if turn else picture


def _frame_at(data: bytes, pts: int, name: str) -> Any:
    """The frame shown at `pts`, read from the key frame before it; None where that does not give it whole."""
    for frame in _frames(data, name, pts):
        if frame.pts is None or frame.pts > pts or frame.is_corrupt:
            return None
        if frame.pts == pts:
            return frame
    return None


def _frames(data: bytes, name: str, start: int | None = None) -> Iterator[Any]:
    """The frames of the first video stream, from the key frame before the time stamp `start` if given."""
    try:
        import av
    except ModuleNotFoundError:
        raise ValueError(f"{name}: videos need PyAV: pip install 'kimivl[documents]'") from None
    with guarded(lambda: av.open(BytesIO(data), mode="r"), name) as container:
        if not container.streams.video:
            raise ImageError(f"{name}: there is no video stream in it")
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # many are decoded at once
        if start is not None:
            try:
                container.seek(start, stream=stream)
            except av.FFmpegError:  # a container without an index
                return
        frames = container.decode(stream)
        while (frame := guarded(lambda: next(frames, None), name)) is not None:
            yield frame
