"""The pictures of samples, planned and then decoded into one array; all that happens between the plan of a pack and its patches.

What it is: `Pictures`, those of one sample as the plan knows them, and `decode`, which fetches and decodes those of many samples.
What it is not: the rendering of texts (`processor.py`), or the rule that turns a picture into patches (`image.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kimivl.processor.image import ImageError, ImageProcessor, ImageSource, image_name, load_rgb
from kimivl.processor.messages import ImagePart
from kimivl.processor.stored import CorruptObject, Fetch, FetchedPicture, StoredPicture


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures of one sample before they are decoded. `grids`: patch rows and columns of each; `limit`: patch budget of each."""

    parts: tuple[ImagePart, ...]
    grids: tuple[tuple[int, int], ...]
    limit: int | None

    @property
    def patches(self) -> int:
        """P, of all pictures."""
        return sum(rows * columns for rows, columns in self.grids)


class Undecodable(Exception):
    """The pictures of sample number `index` cannot be used, whatever is tried again; `cause` says why."""

    def __init__(self, index: int, cause: ImageError | CorruptObject):
        super().__init__(index, cause)
        self.index, self.cause = index, cause


def decode(
    wanted: Sequence[Pictures], images: ImageProcessor, out: np.ndarray, fetch: Fetch | None = None,
    next_sample: Callable[[], object] = lambda: None,
) -> None:  # fmt: skip
    """The patches of all pictures, one after the other.

    Args:
        out: float32 [P, 3, p, p], where they go.
        fetch: gets the bytes of pictures that lie in a store.
        next_sample: called before the pictures of each sample are decoded.
    Raises: Undecodable; ValueError for a picture in a store without `fetch`; what `fetch` raises.
    """
    fetch = fetch and _together(wanted, fetch)
    start = 0
    for index, pictures in enumerate(wanted):
        next_sample()
        try:
            decode_one(pictures, images, out[start : start + pictures.patches], fetch)
        except (ImageError, CorruptObject) as error:
            raise Undecodable(index, error) from error
        start += pictures.patches


def decode_one(pictures: Pictures, images: ImageProcessor, out: np.ndarray, fetch: Fetch | None = None) -> None:
    """The patches of one sample's pictures; arguments as of `decode`. Raises: ImageError naming a picture, and as `decode`."""
    start = 0
    for part, (rows, columns) in zip(at_hand(pictures.parts, fetch), pictures.grids):
        pixels_HWC, grid = images.pixels(as_changed(part), pictures.limit)
        if grid != (rows, columns):
            raise ImageError(
                f"{image_name(part.image)}: {grid} patches where its header told {(rows, columns)}; was it replaced?"
            )
        images.cut(pixels_HWC, grid, out[start : start + rows * columns])
        start += rows * columns


def _together(wanted: Sequence[Pictures], fetch: Fetch) -> Fetch:
    """Gets all that the samples need at once, so that neighbours in a store become one request."""
    places = list(
        dict.fromkeys(picture.place for pictures in wanted for picture in _stored(pictures.parts))
    )  # frames share a video
    try:
        contents = dict(zip(places, fetch(places)))
    except CorruptObject:
        return fetch  # one sample after the other, which tells whose it is
    return lambda of_sample: [contents[place] for place in of_sample]


def at_hand(parts: Sequence[ImagePart], fetch: Fetch | None) -> list[ImagePart]:
    """The parts with what lies in a store fetched; without `fetch` as they are. Raises: what `fetch` raises."""
    stored = _stored(parts)
    if not stored or fetch is None:
        return list(parts)
    fetched = iter(fetch([picture.place for picture in stored]))
    return [
        replace(part, image=FetchedPicture(part.image, next(fetched))) if isinstance(part.image, StoredPicture) else part
        for part in parts
    ]


def _stored(parts: Sequence[ImagePart]) -> list[StoredPicture]:
    return [part.image for part in parts if isinstance(part.image, StoredPicture)]


def as_changed(part: ImagePart) -> ImageSource:
    """A part's picture, decoded if it is changed. Raises: ImageError."""
    return part.image if part.change is None else part.change.picture(load_rgb(part.image))
