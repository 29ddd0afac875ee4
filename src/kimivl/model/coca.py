"""The model of the ViT stage: contrastive and captioning objectives on one image encoder (paper §2.3).

What it is: `CoCa`, a KimiVL whose decoder is tiny, with SigLIP's text encoder and image head beside it; and SigLIP's loss.
What it is not: the captioning loss, which is the ordinary loss of packed text with images (`train/`).
Facts: L = L_siglip + λ·L_caption, λ = 2. The images are encoded once for both. The decoder reads image features in front of
the text instead of through cross-attention, see docs/deviations.md. Only `vision_tower` lives on after this stage.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kimivl.config.model import ModelConfig, TextEncoderConfig
from kimivl.model.kimi_vl import KimiVL
from kimivl.model.moonlight import DecoderOutput
from kimivl.model.moonvit import Grids, merge_patches
from kimivl.model.siglip import ImageHead, TextEncoder
from kimivl.ops.segments import Segments


class CoCa(KimiVL):
    """MoonViT between a contrastive head and a captioning decoder.

    Args:
        config: MoonViT's own vision_config, and the tiny decoder as text_config.
        text_encoder: its `projection_size` must be MoonViT's `hidden_size`, because the two vectors are compared.
    """

    def __init__(self, config: ModelConfig, text_encoder: TextEncoderConfig, dtype: torch.dtype = torch.float32):
        super().__init__(config, dtype)
        if text_encoder.projection_size != config.vision_config.hidden_size:
            raise ValueError(
                f"text_encoder.projection_size {text_encoder.projection_size} must equal "
                f"vision_config.hidden_size {config.vision_config.hidden_size}: both ends' vectors are compared"
            )
        self.text_encoder = TextEncoder(text_encoder)
        self.image_head = ImageHead(config.vision_config)
        self.logit_scale = nn.Parameter(torch.empty(()))  # logarithm of the scale
        self.logit_bias = nn.Parameter(torch.empty(()))

    def image_embeddings(self, patches_P: Tensor, grids: Grids) -> tuple[Tensor, Tensor]:
        """Encodes images once for both objectives.

        Returns:
            pooled_ND: unit vectors to compare with texts, fp32.
            features: [P / 4, text width], what the decoder reads in the places of `<|media_pad|>`.
        """
        encoded_PD = self.vision_tower(patches_P.to(self.dtype), grids)
        pooled_ND = F.normalize(self.image_head(encoded_PD, grids).float(), dim=-1)
        merged = merge_patches(encoded_PD, grids, self.config.vision_config.merge_kernel_size)
        return pooled_ND, self.multi_modal_projector(merged)

    def text_embeddings(self, ids_BL: Tensor) -> Tensor:
        """Unit vectors of texts that are all padded to one length. fp32 [B, D]"""
        return F.normalize(self.text_encoder(ids_BL, self.dtype).float(), dim=-1)

    def caption(self, ids_T: Tensor, segments: Segments, features: Tensor) -> DecoderOutput:
        """Runs the decoder on packed captions, whose images are already encoded; `language_model.logits` does the rest."""
        return self.language_model(self.embed(ids_T, features), segments)


def siglip_loss(image_ND: Tensor, text_ND: Tensor, scale: Tensor, bias: Tensor, match_NN: Tensor | None = None) -> Tensor:
    """SigLIP's pairwise loss: every image against every text of the batch is one binary question.

    Args:
        image_ND, text_ND: unit vectors; image i and text i belong together.
        scale: temperature itself, `logit_scale.exp()`. bias: added to every logit.
        match_NN: which texts fit which images, bool; the diagonal unless given.
    Returns: −1/N · Σ_ij log σ(z_ij · (scale · image_i · text_j + bias)), z = 1 for a match, else −1.
    """
    logits_NN = scale * image_ND @ text_ND.T + bias
    match_NN = torch.eye(len(logits_NN), dtype=torch.bool, device=logits_NN.device) if match_NN is None else match_NN
    return -F.logsigmoid(torch.where(match_NN, logits_NN, -logits_NN)).sum() / len(logits_NN)
