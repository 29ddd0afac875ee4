"""A manifest becomes a version: all its files or none, numbers in a row, nothing overwritten."""

import json
import os
import shutil

import pytest
from PIL import Image

from kimivl.catalog.fetch import fetch
from kimivl.catalog.publish import publish, write_table
from kimivl.catalog.sync import sync
from kimivl.catalog.versions import Catalog, NoVersion
from kimivl.config.store import StoreConfig
from kimivl.data.index.build import index
from kimivl.data.source import Source
from kimivl.data.store.node import NodeFetcher
from kimivl.processor.image import load_rgb
from tests.catalog.manifests import make_manifest

FILES = {
    "draft.json", "objects.parquet", "samples.parquet", "manifest.json", "originals.parquet", "stats.json", "README.md",
    "croissant.json", "version.json",
}  # fmt: skip


def test_a_version_is_its_tables_their_description_and_a_record(manifest, catalog, tmp_path):
    version, new = publish(manifest, catalog, "cats", "first", {"command": "kimivl data publish"})
    assert new and version.reference == "cats@1" and version.parent is None and version.note == "first"
    folder = tmp_path / "catalog" / "cats" / "1"
    assert {path.name for path in folder.rglob("*") if path.is_file()} == FILES
    assert version.digest == json.loads((manifest / "manifest.json").read_text())["digest"]
    assert version.summary["samples"] == 4 and version.licences == ("CC0-1.0", "MIT")
    for name, facts in version.files.items():
        assert (folder / name).stat().st_size == facts.size
    assert catalog.find("cats")[0] == version


def test_the_same_manifest_is_not_published_twice_in_a_row(manifest, catalog, tmp_path):
    first, _ = publish(manifest, catalog, "cats")
    again, new = publish(manifest, catalog, "cats", "another note")
    assert not new and again == first and [known.number for known in catalog.known("cats")] == [1]
    other = make_manifest(tmp_path / "other.manifest", tmp_path / "originals", 5)
    second, _ = publish(other, catalog, "cats")
    third, new = publish(manifest, catalog, "cats")  # it is not the last one any more
    assert new and (second.number, second.parent, third.number, third.parent) == (2, 1, 3, 2)


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".hidden", "cats@1", "originals", "a..b", "кот"])
def test_a_name_that_could_be_a_path_is_refused(manifest, catalog, name):
    with pytest.raises(ValueError, match="cannot name a data set"):
        publish(manifest, catalog, name)
    assert catalog.known() == []


def test_originals_that_are_not_as_indexed_are_named_and_nothing_is_published(manifest, catalog, tmp_path):
    (tmp_path / "originals" / "1.png").unlink()
    (tmp_path / "originals" / "shard.tar").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"2 of 4 originals") as error:
        publish(manifest, catalog, "cats")
    assert "1.png is missing" in str(error.value) and "shard.tar has 5 bytes, 74 are needed" in str(error.value)
    assert catalog.known() == []


def test_local_files_of_any_name_are_published(catalog, tmp_path):
    """The object store's own list of a folder ends at a tab in a name, and at links in a circle."""
    folder, out = tmp_path / "photos", tmp_path / "data" / "mine" / "train.manifest"
    folder.mkdir()
    (folder / "circle").symlink_to(folder)
    names = ["a.png", "b\tc.png", "d#1.png", "e %41[1].png", "\u732b.png"]
    for name in names:
        Image.new("RGB", (8, 8), "red").save(folder / name)
    (folder / "rows.jsonl").write_text("\n".join(json.dumps({"image": name, "caption": "red"}) for name in names))
    index(str(folder), out)
    version, _ = publish(out, catalog, "red")
    assert version.summary["samples"] == len(names)


def test_originals_that_were_replaced_since_they_were_indexed_are_not_published(catalog, tmp_path):
    """Local files have no etag: one of the same size is told by its time of change, and then by its bytes."""
    folder, out = tmp_path / "photos", tmp_path / "data" / "mine" / "train.manifest"
    folder.mkdir()
    for name, colour in (("a", "red"), ("b", "green"), ("c", "blue")):
        Image.new("RGB", (8, 8), colour).save(folder / f"{name}.bmp")
    rows = [{"image": f"{name}.bmp", "caption": name} for name in "abc"]
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    index(str(folder), out)
    os.utime(folder / "c.bmp", (1, 1))
    assert publish(out, catalog, "first")[1]
    Image.new("RGB", (8, 8), "black").save(folder / "b.bmp")
    with pytest.raises(ValueError, match=r"1 of 3 originals(.|\n)*b.bmp was replaced \(it has other bytes\)"):
        publish(out, catalog, "second")
    assert catalog.known("second") == []


