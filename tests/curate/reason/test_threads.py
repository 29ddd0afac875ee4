"""Work in threads comes back with its place, and an error stops what has not begun."""

import threading
import time

import pytest

from kimivl.curate.reason.threads import in_threads


def test_every_result_has_its_place():
    def work(number: int) -> int:
        time.sleep(0.002 * (5 - number % 5))
        return number * number

    assert dict(in_threads(work, range(20), 4)) == {number: number * number for number in range(20)}
    assert list(in_threads(work, [], 4)) == []


def test_no_more_threads_than_asked_for():
    running, most, lock = 0, 0, threading.Lock()

    def work(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1

    list(in_threads(work, range(12), 3))
    assert most == 3


def test_an_error_is_raised_and_nothing_more_is_begun():
    begun = []

    def work(number: int) -> None:
        begun.append(number)
        time.sleep(0.01)
        if number == 2:
            raise ValueError("number 2")

    with pytest.raises(ValueError, match="number 2"):
        list(in_threads(work, range(100), 2))
    time.sleep(0.05)
    assert len(begun) < 10
