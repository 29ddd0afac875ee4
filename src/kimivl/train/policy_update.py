"""The updates of one iteration: minibatches of whole groups, all around the policy that wrote them.

What it is: `PolicyUpdate`, which owns the optimizer.
What it is not: the objective's arithmetic (`rl/mirror_descent.py`), rewards, or the iterations (`policy_trainer.py`).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from kimivl.config.recipe import StageConfig
from kimivl.model.kimi_vl import KimiVL
from kimivl.optim.schedule import Phase, Schedule
from kimivl.processor.processor import Encoded
from kimivl.rl.mirror_descent import RATIO_CAP, Objective, corrections
from kimivl.rl.policy import ResponsePack, response_packs, token_logps
from kimivl.rl.rollout import Response
from kimivl.train.stages.language import EVERYTHING
from kimivl.train.trainer import check_finite, make_optimizer, trained_parameters

LEAST_ADVANTAGE = 1e-6  # of a response that teaches anything: the log-partition leaves rounding where all earn the same


class PolicyUpdate:
    """Moves the policy.

    Args:
        allowed_A: the ids that a response may hold, rising.
        exact: the engine draws from the trainer's own probabilities, up to rounding; else tokens are weighed by `corrections`.
    """

    def __init__(self, stage: StageConfig, model: KimiVL, allowed_A: Tensor, objective: Objective, exact: bool = True):
        assert stage.rl is not None  # the recipe's own check
        self.stage, self.settings, self.model, self.allowed_A, self.objective = stage, stage.rl, model, allowed_A, objective
        self.exact = exact
        self.schedule = Schedule(Phase(**phase.model_dump()) for phase in stage.schedule)
        self.optimizer = make_optimizer(model, EVERYTHING, stage.optimizer)

    def run(
        self, groups: Sequence[Sequence[Response]], advantages_NK: Tensor, prompts: Mapping[str, Encoded], iteration: int
    ) -> dict[str, float]:
        """All updates of an iteration; returns what they saw.

        Groups without any advantage are left out, also of the mean over responses: all that they hold is the pull to the policy
        that wrote them.
        Raises: FloatingPointError if a loss or gradient is not finite, before the weights take it.
        """
        if self.settings.reset_optimizer:
            self.optimizer = make_optimizer(self.model, EVERYTHING, self.stage.optimizer)
        lr = self.schedule.lr(self.stage.schedule_start + iteration)
        self.optimizer.set_lr(lr)
        teaching = (advantages_NK.abs().amax(1) > LEAST_ADVANTAGE).nonzero()[:, 0].tolist()
        batches = [
            (self._packs([groups[n] for n in teaching[part]], prompts, iteration), advantages_NK[teaching[part]].flatten())
            for part in _parts(len(teaching), self.settings.minibatches)
        ]
        # The first minibatch meets the policy that wrote it, so its own probabilities are the reference.
        references = [[self._reference(pack) if number else None for pack in packs] for number, (packs, _) in enumerate(batches)]
        seen = _Seen()
        for (packs, advantage_R), of_packs in zip(batches, references):
            self._step(packs, advantage_R, of_packs, seen, iteration)
        return {"lr": lr, **seen.means()}

    def _packs(self, groups: Sequence[Sequence[Response]], prompts: Mapping[str, Encoded], iteration: int) -> list[ResponsePack]:
        responses = [response for group in groups for response in group]
        return response_packs(responses, prompts, iteration, self.stage.pack_tokens)

    @torch.no_grad()
    def _reference(self, pack: ResponsePack) -> Tensor:
        return token_logps(self.model, pack, self.allowed_A)

    def _step(
        self,
        packs: Sequence[ResponsePack],
        advantage_R: Tensor,
        references: Sequence[Tensor | None],
        seen: "_Seen",
        iteration: int,
    ) -> None:
        """One update, on the mean over the minibatch's responses."""
        self.optimizer.zero_grad(set_to_none=True)
        for pack, reference_S in zip(packs, references):
            logp_S = token_logps(self.model, pack, self.allowed_A)
            moved = reference_S is not None
            reference_S = logp_S.detach() if reference_S is None else reference_S
            correction_S = torch.ones_like(reference_S) if self.exact else corrections(reference_S, pack.behaviour_S)
            policy_R, pull_R = self.objective.losses(logp_S, reference_S, pack.response_S, advantage_R, correction_S)
            loss = (policy_R + pull_R).sum() / len(advantage_R)
            check_finite("loss", loss.item(), self.stage.name, iteration, pack.problems)
            loss.backward()
            seen.take(policy_R.detach(), pull_R.detach(), logp_S.detach(), reference_S, pack.behaviour_S, moved)
        norm = float(nn.utils.clip_grad_norm_(trained_parameters(self.optimizer), self.stage.optimizer.max_grad_norm))
        check_finite("gradient norm", norm, self.stage.name, iteration, [name for pack in packs for name in pack.problems])
        self.optimizer.step()
        seen.end_step(packs, len(advantage_R), norm)


