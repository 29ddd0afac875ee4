"""A comparison tells what was added, removed and changed, by what samples and originals hold."""

import pytest

from kimivl.catalog.diff import diff
from kimivl.data.manifest.schema import write_manifest
from tests.catalog.manifests import object_row, sample_row


@pytest.fixture
def write(tmp_path):
    def make(name, objects, samples):
        write_manifest(tmp_path / name, objects, samples, "file:///none/")
        return tmp_path / name

    return make


@pytest.fixture
def picture(tmp_path):
    return lambda name, data=b"data", **more: object_row(tmp_path / "o", name, data, **more)


def test_samples_and_originals_are_counted_and_named(write, picture):
    before = write("a", [picture("0.png"), picture("1.png"), picture("2.png")], [sample_row(n, [n]) for n in range(3)])
    after = write(
        "b",
        [picture("3.png"), picture("1.png", b"new"), picture("0.png")],  # in another order, 2 is gone, 1 has changed
        [sample_row(3, [0]), sample_row(1, [1]), sample_row(0, [2]) | {"record": sample_row(0, [0])["record"]}],
    )
    found = diff(before, after)
    for change, suffix in ((found.originals, "{}.png"), (found.samples, "s{}")):
        assert (change.added, change.removed, change.changed, change.same) == (1, 1, 1, 1)
        assert change.names == {"added": [suffix.format(3)], "removed": [suffix.format(2)], "changed": [suffix.format(1)]}
    assert found.counts["samples"] == (3, 3) and found.counts["bytes"] == (12, 11) and not found.same


@pytest.mark.parametrize(
    "change",
    [
        {"record": '{"id": "s0", "content": []}'},
        {"pictures": [{"object": 1, "frame": None}, {"object": 0, "frame": None}]},
        {"pictures": [{"object": 0, "frame": 5}, {"object": 1, "frame": None}]},
        {"pictures": [{"object": 0, "frame": None}]},
    ],
    ids=["text", "order of pictures", "frame", "number of pictures"],
)
def test_what_a_sample_holds_makes_it_another(write, picture, change):
    objects = [picture("0.png"), picture("1.png", b"other")]
    before = write("a", objects, [sample_row(0, [0, 1])])
    after = write("b", objects, [sample_row(0, [0, 1]) | change])
    assert diff(before, after).samples.changed == 1
    assert diff(before, before).same


def test_where_the_bytes_lie_makes_no_difference(write, picture):
    before = write("a", [picture("0.png")], [sample_row(0, [0])])
    after = write("b", [picture("0.png", url="moved.png", version="etag")], [sample_row(0, [0])])
    assert diff(before, after).same


def test_long_lists_are_cut(write, picture):
    before = write("a", [], [])
    after = write("b", [], [sample_row(n, []) for n in range(20)])
    found = diff(before, after).samples
    assert found.added == 20 and found.names["added"] == ["s0", "s1", "s10", "s11", "s12"]
