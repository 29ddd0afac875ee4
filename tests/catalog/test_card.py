"""The card and the Croissant file are what others read them as."""

import json
import warnings

import pyarrow.parquet as pq
import pytest
import yaml

from kimivl.catalog.card import bins, size_category
from kimivl.catalog.publish import publish
from kimivl.catalog.versions import Catalog
from kimivl.data.manifest.schema import write_manifest
from tests.catalog.manifests import object_row, sample_row


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a version with several licences and languages, and one original whose licence nobody knows."""
    work = tmp_path_factory.mktemp("card")
    objects = [object_row(work, f"{row}.png", bytes([row]) * 9, licence=[None, "CC-BY-4.0"][row % 2]) for row in range(4)]
    samples = [sample_row(row, [row], licence="MIT", language=["zh-Hans", "en", None][row % 3]) for row in range(4)]
    write_manifest(work / "m.manifest", objects, samples, work.as_uri() + "/")
    publish(work / "m.manifest", Catalog(str(work / "catalog")), "pets", "Dogs | cats")
    return work / "catalog" / "pets" / "1"


def test_the_card_has_the_header_that_the_hub_reads(folder):
    _, header, text = (folder / "README.md").read_text().split("---\n", 2)
    values = yaml.safe_load(header)
    assert values["license"] == ["cc-by-4.0", "mit", "other"] and values["language"] == ["en", "zh"]
    assert values["size_categories"] == ["n<1K"]
    files = {each["config_name"]: each["data_files"] for each in values["configs"]}
    assert files == {name: [{"split": "train", "path": f"{name}.parquet"}] for name in ("samples", "objects")}
    assert [each["config_name"] for each in values["configs"] if each.get("default")] == ["samples"]
    for config in files.values():
        assert pq.read_table(folder / config[0]["path"]).num_rows == 4


def test_the_card_tells_origin_and_numbers_in_tables(folder):
    text = (folder / "README.md").read_text()
    assert "Dogs | cats" in text and "| CC-BY-4.0 | 2 |" in text and "| unknown | 2 |" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(row.endswith("|") for row in rows) and len({row.count("|") for row in rows}) == 1  # two columns everywhere


def test_size_categories_are_the_hubs():
    assert [size_category(count) for count in (999, 1000, 9_999, 10**6, 10**9)] == [
        "n<1K", "1K<n<10K", "1K<n<10K", "1M<n<10M", "n>100M",
    ]  # fmt: skip


def test_a_bin_says_what_it_holds():
    histogram = {"edges": [16, 16384, 20000], "counts": [1, 0, 3, 4]}
    assert bins(histogram) == [("below 16", 1), ("16384 … 20000", 3), ("20000 and more", 4)]
    assert bins({"edges": [4 / 3], "counts": [0, 2]}) == [("1.33 and more", 2)]


def test_mlcroissant_reads_the_description_and_its_records(folder):
    import mlcroissant

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = mlcroissant.Dataset(jsonld=folder / "croissant.json")
        samples = list(dataset.records("samples"))
        objects = list(dataset.records("objects"))
    assert not dataset.metadata.ctx.issues.errors
    assert dataset.metadata.name == "pets" and str(dataset.metadata.version) == "1.0.0"
    assert [json.loads(row["samples/record"])["id"] for row in samples] == ["s0", "s1", "s2", "s3"]
    assert [row["objects/length"] for row in objects] == [9] * 4
