"""Samples whose texts stay true when their pictures change: a marker is drawn, written about, and found again."""

import re

import numpy as np
import pytest
from PIL import Image, ImageDraw

from kimivl.config.augment import AugmentConfig
from kimivl.curate.records import rng_for
from kimivl.data.augment.coordinates import format_named
from kimivl.data.augment.paraphrase import bank
from kimivl.data.augment.refusals import Refusal, summed
from kimivl.data.augment.sample import augmented
from kimivl.data.sample import Sample
from kimivl.processor.messages import ImagePart, Message, TextPart

ALL = AugmentConfig(mirror=0.5, straight_turn=0.5, turn=8, margin=0.3, scale=1.5, tilt=0.1, light=0.3, noise=6)
STRONG = AugmentConfig(mirror=1, turn=8, margin=0.3)


WAYS = {
    "left|左": np.array([-1, 0]),
    "right|右": np.array([1, 0]),
    "above|up|上": np.array([0, -1]),
    "below|down|下": np.array([0, 1]),
}


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


def test_a_relation_that_is_said_holds_in_the_picture_two_hundred_times():
    """Two discs are drawn and found again by their colours; what the answer says of them is checked against where they are."""
    rng, seen = np.random.default_rng(5), set()
    said = (
        "It is to the left of the blue one.",
        "It is above the blue one.",
        "红圆在蓝圆的左边。",
        "◁think▷It is left of it.◁/think▷left arrow",
    )
    settings = ALL.model_copy(update={"light": 0.0, "noise": 0.0})
    for number in range(200):
        text, middle = said[number % 4], rng.uniform(0.4, 0.6, 2)
        step = np.array([0.0, 0.25]) if "above" in text else np.array([0.25, 0.0])
        before = sample("Where is the red disc?", answer=text, place=middle - step)
        x, y = (middle + step) * (96, 64)
        ImageDraw.Draw(before.images[0].image).ellipse([x - 5, y - 5, x + 4, y + 4], fill=(0, 0, 200))
        after = augmented(before, settings, rng_for(0, "relation", number))
        values = np.asarray(picture(after.sample))
        apart = middle_of_red(Image.fromarray(values)) - middle_of_red(Image.fromarray(values[..., ::-1].copy()))
        way = next(way for words, way in WAYS.items() if re.search(words, texts(after.sample)[1]))
        assert apart @ way > 0.1 and abs(apart @ way[::-1]) < abs(apart @ way), (texts(after.sample), after.warp)
        seen.add(texts(after.sample)[1])
    assert len(seen) > 8


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
    assert after.refusals == (Refusal("picture", "pictures"),)
    assert picture(after.sample).getpixel((3, 3)) != (128, 128, 128)


def test_choices_change_places_with_their_answer():
    seen = set()
    for number in range(30):
        before = sample("Which?\nA. cat\nB. dog\nC. owl", answer="B")
        question, answer = texts(augmented(before, AugmentConfig(reorder=1), rng_for(0, "choices", number)).sample)
        assert f"{answer}. dog" in question
        seen.add(question)
    assert len(seen) == 6


def test_choices_stay_where_a_letter_may_be_a_word_and_that_is_counted():
    settings = AugmentConfig(reorder=1)
    for answer in ("A fox is seen.", "vitamin A", "Options A-B"):
        before = sample("Which?\nA. cat\nB. dog\nC. owl", answer=answer)
        after = augmented(before, settings, rng_for(0, "x"))
        assert texts(after.sample) == texts(before) and after.refusals == (Refusal("choices", "choices"),)
    given = Message("user", (TextPart("Which?\nA. cat\nB. dog", ids=(1, 2)),))
    before = Sample("s", (given, Message("assistant", (TextPart("A"),))))
    after = augmented(before, settings, rng_for(0, "x"))
    assert after.sample == before and after.refusals == (Refusal("choices", "tokens"),)


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


