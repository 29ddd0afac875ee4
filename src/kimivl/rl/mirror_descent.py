"""The objective: online policy mirror descent (paper §2.4, equation 1; Kimi k1.5 §2.3).

Each iteration maximises E r − τ·KL(π ‖ π_i) around the policy π_i that made the responses. Its optimum satisfies
r − τ log Z = τ log(π/π_i) for every response, and the loss is the squared gap, divided by 2τ: what is left is

    mean over responses of  −(r − b)·log π + τ/2·(log π − log π_i)²

with the baseline b in the place of τ log Z.
What it is: `MirrorDescent`, and `Imitation`, the loss of rejection sampling, which it is compared with; `corrections`, for
responses that an engine drew from other probabilities than π_i's own.
What it is not: a clipped ratio, a value network, or the rewards themselves (`length_reward.py`, `score/`).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

RATIO_CAP = 2.0  # C of truncated importance sampling; reference/posttraining.md §7.2

Baseline = Literal["mean", "leave_one_out", "log_partition"]
Level = Literal["sequence", "per_length", "token"]


@dataclass(frozen=True)
class MirrorDescent:
    """The objective's choices. The papers leave them open; the defaults are Kimi k1.5's where it names one.

    Args:
        tau: strength of the pull towards the policy that made the responses. A sequence's log-ratio grows with its length, so
            that a τ for chains of 60 tokens is far too strong for 8,000.
        baseline: "mean" of the group (k1.5), the mean of the others ("leave_one_out"), or the estimate of τ log Z
            ("log_partition"), which at small τ hardly pushes right answers up.
        level: where the log-ratio is squared. "sequence" as in the papers; "per_length" divides a response's loss by its length;
            "token" squares token by token and takes the mean of the response.
    Raises: ValueError if τ is not above 0.
    """

    tau: float = 0.05
    baseline: Baseline = "mean"
    level: Level = "sequence"

    def __post_init__(self) -> None:
        if not self.tau > 0:
            raise ValueError(f"tau must be above 0, got {self.tau}")

    def advantages(self, rewards_NK: Tensor) -> Tensor:
        """r − b for each response, fp32 [N, K]. Raises: ValueError for groups of one, which have nothing to compare with."""
        count = rewards_NK.shape[1]
        if count < 2:
            raise ValueError("an advantage compares the responses to one prompt: sample at least two of each")
        rewards_NK = rewards_NK.float()
        if self.baseline == "mean":
            return rewards_NK - rewards_NK.mean(1, keepdim=True)
        if self.baseline == "leave_one_out":
            return rewards_NK - (rewards_NK.sum(1, keepdim=True) - rewards_NK) / (count - 1)
        mean_exp_N1 = (rewards_NK / self.tau).logsumexp(1, keepdim=True) - math.log(count)
        return rewards_NK - self.tau * mean_exp_N1

    def losses(
        self, logp_T: Tensor, reference_T: Tensor, response_T: Tensor, advantage_R: Tensor, correction_T: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(policy term, τ term) of each response, fp32 [R] each; their sum's mean is the loss.

        Args:
            logp_T: log π of every token that the current policy made, with gradients.
            reference_T: the same under the policy that made the responses, without.
            response_T: which response each token belongs to, int64. Tokens that are not the policy's own (forced ones, or
                segments of an earlier iteration) are left out by the caller.
            advantage_R: of each response.
            correction_T: weight of each token in the policy term; 1 where π_i itself drew the token, else `corrections`.
        """
        responses = len(advantage_R)
        length_R = torch.bincount(response_T, minlength=responses).clamp(min=1)
        logp_R, ratio_R = (summed(x_T, response_T, responses) for x_T in (correction_T * logp_T, logp_T - reference_T))
        policy_R = -advantage_R * logp_R
        if self.level == "sequence":
            return policy_R, self.tau / 2 * ratio_R.square()
        if self.level == "per_length":
            return policy_R / length_R, self.tau / 2 * ratio_R.square() / length_R
        squares_R = summed((logp_T - reference_T).square(), response_T, responses)
        return policy_R / length_R, self.tau / 2 * squares_R / length_R


@dataclass(frozen=True)
class Imitation:
    """Learning from what was right and nothing else, as rejection sampling and ReST do: no negative gradient, no pull."""

    def advantages(self, rewards_NK: Tensor) -> Tensor:
        """1 for each response that earned something, 0 for the others. fp32 [N, K]"""
        return (rewards_NK > 0).float()

    def losses(
        self, logp_T: Tensor, reference_T: Tensor, response_T: Tensor, advantage_R: Tensor, correction_T: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(mean cross-entropy of each right response, 0), as `MirrorDescent.losses`."""
        length_R = torch.bincount(response_T, minlength=len(advantage_R)).clamp(min=1)
        policy_R = -advantage_R * summed(correction_T * logp_T, response_T, len(advantage_R)) / length_R
        return policy_R, torch.zeros_like(policy_R)


def corrections(reference_T: Tensor, behaviour_T: Tensor) -> Tensor:
    """min(C, π_i / behaviour) of each token: truncated importance sampling.

    An engine with other kernels draws from other probabilities than the trainer has; the ratio makes up for it on average, and
    the cap bounds what a token can weigh that the engine thought far less likely than the trainer does.
    """
    return (reference_T - behaviour_T).exp().clamp(max=RATIO_CAP)


Objective = MirrorDescent | Imitation


def summed(x_T: Tensor, response_T: Tensor, responses: int) -> Tensor:
    """The sum over each response's tokens, fp32 [R]."""
    return torch.zeros(responses, device=x_T.device).index_add(0, response_T, x_T.float())
