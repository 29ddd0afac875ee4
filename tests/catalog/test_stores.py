"""On real S3 servers: writers at once, copies from one server to another that are killed and resumed, and deletion."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kimivl.catalog.fetch import fetch, opened
from kimivl.catalog.lifecycle import delete, hold
from kimivl.catalog.originals import originals_of
from kimivl.catalog.publish import publish
from kimivl.catalog.sync import Conflict, sync
from kimivl.catalog.versions import Catalog, NoVersion
from kimivl.cli import main
from kimivl.config.store import StoreConfig
from kimivl.data.index.build import index
from kimivl.data.manifest.schema import write_manifest
from kimivl.data.source import Source
from kimivl.data.store.client import Client
from kimivl.data.store.errors import CorruptObject
from kimivl.data.store.governor import Governor
from kimivl.data.store.node import NodeFetcher
from kimivl.processor.image import load_rgb
from tests.catalog.manifests import make_manifest, sample_row
from tests.servers import seaweed

ROOT = Path(__file__).resolve().parents[2]
COUNT = 60  # originals of the version that is copied
PATIENCE = 60


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with seaweed(tmp_path_factory.mktemp("near")) as near, seaweed(tmp_path_factory.mktemp("far")) as far:
        for server in (near, far):
            Client(server.environment).put("s3://kimivl/made", b"buckets are made by writing")
        yield near, far


@pytest.fixture
def profiles(servers, tmp_path, monkeypatch) -> dict[str, str]:
    """The environment of a command that knows both servers, as the profiles near and far; near is that of the AWS_* variables."""
    lines = []
    for name, server in zip(("near", "far"), servers):
        settings = server.environment
        lines += [f"[profile {name}]", f"endpoint_url = {settings['AWS_ENDPOINT_URL']}", f"region = {settings['AWS_REGION']}"]
        lines += [f"{key.lower()} = {settings[key]}" for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
    (tmp_path / "config").write_text("\n".join(lines))
    changes = servers[0].environment | {"AWS_CONFIG_FILE": str(tmp_path / "config")}
    for key, value in changes.items():
        monkeypatch.setenv(key, value)
    return dict(os.environ) | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}


def start(environment: dict[str, str], *words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "kimivl.cli", "data", *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def upload(client: Client, folder: str, count: int) -> list[dict]:
    """Rows of `count` objects, the last one a tar of two ranges."""
    rows = []
    for number in range(count):
        data = f"picture {number} ".encode() * 40
        version = client.put(f"{folder}p{number:03}.png", data)
        ranges = [(0, 100), (100, len(data) - 100)] if number == count - 1 else [(0, len(data))]
        rows += [
            {
                "name": f"p{number:03}.png/{begin}", "url": f"p{number:03}.png", "version": version, "start": begin,
                "length": length,
                "deflated": False, "sha256": hashlib.sha256(data[begin : begin + length]).hexdigest(), "media_type": "image/png",
                "width": 8, "height": 8,
            }
            for begin, length in ranges
        ]  # fmt: skip
    return rows


@pytest.fixture
def published(servers, profiles, tmp_path):
    """near: a catalog with originals beside it, below a prefix of the test's own."""
    name = f"kimivl/{time.monotonic_ns()}"
    client = Client(servers[0].environment)
    rows = upload(client, f"s3://{name}/raw/", COUNT)
    write_manifest(tmp_path / "m.manifest", rows, [sample_row(n, [n]) for n in range(COUNT)], f"s3://{name}/raw/")
    catalog = Catalog(f"s3://{name}/catalog")
    publish(tmp_path / "m.manifest", catalog, "cats")
    return catalog, name


def test_writers_at_once_take_different_numbers_and_lose_nothing(profiles, tmp_path):
    catalog = f"s3://kimivl/{time.monotonic_ns()}/catalog"
    folders = [make_manifest(tmp_path / f"{count}.manifest", tmp_path / f"o{count}", count) for count in (3, 4, 5)]
    writers = [start(profiles, "publish", str(folder), catalog, "cats", "--json") for folder in folders]
    outputs = [writer.communicate(timeout=PATIENCE * 2) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0], outputs
    took = {json.loads(out)["version"] for out, _ in outputs}
    assert took == {"cats@1", "cats@2", "cats@3"}
    there = Catalog(catalog)
    assert sorted(there.find(reference)[0].summary["samples"] for reference in took) == [3, 4, 5]


