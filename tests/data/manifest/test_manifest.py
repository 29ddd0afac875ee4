"""A manifest gives samples by row; its unpacked tables are a cache that may be lost, damaged or shared."""

import json
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kimivl.data.manifest.manifest import Manifest, is_manifest
from kimivl.data.manifest.schema import write_manifest
from kimivl.data.sample import read_record
from kimivl.processor.messages import TextPart
from kimivl.processor.stored import StoredBytes, StoredPicture

PLACE = {
    "version": "",
    "start": 0,
    "length": 9,
    "deflated": False,
    "sha256": "ab",
    "media_type": "image/png",
    "width": 4,
    "height": 3,
}
OBJECTS = [
    PLACE | {"name": "a b.png", "url": "a b.png", "version": '"e"'},
    PLACE | {"name": "s.tar/1.png", "url": "s.tar", "start": 512},
    PLACE | {"name": "x.pdf#page=3", "url": "x.pdf", "page": 2, "media_type": "application/pdf"},
    PLACE
    | {"name": "c.mp4", "url": "c.mp4", "frames": 3, "pts": [0, 512, 1024], "time_base": "1/512", "media_type": "video/mp4"},
    PLACE | {"name": "./p/1.png", "url": "./train.pictures/ab/cd.png"},
    PLACE | {"name": "far", "url": "s3://other/far.png"},
]


def record(number: int, *images: str) -> str:
    parts = [*({"type": "image", "image": image} for image in images), {"type": "text", "text": f"no {number}"}]
    return json.dumps({"id": f"r{number}", "content": parts, "meta": {"n": number}})


@pytest.fixture
def written(tmp_path):
    """Row n shows picture n; the last one shows none, the one before it two frames."""
    pictures = [[{"object": place, "frame": None}] for place in (0, 1, 2, 4, 5)]
    pictures += [[{"object": 3, "frame": 0}, {"object": 3, "frame": 2}], []]
    samples = [
        {
            "id": f"r{n}",
            "record": record(n, *["x"] * len(shown)),
            "pictures": shown,
            "text_length": 4,
            "where": f"rows.jsonl:{n + 1}",
        }
        for n, shown in enumerate(pictures)
    ]
    folder = tmp_path / "data" / "train.manifest"
    write_manifest(folder, OBJECTS, samples, "s3://bucket/coco/")
    return folder


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def test_samples_come_with_their_pictures_in_any_order(written, cache):
    manifest = Manifest(written, cache)
    assert len(manifest) == 7 and [manifest[row].id for row in (6, 0, 3, 6)] == ["r6", "r0", "r3", "r6"]
    assert manifest[1].images[0].image == StoredPicture(
        "s.tar/1.png", StoredBytes("s3://bucket/coco/s.tar", "", 512, 9, "ab"), "image/png", 4, 3
    )  # fmt: skip
    assert manifest[0].images[0].image.place.version == '"e"'
    assert manifest[2].images[0].image.frame == 2 and manifest[2].images[0].image.pts is None
    assert [(part.image.frame, part.image.pts) for part in manifest[5].images] == [(0, 0), (2, 1024)]
    assert manifest[6].parts == [TextPart("no 6")] and manifest[6].meta == {"n": 6}


def test_urls_are_below_the_root_beside_the_manifest_or_whole(written, cache):
    manifest = Manifest(written, cache)
    assert [manifest[row].images[0].image.place.url for row in (0, 3, 4)] == [
        "s3://bucket/coco/a b.png", (written.parent / "train.pictures/ab/cd.png").as_uri(), "s3://other/far.png",
    ]  # fmt: skip


def test_a_root_of_files_keeps_what_names_have(tmp_path, cache):
    write_manifest(tmp_path / "m", [PLACE | {"name": "x", "url": "a #?.png"}], [], (tmp_path / "y z").as_uri() + "/")
    assert Manifest(tmp_path / "m", cache)._picture(0, None).place.url == (tmp_path / "y z" / "a #?.png").as_uri()


