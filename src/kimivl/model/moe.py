"""The mixture of experts: routing, the experts' call, and Moonlight's balance rules.

Each token goes to K of E routed experts and to the shared pair. The router scores with a sigmoid in fp32; a bias per
expert, moved by `update_balance_bias` and never by a gradient, decides only who is chosen.
What it is not: the experts' arithmetic (`ops/expert_ffn.py`).
Facts: reference/model.md §8 and §9.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kimivl.config.model import TextConfig
from kimivl.model.layers import Linear
from kimivl.ops.expert_ffn import expert_ffn
from kimivl.ops.segments import Segments


@dataclass(frozen=True)
class Routing:
    """What the router decided for a batch."""

    experts_TK: Tensor  # chosen experts, int64
    weights_TK: Tensor  # mixing weights, fp32
    scores_TE: Tensor  # sigmoid scores before the bias, fp32


class Router(nn.Module):
    """Chooses experts. Official name: `mlp.gate`."""

    e_score_correction_bias: Tensor

    def __init__(self, config: TextConfig):
        super().__init__()
        self.chosen = config.num_experts_per_tok
        self.scale = config.routed_scaling_factor
        self.weight = nn.Parameter(torch.empty(config.n_routed_experts, config.hidden_size))
        self.register_buffer("e_score_correction_bias", torch.zeros(config.n_routed_experts))

    def forward(self, x_TD: Tensor) -> Routing:
        scores_TE = F.linear(x_TD.float(), self.weight.float()).sigmoid()
        experts_TK = (scores_TE + self.e_score_correction_bias).topk(self.chosen, dim=-1, sorted=False).indices
        chosen_TK = scores_TE.gather(-1, experts_TK)
        weights_TK = self.scale * chosen_TK / (chosen_TK.sum(-1, keepdim=True) + 1e-20)
        return Routing(experts_TK, weights_TK, scores_TE)


class Experts(nn.Module):
    """The routed experts' weights, stacked: one tensor for each kind, however many experts there are."""

    def __init__(self, config: TextConfig):
        super().__init__()
        count, width, inner = config.n_routed_experts, config.hidden_size, config.moe_intermediate_size
        self.gate_up_proj = nn.Parameter(torch.empty(count, 2 * inner, width))  # gate rows, then up rows
        self.down_proj = nn.Parameter(torch.empty(count, width, inner))

    def forward(self, x_TD: Tensor, routing: Routing) -> Tensor:
        return expert_ffn(x_TD, routing.experts_TK, routing.weights_TK, self.gate_up_proj, self.down_proj)


class SwiGLU(nn.Module):
    """The dense feed-forward: of the first layers, and of the shared experts as one."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.gate_proj = Linear(width, inner, bias=False)
        self.up_proj = Linear(width, inner, bias=False)
        self.down_proj = Linear(inner, width, bias=False)

    def forward(self, x_TD: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x_TD)) * self.up_proj(x_TD))


class MoE(nn.Module):
    """Routed experts, scaled, plus the shared experts, unscaled."""

    def __init__(self, config: TextConfig):
        super().__init__()
        self.gate = Router(config)
        self.experts = Experts(config)
        self.shared_experts = SwiGLU(config.hidden_size, config.n_shared_experts * config.moe_intermediate_size)

    def forward(self, x_TD: Tensor) -> tuple[Tensor, Routing]:
        routing = self.gate(x_TD)
        return self.experts(x_TD, routing) + self.shared_experts(x_TD), routing


def expert_load(routing: Routing) -> Tensor:
    """How many tokens chose each expert. int64 [E]"""
    return torch.bincount(routing.experts_TK.flatten(), minlength=routing.scores_TE.shape[1])


def sequence_balance_loss(routing: Routing, segments: Segments) -> Tensor:
    """The sequence-wise auxiliary loss before its weight α: Σ_i f_i·P_i, summed over sequences (reference/model.md §9.3).

    A sum, so that the mean over the sequences of a step does not depend on how they were packed.

    f_i is the share of a sequence's choices that fell on expert i, times E; P_i the mean of its normalised score.
    """
    experts = routing.scores_TE.shape[1]
    count = len(segments.lengths)
    length_B = torch.tensor(segments.lengths, device=routing.scores_TE.device, dtype=torch.float32)[:, None]
    chosen_TE = torch.zeros_like(routing.scores_TE).scatter_(1, routing.experts_TK, 1.0)
    share_TE = routing.scores_TE / routing.scores_TE.sum(-1, keepdim=True)
    frequency_BE = torch.zeros(count, experts, device=chosen_TE.device).index_add(0, segments.id_T, chosen_TE)
    share_BE = torch.zeros(count, experts, device=chosen_TE.device).index_add(0, segments.id_T, share_TE)
    frequency_BE = frequency_BE * experts / (routing.experts_TK.shape[1] * length_B)
    return (frequency_BE * share_BE / length_B).sum()


@torch.no_grad()
def update_balance_bias(router: Router, load_E: Tensor, rate: float) -> None:
    """Moonlight's rule: raise the bias of underused experts, lower the others', keep the sum.

    Args:
        load_E: tokens per expert over the step's whole (global) batch.
        rate: u of the rule, 1e-3 while training, 0 in Moonlight's last stage.
    """
    direction_E = torch.sign(load_E.float().mean() - load_E.float())
    router.e_score_correction_bias += rate * (direction_E - direction_E.mean())
