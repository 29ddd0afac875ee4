"""The other side of `kimivl bench step`: transformers' DeepseekV3ForCausalLM, trained as its users train it.

What it is: the same decoder with the same weights, in the forms that its users choose between (bf16 autocast over fp32 weights,
or bf16 weights; grouped or eager experts), and torch's own optimizers on it.
What it is not: a dependency; transformers is imported when the comparison runs, and only then. Nor are all its forms here:
`batched_mm` copies an expert's weights for every token, which does not fit the memory at these loads, and nothing is compiled
on either side.
torch.optim.Muon takes matrices only, so that stacks of experts are handed over as one matrix per expert: the same blocks, and
the same arithmetic, as on our side.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kimivl.config.model import TextConfig
from kimivl.model.moonlight import Moonlight
from kimivl.optim import param_specs

IGNORED = -100
INSTALL = "kimivl bench step compares with transformers, which is not installed: pip install 'transformers==5.24.0'"


class MissingPeer(RuntimeError):
    """The program to compare with is not installed; the message says how to install it."""


@dataclass(frozen=True)
class Form:
    """How a user of transformers may run it."""

    weights: torch.dtype
    experts: str  # transformers' experts_implementation
    compute: torch.dtype

    def __str__(self) -> str:
        name = str(self.weights).removeprefix("torch.")
        how = f"autocast over {name} weights" if self.weights != self.compute else f"{name} weights"
        return f"{how}, {self.experts} experts"


def forms(compute: torch.dtype) -> list[Form]:
    """What to choose the fastest from."""
    weights = [torch.float32] if compute == torch.float32 else [torch.float32, compute]
    return [Form(dtype, experts, compute) for dtype in weights for experts in ("grouped_mm", "eager")]


class Peer:
    """transformers' decoder with the weights of ours.

    Raises: MissingPeer without transformers.
    """

    def __init__(self, ours: Moonlight, form: Form):
        self.form = form
        self.model = _model(ours.config)
        self.model.load_state_dict(ours.state_dict())
        self.model.set_experts_implementation(form.experts)
        # The router's bias is an fp32 buffer in both programs.
        for module in self.model.modules():
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(form.weights)

    def loss(self, ids_BL: Tensor, labels_BL: Tensor, mask_BL: Tensor | None) -> Tensor:
        """The mean loss over all real tokens of a padded batch."""
        logits_BLV = self.logits(ids_BL, mask_BL)
        return F.cross_entropy(logits_BLV.float().flatten(0, 1), labels_BL.flatten(), ignore_index=IGNORED)

    def logits(self, ids_BL: Tensor, mask_BL: Tensor | None = None) -> Tensor:
        """[B, L, V], in the dtype that it computes in."""
        with torch.autocast("cpu", self.form.compute, enabled=self.form.weights != self.form.compute):
            logits_BLV: Tensor = self.model(input_ids=ids_BL, attention_mask=mask_BL, use_cache=False).logits
        return logits_BLV

    def muon(self, lr: float, weight_decay: float) -> Callable[[], None]:
        """A step of torch.optim.Muon for the matrices and AdamW for the rest, with the split of our own table."""
        specs = param_specs((f"language_model.{name}", parameter) for name, parameter in self.model.named_parameters())
        matrices = [spec for spec in specs if spec.kind == "muon"]
        blocks = [[nn.Parameter(block) for block in spec.blocks(spec.parameter.detach())] for spec in matrices]
        flat = [block for of_one in blocks for block in of_one]
        muon = torch.optim.Muon(flat, lr=lr, weight_decay=weight_decay, momentum=0.95, adjust_lr_fn="match_rms_adamw")
        rest = [spec.parameter for spec in specs if spec.kind == "adamw"]
        adamw = torch.optim.AdamW(rest, lr=lr, weight_decay=weight_decay, betas=(0.9, 0.95), fused=True)

        def step() -> None:
            for spec, of_one in zip(matrices, blocks):
                assert spec.parameter.grad is not None
                for block, grad in zip(of_one, spec.blocks(spec.parameter.grad)):
                    block.grad = grad
            muon.step()
            adamw.step()

        return step

    def adamw(self, lr: float, weight_decay: float) -> Callable[[], Any]:
        """A step of torch.optim.AdamW for everything."""
        parameters = list(self.model.parameters())
        return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, betas=(0.9, 0.95), fused=True).step


def version() -> str:
    """The installed transformers. Raises: MissingPeer."""
    return f"transformers {_transformers().__version__}"


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise MissingPeer(INSTALL) from None
    return transformers


def _model(text: TextConfig) -> Any:
    same = text.model_dump(exclude={"kv_norm_eps", "initializer_range", "aux_loss_alpha"})
    fixed = {"q_lora_rank": None, "n_group": 1, "topk_group": 1, "num_nextn_predict_layers": 0, "tie_word_embeddings": False}
    library = _transformers()
    config = library.DeepseekV3Config(num_key_value_heads=text.num_attention_heads, **fixed, **same)
    return library.DeepseekV3ForCausalLM(config).train()
