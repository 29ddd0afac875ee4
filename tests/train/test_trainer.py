"""The training loop: what moves and what stays, sums over packs, the schedule, balance, bad numbers, and resumption."""

import json
import math
import time

import pytest
import torch

from kimivl.data.source import Source
from kimivl.model.moe import Router
from kimivl.train.checkpoint import CheckpointError
from kimivl.train.metrics import read_metrics
from tests.pieces import Piece, pack, pieces_of

LANGUAGE, VISION, PROJECTOR = "language_model.", "vision_tower.", "multi_modal_projector."


def pieces(data, processor, source: str, rows: range) -> list[Piece]:
    opened = Source(data, source)
    return [piece for row in rows for piece in pieces_of(opened[row], source, processor, 96)]


def metrics(trainer) -> list[dict]:
    return read_metrics(trainer.folder / "metrics.jsonl")


# What trains


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("text", {LANGUAGE}),
        ("align", {VISION, PROJECTOR}),
        ("joint", {LANGUAGE, VISION, PROJECTOR}),
        ("cooldown", {LANGUAGE, VISION, PROJECTOR}),
        ("sft", {LANGUAGE, VISION, PROJECTOR}),
    ],
)
def test_a_stage_moves_only_its_own_parts_to_the_bit(make_trainer, snapshot, moved, kind, parts):
    trainer = make_trainer(kind)
    before = snapshot(trainer.task.model)
    trainer.run()
    changed = moved(before, trainer.task.model.state_dict())
    own = {name for name in before if name.startswith(tuple(parts))}
    assert changed <= own
    still = {name for name in own - changed if "bias" not in name}  # a bias may have no gradient, all else decays at least
    assert not still


def test_stage_1_moves_every_part_of_its_model(make_trainer, snapshot, moved):
    trainer = make_trainer("vit")
    before = snapshot(trainer.task.model)
    trainer.run()
    parts = {name.split(".")[0] for name in moved(before, trainer.task.model.state_dict())}
    assert parts == {
        "vision_tower",
        "image_head",
        "text_encoder",
        "logit_scale",
        "logit_bias",
        "multi_modal_projector",
        "language_model",
    }


def test_adamw_can_train_everything(make_trainer):
    trainer = make_trainer("text", optimizer={"kind": "adamw", "weight_decay": 0.02})
    assert not trainer.optimizer.param_groups[0]["params"] and {
        group["weight_decay"] for group in trainer.optimizer.param_groups
    } == {0.02}
    trainer.run()
    assert metrics(trainer)[-1]["loss"] < metrics(trainer)[0]["loss"]


# Sums over packs


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_several_packs_give_the_step_of_one_big_pack(make_trainer, processor, data, snapshot, optimizer):
    """Loss, gradient and weights do not depend on how a step's samples are packed, however uneven the packs are."""
    samples = pieces(data, processor, "text", range(4)) + pieces(data, processor, "captions", range(3))
    ways = {"one": [samples], "even": [samples[:4], samples[4:]], "uneven": [samples[:1], samples[1:6], samples[6:]]}
    results = {}
    for name, packs in ways.items():
        trainer = make_trainer("joint", given=[pack(each) for each in packs], steps=1, optimizer={"kind": optimizer})
        trainer.run()
        results[name] = (metrics(trainer)[0], snapshot(trainer.task.model), trainer.optimizer.state_dict_by_name())
    one, weights, state = results.pop("one")
    # Newton–Schulz rounds to bf16 and lifts the smallest directions, so a gradient's last bit can be a tenth of an update.
    tolerance = {"adamw": 1e-6, "muon": 1e-4}[optimizer]
    compared = 0
    for other, other_weights, other_state in results.values():
        for key in ("loss", "loss/text", "loss/captions", "grad_norm"):
            assert other[key] == pytest.approx(one[key], rel=1e-6)
        assert [other[key] for key in ("tokens", "patches", "max_load")] == [
            one[key] for key in ("tokens", "patches", "max_load")
        ]
        for name, tensor in state.items():  # after one step the momenta are the gradients, scaled
            torch.testing.assert_close(other_state[name], tensor, rtol=1e-5, atol=1e-7)
        for name, tensor in weights.items():
            # AdamW enlarges the rounding errors of gradients that are nearly zero: all of keys' biases, a few others.
            mean = state.get(f"{name}.exp_avg")
            clear = mean.abs() > 1e-6 if mean is not None else torch.ones_like(tensor, dtype=torch.bool)
            compared += int(clear.sum())
            torch.testing.assert_close(other_weights[name][clear], tensor[clear], rtol=0, atol=tolerance)
    assert compared > 0.5 * len(results) * sum(tensor.numel() for tensor in weights.values())


