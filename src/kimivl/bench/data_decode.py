"""`kimivl bench data`, decoding: our loader against webdataset and mosaicml-streaming, on the same JPEG and PNG files.

Two measures for each format. "decode": one process, files (ours) or shards (theirs) → uint8 RGB arrays; against Pillow alone too,
which is what all peers decode with. "ready": a whole loader
over a manifest (ours) or shards (theirs), each with the number of worker processes that suits it best → normalised patches in
batches; ours checks every picture's sha256, renders and packs too.
Pictures are crops of the photographs inside scikit-image and scikit-learn, at sizes that are usual in image-text data, and lie in
the page cache. The peers run in an environment of their own (`--peers`), because their dependencies clash with ours.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, __version__

from kimivl.bench.data_peers import PEERS, steady
from kimivl.bench.timing import Comparison, in_turns, where
from kimivl.config.recipe import StageConfig
from kimivl.config.store import StoreConfig
from kimivl.curate.photo.photos import PHOTOS, open_photo
from kimivl.data.index.build import index
from kimivl.data.loader import Loader
from kimivl.data.source import Source
from kimivl.data.store.node import NodeFetcher
from kimivl.processor import png
from kimivl.processor.image import ImageProcessor, load_rgb
from kimivl.processor.processor import Processor
from kimivl.processor.tokenizer import Tokenizer

BAR, PILLOW = 1.0, "pillow"
FORMATS = {"jpeg": "jpg", "png": "png"}
PATCH = 14
WORKERS = (0, 1, 2)
PACK_PATCHES, PACK_TOKENS = 17_000, 8_192  # about 16 pictures, as the peers' batches
HOW = (
    "python3.11 -m venv peers && peers/bin/pip install torch==2.13.0 pillow=={pillow} webdataset==1.0.2 && "
    "peers/bin/pip install --no-deps mosaicml-streaming==0.13.0 && peers/bin/pip install boto3 Brotli google-cloud-storage "
    "matplotlib paramiko python-snappy tqdm transformers xxhash zstd oci azure-storage-blob azure-storage-file-datalake "
    "azure-identity 'catalogue<3'"
)


def run(peers: Path | None, images: int = 1000, rounds: int = 3) -> Iterator[dict[str, Any]]:
    """One JSON object for each format, measure and peer, as soon as it is known.

    Args:
        peers: the virtual environment with both peers.
        images: how many of each format.
    Raises: ValueError saying how that environment is made, if it is none.
    """
    if peers is None:
        raise ValueError(_how("the peers have an environment of their own"))
    with tempfile.TemporaryDirectory(prefix="kimivl-bench-") as folder, _peers(peers) as ask:
        versions = ask(ask="versions")
        for format, suffix in FORMATS.items():
            root = Path(folder) / format
            files = write_pictures(root / "pictures", images, suffix)
            ask(ask="write", files=[str(path) for path in files], folder=str(root))
            index(str(root / "pictures" / "train.jsonl"), root / "pictures" / "train.manifest")
            yield from _compared(format, root, images, rounds, ask, versions)


def write_pictures(folder: Path, count: int, suffix: str) -> list[Path]:
    """Crops of photographs, 375 to 560 pixels wide and 333 to 420 high, with a JSONL file that names them as documents."""
    photos = [photo for photo in map(open_photo, PHOTOS) if min(photo.size) >= 250]
    folder.mkdir(parents=True)
    rng, files = np.random.default_rng(0), [folder / f"{number}.{suffix}" for number in range(count)]
    for number, path in enumerate(files):
        photo = photos[number % len(photos)]
        size = int(rng.integers(375, 560)), int(rng.integers(333, 420))
        scale = min(photo.width / size[0], photo.height / size[1]) * rng.uniform(0.6, 1)
        width, height = int(size[0] * scale), int(size[1] * scale)
        left, top = int(rng.integers(photo.width - width + 1)), int(rng.integers(photo.height - height + 1))
        crop = photo.crop((left, top, left + width, top + height)).resize(size, Image.Resampling.BICUBIC)
        crop.save(path, quality=90) if suffix == "jpg" else crop.save(path)
    texts = [{"type": "text", "text": "A photograph of something that can be seen in daylight."}]
    records = [{"id": path.stem, "content": [{"type": "image", "image": path.name}, *texts]} for path in files]
    (folder / "train.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return files


def _compared(
    format: str, root: Path, images: int, rounds: int, ask: Callable[..., Any], versions: dict[str, str]
) -> Iterator[dict[str, Any]]:
    for measure, patch_size, workers in (("decode", None, (0,)), ("ready", PATCH, WORKERS)):
        sides: list[Callable[[], dict[str, float]]] = []
        names: dict[str, str] = {}
        for name, speed in _sides(root, images, patch_size, ask).items():
            best = max(workers, key=speed) if len(workers) > 1 else workers[0]
            sides.append(partial(_as_seconds, speed, best))
            names[name] = f"{name} {versions[name]} ({best} workers)" if name in versions else f"{best} workers"
        ours, *theirs = (1 / parts["picture"] for parts in in_turns(sides, rounds))
        own, *others = names
        for peer, other in zip(theirs, others):
            comparison = Comparison(
                name=f"data.{measure}.{format}.{other}",
                load=f"{images} {format} files, {'decoded' if patch_size is None else 'ready for the model'}, {names[own]}",
                ours=round(ours, 1),
                peer=round(peer, 1),
                peer_name=names[other],
                unit="images/s",
                ratio=round(ours / peer, 3),
                bar=None if other == PILLOW else BAR,
                where=f"{os.cpu_count()} cores, " + where(torch.float32, *_decoders(versions)),
            )
            yield comparison.to_json()


Speed = Callable[[int], float]  # pictures a second with so many workers


def _sides(root: Path, images: int, patch_size: int | None, ask: Callable[..., Any]) -> dict[str, Speed]:
    """Ours first."""

    def theirs(peer: str, workers: int) -> float:
        asked = {"peer": peer, "folder": str(root), "images": images, "workers": workers, "patch_size": patch_size}
        return float(ask(ask="speed", **asked))

    sides: dict[str, Speed] = {"kimivl": partial(our_speed, root, images, patch_size)}
    if patch_size is None:
        sides[PILLOW] = lambda workers: _decoding_speed(_files(root, images), _by_pillow)
    return sides | {peer: partial(theirs, peer) for peer in PEERS}


def _as_seconds(speed: Speed, workers: int) -> dict[str, float]:
    return {"picture": 1 / speed(workers)}


def our_speed(root: Path, images: int, patch_size: int | None, workers: int) -> float:
    """Pictures a second; with a patch size out of the loader, without decoded to uint8 [H, W, 3]."""
    if patch_size is None:
        return _decoding_speed(_files(root, images), load_rgb)
    # Enough steps for all pictures and for the packs that are decoded ahead of the last one.
    values = {"name": "bench", "kind": "joint", "steps": images, "context": 4096, "pack_tokens": PACK_TOKENS}
    values |= {"pack_patches": PACK_PATCHES, "mixture": [{"weights": {"pictures": 1}}]}
    stage = StageConfig.model_validate(values | {"schedule": [{"steps": images, "start": 0, "end": 1e-3}]})
    processor = Processor(Tokenizer({bytes([value]): value for value in range(256)}), ImageProcessor(patch_size))
    fetch = NodeFetcher(StoreConfig())
    loader = Loader(stage, {"pictures": Source(root, "pictures")}, processor, 0, workers=workers, fetch=fetch)
    try:
        return steady((len(pack.grids) for step in range(images) for pack in loader.packs(step)), images)
    finally:
        loader.close()


def _files(root: Path, images: int) -> list[Path]:
    return sorted(path for path in (root / "pictures").iterdir() if path.suffix in (".jpg", ".png"))[:images]


def _decoding_speed(files: Sequence[Path], decode: Callable[[Path], Image.Image]) -> float:
    return steady((1 for _ in (np.asarray(decode(path)) for path in files)), len(files))


def _by_pillow(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _decoders(versions: dict[str, str]) -> list[str]:
    """What each side decodes with."""
    ours = f"pillow {__version__} (peers {versions['pillow']})"
    return [ours, f"imagecodecs {version('imagecodecs')} (ours)"] if png.INSTALLED else [ours]


@contextmanager
def _peers(environment: Path) -> Iterator[Callable[..., Any]]:
    """The peers' program; the function puts one question to it."""
    python = environment / "bin" / "python"
    if not python.is_file():
        raise ValueError(_how(f"{environment} is no virtual environment"))
    settings = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [str(python), "-W", "ignore", "-m", "kimivl.bench.data_peers"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=settings, text=True) as process:
        assert process.stdin is not None and process.stdout is not None

        def ask(**question: Any) -> Any:
            try:
                print(json.dumps(question), file=process.stdin, flush=True)
                return json.loads(process.stdout.readline())  # type: ignore[union-attr]
            except (OSError, ValueError):
                raise ValueError(_how(f"the peers in {environment} do not run (what they say stands above)")) from None

        try:
            yield ask
        finally:
            with suppress(BrokenPipeError):  # it has ended already
                process.stdin.close()
            process.wait()


def _how(what: str) -> str:
    return f"{what}; make it, and give its folder as --peers:\n  {HOW.format(pillow=__version__)}"
