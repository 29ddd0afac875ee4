"""Against a real S3 server, files and memory: what is written comes back, versions are held to, faults say what they are."""

import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from kimivl.data.store.client import Client
from kimivl.data.store.errors import (
    AlreadyThere,
    DamagedObject,
    Denied,
    Missing,
    MissingObject,
    Permanent,
    Replaced,
    Throttled,
    TimedOut,
    Transient,
)
from kimivl.data.store.urls import join_url
from tests.servers import environment, free_ports, hadro

KEYS = ["plain.bin", "deep/er/a b.png", "100%25 #1?.png", "中文/é.png", "a+b&c=d.png"]


@pytest.fixture(params=["s3", "file", "memory"])
def store(request, tmp_path):
    """(client, URL of a folder)"""
    if request.param == "s3":
        server = request.getfixturevalue("server")
        return Client(server.environment), f"s3://client/{tmp_path.name}/"
    return Client(), f"{tmp_path.as_uri()}/" if request.param == "file" else "memory://client/folder/"


def test_what_is_written_comes_back_by_ranges(store):
    client, folder = store
    for key in KEYS:
        url = join_url(folder, key)
        version = client.put(url, key.encode())
        assert client.get(url) == key.encode() and client.get(url, 2, 3) == key.encode()[2:5] == client.get(url, 2, 3, version)
        assert client.get(url, 4) == key.encode()[4:] and client.get(url, 3, 0) == b""
        entry = client.head(url)
        assert (entry.url, entry.size, entry.version) == (url, len(key.encode()), version)


def test_a_folder_is_listed_in_order_and_without_its_neighbours(store):
    client, folder = store
    for key in ["in/b", "in/a/1", "in/c", "inside", "other/x"]:
        client.put(folder + key, b"12")
    assert [entry.url for entry in client.list(folder + "in")] == [folder + key for key in ("in/a/1", "in/b", "in/c")]
    assert list(client.list(folder + "nothing/")) == []


def test_an_object_that_should_be_new_is_written_once(store):
    client, folder = store
    client.put(folder + "lock", b"first", new=True)
    with pytest.raises(AlreadyThere, match="lock: is there already"):
        client.put(folder + "lock", b"second", new=True)
    assert client.get(folder + "lock") == b"first"
    client.delete(folder + "lock")
    client.delete(folder + "lock")
    with pytest.raises(Missing, match="lock: there is no such"):
        client.get(folder + "lock")


def test_files_and_parts_are_written_too(store, tmp_path):
    client, folder = store
    contents = os.urandom(6_000_000)
    (tmp_path / "local").write_bytes(contents)
    client.put(folder + "file", tmp_path / "local")
    client.put(folder + "parts", iter([contents[:100], contents[100:]]))
    assert client.get(folder + "file") == client.get(folder + "parts") == contents


def test_large_objects_that_should_be_new_are_written_once_however_many_write(store, monkeypatch):
    client, folder = store
    monkeypatch.setattr("kimivl.data.store.client.ONE_REQUEST", 1000)
    contents = [bytes([number]) * 6_000_000 for number in range(3)]

    def write(data):
        try:
            return client.put(folder + "large", data, new=True)
        except AlreadyThere:
            return None

    with ThreadPoolExecutor(3) as pool:
        versions = list(pool.map(write, contents))
    winners = [number for number, version in enumerate(versions) if version is not None]
    if folder.startswith("s3:"):  # SeaweedFS 4.48 may let two pass at one moment; the last one is there, whole
        [there] = [number for number in winners if contents[number] == client.get(folder + "large")]
    else:
        [there] = winners
    assert client.get(folder + "large", 0, None, versions[there]) == contents[there]
    with pytest.raises(AlreadyThere):
        client.put(folder + "large", contents[2], new=True)
    assert [entry.url for entry in client.list(folder)] == [folder + "large"]  # and nothing of those that lost


def test_what_the_store_cannot_put_in_its_place_is_refused_before_it_is_sent(tmp_path):
    with (tmp_path / "huge").open("wb") as file:
        file.truncate((5 << 30) + 1)
    with pytest.raises(Permanent, match="huge: has 5368709121 bytes; new objects in S3 have 5368709120 at most"):
        Client(environment("http://127.0.0.1:1")).put("s3://bucket/huge", tmp_path / "huge", new=True)


def test_folders_are_named_without_what_is_in_them(store):
    client, folder = store
    for key in ("of/b b/1", "of/b b/2", "of/a/deep/er", "of/file"):
        client.put(folder + key, b"1")
    assert client.folders(folder + "of/") == ("a", "b b") and client.folders(folder + "nothing/") == ()


@pytest.mark.parametrize("kind", ["s3", "memory"])
def test_an_object_that_was_replaced_is_not_given_out(kind, request):
    client = Client(request.getfixturevalue("server").environment) if kind == "s3" else Client()
    old = client.put(f"{kind}://client/replaced", b"0123456789")
    client.put(f"{kind}://client/replaced", b"9876543210")
    with pytest.raises(Replaced, match="replaced: was replaced since it was indexed; index again"):
        client.get(f"{kind}://client/replaced", 0, 4, old)


