"""The benches of the loader, at small sizes: that they measure what they say. Speeds are not judged here."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kimivl.bench import data_decode, data_memory, data_peers, data_resume

pytest.importorskip("skimage", reason="the benches crop photographs of scikit-image")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("bench")
    data_decode.write_pictures(root / "pictures", 8, "jpg")
    return root


def test_the_pictures_are_crops_of_usual_sizes_all_different(root):
    pictures = [Image.open(path) for path in sorted((root / "pictures").glob("*.jpg"))]
    assert len(pictures) == 8 and all(375 <= each.width < 560 and 333 <= each.height < 420 for each in pictures)
    assert len({np.asarray(each).tobytes() for each in pictures}) == 8


def test_speed_is_taken_behind_the_first_pictures(monkeypatch):
    """Of 100 pictures in tens the first 20 do not count; one ten a second."""
    clock = iter([5.0, 13.0])
    monkeypatch.setattr(data_peers.time, "perf_counter", lambda: next(clock))
    assert data_peers.steady(iter([10] * 100), 100) == 80 / 8


@pytest.mark.parametrize(("patch_size", "workers"), [(None, 0), (14, 0), (14, 1)])
def test_our_side_runs(root, patch_size, workers):
    images = 8 if patch_size is None else 60  # a pack holds 16; all files come again
    assert data_decode.our_speed(root, images, patch_size, workers) > 0


def test_an_environment_without_the_peers_is_an_error_that_says_how_to_make_it(tmp_path):
    with pytest.raises(ValueError, match="webdataset==1.0.2"):
        next(data_decode.run(None))
    with pytest.raises(ValueError, match=f"{tmp_path} is no virtual environment(.|\n)*webdataset==1.0.2"):
        next(data_decode.run(tmp_path))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to("/bin/false")
    with pytest.raises(ValueError, match="do not run"):
        next(data_decode.run(tmp_path))


def test_the_memory_of_children_counts():
    before = data_memory.memory_of_family()
    code = "data = bytearray(64 << 20); data[::4096] = b'x' * len(data[::4096]); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        during = data_memory.memory_of_family()
        child.communicate(b"\n")
    assert during - before > 60


def test_memory_is_measured_over_the_whole_run():
    record = data_memory.run(samples=600, workers=1)
    assert len(record["mib"]) == 100 and record["ratio"] == pytest.approx(record["peer"] / record["ours"], abs=1e-3)


@pytest.mark.slow  # two minutes
def test_memory_is_flat_over_100_000_samples_with_4_workers():
    record = data_memory.run()
    assert record["ratio"] > record["bar"], record


@pytest.mark.parametrize("form", data_resume.FORMS)
def test_resuming_is_measured_in_a_new_process(tmp_path, form):
    data_resume._write(tmp_path, form, 500)
    assert 0 < data_resume._in_a_new_process(tmp_path, 500, 0.99) < 60
    assert (tmp_path / "cache").exists() == (form == "manifest")
