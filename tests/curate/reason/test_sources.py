"""What the reasoning sources hold, read from disk: kept thoughts are right, and nothing of the test is trained on."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from kimivl.curate.reason import sources
from kimivl.curate.reason.rejection import REASONS
from kimivl.curate.workshop import Workshop, read_records
from kimivl.data.source import Source
from kimivl.processor.thoughts import split_thought

SCALE = 0.06
RANGES = {"totals": (3, 5), "paths": (2, 5), "charts": (3, 5), "search": (4, 4)}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("reason")
    with Workshop(root, "reason", seed=0, scale=SCALE) as shop:
        sources.build(shop)
        shop.publish(sources.SOURCES)
    return root


def records(root: Path, source: str, split: str = "train"):
    return read_records(root / source / f"{split}.jsonl")


def training(root: Path):
    return [record for source in sources.SOURCES for record in records(root, source)]


def key(record) -> str:
    question = record["messages"][0]["content"][1]["text"]
    return f"{record['meta']['family']}/{record['meta']['content']}/{question}"


def answer(record) -> tuple[str, str]:
    return split_thought("".join(part["text"] for part in record["messages"][1]["content"]))


def shown(record) -> str:
    family, signs = record["meta"]["family"], record["meta"]["content"].split()
    return f"{family}/{' '.join(signs if family in ('paths', 'charts') else sorted(signs))}"


def test_training_validation_and_test_never_show_the_same(root):
    """Not even under another question, nor the same tiles in another order."""
    held_out = {split: records(root, "reason_problems", split) for split in ("validation", "test")}
    assert all(len({key(record) for record in of_split}) == len(of_split) == 36 for of_split in held_out.values())
    validation, test = ({shown(record) for record in of_split} for of_split in held_out.values())
    train = {shown(record) for record in training(root)}
    assert len(train) > 300 and not validation & test and not train & (validation | test)


@pytest.mark.parametrize(("split", "share"), [("train", 0.7), ("validation", 0.15), ("test", 0.15)])
def test_contents_fall_into_the_splits_at_their_shares(split, share):
    found = sum(sources.split_of(f"charts/{number}") == split for number in range(4000)) / 4000
    assert found == pytest.approx(share, abs=4 * (share * (1 - share) / 4000) ** 0.5)


def test_problems_for_reinforcement_learning_are_not_those_of_the_warm_up(root):
    groups = [[key(r) for r in records(root, s)] for s in ("reason_thoughts", "reason_unverified", "reason_problems")]
    everything = [one for group in groups for one in group]
    assert len(everything) == len(set(everything)) and [len(group) for group in groups[1:]] == [60, 144]


def test_families_and_sizes_come_equally_often(root):
    splits = [("reason_problems", split) for split in ("train", "validation", "test")]
    for source, split in (*splits, ("reason_unverified", "train")):
        metas = [record["meta"] for record in records(root, source, split)]
        families = Counter(meta["family"] for meta in metas)
        assert set(families.values()) == {len(metas) // 4}
        for family, (least, most) in RANGES.items():
            sizes = Counter(meta["difficulty"] for meta in metas if meta["family"] == family)
            assert set(sizes) == set(range(least, most + 1)) and max(sizes.values()) - min(sizes.values()) <= 1


def test_kept_thoughts_end_right_and_carry_their_k_of_n(root):
    thoughts = records(root, "reason_thoughts")
    assert len(thoughts) >= 0.98 * 240
    for record in thoughts:
        meta, (thought, given) = record["meta"], answer(record)
        assert thought and given == meta["answer"] and 1 <= meta["k"] <= meta["n"] == 4
        assert set(meta) == {"family", "difficulty", "content", "answer", "k", "n", "truncated"}


def test_kept_thoughts_read_the_picture_rightly_even_where_carelessness_would_not_matter(root):
    """Checked against the content; slips that were mended are left out."""
    checked = 0
    for record in records(root, "reason_thoughts"):
        family, content = record["meta"]["family"], record["meta"]["content"].split()
        parts = record["messages"][1]["content"]
        lines = split_thought("".join(part["text"] for part in parts if part.get("learned", True)))[0].splitlines()
        lines = [line for line in lines[1:] if line != "wait"]
        if family == "totals":
            read = [line.split()[0] for line in lines if not line.startswith("so ")]
            assert read == [*content, *sorted(content)][: len(read)]
        elif family == "charts":
            read = [line[1:] for line in lines if re.fullmatch(r"[a-z]\d", line)]
            assert read == content[: len(read)]
        elif family == "search":
            read = [number for line in lines if "+" in line for number in re.findall(r"\d+", line)[:2]]
            assert set(read) <= set(content)
        checked += len(read) if family != "paths" else 0
    assert checked > 500


def test_truncated_and_slipping_thoughts_keep_their_shares(root):
    """Preferring short thoughts would have changed both."""
    thoughts = records(root, "reason_thoughts")
    truncated = sum(record["meta"]["truncated"] for record in thoughts)
    assert 0.04 < truncated / len(thoughts) < 0.20
    parts = [part for record in thoughts for part in record["messages"][1]["content"]]
    slips, lines = sum(part["text"] == "wait" for part in parts), plain_lines(thoughts)
    assert 0.03 < slips / lines < 0.09
    assert json.loads((root / "reason_thoughts" / "counts.json").read_text())["kept_truncated"] == truncated


def plain_lines(thoughts) -> int:
    """Lines in which a slip can stand: not the plan and not "wait"."""
    return sum(line != "wait" for record in thoughts for line in answer(record)[0].splitlines()[1:])


def test_counts_beside_the_thoughts_add_up(root):
    counts = json.loads((root / "reason_thoughts" / "counts.json").read_text())
    kept = len(records(root, "reason_thoughts"))
    assert (counts["questions"], counts["tries"], counts["kept"], counts["solved"]) == (240, 960, kept, kept)
    assert set(counts["dropped"]) == set(REASONS) and sum(counts["dropped"].values()) + kept == 960
    assert counts["dropped"]["wrong"] > 40 and counts["dropped"]["judged"] > 20
    by_k = Counter(record["meta"]["k"] for record in records(root, "reason_thoughts"))
    assert {f"{k} of 4": n for k, n in by_k.items()} == {k: n for k, n in counts["k_of_n"].items() if k != "0 of 4"}


def test_direct_answers_are_of_the_same_problems_on_the_same_pictures(root):
    thoughts, direct = records(root, "reason_thoughts"), records(root, "reason_direct")
    assert [key(record) for record in thoughts] == [key(record) for record in direct]
    for record, other in zip(thoughts, direct):
        assert answer(other) == ("", record["meta"]["answer"]) and other["messages"][1]["content"][0]["spelled"]
        paths = [root / s / one["messages"][0]["content"][0]["image"] for s, one in zip(sources.SOURCES[::2], (record, other))]
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_unverified_thoughts_are_marked_and_often_wrong(root):
    unverified = records(root, "reason_unverified")
    assert all(record["meta"]["verified"] is False for record in unverified)
    wrong = sum(answer(record)[1] != record["meta"]["answer"] for record in unverified)
    assert 0.3 < wrong / len(unverified) < 0.95


def test_half_of_the_whole_thoughts_say_the_answer_before_they_end(root):
    whole = [record for record in records(root, "reason_thoughts") if not record["meta"]["truncated"]]
    concluded = sum(answer(record)[0].endswith(f"so the answer is {record['meta']['answer']}") for record in whole)
    assert 0.35 < concluded / len(whole) < 0.65


def test_training_can_read_every_source(root):
    for name in sources.SOURCES:
        source = Source(root, name)
        assert all(source[row].is_chat and source[row].images[0].image.is_file() for row in range(len(source)))


def test_a_build_that_wants_more_problems_than_there_are_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "FAMILIES", ((sources.search, range(3, 4)),))
    with Workshop(tmp_path, "reason", seed=0) as shop:
        with pytest.raises(ValueError, match="no new problem of search of size 3.*smaller scale"):
            list(sources._drawn(shop, "test", 1000, set()))
