"""Pictures that indexing wrote out of Parquet cells go with a version: up to a real S3 server, and down to whoever reads."""

import io
import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kimivl.catalog.drafts import Withdrawn, give_up
from kimivl.catalog.fetch import fetch, opened
from kimivl.catalog.lifecycle import delete
from kimivl.catalog.originals import read_seen
from kimivl.catalog.publish import publish
from kimivl.catalog.sync import sync
from kimivl.catalog.upload import upload
from kimivl.catalog.versions import FOUND, Catalog
from kimivl.catalog.view.context import View
from kimivl.catalog.view.server import answer
from kimivl.catalog.view.shelf import Shelf
from kimivl.config.store import StoreConfig
from kimivl.data.index.build import index
from kimivl.data.manifest.manifest import is_far
from kimivl.data.source import Source
from kimivl.data.store.client import Client
from kimivl.data.store.errors import CorruptObject
from kimivl.data.store.node import NodeFetcher
from kimivl.processor.image import load_rgb
from tests.servers import seaweed


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        Client(server.environment).put("s3://kimivl/made", b"buckets are made by writing")
        yield server


@pytest.fixture
def catalog(server, monkeypatch) -> Catalog:
    """An empty one on the server, which the AWS_* variables name."""
    for key, value in server.environment.items():
        monkeypatch.setenv(key, value)
    return Catalog(f"s3://kimivl/{time.monotonic_ns()}/catalog")


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def table(folder: Path, numbers: list[int]) -> Path:
    """The manifest of a Parquet table as Hugging Face writes them, with a picture in every row."""
    cells = []
    for number in numbers:
        Image.fromarray(pixels(number)).save(file := io.BytesIO(), "PNG")
        cells.append({"bytes": file.getvalue(), "path": None})
    rows = {
        "id": [f"p{row}" for row in range(len(numbers))],
        "image": cells,
        "caption": [f"number {number}" for number in numbers],
    }
    (folder / "table").mkdir(parents=True)
    pq.write_table(pa.table(rows), folder / "table" / "train.parquet")
    index(str(folder / "table"), folder / "data" / "mine" / "train.manifest")
    return folder / "data" / "mine" / "train.manifest"


@pytest.fixture
def manifest(tmp_path) -> Path:
    return table(tmp_path / "made", [0, 1, 2, 2, 3])  # one picture twice


def stored(catalog: Catalog) -> dict[str, str]:
    """When each picture was written, by name."""
    found = catalog.place.client.list(catalog.place.below("originals/mine"))
    return {entry.url.rpartition("/")[2]: str(entry.modified) for entry in found}


def check_samples(data: Path, numbers: list[int]) -> None:
    """Training reads the pixels that the cells held."""
    source = Source(data, "mine", fetch=NodeFetcher(StoreConfig()))
    assert len(source) == len(numbers)
    for row, number in enumerate(numbers):
        (part,) = source.at_hand(row).images
        assert np.array_equal(np.asarray(load_rgb(part.image)), pixels(number))


def test_a_version_is_read_where_its_table_never_was(catalog, manifest, tmp_path):
    version, new = publish(manifest, catalog, "mine")
    assert new and version.beside == f"{catalog.url}originals/mine/" and len(stored(catalog)) == 4
    shutil.rmtree(tmp_path / "made")
    fetch(catalog, "mine", tmp_path / "there" / "mine" / "train.manifest")
    assert is_far(tmp_path / "there" / "mine" / "train.manifest")
    check_samples(tmp_path / "there", [0, 1, 2, 2, 3])
    shown = answer(View(Shelf(tmp_path / "there"), NodeFetcher(StoreConfig())), "/picture/0/4/0")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(shown.body))), pixels(3))
    assert publish(tmp_path / "there" / "mine" / "train.manifest", catalog, "mine")[1] is False


def test_versions_share_pictures_and_a_deletion_spares_the_shared(catalog, manifest, tmp_path):
    publish(manifest, catalog, "mine")
    before = stored(catalog)
    publish(table(tmp_path / "more", [2, 3, 4]), catalog, "mine")
    after = stored(catalog)
    assert len(after) == 5 and all(after[name] == written for name, written in before.items())  # not written again
    plan = delete(catalog, "mine@1")
    assert (len(plan.originals), plan.shared) == (2, 2) and len(stored(catalog)) == 3
    fetch(catalog, "mine@2", tmp_path / "there" / "mine" / "train.manifest")
    check_samples(tmp_path / "there", [2, 3, 4])


def test_what_the_store_said_of_them_tells_a_deletion_which_was_replaced(catalog, manifest, tmp_path):
    version, _ = publish(manifest, catalog, "mine")
    catalog.place.download(version.prefix + FOUND, tmp_path / FOUND)
    listed = {entry.url: (entry.size, entry.version) for entry in catalog.place.client.list(version.beside)}
    found = {version.places.url(name): (seen.size, seen.version) for name, seen in read_seen(tmp_path / FOUND).items()}
    assert found == listed and len(found) == 4
    other = min(listed)
    Client().put(other, b"x" * listed[other][0])
    plan = delete(catalog, "mine@1")
    assert plan.replaced == (other,) and list(stored(catalog)) == [other.rpartition("/")[2]]


