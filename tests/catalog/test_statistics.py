"""Statistics are what counting in Python gives."""

import random
from bisect import bisect_right
from collections import Counter

import pytest

from kimivl.catalog.statistics import ASPECT_EDGES, PICTURE_EDGES, SIDE_EDGES, TEXT_EDGES, TOKEN_EDGES, statistics
from kimivl.data.lengths import measure_lengths
from kimivl.data.manifest.schema import write_manifest
from kimivl.data.source import Source
from kimivl.processor.tokenizer import Tokenizer
from tests.catalog.manifests import sample_row


@pytest.fixture(scope="module")
def rows():
    """Objects (pages of PDFs, ranges, copies, videos) and samples, at random."""
    draw = random.Random(7)
    objects = []
    for number in range(300):
        place = draw.randrange(200)
        objects.append({
            "name": f"{number}", "url": f"{place}.x", "version": "", "start": place % 5, "length": 100 + place % 37,
            "deflated": False, "sha256": f"{place % 150:064x}", "page": draw.choice([None, None, draw.randrange(4)]),
            "media_type": ["image/png", "image/jpeg", "application/pdf"][place % 3], "frames": draw.choice([None, 30]),
            "width": draw.choice([1, 127, 128, 500, 512, 4096, 9000]), "height": draw.choice([1, 128, 500, 683, 2048]),
            "licence": draw.choice([None, "MIT", "CC0-1.0"]),
        })  # fmt: skip
    samples = [
        sample_row(
            number, [draw.randrange(300) for _ in range(draw.choice([0, 1, 1, 2, 20]))],
            "x" * draw.choice([0, 1, 15, 16, 64, 20000]),
            licence=draw.choice([None, "MIT"]), language=draw.choice([None, "en", "zh-Hans"]),
        )
        for number in range(500)
    ]  # fmt: skip
    return objects, samples


@pytest.fixture(scope="module")
def found(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("statistics") / "train.manifest"
    write_manifest(folder, *rows, "file:///none/")
    return statistics(folder)


def histogram(values, edges):
    counts = Counter(bisect_right(edges, value) for value in values)
    return {"edges": list(edges), "counts": [counts[place] for place in range(len(edges) + 1)]}


def test_sums_are_those_of_the_rows(rows, found):
    objects, samples = rows
    places = {(row["url"], row["start"], row["length"]) for row in objects}
    assert found["samples"] == 500 and found["objects"] == 300
    assert found["pictures"] == sum(len(row["pictures"]) for row in samples)
    assert found["characters"] == sum(row["text_length"] for row in samples)
    assert found["frames"] == sum(row["frames"] or 0 for row in objects)
    assert found["bytes"] == sum(length for *_, length in places)


def test_histograms_count_every_row_once(rows, found):
    objects, samples = rows
    assert found["longer_side"] == histogram([max(row["width"], row["height"]) for row in objects], SIDE_EDGES)
    assert found["aspect"] == histogram([row["width"] / row["height"] for row in objects], ASPECT_EDGES)
    assert found["text_length"] == histogram([row["text_length"] for row in samples], TEXT_EDGES)
    assert found["pictures_per_sample"] == histogram([len(row["pictures"]) for row in samples], PICTURE_EDGES)


def test_names_are_counted(rows, found):
    objects, samples = rows
    assert found["languages"] == Counter(row["language"] or "unknown" for row in samples)
    assert found["licences"]["samples"] == Counter(row["licence"] or "unknown" for row in samples)
    assert found["licences"]["objects"] == Counter(row["licence"] or "unknown" for row in objects)
    assert list(found["languages"].values()) == sorted(found["languages"].values(), reverse=True)
    types = Counter(row["media_type"] for row in objects)
    assert {name: each["objects"] for name, each in found["media_types"].items()} == types
    assert sum(each["bytes"] for each in found["media_types"].values()) == found["bytes"]


def test_a_duplicate_is_the_same_content_at_another_place(rows, found):
    places = {(row["url"], row["start"]): (row["sha256"], row["length"]) for row in rows[0]}
    by_content = {}
    for content, length in places.values():
        by_content.setdefault(content, []).append(length)
    several = [lengths for lengths in by_content.values() if len(lengths) > 1]
    assert several, "the rows were drawn to hold some"
    assert found["duplicates"]["contents"] == len(several)
    assert found["duplicates"]["copies"] == sum(len(lengths) - 1 for lengths in several)


def test_tokens_that_were_counted_are_summed_by_vocabulary(tmp_path):
    folder, lengths = tmp_path / "mine" / "train.manifest", [0, 14, 15, 16, 300, 5000]
    samples = [sample_row(number, [], "a" * length) for number, length in enumerate(lengths)]
    write_manifest(folder, [], samples, "file:///none/")
    assert statistics(folder)["token_lengths"] == []
    tokenizer = Tokenizer({bytes([value]): value for value in range(256)})
    measure_lengths(Source(tmp_path, "mine"), tokenizer, called="bytes")
    tokens = [length + 1 for length in lengths]  # a token a byte, and [EOS]
    assert statistics(folder)["token_lengths"] == [
        {"tokenizer": tokenizer.digest, "vocabulary": tokenizer.vocab_size, "called": "bytes", "tokens": sum(tokens)}
        | histogram(tokens, TOKEN_EDGES)
    ]


def test_an_empty_manifest_has_nothing_of_everything(tmp_path):
    write_manifest(tmp_path / "m", [], [], "file:///none/")
    found = statistics(tmp_path / "m")
    assert found["samples"] == found["bytes"] == found["duplicates"]["copies"] == 0 and found["languages"] == {}


def test_a_folder_without_a_manifest_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path} is no manifest"):
        statistics(tmp_path)
