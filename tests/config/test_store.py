"""Limits that would fetch nothing are refused, and a typo is named."""

import pytest

from kimivl.config.base import ConfigError, parse
from kimivl.config.store import StoreConfig


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"requests_per_second": 0}, "requests_per_second: .*greater than or equal to 1"),
        ({"bytes_per_second": float("inf")}, "bytes_per_second"),
        ({"concurrency": 0}, "concurrency"),
        ({"request_per_second": 5}, "unknown key; did you mean 'requests_per_second'"),
    ],
)
def test_settings_that_cannot_be_are_refused(values, said):
    with pytest.raises(ConfigError, match=said):
        parse(StoreConfig, values, "store")
    assert parse(StoreConfig, {}, "store").requests_per_second > 1
