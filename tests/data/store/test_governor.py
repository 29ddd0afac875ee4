"""No second that the store counts has more than the budget; one that complains is asked for less, and for more again later."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kimivl.data.store.governor import LEAST, Governor, Share, Window


def fullest_second(times: list[float], sizes: list[int] | None = None) -> float:
    """The most that is counted within any second."""
    sizes = sizes or [1] * len(times)
    return max(sum(size for other, size in zip(times, sizes) if time <= other < time + 1) for time in times)


def counted(window: Window, sizes: list[int], rng: np.random.Generator, delay: float, share: float = 1.0) -> list[float]:
    """When a store counts requests that are asked for at once: at any moment before the answer, which takes `delay` at most."""
    now, times, answers = 0.0, [], []
    for size in sizes:
        while (wait := window.wait(now, size, share)) > 0:
            ready = min(answers, default=(np.inf, 0))
            if ready[0] <= now + wait:
                answers.remove(ready)
                now = ready[0]
                window.end(now, ready[1], share)
            else:
                now += wait
        window.begin(size)
        answer = now + float(rng.uniform(0, delay))
        answers.append((answer, size))
        times.append(float(rng.uniform(now, answer)))
    return times


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.3, 3.0])
def test_no_second_has_more_requests_than_the_budget_whenever_the_store_counts(delay):
    for seed in range(5):
        times = counted(Window(50), [1] * 300, np.random.default_rng(seed), delay)
        assert fullest_second(times) <= 50
        if delay < 0.1:  # the budget is used, not only kept
            assert 300 / (max(times) + 1) > 0.9 * 50


def test_no_second_has_more_bytes_than_the_budget():
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 400, 300).tolist()
    times = counted(Window(1000), sizes, rng, 0.01)
    assert fullest_second(times, sizes) <= 1000 and sum(sizes) / max(times) > 0.7 * 1000


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_an_answer_above_the_budget_comes_alone_and_pays_for_its_seconds(share):
    window = Window(1000)
    window.begin(200)
    assert window.wait(0.0, 3500, share) > 0  # not beside another
    window.end(0.0, 200, share)
    now = window.wait(0.0, 3500, share)
    assert 1.0 <= now < 1.1
    window.begin(3500)
    assert window.wait(now, 1, share) == np.inf
    window.end(now, 3500, share)
    assert window.wait(now, 1, share) == pytest.approx(3.5 / share, rel=0.01)


def test_the_share_is_cut_by_what_was_refused_and_comes_back():
    share, now = Share(0.0), 0.0
    for _ in range(40):  # all is refused
        now += 0.1
        share.count(now, True)
    assert LEAST < share.value <= 0.2
    for _ in range(400):
        now += 0.1
        share.count(now, True)
    assert share.value == LEAST
    assert share.look(now + 5) < 0.6 and share.look(now + 11.1) == 1.0


def test_a_few_refusals_at_random_cost_little():
    """5 % of answers, as real stores have them."""
    rng, share, values = np.random.default_rng(0), Share(0.0), []
    for number in range(5000):
        share.count(number / 50, bool(rng.random() < 0.05))
        values.append(share.value)
    assert min(values) > 0.7 and np.mean(values) > 0.9


def test_a_store_that_gives_a_fifth_is_asked_for_about_that():
    share, now, asked = Share(0.0), 0.0, []
    for _ in range(60):
        requests = max(1, round(50 * share.value))
        for number in range(requests):
            now += 1.001 / requests
            share.count(now, number >= 10)
        asked.append(requests)
    assert 10 <= np.mean(asked[10:]) <= 13


def test_threads_wait_for_their_turn_and_all_get_it():
    governor, times, lock = Governor(requests=10, bytes=1e9), [], threading.Lock()

    def ask(number: int) -> None:
        with governor.permit(100) as permit:
            permit.refused = number % 10 == 3
            with lock:
                times.append(time.monotonic())

    with ThreadPoolExecutor(25) as pool:
        list(pool.map(ask, range(25)))
    assert fullest_second(times) <= 10 and times[-1] - times[0] >= 2.0
    # Fifteen wait a second and five of them another; threads that begin late on a busy machine wait less.
    assert governor.waited >= 15 and 0.5 < governor.share <= 1.0


def test_a_request_that_fails_gives_its_place_back():
    governor = Governor(requests=1, bytes=1e9)
    for _ in range(2):
        with pytest.raises(OSError), governor.permit(1):
            raise OSError
