"""Answers are compared as mathematics, and none of the ways to be rewarded without solving works."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import kimivl
from kimivl.score import maths_pool
from kimivl.score.maths import items, marked_answer, maths
from kimivl.score.maths_pool import MathsPool


@pytest.fixture(scope="module")
def pool():
    with MathsPool(workers=2) as pool:
        pool.equal("1", "1")  # the first child has started
        yield pool


@contextmanager
def within(seconds: float) -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


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
        ("0.6 = 0.5", "0.5"), ("1/3 = 0.5", "0.5"), ("x=0.6=0.5", "0.5"), ("0.7. 0.5", "0.5"), ("0.6\n0.5", "0.5"),
        ("$0.6$ $0.5$", "0.5"), ("41 = 42", "42"), ("41 -> 42", "42"), ("42|43", "42"), ("$41$$42$", "42"),
        (r"\boxed{41=42}", "42"), (r"\boxed{41 | 42}", "42"), (r"\boxed{$41$ $42$}", "42"), ("x=2=3", "x=3"), ("1=2=42=5", "42"),
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
        ("$x = 5$", "5"),
        (r"x_{1} = 5", "5"),
        ("The value is x = 5", "5"),
        (r"\boxed{x=5}", "x=5"),
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
POWERS = "9^{9^{9^{9}}}"
STUB = """
import time

def parse(text, **_):
    return [text]

def verify(truth, answer, **_):
    assert "odd" not in answer[0]
    if "slow" in answer[0]:
        time.sleep(1)
    return truth != ["$x+2$"]
"""


def stub(folder: Path, monkeypatch, module: str) -> None:
    """Children import this math-verify."""
    (folder / "math_verify.py").write_text(module)
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{Path(kimivl.__file__).parents[1]}")


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:20])
def test_a_hostile_answer_costs_little_and_the_next_one_is_answered(pool, text):
    with within(3):
        assert not pool.equal(text, "x^2")
    with within(3):  # no new child is started for it
        assert pool.equal(r"\frac{1}{2}", "0.5")


@pytest.mark.parametrize("text", ["_a" * 30 + "!=5", "_{a" * 20 + "=5", "a_" * 30 + "5=5", "$" * 60 + "=", "{_{" * 20 + "}!=5"])
def test_what_is_decided_before_a_child_is_asked_costs_nothing(text):
    with within(0.5):
        assert maths(text, "5", lambda answer, truth: False) == 0.0


@pytest.mark.parametrize(
    ("answer", "truth"), [(", ".join([POWERS] * 3), "1, 2, 3"), (", ".join([POWERS] * 8), "1, 2, 3, 4, 5, 6, 7, 8")]
)
def test_a_list_of_hostile_entries_costs_no_more_than_one(pool, answer, truth):
    with within(3):
        assert maths(answer, truth, pool.equal) == 0.0


def test_a_whole_answer_has_the_time_of_one_question(tmp_path, monkeypatch):
    """Each entry alone would be in time, and right."""
    stub(tmp_path, monkeypatch, STUB)
    with MathsPool() as pool:
        assert maths("slow a", "a", pool.equal) == 1.0
        with within(3):
            assert maths("slow a, slow b, slow c, slow d", "a, b, c, d", pool.equal) == 0.0


@pytest.mark.parametrize(("seconds", "right"), [(0.3, False), (20, True)])
def test_a_question_is_given_up_at_its_time(tmp_path, monkeypatch, seconds, right):
    stub(tmp_path, monkeypatch, STUB)
    with MathsPool(seconds=seconds) as pool:
        assert pool.equal("a", "b")  # the child has started
        with within(20 if right else 2):
            assert pool.equal("slow", "b") == right


def test_an_entry_that_breaks_a_parser_spoils_no_other(tmp_path, monkeypatch):
    stub(tmp_path, monkeypatch, STUB)
    with MathsPool(seconds=20) as pool:
        assert pool.equal("odd, b", "a, odd") and not pool.equal("odd, b", "a, c")


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("raise ModuleNotFoundError('No module named antlr4')", "ModuleNotFoundError: No module named antlr4"),
        ("parse = lambda text, **_: []\nverify = lambda *_, **__: True", "cannot tell equal expressions from unequal"),
        ("parse = lambda text, **_: [text]\nverify = lambda *_, **__: True", "cannot tell equal expressions from unequal"),
    ],
)
def test_a_broken_math_verify_is_an_error_and_not_a_wrong_answer(tmp_path, monkeypatch, module, reason):
    stub(tmp_path, monkeypatch, module)
    with MathsPool() as pool, pytest.raises(ValueError, match=rf"did not start \(.*{reason}.*\): pip install 'kimivl\[rl\]'"):
        pool.equal(r"\frac{1}{2}", "0.5")


@pytest.mark.parametrize("text", ["__import__('os').system('touch {}')", "exec(open('{}','w'))", r"\input{{{}}}"])
def test_nothing_is_executed(pool, tmp_path, text):
    file = tmp_path / "made"
    with within(3):
        pool.equal(text.format(file), "1")
    assert not file.exists() and os.listdir(tmp_path) == []


def test_one_child_is_asked_for_many_questions_in_turn(pool, monkeypatch):
    monkeypatch.setattr("kimivl.score.maths_pool._Child", never)
    assert [pool.equal(rf"\frac{{{n}}}{{2}}", "1.5") for n in range(1, 6)] == [n == 3 for n in range(1, 6)]


def test_a_child_is_asked_once_for_a_list_and_not_at_all_if_plain_comparison_finds_it():
    asked = []
    assert maths("x, y+1, 3", "3, 1+y, x", lambda *pair: not asked.append(pair)) == 1.0
    assert asked == [("x, y+1, 3", "3, 1+y, x")]
    assert maths("x, y, 3", "3, y, x", never) == 1.0


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


def test_a_child_that_is_slow_to_start_is_not_taken_for_a_missing_package(monkeypatch):
    monkeypatch.setattr(maths_pool, "START_SECONDS", 0.01)
    with MathsPool() as pool, pytest.raises(ValueError, match="said nothing within 0 seconds: run again"):
        pool.equal("1/2", "x")
