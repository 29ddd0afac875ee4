"""Kimi-VL as a whole: images and text in, hidden states and logits out (paper §2.1, figure 3).

What it is: the joining of MoonViT, projector and Moonlight, by the official checkpoint's names.
What it is not: the processor that makes ids and patches, losses, or generation.
Facts: reference/model.md §3.4. Image features overwrite the embeddings of `<|media_pad|>` in order; image tokens take
ordinary positions and causal masking.
"""

import torch
from torch import Tensor, nn

from kimivl.config.model import ModelConfig
from kimivl.model.moonlight import DecoderOutput, Moonlight
from kimivl.model.moonvit import Grids, MoonViT, merge_patches
from kimivl.model.projector import Projector
from kimivl.ops.segments import Segments


class KimiVL(nn.Module):
    """The model. Parameters are fp32; it computes in `dtype`."""

    def __init__(self, config: ModelConfig, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.config = config
        self.dtype = dtype
        self.vision_tower = MoonViT(config.vision_config)
        self.multi_modal_projector = Projector(config)
        self.language_model = Moonlight(config.text_config)

    def image_features(self, patches_P: Tensor, grids: Grids) -> Tensor:
        """Encodes and projects images: [P, 3, side, side] → [P / 4, D], image after image."""
        encoded_PD = self.vision_tower(patches_P.to(self.dtype), grids)
        return self.multi_modal_projector(merge_patches(encoded_PD, grids, self.config.vision_config.merge_kernel_size))

    def embed(self, ids_T: Tensor, features: Tensor | None) -> Tensor:
        """Token embeddings, with image features in the places of `<|media_pad|>`. [T, D]

        Raises: ValueError if the number of features differs from the number of places.
        """
        x_TD = self.language_model.model.embed_tokens(ids_T).to(self.dtype)
        place = (ids_T == self.config.media_placeholder_token_id).nonzero()[:, 0]
        given = 0 if features is None else features.shape[0]
        if len(place) != given:
            raise ValueError(f"the text has places for {len(place)} image features but the images give {given}")
        return x_TD if features is None else x_TD.index_copy(0, place, features.to(self.dtype))

    def forward(
        self,
        ids_T: Tensor,
        segments: Segments,
        patches_P: Tensor | None = None,
        grids: Grids = (),
    ) -> DecoderOutput:
        """Runs a packed batch up to the final norm; `language_model.logits` turns what is needed of it into logits.

        Args:
            ids_T: token ids of all segments, one after the other.
            patches_P, grids: the images, in the order of their places in `ids_T`; none if there are no images.
        """
        features = self.image_features(patches_P, grids) if patches_P is not None and len(grids) else None
        return self.language_model(self.embed(ids_T, features), segments)
