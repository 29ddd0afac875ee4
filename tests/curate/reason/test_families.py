"""Problems are solved rightly, as their own thoughts show when worked out again, and pictures show what is asked about."""

import re
from itertools import combinations

import numpy as np
import pytest

from kimivl.curate.duplicates import LINE_CHARS
from kimivl.curate.reason.charts import BASE, UNIT, charts
from kimivl.curate.reason.paths import COLUMNS, MOVES, paths
from kimivl.curate.reason.problem import SIDE, Problem
from kimivl.curate.reason.search import _drawn_numbers, search
from kimivl.curate.reason.totals import LETTERS, totals
from kimivl.curate.records import rng_for

FAMILIES = {"totals": (totals, 7), "paths": (paths, 6), "charts": (charts, 5), "search": (search, 5)}


def drawn(family: str, number: int) -> Problem:
    draw, size = FAMILIES[family]
    return draw(rng_for(0, family, number), size)


def lines(solution) -> list[str]:
    return [step.text for step in solution.steps[1:]]


def worked_out(problem: Problem, solution) -> str:
    """The answer that a thought's readings lead to, worked out by other means than the builder's."""
    written = lines(solution)
    if problem.family == "totals":
        return str(sum(int(line[1]) for line in written) % 10)
    if problem.family == "paths":
        column, row = COLUMNS.index(solution.steps[0].text[-2]), int(solution.steps[0].text[-1])
        for line in written:
            dx, dy = MOVES[line.split()[0]]
            column, row = column + dx, row + dy
        return f"{COLUMNS[column]}{row}"
    if problem.family == "charts":
        heights = {line[0]: int(line[1:]) for line in written[:-1]}
        if "taller is the tallest" in problem.question:
            return str(max(heights.values()) - min(heights.values()))
        if match := re.search(r"What is (.) plus (.)\?", problem.question):
            return str(heights[match[1]] + heights[match[2]])
        return str(sum(height > int(re.search(r"than (\d)", problem.question)[1]) for height in heights.values()))
    target = int(re.search(r"add up to (\d+)", problem.question)[1])
    tried = [tuple(int(n) for n in re.findall(r"\d+", line)[:2]) for line in written[::2]]
    return next((f"{low} {high}" for low, high in tried if low + high == target), f"{tried[-1][0]} {tried[-1][1]}")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_answer_follows_from_what_was_read_in_right_and_in_careless_thoughts(family):
    wrong = 0
    for number in range(60):
        problem = drawn(family, number)
        careless = problem.careless(rng_for(1, family, number))
        assert worked_out(problem, problem.solution) == problem.solution.answer
        assert worked_out(problem, careless) == careless.answer
        assert lines(careless) != lines(problem.solution)
        wrong += careless.answer != problem.solution.answer
    assert wrong >= 10  # a misread bar need not matter, a misread digit of a total always does


@pytest.mark.parametrize("family", FAMILIES)
def test_a_slip_is_never_what_is_right(family):
    for number in range(40):
        for step in drawn(family, number).solution.steps:
            assert step.text not in step.slips and (step.slips or step.behaviour in ("plan", "evaluate"))


@pytest.mark.parametrize("family", FAMILIES)
def test_same_randomness_same_problem(family):
    first, second, other = (drawn(family, number) for number in (3, 3, 4))
    assert first.picture.tobytes() == second.picture.tobytes() and first.solution == second.solution
    assert first.picture.tobytes() != other.picture.tobytes()


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_fit_whole_merged_patches(family):
    width, height = drawn(family, 0).picture.size
    assert width % 16 == height % 16 == 0 and max(width, height) <= 112


def shown(problem: Problem) -> list[str]:
    """What the lines of a right thought read off the picture, in no order."""
    written = lines(problem.solution)
    if problem.family == "totals":
        return sorted(line.split()[0] for line in written)
    if problem.family == "charts":
        return [line[1:] for line in written[:-1]]
    return sorted({number for line in written[::2] for number in re.findall(r"\d+", line)[:2]})


@pytest.mark.parametrize("family", ["totals", "charts", "search"])
def test_the_content_is_what_a_right_thought_reads(family):
    for number in range(30):
        problem = drawn(family, number)
        content = problem.content.split()
        if family == "search":  # the pairs up to the right one need not name every number
            assert set(shown(problem)) <= set(content) and len(set(content)) == problem.difficulty
        else:
            assert shown(problem) == (content if family == "charts" else sorted(content))
        assert problem.key == f"{family}/{problem.content}/{problem.question}"


def test_the_content_of_a_path_leads_to_its_answer():
    for number in range(30):
        problem = drawn("paths", number)
        start, *moves = problem.content.split()
        column, row = COLUMNS.index(start[0]), int(start[1]) - 1
        for _ in range(problem.difficulty):
            dx, dy = MOVES[moves[5 * row + column]]
            column, row = column + dx, row + dy
        assert len(moves) == 25 and f"{COLUMNS[column]}{row + 1}" == problem.solution.answer


@pytest.mark.parametrize("family", FAMILIES)
def test_questions_are_short_enough_to_repeat_by_design(family):
    """Longer lines of text that train and test share stop a build."""
    assert all(len(drawn(family, number).question) < LINE_CHARS for number in range(40))


def test_a_total_names_every_tile_once_in_order():
    for count in (2, 12):
        problem = totals(rng_for(0, "totals", count), count)
        assert [line[0] for line in lines(problem.solution)] == list(LETTERS[:count]) and problem.difficulty == count
        assert problem.picture.size == (16 * count, 32)


def test_the_bars_of_a_chart_are_as_tall_as_they_are_read():
    """Rows of a bar's middle column that are far from the light ground, down to the base line."""
    for number in range(20):
        problem = drawn("charts", number)
        pixels = np.asarray(problem.picture).astype(int)[: BASE + 1]
        for place, line in enumerate(lines(problem.solution)[:-1]):
            dark = (pixels[:, place * SIDE + SIDE // 2].min(-1) < 185).sum()
            assert round(dark / UNIT) == int(line[1:])


def test_the_marked_field_of_a_path_is_its_start():
    for number in range(20):
        problem = drawn("paths", number)
        pixels = np.asarray(problem.picture).astype(float)
        corners = pixels[SIDE::SIDE, SIDE::SIDE].mean(-1)  # of every field, without the margin
        row, column = np.unravel_index(np.abs(corners - 170).argmin(), corners.shape)
        assert problem.solution.steps[0].text.endswith(f"{COLUMNS[column]}{row + 1}")


def test_a_search_tries_pairs_until_the_one_that_fits():
    for number in range(40):
        problem = drawn("search", number)
        target = int(re.search(r"add up to (\d+)", problem.question)[1])
        tried = lines(problem.solution)
        assert problem.difficulty == 5 and tried[1::2] == ["no"] * (len(tried) // 2 - 1) + ["yes"]
        low, high = (int(n) for n in problem.solution.answer.split())
        assert low < high and low + high == target


@pytest.mark.parametrize(
    ("draw", "size"), [(totals, 1), (totals, 13), (charts, 1), (charts, 9), (search, 2), (search, 8), (paths, 0)]
)
def test_sizes_that_cannot_be_drawn_are_refused(draw, size):
    with pytest.raises(ValueError, match=f"got {size}"):
        draw(rng_for(0, "x"), size)


def test_only_one_pair_of_a_search_fits():
    for number in range(50):
        numbers, target = _drawn_numbers(rng_for(0, "numbers", number), 7)
        assert sum(first + second == target for first, second in combinations(numbers, 2)) == 1
