"""A manifest becomes a version: all its files or none, numbers in a row, nothing overwritten."""

import json

import pytest

from kimivl.catalog.publish import publish
from kimivl.catalog.versions import Catalog

FILES = {
    "draft.json", "objects.parquet", "samples.parquet", "manifest.json", "stats.json", "README.md",
    "croissant.json", "version.json",
}  # fmt: skip


@pytest.fixture
def catalog(tmp_path) -> Catalog:
    return Catalog(str(tmp_path / "catalog"))


def test_a_version_is_its_tables_their_description_and_a_record(manifest, catalog, tmp_path):
    version, new = publish(manifest, catalog, "cats", "first", {"command": "kimivl data publish"})
    assert new and version.reference == "cats@1" and version.parent is None and version.note == "first"
    folder = tmp_path / "catalog" / "cats" / "1"
    assert {path.name for path in folder.iterdir()} == FILES
    assert version.digest == json.loads((manifest / "manifest.json").read_text())["digest"]
    assert version.summary["samples"] == 4 and version.licences == ("CC0-1.0", "MIT")
    for name, facts in version.files.items():
        assert (folder / name).stat().st_size == facts.size
    assert catalog.find("cats")[0] == version
