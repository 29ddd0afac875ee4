"""The objective equals its derivation, and its optimum is the one that the theory names."""

import math

import pytest
import torch

from kimivl.rl.mirror_descent import Imitation, MirrorDescent, corrections

# τ → (advantage of a right, of a wrong answer) with τ log Z exact, binary rewards and a pass rate of a half.
PUBLISHED = {0.01: (0.007, -0.993), 0.05: (0.035, -0.965), 0.2: (0.14, -0.86), 1.0: (0.38, -0.62), 5.0: (0.475, -0.525)}


@pytest.mark.parametrize(("tau", "expected"), PUBLISHED.items())
def test_log_partition_has_the_hand_computed_advantages(tau, expected):
    """τ log((e^{1/τ} + 1) / 2) computed in Python for a group of four with two right answers."""
    by_hand = tau * (1 / tau + math.log1p(math.exp(-1 / tau)) - math.log(2))
    found = MirrorDescent(tau, "log_partition").advantages(torch.tensor([[1, 1, 0, 0]]))[0]
    assert found.tolist() == pytest.approx([1 - by_hand, 1 - by_hand, -by_hand, -by_hand], abs=1e-5)
    assert (found[0].item(), found[2].item()) == pytest.approx(expected, abs=6e-3)


def test_one_right_answer_of_eight_is_pushed_up_by_the_mean_and_hardly_by_the_partition():
    rewards = torch.tensor([[1.0, *[0.0] * 7]])
    assert MirrorDescent().advantages(rewards)[0, :2].tolist() == pytest.approx([0.875, -0.125])
    partition = MirrorDescent(0.05, "log_partition").advantages(rewards)[0]
    assert partition[:2].tolist() == pytest.approx([0.10, -0.90], abs=5e-3)


def test_leaving_one_out_compares_with_the_mean_of_the_others():
    found = MirrorDescent(baseline="leave_one_out").advantages(torch.tensor([[1.0, 0.0, 0.5]]))
    assert found[0].tolist() == pytest.approx([1 - 0.25, -0.75, 0.5 - 0.5])


def test_a_group_that_is_all_right_or_all_wrong_gives_no_advantage():
    for baseline in ("mean", "leave_one_out", "log_partition"):
        found = MirrorDescent(baseline=baseline).advantages(torch.tensor([[1.0] * 4, [0.0] * 4]))
        torch.testing.assert_close(found, torch.zeros(2, 4), atol=1e-6, rtol=0)


def test_a_group_of_one_is_refused():
    with pytest.raises(ValueError, match="at least two"):
        MirrorDescent().advantages(torch.ones(3, 1))


@pytest.mark.parametrize("tau", [0.0, -1.0, math.nan])
def test_a_tau_without_a_meaning_is_refused(tau):
    with pytest.raises(ValueError, match="tau must be above 0"):
        MirrorDescent(tau)


def three_responses():
    generator = torch.Generator().manual_seed(0)
    response_T = torch.tensor([0, 0, 0, 1, 2, 2])
    logp_T, reference_T = (-torch.rand(6, generator=generator) for _ in range(2))
    return logp_T, reference_T, response_T, torch.tensor([0.5, -0.25, 1.0])


def test_each_level_by_hand():
    logp_T, reference_T, response_T, advantage_R = three_responses()
    rows = [slice(0, 3), slice(3, 4), slice(4, 6)]
    expected = {"sequence": [], "per_length": [], "token": []}
    for row, advantage in zip(rows, advantage_R.tolist()):
        logp, ratio, length = logp_T[row], logp_T[row] - reference_T[row], row.stop - row.start
        expected["sequence"].append(-advantage * logp.sum() + 0.1 * ratio.sum() ** 2)
        expected["per_length"].append(expected["sequence"][-1] / length)
        expected["token"].append((-advantage * logp + 0.1 * ratio**2).mean())
    for level, losses in expected.items():
        policy_R, pull_R = MirrorDescent(0.2, level=level).losses(logp_T, reference_T, response_T, advantage_R, torch.ones(6))
        torch.testing.assert_close(policy_R + pull_R, torch.stack(losses))


def test_a_response_without_tokens_of_its_own_costs_nothing():
    logp_T, reference_T, response_T, advantage_R = three_responses()
    rest = response_T != 1
    kept = (logp_T[rest], reference_T[rest], response_T[rest], advantage_R, torch.ones(5))
    policy_R, pull_R = MirrorDescent(level="token").losses(*kept)
    assert (policy_R[1].item(), pull_R[1].item()) == (0.0, 0.0)


def test_the_ratio_of_trainer_to_engine_is_capped():
    """Ratios of 0.5, 1, 1.5, 2 and 8: only the last is above C = 2."""
    ratios = torch.tensor([0.5, 1.0, 1.5, 2.0, 8.0])
    behaviour = torch.tensor([-3.0, -1.0, -2.0, -0.5, -4.0])
    assert corrections(behaviour + ratios.log(), behaviour).tolist() == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])


