"""No second has more than the budget, wherever it begins; a store that complains is asked less, and more again later."""

import numpy as np
import pytest

from kimivl.data.store.governor import LEAST, Budget, Governor


def fullest_second(times: list[float], sizes: list[int] | None = None) -> float:
    """The most that begins within any second."""
    sizes = sizes or [1] * len(times)
    return max(sum(size for other, size in zip(times, sizes) if time <= other <= time + 1) for time in times)


def asked(governor: Governor, rng: np.random.Generator, count: int, size: int = 1, pause: float = 0.0) -> list[float]:
    """When requests begin that are asked for at random moments, `pause` apart on average."""
    now, times = 0.0, []
    for _ in range(count):
        now += float(rng.exponential(pause)) if pause else 0.0
        times.append(governor.start(now, size))
    return times


@pytest.mark.parametrize("pause", [0.0, 0.005, 0.02, 0.1])
def test_no_second_has_more_requests_than_the_budget(pause):
    times = asked(Governor(Budget(requests=50, bytes=1e9)), np.random.default_rng(0), 400, pause=pause)
    assert fullest_second(times) <= 50 and times == sorted(times)
    if pause < 0.02:  # asked for faster than allowed: the budget is used, not only kept
        assert 400 / (times[-1] - times[0]) > 0.9 * 50


def test_no_second_has_more_bytes_than_the_budget():
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 400, 300).tolist()
    governor = Governor(Budget(requests=1000, bytes=1000))
    times = [governor.start(0.0, size) for size in sizes]
    assert fullest_second(times, sizes) <= 1000 and sum(sizes) / (times[-1] - times[0]) > 0.8 * 1000


def test_an_object_above_the_budget_is_fetched_alone_and_pays_for_its_seconds():
    governor = Governor(Budget(requests=100, bytes=1000))
    assert governor.start(0.0, 600) == 0.0
    assert governor.start(0.0, 3500) >= 1.0
    begins = governor.start(0.0, 600)
    assert begins >= 1.0 + 3  # 3,500 bytes are three and a half seconds of budget


def test_a_store_that_complains_is_asked_half_as_often_and_recovers():
    governor = Governor(Budget(requests=40, bytes=1e9))
    for now in (10.0, 10.1, 10.2):  # one complaint, though it came three times
        governor.throttled(now)
    assert governor.share == 0.5
    now, times = 10.2, []
    while now < 40:
        now = governor.start(now, 1)
        times.append(now)
    assert fullest_second([time for time in times if time < 11.2]) <= 20
    assert governor.share == 1.0 and fullest_second(times) <= 40
    late = [time for time in times if time > 30]
    assert len(late) / (late[-1] - late[0]) > 0.9 * 40


def test_however_often_it_complains_something_is_still_asked():
    governor = Governor(Budget(requests=10, bytes=1000))
    for now in range(60):
        governor.throttled(now * 2.0)
    assert governor.share == LEAST
    times = [governor.start(120.0, 1) for _ in range(5)]
    assert times[-1] < 120 + 30 and fullest_second(times) <= 2


def test_budgets_that_fetch_nothing_are_refused():
    with pytest.raises(ValueError, match="fetches nothing"):
        Budget(requests=0, bytes=10)
