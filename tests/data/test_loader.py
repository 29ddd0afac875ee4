"""The stream of packs: budgets, shares, the cutting of documents, and going on from a saved state."""

import json
import os
import signal
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from PIL import Image

from kimivl.data.augment.paraphrase import bank
from kimivl.data.augment.refusals import Refusal
from kimivl.data.batch import PackedBatch
from kimivl.data.loader import Loader, held_out_packs
from kimivl.data.pieces import DamagedSample, outline
from kimivl.data.plan import PlanState, patch_limit
from kimivl.data.source import Source
from kimivl.processor.image import ImageError
from tests.pieces import pieces_of

# Ids of the byte vocabulary: a text's own bytes, then the special tokens, 256 + the official slot.
EOS, IM_END, USER, ASSISTANT, SYSTEM, MIDDLE, MEDIA_START, MEDIA_CONTENT, MEDIA_END, MEDIA_PAD = (
    256 + slot for slot in (1, 2, 3, 4, 10, 17, 18, 19, 20, 21)
)
LENGTHS = [3, 200, 9, 77, 31, 32, 33, 1, 64, 50]
RISING = [{"at": 0, "patches": 4}, {"at": 0.5, "patches": 64}]
MOVING = [{"at": 0, "weights": {"docs": 3, "captions": 1}}, {"at": 1, "weights": {"docs": 1, "captions": 1, "late": 2}}]


@pytest.fixture
def sources(write, write_documents, paint) -> dict[str, Source]:
    """Documents of up to 200 tokens, captions with pictures of up to 24 patches, and a source that appears later."""
    write_documents("docs", LENGTHS)
    sizes = [(8 + 4 * (number % 5), 8 + 8 * (number % 3)) for number in range(12)]
    pictures = [paint("captions", f"{number}.png", size, 20 * number) for number, size in enumerate(sizes)]
    write("captions", [{"content": [picture, {"type": "text", "text": f"no {n}"}]} for n, picture in enumerate(pictures)])
    chats = [[{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"{n}!"}] for n in range(7)]
    write("late", [{"messages": [{"role": "system", "content": "S"}, *chat]} for chat in chats])
    return {}


@pytest.fixture
def make_loader(sources, root, processor, make_stage):
    """A loader over freshly opened files, as another process would open them."""

    def make_loader(mixture=MOVING, seed=0, rank=0, ranks=1, workers=0, **changes) -> Loader:
        stage = make_stage(mixture, **changes)
        return Loader(stage, {name: Source(root, name) for name in stage.sources}, processor, seed, rank, ranks, workers)

    return make_loader


def contents(packs: list[PackedBatch]) -> list[list]:
    """All that a step sees, as plain values."""
    return [
        [p.sample_ids, p.sources, p.segments.lengths, p.ids_T.tolist(), p.labels_T.tolist(), p.weights_T.tolist(), p.grids]
        + [p.patches_P.tolist()]
        for p in packs
    ]


def samples(loader: Loader, steps: int, source: str) -> list[str]:
    """Ids of the source's samples in the order in which they come; a document of several parts comes several times."""
    packs = [pack for step in range(steps) for pack in loader.packs(step)]
    return [name for pack in packs for name, origin in zip(pack.sample_ids, pack.sources) if origin == source]


@pytest.mark.parametrize(("tokens", "patches"), [(70, 1000), (1000, 43), (70, 43)])
def test_budgets_are_never_exceeded_and_a_pack_is_closed_only_by_a_sample_that_does_not_fit(make_loader, tokens, patches):
    """Samples have at most 32 tokens and 36 patches, so a pack lacks less than that of one budget; patches come in fours."""
    loader = make_loader(packs=3, steps=40, pack_tokens=tokens, pack_patches=patches, resolution=RISING)
    fullest = 0
    for step in range(40):
        batches = loader.packs(step)
        assert len(batches) == 3
        for batch in batches:
            assert len(batch.ids_T) <= tokens and len(batch.patches_P) <= patches
            assert len(batch.ids_T) > tokens - 32 or len(batch.patches_P) > patches - 36
            assert max(batch.segments.lengths) <= 32
            assert sum(rows * columns for rows, columns in batch.grids) == len(batch.patches_P)
            fullest = max(fullest, len(batch.patches_P))
    assert fullest == 40 or patches == 1000


