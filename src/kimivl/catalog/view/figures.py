"""What can be told of a source at a glance: rows, bytes, and how sizes, lengths and languages are spread.

What it is: `figures_of`. Of a manifest whole columns are counted; what no column tells, and everything of a JSONL file, comes
from a few rows drawn with a fixed seed, and says so. Nothing ever reads all records.
What it is not: the drawing of histograms (`histograms.py`), or the catalog's exact statistics of a version.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kimivl.catalog.view.pictures import shown_size
from kimivl.catalog.view.shelf import Entry
from kimivl.data.manifest.schema import OBJECTS_FILE, SAMPLES_FILE
from kimivl.data.pieces import outline
from kimivl.data.sample import Sample
from kimivl.data.source import Source, key_of
from kimivl.processor.messages import TextPart
from kimivl.processor.processor import Processor

DRAWN = 500  # rows of a sample
LETTERS = 400  # of a text, to see its script
SCRIPTS = {"CJK": "Chinese characters", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean"}


@dataclass(frozen=True)
class Spread:
    """Values of one measure. `basis`: what was counted, "1,000 pictures of 500 rows drawn at random"."""

    title: str
    unit: str
    values: np.ndarray
    basis: str
    log: bool = True


@dataclass(frozen=True)
class Figures:
    """`faults`: (row, what is wrong) of drawn rows that cannot be read. `languages`: name → count."""

    rows: int
    facts: list[str]
    spreads: list[Spread]
    languages: dict[str, int]
    languages_basis: str
    faults: list[tuple[int, str]]


def figures_of(entry: Entry, source: Source, processor: Processor | None) -> Figures:
    """Raises: OSError or ValueError naming a table that cannot be read."""
    drawn = _draw(entry, source, processor)
    if entry.is_manifest:
        return _of_manifest(entry.path, len(source), drawn)
    every = len(drawn.rows) == len(source)
    basis = f"all {len(source):,} rows" if every else f"{len(drawn.rows):,} of {len(source):,} rows, drawn at random"
    held = in_bytes(sum(map(_file_size, drawn.files)))
    facts = [f"{len(drawn.files):,} picture files in {basis}: {held}"] if drawn.files else []
    spreads = [*_of_pictures(np.array(drawn.sizes).reshape(-1, 2), f"pictures of {basis}"), *drawn.lengths(basis)]
    return Figures(len(source), facts, spreads, dict(drawn.languages.most_common()), basis, drawn.faults)


def in_bytes(count: int) -> str:
    """123456789 → "123 MB"."""
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= limit:
            return f"{count / limit:.3g} {unit}"
    return f"{count} bytes"


@dataclass
class _Drawn:
    """What the drawn rows tell."""

    rows: list[int]
    sizes: list[tuple[int, int]] = field(default_factory=list)
    characters: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    files: set[Path] = field(default_factory=set)
    languages: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, str]] = field(default_factory=list)

    def lengths(self, basis: str) -> list[Spread]:
        if self.tokens:
            return [Spread("Length", "tokens of a sample", np.array(self.tokens), basis)]
        return [_characters(np.array(self.characters), basis)] if self.characters else []

    def add(self, row: int, sample: Sample, processor: Processor | None) -> None:
        try:
            sizes = [shown_size(part) for part in sample.images]
            self.tokens += [len(outline(sample, processor).ids)] if processor else []
        except (ValueError, OSError) as fault:
            self.faults.append((row, str(fault)))
            return
        self.sizes += sizes
        self.files.update(part.image for part in sample.images if isinstance(part.image, Path))
        texts = [part.text for part in sample.parts if isinstance(part, TextPart)]
        self.characters.append(sum(map(len, texts)))
        language = sample.meta.get("language")
        self.languages[language if isinstance(language, str) else script_of("".join(texts))] += 1


def _draw(entry: Entry, source: Source, processor: Processor | None) -> _Drawn:
    rng = np.random.Generator(np.random.Philox(key=key_of("view", entry.name, entry.split)))
    count = len(source)
    rows = range(count) if count <= DRAWN else sorted(rng.choice(count, DRAWN, replace=False, shuffle=False).tolist())
    drawn = _Drawn(list(rows))
    for row in rows:
        try:
            sample = source[row]
        except ValueError as fault:
            drawn.faults.append((row, str(fault)))
            continue
        drawn.add(row, sample, processor)
    return drawn


def _of_manifest(folder: Path, rows: int, drawn: _Drawn) -> Figures:
    objects = pq.read_table(folder / OBJECTS_FILE, columns=["url", "start", "length", "width", "height"])
    samples = pq.read_table(folder / SAMPLES_FILE, columns=["text_length", "language"])
    ranges = objects.group_by(["url", "start"]).aggregate([("length", "max")])  # pages of one PDF share its bytes
    held = pc.sum(ranges.column("length_max")).as_py() or 0
    facts = [f"{objects.num_rows:,} originals, {in_bytes(held)}"]
    sizes_N2 = np.stack([objects.column("width").to_numpy(), objects.column("height").to_numpy()], 1)
    spreads = _of_pictures(sizes_N2, f"all {objects.num_rows:,} originals")
    if drawn.tokens:
        spreads += drawn.lengths(f"{len(drawn.rows):,} of {rows:,} rows, drawn at random")
    else:
        spreads.append(_characters(samples.column("text_length").to_numpy(), f"all {rows:,} rows"))
    counted = {
        str(one["values"]): int(one["counts"]) for one in pc.value_counts(samples.column("language")).to_pylist() if one["values"]
    }
    languages = dict(Counter(counted).most_common()) or dict(drawn.languages.most_common())
    basis = f"all {rows:,} rows" if counted else f"{len(drawn.rows):,} of {rows:,} rows"
    return Figures(rows, facts, spreads, languages, basis, drawn.faults)


def _characters(lengths: np.ndarray, basis: str) -> Spread:
    return Spread("Length", "characters of a sample", np.maximum(lengths, 1), basis)  # an empty text has a place on a log axis


def _of_pictures(sizes_N2: np.ndarray, basis: str) -> list[Spread]:
    if not len(sizes_N2):
        return []
    sides = np.sqrt(sizes_N2.astype(np.float64).prod(1))
    return [
        Spread("Resolution", "pixels, √(width × height)", sides, basis),
        Spread("Aspect", "width ÷ height", sizes_N2[:, 0] / sizes_N2[:, 1], basis),
    ]


def _file_size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def script_of(text: str) -> str:
    """What a text without a named language is written in: the script of most of its letters."""
    letters: Iterable[str] = [letter for letter in text[: 10 * LETTERS] if letter.isalpha()][:LETTERS]
    names = Counter(unicodedata.name(letter, "unknown").split()[0] for letter in letters)
    if not names:
        return "no letters"
    name = names.most_common(1)[0][0]
    return SCRIPTS.get(name, f"{name.capitalize()} letters")