@pytest.mark.parametrize("row", [-1, 7])
def test_rows_beyond_the_end_are_none(written, cache, row):
    with pytest.raises(IndexError, match=f"has 7 samples, there is no sample {row}"):
        Manifest(written, cache)[row]


def test_tables_are_unpacked_once_and_by_their_digest(written, cache):
    manifest = Manifest(written, cache)
    (folder,) = cache.iterdir()
    assert folder.name == manifest.digest
    assert {path.name.partition("-")[0] for path in folder.iterdir()} == {"objects", "samples"}
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(Manifest(written, cache)) == 7 and {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    write_manifest(written, OBJECTS, [], "s3://bucket/coco/")
    assert len(Manifest(written, cache)) == 0 and len(list(cache.iterdir())) == 2 and manifest[0].id == "r0"


def test_the_same_data_under_other_versions_is_not_mistaken_for_those_before(written, cache):
    """An original that was written again has the same bytes and another etag: the digest stays."""
    before = Manifest(written, cache)
    samples = pq.read_table(written / "samples.parquet").to_pylist()
    write_manifest(written, [row | {"version": "new"} for row in OBJECTS], samples, "s3://bucket/coco/")
    after = Manifest(written, cache)
    assert after.digest == before.digest
    assert after[0].images[0].image.place.version == "new" != before[0].images[0].image.place.version


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "rows"])
def test_a_damaged_cache_file_is_unpacked_anew(written, cache, damage):
    Manifest(written, cache)
    (path,) = cache.rglob("samples-*.arrow")
    data = path.read_bytes()
    path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "other": b"x" * len(data), "rows": data}[damage])
    if damage == "rows":  # a whole file, but of fewer rows
        table = pq.read_table(written / "samples.parquet").slice(0, 2)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    manifest = Manifest(written, cache)
    assert [manifest[row].id for row in range(7)] == [f"r{row}" for row in range(7)]


def test_many_open_it_at_once(written, cache):
    found = []
    threads = [threading.Thread(target=lambda: found.append(Manifest(written, cache)[3].id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["r3"] * 8 and {path.name.partition("-")[0] for path in cache.rglob("*.*")} == {"objects", "samples"}


def test_a_folder_that_is_none_or_is_of_another_format_is_named(tmp_path, written, cache):
    with pytest.raises(ValueError, match="is no manifest: it lacks manifest.json; make one with `kimivl data index`"):
        Manifest(tmp_path, cache)
    assert not is_manifest(tmp_path) and is_manifest(written)
    head = json.loads((written / "manifest.json").read_text())
    (written / "manifest.json").write_text(json.dumps(head | {"format": 2}))
    with pytest.raises(ValueError, match="has the format 2, this version reads 1: make it anew"):
        Manifest(written, cache)
    (written / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="manifest.json: not valid JSON"):
        Manifest(written, cache)


@pytest.mark.parametrize("damage", [None, b"", b"no table at all"])
def test_a_table_that_is_missing_or_damaged_is_named(written, cache, damage):
    path = written / "samples.parquet"
    path.unlink() if damage is None else path.write_bytes(damage)
    with pytest.raises(ValueError, match="samples.parquet is missing or damaged .*: make the manifest anew"):
        Manifest(written, cache)


def test_a_record_that_is_none_is_named_with_where_it_was_read(tmp_path, cache):
    row = {"id": "a", "record": "{}", "pictures": [], "text_length": 0, "where": "rows.jsonl:9"}
    write_manifest(tmp_path / "m", [], [row], "file:///x/")
    with pytest.raises(ValueError, match="rows.jsonl:9: a record is a JSON object with a string 'id'"):
        Manifest(tmp_path / "m", cache)[0]


def test_a_sample_is_what_its_record_says(written, cache):
    assert Manifest(written, cache)[6] == read_record(record(6), "x", written)
