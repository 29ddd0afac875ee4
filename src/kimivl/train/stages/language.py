"""Next-token prediction: the loss of every stage but stage 1's contrastive part (paper §2.3, §2.4).

Text pre-training, alignment, joint pre-training, cooldown, long-context activation, SFT and long-CoT SFT differ in their data
(the recipe's mixture and the samples' loss masks) and in what trains. Alignment moves only MoonViT and projector.
"""

import torch
from torch import Tensor

from kimivl.config.recipe import StageKind
from kimivl.data.batch import PackedBatch
from kimivl.model.kimi_vl import KimiVL
from kimivl.model.moe import expert_load, sequence_balance_loss
from kimivl.model.moonlight import DecoderOutput
from kimivl.train.stages.task import PackLoss, StepTotals, Task

EVERYTHING = ("vision_tower.", "multi_modal_projector.", "language_model.")
TRAINED: dict[StageKind, tuple[str, ...]] = {
    "text": ("language_model.",),
    "align": ("vision_tower.", "multi_modal_projector."),
    "joint": EVERYTHING,
    "cooldown": EVERYTHING,
    "long_context": EVERYTHING,
    "sft": EVERYTHING,
    "long_cot": EVERYTHING,
}


def language_task(model: KimiVL, kind: StageKind) -> Task:
    """The task of a stage of this kind."""

    def pack_loss(batch: PackedBatch, step: StepTotals) -> PackLoss:
        output = model(batch.ids_T, batch.segments, batch.patches_P, batch.grids)
        losses_S, chosen_S = supervised_losses(model, output, batch)
        loss = (losses_S * batch.weights_T[chosen_S]).sum() / step.weight
        metrics = loss_by_source(losses_S.detach(), chosen_S, batch)
        if "language_model." not in TRAINED[kind]:  # frozen routers: MoonViT must not learn to please them
            behind = loss_behind_images(losses_S.detach(), chosen_S, batch, model.config.media_placeholder_token_id)
            return PackLoss(loss, [], metrics | {"loss_behind_images": behind})
        return PackLoss(loss + balance_loss(model, output, batch, step), expert_loads(output), metrics)

    return Task(model, TRAINED[kind], pack_loss)


def supervised_losses(model: KimiVL, output: DecoderOutput, batch: PackedBatch) -> tuple[Tensor, Tensor]:
    """Losses of the supervised tokens and their places: logits are computed only there. (fp32 [S], int64 [S])"""
    chosen_S = batch.weights_T.nonzero()[:, 0]
    hidden_SD = output.hidden_TD.index_select(0, chosen_S)
    return model.language_model.losses(hidden_SD, batch.labels_T[chosen_S]), chosen_S


def balance_loss(model: KimiVL, output: DecoderOutput, batch: PackedBatch, step: StepTotals) -> Tensor:
    """This pack's part of the sequence-wise balance loss of all mixture layers with its weight α; 0 where there is none."""
    alpha = model.config.text_config.aux_loss_alpha
    if not alpha or not output.routings:
        return torch.zeros((), device=output.hidden_TD.device)
    losses = [sequence_balance_loss(routing, batch.segments) for routing in output.routings]
    return alpha * torch.stack(losses).sum() / step.sequences


def expert_loads(output: DecoderOutput) -> list[Tensor]:
    """Tokens per expert of each mixture layer."""
    return [expert_load(routing) for routing in output.routings]


def loss_by_source(losses_S: Tensor, chosen_S: Tensor, batch: PackedBatch) -> dict[str, tuple[float, float]]:
    """(sum of losses, tokens), in all and for every data source of the pack."""
    names = list(dict.fromkeys(batch.sources))
    source_of_segment = torch.tensor([names.index(name) for name in batch.sources])
    source_S = source_of_segment[batch.segments.id_T[chosen_S].cpu()]
    sums = torch.zeros(len(names)).index_add_(0, source_S, losses_S.cpu())
    counts = torch.bincount(source_S, minlength=len(names))
    by_source = {f"loss/{name}": (float(total), float(count)) for name, total, count in zip(names, sums, counts)}
    return {"loss": (float(losses_S.sum()), float(len(losses_S))), **by_source}


def loss_behind_images(losses_S: Tensor, chosen_S: Tensor, batch: PackedBatch, media_pad: int) -> tuple[float, float]:
    """(sum of losses, tokens) of the text behind its segment's first image, the end of the document included.

    The tokens that open and close an image are left out: none of them can be told from what the image shows.
    """
    pad_T = batch.ids_T == media_pad
    images_before_T = pad_T.cumsum(0)
    before_segment_N = (images_before_T - pad_T.long())[batch.segments.starts]
    behind_T = (images_before_T > before_segment_N[batch.segments.id_T]) & ~pad_T
    losses = losses_S[behind_T[chosen_S]]
    return float(losses.sum()), float(len(losses))


@torch.no_grad()
def mean_loss(model: KimiVL, batches: list[PackedBatch]) -> float:
    """The mean loss over all supervised tokens of held-out packs, in nats."""
    total = weight = 0.0
    for batch in batches:
        losses_S, _ = supervised_losses(model, model(batch.ids_T, batch.segments, batch.patches_P, batch.grids), batch)
        total, weight = total + float(losses_S.sum()), weight + len(losses_S)
    return total / weight
