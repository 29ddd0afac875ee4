"""Stage 1: MoonViT learns from image-text pairs, as CoCa does (paper §2.3).

L = L_siglip + λ · L_caption with λ = 2: a sigmoid contrastive loss between images and texts, and next-token prediction of
the text by a tiny decoder that reads the image's features. Images are encoded once for both.
Two pictures of a batch may have the same text ("a red circle"): such pairs count as matches, see docs/deviations.md.
"""

import torch
from torch import Tensor

from kimivl.data.batch import PackedBatch
from kimivl.model.coca import CoCa, siglip_loss
from kimivl.processor.tokenizer import Tokenizer
from kimivl.train.stages.language import balance_loss, expert_loads, loss_by_source, supervised_losses
from kimivl.train.stages.task import PackLoss, StepTotals, Task

CAPTION_WEIGHT = 2.0  # λ
EVERYTHING = (
    "vision_tower.",
    "multi_modal_projector.",
    "language_model.",
    "text_encoder.",
    "image_head.",
    "logit_scale",
    "logit_bias",
)


def vit_task(model: CoCa, tokenizer: Tokenizer) -> Task:
    """The task of stage 1."""
    media_end, eos = tokenizer.special("<|media_end|>"), tokenizer.eos_id

    def pack_loss(batch: PackedBatch, step: StepTotals) -> PackLoss:
        text_NL = caption_texts(batch, media_end, eos, model.text_encoder.config.max_position_embeddings)
        image_ND, features = model.image_embeddings(batch.patches_P, batch.grids)
        contrast = siglip_loss(
            image_ND, model.text_embeddings(text_NL), model.logit_scale.exp(), model.logit_bias, equal_rows(text_NL)
        )
        output = model.caption(batch.ids_T, batch.segments, features)
        losses_S, chosen_S = supervised_losses(model, output, batch)
        caption = CAPTION_WEIGHT * losses_S.sum() / step.weight
        loss = caption + contrast / step.packs + balance_loss(model, output, batch, step)
        metrics = loss_by_source(losses_S.detach(), chosen_S, batch) | {"siglip": (contrast.item(), 1.0)}
        return PackLoss(loss, expert_loads(output), metrics)

    return Task(model, EVERYTHING, pack_loss)


def caption_texts(batch: PackedBatch, media_end: int, padding: int, length: int) -> Tensor:
    """The text of each image-text pair: the tokens behind its image, padded and cut to `length`. int64 [N, length]

    Raises: ValueError naming a sample that is not one image followed by text.
    """
    rows = []
    for ids, sample_id in zip(batch.ids_T.split(batch.segments.lengths), batch.sample_ids):
        ends = (ids == media_end).nonzero()[:, 0]
        if len(ends) != 1:
            raise ValueError(f"sample {sample_id} has {len(ends)} images; the vit stage trains on one image and its text")
        text = ids[ends[0] + 1 :][:length]
        rows.append(torch.cat([text, text.new_full((length - len(text),), padding)]))
    return torch.stack(rows)


def equal_rows(rows_NL: Tensor) -> Tensor:
    """Which pairs of texts are the same. bool [N, N]"""
    return (rows_NL[:, None] == rows_NL[None, :]).all(-1)
