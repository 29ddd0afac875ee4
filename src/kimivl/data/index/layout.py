"""What of a place is rows: files of rows, shards of a WebDataset, or folders of pictures.

What it is: `layout_of`, from names alone, in small or capital letters. Files of rows go first, so that archives beside them are
where their pictures lie; then archives, then pictures. Several splits in one place are refused, since what is kept for tests must
not be learned: where one file of rows or one shard is called after a split, all have to be. Folders of pictures may be classes of
any name; of them those that are called after splits have to be of one.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from kimivl.data.index.original import ends, is_media
from kimivl.data.index.place import Listed, Place
from kimivl.data.index.reference import ARCHIVES, PACKED

ROWS = (".jsonl", ".ndjson", ".json", ".parquet")
TABLE = "metadata.csv"  # the one CSV table that is rows: of Hugging Face's folders of pictures
# Hugging Face's descriptions of a data set, and the tables that img2dataset writes beside each of its shards.
NO_ROWS = re.compile(r"(^|/)(dataset_infos?|dataset_dict|state|config|package)\.json$", re.IGNORECASE)
BESIDE_SHARD = re.compile(r"(_stats\.json|\.parquet)$", re.IGNORECASE)
SPLITS = {
    "train": r"train(ing|val)?",
    "validation": r"(mini)?val(id|idation)?|dev(el|elopment)?|eval(uation)?",
    "test": r"test[ _-]?(mini|dev|std)|(mini)?tests?|testing|(held|hold)[ _-]?out",
}
_NAMES = "|".join(f"(?P<{split}>{names})" for split, names in SPLITS.items())
_SPLIT = re.compile(rf"(?<![^\W\d_])(?:{_NAMES})(?:[ _-]?set)?(?![^\W\d_])", re.IGNORECASE)  # a word of its own
TOLD = 5  # names of files that are left out


@dataclass(frozen=True)
class Layout:
    """`files`: of rows, or shards, in the order of their paths. `split`: of all of them, or of all folders, "" for none.
    `skipped`: how many other files are of no kind that is read, and `skipped_first`: the first of them."""

    kind: Literal["rows", "shards", "folders"]
    files: list[Listed]
    split: str
    skipped: int
    skipped_first: list[str]


class _Others:
    """How many files there are, and the first of them."""

    def __init__(self) -> None:
        self.count, self.first = 0, list[str]()

    def add(self, path: str) -> None:
        self.count += 1
        if len(self.first) < TOLD:
            self.first.append(path)


def layout_of(place: Place, listed: Iterable[Listed]) -> Layout:
    """Raises: ValueError for a place with nothing to learn from in it, or with several splits."""
    rows: list[Listed] = []
    shards: list[Listed] = []
    folders: dict[str, str] = {}  # an example of each split
    packed = ""
    other, texts = _Others(), _Others()
    for of in listed:
        if not place.chooses(of.path):
            continue
        if ends(of.path, ARCHIVES):
            shards.append(of)
        elif (ends(of.path, ROWS) or of.path.rpartition("/")[2].lower() == TABLE) and not NO_ROWS.search(of.path):
            rows.append(of)
        elif is_media(of.path):
            folders.setdefault(split_of(of.path.rpartition("/")[0]), of.path)
        else:
            packed = of.path if ends(of.path, PACKED) else packed
            (texts if ends(of.path, ".txt") else other).add(of.path)
    stems = {of.path.rpartition(".")[0] for of in shards}
    rows = [of for of in rows if not (BESIDE_SHARD.search(of.path) and BESIDE_SHARD.sub("", of.path) in stems)]
    if packed and not rows and not shards:
        raise ValueError(
            f"{place.root}{packed} is compressed as a whole, so its members have no place of their own: unpack it to .tar"
        )
    if rows or shards:
        files = sorted({of.path: of for of in rows or shards}.values(), key=lambda of: of.path)
        split = _one_split(place, {split_of(of.path): of.path for of in files})
        return Layout("rows" if rows else "shards", files, split, other.count + texts.count, (other.first + texts.first)[:TOLD])
    if not folders:
        told = f"{place.root} holds" if place.chosen == "*" else f"{place.root}{place.chosen} leads to"
        raise ValueError(f"{told} no rows ({', '.join(ROWS)}), no archives and no pictures; check the URL")
    split = _one_split(place, {split: path for split, path in folders.items() if split})
    return Layout("folders", [], "" if "" in folders else split, other.count, other.first)  # texts are captions


def is_original(path: str) -> bool:
    """Whether samples could speak of it, or of what is in it."""
    return is_media(path) or ends(path, ARCHIVES)


def split_of(path: str) -> str:
    """The last split that a path is called after, "" for none."""
    found = [match.lastgroup for match in _SPLIT.finditer(path)]
    return found[-1] or "" if found else ""


def _one_split(place: Place, examples: dict[str, str]) -> str:
    """The split. `examples`: a path of each, "" for those that are called after none. Raises: ValueError if there are several."""
    if len(examples) > 1:
        told = ", ".join(
            f"{split or 'none that is named'} ({path})"
            for split, path in sorted(examples.items(), key=lambda of: (not of[0], of))
        )
        raise ValueError(
            f"{place.root} holds several splits, {told}: give the URL of one, or a pattern such as data/train-*; "
            "each makes a manifest of its own"
        )
    return next(iter(examples), "")
