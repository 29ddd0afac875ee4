"""URLs come apart and together again, and a wrong one says what to write."""

from pathlib import Path

import pytest

from kimivl.data.store.urls import join_url, object_url, split_url


@pytest.mark.parametrize(
    ("url", "root", "key"),
    [
        ("s3://bucket/a b/c#1?.png", "s3://bucket", "a b/c#1?.png"),
        ("s3://bucket/100%25.png", "s3://bucket", "100%25.png"),  # as it stands
        ("memory://room/x", "memory://room", "x"),
        ("file:///data/a%20b.png", "file://", "data/a b.png"),
    ],
)
def test_a_url_comes_apart_and_together_again(url, root, key):
    assert split_url(url) == (root, key) and object_url(root, key) == url


def test_files_are_written_as_pathlib_writes_them():
    for path in ("/data/a b#c?d%e.png", "/中文/[x].png"):
        assert split_url(Path(path).as_uri())[1] == path[1:] and split_url(object_url("file://", path[1:]))[1] == path[1:]


def test_names_are_joined_to_folders():
    assert join_url("s3://b/d/", "e f#.png") == "s3://b/d/e f#.png"
    assert join_url("file:///d/", "e f#%.png") == "file:///d/e%20f%23%25.png"
    assert join_url("file:///d/", "s3://other/x") == "s3://other/x"
    assert join_url("s3://b/", "http://x") == "s3://b/http://x"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("/data/x", "write s3://bucket/key"),
        ("http://host/x", "is no URL of a store"),
        ("file://data/x", "three slashes"),
        ("s3:///x", "names no bucket"),
    ],
)
def test_a_wrong_url_says_what_to_write(url, said):
    with pytest.raises(ValueError, match=said):
        split_url(url)
