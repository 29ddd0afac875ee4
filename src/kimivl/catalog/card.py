"""The data set card of a version: README.md as Hugging Face's hub reads it.

What it is: `card`, a YAML header (licence, language, size category, which file is which table), then origin and statistics as
tables; and the rows of these tables, which the command prints too.
Facts: the header's keys and size categories are those of the hub's documentation of data set cards; its licences are SPDX names
in lower case, or "other".
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml
from rich.filesize import decimal

from kimivl.catalog.statistics import UNKNOWN, Statistics
from kimivl.catalog.versions import Version
from kimivl.data.lengths import tokenizer_name

SIZES = (
    ("n<1K", 10**3),
    ("1K<n<10K", 10**4),
    ("10K<n<100K", 10**5),
    ("100K<n<1M", 10**6),
    ("1M<n<10M", 10**7),
    ("10M<n<100M", 10**8),
)
LARGEST = "n>100M"
HISTOGRAMS = {
    "longer_side": "Longer side of an original (pixels)",
    "aspect": "Width ÷ height of an original",
    "text_length": "Characters of a sample",
    "pictures_per_sample": "Pictures of a sample",
}


def card(version: Version, numbers: Statistics) -> str:
    """The text of README.md."""
    header = yaml.safe_dump(_header(version, numbers), sort_keys=False, allow_unicode=True)
    parts = [f"---\n{header}---\n", f"# {version.name}, version {version.number}", version.note]
    parts += ["## Origin", _origin(version), "## Contents", _table(("what", "how many"), contents(numbers))]
    parts += [
        "A row of `samples.parquet` is a sample: its record as JSON, and which rows of `objects.parquet` its pictures are. A row "
        "of `objects.parquet` is an original: the object that holds it below the root, its range of bytes, and their sha256."
    ]
    for title, rows in names(numbers):
        parts += [f"## {title}", _table(("which", "how many"), rows)]
    for title, counted in histograms(numbers):
        rows = [(name, f"{count:,}") for name, count in counted]
        parts += [f"## {title}", _table(("from … to below", "how many"), rows)]
    return "\n\n".join(part for part in parts if part) + "\n"


def contents(numbers: Statistics) -> list[tuple[str, str]]:
    """The counts of a version as (what, how many), for people."""
    copies = numbers["duplicates"]
    return [
        ("samples", f"{numbers['samples']:,}"),
        ("pictures in samples", f"{numbers['pictures']:,}"),
        ("characters", f"{numbers['characters']:,}"),
        *((f"tokens of texts by {_vocabulary(each)}", f"{each['tokens']:,}") for each in _token_lengths(numbers)),
        ("originals", f"{numbers['objects']:,}"),
        ("bytes of originals", decimal(numbers["bytes"])),
        ("frames of videos", f"{numbers['frames']:,}"),
        ("copies of other originals", f"{copies['copies']:,} ({decimal(copies['bytes'])})"),
    ]


def names(numbers: Statistics) -> list[tuple[str, list[tuple[str, str]]]]:
    """What is counted by name, as (title, [(name, how many)])."""
    types = [(name, f"{each['objects']:,} ({decimal(each['bytes'])})") for name, each in numbers["media_types"].items()]
    return [
        ("Languages of samples", _named(numbers["languages"])),
        ("Licences of samples", _named(numbers["licences"]["samples"])),
        ("Licences of originals", _named(numbers["licences"]["objects"])),
        ("Media types of originals", types),
    ]


def histograms(numbers: Statistics) -> list[tuple[str, list[tuple[str, int]]]]:
    """All histograms, as (title, [(range, how many)])."""
    tokens = [(f"Tokens of a sample, pictures left out, by {_vocabulary(each)}", bins(each)) for each in _token_lengths(numbers)]
    return tokens + [(title, bins(numbers[key])) for key, title in HISTOGRAMS.items()]


def _token_lengths(numbers: Statistics) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = numbers["token_lengths"]
    return found


def _vocabulary(counted: Mapping[str, Any]) -> str:
    return tokenizer_name(counted["called"], counted["vocabulary"], counted["tokenizer"])


def bins(histogram: Mapping[str, Sequence[float]]) -> list[tuple[str, int]]:
    """The bins of a histogram that hold something, as (range, how many)."""
    edges = [str(edge) if isinstance(edge, int) else f"{edge:.3g}" for edge in histogram["edges"]]
    between = (f"{low} … {high}" for low, high in zip(edges, edges[1:]))
    ranges = [f"below {edges[0]}", *between, f"{edges[-1]} and more"]
    return [(name, int(count)) for name, count in zip(ranges, histogram["counts"]) if count]


def licences(numbers: Statistics) -> tuple[str, ...]:
    """Of samples and originals, by name."""
    return tuple(sorted({name for names in numbers["licences"].values() for name in names}))


def _header(version: Version, numbers: Statistics) -> dict[str, Any]:
    known = sorted({name.lower() for name in licences(numbers) if name != UNKNOWN and re.fullmatch(r"[\w.+-]+", name)})
    whole = len(known) == len(licences(numbers))
    tables = (("samples", True), ("objects", False))
    header: dict[str, Any] = {"pretty_name": f"{version.name}, version {version.number}"}
    header["license"] = _one_or_all([*known, *([] if whole and known else ["other"])])
    header["language"] = sorted({name.split("-")[0].lower() for name in numbers["languages"] if name != UNKNOWN})
    header["size_categories"] = [size_category(numbers["samples"])]
    header["configs"] = [
        {
            "config_name": name,
            "data_files": [{"split": "train", "path": f"{name}.parquet"}],
            **({"default": True} if default else {}),
        }
        for name, default in tables
    ]
    return {key: value for key, value in header.items() if value}


def size_category(samples: int) -> str:
    return next((name for name, most in SIZES if samples < most), LARGEST)


def _one_or_all(names: list[str]) -> str | list[str]:
    return names[0] if len(names) == 1 else names


def _origin(version: Version) -> str:
    rows = [("digest", f"`{version.digest}`"), ("created", version.created)]
    rows += [("made from version", str(version.parent))] if version.parent else []
    for key, value in version.provenance.items():
        rows.append((key, value if isinstance(value, str) else f"`{json.dumps(value, ensure_ascii=False)}`"))
    return _table(("what", "which"), rows)


def _named(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    return [(name, f"{count:,}") for name, count in counts.items()]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
