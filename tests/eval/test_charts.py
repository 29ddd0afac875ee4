"""Charts put points where they belong, and their axes carry round numbers."""

import re
import xml.etree.ElementTree as ET

import pytest

from kimivl.eval.charts import BOTTOM, LEFT, RIGHT, TOP, Band, Series, binned, line_chart, linear_ticks, log_ticks, short


def drawn(chart):
    return [[tuple(map(float, pair.split(","))) for pair in line.split()] for line in re.findall(r'points="([^"]*)"', chart)]


def test_the_corners_of_the_data_are_the_corners_of_the_chart():
    chart = line_chart([Series("a", [(0, 0.0), (10, 5.0)], "#000")], "x", "y", size=(400, 200), y_low=0.0)
    (first, last), *_ = drawn(chart)
    assert first == (LEFT, 200 - BOTTOM)
    assert last[0] == 400 - RIGHT and TOP <= last[1] < TOP + 10  # a little air above the highest point


def test_equal_factors_are_equal_distances_on_a_logarithmic_axis():
    chart = line_chart([Series("a", [(1, 1.0), (2, 10.0), (3, 100.0)], "#000")], "x", "y", log_y=True)
    ys = [y for _, y in drawn(chart)[0]]
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.11)


def test_a_single_point_and_a_flat_line_are_drawn():
    assert drawn(line_chart([Series("a", [(3, 2.0)], "#000")], "x", "y"))
    assert drawn(line_chart([Series("a", [(0, 2.0), (5, 2.0)], "#000")], "x", "y"))


def test_nothing_to_show_is_an_error():
    with pytest.raises(ValueError, match="loss has nothing to show"):
        line_chart([Series("a", [], "#000")], "x", "loss")


def test_an_interval_surrounds_its_line_and_stays_inside_the_chart():
    one = Series("a", [(0, 2.0), (4, 3.0)], "#000", spread=[(0, 1.0, 4.0), (4, 2.5, 9.0)])
    chart = line_chart([one], "x", "y", size=(400, 200), y_low=0.0)
    (path,) = re.findall(r'<path class="spread" d="M([^"]*)Z"', chart)
    corners = [tuple(map(float, pair.split(","))) for pair in path.split()]
    (first, last), *_ = drawn(chart)
    assert [x for x, _ in corners] == [first[0], last[0], last[0], first[0]]
    tops, bottoms = [y for _, y in corners[:2]], [y for _, y in corners[:1:-1]]
    for (_, y), top, bottom in zip((first, last), tops, bottoms):
        assert TOP <= top < y < bottom <= 200 - BOTTOM


def test_labels_of_the_x_axis_may_be_given():
    chart = line_chart([Series("a", [(3, 1.0), (5, 2.0)], "#000")], "x", "y", x_ticks=[(3, "8"), (5, "<32>")])
    assert re.findall(r'<text class="tick" [^>]*>([^<]*)<', chart) == ["8", "&lt;32&gt;"]


def test_bands_are_named_where_there_is_room():
    bands = [Band("joint", 0, 90), Band("cooldown", 90, 92)]
    chart = line_chart([Series("a", [(0, 1.0), (92, 2.0)], "#000")], "x", "y", bands)
    assert ">joint</text>" in chart and ">cooldown</text>" not in chart and "<title>cooldown</title>" in chart


def test_charts_are_well_formed_whatever_the_names():
    chart = line_chart([Series('a < b & "c"', [(0, 1.0), (1, 2.0)], "#000", dots=True)], "x & y", "<y>", [Band("<b>", 0, 1)])
    assert ET.fromstring(chart).tag == "svg"


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.3, 4.9, [1, 2, 3, 4]),
        (0, 0.004, [0, 0.001, 0.002, 0.003, 0.004]),
    ],
)
def test_linear_ticks_are_round_and_inside(low, high, ticks):
    assert linear_ticks(low, high, 5) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("low", "high", "ticks"), [(0.9, 12, [1, 2, 5, 10]), (400, 3000, [500, 1000, 2000]), (1, 1e4, [1, 10, 100, 1000, 10000])]
)
def test_logarithmic_ticks(low, high, ticks):
    assert log_ticks(low, high) == pytest.approx(ticks)


def test_bins_are_means_of_neighbours():
    assert binned([(0, 1.0), (1, 3.0), (2, 5.0), (3, 7.0), (4, 9.0)], 3) == [(0.5, 2.0), (2.5, 6.0), (4.0, 9.0)]
    assert binned([(0, 1.0)], 3) == [(0, 1.0)] and binned([], 3) == []


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.004, "0.004"), (250, "250"), (1500, "1.5k"), (5_203_712, "5.2M"), (1.64e10, "16.4G")]
)
def test_short_numbers(value, text):
    assert short(value) == text
