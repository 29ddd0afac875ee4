"""What the decoder keeps of the past: one latent and one rotated key per token and layer.

What it is: `RowCache`, the rows of a batch that is being answered: filled once from a packed prefill, copied where several
answers grow from one prompt, lengthened by one place a step, and narrowed when rows are finished.
What it is not: the arithmetic (`model/moonlight.py` reads and writes places), pages, or prefixes shared between prompts.
Facts: reference/model.md §7.2.

Shapes: N layers, B rows, L places, R latent rank, C channels of the shared key.
"""

import torch
from torch import Tensor

from kimivl.model.moonlight import LatentCache
from kimivl.ops.segments import Segments

BLOCK = 64  # places are allocated in multiples of this


class RowCache:
    """The latents of B rows.

    Args:
        latents: (latent [T, R], key [T, C]) of each layer, for all tokens of the packed prompts (`DecoderOutput.latents`).
        segments: the prompts; each becomes a row.
    """

    def __init__(self, latents: list[tuple[Tensor, Tensor]], segments: Segments):
        self.place_B = torch.tensor(segments.lengths, device=segments.device)  # where each row's next token belongs
        self._last_place = max(segments.lengths)
        shape = (len(latents), len(segments.lengths), _blocks(self._last_place + 1))
        latent_TR, key_TC = latents[0]
        # Zeros and not empty memory: masked places have weight 0, and 0 times a stray NaN would still be NaN.
        self._latent_NBLR = latent_TR.new_zeros(*shape, latent_TR.shape[-1])
        self._key_NBLC = key_TC.new_zeros(*shape, key_TC.shape[-1])
        for layer, (latent_TR, key_TC) in enumerate(latents):
            self._latent_NBLR[layer, segments.id_T, segments.position_T] = latent_TR
            self._key_NBLC[layer, segments.id_T, segments.position_T] = key_TC

    def spread(self, row_B: Tensor) -> None:
        """Row i becomes a copy of the old row `row_B[i]`. int64 [B]"""
        self._latent_NBLR, self._key_NBLC = self._latent_NBLR[:, row_B], self._key_NBLC[:, row_B]
        self.place_B = self.place_B[row_B]

    def layers(self) -> list[LatentCache]:
        """Each layer's cache, with room for one more token in every row; what is written to it is kept."""
        if self._last_place >= self._key_NBLC.shape[2]:
            self._latent_NBLR, self._key_NBLC = (_longer(cache) for cache in (self._latent_NBLR, self._key_NBLC))
        return [LatentCache(latent, key) for latent, key in zip(self._latent_NBLR, self._key_NBLC)]

    def advance(self) -> None:
        """Every row has its next token in the cache."""
        self.place_B = self.place_B + 1
        self._last_place += 1

    def keep(self, live_B: Tensor) -> Tensor:
        """Drops the rows that are not live.

        Rows from the end move into the gaps, so that only as many rows are copied as there are gaps.
        Returns: which old row stands at each place now. int64 [live rows]
        """
        count = int(live_B.sum())
        gap = (~live_B[:count]).nonzero()[:, 0]
        moved = count + live_B[count:].nonzero()[:, 0]
        for cache in (self._latent_NBLR, self._key_NBLC):
            cache[:, gap] = cache[:, moved]
        self._latent_NBLR, self._key_NBLC = self._latent_NBLR[:, :count], self._key_NBLC[:, :count]
        order_B = torch.arange(count, device=live_B.device)
        order_B[gap] = moved
        self.place_B = self.place_B[order_B]
        self._last_place = int(self.place_B.max()) if count else 0
        return order_B


def _blocks(places: int) -> int:
    return -(-places // BLOCK) * BLOCK


def _longer(cache_NBLX: Tensor) -> Tensor:
    """The same with one more block of places."""
    return torch.nn.functional.pad(cache_NBLX, (0, 0, 0, BLOCK))
