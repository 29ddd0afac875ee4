"""The parts of the page by themselves: tokens, places, histograms, figures, packing, and what is found in a folder."""

import hashlib
import io
import itertools
import json
import re
import tarfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from kimivl.catalog.view.context import View
from kimivl.catalog.view.drawing import marks_of, overlay
from kimivl.catalog.view.figures import figures_of, script_of
from kimivl.catalog.view.histograms import bars, bins_of, histogram
from kimivl.catalog.view.markup import Markup, joined, tag, verbatim
from kimivl.catalog.view.packing import Packing, Step
from kimivl.catalog.view.server import answer
from kimivl.catalog.view.shelf import Shelf
from kimivl.catalog.view.tokens import chips_of
from kimivl.config.store import StoreConfig
from kimivl.data.lengths import measure_lengths
from kimivl.data.log import DataLog, Entry
from kimivl.data.manifest.schema import write_manifest
from kimivl.data.plan import Planner
from kimivl.data.sample import Sample
from kimivl.data.source import Source
from kimivl.data.store.node import NodeFetcher
from kimivl.processor.bpe import train_ranks
from kimivl.processor.chat import Provenance
from kimivl.processor.image import ImageProcessor
from kimivl.processor.messages import ImagePart, Message, TextPart
from kimivl.processor.processor import Processor
from kimivl.processor.stored import StoredBytes
from kimivl.processor.tokenizer import Tokenizer
from tests.catalog.view.conftest import chat, write


def test_texts_are_escaped_and_markup_is_not():
    assert tag("p", "<b>", tag("i", "&"), None, 3, title='"<') == '<p title="&quot;&lt;">&lt;b&gt;<i>&amp;</i>3</p>'
    assert joined(["<", Markup("<br>")]) == "&lt;<br>"
    assert tag("input", disabled=True, value=None, data_x=1) == '<input disabled data-x="1">'
    with pytest.raises(ValueError, match="ends inside itself"):
        verbatim("script", "</script>")


@pytest.mark.parametrize("ranks", [256, 262])
def test_chips_hold_every_token_once_and_whole_characters(ranks):
    """A byte vocabulary needs 3 tokens for a Chinese character and 4 for 🙂."""
    text = "a中文🙂\n\tz"
    tokenizer = Tokenizer(train_ranks([text * 9], ranks))
    processor = Processor(tokenizer, ImageProcessor(patch_size=4))
    parts = (ImagePart(Image.new("RGB", (24, 16))), TextPart(text), TextPart(text, spelled=True))
    outline = processor.outline_chat([Message("user", parts), Message("assistant", (TextPart(text),))])
    chips = chips_of(outline, tokenizer)
    assert [id for chip in chips for id in chip.ids] == outline.ids.tolist()
    assert [chip.start for chip in chips] == np.cumsum([0, *(len(chip.ids) for chip in chips)])[:-1].tolist()
    assert not any("\ufffd" in chip.text for chip in chips)
    said = "".join(chip.text for chip in chips if chip.provenance is Provenance.ANSWER)
    assert said == text
    assert ranks > 256 or {chip.text for chip in chips if len(chip.ids) > 1 and chip.provenance is not Provenance.MEDIA} >= {
        "中",
        "🙂",
    }
    assert [len(chip.ids) for chip in chips if chip.provenance is Provenance.MEDIA] == [6]  # 24 × 16 pixels, groups of 8


def test_bytes_that_are_no_text_are_shown_one_by_one(processor):
    sample = Message("assistant", (TextPart("\ufffd", ids=None),))
    outline = processor.outline_chat([sample])
    broken = type(outline)(np.array([0xFF, 0x41, 0xC3]), np.ones(3, bool), np.full(3, 4, np.uint8), outline.grids, (), None)
    assert [(chip.text, chip.ids) for chip in chips_of(broken, processor.tokenizer)] == [
        ("\ufffd", (255,)),
        ("A", (65,)),
        ("\ufffd", (195,)),
    ]


def pictured(answer: str, kind: str | None = "pixel", pictures: int = 1, **meta) -> Sample:
    parts = tuple(ImagePart(Image.new("RGB", (200, 100))) for _ in range(pictures))
    meta |= {"coordinates": kind} if kind else {}
    return Sample("s", (Message("user", (*parts, TextPart("where?"))), Message("assistant", (TextPart(answer),))), meta=meta)


