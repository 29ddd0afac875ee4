"""A version that a run needs is not given up; deleting removes what no other version has, and can be run again."""

import json
import os
import shutil

import pytest

from kimivl.catalog.fetch import fetch
from kimivl.catalog.lifecycle import (
    InUse,
    Retired,
    delete,
    delete_draft,
    deprecate,
    hold,
    hold_manifest,
    planned_deletion,
    release,
    retire,
    unfinished,
)
from kimivl.catalog.publish import publish
from kimivl.catalog.sync import sync
from kimivl.catalog.versions import DRAFT, Catalog, NoVersion
from kimivl.data.manifest.schema import write_manifest
from tests.catalog.manifests import make_manifest, object_row, sample_row


@pytest.fixture
def two(manifest, catalog, tmp_path) -> Catalog:
    """cats@1 with 0, 1, 2 and shard.tar; pets@1, of another data set, with 2 and 3."""
    publish(manifest, catalog, "cats")
    root = tmp_path / "originals"
    objects = [object_row(root, "2.png", (root / "2.png").read_bytes()), object_row(root, "3.png", b"three")]
    write_manifest(tmp_path / "pets.manifest", objects, [sample_row(0, [0, 1])], root.as_uri() + "/")
    publish(tmp_path / "pets.manifest", catalog, "pets")
    return catalog


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def files(folder) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_version_in_use_is_not_retired_and_the_runs_are_named(two):
    hold(two, "cats@1", "runs/nano")
    hold(two, "cats@1", "runs/nano")  # again, after an interruption
    hold(two, "cats@1", "runs/big one")
    for give_up in (retire, delete, planned_deletion):
        with pytest.raises(InUse, match=r"needed by 2 runs: \S+:runs/big one, \S+:runs/nano.*kimivl data release cats@1"):
            give_up(two, "cats@1")
    assert two.find("cats@1")[1].state == "released"
    release(two, "cats@1", "runs/nano")
    with pytest.raises(ValueError, match=r"runs/nano does not hold cats@1; it is held by \S+:runs/big one"):
        release(two, "cats@1", "runs/nano")
    release(two, "cats@1", "runs/big one")
    retire(two, "cats@1")
    assert two.find("cats@1")[1].state == "retired"


def test_a_retired_version_is_not_used_again(two, tmp_path):
    retire(two, "cats@1")
    retire(two, "cats@1")
    with pytest.raises(Retired, match="cats@1 of .* is retired"):
        hold(two, "cats@1", "runs/late")
    with pytest.raises(ValueError, match="is retired: use another version"):
        fetch(two, "cats@1", tmp_path / "out.manifest")
    with pytest.raises(NoVersion):
        two.find("cats")
    assert two.find("cats@1")[1].references == []


def test_a_number_has_to_be_said(two):
    with pytest.raises(ValueError, match="say which version"):
        retire(two, "cats")


def test_who_holds_while_another_retires_is_seen_by_it(two, monkeypatch):
    """The run writes its reference after retiring looked for some, and before the mark is set."""
    mark = two.mark

    def held_in_between(version, what, **facts):
        held = {"run": "runs/quick", "host": "elsewhere", "id": ""}
        two.place.create("cats/1/references/quick.json", json.dumps(held).encode())
        return mark(version, what, **facts)

    monkeypatch.setattr(two, "mark", held_in_between)
    with pytest.raises(InUse, match="elsewhere:runs/quick"):
        retire(two, "cats@1")
    assert two.find("cats@1")[1].state == "released"


def test_who_retires_while_another_holds_is_seen_by_it(two, monkeypatch):
    create = two.place.create

    def retired_in_between(key, data):
        two.place.client.put(two.place.below("cats/1/marks/retired.json"), b"{}")
        return create(key, data)

    monkeypatch.setattr(two.place, "create", retired_in_between)
    with pytest.raises(Retired):
        hold(two, "cats@1", "runs/nano")
    assert two.find("cats@1")[1].references == []


