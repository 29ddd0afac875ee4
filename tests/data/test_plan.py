"""What the plan makes of packings, of shares, and of changes that a log brings while a stage runs."""

import json
import tracemalloc
from collections import Counter
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from kimivl.data import pieces, plan
from kimivl.data.lengths import measure_lengths
from kimivl.data.loader import Loader
from kimivl.data.log import DataLog, Entry, Exclusion
from kimivl.data.pieces import DamagedSample
from kimivl.data.plan import PlanState, is_excluded
from kimivl.data.sample import Sample
from kimivl.data.source import Source
from kimivl.processor.image import ImageError
from kimivl.processor.messages import ImagePart
from kimivl.processor.stored import StoredBytes, StoredPicture


@pytest.fixture
def corpus(write, write_documents, paint, root):
    """Two sources of text, of which one has far longer samples, and two of pictures: of up to 36 patches, and of 4 or
    144."""
    random = np.random.default_rng(0)
    write_documents("short", [int(length) for length in random.integers(3, 12, 97)])
    write_documents("long", [int(length) for length in random.integers(20, 33, 83)])
    sizes = [tuple(int(side) for side in 8 * random.integers(1, 4, 2)) for _ in range(61)]
    pictures = [paint("pictures", f"{number}.png", size) for number, size in enumerate(sizes)]
    write("pictures", [{"content": [picture, {"type": "text", "text": f"no {n}"}]} for n, picture in enumerate(pictures)])
    uneven = [paint("uneven", f"{number}.png", (48, 48) if number % 10 < 2 else (8, 8)) for number in range(50)]
    write("uneven", [{"content": [picture, {"type": "text", "text": f"no {n}"}]} for n, picture in enumerate(uneven)])
    return root


@pytest.fixture
def open_loader(corpus, processor, make_stage):
    """As another process would open it."""

    def open_loader(mixture, log=None, state=None, steps=100, **settings):
        loading = {key: settings.pop(key) for key in ("rank", "ranks", "workers", "damaged") if key in settings}
        stage = make_stage(mixture, steps=steps, **{"pack_tokens": 100, "context": 64} | settings)
        sources = {name: Source(corpus, name) for name in ("short", "long", "pictures", "uneven")}
        loader = Loader(stage, sources, processor, 0, log=DataLog(log), **loading)
        loader.state = PlanState(**json.loads(json.dumps(asdict(state)))) if state else PlanState()
        return loader

    return open_loader


def drawn(packs):
    """(source, id) of every segment."""
    return [origin for pack in packs for origin in zip(pack.sources, pack.sample_ids)]


ALL = {"short": 1, "long": 1, "pictures": 1}


@pytest.mark.parametrize("packing", ["in_order", "grouped", "balanced"])
def test_every_packing_keeps_its_budgets_loses_nothing_and_repeats_nothing(open_loader, packing):
    """Up to what waits, each source has been walked through whole epochs: counts of its samples differ by one at most."""
    loader = open_loader(ALL, packing=packing, packs=3, look_ahead=2)
    packs = [pack for step in range(60) for pack in loader.packs(step)]
    assert len(packs) == 180
    assert all(len(pack.ids_T) <= 100 and len(pack.patches_P) <= 64 for pack in packs)
    waiting = Counter(source for source, _, _ in loader.state.waiting)
    for name in ALL:
        counts = Counter(sample for source, sample in drawn(packs) if source == name)
        assert sum(counts.values()) + waiting[name] == loader.state.drawn[name]
        ordered = sorted(counts.values())
        assert ordered[-1] - ordered[0] <= 1 + waiting[name]


def walk(loader, steps):
    return [pack for step in range(steps) for pack in loader.packs(step)]


def test_short_samples_are_kept_no_longer_than_their_memory_allows(open_loader, monkeypatch):
    """They are far larger in memory than their tokens."""
    for file in (plan, pieces):
        monkeypatch.setattr(file, "KEPT", 200_000)
    loader = open_loader({"short": 1}, pack_tokens=500)
    for step in range(100):
        if step == 10:
            tracemalloc.start()
        packs = loader.packs(step)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert loader.state.drawn["short"] > 5000 and len(packs) == 1 and grown < 1_000_000


def test_grouped_packs_hold_pictures_or_none_and_mixed_ones_both(open_loader):
    def kinds(packing):
        return [{source == "pictures" for source in pack.sources} for pack in walk(open_loader(ALL, packing=packing), 60)]

    assert {len(kind) for kind in kinds("grouped")} == {1} and {True, False} == set.union(*kinds("grouped"))
    assert 2 in {len(kind) for kind in kinds("in_order")}


