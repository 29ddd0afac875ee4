"""Answers are compared as mathematics, and none of the ways to be rewarded without solving works."""

import os
import time
from pathlib import Path

import pytest

import kimivl
from kimivl.score.maths import items, marked_answer, maths
from kimivl.score.maths_pool import SECONDS, MathsPool


@pytest.fixture(scope="module")
def pool():
    with MathsPool(workers=2) as pool:
        pool.equal("1", "1")  # the first child has started
        yield pool


def never(answer: str, truth: str) -> bool:
    raise AssertionError(f"{answer} and {truth} need no child process")


@pytest.mark.parametrize(
    ("answer", "truth"),
    [("42", "42"), ("42.", "42"), (r"\boxed{42}", "42"), ("1,000", "1000"), ("0.5", "1/2"), ("3, 1 and 2", r"\{1,2,3\}")],
)
def test_what_is_plainly_equal_asks_no_child(answer, truth):
    assert maths(answer, truth, never) == 1.0


@pytest.mark.parametrize(
    ("answer", "truth"),
    [
        ("", "42"), (" ", "42"), (r"\boxed{}", "42"), (r"\boxed{42", "42"), (r"\boxed{42} \boxed{42}", "42"),
        (r"\boxed{41} or \boxed{42}", "42"),
        ("42 or 43 or 44", "42"), ("41, 42", "42"), ("43", "42"), ("1728", "1331 and 1728"),
        ("2, 3, 4", "1, 2, 3"), ("1:00", "12:00"),
        ("We know that the answer to the question of everything that there is must be found by thinking, and is 42", "42"),
    ],
)  # fmt: skip
def test_what_is_no_right_answer_asks_no_child_either(answer, truth):
    assert maths(answer, truth, never) == 0.0


@pytest.mark.parametrize(
    ("answer", "truth"),
    [
        (r"\frac{1}{2}", "0.5"),
        (r"\boxed{x^2-4}", "(x-2)(x+2)"),
        (r"\sqrt{8}", r"2\sqrt{2}"),
        ("x=5", "5"),
        (r"\boxed{\frac{3}{4}}", "3/4"),
    ],
)
def test_what_is_equal_after_some_algebra(pool, answer, truth):
    assert maths(answer, truth, pool.equal) == 1.0


@pytest.mark.parametrize(("answer", "truth"), [(r"\frac{1}{3}", "0.5"), ("x^2-5", "(x-2)(x+2)"), (r"\pi", "3"), ("banana", "5")])
def test_what_is_not(pool, answer, truth):
    assert maths(answer, truth, pool.equal) == 0.0


HOSTILE = [
    "9^{9^{9^{9}}}",
    "10^{10^8}",
    "(10^9)!",
    r"\sum_{n=1}^{10^9} n^n",
    "(x+1)^{5000}",
    "(" * 3000 + "1" + ")" * 3000,
    r"\binom{10^9}{5\cdot10^8}",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:20])
def test_a_hostile_answer_costs_little_and_the_next_one_is_answered(pool, text):
    start = time.monotonic()
    assert not pool.equal(text, "x^2")
    assert time.monotonic() - start < 30  # SECONDS and a new child, on a machine of any speed
    assert pool.equal(r"\frac{1}{2}", "0.5")


def test_a_question_is_killed_at_its_time(monkeypatch):
    """The limit that a user sets is kept: a child that needs longer is ended."""
    assert SECONDS <= 2.5
    with MathsPool(seconds=0.2) as pool:
        pool.equal("1", "1")
        assert not pool.equal("9^{9^{9^{9}}}", "(10^9)!")


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("raise ModuleNotFoundError('No module named antlr4')", "ModuleNotFoundError: No module named antlr4"),
        ("parse = lambda text, **_: []\nverify = lambda *_, **__: True", "cannot tell equal expressions from unequal"),
        ("parse = lambda text, **_: [text]\nverify = lambda *_, **__: True", "cannot tell equal expressions from unequal"),
    ],
)
def test_a_broken_math_verify_is_an_error_and_not_a_wrong_answer(tmp_path, monkeypatch, module, reason):
    (tmp_path / "math_verify.py").write_text(module)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path(kimivl.__file__).parents[1]}")
    with MathsPool() as pool, pytest.raises(RuntimeError, match=rf"did not start \(.*{reason}.*\): pip install 'kimivl\[rl\]'"):
        pool.equal(r"\frac{1}{2}", "0.5")


@pytest.mark.parametrize("text", ["__import__('os').system('touch {}')", "exec(open('{}','w'))", r"\input{{{}}}"])
def test_nothing_is_executed(pool, tmp_path, text):
    file = tmp_path / "made"
    pool.equal(text.format(file), "1")
    assert not file.exists() and os.listdir(tmp_path) == []


def test_many_questions_come_back_in_their_order(pool):
    pairs = [(rf"\frac{{{n}}}{{2}}", "1.5") for n in range(1, 8)]
    assert pool.equal_all(pairs) == [n == 3 for n in range(1, 8)]


def test_what_is_marked_is_the_one_box():
    assert marked_answer(r"so \boxed{\frac{1}{2}} it is") == r"\frac{1}{2}"
    assert marked_answer(r"\boxed 5") is None and marked_answer("  ") is None and marked_answer(" 5 ") == "5"


def test_lists_are_cut_outside_brackets_only():
    assert items("1,000, 2 and (3,100)") == ["1,000", "2", "(3,100)"]
    assert items(r"\{1, 2\}") == ["1", "2"] and items("") == []
    assert items(r"\{1,200\}") == ["1", "200"] and items("{5,100, 7}") == ["5", "100", "7"]  # a set has no thousands
    assert items("{1}/{2}") == ["{1}/{2}"]


@pytest.mark.parametrize(("answer", "truth"), [("(3,100)", "(3, 100)"), ("[0,100)", "[0, 100)"), (r"\{1,200\}", r"\{200,1\}")])
def test_brackets_are_compared_without_their_spaces(answer, truth):
    assert maths(answer, truth, never) == 1.0


def test_a_point_is_not_a_number():
    assert maths("(10100)", "(10,100)", lambda answer, truth: False) == 0.0
