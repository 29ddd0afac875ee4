"""What can go wrong between us and a store, by what is to be done about it.

What it is: `Transient` faults pass, so whoever meets one asks again (`retry.py`); `Permanent` ones stay until a person mends
something, and their text says what. `CorruptObject` is of contents: what came is not what was indexed. This, `Replaced` and
`MissingObject` are each a `DamagedObject`: one object is at fault and not its store, so a sample may be left out because of it.
All are OSError or ValueError, so that the command prints them as one line. `classified` tells obstore's exceptions apart.
"""

import re

from obstore import exceptions

from kimivl.processor.stored import CorruptObject as CorruptObject
from kimivl.processor.stored import DamagedObject as DamagedObject

INDEX_AGAIN = "index again with `kimivl data index`, or put the old object back"
CREDENTIALS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_ENDPOINT_URL where it is not AWS), "
    "or AWS_SKIP_SIGNATURE=true for a public bucket"
)


class StoreError(OSError):
    """`url`: of the object, or of the folder that was listed."""

    def __init__(self, url: str, message: str):
        super().__init__(url, message)
        self.url, self.message = url, message

    def __str__(self) -> str:
        return f"{self.url}: {self.message}"


class Transient(StoreError):
    """No connection, or a server that failed (5xx)."""


class TimedOut(Transient):
    """No answer in time; the store may have too much to do."""


class Throttled(Transient):
    """The store asks for fewer requests (503 SlowDown, 429)."""


class Permanent(StoreError):
    """Asking again gives the same."""


class Missing(Permanent):
    """There is no such object or bucket; as far as is known, its bucket or folder may be gone too."""


class MissingObject(Missing, DamagedObject):
    """There is no such object in a bucket with others, or in a folder that is there."""


class Denied(Permanent):
    """Credentials are missing, wrong, or not enough."""


class Replaced(Permanent, DamagedObject):
    """The object is not the one that was indexed."""


class AlreadyThere(Permanent):
    """It should have been new."""


def classified(error: Exception, url: str, answered: bool = True) -> Exception:
    """obstore's exception as one of ours. `answered`: the store answered before, so what it needs from us is in order."""
    text = str(error).partition("\n\nDebug source")[0]
    status = int(found[1]) if (found := re.search(r"non-2xx status code: (\d{3})", text)) else 0
    code = found[1] if (found := re.search(r"<Code>(\w+)</Code>", text)) else ""
    short = _short(text, status, code)
    if isinstance(error, FileNotFoundError) or status == 404:
        kind = MissingObject if code == "NoSuchKey" else Missing
        return kind(url, f"there is no such object or bucket ({short}); check the URL and AWS_ENDPOINT_URL")
    if isinstance(error, exceptions.AlreadyExistsError):
        return AlreadyThere(url, "is there already")
    if isinstance(error, exceptions.PreconditionError):
        return replaced(url)
    if isinstance(error, (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, PermissionError)):
        return Denied(url, f"access was denied ({short}); {CREDENTIALS}")
    if status == 416 or "Invalid range" in text:
        return Replaced(url, f"ends before this range, so it was replaced since it was indexed; {INDEX_AGAIN}")
    if status in (429, 503) or code == "SlowDown":
        return Throttled(url, f"the store asks for fewer requests ({short})")
    if not answered and "169.254." in text:  # without credentials obstore asks the cloud's own machines for some
        return Denied(url, f"no credentials were found; {CREDENTIALS}")
    if status >= 500 or status == 408:
        return Transient(url, f"the store failed ({short})")
    if re.search(r"timed out|kind: Timeout|operation timeout", str(error), re.IGNORECASE):
        return TimedOut(url, f"no answer in time ({short})")
    if isinstance(error, exceptions.GenericError) and not status and "HTTP error" in text and "builder error" not in text:
        return Transient(url, f"no connection ({short}); check AWS_ENDPOINT_URL and the network")
    if isinstance(error, ValueError) or "Error parsing Path" in text:  # obstore takes no tabs and line ends
        return ValueError(f"{url}: this key cannot be addressed ({short}); give the object another name")
    return Permanent(url, f"the store refused ({short})")


def replaced(url: str) -> Replaced:
    """It is there, but is another."""
    return Replaced(url, f"was replaced since it was indexed; {INDEX_AGAIN}")


def _short(text: str, status: int, code: str) -> str:
    """What a person needs of obstore's long message."""
    if status:
        said = found[1] if (found := re.search(r"<Message>(.*?)</Message>", text, re.DOTALL)) else ""
        return " ".join(word for word in (str(status), code, said) if word)
    return " ".join(text.split())[-300:]