def test_a_copy_that_was_killed_is_not_seen_and_goes_on_with_what_is_missing(servers, profiles, published):
    source, name = published
    target = f"s3://{name}-copy/catalog"
    words = ["sync", source.url, target, "--from-profile", "near", "--to-profile", "far", "--json"]
    client = Client(servers[1].environment)
    copy = start(profiles, *words, "--requests-per-second", "25")
    deadline = time.monotonic() + PATIENCE
    while len(arrived := list(client.list(f"{target}/originals"))) < COUNT // 3:
        assert copy.poll() is None and time.monotonic() < deadline, copy.communicate()
    copy.send_signal(signal.SIGKILL)
    copy.communicate()
    before = {entry.url: entry for entry in client.list(f"{target}/originals")}
    assert len(arrived) <= len(before) < COUNT
    far = Catalog(target, "far")
    assert [known.state for known in far.known()] == ["draft"]
    with pytest.raises(NoVersion):
        far.find("cats@1")

    counts = servers[1].answered()
    again = start(profiles, *words)
    out, err = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, err
    written = servers[1].answered() - counts
    assert written["PUT"] == COUNT - len(before) + 10  # and what makes a version of them; one of these is the draft, in vain
    [told] = json.loads(out)["versions"]
    assert told["present"] == len(before) and told["copied"] == COUNT - len(before)
    after = {entry.url: entry for entry in client.list(f"{target}/originals")}
    assert len(after) == COUNT and all(after[url] == entry for url, entry in before.items())  # not written again: same time

    version, original = far.find("cats@1")[0], source.find("cats@1")[0]
    assert version.digest == original.digest and version.root == f"{target}/originals/cats/"
    for url in after:
        near_url = f"s3://{name}/raw/{url.rpartition('/')[2]}"
        assert client.get(url) == Client(servers[0].environment).get(near_url)
    last = sync(source, far, "cats@1")
    assert not last.new and last.copied == 0


def test_tables_tell_of_the_copies(servers, published, tmp_path):
    """Etags are those of the store that the originals lie in now: here a copy on local files, which have none, and back."""
    source, name = published
    local = Catalog(str(tmp_path / "local"))
    sync(source, local, "cats")
    back = Catalog(f"s3://{name}/again", "far")
    result = sync(local, back, "cats")
    assert result.copied == COUNT
    with opened(local, "cats") as folder:
        assert {original.version for original in originals_of(folder)} == {""}
    client = Client(servers[1].environment)
    with opened(back, "cats") as folder:
        for original in originals_of(folder):
            assert original.version == client.head(result.version.root + original.name).version
    assert result.version.digest == source.find("cats")[0].digest


def test_originals_that_are_damaged_are_not_copied(servers, published, tmp_path):
    source, name = published
    local = Catalog(str(tmp_path / "local"))
    sync(source, local, "cats")
    path = tmp_path / "local" / "originals" / "cats" / "p007.png"
    whole = path.read_bytes()
    path.write_bytes(whole[::-1])
    other = Catalog(str(tmp_path / "other"))
    with pytest.raises(CorruptObject, match="p007.png: bytes 0 to .* are not those that were indexed"):
        sync(local, other, "cats")
    assert not other.known() and not (tmp_path / "other" / "originals" / "cats" / "p007.png").exists()
    path.write_bytes(whole)
    assert sync(local, other, "cats").version.number == 1


def test_what_is_in_the_way_stays(servers, published, tmp_path):
    source, name = published
    other = tmp_path / "local" / "originals" / "cats" / "p007.png"
    other.parent.mkdir(parents=True)
    size = Client(servers[0].environment).head(f"s3://{name}/raw/p007.png").size
    for data in (b"another picture", b"x" * size):
        other.write_bytes(data)
        with pytest.raises(Conflict, match="p007.png is another object than .*copy to another place with --root"):
            sync(source, Catalog(str(tmp_path / "local")), "cats")
        assert other.read_bytes() == data
    publish(make_manifest(tmp_path / "n.manifest", tmp_path / "n"), Catalog(str(tmp_path / "third")), "cats")
    with pytest.raises(Conflict, match="has another cats@1"):
        sync(source, Catalog(str(tmp_path / "third")), "cats")


