"""Stages of reinforcement learning, and who chats and is compared: what a recipe may say, and what is refused."""

from typing import Any

import pytest

from kimivl.config.base import ConfigError, parse
from kimivl.config.recipe import RecipeConfig

RL = {"prompts": 4, "max_tokens": 16}


def stage(name: str, kind: str, **more: Any) -> dict[str, Any]:
    values = {"name": name, "kind": kind, "steps": 5, "context": 64, "pack_tokens": 128}
    return values | {"schedule": [{"steps": 5, "start": 0, "end": 1e-3}], "mixture": [{"weights": {"text": 1}}]} | more


def recipe(policy: dict[str, Any] | None = None, **changes: Any) -> RecipeConfig:
    start = {"language": "sft", "vision": "sft"}
    stages = [
        stage("sft", "sft"),
        stage("think", "long_cot", **start),
        stage("rl", **({"kind": "rl", "language": "think", "vision": "think", "rl": RL} | (policy or {}))),
    ]
    values = {"name": "test", "model": "nano", "data": "data", "tokenizer_ranks": 2560, "stages": stages} | changes
    return parse(RecipeConfig, values, "recipe.yaml")


def test_the_defaults_are_the_papers_where_they_name_one():
    settings = recipe().stage("rl").rl
    assert (settings.samples, settings.objective.kind, settings.objective.baseline) == (8, "mirror_descent", "mean")
    assert settings.objective.level == "sequence" and settings.length_reward.weight == 0 and not settings.reset_optimizer


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"rl": None}, "a stage of kind 'rl', and no other, says how under the key rl: {prompts: …, max_tokens: …}"),
        ({"kind": "sft"}, "a stage of kind 'rl', and no other, says how under the key rl"),
        ({"mixture": [{"weights": {"a": 1, "b": 1}}]}, "an rl stage takes its problems from one source, .* names a, b"),
        ({"rl": RL | {"samples": 1}}, "rl.samples: Input should be greater than or equal to 2"),
        ({"rl": RL | {"minibatches": 5}}, "5 minibatches cannot share 4 prompts: raise prompts"),
        ({"rl": RL | {"max_tokens": 64}}, "rl.max_tokens 64 leaves no room for a prompt in the context 64"),
        ({"rl": RL | {"repeat_stop": 2}}, "repeat_stop"),
        ({"rl": RL | {"objective": {"tau": 0}}}, "objective.tau: Input should be greater than 0"),
        ({"rl": RL | {"objective": {"kind": "ppo"}}}, "objective.kind: Input should be 'mirror_descent' or 'imitation'"),
        ({"rl": RL | {"objective": {"kind": "imitation", "tau": 0.1}}}, "imitation has no use for tau, baseline and level"),
        (
            {"rl": RL | {"sampling": {"pass_rates": "sft"}}},
            "pass_rates is 'sft', which is no earlier sample stage on its problems",
        ),
        ({"balance_rate": 0.0, "packs": 2}, "a stage of kind 'rl' has no use for packs, balance_rate"),
        ({"rl": RL | {"length_reward": {"weight": 2}}}, "length_reward.weight: Input should be less than 2"),
        ({"rl": RL | {"sampling": {"floor": 0}}}, "sampling.floor: Input should be greater than 0"),
        ({"rl": RL | {"score": "guess"}}, "rl.score: Input should be"),
        ({"rl": RL | {"segment": 17}}, "segment 17 is above max_tokens 16, so it bounds nothing: leave it out"),
        ({"rl": RL | {"sampling": {"easy_first": 6}}}, "rl.sampling.easy_first 6 lies behind the stage's 5 iterations: lower it"),
        ({"rl": RL | {"sampling": {"warm_up": 6}}}, "rl.sampling.warm_up 6 lies behind the stage's 5 iterations"),
        ({"rl": RL | {"length_reward": {"weight": 1, "warm_up": 6}}}, "rl.length_reward.warm_up 6 lies behind the stage's 5"),
        ({"rl": RL | {"sampling": {"uniform": True, "easy_first": 1}}}, "uniform draws every problem equally often: leave out"),
        ({"rl": RL | {"rollouts": {"kind": "ray", "wrkers": 2}}}, "wrkers: unknown key; did you mean 'workers'"),
        ({"rl": RL | {"rollouts": {"kind": "native", "zzz": 2}}}, "zzz: unknown key; known keys: kind"),
    ],
)
def test_a_policy_that_cannot_be_trained_is_refused(policy, words):
    with pytest.raises(ConfigError, match=words):
        recipe(policy)


def test_the_last_stage_chats_unless_another_is_named():
    assert recipe().answering == "rl" and recipe(chat_stage="sft").answering == "sft"
    with pytest.raises(ConfigError, match="chat_stage is 'sfd', but the stages with a language model are: sft, think, rl"):
        recipe(chat_stage="sfd")


def test_the_stages_that_are_compared_are_known_and_their_problems_are_asked_for():
    thinking = {"source": "problems", "direct": "sft", "sft": "think", "rl": "rl", "max_new_tokens": 8}
    loaded = recipe(evaluation={"thinking": thinking})
    assert loaded.evaluation.thinking.arms == {"direct": "sft", "sft": "think", "rl": "rl"}
    assert loaded.held_out_files == (("problems", "test"),)
    with pytest.raises(ConfigError, match="evaluation.thinking.rl_uniform is 'other'"):
        recipe(evaluation={"thinking": thinking | {"rl_uniform": "other"}})
    with pytest.raises(ConfigError, match="budgets"):
        recipe(evaluation={"thinking": thinking | {"budgets": [8, 4]}})
