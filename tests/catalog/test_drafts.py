"""Several may write a draft; nobody removes what another still writes, and whoever lost says so and leaves nothing."""

import pytest

from kimivl.catalog import publish as publishing
from kimivl.catalog.drafts import BeingWritten, Withdrawn, give_up
from kimivl.catalog.fetch import opened
from kimivl.catalog.lifecycle import delete_draft, unfinished
from kimivl.catalog.publish import publish, write_table
from kimivl.catalog.versions import DRAFT, VERSION, WITHDRAWING


@pytest.fixture
def in_between(monkeypatch):
    """Runs something when the first table of a publication is about to be written."""

    def in_between(what):
        def write(place, draft, file, path):
            monkeypatch.setattr(publishing, "write_table", write_table)
            what()
            write_table(place, draft, file, path)

        monkeypatch.setattr(publishing, "write_table", write)

    return in_between


def stop():
    raise KeyboardInterrupt


def left(catalog, prefix):
    return {entry.key.removeprefix(prefix) for entry in catalog.place.list(prefix)}


def test_who_goes_on_with_a_draft_does_not_remove_it_from_under_its_writer(manifest, catalog, in_between):
    old, _ = publish(manifest, catalog, "old")

    def another_gives_way_to_a_deletion():
        for mark in ("retired", "deleting"):
            catalog.mark(old, mark)
        with pytest.raises(ValueError, match="old@1 is being deleted"):
            publish(manifest, catalog, "cats")

    in_between(another_gives_way_to_a_deletion)
    version, new = publish(manifest, catalog, "cats")
    assert new and left(catalog, version.prefix) == {DRAFT, VERSION, *version.files}
    with opened(catalog, "cats@1") as folder:
        assert (folder / "objects.parquet").read_bytes() == (manifest / "objects.parquet").read_bytes()


def test_two_writers_of_one_draft_both_have_the_version(manifest, catalog, in_between):
    versions = []
    in_between(lambda: versions.append(publish(manifest, catalog, "cats")[0]))
    versions.append(publish(manifest, catalog, "cats")[0])
    assert versions[0] == versions[1] and [known.number for known in catalog.known("cats")] == [1]


def test_who_is_slower_than_another_with_the_same_manifest_has_its_version(manifest, catalog, monkeypatch):
    check, versions = publishing.check_originals, []

    def another_is_faster(*words):
        monkeypatch.setattr(publishing, "check_originals", check)
        versions.append(publish(manifest, catalog, "cats")[0])
        return check(*words)

    monkeypatch.setattr(publishing, "check_originals", another_is_faster)
    assert publish(manifest, catalog, "cats") == (versions[0], False)


def test_a_draft_that_is_written_is_removed_on_a_persons_word_only(manifest, catalog, in_between):
    def remove():
        draft = unfinished(catalog, "cats@1")
        with pytest.raises(BeingWritten, match=r"cats@1 is written by process \d+ on .* say --yes"):
            delete_draft(catalog, draft)
        with pytest.raises(BeingWritten, match=r"cats@1 is being written by process"):
            give_up(catalog, "cats", 1, ())
        delete_draft(catalog, draft, dead=True)

    in_between(remove)
    with pytest.raises(Withdrawn, match="cats@1 was removed from .* meanwhile: run the command again"):
        publish(manifest, catalog, "cats")
    assert list(catalog.place.list()) == []
    assert publish(manifest, catalog, "cats")[0].number == 1


def test_who_removes_while_another_finishes_is_seen_by_it(manifest, catalog, monkeypatch):
    create = catalog.place.create

    def removed_in_between(key, data):
        done = create(key, data)
        if key.endswith(VERSION):
            create(f"cats/1/{WITHDRAWING}", b"{}")
        return done

    monkeypatch.setattr(catalog.place, "create", removed_in_between)
    with pytest.raises(Withdrawn):
        publish(manifest, catalog, "cats")
    assert VERSION not in left(catalog, "cats/1/") and not catalog.known("cats")[0].finished


def test_a_version_that_another_writer_finished_is_not_taken_back(manifest, catalog, in_between, monkeypatch):
    """A removal that comes too late has its mark for a moment, in which a slower writer of the same draft looks."""
    in_between(lambda: publish(manifest, catalog, "cats"))
    create = catalog.place.create

    def removed_in_between(key, data):
        done = create(key, data)
        if key.endswith(VERSION) and not done:
            create(f"cats/1/{WITHDRAWING}", b"{}")
        return done

    monkeypatch.setattr(catalog.place, "create", removed_in_between)
    assert publish(manifest, catalog, "cats")[0] == catalog.find("cats@1")[0]
    assert WITHDRAWING in left(catalog, "cats/1/")


def test_who_finishes_while_another_removes_is_seen_by_it(manifest, catalog):
    version, _ = publish(manifest, catalog, "cats")
    for despite in ((), None):
        with pytest.raises(ValueError, match="cats@1 is finished"):
            give_up(catalog, "cats", 1, despite)
    assert left(catalog, version.prefix) == {DRAFT, VERSION, *version.files}


def test_a_removal_that_was_killed_is_not_written_into_and_can_be_finished(manifest, catalog, in_between):
    in_between(stop)
    with pytest.raises(KeyboardInterrupt):
        publish(manifest, catalog, "cats")
    catalog.place.create(f"cats/1/{WITHDRAWING}", b"{}")
    assert publish(manifest, catalog, "cats")[0].number == 2
    with pytest.raises(BeingWritten, match="cats@1 is being removed by another; if that was killed, .*--delete --yes"):
        delete_draft(catalog, unfinished(catalog, "cats@1"))
    delete_draft(catalog, unfinished(catalog, "cats@1"), dead=True)
    assert left(catalog, "cats/1/") == set()


def test_a_writer_that_was_stopped_is_no_more_in_the_way(manifest, catalog, in_between):
    in_between(stop)
    with pytest.raises(KeyboardInterrupt):
        publish(manifest, catalog, "cats")
    assert left(catalog, "cats/1/") == {DRAFT}
    delete_draft(catalog, unfinished(catalog, "cats@1"))
    assert catalog.known("cats") == []