def test_balanced_packs_of_a_step_are_mostly_no_more_than_a_picture_apart(open_loader):
    def spread(packing):
        loader = open_loader({"short": 1, "uneven": 1}, packing=packing, packs=4, pack_tokens=400, pack_patches=4000)
        patches = np.array([[len(pack.patches_P) for pack in loader.packs(step)] for step in range(25)])
        return patches.max(1) - patches.min(1)

    balanced = spread("balanced")  # more where the emptiest pack has no tokens left
    assert np.median(balanced) <= 144 and 1.5 * balanced.mean() < spread("in_order").mean()


@pytest.mark.parametrize("packing", ["grouped", "balanced"])
def test_other_packings_resume_exactly_with_other_ranks_and_threads(open_loader, packing):
    settings = {"packing": packing, "packs": 3, "look_ahead": 3}
    whole = open_loader(ALL, **settings)
    expected = [[pack.ids_T.tolist() for pack in whole.packs(step)] for step in range(12)]
    state = None
    for start, stop, ranks, workers in ((0, 5, 1, 0), (5, 6, 4, 2), (6, 12, 2, 1)):
        loaders = [open_loader(ALL, state=state, rank=rank, ranks=ranks, workers=workers, **settings) for rank in range(ranks)]
        for step in range(start, stop):
            shared = [[pack.ids_T.tolist() for pack in loader.packs(step)] for loader in loaders]
            assert [shared[number % ranks][number // ranks] for number in range(3)] == expected[step]
        state = loaders[0].state
    assert state.digest == whole.state.digest


def test_weights_count_tokens_or_samples(open_loader):
    for shares in ("tokens", "samples"):
        loader = open_loader({"short": 1, "long": 3}, shares=shares)
        amounts: Counter[str] = Counter()
        for pack in walk(loader, 100):
            for source, length in zip(pack.sources, pack.segments.lengths):
                amounts[source] += length if shares == "tokens" else 1
        assert abs(amounts["long"] / sum(amounts.values()) - 0.75) < 0.01


def test_a_change_of_the_mixture_repeats_and_skips_nothing_and_the_share_follows(open_loader, tmp_path):
    """The log changes the shares twice, once to a source that the recipe gave nothing; each source's walk goes on as it was."""
    log = tmp_path / "data_log.jsonl"
    loader = open_loader({"short": 1, "long": 1}, log)
    DataLog(log).append(Entry(step=30, weights={"short": 1, "long": 3}))
    DataLog(log).append(Entry(step=70, weights={"long": 1, "pictures": 4}))
    tokens = [Counter() for _ in range(3)]
    seen: dict[str, list[str]] = {name: [] for name in ALL}
    for step in range(100):
        for pack in loader.packs(step):
            for source, sample, length in zip(pack.sources, pack.sample_ids, pack.segments.lengths):
                tokens[(step >= 30) + (step >= 70)][source] += length
                seen[source].append(sample)
    shares = [{name: count / sum(part.values()) for name, count in part.items()} for part in tokens]
    assert (
        abs(shares[0]["long"] - 0.5) < 0.01 and abs(shares[1]["long"] - 0.75) < 0.01 and abs(shares[2]["pictures"] - 0.8) < 0.01
    )
    assert "short" not in shares[2]
    for name, samples in seen.items():
        source = loader.planner.sources[name]
        assert samples == [source.nth(number, 0, "stage").id for number in range(len(samples))]


@pytest.mark.parametrize("stop", [29, 30, 31, 40])
def test_a_run_with_a_changed_mixture_resumes_exactly(open_loader, tmp_path, stop):
    log = tmp_path / "data_log.jsonl"
    whole = open_loader(ALL, log, packs=2)
    DataLog(log).append(Entry(step=30, weights={"short": 1, "long": 3}))
    digests = []
    for step in range(50):
        whole.packs(step)
        digests.append(whole.state.digest)
    first = open_loader(ALL, log, packs=2)
    walk(first, stop)
    second = open_loader(ALL, log, first.state, packs=2, workers=2)
    for step in range(stop, 50):
        second.packs(step)
        assert second.state.digest == digests[step]


def test_a_change_that_comes_too_late_is_refused(open_loader, tmp_path):
    log = tmp_path / "data_log.jsonl"
    loader = open_loader(ALL, log)
    walk(loader, 10)
    DataLog(log).append(Entry(step=9, weights={"short": 1}))
    with pytest.raises(ValueError, match="data_log.jsonl: its entries for steps before 10 .* for step 10 or later"):
        loader.packs(10)


def test_a_change_to_a_step_that_is_planned_ahead_holds_as_if_it_had_always_been_there(open_loader, tmp_path):
    """Two workers have four more steps planned; those that were handed out stay, the others are planned anew."""
    log, known = tmp_path / "data_log.jsonl", tmp_path / "known.jsonl"
    DataLog(known).append(Entry(step=11, weights={"long": 1}))
    expected = drawn(walk(open_loader(ALL, known), 20))
    ahead = open_loader(ALL, log, workers=2)
    found = walk(ahead, 10)
    DataLog(log).append(Entry(step=11, weights={"long": 1}))
    found += [pack for step in range(10, 20) for pack in ahead.packs(step)]
    ahead.close()
    assert drawn(found) == expected


def test_a_change_to_a_source_that_is_not_there_names_those_that_are(open_loader, tmp_path):
    log = tmp_path / "data_log.jsonl"
    loader = open_loader(ALL, log)
    DataLog(log).append(Entry(step=0, weights={"nowhere": 1}))
    with pytest.raises(ValueError, match="data_log.jsonl names the source nowhere, .* short, long, pictures, uneven"):
        loader.packs(0)


def damage(root, number):
    path = root / "pictures" / f"{number}.png"
    Image.effect_noise((24, 24), 90).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:300])