@pytest.mark.parametrize("broken_after", range(10))
def test_a_stream_goes_on_from_its_state_with_the_same_packs(make_loader, broken_after):
    """The state is taken in the middle of documents, and before, at and after the change of resolution and of the mixture."""
    settings = {"packs": 2, "resolution": RISING, "pack_tokens": 50}
    whole = make_loader(**settings)
    expected = [contents(whole.packs(step)) for step in range(10)]
    first = make_loader(**settings)
    for step in range(broken_after):
        assert contents(first.packs(step)) == expected[step]
    second = make_loader(**settings)
    second.state = PlanState(**json.loads(json.dumps(asdict(first.state))))
    assert [contents(second.packs(step)) for step in range(broken_after, 10)] == expected[broken_after:]


def test_that_stream_is_cut_inside_documents_and_changes_its_resolution(make_loader):
    """What the test above relies on."""
    loader, inside, largest = make_loader(packs=2, resolution=RISING, pack_tokens=50), 0, {False: 0, True: 0}
    for step in range(10):
        grids = [grid for batch in loader.packs(step) for grid in batch.grids]
        largest[step >= 5] = max([largest[step >= 5], *(rows * columns for rows, columns in grids)])
        inside += any(loader.state.parts_used.values())
    assert inside >= 3 and 0 < largest[False] < largest[True]


def test_tokens_come_in_the_shares_of_the_mixture(make_loader):
    loader, tokens = make_loader(mixture={"docs": 3, "captions": 1}, pack_tokens=200, steps=50), {"docs": 0, "captions": 0}
    for step in range(50):
        for batch in loader.packs(step):
            for source, length in zip(batch.sources, batch.segments.lengths):
                tokens[source] += length
    assert abs(tokens["captions"] - sum(tokens.values()) / 4) < 32  # less than a sample


