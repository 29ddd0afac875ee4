"""Tokens arrive in the wanted shares, at every moment, whatever the samples' lengths."""

import json
import random

import pytest

from kimivl.config.recipe import MixturePoint
from kimivl.data.mixture import Mixture, weights_at

LONGEST = 100


def points(*pairs: tuple[float, dict[str, float]]) -> list[MixturePoint]:
    return [MixturePoint(at=at, weights=weights) for at, weights in pairs]


@pytest.mark.parametrize("seed", range(20))
def test_no_source_is_ahead_by_a_sample_or_behind_by_more_than_the_number_of_sources_allows(seed):
    """Behind: the fullest of k cups, when each round fills at most 1 in all and empties the fullest by 1, stays below
    1 + 1/2 + … + 1/(k−1). With two sources that is one sample, too."""
    rng = random.Random(seed)
    sizes = [rng.random() + 0.01 for _ in range(2 + seed % 5)]
    weights = {f"source-{number}": size / sum(sizes) for number, size in enumerate(sizes)}
    behind = sum(1 / k for k in range(1, len(sizes))) * LONGEST
    mixture, taken = Mixture(), dict.fromkeys(weights, 0)
    for _ in range(500):
        name, tokens = mixture.next_source(weights), rng.choice([1, LONGEST, rng.randint(1, LONGEST)])
        mixture.settle(name, tokens, weights)
        taken[name] += tokens
        for source, weight in weights.items():
            assert -behind <= taken[source] - weight * sum(taken.values()) < LONGEST


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (0.0, {"a": 0.75, "b": 0.25}),
        (0.1, {"a": 0.75, "b": 0.25}),
        (0.2, {"a": 0.75, "b": 0.25}),
        (0.3, {"a": 0.375 + 0.125, "b": 0.125, "c": 0.375}),
        (0.4, {"a": 0.25, "c": 0.75}),
        (0.99, {"a": 0.25, "c": 0.75}),
    ],
)
def test_weights_stand_at_the_points_and_move_linearly_between_them(progress, expected):
    plan = points((0.0, {"a": 3, "b": 1}), (0.2, {"a": 0.75, "b": 0.25}), (0.4, {"a": 1, "c": 3}))
    assert weights_at(plan, progress) == pytest.approx(expected)


def test_weights_are_shares_whatever_they_add_up_to():
    assert weights_at(points((0.0, {"a": 30, "b": 10})), 0.5) == weights_at(points((0.0, {"a": 3, "b": 1})), 0.5)


def test_a_source_of_weight_zero_is_not_drawn():
    assert weights_at(points((0.0, {"a": 1, "b": 0})), 0.5) == {"a": 1.0}


def test_moving_weights_are_followed_within_a_sample():
    plan, mixture, rng = points((0.0, {"a": 1}), (1.0, {"b": 1})), Mixture(), random.Random(0)
    taken, wanted = {"a": 0, "b": 0}, {"a": 0.0, "b": 0.0}
    for step in range(1000):
        weights, tokens = weights_at(plan, step / 1000), rng.randint(1, LONGEST)
        name = mixture.next_source(weights)
        mixture.settle(name, tokens, weights)
        taken[name] += tokens
        for source, weight in weights.items():
            wanted[source] += weight * tokens
        assert abs(taken["b"] - wanted["b"]) < LONGEST
    assert 0.45 < taken["b"] / sum(taken.values()) < 0.55


def test_a_source_that_appears_later_has_nothing_to_catch_up():
    plan, mixture = points((0.0, {"a": 1}), (0.499, {"a": 1}), (0.5, {"a": 1, "b": 1})), Mixture()
    drawn = []
    for step in range(100):
        weights = weights_at(plan, step / 100)
        drawn.append(mixture.next_source(weights))
        mixture.settle(drawn[-1], 10, weights)
    assert drawn == ["a"] * 50 + ["a", "b"] * 25


def test_among_equals_the_heavier_then_the_first_by_name_comes_first():
    assert Mixture().next_source({"b": 0.3, "c": 0.4, "a": 0.3}) == "c"
    assert Mixture().next_source({"c": 0.5, "b": 0.5}) == "b"
    assert Mixture({"a": 1.0, "b": 1.0}).next_source({"b": 0.5, "a": 0.5}) == "a"


def test_the_credits_are_the_whole_state():
    weights, whole, broken = {"a": 0.2, "b": 0.7, "c": 0.1}, Mixture(), Mixture()
    for step in range(200):
        names = [mixture.next_source(weights) for mixture in (whole, broken)]
        assert names[0] == names[1]
        for mixture in (whole, broken):
            mixture.settle(names[0], 7 + step % 5, weights)
        broken = Mixture(json.loads(json.dumps(broken.credits)))