def test_a_range_behind_the_end_is_another_object(store):
    client, folder = store
    client.put(folder + "short", b"0123456789")
    for start in (5, 50):
        with pytest.raises(Replaced, match="ends before .* replaced since it was indexed"):
            client.get(folder + "short", start, 10)


def test_a_server_that_ignores_versions_is_seen_through(scripted):
    scripted.script = lambda key, start, end: (206, b"x" * (end - start))
    client = Client(scripted.environment)
    assert client.get("s3://bucket/a", 3, 4, '"v1"') == b"xxxx"
    with pytest.raises(Replaced):
        client.get("s3://bucket/a", 3, 4, '"v0"')


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (503, Throttled), (429, Throttled), (500, Transient), (502, Transient), (None, Transient), (400, Permanent),
        (403, Denied), (404, Missing),
    ],
)  # fmt: skip
def test_faults_are_told_apart(scripted, status, kind):
    scripted.script = lambda key, start, end: status and (status, b"")
    with pytest.raises(kind) as raised:
        Client(scripted.environment).get("s3://bucket/a", 0, 4)
    assert type(raised.value) is kind and raised.value.url == "s3://bucket/a" and len(scripted.asked) == 1
    assert str(raised.value).startswith("s3://bucket/a: ") and "\n" not in str(raised.value)


def test_a_missing_object_is_told_from_a_missing_bucket_or_folder(server, scripted, tmp_path):
    """Of the one a single sample may be left out; behind the other there is a wrong URL, or a disk that is not mounted."""
    client = Client(server.environment)
    client.put("s3://client/here", b"x")
    client.put("s3://client-empty/here", b"x")
    client.delete("s3://client-empty/here")
    (tmp_path / "here").mkdir()
    for url, kind in (
        ("s3://client/gone", MissingObject), ("s3://client-none/gone", Missing), ("s3://client-none/gone", Missing),
        ("s3://client-empty/gone", Missing),
        ((tmp_path / "here" / "gone").as_uri(), MissingObject), ((tmp_path / "gone" / "gone").as_uri(), Missing),
    ):  # fmt: skip
        with pytest.raises(Missing) as raised:
            client.get(url, 0, 4)
        assert type(raised.value) is kind and isinstance(raised.value, DamagedObject) == (kind is MissingObject)
    scripted.script = lambda key, start, end: (404, b"<html>no such site</html>")  # a wrong endpoint
    with pytest.raises(Missing) as raised:
        Client(scripted.environment).get("s3://bucket/a", 0, 4)
    assert type(raised.value) is Missing


def test_a_server_that_does_not_answer_is_given_up_in_time():
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TimedOut):
        Client(environment(f"http://127.0.0.1:{silent.getsockname()[1]}"), timeout=0.3).get("s3://bucket/a")


def test_a_server_that_is_not_there_may_come_back():
    [port] = free_ports(1)
    with pytest.raises(Transient, match="no connection .* check AWS_ENDPOINT_URL"):
        Client(environment(f"http://127.0.0.1:{port}")).get("s3://bucket/a")


def test_wrong_and_missing_credentials_say_what_to_set(server):
    Client(server.environment).put("s3://client/secret", b"x")
    with pytest.raises(Denied, match="SignatureDoesNotMatch.*set AWS_ACCESS_KEY_ID"):
        Client(server.environment | {"AWS_SECRET_ACCESS_KEY": "wrong"}).get("s3://client/secret")


def test_two_clients_of_one_process_speak_to_two_servers(server, scripted):
    scripted.script = lambda key, start, end: (206, b"other")
    Client(server.environment).put("s3://client/five", b"first")
    assert Client(server.environment).get("s3://client/five", 0, 5) == b"first"
    assert Client(scripted.environment).get("s3://client/five", 0, 5) == b"other"


def test_credentials_come_from_the_process(server):
    Client(server.environment).put("s3://client/outer", b"found")
    code = "from kimivl.data.store.client import Client; print(Client().get('s3://client/outer'))"
    found = subprocess.run([sys.executable, "-c", code], env=os.environ | server.environment, capture_output=True, text=True)
    assert found.stdout == "b'found'\n", found.stderr


@pytest.mark.parametrize("url", ["s3://bucket/a//b", "s3://bucket", "memory://room/"])
def test_keys_that_no_object_has_are_refused(url):
    with pytest.raises(ValueError, match="cannot be addressed|names no object"):
        Client(environment("http://127.0.0.1:1")).get(url)


def test_hadro_says_slow_down(tmp_path):
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "a").write_bytes(b"abc")
    with hadro(tmp_path, "--error-rate=1") as failing, pytest.raises(Throttled, match="503 SlowDown"):
        Client(failing.environment).get("s3://bucket/a")
