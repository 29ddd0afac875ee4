"""Reinforcement learning as a stage: what moves, what does not, what is written down, and a reward that can be learned."""

import json
import math
from dataclasses import replace

import pytest
import torch

from kimivl.data.source import Source
from kimivl.engine.engine import Engine
from kimivl.rl.problems import Problems
from kimivl.rl.rollout import Limits, NativeRollouts
from kimivl.rl.verifier import Verifier
from kimivl.train.metrics import read_metrics
from kimivl.train.policy_trainer import PolicyTrainer
from kimivl.train.run import Run

RL = {"prompts": 4, "samples": 4, "max_tokens": 10, "minibatches": 2}


@pytest.fixture
def make_policy_trainer(make_recipe, make_stage, processor, tmp_path):
    """A trainer of a policy that starts at random: `make(folder="a", rl={…}, **stage)`."""

    def make(folder="stage", rl=None, **changes) -> PolicyTrainer:
        run = Run(make_recipe(make_stage("rl", rl=RL | (rl or {}), **changes)), tmp_path / "run")
        (stage,) = run.recipe.stages
        engine = Engine(run.builder.kimi_vl(stage), processor, stage.context)
        problems = Problems(Source(run.recipe.data, "colors"), processor)
        limits = Limits(stage.rl.max_tokens, stage.rl.segment or stage.rl.max_tokens, stage.context, stage.rl.repeat_stop)
        rollouts = NativeRollouts(engine, limits, seed=3)
        return PolicyTrainer(stage, engine, problems, rollouts, Verifier(stage.rl.score), tmp_path / folder, seed=3)

    return make


class AnyEnding:
    """A judge for whom every response that ends by itself is right: a rule that a random policy meets now and then."""

    def right(self, texts, truth):
        return [True] * len(texts)


class NeverRight:
    """A judge who leaves every group without an advantage."""

    def right(self, texts, truth):
        return [False] * len(texts)


class OtherKernels(NativeRollouts):
    """An engine that thinks every token `ratio` times less likely than the trainer does."""

    exact, ratio = False, 1.0

    def write(self, responses, prompts, iteration):
        written = super().write(responses, prompts, iteration)
        return [replace(each, logps=tuple(logp - math.log(self.ratio) for logp in each.logps)) for each in written]


def metrics_of(trainer: PolicyTrainer) -> list[dict]:
    return read_metrics(trainer.folder / "metrics.jsonl")


def test_an_iteration_is_described_completely(make_policy_trainer):
    trainer = make_policy_trainer(context=160, rl={"max_tokens": 40})
    trainer.verifier = AnyEnding()
    trainer.run()
    first = metrics_of(trainer)[0]
    expected = {
        "step", "groups", "pending", "quarantined", "rollout_seconds", "seconds", "reward", "reward_std", "right", "solved",
        "all_right", "all_wrong", "no_spread", "advantage_size", "length", "length_right", "length_wrong", "length_ended",
        "truncated", "circling", "lr", "loss", "policy_loss", "pull", "tau_rho2", "kl", "drift", "entropy",
        "engine_gap", "engine_gap_max",
        "ratio_mean", "ratio_capped", "grad_norm", "updates", "learned_tokens", "tokens", "patches",
    }  # fmt: skip
    assert set(first) == expected
    assert first["updates"] == 2 and first["groups"] == 4 and first["engine_gap"] <= 1e-5
    assert first["ratio_mean"] == pytest.approx(1, abs=1e-5) and first["ratio_capped"] == 0
    assert first["tokens"] > first["learned_tokens"] > 0 and first["patches"] > 0
    example = json.loads((trainer.folder / "responses.jsonl").read_text().splitlines()[0])
    assert len(example["responses"]) == 4 and example["truth"] in ("red", "lime", "blue", "black")


def test_what_pays_becomes_more_likely_and_the_balance_bias_stays(make_policy_trainer):
    fast = [{"steps": 10, "start": 5e-3, "end": 5e-3}]
    trainer = make_policy_trainer(steps=10, context=160, schedule=fast, rl={"samples": 8, "max_tokens": 40})
    trainer.verifier = AnyEnding()
    start = {name: value.clone() for name, value in trainer.engine.model.state_dict().items()}
    trainer.run()
    right = [line["right"] for line in metrics_of(trainer)]
    assert sum(right[-3:]) > 1.4 * sum(right[:3]) > 0
    for name, value in trainer.engine.model.state_dict().items():
        assert torch.equal(value, start[name]) == name.endswith("e_score_correction_bias"), name


@pytest.mark.parametrize("baseline", ["mean", "leave_one_out", "log_partition"])
def test_groups_that_differ_in_nothing_move_nothing(make_policy_trainer, snapshot, baseline):
    trainer = make_policy_trainer(rl={"objective": {"baseline": baseline, "tau": 0.37}})
    trainer.verifier = NeverRight()
    start = snapshot(trainer.engine.model)
    trainer.run()
    for line in metrics_of(trainer):
        assert (
            line["groups"] == 4
            and line["no_spread"] == line["all_wrong"] == 1
            and [line[key] for key in ("updates", "learned_tokens", "tokens", "patches")] == [0] * 4
        )
    for name, value in trainer.engine.model.state_dict().items():
        assert torch.equal(value, start[name]), name


