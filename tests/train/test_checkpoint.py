"""Checkpoints: the same bits come back, a fault is named, and a full disk or a dying process never costs the last good one."""

import json
import os
import resource
import subprocess
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from kimivl.data.plan import PlanState
from kimivl.model.layout import CheckpointError
from kimivl.train.checkpoint import Progress, load_checkpoint, save_checkpoint
from kimivl.train.metrics import read_metrics
from kimivl.train.run import Run
from kimivl.train.trainer import Trainer

PROGRESS = Progress(7, 1.5, asdict(PlanState({"text": 3}, {"text": 1}, {"text": 0.1, "captions": -1e-17})))


@pytest.fixture
def trained(make_trainer) -> Trainer:
    trainer = make_trainer("joint")
    trainer.run()
    return trainer


@pytest.fixture
def saved(trained, tmp_path) -> Path:
    save_checkpoint(tmp_path / "checkpoint", trained.task.model, trained.optimizer, PROGRESS)
    return tmp_path / "checkpoint"


def load(folder: Path, trainer: Trainer) -> Progress | None:
    return load_checkpoint(folder, trainer.task.model, trainer.optimizer)


def test_the_same_bits_come_back(trained, saved, make_trainer, snapshot, moved):
    fresh = make_trainer("joint", recipe={"seed": 4})
    before = snapshot(fresh.task.model)
    assert load(saved, fresh) == PROGRESS
    assert moved(before, fresh.task.model.state_dict())
    assert not moved(trained.task.model.state_dict(), fresh.task.model.state_dict())
    assert not moved(trained.optimizer.state_dict_by_name(), fresh.optimizer.state_dict_by_name())


def test_a_checkpoint_holds_balance_biases_momenta_and_the_step(trained, saved, make_trainer):
    """What a resumed run would miss first."""
    fresh = make_trainer("joint")
    load(saved, fresh)
    state = fresh.optimizer.state_dict_by_name()
    biases = [tensor for name, tensor in fresh.task.model.named_buffers() if name.endswith("e_score_correction_bias")]
    assert len(biases) == 2 and all(bias.abs().sum() > 0 for bias in biases)
    assert int(state["step"]) == 3
    assert {name.rsplit(".", 1)[1] for name in state if name != "step"} == {"momentum", "exp_avg", "exp_avg_sq"}
    assert all(tensor.abs().sum() > 0 for name, tensor in state.items() if name.endswith("weight.momentum"))


def test_without_a_checkpoint_nothing_is_loaded(make_trainer, tmp_path, snapshot, moved):
    trainer = make_trainer("joint")
    before = snapshot(trainer.task.model)
    assert load(tmp_path / "checkpoint", trainer) is None and not moved(before, trainer.task.model.state_dict())


def test_a_new_checkpoint_replaces_the_old_one(trained, saved):
    save_checkpoint(saved, trained.task.model, trained.optimizer, Progress(8, 2.0, {}))
    assert load(saved, trained) == Progress(8, 2.0, {})
    assert sorted(path.name for path in saved.parent.iterdir() if "checkpoint" in path.name) == ["checkpoint"]


def test_a_process_that_died_between_the_two_renames_has_lost_nothing(trained, saved):
    """The old checkpoint stands under its set-aside name then, and the new one is not yet called `checkpoint`."""
    saved.rename(saved.with_name(".checkpoint.previous"))
    assert load(saved, trained) == PROGRESS
    assert saved.is_dir() and not saved.with_name(".checkpoint.previous").exists()


# Damage, and checkpoints of something else


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


DAMAGE = {
    "weights cut short": (lambda folder: cut_short(folder / "model" / "model.safetensors"), "model.safetensors is damaged"),
    "weights missing": (lambda folder: (folder / "model" / "model.safetensors").unlink(), "not a folder of weights"),
    "optimizer cut short": (lambda folder: cut_short(folder / "optimizer.safetensors"), ""),
    "optimizer missing": (lambda folder: (folder / "optimizer.safetensors").unlink(), "optimizer.safetensors"),
    "progress missing": (lambda folder: (folder / "progress.json").unlink(), "progress.json"),
    "progress cut short": (lambda folder: (folder / "progress.json").write_text('{"step": 7, "sec'), ""),
    "progress without a stream": (lambda folder: (folder / "progress.json").write_text('{"step": 7, "seconds": 1}'), "state"),
    "progress of another form": (lambda folder: (folder / "progress.json").write_text("[7]"), ""),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_named_with_the_fix(trained, saved, kind):
    damage, words = DAMAGE[kind]
    damage(saved)
    message = rf"(?s)checkpoint .*/checkpoint cannot be resumed: .*{words}.*Delete it to start the stage anew"
    with pytest.raises(CheckpointError, match=message):
        load(saved, trained)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("model", "wrong shape: .*wrong checkpoint for the config"),
        ("optimizer", "the saved optimizer state does not fit: missing: .*exp_avg"),
        ("trained part", "the saved optimizer state does not fit: unknown: language_model"),
    ],
)
def test_a_checkpoint_of_another_model_or_optimizer_is_refused(saved, make_trainer, make_recipe, what, words):
    other = {
        "model": lambda: make_trainer("joint", recipe={"model": make_recipe().model_config_.with_text(intermediate_size=64)}),
        "optimizer": lambda: make_trainer("joint", optimizer={"kind": "adamw"}),
        "trained part": lambda: make_trainer("align"),
    }[what]()
    with pytest.raises(CheckpointError, match=rf"(?s)checkpoint .* cannot be resumed: .*{words}"):
        load(saved, other)


