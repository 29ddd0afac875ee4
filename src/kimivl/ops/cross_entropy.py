"""The output layer and its cross-entropy in one: the loss of each token without fp32 logits of the whole batch.

What it is: `linear_cross_entropy`, and the plain definition beside it.
What it is not: weighting or averaging of losses (`train/`), or logits for sampling (`Moonlight.logits`).
Why: with 32,000 tokens in the vocabulary, fp32 logits, their softmax and their gradient are three times 260 MB for 2,048
tokens, and moving them costs as much time as the matrix products. Here the rows go through in pieces that stay in the cache:
the gradient of the logits is made while they are at hand, in the activations' dtype, and scaled later by what each
token's loss counts. Measured in docs/performance.md.

Shapes: S supervised tokens, D hidden width, V vocabulary.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

PIECE_ROWS = 128  # tokens worked on at a time; measured, 64 to 320 are about equal for 2,816 and for 32,000 tokens


def linear_cross_entropy_reference(hidden_SD: Tensor, weight_VD: Tensor, labels_S: Tensor) -> Tensor:
    """The definition: −log softmax(hidden · weightᵀ)[label]."""
    logits_SV = F.linear(hidden_SD, weight_VD.to(hidden_SD.dtype))
    return F.cross_entropy(logits_SV.float(), labels_S, reduction="none")


def linear_cross_entropy(hidden_SD: Tensor, weight_VD: Tensor, labels_S: Tensor) -> Tensor:
    """Cross-entropy of each token.

    Args:
        hidden_SD: activations; the products are made in their dtype, softmax and losses in fp32.
        weight_VD: the output layer, any float dtype.
        labels_S: the right tokens, int64.
    Returns: [S], fp32.
    """
    return _LinearCrossEntropy.apply(hidden_SD, weight_VD, labels_S)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_SD: Tensor, weight_VD: Tensor, labels_S: Tensor) -> Tensor:
        weight_cast = weight_VD.to(hidden_SD.dtype)
        exact = torch.promote_types(hidden_SD.dtype, torch.float32)
        losses_S = torch.empty(len(labels_S), dtype=exact, device=hidden_SD.device)
        # Holds the logits, then the loss's gradient by them.
        logits_SV = hidden_SD.new_empty(len(labels_S), len(weight_VD))
        pieces = (x.split(PIECE_ROWS) for x in (hidden_SD, labels_S, losses_S, logits_SV))
        for hidden, labels, losses, logits in zip(*pieces):
            torch.mm(hidden, weight_cast.T, out=logits)
            label = labels[:, None]
            score = logits.to(exact)
            probability = torch.softmax(score, dim=-1)
            # The largest score and its probability give the normaliser without loss of digits, however unlikely the label.
            normaliser = score.amax(-1, keepdim=True) - probability.amax(-1, keepdim=True).log_()
            losses.copy_((normaliser - score.gather(1, label))[:, 0])
            logits.copy_(probability.scatter_add_(1, label, probability.new_full(label.shape, -1.0)))
        ctx.save_for_backward(hidden_SD, weight_cast, logits_SV)
        ctx.weight_dtype = weight_VD.dtype
        return losses_S

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:
        hidden_SD, weight_cast, grad_SV = ctx.saved_tensors
        weight_S1 = grads[0][:, None]
        grad_hidden = (grad_SV @ weight_cast).mul_(weight_S1)
        if not ctx.needs_input_grad[1]:  # a frozen output layer
            return grad_hidden, None, None
        grad_weight = grad_SV.T @ (hidden_SD * weight_S1).to(hidden_SD.dtype)
        return grad_hidden, grad_weight.to(ctx.weight_dtype), None
