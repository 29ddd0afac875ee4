"""The gallery follows its rule, shows every picture inside the page, and marks where the model pointed."""

import base64
import io
import re

import pytest
from PIL import Image

from kimivl.eval import gallery


def answer(name, score=1.0, images=None, **more):
    record = {"id": name, "question": f"{name}?", "prediction": "p", "truth": "t", "score": score}
    return record | {"images": [f"{name}.png"] if images is None else images} | more


def chosen(answers, metric="exact"):
    return [one["id"] for one in gallery.choose(answers, metric)]


def test_the_first_ones_then_the_next_that_are_wrong():
    answers = [answer(name, score=0.0 if name in "bgi" else 1.0) for name in "abcdefghij"]
    assert chosen(answers) == ["a", "b", "c", "d", "g", "i"]


def test_every_picture_is_shown_once_with_its_first_question():
    answers = [answer("a", images=["x"]), answer("b", images=["x"], score=0.0), answer("c", images=["y"])]
    assert chosen(answers) == ["a", "c"]


def test_for_reading_a_score_of_zero_edits_is_right():
    answers = [answer(name, score=0.0) for name in "abcd"] + [answer("e", score=0.0), answer("f", score=0.25)]
    assert chosen(answers, "character_error_rate") == ["a", "b", "c", "d", "f"]


def test_an_evaluation_without_answers_shows_nothing(tmp_path):
    assert gallery.read_answers(tmp_path / "none.jsonl") == []


@pytest.fixture
def root(tmp_path):
    Image.new("RGB", (100, 50), (255, 0, 0)).save(tmp_path / "small.png")
    Image.new("RGB", (1000, 500), (0, 0, 255)).save(tmp_path / "large.png")
    return tmp_path


def picture_in(html):
    (data,) = re.findall(r'href="data:image/png;base64,([^"]+)"', html)
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_pictures_are_inside_and_large_ones_are_shrunk(root):
    small = picture_in(gallery.card(answer("a", images=["small.png"]), "exact", root))
    assert small.size == (100, 50) and small.getpixel((5, 5)) == (255, 0, 0)
    assert picture_in(gallery.card(answer("a", images=["large.png"]), "exact", root)).size == (320, 160)


def test_outline_and_point_are_drawn_in_the_pictures_own_pixels(root):
    pointing = answer("a", images=["small.png"], outline=[[0.1, 0.2], [0.3, 0.2], [0.2, 0.6]], prediction="0.25 0.5")
    html = gallery.card(pointing, "point_in_outline", root)
    assert 'class="true-outline" points="10.0,10.0 30.0,10.0 20.0,30.0"' in html
    assert 'class="pointed" d="M19.0 25.0H31.0M25.0 19.0V31.0"' in html  # a cross around (25, 25) with arms of 6


def test_an_answer_without_a_point_has_no_cross(root):
    html = gallery.card(
        answer("a", 0.0, ["small.png"], outline=[[0, 0], [1, 0], [1, 1]], prediction="there"), "point_in_outline", root
    )
    assert "true-outline" in html and "pointed" not in html


def test_truth_is_shown_where_the_answer_is_wrong(root):
    assert "truth: t" in gallery.card(answer("a", 0.0, ["small.png"]), "exact", root)
    assert "truth: t" not in gallery.card(answer("a", 1.0, ["small.png"]), "exact", root)


def test_what_a_model_writes_stays_text(root):
    html = gallery.card(answer("a", 0.0, ["small.png"], prediction="<script>x</script>"), "exact", root)
    assert "<script" not in html and "&lt;script&gt;" in html
    assert "<i>nothing</i>" in gallery.card(answer("a", 0.0, ["small.png"], prediction=""), "exact", root)
