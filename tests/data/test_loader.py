"""The stream of packs: budgets, shares, the cutting of documents, and going on from a saved state."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image

from kimivl.data.batch import PackedBatch
from kimivl.data.loader import Loader, LoaderState, cut, encode, held_out_packs, patch_limit
from kimivl.data.source import Source
from kimivl.processor.image import ImageError

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

    def make_loader(mixture=MOVING, seed=0, **changes) -> Loader:
        stage = make_stage(mixture, **changes)
        return Loader(stage, {name: Source(root, name) for name in stage.sources}, processor, seed)

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
    second.state = LoaderState(**json.loads(json.dumps(asdict(first.state))))
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
    parts = cut(encode(source[0], processor), "docs", source[0], context=3)
    a = ord("a")
    assert [part.ids.tolist() for part in parts] == [[a, a + 1, a + 2], [a + 3, a + 4, a + 5], [a + 6, a + 7]]
    assert [part.labels.tolist() for part in parts] == [[a + 1, a + 2, a + 3], [a + 4, a + 5, a + 6], [a + 7, EOS]]
    assert all(part.supervised.all() for part in parts)
    assert {part.sample_id for part in parts} == {"docs-0"}


@pytest.mark.parametrize(("length", "parts"), [(1, [1]), (4, [4]), (5, [4, 1]), (8, [4, 4])])
def test_a_document_that_just_fits_is_not_cut(write, processor, length, parts):
    source = write("docs", [{"content": "x" * length}])
    assert [len(part.ids) for part in cut(encode(source[0], processor), "docs", source[0], context=4)] == parts


def test_a_picture_with_its_caption_by_hand(write, paint, processor):
    """8 × 8 pixels are 2 × 2 patches, one token. Learned: the special tokens but the placeholder, and the text."""
    source = write("captions", [{"content": [paint("captions", "1.png", (8, 8), 255), {"type": "text", "text": "ox"}]}])
    (piece,) = cut(encode(source[0], processor), "captions", source[0], context=99)
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
    sample, encoded = source[0], encode(source[0], processor)
    longest = len(encoded.ids) - 1  # every token but the last is an input
    assert len(cut(encoded, "long", sample, longest)) == 1
    words = f"sample long-0 has {longest} tokens, above the context of {longest - 1}: shorten it or raise the context"
    with pytest.raises(ValueError, match=words):
        cut(encoded, "long", sample, longest - 1)


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
    second.state = LoaderState(**json.loads(json.dumps(asdict(first.state))))
    assert contents(second.packs(4)) == contents([packs[4]])


def test_sources_that_are_not_augmented_stay_as_they_are(make_loader):
    plain, other = make_loader({"docs": 1}), make_loader({"docs": 1, "captions": 0}, augment=AUGMENT)
    assert contents(plain.packs(0)) == contents(other.packs(0))
