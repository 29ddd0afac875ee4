"""Words are wholly inside their picture, held-out words and fonts stay out of training."""

import matplotlib.font_manager
import numpy as np
import pytest
from PIL import Image, ImageDraw

from kimivl.curate.fonts import font
from kimivl.curate.ocr.words import BASELINE, FONTS, HEIGHT, HELD_OUT_FONTS, _mask, render
from kimivl.curate.records import rng_for
from kimivl.curate.text.library import is_held_out_word
from kimivl.curate.workshop import read_records


def test_the_held_out_family_is_not_a_training_family():
    families = {name: matplotlib.font_manager.get_font(font(name, 16).path).family_name for name in FONTS | HELD_OUT_FONTS}
    assert {families[name] for name in HELD_OUT_FONTS}.isdisjoint(families[name] for name in FONTS)


@pytest.mark.parametrize("name, size", (FONTS | HELD_OUT_FONTS).items())
@pytest.mark.parametrize("weight", [0.0, 0.25])
def test_no_letter_is_cut_and_all_stand_on_the_line(name, size, weight):
    """Against a drawing in the middle of a large sheet; words without tall letters were once cut at the top."""
    for word in ("uppercase", "Typography", "jig", "AghjpqylbdQ"):
        sheet = Image.new("L", (400, 200))
        ImageDraw.Draw(sheet).text((100, 100), word, fill=255, font=font(name, size), stroke_width=weight, anchor="ls")
        left, top, right, bottom = sheet.getbbox()
        assert top >= 100 - BASELINE and bottom <= 100 - BASELINE + HEIGHT
        line = sheet.crop((left, 100 - BASELINE, right, 100 - BASELINE + HEIGHT))
        np.testing.assert_array_equal(np.asarray(_mask(word, name, size, weight)), np.asarray(line))


@pytest.mark.parametrize("jitter", [False, True])
def test_words_fit_their_picture(jitter):
    for i in range(300):
        rng = rng_for(0, "border", i)
        name = list(FONTS)[i % len(FONTS)]
        pixels = np.asarray(render("Typography", (name, FONTS[name]), rng, jitter))
        assert pixels.shape[0] == HEIGHT and pixels.shape[1] % 16 == 0
        assert (pixels[:, [0, -1]] == pixels[0, 0]).all()  # neither the first nor the last letter is cut
        assert (pixels != pixels[0, 0]).any(-1).mean() > 0.05


def test_training_shows_no_held_out_word(nano_root):
    train = [r["content"][1]["text"] for r in read_records(nano_root / "words" / "train.jsonl")]
    assert not any(is_held_out_word(word) for word in train)
    assert all(2 <= len(word) <= 10 and word.isalpha() for word in train)
    tests = {kind: read_records(nano_root / "words" / f"test_{kind}.jsonl") for kind in ("known", "heldout")}
    assert all(is_held_out_word(r["meta"]["answer"]) for records in tests.values() for r in records)
    assert [r["meta"]["answer"] for r in tests["known"]] == [r["meta"]["answer"] for r in tests["heldout"]]
    assert {r["meta"]["font"] for r in tests["heldout"]} == set(HELD_OUT_FONTS)
    assert {r["meta"]["font"] for r in tests["known"]} <= set(FONTS)


def test_letters_can_be_told_apart(nano_root):
    answers = [r["content"][1]["text"] for r in read_records(nano_root / "letters" / "train.jsonl")]
    assert {len(answer) for answer in answers} == {1, 2, 3}
    for answer in answers:
        assert not set(answer) <= {"I", "l"}  # the same stroke in a sans-serif font
        assert not set(answer.lower()) <= set("coswvxz")  # the same form in both cases


def test_the_answer_is_spelled(nano_root):
    for record in read_records(nano_root / "words_chat" / "train.jsonl"):
        assert record["messages"][1]["content"][0]["spelled"] is True
