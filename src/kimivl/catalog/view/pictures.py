"""Pictures as a browser may see them: decoded by us, shrunk, and written anew.

What it is: `shown_size` and `drawn`, which never hand out bytes of a data set as they are: whatever a file claims to be, a
browser gets a PNG or a JPEG that we wrote. `local_fetch` gets bytes out of `file://` stores.
What it is not: the decoding itself (`processor/image.py`), or a client of object stores (`data/store/`).
"""

import hashlib
import io
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from PIL import Image

from kimivl.processor.image import ImageError, load_rgb, upright_size
from kimivl.processor.messages import ImagePart
from kimivl.processor.stored import Fetch, FetchedPicture, StoredBytes, StoredPicture

LOSSLESS = 512 * 512  # pixels up to which a picture is written as PNG


def shown_size(part: ImagePart) -> tuple[int, int]:
    """(W, H) after the part's change, from the header alone. Raises: ImageError."""
    size = upright_size(part.image)
    return part.change.size(size) if part.change else size


def drawn(part: ImagePart, side: int, fetch: Fetch) -> tuple[bytes, str]:
    """The picture with its change, its longer side at most `side` pixels, as the bytes of a file, and their media type.

    Raises: ImageError or what `fetch` raises, naming the picture.
    """
    if isinstance(part.image, StoredPicture):
        part = replace(part, image=FetchedPicture(part.image, fetch([part.image.place])[0]))
    picture = load_rgb(part.image)
    if part.change:
        picture = part.change.picture(picture)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    small = picture.width * picture.height <= LOSSLESS
    file = io.BytesIO()
    picture.save(file, "PNG" if small else "JPEG", **({} if small else {"quality": 90}))
    return file.getvalue(), "image/png" if small else "image/jpeg"


def local_fetch(places: Sequence[StoredBytes]) -> list[bytes]:
    """Bytes of files. Raises: ImageError naming a place that is no file, is missing, or holds other bytes than were indexed."""
    return [_read(place) for place in places]


def _read(place: StoredBytes) -> bytes:
    url = urlsplit(place.url)
    if url.scheme != "file":
        raise ImageError(f"{place.url}: only file:// is read here")
    try:
        with Path(unquote(url.path)).open("rb") as file:
            file.seek(place.start)
            data = file.read(place.length)
        data = zlib.decompress(data, -zlib.MAX_WBITS) if place.deflated else data
    except (OSError, zlib.error) as error:
        raise ImageError(f"{place.url}: {error}") from None
    if hashlib.sha256(data).hexdigest() != place.sha256:
        raise ImageError(f"{place.url}: its bytes are not those that were indexed; was it replaced? Index it anew")
    return data
