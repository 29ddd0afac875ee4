"""The figures of an iteration, by hand."""

import pytest
import torch

from kimivl.rl.measures import measures
from kimivl.rl.rollout import Response


def response(tokens: int, finish: str) -> Response:
    return Response("p", 0, 0, ids=tuple(range(tokens)), finish=finish)


def test_by_hand():
    groups = [
        [response(10, "stop"), response(20, "stop")],
        [response(30, "length"), response(40, "repeat")],
        [response(6, "stop"), response(8, "stop")],
    ]
    right = torch.tensor([[True, False], [False, False], [True, True]])
    found = measures(groups, right, right.float(), torch.tensor([[0.5, -0.5], [0.0, 0.0], [0.0, 0.0]]))
    assert found == pytest.approx(
        {
            "reward": 0.5, "reward_std": 0.5, "right": 0.5, "solved": 2 / 3, "all_right": 1 / 3, "all_wrong": 1 / 3,
            "no_spread": 2 / 3, "advantage_size": 1 / 6, "length": 19, "length_right": 8, "length_wrong": 30, "length_ended": 11,
            "truncated": 1 / 3, "circling": 1 / 6,
        }
    )  # fmt: skip
