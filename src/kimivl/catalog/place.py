"""A folder or prefix in a store, and what a catalog does there: read, create, list, delete.

What it is: `Place`, a `Client` bound to a URL, which waits until transient faults have passed; and `open_place`, which
understands plain paths and profiles of ~/.aws.
What it is not: a limit on requests (`pace.py`).
Facts: profiles are those of AWS's command line and SDKs (files, precedence of the credentials file, `endpoint_url`).
"""

import configparser
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kimivl.catalog.pace import client
from kimivl.data.store.client import Client
from kimivl.data.store.errors import AlreadyThere, Missing, Permanent
from kimivl.data.store.retry import patiently
from kimivl.data.store.urls import join_url, split_url
from kimivl.model.atomic import writing

PARTS = 16 << 20  # bytes that are read of a large object at a time
ATTEMPTS = 3  # to create what comes and goes


@dataclass(frozen=True, slots=True)
class Listed:
    """`key`: below the place. `version`: etag, "" for local files."""

    key: str
    size: int
    version: str


class Place:
    """`url` ends in "/". Methods raise StoreError, an OSError that names the object and the fix."""

    def __init__(self, client: Client, url: str):
        self.client = client
        self.url = url

    def below(self, key: str) -> str:
        """The URL of a key."""
        return join_url(self.url, key)

    def read(self, key: str) -> bytes:
        return patiently(lambda: self.client.get(self.below(key)))

    def create(self, key: str, data: bytes) -> bool:
        """Writes what is absent. Returns: whether this very content is there now; False if other content was there before."""
        return self._create(key, data, sha256(data))

    def create_file(self, key: str, path: Path) -> bool:
        """The same for a file of any size."""
        return self._create(key, path, sha256_of_file(path))

    def _create(self, key: str, data: bytes | Path, digest: str) -> bool:
        for _ in range(ATTEMPTS):
            try:
                patiently(lambda: self.client.put(self.below(key), data, new=True))
                return True
            except AlreadyThere:  # perhaps by an attempt of ours whose answer was lost
                with suppress(Missing):  # it is gone again, or was another's that came to nothing
                    return self.digest(key) == digest
        raise Permanent(self.below(key), "is there and cannot be read: remove what stands in its place")

    def digest(self, key: str) -> str:
        """The sha256 of an object."""
        digest = hashlib.sha256()
        for part in self._parts(key):
            digest.update(part)
        return digest.hexdigest()

    def download(self, key: str, target: Path) -> str:
        """Copies an object into a file, in parts. Returns: its sha256."""
        digest = hashlib.sha256()
        with writing(target):
            file = target.open("wb")
        with file:
            for part in self._parts(key):
                with writing(target):
                    file.write(part)
                digest.update(part)
        return digest.hexdigest()

    def _parts(self, key: str) -> Iterator[bytes]:
        url = self.below(key)
        size = patiently(lambda: self.client.head(url)).size
        for start in range(0, size, PARTS):
            yield patiently(partial(self.client.get, url, start, min(PARTS, size - start)))

    def folders(self, prefix: str = "") -> tuple[str, ...]:
        """Names of the folders below a prefix that ends in "/" (or of all), sorted."""
        return patiently(lambda: self.client.folders(self.below(prefix)))

    def list(self, prefix: str = "") -> Iterator[Listed]:
        """What lies below a prefix that ends in "/" (or all), by key."""
        url, place = self.below(prefix), len(split_url(self.url)[1])
        for entry in patiently(lambda: list(self.client.list(url))):
            yield Listed(split_url(entry.url)[1][place:], entry.size, entry.version)

    def delete(self, key: str) -> None:
        patiently(lambda: self.client.delete(self.below(key)))


def open_place(url: str, profile: str | None = None, per_second: float | None = None) -> Place:
    """The place at a URL, or at the path of a local folder, which need not be there. `per_second`: requests, at most (`pace.py`).

    Raises: ValueError for a URL that no store has, or a profile that is not known.
    """
    environment = profile_environment(profile) if profile else None
    return Place(client(environment, per_second), folder_url(url))


def folder_url(url: str) -> str:
    """A URL of a folder, ending in "/": of a URL, or of a local path."""
    if "://" not in url:
        url = Path(os.path.abspath(url)).as_uri()
    return url.rstrip("/") + "/" if url.rpartition("://")[2] else url


def profile_environment(profile: str, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """AWS_* variables that say what a profile of ~/.aws says. Raises: ValueError naming the files if there is no such profile."""
    home = Path(environment.get("HOME", "~")).expanduser() / ".aws"
    config = Path(environment.get("AWS_CONFIG_FILE") or home / "config")
    credentials = Path(environment.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials")
    section = "default" if profile == "default" else f"profile {profile}"
    found = _section(config, section) | _section(credentials, profile)
    if not found:
        raise ValueError(f"there is no profile {profile!r} in {config} or {credentials}; add it with `aws configure --profile`")
    others = {name: value for name, value in environment.items() if not name.startswith("AWS_")}
    return others | {variable: found[key] for key, variable in _SETTINGS.items() if key in found}


_SETTINGS = {
    "endpoint_url": "AWS_ENDPOINT_URL",
    "region": "AWS_REGION",
    "aws_access_key_id": "AWS_ACCESS_KEY_ID",
    "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "aws_session_token": "AWS_SESSION_TOKEN",
}


def _section(path: Path, name: str) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except configparser.Error as error:
        raise ValueError(f"{path}: {str(error).splitlines()[0]}") from None
    return dict(parser[name]) if name in parser else {}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
