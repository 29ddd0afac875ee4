"""A recipe names who writes its responses; the run is the same whoever it is."""

import pytest
import torch

from kimivl.config.base import ConfigError
from kimivl.engine.engine import Engine
from kimivl.model.layout import load_model
from kimivl.rl.verifier import Verifier
from kimivl.train.metrics import read_metrics
from kimivl.train.run import Run
from tests.rl.server import Served

RL = {"prompts": 2, "samples": 4, "max_tokens": 40, "minibatches": 1}


@pytest.fixture
def trained(make_recipe, make_stage, tmp_path, monkeypatch):
    """A finished run of two iterations, in the folder of its engine's kind. Whatever ends by itself is right."""
    monkeypatch.setattr(Verifier, "right", lambda self, texts, truth: [True] * len(texts))

    def make(kind, **rollouts):
        stage = make_stage("rl", steps=2, context=160, rl=RL | {"rollouts": {"kind": kind, **rollouts}})
        run = Run(make_recipe(stage), tmp_path / kind)
        run.train()
        return run

    return make


def updates(run):
    return [line["updates"] for line in read_metrics(run.stages_folder / "rl" / "metrics.jsonl")]


def test_two_ray_workers_train_the_policy_that_one_engine_trains(trained):
    pytest.importorskip("ray", reason="the package ray is not installed: pip install 'kimivl[ray]'")
    import ray

    runs = trained("native"), trained("ray", workers=2)
    assert not ray.is_initialized()
    texts = [(run.stages_folder / "rl" / "responses.jsonl").read_text() for run in runs]
    assert texts[0] == texts[1] and all(sum(updates(run)) for run in runs)
    first, second = (load_model(run.stages_folder / "rl" / "model").state_dict() for run in runs)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-3, atol=1e-4)


def test_a_run_goes_through_a_server_that_a_recipe_names(trained, make_recipe, make_stage, tmp_path, processor, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "a key")
    other = Run(make_recipe(make_stage("rl", rl=RL), seed=4), tmp_path / "other")  # other weights, until the first update
    with Served(Engine(other.builder.kimi_vl(other.recipe.stages[0]), processor)) as server:
        run = trained(
            "remote", url=server.address("/v1"), model="m", protocol="chat", update_url=server.address("/collective_rpc"),
            update_body={"kwargs": {"weights_path": "{folder}"}}, canary_gap=1e-3,
            reset_urls=[server.address("/reset_prefix_cache"), server.address("/reset_encoder_cache")],
        )  # fmt: skip
    lines = read_metrics(run.stages_folder / "rl" / "metrics.jsonl")
    assert [line["engine_gap"] <= 1e-4 for line in lines] == [True, True] and sum(updates(run))
    assert server.paths.count("/collective_rpc") == 2
    assert Run(run.recipe, run.folder).is_finished(run.recipe.stages[0])  # the folder's own record reads as this recipe
    served = load_model(run.stages_folder / "rl" / "served").state_dict()
    for name, value in server.engine.model.state_dict().items():
        assert torch.equal(value, served[name]), name


@pytest.mark.parametrize(
    ("rollouts", "words"),
    [
        ({"kind": "vllm"}, "rollouts.*native"),
        ({"kind": "ray", "workers": 0}, "workers"),
        ({"kind": "native", "workers": 2}, "workers"),
        ({"kind": "remote", "url": "localhost:8000", "model": "m", "protocol": "chat"}, "begins with http"),
    ],
)
def test_what_no_engine_is_is_refused_when_the_recipe_is_read(make_recipe, make_stage, rollouts, words):
    with pytest.raises(ConfigError, match=f"(?s){words}"):
        make_recipe(make_stage("rl", rl=RL | {"rollouts": rollouts}))