@pytest.mark.parametrize(
    ("answer", "kind", "form", "pixels"),
    [
        ("click(x=0.5, y=0.25)", "unit", "point", [[100, 25]]),
        ("at (500, 250)", "thousand", "point", [[100, 25]]),
        ("[10, 20, 30, 40]", "pixel", "box", [[10, 20], [30, 40]]),
        ("drag(x1=1, y1=2, x2=3, y2=4)", "pixel", "path", [[1, 2], [3, 4]]),
        ("(0, 0, 200, 0, 200, 100)", "pixel", "outline", [[0, 0], [200, 0], [200, 100]]),
        ("red circle .5 .75", "unit", "point", [[100, 75]]),
    ],
)
def test_places_in_a_text_are_found_in_pixels(answer, kind, form, pixels):
    marks = marks_of(pictured(answer, kind), (200, 100))
    assert marks.note == "" and len(marks.marks) == 1
    [mark] = marks.marks
    assert (mark.named.form, mark.named.pixels_N2.tolist(), mark.who) == (form, pixels, "assistant")


def test_a_box_is_drawn_edge_to_edge():
    drawn = overlay(marks_of(pictured("[10, 20, 30, 45]"), (200, 100)).marks, (200, 100))
    assert 'viewBox="0 0 200 100"' in drawn and 'x="10" y="20" width="20" height="25"' in drawn


@pytest.mark.parametrize(
    ("sample", "note", "count"),
    [
        (pictured("(3, 4)", None), "", 0),
        (pictured("(300, 4) (1, 2)"), "outside of the picture: point \\(300, 4\\)", 2),
        (pictured("(3, 4)", pictures=2), "several pictures", 0),
        (pictured("(3, 4)", "metres"), "meta.coordinates is one of unit, thousand, pixel", 0),
        (pictured("(1, 2) and 17, 18"), "'17, 18' may be a place", 1),
    ],
)
def test_what_cannot_be_drawn_is_said(sample, note, count):
    marks = marks_of(sample, (200, 100))
    assert re.search(note, marks.note) and bool(note) == bool(marks.note) and len(marks.marks) == count
    assert overlay(marks.marks, (200, 100)).count('class="halo"') == count - sum(mark.outside for mark in marks.marks)


def test_the_truth_in_meta_is_drawn_only_on_the_stored_picture():
    sample = pictured("x", None, outline=[[0, 0], [0.5, 0], [0.5, 1]])
    [mark] = marks_of(sample, (200, 100)).marks
    assert mark.who == "meta" and mark.named.pixels_N2.tolist() == [[0, 0], [100, 0], [100, 100]]
    assert not marks_of(sample, (200, 100), changed=True).marks
    assert not marks_of(pictured("x", None, outline="anything"), (200, 100)).marks


@pytest.mark.parametrize("values", [[1], [5, 5, 5], [1, 2, 3, 1000], [0.5, 2.0], list(range(1, 400))])
def test_the_bars_of_a_histogram_count_every_value(values):
    middle = len(values) // 2
    bins = bins_of(lambda: (np.array(piece, float) for piece in (values[:middle], values[middle:])))
    assert (bins.count, bins.low, bins.high) == (len(values), min(values), max(values))
    drawn = histogram(bins, "pixels")
    assert sum(int(count.replace(",", "")) for count in re.findall(r"to [^:<]+: ([\d,]+)</title>", drawn)) == len(values)
    assert "nan" not in drawn and "inf" not in drawn


def test_many_names_are_summed_up():
    counts = {f"name{number}": number for number in range(1, 12)}
    shown = dict(re.findall(r"<title>([^:]+): ([\d,]+)</title>", bars(counts)))
    assert sum(map(int, shown.values())) == sum(counts.values()) and len(shown) == 7 and shown["name11"] == "11"


@pytest.mark.parametrize(
    ("text", "script"),
    [("hello 世", "Latin letters"), ("你好 a", "Chinese characters"), ("привет", "Cyrillic letters"), ("12 + 3", "no letters")],
)
def test_a_text_without_a_language_has_a_script(text, script):
    assert script_of(text) == script


