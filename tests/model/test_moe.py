"""Routing, mixing and balancing, against hand-worked numbers."""

import math

import pytest
import torch
import torch.nn.functional as F

from kimivl.config.model import TextConfig
from kimivl.model.moe import MoE, Router, Routing, expert_load, sequence_balance_loss, update_balance_bias
from kimivl.ops.expert_ffn import expert_ffn_reference
from kimivl.ops.segments import Segments


def config(experts: int = 4, chosen: int = 2, scale: float = 2.0) -> TextConfig:
    return TextConfig(
        vocab_size=300, hidden_size=experts, intermediate_size=8, moe_intermediate_size=6, num_hidden_layers=2,
        num_attention_heads=1, kv_lora_rank=4, qk_nope_head_dim=4, qk_rope_head_dim=4, v_head_dim=4, n_routed_experts=experts,
        num_experts_per_tok=chosen, routed_scaling_factor=scale,
    )  # fmt: skip


def router_with_logits_of_input() -> Router:
    """A router whose weight is the identity: the token's channels are the experts' logits."""
    router = Router(config())
    router.weight.data = torch.eye(4)
    return router


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def weights_by_expert(routing: Routing, token: int = 0) -> dict[int, float]:
    return dict(zip(routing.experts_TK[token].tolist(), routing.weights_TK[token].tolist()))


def test_the_best_experts_share_the_scaled_weight_by_sigmoid_score():
    routing = router_with_logits_of_input()(torch.tensor([[2.0, -1.0, 0.5, 0.0]]))
    both = sigmoid(2.0) + sigmoid(0.5)
    assert weights_by_expert(routing) == pytest.approx({0: 2 * sigmoid(2.0) / both, 2: 2 * sigmoid(0.5) / both})


def test_the_bias_decides_who_is_chosen_and_nothing_else():
    """A bias of 0.7 lifts expert 1 (score 0.27) over expert 2 (score 0.62); its weight still comes from 0.27."""
    router = router_with_logits_of_input()
    router.e_score_correction_bias[1] = 0.7
    routing = router(torch.tensor([[2.0, -1.0, 0.5, 0.0]]))
    both = sigmoid(2.0) + sigmoid(-1.0)
    assert weights_by_expert(routing) == pytest.approx({0: 2 * sigmoid(2.0) / both, 1: 2 * sigmoid(-1.0) / both})


def test_the_router_works_in_float32_whatever_comes_in():
    """Two logits that bfloat16 cannot tell apart: 3 + 2⁻⁸ and 3."""
    router = router_with_logits_of_input()
    router.weight.data[1, 1] = 1 + 2**-10
    routing = router(torch.tensor([[1.0, 3.0, 3.0, 1.0]], dtype=torch.bfloat16))
    assert routing.scores_TE.dtype == routing.weights_TK.dtype == torch.float32
    assert routing.scores_TE[0, 1] > routing.scores_TE[0, 2]


def test_shared_experts_are_added_once_and_unscaled(randomise):
    moe = randomise(MoE(config(scale=5.0)))
    x_TD = torch.randn(7, 4)
    with torch.no_grad():
        moe.experts.down_proj.zero_()
        torch.testing.assert_close(moe(x_TD)[0], moe.shared_experts(x_TD))


def test_a_token_gets_the_weighted_sum_of_its_experts(randomise):
    moe = randomise(MoE(config()))
    x_TD = torch.randn(5, 4)
    with torch.no_grad():
        out_TD, routing = moe(x_TD)
        for token, x_D in enumerate(x_TD):
            expected = moe.shared_experts(x_D)
            for expert, weight in weights_by_expert(routing, token).items():
                gate, up = moe.experts.gate_up_proj[expert, :6], moe.experts.gate_up_proj[expert, 6:]
                expected = expected + weight * (moe.experts.down_proj[expert] @ (F.silu(gate @ x_D) * (up @ x_D)))
            torch.testing.assert_close(out_TD[token], expected, atol=1e-5, rtol=1e-5)