def test_the_loss_of_a_step_weighs_every_token_alike(make_trainer, processor, data):
    """The mean over all supervised tokens, not the mean of the packs' means: computed here sample by sample."""
    samples = pieces(data, processor, "text", range(5))
    trainer = make_trainer("text", given=[pack(samples[:4]), pack(samples[4:])], steps=1)
    total = count = 0.0
    with torch.no_grad():
        for sample in samples:
            alone = pack([sample])
            output = trainer.task.model(alone.ids_T, alone.segments)
            log_TV = trainer.task.model.language_model.logits(output.hidden_TD).double().log_softmax(-1)
            total -= float(log_TV[torch.arange(len(sample.ids)), alone.labels_T].sum())
            count += len(sample.ids)
    trainer.run()
    assert metrics(trainer)[0]["loss"] == pytest.approx(total / count, rel=1e-6)


# Schedule and metrics


def test_the_rate_follows_the_schedule_from_where_the_stage_stands_in_it(make_trainer):
    """Two steps up to 1e-3, four down on a cosine, then at its end: by hand from step 1 on."""
    schedule = [{"steps": 2, "start": 0, "end": 1e-3}, {"steps": 4, "start": 1e-3, "end": 1e-4, "shape": "cosine"}]
    schedule += [{"steps": 2, "start": 1e-4, "end": 1e-4}]
    trainer = make_trainer("text", schedule=schedule, schedule_start=1, steps=7)
    trainer.run()
    cosine = [1e-4 + 9e-4 * (1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)]
    assert [line["lr"] for line in metrics(trainer)] == pytest.approx([0.5e-3, *cosine, 1e-4, 1e-4])


def test_a_step_is_described_completely(make_trainer):
    trainer = make_trainer("joint", steps=22, packs=2)
    seen = []
    trainer.watch = lambda step, values: seen.append((step, values["loss"])) or {"note": step * 10}
    progress = trainer.run()
    lines = metrics(trainer)
    assert [line["step"] for line in lines] == list(range(22)) == [step for step, _ in seen]
    assert [line["loss"] for line in lines] == [loss for _, loss in seen]
    assert [line["note"] for line in lines] == [step * 10 for step in range(22)]
    assert all({"loss/text", "loss/captions", "grad_norm", "tokens", "patches", "seconds"} <= line.keys() for line in lines)
    assert [line["step"] for line in lines if "update_rms" in line] == [0, 20]
    assert progress.step == 22 and progress.seconds >= sum(line["seconds"] for line in lines)
    assert all(128 < line["tokens"] <= 256 and line["patches"] <= 128 for line in lines)


# The balance rule


def biases(trainer) -> list[torch.Tensor]:
    return [module.e_score_correction_bias for module in trainer.task.model.modules() if isinstance(module, Router)]


def count_loads(trainer) -> list[torch.Tensor]:
    """Tokens per expert of each router, int64 [E], filled as the trainer runs."""
    routers = [module for module in trainer.task.model.modules() if isinstance(module, Router)]
    counts = [torch.zeros(4, dtype=torch.int64) for _ in routers]

    def count(router, inputs, routing) -> None:
        counts[routers.index(router)] += routing.experts_TK.flatten().bincount(minlength=4)

    for router in routers:
        router.register_forward_hook(count)
    return counts


def test_balance_biases_move_toward_underused_experts_and_keep_their_sum(make_trainer):
    """By the load of the whole step, here two packs: up below the mean, down above it, the mean of the moves taken off."""
    trainer = make_trainer("joint", steps=1, packs=2, balance_rate=0.01)
    counts = count_loads(trainer)
    trainer.run()
    for count, bias in zip(counts, biases(trainer)):
        moves = torch.sign(count.double().mean() - count)
        torch.testing.assert_close(bias.double(), 0.01 * (moves - moves.mean()), rtol=0, atol=1e-8)
        assert bias.abs().sum() > 0 and abs(float(bias.sum())) < 1e-8
        assert bias[count.argmin()] > 0 > bias[count.argmax()]
    assert metrics(trainer)[0]["max_load"] == pytest.approx(max(float(count.max() / count.double().mean()) for count in counts))


@pytest.mark.parametrize(("kind", "rate"), [("joint", 0.0), ("align", 0.01)])
def test_balance_biases_stay_where_they_are_without_a_rate_and_in_alignment(make_trainer, kind, rate):
    trainer = make_trainer(kind, balance_rate=rate)
    start = torch.tensor([0.25, -0.5, 0.125, 0.125])
    for bias in biases(trainer):
        bias.copy_(start)
    trainer.run()
    assert len(biases(trainer)) == 2 and all(torch.equal(bias, start) for bias in biases(trainer))


# Numbers that are not finite


def test_a_loss_that_is_not_finite_names_stage_step_and_samples(make_trainer, tmp_path):
    trainer = make_trainer("text", steps=5, checkpoint_every=2)

    def spoil(step: int, values: dict) -> dict:
        if step == 2:
            with torch.no_grad():
                trainer.task.model.language_model.lm_head.weight[7] = torch.inf
        return {}

    trainer.watch = spoil
    with pytest.raises(FloatingPointError, match=r"stage text, step 3: the loss is (nan|inf)\. Samples: text-\d+, .*lower the"):
        trainer.run()
    assert [line["step"] for line in metrics(trainer)] == [0, 1, 2]
    assert (trainer.folder / "checkpoint" / "progress.json").exists()


