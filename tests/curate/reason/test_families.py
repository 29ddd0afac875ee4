"""Problems are solved rightly, as their own thoughts show when worked out again, and pictures show what is asked about."""

import re
from itertools import combinations

import numpy as np
import pytest

from kimivl.curate.duplicates import LINE_CHARS
from kimivl.curate.reason.charts import UNIT, charts
from kimivl.curate.reason.paths import LETTERS as FIELDS
from kimivl.curate.reason.paths import MOVES, paths
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


def read(problem: Problem, solution) -> dict[str, str]:
    """What a thought reads off the picture before it goes on, by name: digits, arrows or lengths."""
    places = 9 if problem.family == "paths" else problem.difficulty
    return {line[0]: line[1:].strip() for line in lines(solution)[:places]}


def worked_out(problem: Problem, solution) -> str:
    """The answer that a thought's readings lead to, worked out by other means than the builder's."""
    if problem.family == "search":
        target = int(re.search(r"add up to (\d+)", problem.question)[1])
        tried = [tuple(int(n) for n in re.findall(r"\d+", line)[:2]) for line in lines(solution)]
        return next((f"{left} {right}" for left, right in tried if left + right == target), f"{tried[-1][0]} {tried[-1][1]}")
    seen = read(problem, solution)
    followed = lines(solution)[len(seen) :]
    if problem.family == "totals":
        assert [line[:2] for line in followed] == sorted(name + digit for name, digit in seen.items())
        return str(sum(map(int, seen.values())) % 10)
    if problem.family == "paths":
        row, column = divmod(FIELDS.index(re.search("Start at (.)", problem.question)[1]), 3)
        for line in followed:
            name = FIELDS[3 * row + column]
            assert line == f"{name} {seen[name]}"
            dx, dy = MOVES[seen[name]]
            column, row = column + dx, row + dy
        return FIELDS[3 * row + column]
    lengths = {name: int(length) for name, length in seen.items()}
    if "longer is the longest" in problem.question:
        return str(max(lengths.values()) - min(lengths.values()))
    if match := re.search(r"What is (.) plus (.)\?", problem.question):
        assert followed[0] == " ".join(name + seen[name] for name in match.groups())
        return str(lengths[match[1]] + lengths[match[2]])
    limit = int(re.search(r"than (\d)", problem.question)[1])
    assert [line.split()[1] == "more" for line in followed] == [length > limit for length in lengths.values()]
    return str(sum(length > limit for length in lengths.values()))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_answer_follows_from_what_was_read_in_right_and_in_careless_thoughts(family):
    wrong = 0
    for number in range(60):
        problem = drawn(family, number)
        careless = problem.careless(rng_for(1, family, number))
        assert worked_out(problem, problem.solution) == problem.solution.answer
        assert worked_out(problem, careless) == careless.answer
        assert careless.steps != problem.solution.steps
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
    assert width % 16 == height % 16 == 0 and max(width, height) <= 224


@pytest.mark.parametrize("family", FAMILIES)
def test_the_content_is_what_a_right_thought_reads(family):
    for number in range(30):
        problem = drawn(family, number)
        if family == "search":
            seen = problem.solution.steps[0].text.split(" make ")[0]
        elif family == "totals":
            seen = " ".join(name + digit for name, digit in read(problem, problem.solution).items())
        else:
            seen = " ".join(read(problem, problem.solution).values())
        assert seen == problem.content and problem.key == f"{family}/{problem.content}/{problem.question}"
        in_order = seen.split() if family in ("paths", "charts") else sorted(seen.split())
        assert problem.shown == f"{family}/{' '.join(in_order)}"


def test_the_content_of_a_path_leads_to_its_answer():
    for number in range(30):
        problem = drawn("paths", number)
        moves = problem.content.split()
        place = FIELDS.index(re.search("Start at (.)", problem.question)[1])
        for _ in range(problem.difficulty):
            dx, dy = MOVES[moves[place]]
            place += dx + 3 * dy
        assert len(moves) == 9 and FIELDS[place] == problem.solution.answer


@pytest.mark.parametrize("family", FAMILIES)
def test_questions_are_short_enough_to_repeat_by_design(family):
    """Longer lines of text that train and test share stop a build."""
    assert all(len(drawn(family, number).question) < LINE_CHARS for number in range(40))


def test_a_total_names_every_tile_as_it_stands_and_then_in_order():
    for count in (2, 12):
        problem = totals(rng_for(0, "totals", count), count)
        names = [line[0] for line in lines(problem.solution)]
        assert names == [sign[0] for sign in problem.content.split()] + list(LETTERS[:count]) and problem.difficulty == count
        assert problem.picture.size == (32 * count, 16)


def test_the_bars_of_a_chart_are_as_long_as_they_are_read():
    """Columns of a bar's middle row that are far from the light ground, behind its name."""
    for number in range(20):
        problem = drawn("charts", number)
        pixels = np.asarray(problem.picture).astype(int)[:, SIDE:]
        for place, length in enumerate(read(problem, problem.solution).values()):
            dark = (pixels[place * SIDE + SIDE // 2].min(-1) < 185).sum()
            assert round(dark / UNIT) == int(length)


def test_the_arrows_of_a_path_point_where_they_are_read():
    """An arrow is longer than wide, and most of its ink is in its head."""
    for number in range(20):
        problem = drawn("paths", number)
        pixels = 255 - np.asarray(problem.picture).astype(float).mean(-1)
        for place, move in enumerate(problem.content.split()):
            row, column = divmod(place, 3)
            ink = pixels[row * SIDE :, (2 * column + 1) * SIDE :][:SIDE, :SIDE] > 90
            lies = ink.any(0).sum() > ink.any(1).sum()
            profile = ink.sum(0 if lies else 1)
            places = profile.nonzero()[0]
            ahead = (profile * np.arange(SIDE)).sum() / profile.sum() > (places[0] + places[-1]) / 2
            assert {(True, True): "right", (True, False): "left", (False, True): "down", (False, False): "up"}[
                lies, ahead
            ] == move


def test_a_search_tries_pairs_from_the_left_until_the_one_that_fits():
    for number in range(40):
        problem = drawn("search", number)
        target, numbers = int(re.search(r"add up to (\d+)", problem.question)[1]), [int(n) for n in problem.content.split()]
        fits = next(place for place, pair in enumerate(combinations(numbers, 2)) if sum(pair) == target)
        tried = list(combinations(numbers, 2))[: fits + 1]
        verdicts = {True: "low", False: "high"}
        assert lines(problem.solution) == [
            f"{left}+{right}={left + right} {verdicts[left + right < target] if left + right != target else 'yes'}"
            for left, right in tried
        ]
        assert problem.difficulty == 5 and problem.solution.answer == "{} {}".format(*tried[-1])


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
