"""Folders of originals made on the spot, indexed into a manifest that is read back."""

import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from kimivl.data.index.build import index
from kimivl.data.manifest.manifest import Manifest
from kimivl.data.store.client import Client
from kimivl.processor.stored import StoredBytes


def picture(seed: int, size: tuple[int, int] = (12, 8)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def encoded(seed: int, size: tuple[int, int] = (12, 8), kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    picture(seed, size).save(file, kind)
    return file.getvalue()


def question(image: str, text: str = "A square.", **more: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": "<image>What is it?"}, {"from": "gpt", "value": text}]
    return {"image": image, "conversations": turns} | more


def write_tar(path: Path, members: Mapping[str, bytes], **how: Any) -> None:
    with tarfile.open(path, "w", **how) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def write_video(path: Path, frames: int = 30, codec: str = "libx264", **options: str) -> None:
    """64 × 48 pixels at 10 frames a second; a bar moves to the right."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.options = 64, 48, options
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        for number in range(frames):
            pixels = np.full((48, 64, 3), 8 * number % 256, np.uint8)
            pixels[:, 2 * number % 60 : 2 * number % 60 + 4] = (255, 0, 0)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def fetch(places: Iterable[StoredBytes]) -> list[bytes]:
    """Ranges of local files, checked and inflated."""
    found = []
    for place in places:
        data = Client().get(place.url, place.start, place.length)
        assert hashlib.sha256(data).hexdigest() == place.sha256
        found.append(zlib.decompress(data, -15) if place.deflated else data)
    return found


class Source:
    """A folder that is indexed."""

    def __init__(self, folder: Path):
        self.root, self.out, self.cache = folder / "originals", folder / "data" / "mine" / "train.manifest", folder / "cache"
        self.root.mkdir()

    def rows(self, *rows: Any, name: str = "rows.jsonl") -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def put(self, name: str, data: bytes | str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    def table(self, rows: list[dict[str, Any]], name: str = "train.parquet") -> None:
        pq.write_table(pa.Table.from_pylist(rows), self.root / name)

    def index(self, url: str = "", **how: Any) -> dict[str, Any]:
        return index(url or str(self.root), self.out, **how)

    @property
    def manifest(self) -> Manifest:
        return Manifest(self.out, self.cache)

    def objects(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in pq.read_table(self.out / "objects.parquet").to_pylist()}

    def samples(self) -> list[dict[str, Any]]:
        return pq.read_table(self.out / "samples.parquet").to_pylist()

    def indexed(self, **how: Any) -> Manifest:
        self.index(**how)
        return self.manifest