def test_gradients_reach_the_router_through_the_weights_alone(randomise):
    """Autograd through the definition, with the choice held fixed: scale · σ(x·w_e) / Σ σ over the chosen."""
    moe, x_TD = randomise(MoE(config())), torch.randn(5, 4)
    out_TD, routing = moe(x_TD)
    out_TD.square().sum().backward()
    gate_ED = moe.gate.weight.detach().clone().requires_grad_()
    chosen_TK = (x_TD @ gate_ED.T).sigmoid().gather(-1, routing.experts_TK)
    weights_TK = moe.gate.scale * chosen_TK / chosen_TK.sum(-1, keepdim=True)
    experts = moe.experts.gate_up_proj.detach(), moe.experts.down_proj.detach()
    by_hand_TD = expert_ffn_reference(x_TD, routing.experts_TK, weights_TK, *experts) + moe.shared_experts(x_TD).detach()
    by_hand_TD.square().sum().backward()
    assert gate_ED.grad.abs().sum() > 0
    torch.testing.assert_close(moe.gate.weight.grad, gate_ED.grad, atol=1e-5, rtol=1e-4)
    assert "gate.e_score_correction_bias" not in dict(moe.named_parameters())


def test_the_balance_rule_raises_the_idle_and_lowers_the_busy():
    """Loads 10, 0, 2, 4 have mean 4: signs −1, 1, 1, 0 with mean ¼."""
    router = Router(config())
    router.e_score_correction_bias[:] = torch.tensor([0.1, 0.2, 0.3, 0.4])
    update_balance_bias(router, torch.tensor([10, 0, 2, 4]), 1e-3)
    expected = torch.tensor([0.1 - 1.25e-3, 0.2 + 0.75e-3, 0.3 + 0.75e-3, 0.4 - 0.25e-3])
    torch.testing.assert_close(router.e_score_correction_bias, expected)
    assert router.e_score_correction_bias.sum().item() == pytest.approx(1.0)


def test_a_rate_of_zero_leaves_the_bias_alone():
    router = Router(config())
    update_balance_bias(router, torch.tensor([9, 1, 1, 1]), 0.0)
    assert router.e_score_correction_bias.tolist() == [0, 0, 0, 0]


def test_load_counts_every_choice_and_idle_experts():
    routing = Routing(torch.tensor([[0, 2], [2, 1], [2, 0]]), torch.ones(3, 2), torch.zeros(3, 5))
    assert expert_load(routing).tolist() == [2, 1, 3, 0, 0]


def test_sequence_balance_loss_by_hand():
    """Two sequences of 2 and 1 tokens, 3 experts, 1 chosen.

    First:  choices 0, 0 → f = (3, 0, 0); score shares (½, ¼, ¼) and (¾, ⅛, ⅛) → P₀ = ⅝; Σ f·P = 15/8.
    Second: choice 2 → f = (0, 0, 3); shares (⅙, ⅓, ½) → Σ f·P = 3/2. Together 27/8.
    """
    scores = torch.tensor([[0.8, 0.4, 0.4], [0.6, 0.1, 0.1], [0.3, 0.6, 0.9]])
    routing = Routing(torch.tensor([[0], [0], [2]]), torch.ones(3, 1), scores)
    assert sequence_balance_loss(routing, Segments([2, 1])).item() == pytest.approx(27 / 8)


def test_perfect_balance_costs_one_and_gradients_reach_the_scores():
    scores = torch.full((4, 4), 0.5, requires_grad=True)
    routing = Routing(torch.tensor([[0, 1], [2, 3], [0, 1], [2, 3]]), torch.ones(4, 2), scores)
    loss = sequence_balance_loss(routing, Segments([4]))
    assert loss.item() == pytest.approx(1.0)
    routing = Routing(torch.tensor([[0, 1]]), torch.ones(1, 2), scores[:1])
    sequence_balance_loss(routing, Segments([1])).backward()
    assert scores.grad[0, 0] > 0 > scores.grad[0, 2]
