"""A small manifest over real files, and an empty catalog."""

from pathlib import Path

import pytest

from kimivl.catalog.versions import Catalog
from tests.catalog.manifests import make_manifest


@pytest.fixture
def manifest(tmp_path) -> Path:
    return make_manifest(tmp_path / "train.manifest", tmp_path / "originals")


@pytest.fixture
def catalog(tmp_path) -> Catalog:
    """An empty one in a local folder."""
    return Catalog(str(tmp_path / "catalog"))
