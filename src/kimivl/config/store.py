"""What a run may ask of an object store, and what it keeps of it on a node.

What it is: the schema. What each value does stands in `data/store/`; docs/stores.md says how to choose.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from kimivl.config.base import Config

Bytes = Annotated[int, Field(ge=0)]


class StoreConfig(Config):
    """Of a node: all ranks and workers on it share these limits and caches.

    `requests_per_second`: GETs that begin in any second. `bytes_per_second`: of their answers. `concurrency`: GETs at the same
    time. `timeout`: seconds for one GET. `memory_bytes`, `disk_bytes`: of the two caches, 0 for none. `cache`: folder of the one
    on disk, best on a local NVMe (default: kimivl/store in the user's cache). `block_bytes`: of one GET at most. `gap_bytes`:
    ranges of an object that lie less than this apart are fetched with one GET.
    """

    requests_per_second: float = Field(default=200, ge=1, allow_inf_nan=False)
    bytes_per_second: float = Field(default=500e6, ge=1, allow_inf_nan=False)
    concurrency: int = Field(default=32, ge=1, le=1024)
    timeout: float = Field(default=60.0, gt=0, allow_inf_nan=False)
    memory_bytes: Bytes = 500_000_000
    disk_bytes: Bytes = 50_000_000_000
    cache: Path | None = None
    block_bytes: int = Field(default=4 << 20, ge=1)
    gap_bytes: Bytes = 256 << 10
