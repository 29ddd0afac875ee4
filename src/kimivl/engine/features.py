"""What MoonViT and the projector made of pictures, kept so that a picture is encoded once.

What it is: `FeatureCache`, keyed by pixels and grid, bounded in bytes, the longest unused picture leaving first.
What it is not: a cache of prompts' prefixes. Pixels alone decide: two files of one picture share an entry, and two pictures
that share a name do not.
One cache belongs to one set of weights; after training on, make a new one.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kimivl.model.kimi_vl import KimiVL
from kimivl.processor.processor import Encoded

MAX_BYTES = 256 * 2**20
PATCH_BUDGET = 16_384  # patches that MoonViT encodes in one call


class _Picture(NamedTuple):
    key: bytes
    patches_P: np.ndarray
    grid: tuple[int, int]


class FeatureCache:
    """Features of pictures in the language model's space.

    Args:
        max_bytes: of kept features; pictures of one call are all served, even if together they are larger.
    """

    def __init__(self, model: KimiVL, max_bytes: int = MAX_BYTES):
        self.model, self.max_bytes = model, max_bytes
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()
        self._bytes = 0

    def features(self, prompts: Sequence[Encoded]) -> Tensor | None:
        """Features of all pictures of the prompts, one after the other; None if there are no pictures. [tokens, D]"""
        pictures = [picture for prompt in prompts for picture in _pictures(prompt)]
        if not pictures:
            return None
        served = {picture.key: self._kept[picture.key] for picture in pictures if picture.key in self._kept}
        missing = {picture.key: picture for picture in pictures if picture.key not in served}
        for group in _groups(list(missing.values())):
            served.update(self._encode(group))
        self._keep(served)
        return torch.cat([served[picture.key] for picture in pictures])

    def _encode(self, pictures: Sequence[_Picture]) -> dict[bytes, Tensor]:
        """One packed call for several pictures."""
        config = self.model.config.vision_config
        patches_P = torch.from_numpy(np.concatenate([picture.patches_P for picture in pictures]))
        features = self.model.image_features(patches_P, [picture.grid for picture in pictures])
        merged = config.merge_kernel_size[0] * config.merge_kernel_size[1]
        parts = features.split([len(picture.patches_P) // merged for picture in pictures])
        # Copies: a part of the pack would keep the whole pack in memory.
        return {picture.key: part.clone() for picture, part in zip(pictures, parts)}

    def _keep(self, served: dict[bytes, Tensor]) -> None:
        for key, features in served.items():
            if key not in self._kept:
                self._bytes += features.nbytes
            self._kept[key] = features
            self._kept.move_to_end(key)
        while self._bytes > self.max_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= dropped.nbytes


def _pictures(prompt: Encoded) -> Iterator[_Picture]:
    start = 0
    for rows, columns in prompt.grids.tolist():
        patches_P = np.ascontiguousarray(prompt.patches[start : start + rows * columns])
        start += rows * columns
        digest = hashlib.blake2b(f"{rows} {columns} ".encode(), digest_size=20)
        digest.update(patches_P.data)
        yield _Picture(digest.digest(), patches_P, (rows, columns))


def _groups(pictures: Sequence[_Picture]) -> Iterator[list[_Picture]]:
    """Runs of pictures within the patch budget; a larger picture is alone."""
    group: list[_Picture] = []
    patches = 0
    for picture in pictures:
        if group and patches + len(picture.patches_P) > PATCH_BUDGET:
            yield group
            group, patches = [], 0
        group.append(picture)
        patches += len(picture.patches_P)
    if group:
        yield group