@pytest.fixture
def stored(tmp_path):
    """A manifest of 40 pictures in one tar file."""
    pictures = [Image.new("RGB", (10 + number, 20), (number, 0, 0)) for number in range(40)]
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        for number, picture in enumerate(pictures):
            picture.save(file := io.BytesIO(), "PNG")
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(file.getvalue())
            tar.addfile(member, io.BytesIO(file.getvalue()))
    data = (tmp_path / "all.tar").read_bytes()
    with tarfile.open(tmp_path / "all.tar") as tar:
        members = tar.getmembers()
    objects = [
        {"name": m.name, "url": "all.tar", "version": "", "start": m.offset_data, "length": m.size, "deflated": False,
         "sha256": hashlib.sha256(data[m.offset_data : m.offset_data + m.size]).hexdigest(), "media_type": "image/png",
         "width": 10 + number, "height": 20}
        for number, m in enumerate(members)
    ]  # fmt: skip
    contents = [[{"type": "image", "image": "x"}, {"type": "text", "text": "ab" * n}] for n in range(40)]
    samples = [
        {"id": f"s{n}", "record": json.dumps({"id": f"s{n}", "content": contents[n]}),
         "pictures": [{"object": n, "frame": None}], "text_length": 2 * n, "where": "x:1", "language": "zh" if n % 4 else "en"}
        for n in range(40)
    ]  # fmt: skip
    write_manifest(tmp_path / "data" / "stored" / "train.manifest", objects, samples, f"{tmp_path.as_uri()}/")
    return tmp_path


def test_a_manifest_is_counted_by_its_columns(stored):
    shelf = Shelf(stored / "data")
    [entry] = shelf.entries
    figures = figures_of(entry, shelf.source(entry), None)
    assert figures.rows == 40 and figures.languages == {"zh": 30, "en": 10} and not figures.faults
    by_title = {spread.title: spread for spread in figures.spreads}
    expected = {
        "Resolution": [(20 * (10 + n)) ** 0.5 for n in range(40)],
        "Aspect": [(10 + n) / 20 for n in range(40)],
        "Length": [1, *range(2, 80, 2)],
    }
    for title, values in expected.items():
        bins = by_title[title].bins
        assert np.allclose((bins.count, bins.low, bins.high), (40, min(values), max(values)))
        inside = [sum(low <= value < high for value in values) for low, high in itertools.pairwise(bins.edges)]
        assert bins.counts.tolist() == inside and "all 40" in by_title[title].basis


def test_tokens_that_were_counted_are_shown_of_all_rows(stored, processor):
    shelf = Shelf(stored / "data")
    [entry] = shelf.entries
    measure_lengths(shelf.source(entry), processor.tokenizer, called="runs/a")
    for given in (None, processor):
        [length] = [spread for spread in figures_of(entry, shelf.source(entry), given).spreads if spread.title == "Length"]
        assert length.basis == f"all 40 rows, counted by runs/a (512 tokens, digest {processor.tokenizer.digest[:8]})"
        assert (length.bins.low, length.bins.high) == (9, 87)  # a token a byte, [EOS], and 8 around the picture
    other = Processor(Tokenizer(train_ranks(["abab"], 257)), ImageProcessor(patch_size=4))
    [length] = [spread for spread in figures_of(entry, shelf.source(entry), other).spreads if spread.title == "Length"]
    assert length.basis == "all 40 rows" and length.unit == "tokens of a sample"  # as it was rendered now


def test_pictures_in_a_store_are_fetched_by_their_range(stored):
    asked: list[StoredBytes] = []

    def fetch(places):
        asked.extend(places)
        return NodeFetcher(StoreConfig())(places)

    reply = answer(View(Shelf(stored / "data"), fetch), "/picture/0/7/0")
    picture = Image.open(io.BytesIO(reply.body)).convert("RGB")
    assert picture.size == (17, 20) and picture.getpixel((3, 3)) == (7, 0, 0) and len(asked) == 1


def test_bytes_that_changed_are_not_shown(stored):
    data = bytearray((stored / "all.tar").read_bytes())
    [place] = [Shelf(stored / "data").source(Shelf(stored / "data").entries[0])[7].images[0].image.place]
    data[place.start + 20] ^= 1
    (stored / "all.tar").write_bytes(data)
    reply = answer(View(Shelf(stored / "data"), NodeFetcher(StoreConfig())), "/picture/0/7/0")
    assert reply.status == 422 and b"not those that were indexed" in reply.body


