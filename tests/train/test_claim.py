"""Who trains in a folder, and that nobody does any more once a process has ended."""

import os
import subprocess
import sys

import pytest

from kimivl.model.lock import Held
from kimivl.train.claim import claimed, is_claimed
from kimivl.train.run import Run

HOLD = """
import sys, time
from pathlib import Path
from kimivl.train.claim import claimed
with claimed(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_run_that_is_being_trained_is_not_trained_by_another_process(make_recipe, make_stage, tmp_path):
    run = Run(make_recipe(make_stage("joint", steps=1)), tmp_path / "run")
    with claimed(run.folder):
        with pytest.raises(Held, match=rf"run is being trained by process {os.getpid()} on .*: wait for it"):
            run.train()
        assert [path.name for path in run.folder.iterdir()] == ["lock"]
    run.train()
    assert run.is_finished(run.recipe.stages[0])


def test_a_process_that_is_killed_holds_nothing(tmp_path):
    command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path}; " + f"exec({HOLD!r})", str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        with pytest.raises(Held, match=f"process {process.pid} "):
            with claimed(tmp_path / "run"):
                pass
        assert is_claimed(tmp_path / "run")
        process.kill()
    assert not is_claimed(tmp_path / "run") and not is_claimed(tmp_path / "another")
    with claimed(tmp_path / "run"):
        assert f"process {os.getpid()} " in (tmp_path / "run" / "lock").read_text()
