"""Problems are drawn as the rules say, and the table survives a restart."""

import json
from collections import Counter

import pytest

from kimivl.rl.prompt_sampler import PromptSampler, SamplingRules, passed_shares

EIGHT = {f"p{place}": float(place) for place in range(8)}


def share_of(sampler: PromptSampler, count: int = 1, draws: int = 4000) -> dict[str, float]:
    found = Counter(name for iteration in range(draws) for name in sampler.draw(iteration + 1000, count))
    return {name: found[name] / draws for name in sampler.names}


def test_the_chance_is_proportional_to_failure_with_a_floor():
    """Success 1, ½ and 0 with a floor of 0.1: weights 0.1, ½, 1."""
    sampler = PromptSampler({"a": 0, "b": 0, "c": 0}, SamplingRules(floor=0.1), seed=1, prior={"a": 1.0, "b": 0.5, "c": 0.0})
    expected = {"a": 0.1 / 1.6, "b": 0.5 / 1.6, "c": 1 / 1.6}
    assert share_of(sampler) == pytest.approx(expected, abs=0.03)  # four standard errors of 4,000 draws


def test_uniform_and_warm_up_ignore_success():
    for rules in (SamplingRules(uniform=True), SamplingRules(warm_up=10**6)):
        sampler = PromptSampler({"a": 0, "b": 0}, rules, seed=1, prior={"a": 1.0, "b": 0.0})
        assert share_of(sampler)["a"] == pytest.approx(0.5, abs=0.03)


def test_the_curriculum_opens_from_the_easiest():
    sampler = PromptSampler(EIGHT, SamplingRules(easy_first=6, warm_up=6), seed=0)
    for iteration, opened in ((0, 2), (2, 4), (4, 6), (6, 8)):
        assert set(sampler.draw(iteration, opened)) == {f"p{place}" for place in range(opened)}


@pytest.mark.parametrize(("iteration", "opened"), [(0, 2), (2, 4), (4, 6), (6, 8)])
def test_what_is_not_open_yet_is_never_drawn(iteration, opened):
    """The easiest quarter at first, all from the sixth iteration on; one problem at a time, by many seeds."""
    rules = SamplingRules(easy_first=6)
    drawn = {PromptSampler(EIGHT, rules, seed=seed).draw(iteration, 1)[0] for seed in range(200)}
    assert drawn == {f"p{place}" for place in range(opened)}


def test_what_was_solved_more_often_is_easier_whatever_its_label_says():
    sampler = PromptSampler(EIGHT, SamplingRules(easy_first=4, warm_up=4), seed=0, prior={"p7": 0.9, "p6": 0.8, "p0": 0.1})
    assert sampler.names == ["p7", "p6", "p1", "p2", "p3", "p4", "p5", "p0"] and set(sampler.draw(0, 2)) == {"p7", "p6"}


def test_a_group_moves_the_success_rate_by_its_share():
    sampler = PromptSampler(EIGHT, SamplingRules(memory=0.7), seed=0)
    sampler.update("p3", successes=6, tries=8)
    assert sampler.success["p3"] == pytest.approx(0.7 * 0.5 + 0.3 * 0.75)


def test_what_is_never_solved_is_quarantined_until_it_is():
    sampler = PromptSampler({"a": 0, "b": 0}, SamplingRules(give_up_after=3, floor=0.1), seed=0)
    for _ in range(3):
        sampler.update("a", 0, 8)
    assert sampler.quarantined == ["a"]
    assert share_of(sampler)["a"] == pytest.approx(0.1 / 0.6, abs=0.03)
    sampler.update("a", 1, 8)
    assert sampler.quarantined == []


def test_a_draw_depends_on_seed_iteration_and_table_alone():
    first, second = (PromptSampler(EIGHT, SamplingRules(), seed=4) for _ in range(2))
    first.draw(0, 3)  # another draw in between changes nothing
    assert first.draw(7, 5) == second.draw(7, 5) != PromptSampler(EIGHT, SamplingRules(), seed=5).draw(7, 5)
    first.update("p1", 8, 8)
    second.load_state(json.loads(json.dumps(first.state())))
    assert second.draw(8, 5) == first.draw(8, 5)


def test_impossible_calls_are_refused():
    with pytest.raises(ValueError, match="no problem"):
        PromptSampler({}, SamplingRules(), seed=0)
    sampler = PromptSampler(EIGHT, SamplingRules(), seed=0)
    with pytest.raises(ValueError, match="9 different problems were asked for, there are 8"):
        sampler.draw(0, 9)
    with pytest.raises(ValueError, match="of other problems"):
        sampler.load_state({"success": {"x": 1.0}, "failed_groups": {"x": 0}})


@pytest.mark.parametrize("fault", [{"floor": 0.0}, {"floor": 1.5}, {"memory": -0.1}, {"give_up_after": 0}, {"warm_up": -1}])
def test_rules_without_a_meaning_are_refused(fault):
    with pytest.raises(ValueError, match=next(iter(fault))):
        SamplingRules(**fault)


def test_groups_that_teach_nothing_are_told_apart():
    assert passed_shares([[True, True], [False, False], [False, False], [True, False]]) == {"all_right": 0.25, "all_wrong": 0.5}
