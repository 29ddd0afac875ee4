"""The pictures of samples, planned and then decoded into one array; all that happens between the plan of a pack and its patches.

What it is: `Pictures`, those of one sample as the plan knows them, and `decode`, which fetches and decodes those of many samples.
What it is not: the rendering of texts (`processor.py`), or the rule that turns a picture into patches (`image.py`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kimivl.processor.image import ImageError, ImageProcessor, ImageSource, image_name, load_rgb
from kimivl.processor.messages import ImagePart
from kimivl.processor.stored import DamagedObject, Fetch, FetchedPicture, StoredBytes, StoredPicture

AT_ONCE = 64 << 20  # bytes of originals from a store that are held at a time; a larger one is held alone


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

    def __init__(self, index: int, cause: ImageError | DamagedObject):
        super().__init__(index, cause)
        self.index, self.cause = index, cause


@dataclass(frozen=True, slots=True)
class _Picture:
    """One of them. `sample`: number of its sample; `start`: of its patches in the array."""

    sample: int
    part: ImagePart
    grid: tuple[int, int]
    limit: int | None
    start: int

    @property
    def place(self) -> StoredBytes | None:
        """Where its original lies, if that has to be fetched."""
        return self.part.image.place if isinstance(self.part.image, StoredPicture) else None


def decode(
    wanted: Sequence[Pictures], images: ImageProcessor, out: np.ndarray, fetch: Fetch | None = None,
    next_picture: Callable[[], object] = lambda: None,
) -> None:  # fmt: skip
    """The patches of all pictures, one after the other. Those of one original are decoded together, a few originals at a time, so
    that each is fetched once and no more than `AT_ONCE` bytes of them are held.

    Args:
        out: float32 [P, 3, p, p], where they go.
        fetch: gets the bytes of pictures that lie in a store.
        next_picture: called before each picture is decoded.
    Raises: Undecodable; ValueError for a picture in a store without `fetch`; what `fetch` raises.
    """
    for group in _groups(_in_order(wanted)):
        _decode_together(group, images, out, fetch, next_picture)


def decode_one(pictures: Pictures, images: ImageProcessor, out: np.ndarray, fetch: Fetch | None = None) -> None:
    """The patches of one sample's pictures; arguments as of `decode`. Raises: ImageError naming a picture, DamagedObject, and as
    `decode`."""
    try:
        decode([pictures], images, out, fetch)
    except Undecodable as error:
        raise error.cause from None


def _in_order(wanted: Sequence[Pictures]) -> Iterator[_Picture]:
    start = 0
    for sample, pictures in enumerate(wanted):
        for part, grid in zip(pictures.parts, pictures.grids):
            yield _Picture(sample, part, grid, pictures.limit, start)
            start += grid[0] * grid[1]


def _groups(pictures: Iterable[_Picture]) -> list[list[_Picture]]:
    """Pictures whose originals are held together, in the order in which the originals are needed first."""
    by_original: dict[StoredBytes | None, list[_Picture]] = {}
    for picture in pictures:
        by_original.setdefault(picture.place, []).append(picture)
    groups: list[list[_Picture]] = []
    held = AT_ONCE
    for place, shown in by_original.items():
        size = _size(place, shown)
        if not groups or held + size > AT_ONCE:
            groups.append([])
            held = 0
        groups[-1] += shown
        held += size
    return groups


def _size(place: StoredBytes | None, shown: Sequence[_Picture]) -> int:
    """Bytes of an original; of one that lies there deflated at most those of its pixels, since only its end tells how many."""
    if place is None:
        return 0
    stored = _stored([picture.part for picture in shown]) if place.deflated else []
    return max([place.length, *(3 * picture.width * picture.height for picture in stored)])


def _decode_together(
    group: Sequence[_Picture], images: ImageProcessor, out: np.ndarray, fetch: Fetch | None, next_picture: Callable[[], object]
) -> None:
    contents = _fetched(group, fetch) if fetch else {}
    for picture in group:
        next_picture()
        part, (rows, columns) = picture.part, picture.grid
        if isinstance(part.image, StoredPicture) and part.image.place in contents:
            part = replace(part, image=FetchedPicture(part.image, contents[part.image.place]))
        try:
            pixels_HWC, grid = images.pixels(as_changed(part), picture.limit)
            if grid != picture.grid:
                raise ImageError(
                    f"{image_name(part.image)}: {grid} patches where its header told {picture.grid}; was it replaced?"
                )
        except ImageError as error:
            raise Undecodable(picture.sample, error) from error
        images.cut(pixels_HWC, grid, out[picture.start : picture.start + rows * columns])


def _fetched(group: Sequence[_Picture], fetch: Fetch) -> dict[StoredBytes, bytes]:
    """The originals of a group, asked for together, so that neighbours in a store become one request. Raises: as `decode`."""
    needed_by: dict[StoredBytes, int] = {}  # the first sample
    for picture in group:
        if picture.place is not None:
            needed_by.setdefault(picture.place, picture.sample)
    if not needed_by:
        return {}
    try:
        return dict(zip(needed_by, fetch(list(needed_by))))
    except DamagedObject:  # one after the other, which tells whose it is
        return {place: _fetched_for(sample, place, fetch) for place, sample in needed_by.items()}


def _fetched_for(sample: int, place: StoredBytes, fetch: Fetch) -> bytes:
    try:
        [data] = fetch([place])
        return data
    except DamagedObject as error:
        raise Undecodable(sample, error) from error


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
