"""Pictures as a browser may see them: decoded by us, shrunk, and written anew.

What it is: `shown_size` and `drawn`, which never hand out bytes of a data set as they are: whatever a file claims to be, a
browser gets a PNG or a JPEG that we wrote.
What it is not: the decoding itself (`processor/image.py`), or a client of object stores (`data/store/`).
"""

import io

from PIL import Image

from kimivl.processor.image import load_rgb, upright_size
from kimivl.processor.messages import ImagePart
from kimivl.processor.pictures import as_changed, at_hand
from kimivl.processor.stored import Fetch

LOSSLESS = 512 * 512  # pixels up to which a picture is written as PNG


def shown_size(part: ImagePart) -> tuple[int, int]:
    """(W, H) after the part's change, from the header alone. Raises: ImageError."""
    size = upright_size(part.image)
    return part.change.size(size) if part.change else size


def drawn(part: ImagePart, side: int, fetch: Fetch) -> tuple[bytes, str]:
    """The picture with its change, its longer side at most `side` pixels, as the bytes of a file, and their media type.

    Raises: ImageError or what `fetch` raises, naming the picture.
    """
    [part] = at_hand([part], fetch)
    picture = load_rgb(as_changed(part))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    small = picture.width * picture.height <= LOSSLESS
    file = io.BytesIO()
    picture.save(file, "PNG" if small else "JPEG", **({} if small else {"quality": 90}))
    return file.getvalue(), "image/png" if small else "image/jpeg"
