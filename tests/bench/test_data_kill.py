"""Kill and resume with real processes; and whether the comparison would see a difference."""

import pytest

from kimivl.bench.data_kill import _compare, kill_and_resume
from kimivl.bench.data_store import BUDGET, ERRORS, CountingStore, fullest_second


@pytest.mark.parametrize("packing", ["in_order", pytest.param("balanced", marks=pytest.mark.slow)])
def test_killed_ranks_go_on_with_the_same_packs(tmp_path, packing):
    counts = kill_and_resume(tmp_path, steps=36, settings={"packing": packing, "pack_tokens": 700, "context": 700})
    assert counts["faults"] == [] and counts["kills"] == 5 and counts["packs"] >= 4 * 36


@pytest.mark.slow
def test_killed_ranks_go_on_with_the_same_packs_out_of_a_store_that_refuses_requests(tmp_path):
    with CountingStore(tmp_path / "store", ERRORS).running() as store:
        counts = kill_and_resume(tmp_path, steps=36, store=store)
    assert counts["faults"] == [] and counts["kills"] == 5
    assert len(store.arrived) >= 200 and fullest_second(store.arrived) <= BUDGET


def line(step, digest="a", **packs):
    return {"step": step, "digest": digest, "packs": packs or {"0": "x", "1": "y"}}


@pytest.mark.parametrize(
    ("killed", "fault"),
    [
        ([line(0), line(1, "b")], "step 1: another digest"),
        ([line(0), line(1, **{"0": "x", "1": "z"})], "step 1: another pack"),
        ([line(0), line(1, **{"0": "x"})], "step 1: packs that no rank has read"),
    ],
)
def test_a_difference_is_seen(killed, fault):
    [found] = _compare([line(0), line(1)], killed, 2)["faults"]
    assert found.startswith(fault)
