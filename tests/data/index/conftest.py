"""A folder of originals that is indexed."""

import pytest

from tests.data.index.originals import Source


@pytest.fixture
def source(tmp_path) -> Source:
    return Source(tmp_path)
