"""Which parameter is optimised how: an ordered table of names, because shapes mislead.

What it is: the table, and `param_specs`, which gives every trainable parameter one row of it. What it is not: an optimizer.
Facts: matrices go to Muon, router included (Moonlight Fig. 4); embeddings, output layer, gains and biases to AdamW. The paper
(§2.2) optimises vision tower and projector with Muon too. A rule such as "two or more dimensions" would be wrong here: the ViT's
position table [h, w, D] looks like a stack of matrices, its patch embedding is a 4-D convolution, the pooling probe is [1, 1, D].
Patch embedding and position table are input layers, so they follow the token embedding to AdamW; the papers do not say.
Weight decay is not a column: Moonlight's Appendix D calls decay of the norm gains crucial, so everything decays alike.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, NamedTuple

from torch import Tensor

Kind = Literal["muon", "adamw"]


class Rule(NamedTuple):
    """One row: names like `pattern` are optimised by `kind`, cut into `splits` equal row blocks, and logged under `label`."""

    pattern: str  # * is one part between dots, ** any parts, {a,b} is a or b
    kind: Kind
    label: str
    splits: int = 1

    def matches(self, name: str) -> bool:
        return _regex(self.pattern).fullmatch(name) is not None


LM = "language_model.model"
RULES = (
    # One number a channel, wherever it stands.
    Rule("**.bias", "adamw", "biases"),
    Rule("**.{norm,norm0,norm1,pre_norm,final_layernorm}.weight", "adamw", "gains"),
    Rule("**.{input_layernorm,post_attention_layernorm,kv_a_layernorm}.weight", "adamw", "gains"),
    Rule("**.{layernorm,layer_norm1,layer_norm2,final_layer_norm}.weight", "adamw", "gains"),
    # MoonViT: queries, keys and values are three matrices in one tensor.
    Rule("vision_tower.patch_embed.{proj,pos_emb}.weight", "adamw", "vision_input"),
    Rule("vision_tower.encoder.blocks.*.wqkv.weight", "muon", "vision", splits=3),
    Rule("vision_tower.encoder.blocks.*.wo.weight", "muon", "vision"),
    Rule("vision_tower.encoder.blocks.*.mlp.{fc0,fc1}.weight", "muon", "vision"),
    Rule("multi_modal_projector.{linear_1,linear_2}.weight", "muon", "projector"),
    # Moonlight. Expert tensors are stacks [E, ·, ·]; gate_up_proj holds the gate rows, then the up rows of each expert.
    Rule(f"{LM}.embed_tokens.weight", "adamw", "embedding"),
    Rule("language_model.lm_head.weight", "adamw", "lm_head"),
    Rule(f"{LM}.layers.*.self_attn.{{q_proj,kv_a_proj_with_mqa,kv_b_proj,o_proj}}.weight", "muon", "attention"),
    Rule(f"{LM}.layers.*.mlp.{{gate_proj,up_proj,down_proj}}.weight", "muon", "ffn"),
    Rule(f"{LM}.layers.*.mlp.shared_experts.{{gate_proj,up_proj,down_proj}}.weight", "muon", "ffn"),
    Rule(f"{LM}.layers.*.mlp.gate.weight", "muon", "router"),
    Rule(f"{LM}.layers.*.mlp.experts.gate_up_proj", "muon", "experts", splits=2),
    Rule(f"{LM}.layers.*.mlp.experts.down_proj", "muon", "experts"),
    # Stage 1 only: the SigLIP text encoder, the attention pooling of the image, and the temperature of the contrastive loss.
    Rule("text_encoder.embeddings.{token_embedding,position_embedding}.weight", "adamw", "text_input"),
    Rule("text_encoder.encoder.layers.*.self_attn.{q_proj,k_proj,v_proj,out_proj}.weight", "muon", "text_encoder"),
    Rule("text_encoder.encoder.layers.*.mlp.{fc1,fc2}.weight", "muon", "text_encoder"),
    Rule("text_encoder.head.weight", "muon", "text_encoder"),
    Rule("image_head.attention.in_proj_weight", "muon", "image_head", splits=3),
    Rule("image_head.{attention.out_proj,mlp.fc1,mlp.fc2}.weight", "muon", "image_head"),
    Rule("image_head.attention.in_proj_bias", "adamw", "biases"),
    Rule("image_head.probe", "adamw", "image_input"),
    Rule("{logit_scale,logit_bias}", "adamw", "temperature"),
)


@dataclass(frozen=True, eq=False)
class ParamSpec:
    """One parameter and the way it is optimised.

    Args:
        name: full name, the key of its optimizer state.
        parameter: for Muon [A, B], or a stack [E, A, B] of independent matrices, contiguous.
        kind: "muon" or "adamw".
        splits: for Muon, how many equal row blocks of a fused matrix are orthogonalised on their own.
        label: the name under which its update is logged.
    Raises: ValueError if Muon cannot treat the shape.
    """

    name: str
    parameter: Tensor
    kind: Kind
    splits: int = 1
    label: str = "all"

    def __post_init__(self) -> None:
        shape = list(self.parameter.shape)
        if self.kind not in ("muon", "adamw"):
            raise ValueError(f"{self.name}: kind is {self.kind!r}; it must be 'muon' or 'adamw'")
        if self.kind == "adamw":
            return
        if len(shape) not in (2, 3):
            raise ValueError(f"{self.name}: Muon wants a matrix or a stack of matrices, not the shape {shape}; use AdamW for it")
        if self.splits < 1 or shape[-2] % self.splits:
            raise ValueError(f"{self.name}: {shape[-2]} rows cannot be cut into {self.splits} equal blocks")
        if not self.parameter.is_contiguous():
            raise ValueError(f"{self.name}: Muon wants a contiguous parameter, but its strides are {self.parameter.stride()}")

    @property
    def block_shape(self) -> tuple[int, int]:
        """(A, B) of the matrices that Newton–Schulz sees."""
        return self.parameter.shape[-2] // self.splits, self.parameter.shape[-1]

    def blocks(self, tensor: Tensor) -> Tensor:
        """`tensor`, shaped like the parameter, as a stack of its blocks [N, A, B]; a view where the memory allows it."""
        return tensor.reshape(-1, *self.block_shape)


def param_specs(named_parameters: Iterable[tuple[str, Tensor]], rules: tuple[Rule, ...] = RULES) -> list[ParamSpec]:
    """Looks every trainable parameter up in the table; the first row that matches decides.

    Args:
        named_parameters: as `model.named_parameters()` gives them. Frozen ones (`requires_grad` false) are left out.
    Returns: one spec for each trainable parameter, in the given order.
    Raises: ValueError for a name without a row, for a name or a tensor that occurs twice, for a shape that Muon cannot treat.
    """
    specs: list[ParamSpec] = []
    names: set[str] = set()
    name_of_tensor: dict[int, str] = {}
    for name, parameter in named_parameters:
        if not parameter.requires_grad:
            continue
        if name in names or id(parameter) in name_of_tensor:
            first = name_of_tensor.get(id(parameter), name)
            raise ValueError(f"parameter {name} occurs twice (first as {first}) and would be stepped twice: pass it once")
        names.add(name)
        name_of_tensor[id(parameter)] = name
        rule = next((rule for rule in rules if rule.matches(name)), None)
        if rule is None:
            raise ValueError(
                f"no optimizer rule for parameter {name} {list(parameter.shape)}: "
                "add a row for it to RULES in kimivl/optim/groups.py, or freeze it"
            )
        specs.append(ParamSpec(name, parameter, rule.kind, rule.splits, rule.label))
    return specs


def all_adamw(specs: Iterable[ParamSpec]) -> list[ParamSpec]:
    """The same parameters, all optimised by AdamW: the baseline of Muon, and the choice for models that AdamW pre-trained.

    Moonlight found Muon's fine-tuning no better, or a little worse, where AdamW had done the pre-training.
    """
    return [replace(spec, kind="adamw") for spec in specs]


@cache
def _regex(pattern: str) -> re.Pattern[str]:
    """The pattern language of `Rule` as a regular expression."""
    meaning = {"**": r".+", "*": r"[^.]+", "{": "(?:", ",": "|", "}": ")"}
    return re.compile(re.sub(r"\*\*|.", lambda match: meaning.get(match[0], re.escape(match[0])), pattern))
