"""The loss of direct preference optimization (DPO), on whole responses.

What it is: −log σ(β·[(log π − log π₀)(chosen) − (log π − log π₀)(rejected)]), where log π of a response is the sum over its
tokens and π₀ the policy at the start (Rafailov et al. 2023, equation 7; Kimi k1.5 §2.4 takes it to shorten thoughts).
What it is not: the choice of pairs (`shortest.py`), or the updates (`train/preference_trainer.py`).
"""

from torch import Tensor, nn


def preference_losses(logp_N2: Tensor, reference_N2: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """(loss, margin) of each pair, fp32 [N] each. The margin is what β multiplies: in nats, 0 at the start.

    Args:
        logp_N2: log π of the chosen and of the rejected response, with gradients.
        reference_N2: the same under the policy at the start, without.
    """
    ratio_N2 = logp_N2.float() - reference_N2.float()
    margin_N = ratio_N2[:, 0] - ratio_N2[:, 1]
    return -nn.functional.logsigmoid(beta * margin_N), margin_N