def test_each_sample_comes_once_an_epoch_in_its_sources_order(make_loader, root):
    docs = Source(root, "docs")
    loader = make_loader(mixture={"docs": 1}, pack_tokens=1000, steps=3, context=32)
    parts = {f"docs-{number}": -(-length // 32) for number, length in enumerate(LENGTHS)}
    walk = [docs.nth(number, 0, "stage").id for number in range(100)]
    expected = [sample_id for sample_id in walk for _ in range(parts[sample_id])]
    found = samples(loader, 3, "docs")
    assert len(found) > 2 * sum(parts.values()) and found == expected[: len(found)]


def test_another_stage_walks_in_another_order(make_loader):
    first = samples(make_loader(mixture={"captions": 1}, steps=20), 20, "captions")
    assert samples(make_loader(mixture={"captions": 1}, steps=20, name="other"), 20, "captions") != first


def test_a_sources_order_does_not_depend_on_the_others(make_loader):
    alone = samples(make_loader(mixture={"captions": 1}, steps=20), 20, "captions")
    beside = samples(make_loader(mixture={"captions": 1, "docs": 2}, steps=20), 20, "captions")
    assert len(beside) > 12 and alone[: len(beside)] == beside
    assert samples(make_loader(mixture={"captions": 1}, steps=20, seed=1), 20, "captions") != alone


def test_the_resolution_rises_at_its_points(make_stage):
    stage = make_stage({"a": 1}, resolution=[{"at": 0.25, "patches": 16}, {"at": 0.5, "patches": 64}])
    assert [patch_limit(stage, progress) for progress in (0, 0.2, 0.25, 0.4, 0.5, 0.9)] == [None, None, 16, 16, 64, 64]
    assert patch_limit(make_stage({"a": 1}), 0.9) is None


def test_a_picture_above_the_patch_budget_is_an_error_that_names_the_sample(write, paint, make_stage, processor):
    source = write("big", [{"content": [paint("big", "1.png", (80, 80)), {"type": "text", "text": "x"}]}])
    stage = make_stage({"big": 1}, context=200, pack_tokens=200, pack_patches=399)
    with pytest.raises(ValueError, match="sample big-0 has 400 patches but stage stage packs at most 399: raise pack_patches"):
        Loader(stage, {"big": source}, processor, 0).packs(0)
    limited = stage.model_copy(update={"pack_patches": 400})
    assert len(Loader(limited, {"big": source}, processor, 0).packs(0)[0].patches_P) == 400


def test_a_document_is_cut_at_the_context_and_its_labels_cross_the_cut(write, processor):
    """8 bytes and [EOS] are 8 predictions: 3 + 3 + 2. The last token of a part predicts the first one of the next."""
    source = write("docs", [{"content": "abcdefgh"}])
    parts = pieces_of(source[0], "docs", processor, 3)
    a = ord("a")
    assert [part.ids.tolist() for part in parts] == [[a, a + 1, a + 2], [a + 3, a + 4, a + 5], [a + 6, a + 7]]
    assert [part.labels.tolist() for part in parts] == [[a + 1, a + 2, a + 3], [a + 4, a + 5, a + 6], [a + 7, EOS]]
    assert all(part.supervised.all() for part in parts)
    assert {part.sample_id for part in parts} == {"docs-0"}


@pytest.mark.parametrize(("length", "parts"), [(1, [1]), (4, [4]), (5, [4, 1]), (8, [4, 4])])
def test_a_document_that_just_fits_is_not_cut(write, processor, length, parts):
    source = write("docs", [{"content": "x" * length}])
    assert [len(part.ids) for part in pieces_of(source[0], "docs", processor, 4)] == parts


def test_a_picture_with_its_caption_by_hand(write, paint, processor):
    """8 × 8 pixels are 2 × 2 patches, one token. Learned: the special tokens but the placeholder, and the text."""
    source = write("captions", [{"content": [paint("captions", "1.png", (8, 8), 255), {"type": "text", "text": "ox"}]}])
    (piece,) = pieces_of(source[0], "captions", processor, 99)
    image = list(b"image")
    assert piece.ids.tolist() == [MEDIA_START, *image, MEDIA_CONTENT, MEDIA_PAD, MEDIA_END, *b"ox"]
    assert piece.labels.tolist() == [*image, MEDIA_CONTENT, MEDIA_PAD, MEDIA_END, *b"ox", EOS]
    assert piece.supervised.tolist() == [0, 0, 0, 0, 0, 1, 0, 1, 1, 1, 1]
    assert piece.grids.tolist() == [[2, 2]] and np.array_equal(piece.patches, np.ones((4, 3, 4, 4)))  # white is 1


@pytest.mark.parametrize("kind", ["chat", "picture"])
def test_what_must_not_be_cut_is_an_error_that_names_the_sample(write, paint, processor, kind):
    chat = {"messages": [{"role": "user", "content": "x" * 50}]}
    document = {"content": [paint("long", "1.png", (8, 8)), {"type": "text", "text": "x" * 50}]}
    source = write("long", [chat if kind == "chat" else document])
    longest = len(outline(source[0], processor).ids) - 1  # every token but the last is an input
    assert len(pieces_of(source[0], "long", processor, longest)) == 1
    words = f"sample long-0 has {longest} tokens, above the context of {longest - 1}: shorten it or raise the context"
    with pytest.raises(ValueError, match=words):
        pieces_of(source[0], "long", processor, longest - 1)


def test_an_empty_document_is_an_error_that_names_the_sample(write, make_stage, processor):
    source = write("docs", [{"content": [{"type": "text", "text": ""}]}])
    with pytest.raises(ValueError, match="sample docs-0 of docs is an empty document: give it text, or remove it"):
        Loader(make_stage({"docs": 1}), {"docs": source}, processor, 0).packs(0)


@pytest.mark.parametrize("fault", ["missing", "cut off", "no picture"])
def test_a_picture_that_cannot_be_read_is_named(write, paint, root, make_stage, processor, fault):
    source = write("a", [{"content": [paint("a", "bad.png", (40, 40)), {"type": "text", "text": "x"}]}])
    path = root / "a" / "bad.png"
    if fault == "missing":
        path.unlink()
    elif fault == "cut off":
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:1000])
    else:
        path.write_text("<html>404</html>")
    words = {"missing": "no such file", "cut off": "damaged or cut off", "no picture": "not a picture"}[fault]
    loader = Loader(make_stage({"a": 1}, context=200, pack_tokens=200, pack_patches=200), {"a": source}, processor, 0)
    with pytest.raises(ImageError, match=rf"image .*/a/bad\.png: .*{words}"):
        loader.packs(0)


def test_held_out_packs_are_the_first_samples_in_file_order(write_documents, processor):
    """Lengths 5, 9 (cut into 4 + 4 + 1), 3 within packs of at most 8 tokens; the fourth document is not asked for."""
    source = write_documents("docs", [5, 9, 3, 7], split="test")
    packs = held_out_packs(source, processor, context=4, pack_tokens=8, limit=3)
    assert [pack.segments.lengths for pack in packs] == [[4, 1], [4, 4], [1, 3]]
    assert [list(pack.sample_ids) for pack in packs] == [["docs-0"] * 2, ["docs-1"] * 2, ["docs-1", "docs-2"]]
    joined = torch.cat([pack.labels_T for pack in packs]).tolist()
    assert bytes(id if id < 256 else ord("\n") for id in joined).decode().splitlines() == [":aaa", ":bbbbbbb", ":c"]
    assert sum(pack.weight for pack in packs) == 5 + 9 + 3


