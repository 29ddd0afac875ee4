"""Places are URLs or paths; profiles are those of ~/.aws; a governed client keeps to its budget."""

import math
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from kimivl.catalog.pace import GovernedClient
from kimivl.catalog.place import ONE_PART, Listed, folder_url, open_place, profile_environment
from kimivl.data.store.client import Client
from kimivl.data.store.errors import Throttled
from kimivl.data.store.governor import Governor


def test_a_path_and_a_url_name_the_same_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert folder_url("my data/catalog") == (tmp_path / "my data" / "catalog").as_uri() + "/"
    assert folder_url("s3://bucket/catalog") == folder_url("s3://bucket/catalog/") == "s3://bucket/catalog/"
    assert folder_url("s3://bucket") == "s3://bucket/"


def test_what_is_absent_is_created_and_what_is_there_stays(tmp_path):
    place = open_place(str(tmp_path / "new folder"))
    assert list(place.list()) == []
    assert place.create("a b/c#1.json", b"1") and place.create("a b/c#1.json", b"1")
    assert not place.create("a b/c#1.json", b"2") and place.read("a b/c#1.json") == b"1"
    assert list(place.list()) == list(place.list("a b/")) == [Listed("a b/c#1.json", 1, "")]
    place.delete("a b/c#1.json")
    place.delete("a b/c#1.json")
    assert list(place.list()) == []


def test_a_file_is_created_and_downloaded_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("kimivl.catalog.place.PARTS", 1000)
    data = bytes(range(256)) * 20
    (tmp_path / "data").write_bytes(data)
    place = open_place(str(tmp_path / "place"))
    assert len(data) < ONE_PART and place.create_file("x/data", tmp_path / "data")
    place.download("x/data", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data
    (tmp_path / "data").write_bytes(b"other")
    assert not place.create_file("x/data", tmp_path / "data")
    monkeypatch.setattr("kimivl.catalog.place.ONE_PART", 100)
    (tmp_path / "data").write_bytes(data[::-1])
    assert place.create_file("x/large", tmp_path / "data") and place.read("x/large") == data[::-1]


def test_a_profile_is_read_as_aws_reads_it(tmp_path):
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(
        "[profile far]\nendpoint_url = http://far:1\nregion = eu\naws_access_key_id = old\n[default]\nregion = us\n"
    )
    (tmp_path / ".aws" / "credentials").write_text("[far]\naws_access_key_id = key\naws_secret_access_key = a%b\n")
    environment = {"HOME": str(tmp_path), "AWS_SESSION_TOKEN": "of another", "PATH": "/bin"}
    assert profile_environment("far", environment) == {
        "HOME": str(tmp_path), "PATH": "/bin", "AWS_ENDPOINT_URL": "http://far:1", "AWS_REGION": "eu", "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "a%b",
    }  # fmt: skip
    assert profile_environment("default", environment)["AWS_REGION"] == "us"
    with pytest.raises(ValueError, match=r"no profile 'near' in .*config or .*credentials"):
        profile_environment("near", environment)


def test_no_second_has_more_requests_than_the_budget(tmp_path, monkeypatch):
    """Whatever the number of threads and the load of the machine."""
    budget, starts, get = 20, [], Client.get

    def noted(*words):
        starts.append(time.monotonic())
        return get(*words)

    monkeypatch.setattr(Client, "get", noted)
    (tmp_path / "x").write_bytes(b"x")
    client = GovernedClient(None, budget)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(client.get, [(tmp_path / "x").as_uri()] * 50)) == {b"x"}
    assert len(starts) == 50
    for early, late in zip(sorted(starts), sorted(starts)[budget:]):
        assert late - early > 1


def test_a_store_that_wants_less_is_asked_less(tmp_path, monkeypatch):
    def refuse(self, url):
        raise Throttled(url, "the store asks for fewer requests")

    monkeypatch.setattr(Client, "head", refuse)
    client, now = GovernedClient(None, 100), [0.0]
    client._governor = Governor(100, math.inf, lambda: now[0])
    for _ in range(3):
        with pytest.raises(Throttled):
            client.head("s3://bucket/x")
    now[0] = 1.1
    assert client._governor.share == 0.5
