"""A small manifest over real files."""

from pathlib import Path

import pytest

from tests.catalog.manifests import make_manifest


@pytest.fixture
def manifest(tmp_path) -> Path:
    return make_manifest(tmp_path / "train.manifest", tmp_path / "originals")
