"""The commands of a catalog: what they print for people and for machines, and what they answer to mistakes."""

import io
import json
from pathlib import Path

import pytest

from kimivl.catalog.lifecycle import hold, hold_manifest
from kimivl.catalog.versions import Catalog
from kimivl.cli import main
from kimivl.data.lengths import measure_lengths
from kimivl.data.source import Source
from kimivl.processor.tokenizer import Tokenizer
from tests.catalog.manifests import make_manifest


@pytest.fixture
def data(tmp_path, monkeypatch, capsys):
    """Runs `kimivl data …` in an empty folder with two manifests; gives (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    make_manifest(tmp_path / "a.manifest", tmp_path / "originals", 4)
    make_manifest(tmp_path / "b.manifest", tmp_path / "originals", 6)

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["data", *words])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def filled(data):
    for folder in ("a.manifest", "b.manifest"):
        assert data("publish", folder, "data/catalog", "cats", "--note", "of tests")[0] == 0
    return data


def answer(result: tuple[int, str, str]) -> dict:
    code, out, err = result
    assert code == 0 and err == ""
    return json.loads(out)


def test_publishing_says_what_became_of_it(data):
    code, out, _ = data("publish", "a.manifest", "data/catalog", "cats")
    assert code == 0 and "cats@1 is published in data/catalog" in out
    code, out, _ = data("publish", "a.manifest", "data/catalog", "cats")
    assert code == 0 and "cats@1 is this very manifest" in out and "nothing to do" in out
    assert answer(data("publish", "b.manifest", "data/catalog", "cats", "--json")) | {"digest": ""} == {
        "version": "cats@2", "new": True, "digest": "",
    }  # fmt: skip
    code, _, err = data("publish", "nowhere", "data/catalog", "cats")
    assert code == 1 and err.startswith("kimivl: nowhere is no manifest")


def test_a_list_has_a_line_for_each_version(filled):
    _, out, _ = filled("ls")
    lines = [line.split() for line in out.splitlines() if "cats@" in line]
    assert [line[:4] for line in lines] == [["cats@1", "released", "4", "4"], ["cats@2", "released", "6", "6"]]
    facts = answer(filled("ls", "--json"))["versions"]
    assert [(each["version"], each["state"], each["summary"]["samples"]) for each in facts] == [
        ("cats@1", "released", 4), ("cats@2", "released", 6),
    ]  # fmt: skip
    code, out, _ = filled("ls", "elsewhere")
    assert code == 0 and "elsewhere has no versions" in out


def test_a_version_is_shown_with_what_happened_to_it(filled):
    filled("deprecate", "cats@1", "--reason", "labels were shifted")
    hold(Catalog("data/catalog"), "cats@1", "runs/nano")
    facts = answer(filled("show", "cats@1", "--json"))
    assert facts["state"] == "deprecated" and facts["runs"][0].endswith(":runs/nano") and facts["note"] == "of tests"
    assert facts["marks"]["deprecated"]["reason"] == "labels were shifted"
    _, out, _ = filled("show", "cats@1")
    assert "labels were shifted" in out and "runs/nano" in out
    assert answer(filled("show", "cats", "--json"))["number"] == 2
    code, _, err = filled("show", "cats@3")
    assert code == 1 and "of cats it has 1 (deprecated), 2 (released)" in err


def test_statistics_are_of_versions_and_of_folders(filled):
    published, folder = answer(filled("stats", "cats@1", "--json")), answer(filled("stats", "a.manifest", "--json"))
    assert published == folder and published["samples"] == 4
    _, out, _ = filled("stats", "cats@1")
    assert "Licences of originals" in out and "█" in out


def test_tokens_that_were_counted_are_told_and_go_with_a_version(data, tmp_path):
    tokenizer = Tokenizer({bytes([value]): value for value in range(256)})
    assert answer(data("stats", "a.manifest", "--json"))["token_lengths"] == []
    measure_lengths(Source(tmp_path.parent, tmp_path.name, "a"), tokenizer, called="words")
    counted = answer(data("stats", "a.manifest", "--json"))["token_lengths"]
    assert [(each["tokenizer"], each["called"], each["tokens"]) for each in counted] == [(tokenizer.digest, "words", 4 * 15)]
    _, out, _ = data("stats", "a.manifest")  # a byte is a token: 6 of the text, [EOS], and 8 around a picture
    assert f"Tokens of a sample, pictures left out, by words (512 tokens, digest {tokenizer.digest[:8]})" in " ".join(out.split())
    assert data("publish", "a.manifest", "data/catalog", "cats")[0] == 0
    assert answer(data("stats", "cats", "--json"))["token_lengths"] == counted
    assert "## Tokens of a sample" in (tmp_path / "data" / "catalog" / "cats" / "1" / "README.md").read_text()


def test_a_comparison_names_what_changed(filled):
    _, out, _ = filled("diff", "cats@1", "cats@2")
    assert "samples added: s4, s5" in out and "samples changed: s3" in out  # its picture is another one
    assert answer(filled("diff", "cats@1", "a.manifest", "--json"))["same"] is True


def test_fetching_warns_of_a_deprecated_version(filled):
    code, out, err = filled("fetch", "cats@1", "data/cats/train.manifest")
    assert code == 0 and "data/cats/train.manifest" in out and err == ""
    filled("deprecate", "cats@2", "--reason", "x")
    code, _, err = filled("fetch", "cats", "data/cats/train.manifest")
    assert code == 0 and "cats@2 is deprecated" in err


def test_everything_in_use_is_copied_unless_versions_are_named(filled):
    filled("retire", "cats@1")
    told = answer(filled("sync", "data/catalog", "copy", "--json"))["versions"]
    assert [(each["version"], each["new"], each["copied"]) for each in told] == [("cats@2", True, 6)]
    code, out, _ = filled("sync", "data/catalog", "copy", "cats@2")
    assert code == 0 and "was there" in out
    code, _, err = filled("sync", "data/catalog", "copy", "cats@1")
    assert code == 1 and "cats@1 of" in err and "is retired and cannot be copied" in err
    code, _, err = filled("sync", "nothing", "copy")
    assert code == 1 and "has no version that is in use" in err
    for rate in ("0", "3", "inf", "many"):
        with pytest.raises(SystemExit) as stopped:
            filled("sync", "data/catalog", "copy", "--requests-per-second", rate)
        assert stopped.value.code == 2


def test_a_copy_of_originals_that_were_replaced_in_their_place_goes_where_the_error_says(data, tmp_path):
    data("publish", "a.manifest", "data/catalog", "cats")
    assert data("sync", "data/catalog", "copy")[0] == 0
    make_manifest(tmp_path / "b.manifest", tmp_path / "originals", 4, "dog")
    data("publish", "b.manifest", "data/catalog", "cats")
    code, _, err = data("sync", "data/catalog", "copy", "cats@2")
    assert code == 1 and "is another object than" in err and "copy to another place with --root URL" in err
    told = answer(data("sync", "data/catalog", "copy", "cats@2", "--root", "elsewhere", "--json"))["versions"]
    assert [(each["version"], each["new"]) for each in told] == [("cats@2", True)]
    assert (tmp_path / "elsewhere" / "cats" / "0.png").read_bytes() == (tmp_path / "originals" / "0.png").read_bytes()


def test_deleting_asks_first_and_tells_what_goes(filled, tmp_path):
    before = sorted(path.name for path in (tmp_path / "originals").iterdir())
    code, out, _ = filled("retire", "cats@2", "--delete", "--dry-run")
    assert code == 0 and "7 files of cats@2 and 2 originals" in out and "4 that other versions have" in out
    code, _, err = filled("retire", "cats@2", "--delete")  # nobody is there to be asked
    assert code == 1 and "say --yes" in err
    assert answer(filled("ls", "--json"))["versions"][1]["state"] == "released"
    assert before == sorted(path.name for path in (tmp_path / "originals").iterdir())
    code, out, _ = filled("retire", "cats@2", "--delete", "--yes")
    assert code == 0 and "were removed" in out
    left = sorted(path.name for path in (tmp_path / "originals").iterdir())
    assert left == ["0.png", "1.png", "2.png", "shard.tar"]
    code, _, err = filled("stats", "cats@2")
    assert code == 1 and "cats@2 was deleted" in err


def test_originals_that_were_replaced_are_kept_and_named(filled, tmp_path):
    filled("retire", "cats@1", "--delete", "--yes")
    other = tmp_path / "originals" / "3.png"
    other.write_bytes(b"somebody's only copy")
    for words, verb in ((["--dry-run"], "would be removed"), (["--yes"], "were removed")):
        code, out, _ = filled("retire", "cats@2", "--delete", *words)
        assert code == 0 and verb in out and f"kept: 1 that are others than were published ({other.as_uri()})" in out
    assert [path.name for path in (tmp_path / "originals").iterdir()] == ["3.png"]


def test_what_a_writer_has_not_finished_is_removed_if_a_person_says_that_it_is_dead(filled, tmp_path):
    folder = tmp_path / "data" / "catalog" / "cats" / "3"
    (folder / "writers").mkdir(parents=True)
    (folder / "draft.json").write_text("{}")
    (folder / "writers" / "1.json").write_text('{"process": 17, "host": "gpu7", "since": "2026-11-29T10:00:00"}')
    code, out, _ = filled("retire", "cats@3", "--delete", "--dry-run")
    assert code == 0 and "cats@3 would be removed; it is, or was when it was killed, written by process 17 on gpu7" in out
    code, _, err = filled("retire", "cats@3", "--delete")
    assert code == 1 and "written by process 17 on gpu7 since 2026-11-29T10:00" in err and "say --yes" in err
    assert filled("retire", "cats@3", "--delete", "--yes")[0] == 0 and "cats@3" not in filled("ls")[1]


def test_a_copy_says_what_became_of_the_version_at_the_target(filled):
    filled("sync", "data/catalog", "copy")
    filled("retire", "cats@1", "--delete", "--yes", "--catalog", "copy")
    _, out, _ = filled("sync", "data/catalog", "copy")
    assert "was there, deleted" in out
    assert [each["state"] for each in answer(filled("sync", "data/catalog", "copy", "--json"))["versions"]] == [
        "deleted",
        "released",
    ]


def test_a_version_in_use_is_kept_until_its_run_is_over(filled):
    hold(Catalog("data/catalog"), "cats@1", "runs/nano")
    for words in (["--dry-run"], [], ["--delete", "--yes"]):
        code, _, err = filled("retire", "cats@1", *words)
        assert code == 1 and "cats@1 is needed by 1 run: " in err and "runs/nano" in err
    assert filled("release", "cats@1", "runs/nano")[0] == 0
    assert filled("retire", "cats@1")[0] == 0


@pytest.mark.parametrize("called", ["runs/tiny", "./runs/../runs/tiny/"])
def test_a_run_is_released_by_its_folder_as_it_is_written_here(filled, called):
    hold_manifest(Path("a.manifest"), Path("runs/tiny"))
    assert filled("retire", "cats@1")[0] == 1
    assert filled("release", "cats@1", called)[0] == 0
    assert filled("retire", "cats@1")[0] == 0


class Terminal(io.StringIO):
    """Somebody who answers."""

    def isatty(self) -> bool:
        return True


def test_the_rest_of_an_interrupted_publication_can_be_removed(filled, tmp_path, monkeypatch):
    (tmp_path / "data" / "catalog" / "cats" / "3").mkdir()
    (tmp_path / "data" / "catalog" / "cats" / "3" / "draft.json").write_text("{}")
    assert "cats@3    draft" in filled("ls")[1]
    code, _, err = filled("retire", "cats@3", "--delete")  # nobody is there to be asked
    assert code == 1 and "the unfinished cats@3 would be removed" in err and "say --yes" in err and "cats@3" in filled("ls")[1]
    for answered, done in (("n", 1), ("y", 0)):
        monkeypatch.setattr("sys.stdin", Terminal(f"{answered}\n"))
        code, out, err = filled("retire", "cats@3", "--delete")
        assert code == done and "the unfinished cats@3 would be removed" in err and "Remove it? [y/N]" in out
    assert "the unfinished cats@3 is removed" in out
    assert "cats@3" not in filled("ls")[1]