@pytest.fixture
def small_parts(monkeypatch):
    """What is larger than a few bytes counts as large."""
    monkeypatch.setattr("kimivl.catalog.sync.ONE_REQUEST", 300)
    monkeypatch.setattr("kimivl.data.store.client.ONE_REQUEST", 300)
    for module in ("sync", "originals", "place"):
        monkeypatch.setattr(f"kimivl.catalog.{module}.PARTS", 128)


def test_a_large_original_is_copied_in_parts(servers, published, small_parts):
    source, name = published
    target = Catalog(f"s3://{name}/parts", "far")
    result = sync(source, target, "cats")
    assert result.copied == COUNT
    near, far = (Client(server.environment) for server in servers)
    assert far.get(f"{result.version.root}p059.png") == near.get(f"s3://{name}/raw/p059.png")
    assert len(list(far.list(result.version.root))) == COUNT  # and nothing beside them
    assert sync(source, Catalog(f"s3://{name}/again", "far"), "cats", root=f"s3://{name}/parts/originals").present == COUNT


def test_another_large_object_that_comes_meanwhile_is_not_overwritten(servers, published, small_parts, monkeypatch):
    """It is written when the target was listed already, and when all parts of ours are there."""
    source, name = published
    target, far, copy = Catalog(f"s3://{name}/parts", "far"), Client(servers[1].environment), obstore.copy
    other = f"{target.url}originals/cats/p007.png"
    size = Client(servers[0].environment).head(f"s3://{name}/raw/p007.png").size

    def written_in_between(store, old, new, **more):
        if new.endswith("p007.png"):
            far.put(other, b"x" * size)
        copy(store, old, new, **more)

    monkeypatch.setattr("obstore.copy", written_in_between)
    with pytest.raises(Conflict, match="p007.png is another object than"):
        sync(source, target, "cats")
    assert far.get(other) == b"x" * size
    assert not [entry.url for entry in far.list(f"{target.url}originals") if entry.url.endswith(".part")]


def test_every_request_waits_for_its_turn(servers, profiles, published, small_parts, tmp_path, monkeypatch):
    """What the server counts is what the governor was asked for."""
    source, name = published
    turns, permit = [], Governor.permit

    def counted(governor, size):
        turns.append(size)
        return permit(governor, size)

    def asked(*words):
        turns.clear()
        before = servers[0].answered()
        assert main(["data", *words, "--requests-per-second", "10000", "--json"]) == 0
        counts = servers[0].answered() - before
        # To put a large object in its place, four are asked for, of which the last one is only needed where something is.
        return counts.total() + counts["POST"] // 4, len(turns)

    monkeypatch.setattr(Governor, "permit", counted)
    out = tmp_path / "data" / "raw" / "train.manifest"
    client = Client(servers[0].environment)
    client.put(f"s3://{name}/pictures/train.jsonl", b'{"image": "red.bmp", "caption": "red"}')
    client.put(f"s3://{name}/pictures/red.bmp", bitmap())
    cells = pa.table({"image": [{"bytes": bitmap(), "path": None}], "caption": ["red"]})
    (tmp_path / "table").mkdir()
    pq.write_table(cells, tmp_path / "table" / "train.parquet")
    index(str(tmp_path / "table"), tmp_path / "data" / "cells" / "train.manifest")
    for words in (
        ("publish", str(tmp_path / "data" / "cells" / "train.manifest"), source.url, "cells"),
        ("index", f"s3://{name}/pictures", str(out)),
        ("publish", str(out), source.url, "pictures"),
        ("fetch", "pictures", str(tmp_path / "fetched"), "--catalog", source.url),
        ("sync", source.url, f"s3://{name}/parts"),
        ("retire", "pictures@1", "--delete", "--yes", "--catalog", source.url),
    ):
        counted_there, waited = asked(*words)
        assert counted_there == waited > 0, words