def test_the_same_rows_over_other_originals_are_another_version(manifest, catalog, tmp_path):
    publish(manifest, catalog, "cats")
    shutil.move(tmp_path / "originals", tmp_path / "moved")
    moved = make_manifest(tmp_path / "moved.manifest", tmp_path / "moved")
    version, new = publish(moved, catalog, "cats")
    assert new and version.number == 2 and version.root == (tmp_path / "moved").as_uri() + "/"
    assert version.digest == catalog.find("cats@1")[0].digest


def test_pictures_that_were_moved_are_read_and_copied_from_where_they_are_now(catalog, tmp_path):
    folder, moved, out = tmp_path / "photos", tmp_path / "moved", tmp_path / "data" / "mine" / "train.manifest"
    folder.mkdir()
    Image.new("RGB", (8, 8), "red").save(folder / "a.bmp")
    (folder / "rows.jsonl").write_text(json.dumps({"image": "a.bmp", "caption": "red"}))
    index(str(folder), out)
    publish(out, catalog, "mine")
    copy = Catalog(str(tmp_path / "copy"))
    sync(catalog, copy, "mine")
    folder.rename(moved)
    index(str(moved), out)
    assert publish(out, catalog, "mine")[0].reference == "mine@2"
    fetch(catalog, "mine", tmp_path / "there" / "mine" / "train.manifest")
    (part,) = Source(tmp_path / "there", "mine", fetch=NodeFetcher(StoreConfig())).at_hand(0).images
    assert load_rgb(part.image).getpixel((0, 0)) == (255, 0, 0)
    result = sync(catalog, copy, "mine")
    assert result.new and (result.copied, result.present) == (0, 1)


def test_a_publication_that_was_killed_is_resumed_under_its_number(manifest, catalog, tmp_path, monkeypatch):
    written = []

    def stop_at_the_second(place, draft, file, path):
        if written:
            raise KeyboardInterrupt
        written.append(file)
        write_table(place, draft, file, path)

    monkeypatch.setattr("kimivl.catalog.publish.write_table", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        publish(manifest, catalog, "cats", "first try")
    assert [known.state for known in catalog.known("cats")] == ["draft"]
    with pytest.raises(NoVersion):
        catalog.find("cats@1")
    monkeypatch.undo()
    other = make_manifest(tmp_path / "other.manifest", tmp_path / "originals", 5)
    assert publish(other, catalog, "cats")[0].number == 2
    version, new = publish(manifest, catalog, "cats", "second try")
    assert new and version.number == 1 and version.note == "first try"
    assert {path.name for path in (tmp_path / "catalog" / "cats" / "1").rglob("*") if path.is_file()} == FILES


def test_what_indexing_said_of_itself_is_kept_as_provenance(manifest, catalog):
    head = json.loads((manifest / "manifest.json").read_text())
    (manifest / "manifest.json").write_text(json.dumps(head | {"made_by": {"command": "kimivl data index x"}}))
    version, _ = publish(manifest, catalog, "cats", how={"command": "kimivl data publish"})
    assert version.provenance["made_by"] == {"command": "kimivl data index x"}
    assert version.provenance["command"] == "kimivl data publish" and "digest" not in version.provenance


def test_the_catalog_says_which_versions_there_are(manifest, catalog):
    with pytest.raises(NoVersion, match="it is empty"):
        catalog.find("cats")
    publish(manifest, catalog, "cats")
    with pytest.raises(NoVersion, match="it has cats"):
        catalog.find("dogs")
    with pytest.raises(NoVersion, match=r"of cats it has 1 \(released\)"):
        catalog.find("cats@7")
    with pytest.raises(ValueError, match="write NAME@3"):
        catalog.find("cats@first")


def test_a_damaged_record_is_named(manifest, catalog, tmp_path):
    publish(manifest, catalog, "cats")
    record = tmp_path / "catalog" / "cats" / "1" / "version.json"
    record.write_text(record.read_text().replace('"digest"', '"digits"'))
    with pytest.raises(ValueError, match=r"cats/1/version.json is no version record of this program \(digest: "):
        catalog.find("cats@1")
