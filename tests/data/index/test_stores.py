"""Originals in S3 and in memory, and what a place is told by its URL."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kimivl.config.store import StoreConfig
from kimivl.data.index.build import index
from kimivl.data.index.place import Place
from kimivl.data.manifest.manifest import Manifest
from kimivl.data.pieces import outline
from kimivl.data.store.client import Client, Entry
from kimivl.data.store.errors import Missing, Transient
from kimivl.data.store.fetcher import Fetcher
from tests.data.index.originals import Source, encoded, fetch, question, write_tar, write_video
from tests.servers import hadro, seaweed


def filled(source: Source) -> None:
    source.put("a b#1?.png", encoded(1))
    write_tar(source.root / "s.tar", {"é.png": encoded(2)})
    with zipfile.ZipFile(source.root / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("3.bmp", encoded(3, kind="BMP"))
    write_video(source.root / "clip.mp4", 3)
    source.rows(*map(question, ["a b#1?.png", "s.tar/é.png", "z.zip/3.bmp", "clip.mp4#frame=2"]))


def locally(source: Source, tmp_path: Path) -> Source:
    """The same from the files."""
    (tmp_path / "local").mkdir()
    local = Source(tmp_path / "local")
    index(str(source.root), local.out)
    return local


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


def fetched(manifest: Manifest, client: Client) -> list[bytes]:
    places = [manifest[row].images[0].image.place for row in range(len(manifest))]
    return [client.get(place.url, place.start, place.length, place.version) for place in places]


def test_originals_in_s3_stay_there_and_have_their_versions(source, server, tmp_path):
    filled(source)
    client = Client(server.environment)
    for path in source.root.iterdir():
        client.put(f"s3://originals/coco/{path.name}", path)
    counts = source.index(url="s3://originals/coco", client=client)
    assert (counts["samples"], counts["read"]) == (4, 4)
    manifest = source.manifest
    assert fetched(manifest, client) == fetched(locally(source, tmp_path).manifest, Client())
    place = manifest[0].images[0].image.place
    assert place.url == "s3://originals/coco/a b#1?.png" and place.version == client.head(place.url).version != ""
    again = source.index(url="s3://originals/coco/", client=client)
    assert (again["read"], again["unchanged"], again["digest"]) == (0, 4, counts["digest"])
    client.put("s3://originals/coco/s.tar", (source.root / "s.tar").read_bytes() + bytes(1024))
    assert source.index(url="s3://originals/coco/rows.jsonl", client=client)["read"] == 1


def test_what_training_fetches_from_s3_is_what_lies_in_files(source, server, tmp_path, processor):
    """Through the fetcher of a run: a range of a tar archive, an inflated member, a frame of a video."""
    filled(source)
    client = Client(server.environment)
    for path in source.root.iterdir():
        client.put(f"s3://originals/fetched/{path.name}", path)
    source.index(url="s3://originals/fetched", client=client)
    local = locally(source, tmp_path).manifest
    with Fetcher(StoreConfig(cache=tmp_path / "store"), client) as fetcher:
        for row in range(4):
            ours = processor.filled(outline(source.manifest[row], processor), fetcher)
            plain = processor.filled(outline(local[row], processor), fetch)
            assert np.array_equal(ours.patches, plain.patches) and ours.patches.size


def test_a_store_that_fails_now_and_then_gives_the_same_manifest(source, tmp_path, monkeypatch):
    monkeypatch.setattr("kimivl.data.store.retry.FIRST", 0.001)
    filled(source)
    with hadro(source.root.parent, "--error-rate=0.3", "--fault-seed=1") as server:
        counts = source.index(url=f"s3://{source.root.name}", client=Client(server.environment))
    assert (counts["samples"], counts["originals"]) == (4, 4)
    assert {of["sha256"] for of in source.objects().values()} == {
        of["sha256"] for of in locally(source, tmp_path).objects().values()
    }


def test_a_key_that_cannot_be_addressed_is_named_with_the_fix(source):
    source.put("cat/a\tb.png", encoded(1))
    with hadro(source.root.parent) as server, pytest.raises(ValueError, match=r"cat/a b.png.*give the object another name"):
        source.index(url=f"s3://{source.root.name}", client=Client(server.environment))


class Stumbling(Client):
    """Lists backwards, and breaks off twice on the way."""

    broken = 0

    def list(self, url: str) -> Iterator[Entry]:
        for number, entry in enumerate(reversed(list(super().list(url)))):
            if number == 3 + self.broken and self.broken < 2:
                self.broken += 1
                raise Transient(url, "no connection")
            yield entry


def test_a_list_that_breaks_off_is_asked_for_again_whatever_its_order(source, tmp_path, monkeypatch):
    monkeypatch.setattr("kimivl.data.store.retry.FIRST", 0.001)
    for number in range(9):
        source.put(f"{number}/1.png", encoded(number))
        source.rows(question("1.png"), name=f"{number}/rows.jsonl")
    expected = source.index()
    client = Stumbling()
    for path in source.root.glob("*/*"):
        client.put(f"memory://shelf/{path.relative_to(source.root)}", path)
    source.out = tmp_path / "again" / "train.manifest"
    assert source.index(url="memory://shelf", client=client)["digest"] == expected["digest"] and client.broken == 2
    client.broken = 0
    assert source.index(url="memory://shelf", images="memory://shelf/3", client=client)["samples"] == 9


def test_a_bucket_in_memory(source):
    client = Client()
    client.put("memory://shelf/cat/1.png", encoded(1))
    counts = source.index(url="memory://shelf", client=client)
    assert counts["layout"] == "folders" and source.manifest[0].images[0].image.place.url == "memory://shelf/cat/1.png"


@pytest.mark.parametrize(
    ("url", "root", "chosen"),
    [
        ("{}", "{}/", "*"), ("{}/", "{}/", "*"), ("{}/a.json", "{}/", "a.json"), ("{}/sub/*.tar", "{}/sub/", "*.tar"),
        ("{}/*/a-?.json", "{}/", "*/a-?.json"),
    ],
)  # fmt: skip
def test_a_url_is_a_folder_or_chooses_in_one(tmp_path, url, root, chosen):
    (tmp_path / "a.json").touch()
    for form in (str(tmp_path), tmp_path.as_uri()):
        place = Place(url.format(form), Client())
        assert (place.root, place.chosen) == (root.format(tmp_path.as_uri()), chosen)


@pytest.mark.parametrize("url", ["http://x/y", "s3://", "gs://bucket/x"])
def test_a_url_of_no_store_is_refused(source, url):
    with pytest.raises(ValueError, match="is no URL of a store|names no bucket"):
        source.index(url=url)


def test_a_place_that_is_not_there_is_told(source):
    with pytest.raises(Missing, match="there is nothing in it; check the URL"):
        source.index(url=str(source.root / "gone"))


def test_hidden_files_and_those_of_manifests_are_not_listed(source):
    for name in (".cache/a.png", "__MACOSX/a.png", "a.png"):
        source.put(name, encoded(1))
    assert [of.path for of in Place(str(source.root), Client()).list()] == ["a.png"]
