"""Which problems the policy meets next: curriculum and prioritized sampling (paper §2.4; Kimi k1.5 §2.3.4).

What it is: `PromptSampler`, with the success rate of every problem as it was last seen. Easy problems come first; after the
warm-up a problem is drawn in proportion to how often it fails.
What it is not: the problems themselves. It knows their names and difficulties.
Why a floor and a quarantine: without the floor a solved problem is never measured again; without the quarantine a problem that
nobody can solve, or whose truth is wrong, is drawn most of all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kimivl.data.source import key_of


@dataclass(frozen=True)
class SamplingRules:
    """How prompts are drawn.

    Args:
        warm_up: iterations in which all problems of the curriculum are equally likely.
        easy_first: iterations over which the curriculum opens, from the easiest quarter to all problems; 0 opens it at once.
        floor: least chance of failure that a problem is drawn with.
        memory: weight of the old success rate when a group is seen, the rest is the new group's.
        give_up_after: groups in a row without one success after which a problem is quarantined: drawn as the solved ones are, and
            listed.
        uniform: every problem equally likely, for comparison.
    Raises: ValueError for values without a meaning.
    """

    warm_up: int = 0
    easy_first: int = 0
    floor: float = 0.05
    memory: float = 0.7
    give_up_after: int = 5
    uniform: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.floor <= 1 or not 0 <= self.memory <= 1:
            raise ValueError(f"floor lies above 0 and up to 1, memory from 0 to 1: {self}")
        if min(self.warm_up, self.easy_first) < 0 or self.give_up_after < 1:
            raise ValueError(f"warm_up and easy_first are at least 0, give_up_after at least 1: {self}")


class PromptSampler:
    """Draws problems. Its state is one table, kept with the checkpoint.

    Args:
        difficulties: of each problem, by its name; only their order counts.
        prior: success rates measured before, for example by the SFT model; ½ where there is none. What was solved more often is
            easier, whatever its difficulty says.
    Raises: ValueError without problems.
    """

    def __init__(
        self, difficulties: Mapping[str, float], rules: SamplingRules, seed: int, prior: Mapping[str, float] | None = None
    ):
        if not difficulties:
            raise ValueError("there is no problem to draw from")
        self.rules, self.seed = rules, seed
        measured = {name: (prior or {}).get(name, 0.5) for name in difficulties}
        self.names = sorted(difficulties, key=lambda name: (-measured[name], difficulties[name], name))  # the easiest first
        self.success = {name: measured[name] for name in self.names}
        self.failed_groups = dict.fromkeys(self.names, 0)

    def draw(self, iteration: int, count: int) -> list[str]:
        """`count` different problems; the same for the same seed, iteration and table.

        Raises: ValueError for more than there are.
        """
        if count > len(self.names):
            raise ValueError(f"{count} different problems were asked for, there are {len(self.names)}")
        open_names = self.names[: max(count, self._opened(iteration))]
        weights = np.array([self._weight(name, iteration) for name in open_names])
        rng = np.random.Generator(np.random.Philox(key=key_of(self.seed, "prompts", iteration)))
        return [open_names[place] for place in rng.choice(len(open_names), count, replace=False, p=weights / weights.sum())]

    def update(self, name: str, successes: int, tries: int) -> None:
        """Takes a finished group of at least one try into the table."""
        rate = successes / tries
        self.success[name] = self.rules.memory * self.success[name] + (1 - self.rules.memory) * rate
        self.failed_groups[name] = 0 if successes else self.failed_groups[name] + 1

    @property
    def quarantined(self) -> list[str]:
        """Problems that failed many groups in a row: too hard so far, or with a wrong truth. Worth a look."""
        return [name for name in self.names if self._is_quarantined(name)]

    def state(self) -> dict[str, Any]:
        """The table as plain values."""
        return {"success": dict(self.success), "failed_groups": dict(self.failed_groups)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from a table. Raises: ValueError if it is of other problems."""
        if set(state["success"]) != set(self.names):
            raise ValueError("the sampler's table is of other problems; start the stage anew")
        self.success, self.failed_groups = dict(state["success"]), dict(state["failed_groups"])

    def _opened(self, iteration: int) -> int:
        if iteration >= self.rules.easy_first:
            return len(self.names)
        share = 0.25 + 0.75 * iteration / self.rules.easy_first
        return round(share * len(self.names))

    def _weight(self, name: str, iteration: int) -> float:
        if self.rules.uniform or iteration < self.rules.warm_up:
            return 1.0
        return self.rules.floor if self._is_quarantined(name) else max(self.rules.floor, 1 - self.success[name])

    def _is_quarantined(self, name: str) -> bool:
        return self.failed_groups[name] >= self.rules.give_up_after


def passed_shares(groups: Sequence[Sequence[bool]]) -> dict[str, float]:
    """How many groups were all right and all wrong: two kinds of groups that teach nothing, with opposite meanings."""
    count = max(1, len(groups))
    return {"all_right": sum(map(all, groups)) / count, "all_wrong": sum(not any(group) for group in groups) / count}
