"""DPO as a stage: what becomes likelier, what stays, and a stop that costs nothing."""

import json

import pytest
import torch

from kimivl.data.source import Source
from kimivl.engine.engine import Engine
from kimivl.rl.problems import Problems, fingerprint
from kimivl.rl.rollout import Response
from kimivl.rl.shortest import Pair
from kimivl.train.metrics import read_metrics
from kimivl.train.preference_trainer import PreferenceTrainer
from kimivl.train.run import Run

FAST = [{"steps": 50, "start": 2e-3, "end": 2e-3}]


@pytest.fixture
def make_trainer(make_recipe, make_stage, processor, tmp_path):
    """A trainer of a policy that starts at random, with "a" preferred to long words: `make(folder, dpo, **stage)`."""

    def make(folder="stage", dpo=None, pairs=None, **changes) -> PreferenceTrainer:
        changes = {"schedule": FAST, "pack_tokens": 512} | changes
        tries = {"name": "tries", "kind": "sample", "context": 128, "mixture": [{"weights": {"colors": 1}}]}
        tries["sample"] = {"max_tokens": 16}
        run = Run(make_recipe(tries, make_stage("dpo", dpo={"pairs": 4} | (dpo or {}), **changes)), tmp_path / "run")
        stage = run.recipe.stage("dpo")
        engine = Engine(run.builder.kimi_vl(stage), processor, stage.context)
        problems = Problems(Source(run.recipe.data, "colors"), processor)
        found = made_pairs(problems, processor) if pairs is None else pairs
        return PreferenceTrainer(stage, engine, problems, found, tmp_path / folder, seed=3)

    return make


def made_pairs(problems, processor) -> list[Pair]:
    """To each of six pictures a short answer, and two long ones."""

    def response(name: str, sample: int, text: str) -> Response:
        ids = (*processor.tokenizer.encode(text), processor.tokenizer.im_end_id)
        pictures = fingerprint(problems.prompt(name))
        return Response(name, 0, sample, ids, (0.0,) * len(ids), (0,) * len(ids), "stop", pictures)

    words = [("a", "slowly", "very slowly")] * len(problems.truths)
    made = [[response(name, n, word) for n, word in enumerate(of)] for name, of in zip(problems.truths, words)]
    return [Pair(short, long) for short, *longs in made for long in longs]


def metrics_of(trainer: PreferenceTrainer) -> list[dict]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in read_metrics(trainer.folder / "metrics.jsonl")]


@torch.no_grad()
def logps(trainer: PreferenceTrainer) -> torch.Tensor:
    return trainer._logps(list(trainer.responses.values()), trainer._prompts(list(trainer.responses.values())))


def test_probability_moves_from_long_to_short_and_the_balance_bias_stays(make_trainer, snapshot):
    trainer = make_trainer(steps=12)
    before, start = logps(trainer), snapshot(trainer.engine.model)
    trainer.run()
    gain = logps(trainer) - before
    short = torch.tensor([response.sample == 0 for response in trainer.responses.values()])
    assert short.sum() == 6 and len(short) == 18
    assert gain[short].min() > gain[~short].max() + 1
    lines = metrics_of(trainer)
    assert lines[0]["loss"] == pytest.approx(0.693147, abs=1e-5) and lines[-1]["loss"] < 0.6 and lines[-1]["preferred"] == 1
    for name, value in trainer.engine.model.state_dict().items():
        assert torch.equal(value, start[name]) == name.endswith("e_score_correction_bias"), name


def test_the_margin_is_measured_from_the_policy_at_the_start(make_trainer):
    """After the last update, the margin of all pairs by hand: what the log-probabilities have gained since the first."""
    trainer = make_trainer(steps=5, dpo={"pairs": 12}, pack_tokens=4096)
    before = logps(trainer)
    trainer.run()
    after = logps(trainer)
    trainer.stage = trainer.stage.model_copy(update={"steps": 6})
    trainer.run()  # its sixth step sees every pair once, before its own update
    gain = dict(zip(trainer.responses, (after - before).tolist()))
    margins = [gain[pair.chosen.key] - gain[pair.rejected.key] for pair in trainer.pairs]
    assert metrics_of(trainer)[-1]["margin"] == pytest.approx(sum(margins) / 12, abs=1e-4)


def test_a_step_does_not_depend_on_how_its_pairs_are_packed(make_trainer):
    lines = []
    for pack_tokens in (256, 4096):
        trainer = make_trainer(f"{pack_tokens}", steps=2, dpo={"pairs": 12}, pack_tokens=pack_tokens)
        trainer.run()
        lines.append(metrics_of(trainer))
    for small, large in zip(*lines):
        assert small == pytest.approx(large, rel=1e-3, abs=1e-4)


def test_a_stopped_stage_goes_on_from_its_own_reference(make_trainer, snapshot):
    whole = make_trainer("whole", steps=6)
    whole.run()
    stopped = make_trainer("parts", steps=6, checkpoint_every=2)
    stopped.watch = lambda step, metrics: {} if step < 3 else 1 / 0  # dies in its fourth step
    with pytest.raises(ZeroDivisionError):
        stopped.run()
    resumed = make_trainer("parts", steps=6, checkpoint_every=2)
    resumed.run()
    assert metrics_of(whole) == metrics_of(resumed)
    for name, value in snapshot(whole.engine.model).items():
        assert torch.equal(value, resumed.engine.model.state_dict()[name]), name


def test_every_pair_comes_once_an_epoch(make_trainer):
    trainer = make_trainer(steps=3)
    seen = [trainer._pair(number) for number in range(24)]
    assert {pair.rejected.key for pair in seen[:12]} == {pair.rejected.key for pair in trainer.pairs} and seen[:12] != seen[12:]


def test_a_loss_that_is_not_finite_is_named_and_costs_no_checkpoint(make_trainer):
    trainer = make_trainer(steps=3, checkpoint_every=1)

    def spoil(step, metrics):
        if step == 1:
            trainer.engine.model.language_model.model.norm.weight.data.fill_(float("nan"))
        return {}

    trainer.watch = spoil
    with pytest.raises(FloatingPointError, match="stage dpo, step 2: the loss is nan. Samples: colors-"):
        trainer.run()
    assert json.loads((trainer.folder / "checkpoint" / "progress.json").read_text())["step"] == 2


def test_a_stage_without_pairs_is_refused(make_trainer):
    with pytest.raises(ValueError, match="stage dpo: no problem has a right response and a worse one that is longer"):
        make_trainer(pairs=[])
