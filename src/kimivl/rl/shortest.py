"""What is worth learning from several responses to one problem, when thoughts are to become short (Kimi k1.5 §2.4).

What it is: `shortest_right`, the response that rejection sampling keeps, and `pairs`, what DPO prefers to what.
What it is not: sampling and judging (`judge.py`), or the losses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kimivl.rl.judge import JudgedGroup
from kimivl.rl.rollout import Response

LONGER = 1.5  # so many times as long as the shortest, a right response is one to avoid


@dataclass(frozen=True)
class Pair:
    """Two responses to one problem."""

    chosen: Response
    rejected: Response

    @property
    def problem(self) -> str:
        return self.chosen.problem


def shortest_right(group: JudgedGroup, end_id: int) -> int | None:
    """The place of the shortest right response, the first among equals; None if there is none.

    Args:
        end_id: the token that ends a turn. A response that was closed by another one is none to imitate.
    """
    right = [
        place
        for place, (response, is_right) in enumerate(zip(group.responses, group.right))
        if is_right and response.ids[-1] == end_id
    ]
    return min(right, key=lambda place: len(group.responses[place].ids), default=None)


def pairs(groups: Sequence[JudgedGroup], end_id: int) -> list[Pair]:
    """The shortest right response before every wrong one that is longer, and every right one that is `LONGER` times as long."""
    found = []
    for group in groups:
        place = shortest_right(group, end_id)
        if place is not None:
            chosen = group.responses[place]
            found += [
                Pair(chosen, response) for response, right in zip(group.responses, group.right) if _worse(response, right, chosen)
            ]
    return found


def _worse(response: Response, right: bool, chosen: Response) -> bool:
    length, shortest = len(response.ids), len(chosen.ids)
    return length >= LONGER * shortest if right else length > shortest