def test_a_damaged_sample_stops_the_run_or_is_left_out_as_asked_for(open_loader, corpus, tmp_path):
    """Quarantine is written down, all else comes as if the sample had never been there, and a resumed run does the same."""
    first_epoch = [open_loader(ALL).planner.sources["pictures"].nth(number, 0, "stage").id for number in range(61)]
    torn = first_epoch[20]
    damage(corpus, int(torn.removeprefix("pictures-")))
    with pytest.raises(DamagedSample, match=f"sample {torn} of pictures: image .*damaged or cut off"):
        walk(open_loader({"pictures": 1}), 60)
    log = tmp_path / "data_log.jsonl"
    loader = open_loader({"pictures": 1}, log, damaged="quarantine", workers=2)
    seen = [sample for pack in walk(loader, 20) for sample in pack.sample_ids]
    assert seen[:60] == first_epoch[:20] + first_epoch[21:] and torn not in seen
    (entry,) = DataLog(log).until(99)
    assert (
        entry.excluded and (entry.excluded.source, entry.excluded.id) == ("pictures", torn) and "cut off" in entry.excluded.reason
    )
    again = open_loader({"pictures": 1}, log)
    walk(again, 20)
    assert again.state.digest == loader.state.digest


def test_a_folder_that_is_gone_or_a_picture_that_may_not_be_read_is_no_damage_of_a_sample(
    open_loader, corpus, tmp_path, monkeypatch
):
    """A disk that is not mounted must not leave out one sample after the other."""
    log = tmp_path / "data_log.jsonl"
    (corpus / "pictures" / "3.png").rename(tmp_path / "3.png")
    (corpus / "pictures" / "3.png").mkdir()
    monkeypatch.setattr("kimivl.data.pieces.os.access", lambda path, mode: path.name != "3.png")
    with pytest.raises(ImageError, match="sample pictures-3 of pictures: .*3.png may not be read; make it readable") as raised:
        walk(open_loader({"pictures": 1}, log, damaged="quarantine"), 20)
    assert not isinstance(raised.value, DamagedSample)
    loader = open_loader({"pictures": 1}, log, damaged="quarantine")
    (corpus / "pictures").rename(corpus / "unmounted")
    with pytest.raises(ImageError, match="there is no folder .*/pictures; is its disk mounted?") as raised:
        walk(loader, 20)
    assert not isinstance(raised.value, DamagedSample) and not log.exists()


def test_a_damaged_picture_of_an_augmented_source_is_told_with_its_sample(open_loader, corpus):
    """Augmentation reads its header before anything else does."""
    (corpus / "pictures" / "3.png").write_bytes(b"no picture")
    settings = {"augment": {"pictures": {"margin": 0.5}}, "pack_patches": 300}
    with pytest.raises(DamagedSample, match="sample pictures-3 of pictures: image .*3.png"):
        walk(open_loader({"pictures": 1}, **settings), 20)