class _Seen:
    """Sums over the responses and tokens of an iteration, and the largest gap between engine and trainer."""

    def __init__(self) -> None:
        self.sums: defaultdict[str, float] = defaultdict(float)
        self.responses = self.learned = self.steps = self.tokens = self.patches = 0
        self.moved_responses = self.moved_tokens = 0  # of minibatches that met a policy other than their reference
        self.largest_gap = 0.0

    def take(
        self, policy_R: Tensor, pull_R: Tensor, logp_S: Tensor, reference_S: Tensor, behaviour_S: Tensor, moved: bool
    ) -> None:
        gap_S, ratio_S = (behaviour_S - reference_S).abs(), logp_S - reference_S
        weight_S = (reference_S - behaviour_S).exp()
        values = {
            "policy_loss": policy_R, "pull": pull_R, "kl": -ratio_S, "drift": ratio_S.abs(), "entropy": -reference_S,
            "gap": gap_S, "ratio": weight_S, "capped": weight_S > RATIO_CAP,
        }  # fmt: skip
        for name, value in values.items():
            self.sums[name] += float(value.sum())
        self.learned += len(logp_S)
        self.moved_responses += len(policy_R) * moved
        self.moved_tokens += len(logp_S) * moved
        self.largest_gap = max(self.largest_gap, float(gap_S.max()) if len(gap_S) else 0.0)

    def end_step(self, packs: Sequence[ResponsePack], responses: int, norm: float) -> None:
        self.tokens += sum(len(pack.ids_T) for pack in packs)
        self.patches += sum(len(pack.patches_P) for pack in packs)
        self.responses += responses
        self.steps += 1
        self.sums["grad_norm"] += norm

    def means(self) -> dict[str, float]:
        """Per response `loss`, `policy_loss`, `pull` (τ/2·ρ²) and `tau_rho2` (τ·ρ²); in nats per token `kl` to the reference,
        `entropy`, `drift` (|log-ratio|) and `engine_gap` (|engine − trainer|); `ratio_mean` (trainer / engine) before the cap,
        and the share of tokens above it, `ratio_capped`; `tokens` and `patches` are all that the updates read.

        The first minibatch is its own reference, so `pull`, `tau_rho2`, `kl` and `drift` are of the others. What there is nothing
        to take a mean of is left out.
        """
        counts: dict[str, float] = {
            "updates": self.steps, "learned_tokens": self.learned, "tokens": self.tokens, "patches": self.patches,
        }  # fmt: skip
        if not self.learned:
            return counts
        policy = self.sums["policy_loss"] / self.responses
        entropy, gap, ratio, capped = (self.sums[name] / self.learned for name in ("entropy", "gap", "ratio", "capped"))
        return {
            "loss": policy + self.sums["pull"] / self.responses, "policy_loss": policy, "entropy": entropy,
            "engine_gap": gap, "engine_gap_max": self.largest_gap, "ratio_mean": ratio, "ratio_capped": capped,
            "grad_norm": self.sums["grad_norm"] / self.steps,
        } | self._moved() | counts  # fmt: skip

    def _moved(self) -> dict[str, float]:
        if not self.moved_tokens:
            return {}
        pull = self.sums["pull"] / self.moved_responses
        kl, drift = (self.sums[name] / self.moved_tokens for name in ("kl", "drift"))
        return {"pull": pull, "tau_rho2": 2 * pull, "kl": kl, "drift": drift}


def _parts(count: int, parts: int) -> list[slice]:
    """`count` groups in at most `parts` runs of nearly equal length; none of no groups."""
    parts = min(parts, count)
    if not parts:
        return []
    edges = [round(part * count / parts) for part in range(parts + 1)]
    return [slice(start, end) for start, end in zip(edges, edges[1:])]
