"""Samples as pieces of packs, before their texts are rendered and their pictures decoded: what they cost, and whose they are.

What it is: `Planned`, and how a sample becomes pieces, a long text several (`planned_pieces`); `Renderer`, which gives a piece
its tokens.
What it is not: which pieces make a pack (`packing.py`, `plan.py`), or their pictures (`loader.py`).
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kimivl.data.augment.refusals import Refusal
from kimivl.data.batch import PieceTokens
from kimivl.data.lengths import Length, counted
from kimivl.data.recent import Recent
from kimivl.data.sample import Sample
from kimivl.processor.image import Grid, ImageError
from kimivl.processor.messages import ImagePart
from kimivl.processor.pictures import Pictures
from kimivl.processor.processor import Outline, Processor
from kimivl.processor.stored import DamagedObject, StoredBytes, StoredPicture

KEPT = 20_000_000  # bytes of samples that are kept for a moment


@dataclass(frozen=True)
class Planned:
    """A sample, or a part of a long document, in a pack.

    `number`: of the sample in its source's walk. `sample`: as it is seen this time. `length`: of all of it, without pictures.
    `tokens`: of this part, pictures included. `grids`: patch rows and columns of each picture; `limit`: patch budget of each.
    `refusals`: where augmentation gave way; of a document in parts, the first has them.
    """

    source: str
    number: int
    sample: Sample
    part: int
    parts: int
    tokens: int
    length: Length
    grids: tuple[Grid, ...]
    limit: int | None
    refusals: tuple[Refusal, ...] = ()

    @cached_property
    def wanted(self) -> Pictures:
        """What has to be decoded."""
        return Pictures(tuple(self.sample.images), self.grids, self.limit)

    @property
    def patches(self) -> int:
        return self.wanted.patches


class DamagedSample(ImageError):
    """A sample with a picture that cannot be used, whatever is tried again; the message names it and says why."""

    def __init__(self, source: str, sample: Sample, cause: str):
        super().__init__(f"sample {sample.id} of {source}: {cause}")
        self.source, self.sample, self.cause = source, sample, cause

    def __reduce__(self) -> tuple[type["DamagedSample"], tuple[str, Sample, str]]:
        return DamagedSample, (self.source, self.sample, self.cause)


def damaged(source: str, sample: Sample, cause: Exception) -> ImageError:
    """The error about a sample whose pictures cannot be used: DamagedSample, unless more than this sample is at fault."""
    for path in (part.image for part in sample.images if isinstance(part.image, Path)):
        if not path.parent.is_dir():
            return ImageError(f"sample {sample.id} of {source}: there is no folder {path.parent}; is its disk mounted?")
        if path.exists() and not os.access(path, os.R_OK):
            return ImageError(f"sample {sample.id} of {source}: {path} may not be read; make it readable")
    return DamagedSample(source, sample, str(cause))


@contextmanager
def naming(source: str, sample: Sample) -> Iterator[None]:
    """Around what needs a sample's pictures. Raises: as of `damaged` for what is wrong with them."""
    try:
        yield
    except (ImageError, DamagedObject) as error:
        raise damaged(source, sample, error) from error


def versions(pictures: Sequence[ImagePart]) -> tuple[str, ...]:
    """Of the originals that pictures in a store lie in, each once; local files have none."""
    return tuple(dict.fromkeys(place.version for place in _places(pictures) if place.version))


def digests(pictures: Sequence[ImagePart]) -> tuple[str, ...]:
    """sha256 of the originals that pictures in a store lie in, as they were indexed, each once."""
    return tuple(dict.fromkeys(place.sha256 for place in _places(pictures)))


def _places(pictures: Sequence[ImagePart]) -> list[StoredBytes]:
    return [part.image.place for part in pictures if isinstance(part.image, StoredPicture)]


def planned_pieces(
    sample: Sample, source: str, number: int, renderer: "Renderer", context: int, limit: int | None, length: Length | None = None
) -> list[Planned]:
    """A sample as it is, or the parts of a text document of more than `context` tokens.

    Args:
        number: of the sample in its source's walk.
        limit: patch budget of each picture.
        length: as it was counted before; the sample is rendered and counted without one.
    Raises: ValueError for a chat or a document with pictures above `context` tokens, since cutting would separate text and
        pictures, and for a document without text; DamagedSample.
    """
    with naming(source, sample):
        grids = tuple(renderer.processor.image_processor.grid_of(part, limit) for part in sample.images)
        length = length or renderer.length((source, number), sample, limit)
    total = length.tokens + sum(map(renderer.processor.image_processor.tokens, grids)) - 1  # the last token is no input
    if not total:
        raise ValueError(f"sample {sample.id} of {source} is an empty document: give it text, or remove it")
    if total > context and (sample.is_chat or grids):
        raise ValueError(
            f"sample {sample.id} has {total} tokens, above the context of {context}: shorten it or raise the context"
        )
    parts = -(-total // context)
    sizes = [min(context, total - context * part) for part in range(parts)]
    return [Planned(source, number, sample, part, parts, size, length, grids, limit) for part, size in enumerate(sizes)]


def held(tokens: int) -> int:
    """Bytes that a sample takes in memory, about: its record, parts, paths and arrays, and its texts or their tokens."""
    return 2_000 + 10 * tokens


class Renderer:
    """Renders samples; the last ones are kept for the parts of long documents, and for packs whose plan had to render them."""

    def __init__(self, processor: Processor):
        self.processor = processor
        self._kept: Recent[tuple[str, int, int | None], Outline] = Recent(KEPT, lambda outline: held(len(outline.ids)))

    def length(self, walk: tuple[str, int], sample: Sample, limit: int | None) -> Length:
        """Counts a sample. Args: `walk`: its source, and its number there; `limit` as of `Planned`."""
        outline = self._outline(walk, sample, limit)
        return counted(outline.ids, outline.supervised, outline.provenance)

    def tokens(self, piece: Planned, context: int) -> PieceTokens:
        """The piece's tokens, with the labels shifted. Raises: ValueError if they are not those that were counted."""
        whole = self.outline(piece)
        ids, labels, supervised = whole.ids[:-1], whole.ids[1:], whole.supervised[1:]
        part = slice(piece.part * context, piece.part * context + piece.tokens)
        if counted(whole.ids, whole.supervised, whole.provenance) != piece.length:
            raise ValueError(
                f"sample {piece.sample.id} of {piece.source} is rendered as other tokens than were counted: remove the source's "
                ".lengths folder, or count again with `kimivl data lengths`"
            )
        return PieceTokens(piece.source, piece.sample.id, ids[part], labels[part], supervised[part])

    def outline(self, piece: Planned) -> Outline:
        """All of the sample that a piece is of."""
        return self._outline((piece.source, piece.number), piece.sample, piece.limit)

    def _outline(self, walk: tuple[str, int], sample: Sample, limit: int | None) -> Outline:
        return self._kept.get((*walk, limit), lambda: outline(sample, self.processor, limit))


def outline(sample: Sample, processor: Processor, limit: int | None = None) -> Outline:
    """Renders a sample, whichever form it has."""
    if sample.is_chat:
        return processor.outline_chat(sample.messages, limit=limit)
    return processor.outline_document(sample.content, limit=limit)
