"""Places become few ranges that hold all of them, and nothing that is too large or of another object."""

import numpy as np

from kimivl.data.store.ranges import runs
from kimivl.processor.stored import StoredBytes


def place(start: int, length: int, url: str = "s3://b/a", version: str = "1") -> StoredBytes:
    return StoredBytes(url, version, start, length, "")


def spans(places, gap=100, size=1000):
    return [(run.start, run.end) for run in runs(places, gap, size)]


def test_what_lies_close_together_is_one_range():
    assert spans([place(0, 50), place(149, 10)]) == [(0, 159)]
    assert spans([place(0, 50), place(150, 10)]) == [(0, 50), (150, 160)]
    assert spans([place(0, 50), place(50, 10), place(62, 1)], gap=0) == [(0, 60), (62, 63)]
    assert spans([place(0, 50), place(10, 20), place(5, 50)]) == [(0, 55)]


def test_other_objects_and_versions_are_other_ranges():
    assert len(runs([place(0, 9), place(9, 9, url="s3://b/c"), place(18, 9, version="2")], 100, 1000)) == 3


def test_a_range_grows_no_larger_than_a_block_but_for_a_large_place():
    assert spans([place(n * 300, 300) for n in range(5)]) == [(0, 900), (900, 1500)]
    [run] = runs([place(10, 2500)], 100, 1000)
    assert run.blocks(1000) == [(10, 1000), (1010, 1000), (2010, 500)]


def test_whatever_the_places_each_lies_in_its_run_and_blocks_are_the_run():
    rng = np.random.default_rng(0)
    for _ in range(100):
        places = [place(int(rng.integers(5000)), int(rng.integers(1500)), f"s3://b/{rng.integers(3)}") for _ in range(30)]
        found = runs(set(places), 100, 1000)
        assert sorted((one for run in found for one in run.places), key=repr) == sorted(set(places), key=repr)
        for run in found:
            assert all(run.start <= one.start and one.start + one.length <= run.end for one in run.places)
            assert len({one.url for one in run.places}) == 1 and (len(run.places) == 1 or run.end - run.start <= 1000)
            ends = [start + length for start, length in run.blocks(1000)]
            starts = [start for start, _ in run.blocks(1000)]
            assert starts == [run.start, *ends][: len(starts)] and ([run.start, *ends][-1] == run.end)
