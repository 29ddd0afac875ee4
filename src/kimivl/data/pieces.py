"""Samples as pieces of packs before any picture is decoded: what they cost, and what is learned of them.

What it is: `Planned`, and how a sample becomes pieces: rendered (`outline`), cut into parts where it is a long text (`cut`).
What it is not: which pieces make a pack (`packing.py`, `plan.py`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from kimivl.data.batch import Piece, PieceTokens
from kimivl.data.sample import Sample
from kimivl.processor.image import ImageError
from kimivl.processor.messages import ImagePart
from kimivl.processor.processor import Outline, Processor
from kimivl.processor.stored import CorruptObject, Fetch, StoredPicture


@dataclass(frozen=True)
class Planned(PieceTokens):
    """A piece before its pictures are decoded. `outline`: of the whole sample."""

    outline: Outline

    @property
    def patches(self) -> int:
        return self.outline.patches

    def filled(self, processor: Processor, fetch: Fetch | None = None) -> Piece:
        """With its pictures; `fetch` as of `Processor.filled`. Raises: DamagedSample."""
        with _naming(self.source, self.sample_id, self.outline.pictures):
            encoded = processor.filled(self.outline, fetch)
        tokens = self.source, self.sample_id, self.ids, self.labels, self.supervised
        return Piece(*tokens, encoded.patches, encoded.grids)


class DamagedSample(ImageError):
    """A sample with a picture that cannot be used, whatever is tried again; the message names it and says why.

    `versions`: of the originals that its pictures lie in.
    """

    def __init__(self, source: str, sample_id: str, versions: tuple[str, ...], cause: str):
        super().__init__(f"sample {sample_id} of {source}: {cause}")
        self.source, self.sample_id, self.versions, self.cause = source, sample_id, versions, cause

    def __reduce__(self) -> tuple[type["DamagedSample"], tuple[str, str, tuple[str, ...], str]]:
        return DamagedSample, (self.source, self.sample_id, self.versions, self.cause)


def damaged(piece: Planned, cause: Exception) -> DamagedSample:
    """The error about a piece whose pictures cannot be used."""
    return DamagedSample(piece.source, piece.sample_id, versions(piece.outline.pictures), str(cause))


@contextmanager
def _naming(source: str, sample_id: str, pictures: Sequence[ImagePart]) -> Iterator[None]:
    try:
        yield
    except (ImageError, CorruptObject) as error:
        raise DamagedSample(source, sample_id, versions(pictures), str(error)) from error


def versions(pictures: Sequence[ImagePart]) -> tuple[str, ...]:
    """Of the originals that pictures in a store lie in, each once."""
    return tuple(dict.fromkeys(part.image.place.version for part in pictures if isinstance(part.image, StoredPicture)))


def planned_pieces(sample: Sample, source: str, processor: Processor, context: int, limit: int | None = None) -> list[Planned]:
    """One sample as it is, or the parts of a long document; `limit` is the patch budget of a picture.

    Raises: as of `cut`; DamagedSample.
    """
    with _naming(source, sample.id, sample.images):
        whole = outline(sample, processor, limit)
    return cut(whole, source, sample, context)


def outline(sample: Sample, processor: Processor, limit: int | None = None) -> Outline:
    """Renders a sample, whichever form it has."""
    if sample.is_chat:
        return processor.outline_chat(sample.messages, limit=limit)
    return processor.outline_document(sample.content, limit=limit)


def cut(whole: Outline, source: str, sample: Sample, context: int) -> list[Planned]:
    """Shifts labels and cuts a long text document into parts of at most `context` tokens.

    Raises: ValueError for a chat or a document with pictures that is longer: cutting would separate text and pictures; and for
        a document without text.
    """
    ids, labels, supervised = whole.ids[:-1], whole.ids[1:], whole.supervised[1:]
    if not len(ids):
        raise ValueError(f"sample {sample.id} of {source} is an empty document: give it text, or remove it")
    if len(ids) > context and (sample.is_chat or whole.pictures):
        raise ValueError(
            f"sample {sample.id} has {len(ids)} tokens, above the context of {context}: shorten it or raise the context"
        )
    return [
        Planned(
            source, sample.id, ids[start : start + context], labels[start : start + context],
            supervised[start : start + context], whole,
        )
        for start in range(0, len(ids), context)
    ]  # fmt: skip
