"""Numbers are compared as numbers, and what is no number alone is no answer."""

from fractions import Fraction

import pytest

from kimivl.score.number import number, parse_number, relaxed_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42), (" 42. ", 42), ("-3", -3), ("−3", -3), ("1,204", 1204), ("1,204,000.5", Fraction("1204000.5")),
        ("0.50", Fraction(1, 2)),
        (".5", Fraction(1, 2)), ("3/4", Fraction(3, 4)), ("-3 / 4", Fraction(-3, 4)), ("$12", 12), ("12 %", 12), ("007", 7),
    ],
)  # fmt: skip
def test_ways_to_write_a_number(text, value):
    assert parse_number(text) == value


@pytest.mark.parametrize(
    "text",
    ["", " ", ".", "12 or 13", "12, 13", "the sum is 42", "4 2", "1,20", "1.2.3", "3/0", "0x10", "1e400", "twelve", "9" * 41],
)
def test_what_is_no_number_alone(text):
    assert parse_number(text) is None


def test_exact_and_relaxed():
    assert number("1,000", "1000") == number("0.5", "1/2") == 1.0
    assert number("", "3") == number("3 or 4", "3") == number("2.999", "3") == 0.0
    assert relaxed_number("104.9", "100") == 1.0 and relaxed_number("105.1", "100") == 0.0
    assert relaxed_number("-96", "-100") == 1.0 and relaxed_number("96", "-100") == 0.0
    assert relaxed_number("2011", "2010") == 0.0 and relaxed_number("2010", "2010") == 1.0  # a year
    assert relaxed_number("0.001", "0") == 0.0 and relaxed_number("0.0", "0") == 1.0


def test_a_truth_without_a_value_is_refused():
    with pytest.raises(ValueError, match="the truth 'many' is no number"):
        number("3", "many")
