"""The loaders that `data_decode.py` measures ours against, as a program of their own environment.

What it is: webdataset and mosaicml-streaming in their users' form (a torch DataLoader, batches from its collate function), fed
with the same files in their own containers. It answers one JSON line a question on standard input. Of kimivl it imports the image
processor alone, so that what is "ready for the model" is the same array on every side.
What it is not: imported by kimivl; torch, numpy, Pillow and both peers are all that it needs.
"""

import io
import json
import sys
import time
import types
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from kimivl.processor.image import ImageProcessor

SHARDS = 8
BATCH = 16
WARM_UP = 0.2  # share of the pictures before the clock starts: workers start, and their first batches wait


def write_webdataset(files: list[Path], folder: Path) -> None:
    import webdataset  # type: ignore[import-not-found]

    folder.mkdir(parents=True)
    for shard in range(SHARDS):
        with webdataset.TarWriter(str(folder / f"{shard}.tar")) as writer:
            for path in files[shard::SHARDS]:
                writer.write({"__key__": path.stem, path.suffix[1:]: path.read_bytes()})


def write_streaming(files: list[Path], folder: Path) -> None:
    from streaming import MDSWriter  # type: ignore[import-not-found]

    with MDSWriter(
        out=str(folder), columns={"image": "bytes"}, size_limit=sum(p.stat().st_size for p in files) // SHARDS
    ) as writer:
        for path in files:
            writer.write({"image": path.read_bytes()})


def read_webdataset(
    folder: Path, workers: int, step: Callable[[Image.Image], Any], collate: Callable[[list[Any]], Any]
) -> Iterable[Any]:
    import webdataset

    shards = sorted(str(path) for path in folder.glob("*.tar"))
    dataset = webdataset.WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("jpg;png").map_tuple(step)
    dataset = dataset.batched(BATCH, collation_fn=lambda samples: collate([sample[0] for sample in samples]))
    return torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=workers)


def read_streaming(
    folder: Path, workers: int, step: Callable[[Image.Image], Any], collate: Callable[[list[Any]], Any]
) -> Iterable[Any]:
    from streaming import StreamingDataset
    from streaming.base.util import clean_stale_shared_memory  # type: ignore[import-not-found]

    class Pictures(StreamingDataset):
        def __getitem__(self, index: Any) -> Any:
            with Image.open(io.BytesIO(super().__getitem__(index)["image"])) as image:
                return step(image.convert("RGB"))

    clean_stale_shared_memory()
    dataset = Pictures(local=str(folder), shuffle=False, batch_size=BATCH)
    return torch.utils.data.DataLoader(dataset, batch_size=BATCH, num_workers=workers, collate_fn=collate)


PEERS = {
    "webdataset": (write_webdataset, read_webdataset),
    "mosaicml-streaming": (write_streaming, read_streaming),
}


def speed(peer: str, folder: Path, images: int, workers: int, patch_size: int | None) -> float:
    """Pictures a second; with a patch size they become patches, without they stay uint8 [H, W, 3]."""
    processor = ImageProcessor(patch_size or 1)

    def step(image: Image.Image) -> np.ndarray:
        return processor(image)[0] if patch_size else np.asarray(image)

    def collate(arrays: list[np.ndarray]) -> Any:
        if patch_size:
            return len(arrays), torch.from_numpy(np.concatenate(arrays))
        return len(arrays), [torch.tensor(array) for array in arrays]

    batches = (count for count, _ in PEERS[peer][1](folder, workers, step, collate))
    return steady(batches, images)


def steady(batches: Iterable[int], images: int) -> float:
    """Pictures a second behind the first ones, out of batches of so many."""
    seen, before, start = 0, 0, 0.0
    for count in batches:
        seen += count
        if not before and seen >= WARM_UP * images:
            before, start = seen, time.perf_counter()
        if seen >= images:
            break
    return (seen - before) / (time.perf_counter() - start)


def main() -> None:
    torch.set_num_threads(1)
    sys.modules["streaming.vision"] = types.ModuleType("streaming.vision")  # these data sets want torchvision; nothing here does
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints is no answer
    for line in sys.stdin:
        question = json.loads(line)
        if question["ask"] == "versions":
            answer: Any = {peer: version(peer) for peer in PEERS} | {"pillow": version("pillow")}
        elif question["ask"] == "write":
            files = [Path(path) for path in question["files"]]
            for peer, (write, _) in PEERS.items():
                write(files, Path(question["folder"]) / peer)
            answer = True
        else:
            answer = speed(
                question["peer"], Path(question["folder"]) / question["peer"], question["images"], question["workers"],
                question["patch_size"],
            )  # fmt: skip
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
