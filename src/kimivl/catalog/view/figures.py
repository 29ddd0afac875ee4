"""What can be told of a source at a glance: rows, bytes, and how sizes, lengths and languages are spread.

What it is: `figures_of`. Of a manifest whole columns are counted, and tokens of any source if `kimivl data lengths` counted them;
what neither tells comes from a few rows drawn with a fixed seed, and says so. Nothing ever reads all records, or keeps a column.
What it is not: the drawing of histograms (`histograms.py`), or the catalog's exact statistics of a version.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from kimivl.catalog.view.histograms import Bins, bins_of
from kimivl.catalog.view.pictures import shown_size
from kimivl.catalog.view.shelf import Entry
from kimivl.data.lengths import all_lengths
from kimivl.data.manifest.manifest import Manifest
from kimivl.data.pieces import outline
from kimivl.data.sample import Sample
from kimivl.data.source import Source, key_of
from kimivl.processor.messages import TextPart
from kimivl.processor.processor import Processor

DRAWN = 500  # rows of a sample
PIECE = 65_536  # rows of a table that are looked at together
TOKENS, CHARACTERS = "tokens of a sample, pictures left out", "characters of a sample"
LETTERS = 400  # of a text, to see its script
SCRIPTS = {"CJK": "Chinese characters", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean"}

Pieces = Callable[[], Iterable[np.ndarray]]


@dataclass(frozen=True)
class Spread:
    """Values of one measure. `basis`: what was counted, "1,000 pictures of 500 rows drawn at random"."""

    title: str
    unit: str
    basis: str
    bins: Bins


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
    counted = _counted(entry, source, processor)
    drawn = _draw(entry, source, None if counted else processor)
    every = len(drawn.rows) == len(source)
    basis = f"all {len(source):,} rows" if every else f"{len(drawn.rows):,} of {len(source):,} rows, drawn at random"
    if isinstance(source.records, Manifest):
        return _of_manifest(source.records, drawn, basis, counted)
    held = in_bytes(sum(map(_file_size, drawn.files)))
    facts = [f"{len(drawn.files):,} picture files in {basis}: {held}"] if drawn.files else []
    sizes_N2 = np.array(drawn.sizes, np.int32).reshape(-1, 2)
    spreads = _of_pictures(lambda: [sizes_N2], f"pictures of {basis}") + (counted or drawn.lengths(basis))
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
        unit, lengths = ("tokens of a sample", self.tokens) if self.tokens else (CHARACTERS, self.characters)
        return _spread("Length", unit, basis, lambda: [np.maximum(np.array(lengths, np.int64), 1)])

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


def _counted(entry: Entry, source: Source, processor: Processor | None) -> list[Spread]:
    """The tokens of all rows, if they were counted: by the processor's vocabulary, or, without one, by any."""
    spreads = []
    for each in all_lengths(entry.path, source.records.identity):
        if processor is None or each.tokenizer == processor.tokenizer.digest:
            basis = f"all {len(source):,} rows, counted by {each.name}"
            spreads += _spread("Length", TOKENS, basis, partial(_pieces, each.tokens_N))
    return spreads


def _of_manifest(records: Manifest, drawn: _Drawn, basis: str, counted: list[Spread]) -> Figures:
    """Of whole columns, which are mapped and looked at a piece at a time."""
    objects, samples = records.objects, records.samples
    ranges = objects.group_by(["url", "start"]).aggregate([("length", "max")])  # pages of one PDF share its bytes
    held = pc.sum(ranges.column("length_max")).as_py() or 0
    facts = [f"{objects.num_rows:,} originals, {in_bytes(held)}"]

    def sizes() -> Iterator[np.ndarray]:
        for batch in objects.select(["width", "height"]).to_batches():
            yield np.stack([column.to_numpy() for column in batch.columns], 1)

    def characters() -> Iterator[np.ndarray]:
        return (np.maximum(piece.to_numpy(), 1) for piece in samples.column("text_length").chunks)

    spreads = _of_pictures(sizes, f"all {objects.num_rows:,} originals")
    by_tokens = counted or ([] if not drawn.tokens else drawn.lengths(basis))
    spreads += by_tokens or _spread("Length", CHARACTERS, f"all {len(records):,} rows", characters)
    named = {
        str(one["values"]): int(one["counts"]) for one in pc.value_counts(samples.column("language")).to_pylist() if one["values"]
    }
    if rest := len(records) - sum(named.values()) if named else 0:
        named["not told"] = rest
    languages = dict(Counter(named or drawn.languages).most_common())
    return Figures(len(records), facts, spreads, languages, f"all {len(records):,} rows" if named else basis, drawn.faults)


def _of_pictures(sizes: Pieces, basis: str) -> list[Spread]:
    """`sizes`: [N, 2] of widths and heights."""

    def sides() -> Iterator[np.ndarray]:
        return (np.sqrt(sizes_N2.astype(np.float64).prod(1)) for sizes_N2 in sizes())

    def aspects() -> Iterator[np.ndarray]:
        return (sizes_N2[:, 0] / sizes_N2[:, 1] for sizes_N2 in sizes())

    return _spread("Resolution", "pixels, √(width × height)", basis, sides) + _spread("Aspect", "width ÷ height", basis, aspects)


def _spread(title: str, unit: str, basis: str, pieces: Pieces) -> list[Spread]:
    """None or one."""
    bins = bins_of(pieces)
    return [Spread(title, unit, basis, bins)] if bins else []


def _pieces(values_N: np.ndarray) -> Iterator[np.ndarray]:
    """Of a table that is mapped; no number is below 1, which has a place on an axis by factors."""
    return (np.maximum(values_N[at : at + PIECE], 1) for at in range(0, len(values_N), PIECE))


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
