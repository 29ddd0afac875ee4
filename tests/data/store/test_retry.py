"""What passes is waited out; what does not is raised."""

import pytest

from kimivl.data.store.errors import Missing, Throttled, Transient
from kimivl.data.store.retry import LONGEST, patiently


def failing(*faults):
    faults = list(faults)

    def call() -> str:
        if faults:
            raise faults.pop(0)
        return "answer"

    return call


def test_a_fault_that_passes_is_waited_out_and_seen(caplog):
    slept, seen = [], []
    faults = [Transient("s3://b/k", "the store failed")] * 40
    assert patiently(failing(*faults), seen.append, slept.append) == "answer"
    assert seen == faults and len(slept) == 40
    assert all(0.05 * 2**n <= pause <= 0.1 * 2**n for n, pause in enumerate(slept[:8])) and LONGEST / 2 <= slept[-1] <= LONGEST
    assert len(caplog.records) == 40 and "s3://b/k: the store failed; attempt 40 failed, asking again in" in caplog.text


def test_an_outage_of_a_night_is_waited_out():
    """2,000 repetitions, half a minute apart; 0.1 · 2^1100 is no number any more."""
    slept = []
    assert patiently(failing(*[Throttled("s3://b/k", "slow")] * 2000), sleep=slept.append) == "answer"
    assert len(slept) == 2000 and all(LONGEST / 2 <= pause <= LONGEST for pause in slept[9:])


def test_a_store_that_asks_for_less_is_not_worth_a_warning_at_once(caplog):
    assert patiently(failing(*[Throttled("s3://b/k", "slow")] * 3), sleep=lambda pause: None) == "answer"
    assert not caplog.records
    patiently(failing(*[Throttled("s3://b/k", "slow")] * 4), sleep=lambda pause: None)
    assert len(caplog.records) == 1


def test_what_does_not_pass_is_raised_at_once():
    slept = []
    with pytest.raises(Missing):
        patiently(failing(Missing("s3://b/k", "not there")), sleep=slept.append)
    assert not slept
