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
from kimivl.config.model import preset
from kimivl.config.recipe import RecipeConfig
from kimivl.data.log import Entry
from kimivl.model.layout import stored_tensors
from kimivl.train.data_changes import change_mixture
from kimivl.train.metrics import read_metrics
from kimivl.train.run import Run

CHILD = """
import sys
from pathlib import Path
import torch
from kimivl.config.recipe import RecipeConfig
from kimivl.train.run import Run
torch.set_num_threads(int(sys.argv[3]))
Run(RecipeConfig.model_validate_json(Path(sys.argv[1]).read_text()), Path(sys.argv[2])).train()
"""
EVERY, STEPS = 4, 40  # steps between checkpoints, and of a stage
CHANGED, OTHER = 32, {"captions": 1.0, "text": 5.0}  # when the mixture becomes another one


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
    """The run that nobody kills. Its mixture is known to change at a step of the second stage."""
    run = Run(recipe, tmp_path_factory.mktemp("whole") / "run")
    run.data_log(recipe.stage("joint")).append(Entry(step=CHANGED, weights=OTHER))
    run.train()
    return run


def lines(folder: Path, stage: str) -> list[dict]:
    """A stage's metrics without what a clock says."""
    path = folder / "stages" / stage / "metrics.jsonl"
    written = read_metrics(path) if path.exists() else []
    return [{key: value for key, value in line.items() if not key.endswith("seconds")} for line in written]


def start(folder: Path, recipe_file: Path, threads: int) -> subprocess.Popen:
    """The run in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(Path(kimivl.__file__).parents[1]), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-c", CHILD, str(recipe_file), str(folder), str(threads)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def train_until_killed(folder: Path, recipe_file: Path, stage: str, step: int, delay: float, threads: int = 1) -> None:
    """Starts the run and kills it `delay` seconds after it has written `step` steps of `stage`."""
    process = start(folder, recipe_file, threads)
    deadline = time.monotonic() + 60
    while process.poll() is None and len(lines(folder, stage)) < step and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(delay)
    process.kill()
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, f"the process was not killed in time: {errors.decode()}"


def test_a_run_that_was_killed_again_and_again_ends_with_the_losses_and_weights_of_one_that_was_not(recipe, whole, tmp_path):
    """Before the first checkpoint, once after it in the first stage and twice in the second, each time at a random moment; then
    the mixture is changed."""
    rng, folder = random.Random(), tmp_path / "run"
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    for stage, first, last in (("text", 1, EVERY - 2), ("text", EVERY + 1, 26), ("joint", EVERY + 1, 14), ("joint", 18, 26)):
        step, delay = rng.randint(first, last), rng.uniform(0, 0.05)
        print(f"killed in {stage}, {delay:.3f} s after step {step}")  # shown when the test fails
        train_until_killed(folder, tmp_path / "recipe.json", stage, step, delay)
        assert (folder / "stages" / stage).exists() and not (folder / "stages" / stage / "finished.json").exists()
        assert lines(folder, stage) == lines(whole.folder, stage)[: len(lines(folder, stage))]
    assert (folder / "stages" / "text" / "finished.json").exists()
    assert change_mixture(folder, "joint", OTHER, CHANGED) == CHANGED

    Run(recipe, folder).train()
    for stage in ("text", "joint"):
        assert len(lines(folder, stage)) == STEPS
        more = ("data_log.jsonl",) if stage == "joint" else ()
        assert_equal(folder / "stages" / stage, whole.folder / "stages" / stage, *more)


def test_reinforcement_learning_goes_on_with_the_same_problems_and_draws(make_recipe, make_stage, tmp_path):
    """Killed before its first checkpoint and twice behind one, with responses that wait for the next iteration."""
    rng, folder = random.Random(), tmp_path / "killed"
    fast = [{"steps": 100, "start": 5e-3, "end": 5e-3}]
    rl = {"prompts": 4, "samples": 4, "max_tokens": 12, "segment": 4, "minibatches": 2, "length_reward": {"weight": 0.2}}
    recipe = make_recipe(
        make_stage("sft", steps=30, schedule=fast),
        make_stage("rl", language="sft", vision="sft", steps=STEPS, checkpoint_every=EVERY, rl=rl),
    )
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    whole = Run(recipe, tmp_path / "whole")
    whole.train()
    for first, last in ((1, EVERY - 1), (EVERY + 1, 14), (18, 26)):
        step, delay = rng.randint(first, last), rng.uniform(0, 0.05)
        print(f"killed {delay:.3f} s after iteration {step}")  # shown when the test fails
        train_until_killed(folder, tmp_path / "recipe.json", "rl", step, delay)
        assert not (folder / "stages" / "rl" / "finished.json").exists()
    Run(recipe, folder).train()

    killed_stage, whole_stage = (run / "stages" / "rl" for run in (folder, whole.folder))
    assert_equal(killed_stage, whole_stage, "responses.jsonl")
    assert (killed_stage / "responses.jsonl").read_bytes() == (whole_stage / "responses.jsonl").read_bytes()
    seen = lines(folder, "rl")
    assert len(seen) == STEPS and sum(line["pending"] > 0 for line in seen) > STEPS / 4
    assert sum(line.get("updates", 0) for line in seen) > STEPS / 2  # most iterations have something to learn


def assert_equal(stage: Path, other: Path, *more: str) -> None:
    """Every loss and every weight, to the last bit; and nothing but `more` is left beside them."""
    assert lines(stage.parents[1], stage.name) == lines(other.parents[1], other.name)
    models = [dict(stored_tensors(folder / "model")) for folder in (stage, other)]
    assert models[0].keys() == models[1].keys()
    assert all(tensor.equal(models[1][name]) for name, tensor in models[0].items())
    assert {path.name for path in stage.iterdir()} == {"model", "metrics.jsonl", "finished.json", *more}


@pytest.mark.slow
def test_the_same_holds_at_the_demos_size_with_two_threads_in_bf16(make_recipe, make_stage, tmp_path):
    """nano's own layers, where sums are cut over threads and products are bfloat16; every run is a process of its own."""
    size = {"steps": 12, "checkpoint_every": 4, "pack_tokens": 2048, "pack_patches": 4096, "balance_rate": 0.01}
    nano = preset("nano").with_text(vocab_size=512).model_dump()  # the vocabulary of the tests' recipes
    mixture = [{"weights": {"text": 1, "captions": 1}}]
    recipe = make_recipe(make_stage("joint", mixture=mixture, **size), model=nano, dtype="bfloat16")
    recipe = recipe.model_copy(update={"caption_decoder": None, "text_encoder": None})
    recipe_file = tmp_path / "recipe.json"
    recipe_file.write_text(recipe.model_dump_json())
    step, delay = random.Random().randint(5, 10), random.Random().uniform(0, 0.3)
    print(f"killed {delay:.3f} s after step {step}")
    train_until_killed(tmp_path / "killed", recipe_file, "joint", step, delay, threads=2)
    for run in ("killed", "whole"):
        process = start(tmp_path / run, recipe_file, threads=2)
        assert process.wait(timeout=60) == 0, process.stderr.read().decode()
    assert_equal(*(tmp_path / run / "stages" / "joint" for run in ("killed", "whole")))