def test_originals_that_were_uploaded_again_are_read_and_copied_under_their_new_etags(servers, published, tmp_path):
    source, name = published
    client, picture = Client(servers[0].environment), f"s3://{name}/pictures/red.bmp"
    client.put(f"s3://{name}/pictures/train.jsonl", b'{"image": "red.bmp", "caption": "red"}')
    target, digests = Catalog(str(tmp_path / "local")), set()
    for data in (bitmap(), iter([bitmap()])):  # in one piece, and in parts
        client.put(picture, data)
        index(f"s3://{name}/pictures", tmp_path / "train.manifest", client=client)
        version, new = publish(tmp_path / "train.manifest", source, "pictures")
        assert new
        digests.add(version.digest)
        fetch(source, "pictures", tmp_path / "data" / "pictures" / "train.manifest")
        (part,) = Source(tmp_path / "data", "pictures", fetch=NodeFetcher(StoreConfig())).at_hand(0).images
        assert load_rgb(part.image).getpixel((0, 0)) == (255, 0, 0)
        done = sync(source, target, "pictures")
    assert len(digests) == 1 and done.version.reference == "pictures@2" and (done.copied, done.present) == (0, 1)


def bitmap() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(file, "BMP")
    return file.getvalue()


def test_the_servers_are_asked_for_no_more_than_is_copied(servers, published):
    source, name = published
    near, far = servers
    target = Catalog(f"s3://{name}/counted", "far")
    before = near.answered(), far.answered()
    assert sync(source, target, "cats").copied == COUNT
    asked, written = near.answered() - before[0], far.answered() - before[1]
    # Each original once; version.json, stats.json, and of each of three tables its size and its bytes.
    assert asked["GET"] == COUNT + 8 and asked["PUT"] == 0
    # Each original once; draft, writer, three tables, four files about them, version.json. Their etags are their MD5.
    assert written["PUT"] == COUNT + 10 and written["GET"] == 0
    before = near.answered(), far.answered()
    assert not sync(source, target, "cats").new
    asked, written = near.answered() - before[0], far.answered() - before[1]
    assert written["PUT"] == written["POST"] == asked["PUT"] == 0
    assert asked["GET"] == written["GET"] == 1  # version.json of both


def test_deletion_on_a_server_spares_what_another_version_has(servers, published, tmp_path):
    source, name = published
    client = Client(servers[0].environment)
    rows = upload(client, f"s3://{name}/raw/", 10)
    write_manifest(tmp_path / "ten.manifest", rows, [sample_row(0, [0])], f"s3://{name}/raw/")
    publish(tmp_path / "ten.manifest", source, "ten")
    hold(source, "ten@1", "runs/a")
    client.put(f"s3://{name}/raw/p030.png", b"somebody put another picture here")
    plan = delete(source, "cats@1")
    assert (len(plan.originals), plan.shared) == (COUNT - 11, 10) and plan.replaced == (f"s3://{name}/raw/p030.png",)
    left = [entry.url.rpartition("/")[2] for entry in client.list(f"s3://{name}/raw")]
    assert left == [*(f"p{number:03}.png" for number in range(10)), "p030.png"]
    assert source.find("cats@1")[1].state == "deleted" and source.find("ten")[1].state == "released"


def test_a_copy_gives_way_to_a_deletion_at_its_target(published, tmp_path):
    source, name = published
    target = Catalog(str(tmp_path / "local"))
    version = sync(source, target, "cats").version
    for mark in ("retired", "deleting"):
        target.mark(version, mark)
    write_manifest(tmp_path / "less.manifest", upload(source.place.client, f"s3://{name}/raw/", 5), [], f"s3://{name}/raw/")
    publish(tmp_path / "less.manifest", source, "cats")
    with pytest.raises(ValueError, match="cats@1 is being deleted"):
        sync(source, target, "cats@2")
    delete(target, "cats@1")
    assert sync(source, target, "cats@2").copied == 5


def test_an_original_that_was_replaced_at_the_source_does_not_pass(published, tmp_path, servers):
    source, name = published
    Client(servers[0].environment).put(f"s3://{name}/raw/p007.png", b"another picture")
    with pytest.raises(OSError, match="p007.png: was replaced since it was indexed"):
        sync(source, Catalog(str(tmp_path / "local")), "cats")
    assert not (tmp_path / "local" / "originals" / "cats" / "p007.png").exists()
