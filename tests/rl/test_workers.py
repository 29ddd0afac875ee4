"""Two local workers write what one engine writes, with the trainer's newest weights."""

import signal
import sys
from dataclasses import replace

import pytest
import torch

from kimivl.rl.rollout import Limits, NativeRollouts, Response
from kimivl.rl.workers import RayRollouts, shares

LIMIT = 60  # seconds of a test; a cluster that cannot start must not hang the others


@pytest.fixture(autouse=True)
def time_limit():
    def late(*_):
        raise TimeoutError(f"more than {LIMIT} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray", reason="the package ray is not installed: pip install 'kimivl[ray]'")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


def test_two_workers_write_what_one_engine_writes_with_the_weights_of_each_iteration(cluster, engine, prompts, new_group):
    limits = Limits(18, 7, 512)
    native = NativeRollouts(engine, limits, seed=5)
    expected = found = new_group(["p0", "p1", "p2", "p3"])
    with RayRollouts(engine, limits, seed=5, workers=2) as workers:
        for iteration in range(3):
            expected, found = native.write(expected, prompts, iteration), workers.write(found, prompts, iteration)
            assert [replace(response, logps=()) for response in found] == [replace(response, logps=()) for response in expected]
            assert max(abs(a - b) for r, s in zip(expected, found) for a, b in zip(r.logps, s.logps)) <= 1e-5
            with torch.no_grad():
                for part in (engine.model.language_model.lm_head, engine.model.vision_tower):
                    for parameter in part.parameters():
                        parameter.mul_(1.5)
    assert all(response.finish for response in found)


def test_a_workers_error_reaches_the_trainer(cluster, engine, prompts, new_group):
    with RayRollouts(engine, Limits(9, 9, 512), seed=5, workers=1) as workers:
        engine.model.language_model.lm_head.weight.data.fill_(float("nan"))
        with pytest.raises(FloatingPointError, match="logits are not finite"):
            workers.write(new_group(["p0"]), prompts, 0)


def test_more_workers_than_cores_are_refused_instead_of_waited_for(cluster, engine):
    with pytest.raises(ValueError, match="need 3 cores and the Ray cluster has 2"):
        RayRollouts(engine, Limits(9, 9, 512), seed=5, workers=3)


def test_work_is_shared_by_problem_and_evenly():
    names = ["a"] * 4 + ["b"] * 2 + ["c"] * 2 + ["d"] * 3
    responses = [
        Response(name, 0, sample, finish="stop" if name == "d" and sample else None) for sample, name in enumerate(names)
    ]
    found = shares(responses, 2)
    assert sorted(place for share in found for place in share) == list(range(8))
    assert [{names[place] for place in share} for share in found] == [{"a"}, {"b", "c"}]
    assert shares(responses[:2], 3) == [[0, 1], [], []]


def test_a_missing_ray_says_what_to_install(engine, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"pip install 'kimivl\[ray\]'"):
        RayRollouts(engine, Limits(4, 4, 512), seed=0, workers=1)
