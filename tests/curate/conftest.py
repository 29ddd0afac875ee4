"""One small build of every source, shared by the tests of this folder."""

from pathlib import Path

import pytest

from kimivl.curate.nano import build_nano

SCALE = 0.005


@pytest.fixture(scope="session")
def nano_root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("nano")
    build_nano(root, seed=0, scale=SCALE, progress=False)
    return root
