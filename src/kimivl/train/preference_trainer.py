"""Direct preference optimization, step by step: pairs of responses → losses → updates (Kimi k1.5 §2.4).

What it is: `PreferenceTrainer`, which trains one `dpo` stage in its folder, resumable after a kill at any moment.
What it is not: the loop over steps (`loop.py`), the loss (`rl/preference.py`), the choice of pairs (`rl/shortest.py`), or who
wrote them (`sampling.py`).
The reference is the policy as the stage finds it. Its log-probabilities of all responses are computed once, before the first
update, and go with the checkpoint: there is never a second model in memory. The router's balance bias stays as it is, as in
reinforcement learning.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kimivl.config.recipe import StageConfig
from kimivl.data.source import Order
from kimivl.engine.engine import Engine
from kimivl.optim.schedule import Phase, Schedule
from kimivl.processor.processor import Encoded
from kimivl.rl.mirror_descent import summed
from kimivl.rl.policy import response_packs, token_logps
from kimivl.rl.preference import preference_losses
from kimivl.rl.problems import Problems
from kimivl.rl.rollout import Response
from kimivl.rl.shortest import Pair
from kimivl.train.checkpoint import Progress
from kimivl.train.loop import Watch, train
from kimivl.train.stages.language import EVERYTHING
from kimivl.train.trainer import check_finite, make_optimizer, trained_parameters


class PreferenceTrainer:
    """Trains one stage.

    Args:
        engine: on the model that is trained; its vocabulary is what a response may hold.
        pairs: of whole responses that one policy wrote to `problems`.
        seed: of the order of the pairs; each comes once an epoch.
    Raises: ValueError without pairs.
    """

    lines: tuple[str, ...] = ("metrics",)

    def __init__(
        self, stage: StageConfig, engine: Engine, problems: Problems, pairs: Sequence[Pair], folder: Path, seed: int,
        watch: Watch = lambda step, metrics: {},
    ):  # fmt: skip
        assert stage.dpo is not None  # the recipe's own check
        if not pairs:
            raise ValueError(
                f"stage {stage.name}: no problem has a right response and a worse one that is longer, so there is no pair to "
                "learn from; sample more problems, or more responses to each"
            )
        self.stage, self.settings, self.folder, self.watch = stage, stage.dpo, folder, watch
        self.order = Order(len(pairs), seed, stage.name, stage.sources[0])
        self.model, self.engine, self.problems, self.pairs = engine.model, engine, problems, pairs
        self.schedule = Schedule(Phase(**phase.model_dump()) for phase in stage.schedule)
        self.optimizer = make_optimizer(engine.model, EVERYTHING, stage.optimizer)
        self.responses = {response.key: response for pair in pairs for response in (pair.chosen, pair.rejected)}
        self.number = {key: number for number, key in enumerate(self.responses)}
        self.reference: list[float] = []  # of every response, in the order of `responses`

    def run(self) -> Progress:
        """Trains up to the stage's last step, from the checkpoint if there is one.

        Raises: FloatingPointError if a loss or gradient is not finite, before the weights take it.
        """
        return train(self)

    def state(self) -> dict[str, Any]:
        """The reference, worked out by the policy as it is when it is first asked for."""
        self.reference = self.reference or self._logps_of_all()
        return {"reference": self.reference}

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes on from what `state` gave."""
        self.reference = state["reference"]

    @torch.no_grad()
    def _logps_of_all(self) -> list[float]:
        """The log-probability of every response under the policy as it is now, in the order of `responses`."""
        responses, at_once = list(self.responses.values()), 2 * self.settings.pairs
        logps: list[float] = []
        for first in range(0, len(responses), at_once):
            some = responses[first : first + at_once]
            prompts = self._prompts(some)
            for chunk in self._chunks([[response] for response in some], prompts):
                logps += self._logps(chunk, prompts).tolist()
        return logps

    def step(self, step: int) -> tuple[dict[str, Any]]:
        """One update."""
        start, count = time.perf_counter(), self.settings.pairs
        pairs = [self._pair(step * count + place) for place in range(count)]
        self.optimizer.zero_grad(set_to_none=True)
        prompts = self._prompts([pair.chosen for pair in pairs])
        chunks = self._chunks([[pair.chosen, pair.rejected] for pair in pairs], prompts)
        seen = [self._backward(step, chunk, prompts) for chunk in chunks]
        norm = float(nn.utils.clip_grad_norm_(trained_parameters(self.optimizer), self.stage.optimizer.max_grad_norm))
        check_finite("gradient norm", norm, self.stage.name, step, [pair.problem for pair in pairs])
        lr = self.schedule.lr(self.stage.schedule_start + step)
        self.optimizer.set_lr(lr)
        self.optimizer.step()
        loss_N, margin_N, chosen_N = (torch.cat(parts) for parts in zip(*seen))
        metrics = {
            "loss": float(loss_N.mean()), "margin": float(margin_N.mean()), "preferred": float((margin_N > 0).float().mean()),
            "chosen": float(chosen_N.mean()), "lr": lr, "grad_norm": norm, "seconds": time.perf_counter() - start,
        }  # fmt: skip
        return (metrics,)

    def _pair(self, number: int) -> Pair:
        return self.pairs[self.order[number]]

    def _backward(
        self, step: int, responses: Sequence[Response], prompts: Mapping[str, Encoded]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Adds the gradient of some pairs; their losses, margins, and log-ratios of the chosen responses."""
        reference_N2 = torch.tensor([self.reference[self.number[response.key]] for response in responses]).view(-1, 2)
        logp_N2 = self._logps(responses, prompts).view(-1, 2)
        loss_N, margin_N = preference_losses(logp_N2, reference_N2, self.settings.beta)
        loss = loss_N.sum() / self.settings.pairs
        check_finite("loss", loss.item(), self.stage.name, step, [response.problem for response in responses[::2]])
        loss.backward()
        return loss_N.detach(), margin_N.detach(), (logp_N2 - reference_N2)[:, 0].detach()

    def _prompts(self, responses: Sequence[Response]) -> dict[str, Encoded]:
        return {name: self.problems.prompt(name) for name in dict.fromkeys(response.problem for response in responses)}

    def _chunks(self, groups: Sequence[Sequence[Response]], prompts: Mapping[str, Encoded]) -> list[list[Response]]:
        """Groups that belong together, as many in each chunk as fit a pack."""
        chunks: list[list[Response]] = []
        room = 0
        for group in groups:
            tokens = _tokens(group, prompts)
            if not chunks or tokens > room:
                chunks.append([])
                room = self.stage.pack_tokens
            chunks[-1] += group
            room -= tokens
        return chunks

    def _logps(self, responses: Sequence[Response], prompts: Mapping[str, Encoded]) -> Tensor:
        """log π of whole responses, as one pack: fp32 [R]."""
        (pack,) = response_packs(responses, prompts, iteration=0, pack_tokens=_tokens(responses, prompts))
        return summed(token_logps(self.engine.model, pack, self.engine.allowed_A), pack.response_S, len(responses))


def _tokens(responses: Sequence[Response], prompts: Mapping[str, Encoded]) -> int:
    return sum(len(prompts[response.problem].ids) + len(response.ids) for response in responses)
