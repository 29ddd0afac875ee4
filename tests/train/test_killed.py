"""`kill -9` at any moment, in a real process, costs nothing but time: every loss is that of a run that was never killed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import kimivl
from kimivl.config.recipe import RecipeConfig
from kimivl.model.layout import stored_tensors
from kimivl.train.metrics import read_metrics
from kimivl.train.run import Run

CHILD = """
import sys
from pathlib import Path
import torch
from kimivl.config.recipe import RecipeConfig
from kimivl.train.run import Run
torch.set_num_threads(1)
Run(RecipeConfig.model_validate_json(Path(sys.argv[1]).read_text()), Path(sys.argv[2])).train()
"""
EVERY, STEPS = 4, 40  # steps between checkpoints, and of a stage


@pytest.fixture(scope="module")
def recipe(make_recipe, make_stage) -> RecipeConfig:
    """Two stages whose mixture and resolution change on the way; long documents are cut, so a kill falls inside them."""
    changing = [{"at": 0, "weights": {"text": 1}}, {"at": 1, "weights": {"text": 1, "captions": 3}}]
    size = {"steps": STEPS, "checkpoint_every": EVERY, "context": 48, "packs": 2, "balance_rate": 0.01}
    first = make_stage("text", **size)
    rising = [{"at": 0, "patches": 8}, {"at": 0.5, "patches": 64}]
    second = make_stage("joint", language="text", mixture=changing, resolution=rising, **size)
    return make_recipe(first, second, held_out_text={"source": "text", "samples": 2, "every": 7})


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory) -> Run:
    """The run that nobody kills."""
    run = Run(recipe, tmp_path_factory.mktemp("whole") / "run")
    run.train()
    return run


def lines(folder: Path, stage: str) -> list[dict]:
    """A stage's metrics without what a clock says."""
    path = folder / "stages" / stage / "metrics.jsonl"
    return (
        [{key: value for key, value in line.items() if key != "seconds"} for line in read_metrics(path)] if path.exists() else []
    )


def train_until_killed(folder: Path, recipe_file: Path, stage: str, step: int, delay: float) -> None:
    """Starts the run in a process of its own and kills it `delay` seconds after it has written `step` steps of `stage`."""
    source = str(Path(kimivl.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, str(recipe_file), str(folder)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while process.poll() is None and len(lines(folder, stage)) < step and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(delay)
    process.kill()
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, f"the process was not killed in time: {errors.decode()}"


def test_a_run_that_was_killed_again_and_again_ends_with_the_losses_and_weights_of_one_that_was_not(recipe, whole, tmp_path):
    """Before the first checkpoint, once after it in the first stage and twice in the second, each time at a random moment."""
    rng, folder = random.Random(), tmp_path / "run"
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    for stage, first, last in (("text", 1, EVERY - 2), ("text", EVERY + 1, 26), ("joint", EVERY + 1, 14), ("joint", 18, 26)):
        step, delay = rng.randint(first, last), rng.uniform(0, 0.05)
        print(f"killed in {stage}, {delay:.3f} s after step {step}")  # shown when the test fails
        train_until_killed(folder, tmp_path / "recipe.json", stage, step, delay)
        assert (folder / "stages" / stage).exists() and not (folder / "stages" / stage / "finished.json").exists()
        assert lines(folder, stage) == lines(whole.folder, stage)[: len(lines(folder, stage))]
    assert (folder / "stages" / "text" / "finished.json").exists()

    Run(recipe, folder).train()
    for stage in ("text", "joint"):
        assert lines(folder, stage) == lines(whole.folder, stage) and len(lines(folder, stage)) == STEPS
        models = [dict(stored_tensors(run / "stages" / stage / "model")) for run in (folder, whole.folder)]
        assert models[0].keys() == models[1].keys()
        assert all(tensor.equal(models[1][name]) for name, tensor in models[0].items())
        left = {path.name for path in (folder / "stages" / stage).iterdir()}
        assert left == {"model", "metrics.jsonl", "finished.json"}