def in_shares(question: str, answer: str, size) -> tuple[np.ndarray, float]:
    """What the answer clicks at by the format that the question asks for, and half of its last digit."""
    x, y = (float(value) for value in re.findall(r"=([\d.]+)", answer))
    if re.search("pixel|像素", question):
        assert str(size[0]) in question and str(size[1]) in question
        return np.array([x, y]) / size, 0.5 / min(size)
    whole = 1000 if re.search("thousand|1000|千分", question) else 1
    decimals = 0 if whole == 1000 else 2 if re.search("two decimals|两位", question) else 3
    assert decimals != 3 or question in ("Where is it?", "它在哪里？")  # as the record was written: nothing is asked for
    return np.array([x, y]) / whole, 0.5 * 10.0**-decimals / whole


@pytest.mark.parametrize("question", ["Where is it?", "它在哪里？"])
def test_the_marker_lies_where_the_format_that_is_asked_for_says_a_thousand_times(question):
    rng, settings, seen = np.random.default_rng(1), ALL.model_copy(update={"coordinates": 1.0, "light": 0.0, "noise": 0.0}), set()
    for number in range(500):  # and in the other language
        place = rng.uniform(0.2, 0.8, 2).round(3)
        before = sample(question, answer=f"click(x={place[0]:.3f}, y={place[1]:.3f})", place=place, coordinates="unit")
        after = augmented(before, settings, rng_for(0, "format", number))
        asked, answer = texts(after.sample)
        assert asked.startswith(question) and after.warp is not None
        written, half = in_shares(asked, answer, after.warp.after)
        assert np.abs(written - after.warp.points(place[None] * (96, 64))[0] / after.warp.after).max() <= half + 1e-6, number
        assert np.abs(middle_of_red(picture(after.sample)) - written).max() < 0.02 + half, number
        seen.add(asked)
    assert len(seen) > 20  # five sentences for each of three, and sizes


def test_all_turns_are_written_in_the_format_that_the_first_asks_for():
    turns = (TextPart("Where?"), TextPart("[0.10, 0.20, 0.50, 0.60]"), TextPart("What is at (0.25, 0.50)?"), TextPart("A cup."))
    roles = ("user", "assistant", "user", "assistant")
    messages = [Message(role, (part,)) for role, part in zip(roles, turns)]
    messages[0] = Message("user", (ImagePart(Image.new("RGB", (200, 100))), turns[0]))
    before = Sample("s", tuple(messages), meta={"coordinates": "unit"})
    for number in range(20):
        first, box, point, last = texts(augmented(before, AugmentConfig(coordinates=1), rng_for(0, "turns", number)).sample)
        if "pixel" in first:
            assert (box, point, last) == ("[20, 20, 100, 60]", "What is at (50, 50)?", "A cup.") and "200" in first
        elif "1000" in first or "thousandths" in first:
            assert (box, point) == ("[100, 200, 500, 600]", "What is at (250, 500)?")
        elif "three decimals" in first:
            assert (box, point) == ("[0.100, 0.200, 0.500, 0.600]", "What is at (0.250, 0.500)?")
        else:  # two decimals, as it was: nothing needs to be said
            assert texts(before) == [first, box, point, last]


@pytest.mark.parametrize(
    ("question", "answer", "meta", "reason"),
    [
        ("Where, in pixels?", "(10, 20)", {"coordinates": "pixel"}, "format"),
        ("Where?", "circle .34 .56, 340 560", {"coordinates": "unit"}, "places"),
        ("Where?", "(10, 200)", {"coordinates": "pixel"}, "places"),  # outside of the picture
    ],
)
def test_a_format_that_cannot_be_asked_for_leaves_the_sample_as_it_is(question, answer, meta, reason):
    before = sample(question, answer=answer, **meta)
    after = augmented(before, AugmentConfig(coordinates=1), rng_for(0, "x"))
    assert texts(after.sample) == [question, answer] and after.refusals == (Refusal("coordinates", reason),)


@pytest.mark.parametrize("before", [sample("Where?", answer="(10, 20)"), sample("Which?", answer="A cup.", coordinates="unit")])
def test_a_sample_without_places_is_not_asked_for_a_format(before):
    after = augmented(before, AugmentConfig(coordinates=1), rng_for(0, "x"))
    assert texts(after.sample) == texts(before) and not after.refusals