def test_a_deletion_and_an_upload_to_the_same_folder_see_each_other(catalog, manifest, tmp_path, monkeypatch):
    """The roots of both versions have nothing in common."""
    publish(manifest, catalog, "mine")
    more = table(tmp_path / "more", [2, 3, 4])

    def deleted_meanwhile(*words):
        with pytest.raises(ValueError, match="mine@2 is being published and may need the same originals"):
            delete(catalog, "mine@1")
        return upload(*words)

    monkeypatch.setattr("kimivl.catalog.publish.upload", deleted_meanwhile)
    publish(more, catalog, "mine")
    assert len(stored(catalog)) == 5
    third = table(tmp_path / "third", [0])
    with pytest.raises(ValueError, match="mine@1 is being deleted, and its originals lie near those of this manifest"):
        publish(third, catalog, "mine")
    delete(catalog, "mine@1")
    assert len(stored(catalog)) == 3 and [known.number for known in catalog.known("mine")] == [1, 2]


def test_a_draft_that_is_given_up_while_its_pictures_are_written_comes_to_nothing(catalog, manifest, monkeypatch):
    def given_up_meanwhile(*words):
        done = upload(*words)
        give_up(catalog, "mine", 1)
        return done

    with monkeypatch.context() as patch:
        patch.setattr("kimivl.catalog.publish.upload", given_up_meanwhile)
        with pytest.raises(Withdrawn, match="mine@1 was removed from .* meanwhile: run the command again"):
            publish(manifest, catalog, "mine")
    assert catalog.known("mine") == [] and len(stored(catalog)) == 4
    assert publish(manifest, catalog, "mine")[0].number == 1


def test_a_copy_in_another_store_has_them_too(catalog, manifest, tmp_path):
    version, _ = publish(manifest, catalog, "mine")
    local = Catalog(str(tmp_path / "local"))
    result = sync(catalog, local, "mine")
    assert result.copied == 4 and result.version.digest == version.digest
    delete(catalog, "mine@1")
    assert stored(catalog) == {}
    fetch(local, "mine", tmp_path / "there" / "mine" / "train.manifest")
    check_samples(tmp_path / "there", [0, 1, 2, 2, 3])
    onwards = Catalog(f"{catalog.url}again")
    assert publish(tmp_path / "there" / "mine" / "train.manifest", onwards, "mine")[0].digest == version.digest
    assert len(stored(onwards)) == 4


def test_the_table_of_a_copy_has_no_etags_of_them(catalog, manifest, tmp_path):
    """Wherever they are brought from there, their names tell their contents, and a store gives them other etags."""
    publish(manifest, catalog, "mine")
    copy = Catalog(f"{catalog.url}copy")
    sync(catalog, copy, "mine")
    with opened(copy, "mine") as folder:
        assert set(pq.read_table(folder / "objects.parquet").column("version").to_pylist()) == {""}
    fetch(copy, "mine", tmp_path / "there" / "mine" / "train.manifest")
    check_samples(tmp_path / "there", [0, 1, 2, 2, 3])
    assert len(delete(copy, "mine@1").originals) == 4 and len(stored(catalog)) == 4


def test_of_a_disk_only_the_folders_of_originals_are_listed(tmp_path, monkeypatch):
    """Some cells hold bytes, others paths: originals lie in two folders that have little above them in common."""
    root, out = tmp_path / "table", tmp_path / "data" / "mine" / "train.manifest"
    root.mkdir()
    for number in range(4):
        Image.fromarray(pixels(number)).save(root / f"{number}.png")
    cells = [{"bytes": (root / f"{n}.png").read_bytes() if n < 2 else None, "path": f"{n}.png"} for n in range(4)]
    rows = {"id": [f"p{number}" for number in range(4)], "image": cells, "caption": ["a picture"] * 4}
    pq.write_table(pa.table(rows), root / "train.parquet")
    index(str(root), out)
    listed: list[str] = []
    original = Client.list
    monkeypatch.setattr(Client, "list", lambda client, url: listed.append(url.rstrip("/") + "/") or original(client, url))
    catalog = Catalog(str(tmp_path / "catalog"))
    publish(out, catalog, "mine")
    assert sync(catalog, Catalog(str(tmp_path / "copy")), "mine").copied == 4
    plan = delete(catalog, "mine@1")
    assert len(plan.originals) == 4 and not list((tmp_path / "catalog" / "originals").rglob("*.png"))
    folders = tuple(folder.as_uri() + "/" for folder in (root, out.parent, tmp_path / "catalog", tmp_path / "copy"))
    assert len(listed) > 4 and all(url.startswith(folders) for url in listed)


@pytest.mark.parametrize("part", [64 << 20, 100])
def test_what_was_changed_or_is_in_the_way_stops_a_publication_that_goes_on_later(catalog, manifest, monkeypatch, part):
    """`part`: pictures in one piece, or in parts as large ones are."""
    monkeypatch.setattr("kimivl.catalog.upload.ONE_REQUEST", part)
    monkeypatch.setattr("kimivl.data.store.client.ONE_REQUEST", part)
    first, last = (sorted((manifest.parent / "train.pictures").rglob("*.png"))[place] for place in (0, -1))
    right = last.read_bytes()
    last.write_bytes(right[:-1] + b"x")
    with pytest.raises(CorruptObject, match=f"{last.name}: is not what was indexed"):
        publish(manifest, catalog, "mine")
    last.write_bytes(right)
    way = catalog.place.below(f"originals/mine/{first.relative_to(manifest.parent)}")
    Client().put(way, b"x" * first.stat().st_size)
    with pytest.raises(CorruptObject, match=f"{first.name}: holds something else than its name says"):
        publish(manifest, catalog, "mine")
    assert [known.state for known in catalog.known("mine")] == ["draft"]
    Client().delete(way)
    version, new = publish(manifest, catalog, "mine")
    assert new and version.number == 1 and Client().get(way) == first.read_bytes()
