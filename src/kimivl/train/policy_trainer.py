"""Reinforcement learning, iteration by iteration: problems → responses → rewards → updates (paper §2.4).

What it is: `PolicyTrainer`, which trains one stage in its folder, resumable after a kill at any moment.
What it is not: the loop over iterations (`loop.py`), the updates (`policy_update.py`), or what `rl/` holds: objective, length
reward, choice of problems, responses.
The policy at an iteration's start writes the responses and is the reference of all its updates. The router's balance bias stays:
a bias that moved would send tokens to other experts in training than when they were written.

    metrics.jsonl      one line an iteration
    responses.jsonl    what the policy wrote to the first problem of every iteration, for people to read
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kimivl.config.recipe import StageConfig
from kimivl.engine.engine import Engine
from kimivl.optim.muon import MuonAdamW
from kimivl.processor.processor import Encoded
from kimivl.rl.judge import JudgedGroup, judge
from kimivl.rl.length_reward import LengthReward, length_rewards
from kimivl.rl.measures import measures
from kimivl.rl.mirror_descent import Imitation, MirrorDescent
from kimivl.rl.problems import Problems
from kimivl.rl.prompt_sampler import PromptSampler, SamplingRules
from kimivl.rl.rollout import Response, Rollouts
from kimivl.rl.verifier import Verifier
from kimivl.train.checkpoint import Progress
from kimivl.train.loop import Watch, train
from kimivl.train.policy_update import PolicyUpdate

Group = list[Response]


@dataclass(frozen=True)
class Judged:
    """N finished groups of K responses. `rewards_NK` has the length reward in it."""

    groups: list[JudgedGroup]
    right_NK: Tensor
    rewards_NK: Tensor
    advantages_NK: Tensor


class PolicyTrainer:
    """Trains one stage.

    Args:
        engine: on the model that is trained; its vocabulary is what a response may hold.
        rollouts: who writes the responses.
        seed: of the choice of problems.
        pass_rates: of problems, by name, as they were measured before.
    """

    lines: tuple[str, ...] = ("metrics", "responses")

    def __init__(
        self, stage: StageConfig, engine: Engine, problems: Problems, rollouts: Rollouts, verifier: Verifier, folder: Path,
        seed: int, watch: Watch = lambda step, metrics: {}, pass_rates: Mapping[str, float] | None = None,
    ):  # fmt: skip
        assert stage.rl is not None  # the recipe's own check
        self.stage, self.settings, self.folder, self.watch = stage, stage.rl, folder, watch
        self.model, self.engine, self.problems, self.rollouts, self.verifier = engine.model, engine, problems, rollouts, verifier
        rules = SamplingRules(**self.settings.sampling.model_dump(exclude={"pass_rates"}))
        self.sampler = PromptSampler(problems.difficulties, rules, seed, pass_rates)
        self.length_reward = LengthReward(**self.settings.length_reward.model_dump())
        chosen = self.settings.objective
        imitates = chosen.kind == "imitation"
        self.objective = Imitation() if imitates else MirrorDescent(chosen.tau, chosen.baseline, chosen.level)
        self.update = PolicyUpdate(stage, engine.model, engine.allowed_A, self.objective, rollouts.exact)
        self.pending: list[Group] = []  # begun in an earlier iteration and not finished

    def run(self) -> Progress:
        """Trains up to the stage's last iteration, from the checkpoint if there is one."""
        return train(self)

    @property
    def optimizer(self) -> MuonAdamW:
        """Of the updates; another one in every iteration where the recipe says so."""
        return self.update.optimizer

    def state(self) -> dict[str, Any]:
        """What the sampler knows, and responses that are not finished."""
        pending = [[response.to_json() for response in group] for group in self.pending]
        return {"sampler": self.sampler.state(), "pending": pending}

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes on from what `state` gave."""
        self.sampler.load_state(state["sampler"])
        self.pending = [[Response.from_json(values) for values in group] for group in state["pending"]]

    def step(self, iteration: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """One iteration: metrics, and an example for people."""
        start = time.perf_counter()
        groups = [*self.pending, *self._new_groups(iteration)]
        prompts = {group[0].problem: self.problems.prompt(group[0].problem) for group in groups}
        groups = self._written(groups, prompts, iteration)
        finished = [group for group in groups if all(response.finish for response in group)]
        self.pending = [group for group in groups if not all(response.finish for response in group)]
        rollout_seconds = time.perf_counter() - start
        metrics: dict[str, Any] = {"groups": len(finished), "pending": len(self.pending), "tokens": 0, "patches": 0}
        example: dict[str, Any] = {}
        if finished:
            judged = self._judged(finished, iteration)
            metrics |= measures(finished, judged.right_NK, judged.rewards_NK, judged.advantages_NK)
            metrics |= self.update.run(finished, judged.advantages_NK, prompts, iteration)
            example = self._example(judged)
        seconds = time.perf_counter() - start
        metrics |= {"quarantined": len(self.sampler.quarantined), "rollout_seconds": rollout_seconds, "seconds": seconds}
        return metrics, example

    def _new_groups(self, iteration: int) -> list[Group]:
        names = self.sampler.draw(iteration, max(0, self.settings.prompts - len(self.pending)))
        return [[Response(name, iteration, sample) for sample in range(self.settings.samples)] for name in names]

    def _written(self, groups: Sequence[Group], prompts: Mapping[str, Encoded], iteration: int) -> list[Group]:
        flat = self.rollouts.write([response for group in groups for response in group], prompts, iteration)
        size = self.settings.samples
        return [flat[place : place + size] for place in range(0, len(flat), size)]

    def _judged(self, groups: list[Group], iteration: int) -> Judged:
        """Rewards; the sampler learns how often each problem was solved."""
        judged = judge(groups, self.problems, self.verifier)
        for group in judged:
            self.sampler.update(group.problem, sum(group.right), len(group.right))
        right_NK = torch.tensor([group.right for group in judged])
        finished_NK = torch.tensor([[response.finish == "stop" for response in group] for group in groups])
        lengths_NK = torch.tensor([[len(response.ids) for response in group] for group in groups])
        bonus_NK = self.length_reward.at(iteration) * length_rewards(lengths_NK, right_NK, finished_NK)
        rewards_NK = right_NK.float() + bonus_NK
        return Judged(judged, right_NK, rewards_NK, self.objective.advantages(rewards_NK))

    def _example(self, judged: Judged) -> dict[str, Any]:
        group = judged.groups[0]
        responses = [
            {"text": text, "tokens": len(response.ids), "finish": response.finish, "right": right, "reward": float(reward)}
            for text, response, right, reward in zip(group.texts, group.responses, group.right, judged.rewards_NK[0])
        ]
        return {"problem": group.problem, "truth": group.truth, "responses": responses}