def test_a_deprecated_version_stays_usable(two, tmp_path):
    deprecate(two, "cats@1", "labels were shifted")
    version, known = two.find("cats")
    assert known.state == "deprecated" and two.marks(version, known)["deprecated"]["reason"] == "labels were shifted"
    assert fetch(two, "cats", tmp_path / "out.manifest")[1] == "deprecated"
    hold(two, "cats@1", "runs/nano")
    with pytest.raises(ValueError, match="is deprecated already"):
        deprecate(two, "cats@1", "again")


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_version_is_not_deprecated_without_a_reason(two, reason):
    """It could not be given later."""
    with pytest.raises(ValueError, match="say why"):
        deprecate(two, "cats@1", reason)
    assert two.find("cats@1")[1].state == "released"


def test_a_plan_tells_what_goes_and_changes_nothing(two, tmp_path):
    plan = planned_deletion(two, "cats@1")
    assert {url.rpartition("/")[2] for url in plan.originals} == {"0.png", "1.png", "shard.tar"} and plan.shared == 1
    assert plan.size == sum((tmp_path / "originals" / name).stat().st_size for name in ("0.png", "1.png", "shard.tar"))
    assert two.find("cats@1")[1].state == "released" and names(tmp_path / "originals") >= {"0.png", "1.png", "shard.tar"}


def test_deleting_removes_tables_and_the_originals_that_no_other_version_has(two, tmp_path):
    (tmp_path / "originals" / "of nobody.png").write_bytes(b"not in any manifest")
    delete(two, "cats@1")
    assert names(tmp_path / "originals") == {"2.png", "3.png", "of nobody.png"}
    assert files(tmp_path / "catalog" / "cats" / "1") == {
        "draft.json", "version.json", "marks/retired.json", "marks/deleting.json", "marks/deleted.json",
    }  # fmt: skip
    version, known = two.find("cats@1")
    assert known.state == "deleted" and version.summary["samples"] == 4
    delete(two, "cats@1")  # nothing is left to do
    delete(two, "pets@1")
    assert names(tmp_path / "originals") == {"of nobody.png"}


def test_a_retired_version_still_protects_its_originals(two, tmp_path):
    retire(two, "pets@1")
    delete(two, "cats@1")
    assert "2.png" in names(tmp_path / "originals")


def test_an_interrupted_deletion_goes_on_where_it_was(two, tmp_path, monkeypatch):
    remove, removed = two.place.client.delete, []

    def stop_in_the_middle(url):
        if len(removed) == 6:  # five files of the version, then one original
            raise KeyboardInterrupt
        removed.append(url)
        remove(url)

    monkeypatch.setattr(two.place.client, "delete", stop_in_the_middle)
    with pytest.raises(KeyboardInterrupt):
        delete(two, "cats@1")
    monkeypatch.undo()
    left = names(tmp_path / "originals")
    assert {"2.png", "3.png"} < left and len(left) == 4
    assert two.find("cats@1")[1].state == "retired"
    again = delete(two, "cats@1")
    assert len(again.originals) == 2 and again.gone == 1
    assert names(tmp_path / "originals") == {"2.png", "3.png"} and two.find("cats@1")[1].state == "deleted"


def test_a_publication_waits_for_a_deletion_that_may_take_its_originals(two, manifest, tmp_path):
    two.mark(two.find("cats@1")[0], "retired")
    two.mark(two.find("cats@1")[0], "deleting")
    with pytest.raises(ValueError, match="cats@1 is being deleted"):
        publish(manifest, two, "new")
    assert two.known("new") == []
    delete(two, "cats@1")
    with pytest.raises(ValueError, match="originals are not as they were indexed"):
        publish(manifest, two, "new")


def test_a_deletion_waits_for_a_publication_that_may_need_its_originals(two):
    two.place.create(f"new/1/{DRAFT}", b"{}")
    with pytest.raises(ValueError, match="new@1 is being published.*kimivl data retire new@1 --delete"):
        delete(two, "cats@1")
    delete_draft(two, unfinished(two, "new@1"))
    assert two.known("new") == [] and unfinished(two, "cats@1") is None
    delete(two, "cats@1")