def test_held_out_packs_of_fewer_samples_than_asked_for_are_all_of_them(write_documents, processor):
    packs = held_out_packs(write_documents("docs", [2, 2]), processor, context=4, pack_tokens=8, limit=50)
    assert [pack.segments.lengths for pack in packs] == [[2, 2]]


AUGMENT = {"captions": {"margin": 0.8, "scale": 1.3, "light": 0.5, "noise": 8}}


def test_augmented_samples_look_another_way_in_every_epoch_and_the_same_after_a_stop(make_loader):
    settings = {"mixture": {"captions": 1}, "augment": AUGMENT, "context": 64, "pack_tokens": 128, "pack_patches": 200}
    whole = make_loader(**settings)
    packs = [pack for step in range(10) for pack in whole.packs(step)]
    seen: dict[str, list[int]] = {}
    for pack in packs:
        for name, (rows, columns) in zip(pack.sample_ids, pack.grids):
            seen.setdefault(name, []).append(rows * columns)
    assert any(len(set(sizes)) > 1 for sizes in seen.values())  # a margin that was drawn anew
    assert contents(packs[:1]) != contents(make_loader(**settings | {"augment": {}}).packs(0))
    first, second = make_loader(**settings), make_loader(**settings)
    for step in range(4):
        first.packs(step)
    second.state = PlanState(**json.loads(json.dumps(asdict(first.state))))
    assert contents(second.packs(4)) == contents([packs[4]])


def test_a_piece_tells_where_the_augmentation_of_its_sample_gave_way(make_loader, write, paint):
    picture = paint("sided", "0.png", (16, 16), 0)
    write("sided", [{"content": [picture, {"type": "text", "text": "on the left"}]}, {"content": "no picture"}])
    loader = make_loader({"sided": 1}, augment={"sided": {"margin": 0.5}})
    pieces = [piece for step in range(3) for pack in loader.planner.packs(step) for piece in pack]
    assert {piece.refusals for piece in pieces} == {(Refusal("picture", "directions"),), ()}


def test_another_bank_of_wordings_is_another_sequence(make_loader, write, monkeypatch):
    chat = [{"role": "user", "content": "Describe the image."}, {"role": "assistant", "content": "x"}]
    write("asked", [{"messages": chat} for _ in range(8)])

    def digest() -> str:
        loader = make_loader({"asked": 1}, augment={"asked": {"paraphrase": 1}}, context=90, pack_tokens=90)
        for step in range(4):
            loader.packs(step)
        return loader.state.digest

    before = digest()
    assert digest() == before
    other = replace(bank(), version=bank().version + 1)
    monkeypatch.setattr("kimivl.data.augment.sample.bank", lambda: other)
    assert digest() != before


def test_sources_that_are_not_augmented_stay_as_they_are(make_loader):
    plain, other = make_loader({"docs": 1}), make_loader({"docs": 1, "captions": 0}, augment=AUGMENT)
    assert contents(plain.packs(0)) == contents(other.packs(0))


SETTINGS = {"packs": 3, "resolution": RISING, "pack_tokens": 50, "augment": AUGMENT, "pack_patches": 100, "context": 48}


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_that_decode_ahead_change_nothing_and_the_state_is_that_of_what_was_handed_out(make_loader, workers):
    plain, ahead = make_loader(**SETTINGS), make_loader(workers=workers, **SETTINGS)
    for step in range(10):
        assert contents(ahead.packs(step)) == contents(plain.packs(step)) and ahead.state == plain.state


