"""Workers are real processes: what they hand out, and what happens when they are killed, hang, fail, or lose their parent."""

import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kimivl.data.workers import WorkerLost, WorkerPool
from kimivl.processor.image import ImageError, ImageProcessor
from kimivl.processor.messages import ImagePart
from kimivl.processor.pictures import Pictures, Undecodable
from kimivl.processor.stored import StoredBytes, StoredPicture
from tests.data.stumbling import Dies, Fails, Hangs, Odd, Slow, Waits
from tests.signals import let_ctrl_c_through

IMAGES = ImageProcessor(patch_size=4)
MOMENT = 60  # seconds in which everything here happens, on a machine of any load


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    """Pictures of several sizes, as PNG and JPEG."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{number}.{'png' if number % 2 else 'jpg'}" for number in range(12)]
    for number, path in enumerate(paths):
        pixels = np.random.default_rng(number).integers(0, 256, (9 + 3 * number, 30 - number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return paths


@pytest.fixture(scope="module")
def pool():
    with WorkerPool(2, IMAGES) as pool:
        yield pool


def wanted(*files: Path, change=None) -> Pictures:
    parts = tuple(ImagePart(file, change) for file in files)
    return Pictures(parts, tuple(IMAGES.grid_of(part) for part in parts), None)


def expected(*files: Path) -> np.ndarray:
    return np.concatenate([IMAGES(file)[0] for file in files])


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def eventually(condition) -> bool:
    end = time.monotonic() + MOMENT
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(condition())


def test_patches_are_those_of_the_image_processor_sample_after_sample(pool, files):
    samples = [files[:3], files[3:4], files[4:9]]
    patches = pool.submit([wanted(*sample) for sample in samples], ["a", "b", "c"]).result(MOMENT)
    assert patches.dtype == np.float32 and np.array_equal(patches, expected(*files[:9]))


def test_patches_can_be_written_and_outlive_their_worker(files):
    with WorkerPool(1, IMAGES) as pool:
        patches = pool.submit([wanted(files[0])], ["a"]).result(MOMENT)
    patches += 1
    assert np.array_equal(patches, expected(files[0]) + 1)


def test_packs_without_pictures_ask_no_worker(files):
    with WorkerPool(1, IMAGES) as pool:
        assert eventually(lambda: pool.processes)
        os.kill(pool.processes[0], signal.SIGSTOP)
        assert pool.submit([Pictures((), (), None)], ["a"]).result(MOMENT).shape == (0, 3, 4, 4)


def test_what_is_done_first_is_not_handed_out_for_what_was_asked_first(pool, files, tmp_path):
    first = pool.submit([wanted(files[0], change=Waits(tmp_path / "go"))], ["a"])
    later = [pool.submit([wanted(file)], ["b"]) for file in files[1:]]
    assert [np.array_equal(each.result(MOMENT), expected(file)) for each, file in zip(later, files[1:])] == [True] * 11
    assert not first.done()
    (tmp_path / "go").touch()
    assert np.array_equal(first.result(MOMENT), expected(files[0]))


def test_a_killed_worker_is_replaced_and_its_pack_is_decoded_again(pool, files, tmp_path, caplog):
    before = pool.restarts
    with caplog.at_level(logging.WARNING):
        packs = [pool.submit([wanted(file, change=Dies(tmp_path, 2))], [f"sample-{file.stem}"]) for file in files]
        assert [np.array_equal(pack.result(MOMENT), expected(file)) for pack, file in zip(packs, files)] == [True] * 12
    assert pool.restarts == before + 2
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert "was killed by SIGKILL; another one takes over its pack: sample-" in caplog.text


def test_an_idle_worker_that_is_killed_is_missed_by_nobody(files):
    with WorkerPool(1, IMAGES) as pool:
        for file in files[:3]:
            assert np.array_equal(pool.submit([wanted(file)], ["a"]).result(MOMENT), expected(file))
            os.kill(pool.processes[0], signal.SIGKILL)
        assert pool.restarts == 2


def test_a_worker_that_hangs_is_replaced(files, tmp_path, caplog):
    with WorkerPool(1, IMAGES, patience=2) as pool, caplog.at_level(logging.WARNING):
        assert eventually(lambda: pool.processes)
        [hung] = pool.processes
        pack = pool.submit([wanted(files[0], change=Hangs(tmp_path / "hung"))], ["a"])
        assert np.array_equal(pack.result(MOMENT), expected(files[0])) and pool.restarts >= 1
    assert "said nothing for 2 seconds" in caplog.text and not is_alive(hung)


def test_waiting_for_a_store_is_no_hanging(files):
    content = files[1].read_bytes()
    place = StoredBytes(f"file://{files[1]}", "", 0, len(content), "")
    with Image.open(files[1]) as image:
        part = ImagePart(StoredPicture("1", place, "image/png", *image.size))
    pictures = Pictures((part,), (IMAGES.grid_of(part),), None)
    with WorkerPool(1, IMAGES, Slow(6), patience=4) as pool:
        assert np.array_equal(pool.submit([pictures], ["a"]).result(MOMENT), expected(files[1])) and pool.restarts == 0


def test_a_pack_that_kills_three_workers_is_an_error_that_names_its_samples(pool, files, tmp_path):
    pack = pool.submit([wanted(files[0]), wanted(files[1], change=Dies(tmp_path, 99))], ["cats-1", "dogs-7"])
    with pytest.raises(WorkerLost, match="3 decoding workers were lost .* was killed by SIGKILL: .*its samples: cats-1, dogs-7"):
        pack.result(MOMENT)
    assert len(list(tmp_path.iterdir())) == 3
    assert np.array_equal(pool.submit([wanted(files[2])], ["a"]).result(MOMENT), expected(files[2]))


def test_a_picture_that_cannot_be_used_is_named_as_without_workers(pool, files, tmp_path):
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(files[1].read_bytes()[:200])
    before = pool.restarts
    with pytest.raises(Undecodable) as raised:
        pool.submit([wanted(files[0]), wanted(damaged)], ["a", "b"]).result(MOMENT)
    with pytest.raises(ImageError) as here:
        IMAGES(damaged)
    assert raised.value.index == 1 and type(raised.value.cause) is ImageError and str(raised.value.cause) == str(here.value)
    assert pool.restarts == before


def test_an_error_that_does_not_survive_the_way_arrives_in_words(pool, files):
    with pytest.raises(TypeError):
        pickle.loads(pickle.dumps(Odd("left", "right")))
    with pytest.raises(RuntimeError, match="Odd: left and right"):
        pool.submit([wanted(files[0], change=Fails())], ["a"]).result(MOMENT)


def test_closing_ends_the_processes_and_cancels_what_is_open(files, tmp_path):
    pool = WorkerPool(1, IMAGES)
    processes = pool.processes
    packs = [pool.submit([wanted(files[0], change=Waits(tmp_path / "never"))], ["a"]) for _ in range(3)]
    pool.close()
    for pack in packs:
        with pytest.raises(CancelledError):
            pack.result(MOMENT)
    assert not any(is_alive(process) for process in processes)


def test_a_pool_that_is_forgotten_leaves_no_process(files):
    pool = WorkerPool(2, IMAGES)
    pool.submit([wanted(files[0])], ["a"]).result(MOMENT)
    processes = pool.processes
    del pool
    assert eventually(lambda: not any(is_alive(process) for process in processes))


PARENT = """
import sys, time
sys.path[:] = {path!r}
from kimivl.data.workers import WorkerPool
from kimivl.processor.image import ImageProcessor
from tests.data.stumbling import Hangs
from tests.data.test_workers import Path, wanted
pool = WorkerPool(2, ImageProcessor(patch_size=4))
future = pool.submit([wanted(Path({file!r}), change=Hangs(Path({mark!r})))], ["a"])
while len(pool.processes) < 2 or not Path({mark!r}).exists():
    time.sleep(0.01)
print(*pool.processes, flush=True)
future.result()
"""


@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_its_parent_even_in_the_middle_of_a_picture(files, tmp_path, ended_by):
    """One worker hangs, the other is idle. Ctrl-C in a terminal reaches the parent's group, which the workers are not in."""
    code = PARENT.format(path=sys.path, file=str(files[0]), mark=str(tmp_path / "mark"))
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=let_ctrl_c_through,
    )  # fmt: skip
    assert parent.stdout is not None
    processes = [int(each) for each in parent.stdout.readline().split()]
    assert len(processes) == 2 and all(is_alive(process) for process in processes)
    os.killpg(parent.pid, ended_by)
    errors = parent.communicate(timeout=MOMENT)[1]
    assert parent.returncode == -ended_by, errors
    assert eventually(lambda: not any(is_alive(process) for process in processes))
    assert errors.count("Traceback") == (ended_by == signal.SIGINT)
