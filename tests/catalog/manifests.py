"""Small manifests over real files: what a catalog registers."""

import hashlib
import json
from pathlib import Path

from kimivl.data.manifest.schema import write_manifest


def object_row(root: Path, name: str, data: bytes, start: int = 0, length: int | None = None, **more) -> dict:
    """Writes `data` to a file below the root, unless it is there, and gives the row of a range of it."""
    url = more.pop("url", name)
    path = root / url
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    part = data[start:] if length is None else data[start : start + length]
    return {
        "name": name, "url": url, "version": "", "start": start, "length": len(part), "deflated": False,
        "sha256": hashlib.sha256(part).hexdigest(), "media_type": "image/png", "width": 64, "height": 48,
    } | more  # fmt: skip


def sample_row(number: int, pictures: list[int], text: str = "A cat.", **more) -> dict:
    content = [{"type": "image", "image": f"{picture}.png"} for picture in pictures] + [{"type": "text", "text": text}]
    record = {"id": f"s{number}", "content": content}
    return {
        "id": f"s{number}", "record": json.dumps(record), "text_length": len(text), "where": f"train.jsonl:{number + 1}",
        "pictures": [{"object": picture, "frame": None} for picture in pictures],
    } | more  # fmt: skip


def make_manifest(folder: Path, root: Path, count: int = 4, words: str = "cat") -> Path:
    """`count` files of their own and as many samples, each with a picture; a tar of two ranges is the last object."""
    objects = [object_row(root, f"{row}.png", f"{words} {row} ".encode() * 50, licence="CC0-1.0") for row in range(count - 1)]
    objects.append(object_row(root, "shard.tar/a.png", b"head" + b"picture" * 30, 4, 70, url="shard.tar", licence="MIT"))
    samples = [sample_row(row, [row], f"A {words}.", language="en", licence="CC0-1.0") for row in range(count)]
    write_manifest(folder, objects, samples, root.as_uri() + "/")
    return folder
