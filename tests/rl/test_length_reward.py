"""Kimi k1.5's length reward: its formula, its limits, and who takes part."""

import pytest
import torch

from kimivl.rl.length_reward import LengthReward, length_rewards


def rewards(lengths, right, finished=None):
    finished = torch.ones(1, len(lengths), dtype=torch.bool) if finished is None else torch.tensor([finished])
    return length_rewards(torch.tensor([lengths]), torch.tensor([right]), finished)[0].tolist()


def test_by_hand():
    """Lengths 10 to 50: λ = ½, ¼, −½; wrong answers lose what is above 0."""
    assert rewards([10, 20, 50], [True, True, True]) == pytest.approx([0.5, 0.25, -0.5])
    assert rewards([10, 20, 50], [False, False, False]) == pytest.approx([0.0, 0.0, -0.5])
    assert rewards([10, 40, 50], [False, True, False]) == pytest.approx([0.0, -0.25, -0.5])


def test_equal_lengths_give_nothing():
    assert rewards([7, 7, 7], [True, False, True]) == [0.0, 0.0, 0.0]


def test_what_was_cut_off_takes_no_part():
    assert rewards([10, 20, 99], [True, True, False], [True, True, False]) == pytest.approx([0.5, -0.5, 0.0])
    assert rewards([10, 99], [True, False], [True, False]) == [0.0, 0.0]
    assert rewards([99, 99], [False, False], [False, False]) == [0.0, 0.0]


def test_the_order_of_responses_does_not_matter():
    generator = torch.Generator().manual_seed(0)
    lengths, right = torch.randint(1, 60, (5, 8), generator=generator), torch.rand(5, 8, generator=generator) < 0.5
    everyone, order = torch.ones_like(right), torch.randperm(8, generator=generator)
    found = length_rewards(lengths, right, everyone)
    assert torch.equal(found[:, order], length_rewards(lengths[:, order], right[:, order], everyone))
    assert float(found.max()) <= 0.5 and float(found.min()) >= -0.5


def test_the_weight_begins_after_the_warm_up():
    weight = LengthReward(0.3, warm_up=2)
    assert [weight.at(iteration) for iteration in range(4)] == [0.0, 0.0, 0.3, 0.3]


@pytest.mark.parametrize("weight", [2.0, -0.1, float("nan")])
def test_a_weight_that_could_prefer_wrong_answers_is_refused(weight):
    with pytest.raises(ValueError, match="worth a right one"):
        LengthReward(weight)