def test_ranks_share_the_packs_of_a_step_and_their_states_are_equal(make_loader):
    whole = make_loader(**SETTINGS)
    for ranks in (2, 3, 4):  # also more ranks than packs
        loaders = [make_loader(rank=rank, ranks=ranks, **SETTINGS) for rank in range(ranks)]
        whole.state = PlanState()
        for step in range(4):
            expected, shared = contents(whole.packs(step)), [contents(loader.packs(step)) for loader in loaders]
            for number, pack in enumerate(expected):
                assert shared[number % ranks][number // ranks] == pack
            assert all(loader.state == whole.state for loader in loaders)


def test_a_run_that_stops_five_times_and_changes_ranks_workers_and_look_ahead_never_changes_its_packs(make_loader):
    """Each part of the run begins with the state that the one before wrote as JSON; twice it stops right after going on."""
    settings = SETTINGS | {"look_ahead": 2}
    whole = make_loader(**settings)
    expected = [contents(whole.packs(step)) for step in range(10)]
    state = PlanState()
    for start, stop, ranks, workers in ((0, 2, 1, 0), (2, 3, 4, 3), (3, 3, 2, 1), (3, 4, 2, 1), (4, 9, 3, 0), (9, 10, 1, 2)):
        loaders = [make_loader(rank=rank, ranks=ranks, workers=workers, **settings) for rank in range(ranks)]
        for loader in loaders:
            loader.state = PlanState(**json.loads(json.dumps(asdict(state))))
        for step in range(start, stop):
            shared = [contents(loader.packs(step)) for loader in loaders]
            assert [shared[number % ranks][number // ranks] for number in range(3)] == expected[step]
        [state] = {json.dumps(asdict(loader.state)): loader.state for loader in loaders}.values()
    assert state.digest == whole.state.digest


def test_the_digest_tells_samples_tokens_and_changes_of_pictures_apart(make_loader):
    def digest(**changes):
        loader = make_loader(**SETTINGS | changes)
        loader.packs(0)
        return loader.state.digest

    same = {digest(), digest(workers=2)}
    others = {digest(seed=1), digest(augment={"captions": {"noise": 9}}), digest(context=47), digest(look_ahead=1)}
    assert len(same) == 1 and len(others) == 4 and not same & others


@pytest.mark.parametrize("look_ahead", [0, 1, 4])
def test_what_does_not_fit_waits_for_the_next_pack_and_nothing_is_lost(make_loader, look_ahead):
    """Every part of every document comes once an epoch; with a longer line the packs are fuller."""
    loader = make_loader(mixture={"docs": 1}, pack_tokens=80, steps=60, look_ahead=look_ahead)
    batches = [batch for step in range(60) for batch in loader.packs(step)]
    seen: dict[str, int] = {}
    for batch in batches:
        for name in batch.sample_ids:
            seen[name] = seen.get(name, 0) + 1
    parts = {f"docs-{number}": -(-length // 32) for number, length in enumerate(LENGTHS)}
    epochs = [seen[name] / count for name, count in parts.items()]
    assert len(loader.state.waiting) <= look_ahead and max(epochs) - min(epochs) <= 1.2


def test_packs_are_fuller_the_longer_the_line_that_waits(make_loader):
    used = []
    for look_ahead in (0, 1, 4, 12):
        loader = make_loader(mixture={"docs": 1}, pack_tokens=100, steps=60, look_ahead=look_ahead)
        lengths = [len(batch.ids_T) for step in range(60) for batch in loader.packs(step)]
        used.append(sum(lengths) / (100 * len(lengths)))
    assert used == sorted(used) and used[0] < 0.93 and used[-1] > 0.95


@pytest.mark.parametrize("wrong", [{"rank": 2, "ranks": 2}, {"rank": -1}, {"workers": -1}])
def test_ranks_and_workers_that_cannot_be_are_refused(make_loader, wrong):
    with pytest.raises(ValueError, match="a loader is one of its ranks and has 0 or more workers"):
        make_loader(**wrong)


def test_a_step_out_of_turn_is_refused(make_loader):
    loader = make_loader(workers=2, **SETTINGS)
    loader.packs(0)
    with pytest.raises(ValueError, match="step 1 comes next, step 3 was asked for"):
        loader.packs(3)


def test_a_damaged_picture_is_named_alike_with_and_without_workers(write, paint, root, make_stage, processor):
    names = [paint("a", f"{number}.png", (8, 8)) for number in range(3)]
    source = write("a", [{"content": [name, {"type": "text", "text": "x"}]} for name in names])
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(root / "a" / "1.png")
    (root / "a" / "1.png").write_bytes((root / "a" / "1.png").read_bytes()[:1000])  # its header is whole
    stage, words = make_stage({"a": 1}, context=200, pack_tokens=400, pack_patches=400), []
    for workers in (0, 1):
        with pytest.raises(DamagedSample) as raised:
            Loader(stage, {"a": source}, processor, 0, workers=workers).packs(0)
        words.append(str(raised.value))
    assert words[0] == words[1] and "sample a-1 of a: image" in words[0] and "damaged or cut off" in words[0]


def test_the_sequence_stays_when_workers_are_killed(make_loader):
    """One of the two workers is killed before every step."""
    plain, ahead = make_loader(**SETTINGS), make_loader(workers=2, **SETTINGS)
    for step in range(6):
        assert contents(ahead.packs(step)) == contents(plain.packs(step))
        os.kill(ahead.pool.processes[step % len(ahead.pool.processes)], signal.SIGKILL)
    assert ahead.state == plain.state and ahead.pool.restarts >= 1
