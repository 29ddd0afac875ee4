"""What an iteration's responses were like, in the figures that peers log.

What it is: `measures`.
What it is not: what the updates saw (`train/policy_update.py`), or the judgement (`judge.py`).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from kimivl.rl.prompt_sampler import passed_shares
from kimivl.rl.rollout import Response


def measures(
    groups: Sequence[Sequence[Response]], right_NK: Tensor, rewards_NK: Tensor, advantages_NK: Tensor
) -> dict[str, float]:
    """Rewards, lengths and shares of N groups of K finished responses.

    Lengths are in tokens; `length_right` and `length_wrong` are 0 where there are none, `length_ended` is of responses that
    ended by themselves. `solved` counts groups with at least one right response (pass@K).
    """
    lengths_NK = torch.tensor([[float(len(response.ids)) for response in group] for group in groups])
    ended_NK = torch.tensor([[response.finish == "stop" for response in group] for group in groups])
    circling_NK = torch.tensor([[response.finish == "repeat" for response in group] for group in groups])
    return {
        "reward": float(rewards_NK.mean()),
        "reward_std": float(rewards_NK.std(correction=0)),
        "right": float(right_NK.float().mean()),
        "solved": float(right_NK.any(1).float().mean()),
        **passed_shares(right_NK.tolist()),
        "no_spread": float((rewards_NK.amax(1) == rewards_NK.amin(1)).float().mean()),
        "advantage_size": float(advantages_NK.abs().mean()),
        "length": float(lengths_NK.mean()),
        "length_right": _mean(lengths_NK[right_NK]),
        "length_wrong": _mean(lengths_NK[~right_NK]),
        "length_ended": _mean(lengths_NK[ended_NK]),
        "truncated": float((~ended_NK).float().mean()),
        "circling": float(circling_NK.float().mean()),
    }


def _mean(values: Tensor) -> float:
    return float(values.mean()) if len(values) else 0.0