def test_questions_and_systems_change_their_words_and_answers_never():
    said = Message("assistant", (TextPart("Describe the image."),))
    system = Message("system", (TextPart("You are a helpful assistant."),))
    before = Sample(
        "s",
        (system, *sample("Describe the image.").messages[:1], said, Message("user", (TextPart("Explain your answer."),)), said),
    )
    for number in range(10):
        after = texts(augmented(before, AugmentConfig(paraphrase=1), rng_for(0, "words", number)).sample)
        for text, old, group in zip(after, texts(before), ("system-en", "describe-en", "", "explain-en", "")):
            assert (text in bank().groups[group] and text != old) if group else text == old


def test_texts_that_are_spelled_or_given_in_tokens_keep_their_words():
    for part in (TextPart("Describe the image.", spelled=True), TextPart("Describe the image.", ids=(1, 2))):
        before = Sample("s", (Message("user", (part,)), Message("assistant", (TextPart("x"),))))
        assert augmented(before, AugmentConfig(paraphrase=1), rng_for(0, "x")).sample == before
    kept = sample("Describe the image.", augment=False)
    assert augmented(kept, AugmentConfig(paraphrase=1, document=1, light=0.5), rng_for(0, "x")).sample == kept


def test_a_mirror_is_weighed_by_the_words_that_were_there():
    """ "What is written …" forbids a mirror, whatever the question is turned into afterwards."""
    for number in range(20):
        after = augmented(sample("What is written in the image?"), AugmentConfig(mirror=1, paraphrase=1), rng_for(0, "x", number))
        assert after.warp is None and Refusal("picture", "writing") in after.refusals
        assert texts(after.sample)[0] in bank().groups["text-says-en"]


def test_an_answer_letter_follows_its_choice_while_the_instruction_changes_its_words():
    question = "Where is it?\nA. (0.10, 0.20)\nB. (0.50, 0.60)\nAnswer with the letter of the correct option only."
    before = sample(question, answer="B", coordinates="unit")
    for number in range(20):
        settings = AugmentConfig(mirror=1, reorder=1, paraphrase=1, coordinates=1)
        asked, answer = texts(augmented(before, settings, rng_for(0, "all", number)).sample)
        lines = asked.split("\n")
        right = {"(0.50, 0.60)", "(0.500, 0.600)", "(500, 600)", "(48, 38)"}
        assert (
            next(line for line in lines if line.startswith(answer))[3:] in right and lines[3] in bank().groups["answer-letter-en"]
        )
        assert len(lines) == 5 and format_named(lines[4]) if "(0.50, 0.60)" not in asked else len(lines) == 4


def test_the_new_settings_leave_the_draws_of_the_others_alone():
    before = sample("Where is it?", answer="click(x=0.300, y=0.400)", place=(0.3, 0.4), coordinates="unit")
    plain = augmented(before, ALL, rng_for(0, "x"))
    words = augmented(before, ALL.model_copy(update={"paraphrase": 1.0, "coordinates": 1.0}), rng_for(0, "x"))
    assert plain.warp == words.warp and picture(plain.sample).tobytes() == picture(words.sample).tobytes()


def test_a_page_is_soiled_in_every_picture_and_differently():
    pytest.importorskip("augraphy")
    pair = Message("user", (*(ImagePart(Image.new("RGB", (64, 64), "white")) for _ in range(2)), TextPart("Same?")))
    after = augmented(Sample("s", (pair, Message("assistant", (TextPart("No."),)))), AugmentConfig(document=1), rng_for(0, "x"))
    one, two = (picture(after.sample, place).tobytes() for place in range(2))
    assert one != two and Image.new("RGB", (64, 64), "white").tobytes() not in (one, two)


def test_what_gave_way_is_counted_by_source_and_reason():
    settings = AugmentConfig(mirror=1, margin=0.2, coordinates=1, reorder=1)
    found = [
        ("ui", augmented(sample("How many are left?"), settings, rng_for(0, "x"))),
        ("ui", augmented(sample("Read the text, in pixels.", coordinates="pixel", answer="(3, 4)"), settings, rng_for(0, "x"))),
        ("quiz", augmented(sample("Which?\nA. cat\nB. both", answer="B"), settings, rng_for(0, "x"))),
    ]
    counts = summed((source, refusal) for source, one in found for refusal in one.refusals)
    expected = {"quiz/choices/choices": 1, "ui/coordinates/format": 1, "ui/picture/directions": 2, "ui/picture/writing": 1}
    assert counts == expected and list(counts) == sorted(counts)