def test_a_fetched_manifest_is_held_by_its_origin(two, manifest, tmp_path):
    fetch(two, "cats", tmp_path / "out.manifest")
    (version,) = hold_manifest(tmp_path / "out.manifest", tmp_path / "nano")
    assert version.reference == "cats@1"
    with pytest.raises(InUse, match="/nano"):
        retire(two, "cats@1")
    other = make_manifest(tmp_path / "other.manifest", tmp_path / "originals")
    assert hold_manifest(other, tmp_path / "other") == [] and not (tmp_path / "other").exists()


def test_a_manifest_is_held_as_all_that_it_was_published_as(two, manifest, tmp_path):
    """Each of these catalogs could delete its originals."""
    elsewhere = Catalog(str(tmp_path / "elsewhere"))
    publish(manifest, elsewhere, "pets")
    assert not publish(manifest, two, "cats")[1]
    held = hold_manifest(manifest, tmp_path / "nano")
    assert [version.reference for version in held] == ["cats@1", "pets@1"]
    for there, reference in ((two, "cats@1"), (elsewhere, "pets@1")):
        with pytest.raises(InUse, match="/nano"):
            delete(there, reference)
        release(there, reference, str(tmp_path / "nano"))
    retire(two, "cats@1")
    with pytest.raises(Retired, match="cats@1"):
        hold_manifest(manifest, tmp_path / "nano")
    assert publish(manifest, two, "cats")[0].number == 2  # in the place of the one that is retired
    assert [version.reference for version in hold_manifest(manifest, tmp_path / "nano")] == ["pets@1", "cats@2"]
    shutil.rmtree(tmp_path / "elsewhere")
    with pytest.raises(
        NoVersion, match="train.manifest is pets@1 of a catalog that does not have it: .*elsewhere.*index or fetch"
    ):
        hold_manifest(manifest, tmp_path / "nano")


def test_a_manifest_that_cannot_be_noted_in_is_published_and_that_is_said(manifest, catalog, monkeypatch):
    (manifest / ".catalogs.json.new").mkdir()  # as if the folder were not writable
    with pytest.raises(OSError, match="cats@1 is published, but runs on .*train.manifest do not hold it .*kimivl data fetch"):
        publish(manifest, catalog, "cats")
    assert catalog.find("cats@1")[1].state == "released"


def test_runs_of_one_name_on_two_machines_hold_by_themselves(two, tmp_path, monkeypatch):
    """Even if the machines are called alike: every run's folder has an identity."""
    fetch(two, "cats", tmp_path / "out.manifest")
    hold(two, "cats@1", "/runs/nano", "1")
    monkeypatch.setattr("socket.gethostname", lambda: "other")
    hold(two, "cats@1", "/runs/nano", "1")
    hold(two, "cats@1", "/runs/nano", "2")
    for _ in range(2):  # again, after an interruption
        hold_manifest(tmp_path / "out.manifest", tmp_path / "nano")
    assert len(two.find("cats@1")[1].references) == 4
    with pytest.raises(ValueError, match="3 runs are called /runs/nano: say which, of .*other:/runs/nano#1, other:/runs/nano#2"):
        release(two, "cats@1", "/runs/nano")
    release(two, "cats@1", "other:/runs/nano#1")
    with pytest.raises(InUse, match=r"needed by 3 runs: .*other:/runs/nano.*:/runs/nano"):
        retire(two, "cats@1")
    release(two, "cats@1", "other:/runs/nano")
    release(two, "cats@1", "/runs/nano")
    release(two, "cats@1", str(tmp_path / "nano"))
    retire(two, "cats@1")


def test_a_run_may_have_any_path(two):
    run = "/" + "训练/" * 80 + "a b#?.%25"  # longer than the name of a file may be
    hold(two, "cats@1", run)
    release(two, "cats@1", run)
    assert two.find("cats@1")[1].references == []