@pytest.mark.parametrize(("objective", "divided"), [(MirrorDescent(0.2), False), (MirrorDescent(0.2, level="token"), True)])
def test_a_correction_weighs_the_policy_term_and_not_the_pull(objective, divided):
    """Tokens of −1, −2 and −3 nats with the weights 0.5, 1 and 2 and an advantage of 0.5: −0.5·(−0.5 − 2 − 6) = 4.25."""
    logp_T, reference_T, one = (
        torch.tensor([-1.0, -2.0, -3.0]),
        torch.tensor([-1.5, -2.0, -2.0]),
        torch.zeros(3, dtype=torch.long),
    )
    policy_R, pull_R = objective.losses(logp_T, reference_T, one, torch.tensor([0.5]), torch.tensor([0.5, 1.0, 2.0]))
    assert policy_R.item() == pytest.approx(4.25 / 3 if divided else 4.25)
    # log-ratios 0.5, 0 and −1: squared in sum 0.25, one by one 1.25
    assert pull_R.item() == pytest.approx(0.1 * (1.25 / 3 if divided else 0.25))


def test_imitation_is_corrected_too():
    both = [torch.tensor([-1.0, -3.0]), torch.tensor([-1.0, -3.0]), torch.zeros(2, dtype=torch.long), torch.ones(1)]
    policy_R, _ = Imitation().losses(*both, torch.tensor([2.0, 0.5]))
    assert policy_R.item() == pytest.approx((2 * 1 + 0.5 * 3) / 2)


def test_the_gradient_is_that_of_the_squared_gap_over_two_tau():
    """L = E (r − b − τ·ρ)², the surrogate before it is simplified, at any policy π ≠ π_i."""
    tau, rewards, chosen = 0.3, torch.tensor([[1.0, 0.0, 0.0, 1.0]]), torch.tensor([0, 1, 1, 4])
    start = torch.linspace(-1, 1, 6).log_softmax(0)
    objective = MirrorDescent(tau)
    advantage_R = objective.advantages(rewards)[0]
    gradients = []
    for simplified in (True, False):
        theta = torch.tensor([0.3, -0.2, 0.0, 1.0, -1.0, 0.4], requires_grad=True)
        logp_R = theta.log_softmax(0)[chosen]
        if simplified:
            loss = sum(
                part.mean() for part in objective.losses(logp_R, start[chosen], torch.arange(4), advantage_R, torch.ones(4))
            )
        else:
            loss = (advantage_R - tau * (logp_R - start[chosen])).square().mean() / (2 * tau)
        loss.backward()
        gradients.append(theta.grad)
    torch.testing.assert_close(*gradients)


def bandit(baseline: str, tau: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Six arms, and responses in the proportions of π_i. Returns (π_i, rewards, π at the optimum)."""
    start = torch.tensor([0.3, 0.25, 0.2, 0.1, 0.1, 0.05])
    rewards = torch.tensor([0.0, 1.0, 0.2, 0.7, 0.0, 1.0])
    copies = (start * 100).round().long()
    chosen = torch.arange(6).repeat_interleave(copies)
    objective = MirrorDescent(tau, baseline)
    advantage_R = objective.advantages(rewards[chosen][None])[0]
    theta = start.log().clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [theta], max_iter=500, tolerance_grad=1e-10, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        logp_R = theta.log_softmax(0)[chosen]
        losses = objective.losses(logp_R, start.log()[chosen], torch.arange(100), advantage_R, torch.ones(100))
        loss = sum(part.mean() for part in losses)
        loss.backward()
        return loss

    optimizer.step(closure)
    return start, rewards, theta.detach().softmax(0)


@pytest.mark.parametrize("tau", [0.5, 1.0])
def test_with_the_partition_the_optimum_is_the_closed_form(tau):
    """π ∝ π_i·exp(r/τ)."""
    start, rewards, found = bandit("log_partition", tau)
    closed = start * (rewards / tau).exp()
    torch.testing.assert_close(found, closed / closed.sum(), atol=2e-4, rtol=0)


def test_with_the_mean_the_optimum_is_stationary_where_the_derivation_says():
    """π_i(b)·(r_b − r̄ − τ·ρ_b) = π(b)·τ·KL(π_i ‖ π) for every arm: the gap is shared out by the policy, not zero."""
    tau = 0.5
    start, rewards, found = bandit("mean", tau)
    ratio = (found / start).log()
    left = start * (rewards - (start * rewards).sum() - tau * ratio)
    right = found * tau * (start * -ratio).sum()
    torch.testing.assert_close(left, right, atol=2e-4, rtol=0)
