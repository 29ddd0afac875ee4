"""The store's claims at a size that tests have time for, and the arithmetic of their counting."""

import pytest

from kimivl.bench.data_store import flipped_byte, fullest_second, governor, recovery, second_epoch


def test_the_budget_holds_for_four_processes_as_the_store_counts_and_refusals_change_no_byte():
    results = governor(count=160, burst=0)
    assert len(results) == 3 and all(result["ok"] for result in results), results
    assert results[0]["value"] > 5


@pytest.mark.parametrize("claim", [second_epoch, flipped_byte])
def test_the_cache_saves_every_request_and_gives_out_no_wrong_byte(claim):
    result = claim(count=20)
    assert result["ok"] and result["value"] == result["bar"] == 0, result


def test_moments_within_a_second_are_counted_wherever_it_begins():
    assert fullest_second([0.0, 0.6, 0.9, 1.0, 1.5, 1.59, 3.0]) == 5  # from 0.6 on; what is a second later is not within it
    assert fullest_second([2.0, 1.0, 0.0]) == 1 and fullest_second([]) == 0


def test_recovery_is_the_end_of_the_first_full_second():
    assert recovery([0.0, 0.1, 0.2, 5.0, 7.0, 7.4, 7.8], 4.0, 3) == 4.0
    assert recovery([5.0, 7.0], 4.0, 3) == float("inf")