def test_a_file_that_was_replaced_after_publication_is_not_deleted(two, tmp_path):
    originals = tmp_path / "originals"
    (originals / "0.png").write_bytes(b"a longer picture than the one before" * 50)
    state = (originals / "1.png").stat()
    (originals / "1.png").write_bytes(b"x" * state.st_size)
    plan = planned_deletion(two, "cats@1")
    assert [url.rpartition("/")[2] for url in plan.replaced] == ["0.png", "1.png"] and len(plan.originals) == 1
    assert delete(two, "cats@1").replaced == plan.replaced
    assert names(originals) == {"0.png", "1.png", "2.png", "3.png"}


def test_an_archive_that_was_appended_to_is_not_deleted(two, tmp_path):
    """The range that was published is still the same."""
    shard = tmp_path / "originals" / "shard.tar"
    shard.write_bytes(shard.read_bytes() + b"another member")
    assert delete(two, "cats@1").replaced == (shard.as_uri(),) and shard.exists()


def test_a_file_that_was_merely_touched_is_the_one_that_was_published(two, tmp_path):
    for path in (tmp_path / "originals").iterdir():
        os.utime(path, (1, 1))
    assert delete(two, "cats@1").replaced == () and names(tmp_path / "originals") == {"2.png", "3.png"}


def test_a_file_that_is_replaced_during_the_deletion_stays(two, tmp_path, monkeypatch):
    remove = two.place.client.delete

    def replace_in_between(url):
        if url.endswith("0.png"):
            (tmp_path / "originals" / "1.png").write_bytes(b"somebody's only copy")
        remove(url)

    monkeypatch.setattr(two.place.client, "delete", replace_in_between)
    done = delete(two, "cats@1")
    assert [url.rpartition("/")[2] for url in done.replaced] == ["1.png"] and len(done.originals) == 2
    assert (tmp_path / "originals" / "1.png").read_bytes() == b"somebody's only copy"


def test_originals_that_another_version_reaches_by_a_link_are_spared(two, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "originals")
    publish(make_manifest(tmp_path / "linked.manifest", tmp_path / "link"), two, "linked")
    assert planned_deletion(two, "cats@1").shared == 4
    assert delete(two, "cats@1").originals == () and "0.png" in names(tmp_path / "originals")


def test_a_catalog_is_listed_without_its_originals(two, tmp_path, monkeypatch):
    copy, listed = Catalog(str(tmp_path / "copy")), []
    sync(two, copy, "cats")
    ask = copy.place.client.list
    monkeypatch.setattr(copy.place.client, "list", lambda url: listed.append(url) or ask(url))
    assert [known.name for known in copy.known()] == ["cats"]
    assert listed == [f"{copy.url}cats/"]


def test_what_two_versions_share_goes_with_the_second_even_if_both_go_at_once(two, tmp_path):
    for reference in ("cats@1", "pets@1"):
        retire(two, reference)
        two.mark(two.find(reference)[0], "deleting")
    delete(two, "cats@1")
    delete(two, "pets@1")
    assert names(tmp_path / "originals") == set()


@pytest.mark.parametrize("folder", ["c++ (old), 'new'", "100% #1?", "中文 ~&=;@$!*[1]"])
def test_folders_may_be_called_anything(folder, tmp_path):
    there = Catalog(str(tmp_path / folder / "catalog"))
    publish(make_manifest(tmp_path / "m.manifest", tmp_path / folder / "originals"), there, "cats")
    assert there.find("cats")[1].state == "released"
    delete(there, "cats@1")
    assert names(tmp_path / folder / "originals") == set()


def test_a_deleted_number_is_not_given_again(two, tmp_path):
    delete(two, "cats@1")
    other = make_manifest(tmp_path / "new.manifest", tmp_path / "originals")
    assert publish(other, two, "cats")[0].number == 2
