"""Places are URLs or paths; profiles are those of ~/.aws."""

import pytest

from kimivl.catalog.place import Listed, folder_url, open_place, profile_environment


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
    assert place.create_file("x/data", tmp_path / "data") and place.folders() == ("x",)
    place.download("x/data", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data
    (tmp_path / "data").write_bytes(b"other")
    assert not place.create_file("x/data", tmp_path / "data")


def test_a_large_file_is_created_where_nothing_is_and_changes_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr("kimivl.data.store.client.ONE_REQUEST", 100)
    (tmp_path / "data").write_bytes(b"a" * 1000)
    (tmp_path / "other").write_bytes(b"b" * 1000)
    place = open_place(str(tmp_path / "place"))
    assert place.create_file("x/large", tmp_path / "data") and place.create_file("x/large", tmp_path / "data")
    assert not place.create_file("x/large", tmp_path / "other")
    assert place.read("x/large") == b"a" * 1000 and [entry.key for entry in place.list()] == ["x/large"]


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