def test_a_gradient_that_is_not_finite_is_refused_before_it_reaches_the_weights(make_trainer, snapshot, moved):
    """The loss can be finite though its gradient is not: the checkpoint of the same step would be lost for good."""
    trainer = make_trainer("text", steps=3, checkpoint_every=1)
    trainer.run()
    again = make_trainer("text", steps=5, checkpoint_every=1)
    before = {}

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        before.update(snapshot(again.task.model))
        return gradient * torch.inf

    again.task.model.language_model.lm_head.weight.register_hook(spoil)
    with pytest.raises(FloatingPointError, match=r"stage text, step 3: the gradient norm is inf\. Samples: text-\d+.*lower the"):
        again.run()
    assert not moved(before, again.task.model.state_dict())
    fresh = make_trainer("text", steps=5)
    assert fresh.run().step == 5  # from the last checkpoint, which is good


# Resumption


class Stop(Exception):
    """What ends a run between two steps here; `test_killed.py` kills processes."""


@pytest.mark.parametrize("kind", ["joint", "vit", "sft"])
@pytest.mark.parametrize("stopped_after", [3, 4, 6])
def test_a_stopped_stage_ends_as_if_it_had_never_stopped(make_trainer, tmp_path, snapshot, moved, kind, stopped_after):
    """Steps 0 … 8 with checkpoints after 2, 4, 6, 8; also across the change of resolution and of the mixture."""
    changes = {"steps": 9, "checkpoint_every": 2, "resolution": [{"at": 0, "patches": 16}, {"at": 0.6, "patches": 64}]}
    whole = make_trainer(kind, folder=tmp_path / "whole", **changes)
    whole.run()

    def stop(step: int, values: dict) -> dict:
        if step == stopped_after:
            raise Stop
        return {}

    with pytest.raises(Stop):
        make_trainer(kind, folder=tmp_path / "stopped", watch=stop, **changes).run()
    second = make_trainer(kind, folder=tmp_path / "stopped", **changes)
    second.run()
    keep = ("step", "loss", "siglip", "grad_norm", "max_load", "tokens", "patches", "lr")
    expected, found = ([{key: line.get(key) for key in keep} for line in metrics(trainer)] for trainer in (whole, second))
    assert found == expected
    assert not moved(whole.task.model.state_dict(), second.task.model.state_dict())
    assert not moved(whole.optimizer.state_dict_by_name(), second.optimizer.state_dict_by_name())


def test_a_step_that_is_made_again_with_other_data_is_refused(make_trainer, tmp_path):
    """Stopped in step 3 with a checkpoint before step 2: step 2 is made again, and its line tells what it read at first."""
    settings = {"folder": tmp_path / "stage", "steps": 5, "checkpoint_every": 2}
    with pytest.raises(ZeroDivisionError):
        make_trainer("text", watch=lambda step, values: {} if step < 3 else 1 / 0, **settings).run()
    path = tmp_path / "stage" / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2] and len({line["data_digest"] for line in lines}) == 3
    digest = lines[2]["data_digest"]
    path.write_text(path.read_text().replace(digest, "00"))
    for _ in range(2):  # the second try does not go on either
        with pytest.raises(CheckpointError, match="stage text, step 2: it reads other data than before the run was interrupted"):
            make_trainer("text", **settings).run()
    kept = path.with_name("metrics.interrupted.jsonl")
    kept.write_text(kept.read_text().replace('"00"', f'"{digest}"'))
    assert make_trainer("text", **settings).run().step == 5 and not kept.exists()


def test_the_seconds_of_a_stage_are_those_of_all_its_processes(make_trainer):
    """A checkpoint knows the time of every step before it and of what was done between them; a resumed run goes on from it."""

    def wait(step: int, values: dict) -> dict:
        time.sleep(0.01)
        return {}

    trainer = make_trainer("text", steps=4, watch=wait)
    start = time.perf_counter()
    first = trainer.run()
    assert sum(line["seconds"] for line in metrics(trainer)) + 4 * 0.01 <= first.seconds <= time.perf_counter() - start
    saved = json.loads((trainer.folder / "checkpoint" / "progress.json").read_text())["seconds"]
    assert saved == first.seconds
    again = make_trainer("text", steps=5)
    start = time.perf_counter()
    assert saved < again.run().seconds <= saved + time.perf_counter() - start


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_matrices_are_orthogonalised_in_the_dtype_of_the_model(make_trainer, dtype):
    assert make_trainer("text", recipe={"dtype": dtype}).optimizer._ns_dtype == getattr(torch, dtype)


def test_the_last_step_is_kept_until_the_model_is_written(make_trainer):
    """Writing it can fail, and must then not cost the stage."""
    trainer = make_trainer("text", steps=5, checkpoint_every=2)
    trainer.run()
    assert json.loads((trainer.folder / "checkpoint" / "progress.json").read_text())["step"] == 5
