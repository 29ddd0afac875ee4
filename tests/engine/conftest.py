"""Every test of this room runs the tiny model of `tests/conftest.py`, on one thread."""

import pytest


@pytest.fixture(autouse=True)
def small_matrices(one_thread):
    """See `one_thread`."""
