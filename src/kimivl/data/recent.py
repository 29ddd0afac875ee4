"""Values that were made a moment ago and are likely to be asked for again: `Recent`."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """The values that were made last, as many as cost at most `limit` together, and always the last one.

    Args:
        cost: of a value, in whatever `limit` counts.
    """

    def __init__(self, limit: int, cost: Callable[[Value], int]):
        self._limit, self._cost, self._sum = limit, cost, 0
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """The value of a key, made if it is not kept. Raises: what `make` raises."""
        if key not in self._values:
            self._values[key] = make()
            self._sum += self._cost(self._values[key])
            while self._sum > self._limit and len(self._values) > 1:
                self._sum -= self._cost(self._values.popitem(last=False)[1])
        return self._values[key]
