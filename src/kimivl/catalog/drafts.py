"""Numbers that are taken and not finished: who writes one, how it is finished, and how it is given up.

What it is: `claim` and `claim_number`, which take a number, or go on with a draft of the same version; `Writer`, a process at
work on a draft; `give_up`; and `check_deletions`.
What it is not: the giving up of versions that exist (`lifecycle.py`).
Why several may write one draft at once: it says what its files are, so all write the same bytes, each only where nothing is
yet. So whoever comes after a writer that was killed goes on, and nobody has to know whether it was. What a draft needs owners for
is giving it up, since that removes what others still write: everybody at work has a key below writers/, and a draft is given up
only by the last of them, or when a person says that the others are dead. Nothing is locked: a writer sets its key and then looks
for `withdrawing.json`, whoever gives up writes `withdrawing.json` and then looks for keys, so one of both sees the other. The
last steps, `version.json` and the removal of files, look for each other in the same way.
"""

import os
import secrets
import socket
from collections.abc import Collection
from contextlib import suppress
from dataclasses import astuple
from itertools import product
from types import TracebackType

from kimivl.catalog.originals import real_places
from kimivl.catalog.place import sha256
from kimivl.catalog.versions import (
    DRAFT,
    VERSION,
    WITHDRAWING,
    Catalog,
    FileFacts,
    Known,
    Version,
    now,
    parse_version,
    some,
    to_json,
    version_prefix,
)
from kimivl.data.manifest.schema import OBJECTS_FILE
from kimivl.data.store.errors import Missing, StoreError


class Withdrawn(ValueError):
    """A draft was given up while it was written."""


class BeingWritten(ValueError):
    """A draft is written by others, or was when they were killed; the message names them."""


class Writer:
    """This process at work on `draft`; a context, at whose end it is no more."""

    def __init__(self, catalog: Catalog, draft: Version):
        self.catalog, self.draft = catalog, draft
        self._name = secrets.token_hex(8)
        self._key = f"writers/{self._name}.json"

    def joined(self) -> bool:
        """Begins. Returns: False if the draft is being given up, or was."""
        who = {"host": socket.gethostname(), "process": os.getpid(), "since": now()}
        self.catalog.place.create(self.draft.prefix + self._key, to_json(who))
        known = self.catalog.now(self.draft)
        if {DRAFT, self._key} <= known.keys and WITHDRAWING not in known.keys:
            return True
        self._leave()
        return False

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._leave()

    def _leave(self) -> None:
        with suppress(StoreError):  # asked once: who is stopped while the store is gone does not wait for it
            self.catalog.place.client.delete(self.catalog.place.below(self.draft.prefix + self._key))

    def withdraw(self) -> None:
        """Gives the draft up unless others write it, too."""
        with suppress(ValueError):  # of others; the reason for giving up is what is told
            give_up(self.catalog, self.draft.name, self.draft.number, (self._key,))

    def finish(self, version: Version, descriptions: dict[str, bytes]) -> Version:
        """Writes what describes a version whose tables are there, and then the record that makes it exist.

        Args:
            version: the draft with its tables in `files`.
        Returns: the version, with all its files.
        Raises: Withdrawn; ValueError for a file that is there and is another.
        """
        place, facts = self.catalog.place, dict(version.files)
        for file, data in descriptions.items():
            if not place.create(version.prefix + file, data):  # by another version of this program, or at another time
                data = place.read(version.prefix + file)
            facts[file] = FileFacts(size=len(data), sha256=sha256(data))
        version = version.model_copy(update={"files": facts, "writer": self._name})
        self._check(version)
        if not place.create(version.prefix + VERSION, record_bytes(version)):
            return self._of_another(version)
        try:
            self._check(version)
        except Withdrawn:
            place.delete(version.prefix + VERSION)  # which is ours: a record says who wrote it
            raise
        return version

    def _check(self, version: Version) -> None:
        known = self.catalog.now(version)
        missing = {DRAFT, self._key, *version.files} - known.keys
        if missing or WITHDRAWING in known.keys or known.marked("deleting"):
            self.withdraw()  # of what was written since
            raise Withdrawn(f"{version.reference} was removed from {self.catalog.url} meanwhile: run the command again")

    def _of_another(self, version: Version) -> Version:
        """The record that is there, if it is of the same version: another writer was faster."""
        other = self.catalog.read_version(version.name, version.number)
        if (other.digest, other.places, other.files.keys()) != (version.digest, version.places, version.files.keys()):
            raise Withdrawn(f"{self.catalog.url} has another {version.reference} by now: run the command again")
        return other


def claim(catalog: Catalog, record: Version) -> Writer | Version:
    """Takes the next number, or goes on with a draft of the same manifest. Returns: the last version if it is the same by now."""
    while True:
        taken = catalog.known(record.name)
        last = last_version(catalog, taken)
        if last is not None and is_same_version(last, record):
            return last
        drafts = (draft for known in taken if (draft := _draft(catalog, known)) is not None)
        draft = next((each for each in drafts if _same_draft(each, record)), None)
        if draft is None:
            finished = [known.number for known in taken if known.finished]
            number = max((known.number for known in taken), default=0) + 1
            draft = record.model_copy(update={"number": number, "parent": max(finished, default=None)})
            if not catalog.place.create(draft.prefix + DRAFT, record_bytes(draft)):
                continue
        writer = Writer(catalog, draft)
        if writer.joined():
            return writer


