"""A fetched manifest is the published one, and says where it came from."""

import json

import pytest

from kimivl.catalog.fetch import fetch, opened
from kimivl.catalog.lifecycle import delete
from kimivl.catalog.publish import publish
from kimivl.data.manifest.manifest import Manifest
from kimivl.data.store.errors import CorruptObject
from tests.catalog.manifests import make_manifest


def test_training_reads_the_same_samples(manifest, catalog, tmp_path):
    publish(manifest, catalog, "cats")
    out = tmp_path / "data" / "cats" / "train.manifest"
    fetch(catalog, "cats", out)
    was, now = (Manifest(folder, tmp_path / folder.parent.name) for folder in (manifest, out))
    assert [now[row] for row in range(len(now))] == [was[row] for row in range(len(was))]
    assert json.loads((out / "catalogs.json").read_text()) == [{"url": catalog.url, "name": "cats", "number": 1}]
    assert publish(out, catalog, "cats")[1] is False  # where it came from is no part of the digest


def test_a_fetch_replaces_a_manifest_and_nothing_else(manifest, catalog, tmp_path):
    publish(manifest, catalog, "cats")
    (tmp_path / "photos").mkdir()
    with pytest.raises(ValueError, match="photos is there and is no manifest"):
        fetch(catalog, "cats", tmp_path / "photos")
    other = make_manifest(tmp_path / "other.manifest", tmp_path / "originals", 5)
    fetch(catalog, "cats", other)
    assert len(Manifest(other, tmp_path / "cache")) == 4


def test_a_damaged_table_is_named_and_nothing_is_left(manifest, catalog, tmp_path):
    publish(manifest, catalog, "cats")
    table = tmp_path / "catalog" / "cats" / "1" / "samples.parquet"
    table.write_bytes(table.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptObject, match="cats/1/samples.parquet: is not what version.json says"):
        fetch(catalog, "cats", tmp_path / "out.manifest")
    assert not list(tmp_path.glob("*out.manifest*"))


def test_a_look_takes_versions_and_folders(manifest, catalog):
    publish(manifest, catalog, "cats")
    with opened(catalog, str(manifest)) as folder:
        assert folder == manifest
    with opened(catalog, "cats@1") as folder:
        assert (folder / "samples.parquet").read_bytes() == (manifest / "samples.parquet").read_bytes()
    assert not folder.exists()
    with pytest.raises(ValueError, match="some/where is no manifest"), opened(catalog, "some/where"):
        pass
    delete(catalog, "cats@1")
    with pytest.raises(ValueError, match="cats@1 was deleted"), opened(catalog, "cats@1"):
        pass