def test_what_is_excluded_for_the_version_of_an_original_comes_back_with_another(open_loader, tmp_path):
    """These pictures are plain files and have no versions, so an exclusion that names one is about another original."""
    log = tmp_path / "data_log.jsonl"
    DataLog(log).append(Entry(step=0, excluded=Exclusion(source="short", id="short-1", versions=("of-old",))))
    DataLog(log).append(Entry(step=0, excluded=Exclusion(source="short", id="short-2")))
    seen = {sample for _, sample in drawn(walk(open_loader({"short": 1}, log), 20))}
    assert "short-1" in seen and "short-2" not in seen


@pytest.mark.parametrize(
    ("version", "sha256", "stays"), [("v1", "aa", True), ("v2", "aa", False), ("v1", "bb", False), ("", "aa", False)]
)
def test_an_exclusion_ends_when_the_manifest_tells_of_another_original(version, sha256, stays):
    """By its etag, or by its bytes where an etag says nothing."""
    exclusion = Exclusion(source="s", id="x", versions=("v1",), sha256=("aa",))
    assert is_excluded(stored_sample((version, sha256)), exclusion) == stays
    assert is_excluded(stored_sample((version, sha256), ("v9", "cc")), exclusion) == stays


def test_an_exclusion_of_local_files_of_a_manifest_ends_when_their_bytes_are_others():
    exclusion = Exclusion(source="s", id="x", sha256=("aa", "bb"))
    assert is_excluded(stored_sample(("", "bb"), ("", "aa")), exclusion)
    assert not is_excluded(stored_sample(("", "bb"), ("", "cc")), exclusion)


def stored_sample(*originals):
    """With a picture in each original, a pair of version and sha256."""
    places = [StoredBytes("file:///x", version, 0, 9, sha256) for version, sha256 in originals]
    return Sample("x", content=tuple(ImagePart(StoredPicture("x", place, "image/png", 8, 8)) for place in places))


def test_a_source_of_which_all_is_left_out_is_an_error(open_loader, tmp_path):
    log = tmp_path / "data_log.jsonl"
    for number in range(83):
        DataLog(log).append(Entry(step=0, excluded=Exclusion(source="long", id=f"long-{number}")))
    with pytest.raises(ValueError, match="every sample of the source long is left out; give it the weight 0 instead"):
        walk(open_loader({"long": 1}, log), 1)


def test_a_plan_from_counted_tokens_is_that_of_rendered_texts_and_renders_nothing(open_loader, corpus, processor, monkeypatch):
    settings = {"packs": 2, "look_ahead": 2, "pack_patches": 200, "augment": {"pictures": {"margin": 0.5}}}
    rendered = open_loader(ALL, **settings)
    expected = [[pack.ids_T.tolist() for pack in rendered.packs(step)] for step in range(20)]
    for name in ("short", "long", "uneven"):
        measure_lengths(Source(corpus, name), processor.tokenizer)
    counted = open_loader(ALL, **settings)
    assert [[pack.ids_T.tolist() for pack in counted.packs(step)] for step in range(20)] == expected
    assert counted.state.digest == rendered.state.digest

    def render(*_, **__):
        raise AssertionError("a text was rendered")

    planner = open_loader({"short": 1, "long": 1}, **settings | {"augment": {}}).planner
    monkeypatch.setattr(type(processor), "outline_document", render)
    assert len(planner.packs(0)) == 2
    with pytest.raises(AssertionError, match="a text was rendered"):  # those that may change are rendered
        open_loader({"pictures": 1}, **settings).planner.packs(0)


def test_texts_that_are_not_those_that_were_counted_are_an_error_that_names_the_fix(open_loader, corpus, processor):
    source = Source(corpus, "short")
    path = measure_lengths(source, processor.tokenizer)
    table = np.load(path)
    table["fingerprint"][source.row(3, 0, "stage")] += 1
    np.save(path, table)
    walk = [source.nth(number, 0, "stage").id for number in range(4)]
    with pytest.raises(ValueError, match=f"sample {walk[3]} of short is rendered as other tokens than were counted: remove"):
        open_loader({"short": 1}).packs(0)


@pytest.mark.parametrize("packing", ["in_order", "grouped", "balanced"])
def test_what_waits_while_the_resolution_rises_never_keeps_the_plan_from_ending(open_loader, packing):
    """Pieces that fitted together before do not any more, so more may wait than `look_ahead`."""
    rising = [{"at": 0, "patches": 4}, {"at": 0.1, "patches": 36}]
    loader = open_loader({"short": 1, "pictures": 3}, packing=packing, packs=2, look_ahead=0, pack_patches=40, resolution=rising)
    packs = walk(loader, 30)
    assert len(packs) == 60 and all(len(pack.patches_P) <= 40 for pack in packs)