def claim_number(catalog: Catalog, record: Version) -> Writer:
    """Takes the number of `record`, or goes on with a draft of the same version. Raises: BeingWritten for one of another."""
    draft = record
    if not catalog.place.create(record.prefix + DRAFT, record_bytes(record)):
        with suppress(Missing):  # it was given up
            draft = read_draft(catalog, record.name, record.number)
    writer = Writer(catalog, draft)
    if not _same_draft(draft, record) or not writer.joined():
        raise BeingWritten(
            f"{catalog.url} has a draft of another {record.reference}, or one that is being removed: finish it, or remove it "
            f"with `kimivl data retire {record.reference} --delete --catalog {catalog.url}`"
        )
    return writer


def give_up(catalog: Catalog, name: str, number: int, despite: Collection[str] | None = None) -> None:
    """Removes what there is of a version that was not finished; its number is free again. It can be called again.

    Args:
        despite: keys of the writers that are known not to go on; None for all, on a person's word.
    Raises: BeingWritten, if there are others; ValueError if the version was finished meanwhile.
    """
    prefix, place = version_prefix(name, number), catalog.place
    mine = place.create(prefix + WITHDRAWING, to_json({"by": secrets.token_hex(8)}))
    if not mine and despite is not None:
        again = f"`kimivl data retire {name}@{number} --delete --yes --catalog {catalog.url}`"
        raise BeingWritten(f"{name}@{number} is being removed by another; if that was killed, {again} goes on")
    known = Known(name, number, frozenset(entry.key.removeprefix(prefix) for entry in place.list(prefix)))
    others = [key for key in known.writers if despite is not None and key not in despite]
    if known.finished or others:
        place.delete(prefix + WITHDRAWING)
        if known.finished:
            raise ValueError(f"{name}@{number} is finished: to delete it, run the command again")
        raise BeingWritten(f"{name}@{number} is being written by {some(writers(catalog, known))}")
    # The draft behind its files: as long as it is there nobody takes the number. The mark last: it keeps others from joining.
    order = (DRAFT, WITHDRAWING)
    for key in sorted(known.keys | {WITHDRAWING}, key=lambda key: order.index(key) if key in order else -1):
        place.delete(prefix + key)


def writers(catalog: Catalog, known: Known) -> list[str]:
    """Who writes a draft, or was killed while it did, for people."""
    notes = catalog.notes(version_prefix(known.name, known.number), known.writers).values()
    return [f"process {each['process']} on {each['host']} since {each['since'][:16]}" for each in notes]


def check_deletions(catalog: Catalog, draft: Version) -> bool:
    """Whether originals near ours were deleted. A deletion in turn looks for drafts after it set its mark (`lifecycle.py`), so
    of two that run at once one sees the other.

    Raises: ValueError while one is going on.
    """
    begun = [known for known in catalog.known() if known.marked("deleting") and known.finished]
    records = [(catalog.read_version(known.name, known.number), known) for known in begun]
    near = [(each, known) for each, known in records if _overlap(each, draft)]
    for version, known in near:
        if not known.marked("deleted"):
            raise ValueError(
                f"{version.reference} is being deleted, and its originals lie near those of this manifest: finish that with "
                f"`kimivl data retire {version.reference} --delete`, index again, then publish"
            )
    return bool(near)


def last_version(catalog: Catalog, taken: list[Known]) -> Version | None:
    """The last version that is in use."""
    usable = [known for known in taken if known.state in ("released", "deprecated")]
    return catalog.read_version(usable[-1].name, usable[-1].number) if usable else None


def is_same_version(version: Version, record: Version) -> bool:
    """Whether they have the same rows, over the same originals at the same place; the table of objects has their etags, too.
    Where pictures out of tables lie does not matter: their names tell their contents."""
    same_table = version.files[OBJECTS_FILE] == record.files[OBJECTS_FILE]
    return same_table and (version.digest, version.root) == (record.digest, record.root)


def record_bytes(version: Version) -> bytes:
    return to_json(version.model_dump(mode="json"))


def read_draft(catalog: Catalog, name: str, number: int) -> Version:
    key = version_prefix(name, number) + DRAFT
    return parse_version(catalog.place.read(key), catalog.place.below(key))


def _draft(catalog: Catalog, known: Known) -> Version | None:
    """The record of a number that was taken, not finished and not given up."""
    if known.finished or DRAFT not in known.keys or WITHDRAWING in known.keys:
        return None
    with suppress(Missing):
        return read_draft(catalog, known.name, known.number)
    return None


def _same_draft(draft: Version, record: Version) -> bool:
    return (draft.digest, draft.places, draft.files) == (record.digest, record.places, record.files)


def _overlap(one: Version, other: Version) -> bool:
    """Whether they may have originals in common."""
    folders = [[each for each in astuple(real_places(version.places)) if each] for version in (one, other)]
    return any(a.startswith(b) or b.startswith(a) for a, b in product(*folders))
