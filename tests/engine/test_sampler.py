"""Tokens are drawn with the probabilities that were asked for, and the same whoever else is in the batch."""

import math

import pytest
import torch

from kimivl.engine import sampler as sampler_module
from kimivl.engine.sampler import Sampler, Sampling, uniform

NOTHING = torch.tensor([], dtype=torch.int64)
PROBABILITIES = [0.4, 0.05, 0.3, 0.0, 0.25]


def logits_of(probabilities: list[float], rows: int = 1) -> torch.Tensor:
    return torch.tensor(probabilities).log().repeat(rows, 1)


def frequencies(sampling: Sampling, draws: int = 20_000, forbidden: torch.Tensor = NOTHING) -> list[float]:
    ids = Sampler(sampling, forbidden)(logits_of(PROBABILITIES, draws), list(range(draws)), [0] * draws)[0]
    return (torch.bincount(ids, minlength=len(PROBABILITIES)) / draws).tolist()


def test_greedy_takes_the_likeliest_token_that_is_allowed():
    logits = torch.tensor([[1.0, 5.0, 3.0], [2.0, 9.0, -1.0]])
    assert Sampler(Sampling(), torch.tensor([1]))(logits, [0, 1], [0, 0])[0].tolist() == [2, 0]


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_frequencies_follow_the_distribution_at_every_temperature(temperature):
    powers = [p ** (1 / temperature) for p in PROBABILITIES]
    expected = [power / sum(powers) for power in powers]
    for seen, wanted in zip(frequencies(Sampling(temperature=temperature)), expected):
        assert abs(seen - wanted) <= 5 * math.sqrt(wanted * (1 - wanted) / 20_000)


@pytest.mark.parametrize(
    ("top_p", "nucleus"),
    [(0.4, [0]), (0.41, [0, 2]), (0.7, [0, 2]), (0.9, [0, 2, 4]), (0.999, [0, 1, 2, 4])],
)
def test_top_p_draws_from_the_smallest_set_with_that_share(top_p, nucleus):
    total = sum(PROBABILITIES[id] for id in nucleus)
    for id, seen in enumerate(frequencies(Sampling(temperature=1.0, top_p=top_p))):
        wanted = PROBABILITIES[id] / total if id in nucleus else 0.0
        assert abs(seen - wanted) <= 5 * math.sqrt(wanted * (1 - wanted) / 20_000)


def test_forbidden_tokens_are_never_drawn_and_their_share_goes_to_the_others():
    seen = frequencies(Sampling(temperature=1.0), forbidden=torch.tensor([0, 4]))
    assert seen[0] == seen[4] == 0
    assert seen[2] == pytest.approx(0.3 / 0.35, abs=0.02)


@pytest.mark.parametrize("top_p", [1.0, 0.95])
@pytest.mark.parametrize("draw", [0.0, 1 - 2.0**-53])
def test_the_ends_of_the_unit_interval_give_possible_tokens(monkeypatch, draw, top_p):
    monkeypatch.setattr(sampler_module, "uniform", lambda seed, row, position: draw)
    sampler = Sampler(Sampling(temperature=1.0, top_p=top_p), torch.tensor([0, 9_999]))
    logits = torch.randn(50, 10_000, generator=torch.Generator().manual_seed(0))
    assert not torch.isin(sampler(logits, list(range(50)), [0] * 50)[0], torch.tensor([0, 9_999])).any()


def test_a_row_draws_the_same_alone_and_in_company():
    logits = torch.randn(40, 500, generator=torch.Generator().manual_seed(1))
    sampler = Sampler(Sampling(temperature=1.0, top_p=0.9, seed=3), NOTHING)
    together = sampler(logits.clone(), list(range(40)), [7] * 40)[0]
    for row in (0, 17, 39):
        assert sampler(logits[row : row + 1].clone(), [row], [7])[0].item() == together[row]


def test_draws_are_uniform_and_change_with_seed_row_and_position():
    draws = torch.tensor([uniform(seed, row, position) for seed in range(10) for row in range(30) for position in range(30)])
    assert len(draws.unique()) > 8_990  # of 9,000, as fp32
    assert torch.histc(draws, 10, 0, 1).div(900).sub(1).abs().max() < 0.2


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_an_error(value):
    logits = torch.zeros(2, 5)
    logits[1, 3] = value
    with pytest.raises(FloatingPointError, match="not finite"):
        Sampler(Sampling(), NOTHING)(logits, [0, 1], [0, 0])


@pytest.mark.parametrize(
    "wrong", [{"max_new_tokens": 0}, {"temperature": -0.1}, {"temperature": math.nan}, {"top_p": 0.0}, {"top_p": 1.1}]
)
def test_settings_without_a_meaning_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Sampling(**wrong)
