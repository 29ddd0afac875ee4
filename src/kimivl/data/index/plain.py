"""A file that is an original itself: a picture, a PDF, a video."""

from collections.abc import Iterator

from kimivl.data.index.original import Member
from kimivl.data.index.place import Listed, Place


def members(place: Place, of: Listed) -> Iterator[Member]:
    """The file. Raises: StoreError."""
    data = place.get(of)
    yield Member(of.path, 0, data, data)
