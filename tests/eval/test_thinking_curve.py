"""Rows of the curve: rates, intervals and chance levels are those of counting by hand, and CSV gives them back."""

import csv
import io

import pytest

from kimivl.eval.items import Item
from kimivl.eval.thinking import POLICIES, Budgets, Outcome
from kimivl.eval.thinking_curve import COLUMNS, chance_levels, curve_csv, curve_rows, measure_thinking


def item(name, truth="1", family="", difficulty=None):
    return Item(name, (), "?", truth, (), None, family, difficulty)


def outcomes(scores, policy="force", budget=8, used=0, cut=False):
    return [Outcome(place, policy, budget, used, cut, "", float(score)) for place, score in enumerate(scores)]


def everywhere(scores):
    return [one for policy in POLICIES for one in outcomes(scores, policy)]


def test_chance_is_the_commonest_answer_of_each_family():
    truths = {"a": ["1", "1", "1", "2"], "b": ["x", "Y", "y.", "z", "w", "v"]}
    items = [item(f"{family}{n}", truth, family) for family in truths for n, truth in enumerate(truths[family])]
    assert chance_levels(items) == pytest.approx({"a": 3 / 4, "b": 2 / 6, "": 5 / 10})


def test_chance_without_families_is_that_of_the_whole_set():
    assert chance_levels([item("q0", "1"), item("q1", "2"), item("q2", "1")]) == pytest.approx({"": 2 / 3})


def test_no_questions_have_no_chance_level():
    with pytest.raises(ValueError, match="no questions"):
        chance_levels([])


def test_every_number_of_a_row_is_counted():
    items = [item(f"q{number}") for number in range(4)]
    runs = everywhere([1, 0, 1, 1])
    runs[4:8] = [
        Outcome(0, "force", 8, 8, True, "", 1.0), Outcome(1, "force", 8, 3, False, "", 0.0),
        Outcome(2, "force", 8, 8, True, "", 1.0), Outcome(3, "force", 8, 0, False, "", 1.0),
    ]  # fmt: skip
    row = next(row for row in curve_rows(runs, items, {"": 0.25}) if row["policy"] == "force")
    assert set(row) == set(COLUMNS)
    assert (row["budget"], row["family"], row["difficulty"], row["items"], row["chance"]) == (8, "", None, 4, 0.25)
    assert (row["accuracy"], row["truncated"], row["thinking_tokens"]) == (0.75, 0.5, 19 / 4)


def test_each_family_and_each_of_its_sizes_has_its_own_rows_small_ones_first():
    kinds = [("b", 10), ("a", 3), ("b", 9), ("b", 10), ("", None)]
    items = [item(f"q{number}", family=family, difficulty=size) for number, (family, size) in enumerate(kinds)]
    rows = [row for row in curve_rows(everywhere([1, 1, 0, 0, 1]), items, chance_levels(items)) if row["policy"] == "wait"]
    assert [(row["family"], row["difficulty"], row["items"], row["accuracy"]) for row in rows] == [
        ("", None, 5, 0.6), ("a", None, 1, 1.0), ("a", 3, 1, 1.0), ("b", None, 3, 1 / 3), ("b", 9, 1, 0.0), ("b", 10, 2, 0.5),
    ]  # fmt: skip


def test_intervals_contain_the_accuracy_and_narrow_with_the_number_of_questions():
    widths = []
    for count in (20, 500):
        items = [item(f"q{number}") for number in range(count)]
        for row in curve_rows(everywhere([number % 5 < 3 for number in range(count)]), items, {"": 0.1}):
            assert row["low"] < row["accuracy"] == pytest.approx(0.6) and row["accuracy"] < row["high"]
        widths.append(row["high"] - row["low"])
    assert widths[1] == pytest.approx(2 * 1.96 * (0.6 * 0.4 / 500) ** 0.5, rel=0.1) and widths[0] > 3 * widths[1]


def test_csv_gives_the_rows_back():
    items = [item("q0", family='paths, "long"', difficulty=3), item("q1"), item("q2")]
    rows = curve_rows(everywhere([1, 0, 0]), items, chance_levels(items))
    back = list(csv.DictReader(io.StringIO(curve_csv(rows))))
    assert len(back) == len(rows) and list(back[0]) == list(COLUMNS)
    for read, row in zip(back, rows):
        for key, value in row.items():
            assert read[key] == "" if value is None else type(value)(read[key]) == value


def test_a_family_without_a_chance_level_is_named():
    with pytest.raises(ValueError, match=r"no chance level for \['paths'\]"):
        measure_thinking(None, [item("q0", family="paths")], Budgets((1,), 2), {"": 0.1})


def test_a_real_model_has_a_curve(engine, processor, one_thread):
    from kimivl.processor.messages import Message, TextPart

    items = [Item(f"q{n}", (Message("user", (TextPart("what?"),)),), "what?", "4", (), None, "a", n) for n in range(3)]
    done = []
    result = measure_thinking(engine, items, Budgets((0, 4, 16), 4, waits=3), chance_levels(items), done.append)
    assert (result["answer_tokens"], result["waits"], sum(done)) == (4, 3, 3)
    assert len(result["rows"]) == 3 * 3 * (1 + 1 + 3)
    assert all(row["low"] <= row["accuracy"] <= row["high"] for row in result["rows"])