def test_packs_are_those_of_a_run_whose_mixture_was_changed_also_while_the_page_is_open(view, stage, processor, tmp_path):
    log = DataLog(tmp_path / "data_log.jsonl")
    sources = {name: Source(view.shelf.root, name) for name in stage.sources}
    packing = Packing(stage, sources, processor, 3, DataLog(log.path))
    plain = packing.step(4, 60)
    one = next(iter(stage.sources))
    log.append(Entry(step=2, weights={one: 1}))
    changed = packing.step(4, 60)
    trainer = Planner(stage, sources, processor, 3, log)
    for number in range(5):
        trainer.packs(number)
    assert changed.digest == trainer.state.digest != plain.digest and changed.weights == {one: 1.0}


def new_packing(view, stage, processor) -> Packing:
    return Packing(stage, {name: Source(view.shelf.root, name) for name in stage.sources}, processor, 3)


def test_steps_are_the_same_in_any_order_and_however_often_planning_stops(view, stage, processor):
    straight = new_packing(view, stage, processor)
    expected = {number: straight.step(number, 60) for number in range(26)}
    assert all(isinstance(step, Step) for step in expected.values()) and len({step.digest for step in expected.values()}) == 26
    jumping = new_packing(view, stage, processor)
    for number in (25, 3, 24, 0, 11, 25):
        assert jumping.step(number, 60) == expected[number]
    slow, reached = new_packing(view, stage, processor), []
    while not isinstance(step := slow.step(12, 0), Step):
        reached.append(step)
    assert step == expected[12] and reached == list(range(1, 13))


def test_a_segment_is_the_row_and_the_epoch_that_was_packed(view, stage, processor):
    """Each epoch of a source holds each of its rows once."""
    packing, rows = new_packing(view, stage, processor), dict[int, Counter[int]]()
    for number in range(20):
        for segment in (one for pack in packing.step(number, 60).packs for one in pack):
            assert view.shelf.source(view.shelf.find(segment.source))[segment.row].id == segment.sample_id
            if segment.source == "discs":
                rows.setdefault(segment.epoch, Counter())[segment.row] += 1
    assert len(rows) > 3 and all(count == Counter(range(4)) for epoch, count in rows.items() if epoch < max(rows) - 1)


def test_a_sample_that_fits_no_pack_is_named_and_other_steps_stay_in_sight(tmp_path, stage, processor):
    write(tmp_path, "talk", [chat(number) for number in range(20)])
    long = {"id": "too-long", "messages": [{"role": "user", "content": "x" * 3000}]}
    write(tmp_path, "long", [long])
    mixture = [{"at": 0, "weights": {"talk": 1}}, {"at": 0.1, "weights": {"talk": 1}}, {"at": 0.2, "weights": {"long": 1}}]
    moving = type(stage).model_validate(stage.model_dump() | {"mixture": mixture, "augment": {}})
    view = View(Shelf(tmp_path), NodeFetcher(StoreConfig()), processor, moving, seed=3)
    while "http-equiv" in (body := answer(view, "/packs/20/0").body.decode()):
        pass  # it is still planning
    assert "sample too-long has" in body and "The trainer would stop before the end of step 20" in body
    assert "token budget used" in answer(view, "/packs/1/0").body.decode()


def test_a_folder_one_source_a_file_or_a_manifest_may_be_named(root, stored):
    assert [entry.name for entry in Shelf(root).entries] == ["discs", "hostile", "talk"]
    for path in (root / "talk", root / "talk" / "train.jsonl"):
        shelf = Shelf(path)
        assert [(entry.name, entry.split) for entry in shelf.entries] == [("talk", "train")]
        assert len(shelf.source(shelf.entries[0])) == 130 and shelf.root == root
    assert Shelf(stored / "data" / "stored" / "train.manifest").entries[0].is_manifest


def test_a_manifest_goes_before_the_lines_of_its_split(stored):
    write(stored / "data", "stored", [chat(0)])
    write(stored / "data", "stored", [chat(0)], "test")
    assert [(entry.split, entry.is_manifest) for entry in Shelf(stored / "data").entries] == [("train", True), ("test", False)]
    with pytest.raises(ValueError, match="is not what training reads: train.manifest lies beside it"):
        Shelf(stored / "data" / "stored" / "train.jsonl")


@pytest.mark.parametrize(
    ("name", "words"), [("none", "no such file or folder"), ("empty", "holds no data"), ("a.txt", "is no JSONL file")]
)
def test_what_holds_no_data_is_said(tmp_path, name, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises((ValueError, OSError), match=words):
        Shelf(tmp_path / name)
