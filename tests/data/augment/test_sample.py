"""Samples whose texts stay true when their pictures change: a marker is drawn, written about, and found again."""

import re

import numpy as np
import pytest
from PIL import Image, ImageDraw

from kimivl.config.augment import AugmentConfig
from kimivl.curate.records import rng_for
from kimivl.data.augment.sample import augmented
from kimivl.data.sample import Sample
from kimivl.processor.messages import ImagePart, Message, TextPart

ALL = AugmentConfig(mirror=0.5, straight_turn=0.5, turn=8, margin=0.3, scale=1.5, tilt=0.1, light=0.3, noise=6)
STRONG = AugmentConfig(mirror=1, turn=8, margin=0.3)


def sample(text: str, size=(96, 64), answer: str = "Yes.", place=None, **meta) -> Sample:
    picture = Image.new("RGB", size, (250, 250, 250))
    if place is not None:
        x, y = place[0] * size[0], place[1] * size[1]
        ImageDraw.Draw(picture).ellipse([x - 5, y - 5, x + 4, y + 4], fill=(200, 0, 0))
    question = Message("user", (ImagePart(picture), TextPart(text)))
    return Sample("s", (question, Message("assistant", (TextPart(answer),))), meta=meta)


def texts(one: Sample) -> list[str]:
    return [part.text for part in one.parts if isinstance(part, TextPart)]


def picture(one: Sample, place: int = 0) -> Image.Image:
    part = one.images[place]
    return part.change.picture(part.image) if part.change else part.image


def middle_of_red(image: Image.Image) -> np.ndarray:
    """In shares of the sides."""
    values = np.asarray(image).astype(float)
    red = np.clip(values[..., 0] - values[..., 1] - 60, 0, None)
    rows, columns = np.indices(red.shape)
    return np.array([(red * (columns + 0.5)).sum(), (red * (rows + 0.5)).sum()]) / red.sum() / image.size


def test_the_marker_lies_where_the_text_says_a_thousand_times():
    rng, moved = np.random.default_rng(0), 0
    for number in range(1000):
        place = rng.uniform(0.2, 0.8, 2).round(3)
        before = sample("Where is it?", answer=f"click(x={place[0]:.3f}, y={place[1]:.3f})", place=place, coordinates="unit")
        after = augmented(before, ALL, rng_for(0, "augment", number))
        written = [float(value) for value in re.findall(r"=([\d.]+)", texts(after.sample)[1])]
        assert np.abs(middle_of_red(picture(after.sample)) - written).max() < 0.02, number
        assert after.warp is not None and picture(after.sample).size == after.warp.after and not after.refused
        moved += np.abs(written - place).max() > 0.05
    assert moved > 500


def test_what_cannot_be_said_leaves_the_picture_the_way_round_it_was():
    """A mirror is given up for the word "left"; the margin and the slight turn stay, since nothing speaks of the frame."""
    after = augmented(sample("How many are left?"), STRONG, rng_for(0, "x"))
    assert texts(after.sample) == ["How many are left?", "Yes."] and after.warp is None and "'left'" in after.refused
    gentle = augmented(sample("Read the text."), STRONG, rng_for(0, "x"))
    assert gentle.warp is not None and not gentle.warp.mirrors and "may not be mirrored" in gentle.refused


@pytest.mark.parametrize("before", [sample("Which?", augment=False), sample("Which?")])
def test_a_record_may_keep_its_pictures(before):
    settings = STRONG if "augment" in before.meta else AugmentConfig()
    after = augmented(before, settings, rng_for(0, "x"))
    assert after.warp is None and picture(after.sample).tobytes() == picture(before).tobytes()


def test_the_same_randomness_gives_the_same_sample():
    one, two, other = (augmented(sample("Which?", place=(0.3, 0.4)), ALL, rng_for(0, "x", n)).sample for n in (1, 1, 2))
    assert picture(one).tobytes() == picture(two).tobytes() != picture(other).tobytes()


def test_what_is_refused_changes_no_later_draw():
    said, refused = (
        augmented(sample(text), AugmentConfig(mirror=1, light=0.5, noise=9), rng_for(0, "x")) for text in ("Which?", "left?")
    )
    assert said.warp and refused.warp is None
    assert np.array_equal(np.asarray(picture(said.sample)), np.asarray(picture(refused.sample)))  # a plain picture has no sides


def test_pictures_of_a_pair_are_lit_and_not_moved():
    pair = Message(
        "user", (ImagePart(Image.new("RGB", (20, 20), "gray")), ImagePart(Image.new("RGB", (30, 20), "gray")), TextPart("Same?"))
    )
    after = augmented(Sample("s", (pair, Message("assistant", (TextPart("No."),)))), ALL, rng_for(0, "x"))
    assert after.warp is None and [picture(after.sample, n).size for n in (0, 1)] == [(20, 20), (30, 20)]
    assert picture(after.sample).getpixel((3, 3)) != (128, 128, 128)


def test_choices_change_places_with_their_answer():
    seen = set()
    for number in range(30):
        before = sample("Which?\nA. cat\nB. dog\nC. owl", answer="B")
        question, answer = texts(augmented(before, AugmentConfig(reorder=1), rng_for(0, "choices", number)).sample)
        assert f"{answer}. dog" in question
        seen.add(question)
    assert len(seen) == 6


def test_tokens_that_are_given_are_never_said_anew():
    answer = Message("assistant", (TextPart("on the left.", ids=(1, 2)),))
    before = Sample("s", (sample("Which?").messages[0], answer))
    after = augmented(before, AugmentConfig(mirror=1), rng_for(0, "x"))
    assert after.warp is None and "just these tokens" in after.refused and after.sample.messages[1] == answer


def test_an_unknown_kind_of_coordinates_is_refused():
    with pytest.raises(ValueError, match="sample s: meta.coordinates is one of unit, thousand, pixel, got 'percent'"):
        augmented(sample("Which?", coordinates="percent"), ALL, rng_for(0, "x"))
    with pytest.raises(ValueError, match="sample s: meta.augment is true or false, got 'no'"):
        augmented(sample("Which?", augment="no"), ALL, rng_for(0, "x"))
