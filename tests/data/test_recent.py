"""What was made a moment ago: kept up to a cost, made again beyond it."""

import pytest

from kimivl.data.recent import Recent


def test_values_are_made_once_until_they_cost_too_much_together():
    made = []

    def make(size):
        made.append(size)
        return "x" * size

    kept = Recent(10, len)
    for size in (4, 5, 4, 5):
        assert kept.get(size, lambda size=size: make(size)) == "x" * size
    assert made == [4, 5]
    kept.get(3, lambda: make(3))  # 12 together: the oldest goes
    assert kept.get(5, lambda: make(5)) == "xxxxx" and made == [4, 5, 3]
    assert kept.get(4, lambda: make(4)) and made == [4, 5, 3, 4]


def test_a_value_above_the_limit_is_kept_until_the_next_one():
    made = []
    kept = Recent(3, len)
    for _ in range(3):
        kept.get("large", lambda: made.append(1) or "xxxxxxxx")
    assert len(made) == 1
    kept.get("small", lambda: "x")
    kept.get("large", lambda: made.append(1) or "xxxxxxxx")
    assert len(made) == 2


def test_what_fails_is_not_kept():
    kept = Recent(3, len)
    with pytest.raises(ZeroDivisionError):
        kept.get("a", lambda: 1 / 0)
    assert kept.get("a", lambda: "fine") == "fine"