# Full disks


@contextmanager
def small_disk(folder: Path, size: int):
    """A file system of `size` bytes at `folder`."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def small_files(size: int):
    """No file may grow beyond `size` bytes: writing fails as on a full disk, and anyone may set this limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_full_disk_leaves_the_last_good_checkpoint_and_nothing_else(trained, saved, tmp_path, snapshot, share):
    """The disk holds one checkpoint and a share of the next: the weights or the optimizer's state no longer fit."""
    disk, size = tmp_path / "disk", size_of(saved)
    with small_disk(disk, int((1 + share) * size) + 100_000):
        folder = disk / "checkpoint"
        save_checkpoint(folder, trained.task.model, trained.optimizer, PROGRESS)
        good = files(folder)
        (disk / "ballast").write_bytes(b"x" * 100_000)
        with torch.no_grad():
            next(trained.task.model.parameters()).zero_()
        with pytest.raises(OSError, match=rf"could not write {folder}: [^.]*No space left on device.*free some space"):
            save_checkpoint(folder, trained.task.model, trained.optimizer, Progress(9, 9.0, {}))
        assert files(folder) == good and sorted(os.listdir(disk)) == ["ballast", "checkpoint"]
        assert load(folder, trained) == PROGRESS


@pytest.mark.parametrize("file", ["model", "optimizer.safetensors"])
def test_a_file_that_cannot_grow_leaves_the_last_good_checkpoint_and_nothing_else(trained, saved, tmp_path, file):
    good, limit = files(saved), size_of(saved / "model") + (-1000 if file == "model" else 1000)
    with small_files(limit), pytest.raises(OSError, match=rf"could not write {saved}: [^.]*File too large"):
        save_checkpoint(saved, trained.task.model, trained.optimizer, Progress(9, 9.0, {}))
    assert files(saved) == good and not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert load(saved, trained) == PROGRESS


def test_training_goes_on_after_the_disk_was_full(make_trainer, tmp_path):
    """The second checkpoint does not fit. With space made, the same stage ends with the losses of one that never stopped."""
    whole = make_trainer("joint", folder=tmp_path / "whole", steps=4)
    whole.run()
    losses = [line["loss"] for line in read_metrics(tmp_path / "whole" / "metrics.jsonl")]
    save_checkpoint(tmp_path / "size", whole.task.model, whole.optimizer, PROGRESS)
    disk = tmp_path / "disk"
    with small_disk(disk, int(1.5 * size_of(tmp_path / "size"))):
        folder = disk / "stage"
        with pytest.raises(OSError, match=rf"could not write {folder}/checkpoint: [^.]*No space left on device"):
            make_trainer("joint", folder=folder, steps=4, checkpoint_every=1).run()
        assert sorted(os.listdir(folder)) == ["checkpoint", "metrics.jsonl"]
        assert json.loads((folder / "checkpoint" / "progress.json").read_text())["step"] == 1
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        make_trainer("joint", folder=folder, steps=4, checkpoint_every=1).run()
        assert [line["loss"] for line in read_metrics(folder / "metrics.jsonl")] == losses


def test_a_disk_that_is_full_at_the_end_of_a_stage_costs_none_of_its_steps(make_recipe, make_stage, make_trainer, tmp_path):
    """There is room for the last checkpoint and not for the model beside it."""
    recipe = make_recipe(make_stage("joint", steps=3))
    whole = Run(recipe, tmp_path / "whole")
    whole.train()
    make_trainer("joint", folder=tmp_path / "stage", steps=3).run()
    needed = size_of(tmp_path / "stage") + size_of(tmp_path / "whole" / "processor")
    disk = tmp_path / "disk"
    with small_disk(disk, needed + size_of(tmp_path / "whole" / "stages" / "joint" / "model") // 2):
        folder = disk / "run" / "stages" / "joint"
        with pytest.raises(OSError, match=rf"could not write {folder}/model: [^.]*No space left on device.*free some space"):
            Run(recipe, disk / "run").train()
        trained = read_metrics(folder / "metrics.jsonl")
        assert sorted(os.listdir(folder)) == ["checkpoint", "metrics.jsonl"] and len(trained) == 3
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        Run(recipe, disk / "run").train()
        assert sorted(os.listdir(folder)) == ["finished.json", "metrics.jsonl", "model"]
        assert read_metrics(folder / "metrics.jsonl") == trained  # their seconds too: no step was made again
        weights = [run / "stages" / "joint" / "model" / "model.safetensors" for run in (tmp_path / "whole", disk / "run")]
        assert weights[0].read_bytes() == weights[1].read_bytes()
