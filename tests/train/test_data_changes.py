"""Changing what a stage learns from while it runs, from the command line; and what is refused."""

import json
import re
import shutil

import pytest
from PIL import Image

from kimivl.catalog.lifecycle import InUse, delete, release, retire
from kimivl.catalog.publish import publish
from kimivl.catalog.versions import Catalog
from kimivl.cli import main
from kimivl.cli.run import hold_versions
from kimivl.config.base import ConfigError
from kimivl.data.index.build import index
from kimivl.data.pieces import DamagedSample
from kimivl.train.data_changes import change_mixture
from kimivl.train.metrics import read_metrics
from kimivl.train.run import Run
from kimivl.train.trainer import Trainer


@pytest.fixture
def stopped(make_recipe, make_stage, tmp_path):
    """A run of 40 steps that was interrupted in its 13th."""
    recipe = make_recipe(make_stage("joint", steps=40, checkpoint_every=4, schedule=[{"steps": 40, "start": 1e-3, "end": 1e-3}]))
    run = Run(recipe, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        interrupt(run, 12).train()
    return run


def interrupt(run, step):
    """The run, which stops as Ctrl-C would stop it behind a step."""
    task = run.task

    def stopping_task(stage, processor):
        made = task(stage, processor)
        losses, count = made.pack_loss, iter(range(10**6))

        def pack_loss(pack, totals):
            if next(count) == step:
                raise KeyboardInterrupt
            return losses(pack, totals)

        object.__setattr__(made, "pack_loss", pack_loss)
        return made

    run.task = stopping_task
    return run


def test_shares_change_behind_what_was_made_and_the_run_goes_on(stopped, capsys):
    path = str(stopped.folder)
    assert main(["data", "mix", path, "joint", "captions=0", "text=1", "--at", "11"]) == 1
    assert "stage joint has made 12 of its 40 steps, so step 11 cannot be changed" in capsys.readouterr().err
    assert main(["data", "mix", path, "joint", "captions=0", "text=1"]) == 0
    assert "from step 32 on, stage joint draws captions=0, text=1" in capsys.readouterr().out
    Run(stopped.recipe, stopped.folder).train()
    patches = [line["patches"] for line in read_metrics(stopped.folder / "stages" / "joint" / "metrics.jsonl")]
    assert len(patches) == 40 and min(patches[:32]) > 0 and max(patches[32:]) == 0


def test_a_run_that_goes_on_takes_a_source_that_its_recipe_does_not_name(make_recipe, make_stage, tmp_path, monkeypatch):
    """The entry is written while the stage runs, in its third step, for the eighth."""
    run = Run(make_recipe(make_stage("joint", steps=12, context=128, pack_tokens=192)), tmp_path / "run")
    monkeypatch.setattr("kimivl.train.data_changes.MARGIN", 5)
    update, steps = Trainer.step, []

    def step(self, number):
        if number == 2:
            with pytest.raises(ValueError, match="has made 2 .* step 6 cannot be changed while it is .*; the first .* is 7"):
                change_mixture(run.folder, "joint", {"colors": 1}, at=6)
            change_mixture(run.folder, "joint", {"colors": 1}, at=8)
        steps.append(self.loader.state.drawn.get("colors", 0))
        return update(self, number)

    monkeypatch.setattr(Trainer, "step", step)
    run.train()
    assert steps[:9] == [0] * 9 and steps[11] > 0


def test_a_manifest_that_a_change_brings_is_taken_when_the_run_goes_on_and_held_from_then_on(
    make_recipe, make_stage, data, tmp_path
):
    root = tmp_path / "data"
    shutil.copytree(data, root)
    index(str(root / "colors" / "train.jsonl"), root / "more" / "train.manifest")
    recipe = make_recipe(make_stage("joint", steps=30, checkpoint_every=4, context=128, pack_tokens=192), data=root)
    run = Run(recipe, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        interrupt(run, 8).train()
    change_mixture(run.folder, "joint", {"more": 1}, at=10)
    with pytest.raises(KeyboardInterrupt):
        interrupt(Run(recipe, run.folder), 8).train()
    (root / "colors" / "train.jsonl").write_text((root / "colors" / "train.jsonl").read_text().replace("colors-1", "colours-1"))
    index(str(root / "colors" / "train.jsonl"), root / "more" / "train.manifest")
    with pytest.raises(ConfigError, match="built anew since .*: more"):
        Run(recipe, run.folder)


def test_a_source_that_a_change_brings_is_held_in_its_catalog_at_once(make_recipe, make_stage, data, tmp_path, capsys):
    root, catalog = tmp_path / "data", Catalog(str(tmp_path / "catalog"))
    shutil.copytree(data, root)
    index(str(root / "colors" / "train.jsonl"), root / "more" / "train.manifest")
    publish(root / "more" / "train.manifest", catalog, "more")
    recipe = make_recipe(make_stage("joint", steps=30, checkpoint_every=4, context=128, pack_tokens=192), data=root)
    run = Run(recipe, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        interrupt(run, 2).train()
    assert main(["data", "mix", str(run.folder), "joint", "more=-1"]) == 1
    assert catalog.find("more@1")[1].references == []
    assert main(["data", "mix", str(run.folder), "joint", "more=1", "text=1"]) == 0
    hold_versions(Run(recipe, run.folder))  # and again when it goes on, as the same run
    with pytest.raises(InUse, match="more@1 is needed by 1 run: .*/run; "):
        delete(catalog, "more@1")
    release(catalog, "more@1", str(run.folder))
    retire(catalog, "more@1")
    capsys.readouterr()
    assert main(["data", "mix", str(run.folder), "joint", "more=2"]) == 1
    assert "more@1 of" in (err := capsys.readouterr().err) and "is retired: use another version" in err
    assert [entry.weights for entry in run.data_log(recipe.stages[0]).until(99)] == [{"more": 1, "text": 1}]


def test_a_sample_is_left_out_and_the_log_says_why(stopped, capsys):
    reason = "the caption is wrong"
    assert (
        main(["data", "exclude", str(stopped.folder), "joint", "captions", "captions-1", "--at", "12", "--reason", reason]) == 0
    )
    assert "from step 12 on, stage joint leaves out captions-1 of captions" in capsys.readouterr().out
    (line,) = (stopped.folder / "stages" / "joint" / "data_log.jsonl").read_text().splitlines()
    assert json.loads(line)["excluded"]["reason"] == reason
    assert main(["data", "include", str(stopped.folder), "joint", "captions", "captions-1", "--at", "20"]) == 0
    assert "from step 20 on, stage joint has captions-1 of captions again" in capsys.readouterr().out
    Run(stopped.recipe, stopped.folder).train()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["mix", "joint", "captions"], "'captions' is no share: write source=weight"),
        (["mix", "joint", "captions=-1"], "weights.captions: .* greater than or equal to 0"),
        (["mix", "joint", "nowhere=1"], "data source 'nowhere' has no file"),
        (["mix", "joint", "captions=1", "captions=3"], "captions has two shares: give one"),
        (["mix", "joint", "../data/captions=1"], "'../data/captions' is no data source: sources are the folders below"),
        (["mix", "sft", "captions=1"], "no stage named 'sft'"),
        (["mix", "joint", "captions=1", "--at", "40"], "40 steps, so step 40 cannot"),
        (["include", "joint", "captions", "captions-1"], "captions-1 of captions is not left out .*; left out there: none"),
        (["exclude", "joint", "colors", "colors-1"], "stage joint has no source colors; its sources are text, captions"),
        (
            ["exclude", "joint", "captions", "caption-1"],
            "source captions has no sample caption-1; `kimivl data view .*/train.jsonl`",
        ),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(stopped, capsys, words, error):
    command, *rest = words
    assert main(["data", command, str(stopped.folder), *rest]) == 1
    assert re.search(error, capsys.readouterr().err)
    assert not (stopped.folder / "stages" / "joint" / "data_log.jsonl").exists()


def test_a_finished_stage_is_not_changed(finished, capsys):
    assert main(["data", "mix", str(finished.folder), "joint", "captions=1"]) == 1
    assert "is finished; what it learned from does not change any more" in capsys.readouterr().err
    assert main(["data", "mix", str(finished.folder), "rl", "colors=1"]) == 1
    assert "'rl', which has no mixture of packs" in capsys.readouterr().err


def test_a_torn_picture_stops_a_run_or_is_left_out_as_asked_for(make_recipe, make_stage, data, tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    for source in ("text", "captions"):
        (root / source).mkdir()
        for path in (data / source).iterdir():
            (root / source / path.name).write_bytes(path.read_bytes())
    Image.effect_noise((16, 16), 90).convert("RGB").save(root / "captions" / "3.png")
    (root / "captions" / "3.png").write_bytes((root / "captions" / "3.png").read_bytes()[:200])
    recipe = make_recipe(make_stage("joint", steps=30), data=root)
    with pytest.raises(DamagedSample, match="sample captions-3 of captions: .*3.png"):
        Run(recipe, tmp_path / "run").train()
    Run(recipe, tmp_path / "run", damaged="quarantine").train()
    (line,) = (tmp_path / "run" / "stages" / "joint" / "data_log.jsonl").read_text().splitlines()
    assert json.loads(line)["excluded"]["id"] == "captions-3"