@pytest.mark.parametrize(("ratio", "weight"), [(0.5, 0.5), (1.5, 1.5), (3.0, 2.0)])
def test_tokens_of_an_engine_with_other_kernels_are_weighed_from_the_first_minibatch_on(make_policy_trainer, ratio, weight):
    """The first minibatch has its own probabilities as its reference; they are what the engine's are compared with."""

    def first(exact, ratio):
        rl = {"max_tokens": 40, "minibatches": 1}
        trainer = make_policy_trainer(f"{exact}-{ratio}", rl, steps=1, context=160)
        trainer.rollouts = OtherKernels(trainer.engine, trainer.rollouts.limits, seed=3)
        trainer.rollouts.ratio = ratio
        trainer.update.exact = exact
        trainer.verifier = AnyEnding()
        trainer.run()
        (line,) = metrics_of(trainer)
        return line

    plain, weighed, trusted = first(True, 1.0), first(False, ratio), first(True, ratio)
    assert weighed["ratio_mean"] == pytest.approx(ratio, rel=1e-4) and weighed["ratio_capped"] == (ratio > weight)
    assert plain["policy_loss"] != 0 and weighed["policy_loss"] == pytest.approx(weight * plain["policy_loss"], rel=1e-4)
    assert not {"pull", "kl", "drift"} & weighed.keys()  # there is no second minibatch to measure them on
    assert trusted["policy_loss"] == plain["policy_loss"]


@pytest.mark.parametrize("rl", [{}, {"segment": 3}, {"reset_optimizer": True}, {"objective": {"kind": "imitation"}}])
def test_a_stopped_stage_goes_on_with_the_same_problems_and_draws(make_policy_trainer, snapshot, rl):
    whole = make_policy_trainer("whole", rl, steps=6)
    whole.verifier = AnyEnding()
    whole.run()
    stopped = make_policy_trainer("parts", rl, steps=6, checkpoint_every=2)
    stopped.verifier = AnyEnding()
    stopped.watch = lambda step, metrics: {} if step < 3 else 1 / 0  # dies in its fourth iteration
    with pytest.raises(ZeroDivisionError):
        stopped.run()
    resumed = make_policy_trainer("parts", rl, steps=6, checkpoint_every=2)
    resumed.verifier = AnyEnding()
    resumed.run()
    clock = {"seconds", "rollout_seconds"}
    lines = [[{k: v for k, v in line.items() if k not in clock} for line in metrics_of(t)] for t in (whole, resumed)]
    assert lines[0] == lines[1] and any(line.get("updates") for line in lines[0][2:])
    assert (whole.folder / "responses.jsonl").read_text() == (resumed.folder / "responses.jsonl").read_text()
    for name, value in snapshot(whole.engine.model).items():
        assert torch.equal(value, resumed.engine.model.state_dict()[name]), name


def test_an_optimizer_that_is_reset_forgets_what_earlier_iterations_taught_it(make_policy_trainer, snapshot):
    """The same up to the end of the first iteration, and not behind it."""
    kept, reset = (
        make_policy_trainer(str(again), {"reset_optimizer": again, "max_tokens": 40}, context=160) for again in (False, True)
    )
    weights = []
    for trainer in (kept, reset):
        trainer.verifier = AnyEnding()
        after = []
        trainer.watch = lambda step, metrics, trainer=trainer, after=after: after.append(snapshot(trainer.engine.model)) or {}
        trainer.run()
        weights.append(after)
    same = [all(torch.equal(one[name], other[name]) for name in one) for one, other in zip(*weights)]
    assert same[0] and not same[1]


def test_how_far_the_policy_moves_is_measured_behind_the_first_minibatch(make_policy_trainer):
    """The first one is its own reference: its zeros would make each figure half as large."""
    trainer = make_policy_trainer(steps=1, context=160, rl={"max_tokens": 40, "objective": {"tau": 0.2}})
    trainer.verifier = AnyEnding()
    seen = []
    losses = trainer.objective.losses

    def watched(logp_S, reference_S, response_S, advantage_R, correction_S):
        seen.append((logp_S - reference_S).detach())
        return losses(logp_S, reference_S, response_S, advantage_R, correction_S)

    trainer.update.objective = type("Watched", (), {"losses": staticmethod(watched)})()
    trainer.run()
    (line,) = metrics_of(trainer)
    moved = torch.cat([ratio_S for ratio_S in seen if ratio_S.any()])
    assert line["updates"] == 2 and line["drift"] == pytest.approx(float(moved.abs().mean()), rel=1e-4)
    assert line["kl"] == pytest.approx(float(-moved.mean()), rel=1e-4) and line["tau_rho2"] == pytest.approx(2 * line["pull"])


def test_paused_responses_wait_for_their_group_and_new_problems_fill_the_rest(make_policy_trainer):
    trainer = make_policy_trainer(steps=8, rl={"segment": 4, "max_tokens": 10})
    trainer.run()
    lines = metrics_of(trainer)
    assert lines[0]["groups"] + lines[0]["pending"] == 4 and any(line["pending"] for line in lines)
    assert all(line["groups"] + line["pending"] == 4 for line in lines) and sum(line["groups"] for line in lines) > 4


def test_the_length_reward_waits_for_its_warm_up(make_policy_trainer):
    size = {"prompts": 6, "samples": 8, "max_tokens": 40}
    trainer = make_policy_trainer(steps=4, context=160, rl=size | {"length_reward": {"weight": 0.5, "warm_up": 2}})
    trainer.verifier = AnyEnding()
    trainer.run()
    lines = metrics_of(trainer)
    assert [line["reward"] == line["right"] for line in lines[:2]] == [True, True]
    assert any(line["reward"] != line["right"] for line in lines[2:])


def test_a_loss_that_is_not_finite_is_named_and_costs_no_checkpoint(make_policy_trainer):
    trainer = make_policy_trainer(steps=3, checkpoint_every=1)

    def spoil(step, metrics):
        if step == 1:
            trainer.engine.model.language_model.model.norm.weight.data.fill_(float("nan"))
        return {}

    trainer.watch = spoil
    with pytest.raises(FloatingPointError):
        trainer.run()
    assert json.loads((trainer.folder / "checkpoint" / "progress.json").read_text())["step"] == 2
