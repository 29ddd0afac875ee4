"""Moonlight: the language model. Multi-head latent attention and a mixture of experts (paper §2.1).

What it is: the decoder from embeddings to logits, with two forms of attention: over packed segments (training, prefill)
and absorbed, one new token per row against a cache of latents (decoding).
What it is not: sampling, or the cache's management (`engine/`).
Facts: reference/model.md §6–§8. Per token and layer a cache holds the normalised latent and the rotated shared key only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kimivl.config.model import TextConfig
from kimivl.model.layers import Linear, RMSNorm
from kimivl.model.moe import MoE, Routing, SwiGLU
from kimivl.ops.attention import attention
from kimivl.ops.cross_entropy import linear_cross_entropy
from kimivl.ops.rope import rope_1d, rotate
from kimivl.ops.segments import Segments


@dataclass
class LatentCache:
    """What one layer keeps of the past, for B rows of up to L places.

    `latent_BLR`: normalised latents. `key_BLC`: the rotated key that all heads share.
    """

    latent_BLR: Tensor
    key_BLC: Tensor


@dataclass(frozen=True)
class DecoderOutput:
    """`hidden_TD`: after the final norm. `routings`: one per mixture layer. `latents`: one (latent, key) per layer."""

    hidden_TD: Tensor
    routings: list[Routing]
    latents: list[tuple[Tensor, Tensor]]


class LatentAttention(nn.Module):
    """MLA without query compression: keys and values of all heads grow from one latent per token."""

    def __init__(self, config: TextConfig):
        super().__init__()
        self.heads = config.num_attention_heads
        self.nope, self.rope, self.value = config.qk_nope_head_dim, config.qk_rope_head_dim, config.v_head_dim
        self.rank = config.kv_lora_rank
        width = config.hidden_size
        self.q_proj = Linear(width, self.heads * (self.nope + self.rope), bias=False)
        self.kv_a_proj_with_mqa = Linear(width, self.rank + self.rope, bias=False)
        self.kv_a_layernorm = RMSNorm(self.rank, config.kv_norm_eps)
        self.kv_b_proj = Linear(self.rank, self.heads * (self.nope + self.value), bias=False)
        self.o_proj = Linear(self.heads * self.value, width, bias=False)

    def _queries_and_latents(self, x_TD: Tensor, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(queries, their last channels rotated; latent; rotated shared key)"""
        query_THC = rotate(self.q_proj(x_TD).unflatten(-1, (self.heads, -1)), table)
        latent_TR, key_TC = self.kv_a_proj_with_mqa(x_TD).split([self.rank, self.rope], dim=-1)
        return query_THC, self.kv_a_layernorm(latent_TR), rotate(key_TC[:, None], table)

    def forward(self, x_TD: Tensor, table: Tensor, segments: Segments) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Attends within packed segments. Returns the output and what a cache would keep of each token."""
        query, latent_TR, key_T1C = self._queries_and_latents(x_TD, table)
        k_nope, value = self.kv_b_proj(latent_TR).unflatten(-1, (self.heads, -1)).split([self.nope, self.value], dim=-1)
        key = torch.cat([k_nope, key_T1C.expand(-1, self.heads, -1)], dim=-1)
        attended_THC = attention(query, key, value, segments, causal=True)
        return self.o_proj(attended_THC.flatten(1)), (latent_TR, key_T1C[:, 0])

    def decode(self, x_BD: Tensor, table: Tensor, place_B: Tensor, cache: LatentCache) -> Tensor:
        """One new token per row, in the absorbed form: the up-projections act on queries and outputs, not on the past.

        Args:
            place_B: where each row's new token stands in the cache; the row sees places up to and including it.
            cache: written at `place_B`.
        """
        query_BHC, latent_BR, key_B1C = self._queries_and_latents(x_BD, table)
        q_nope, q_rope = query_BHC.split([self.nope, self.rope], dim=-1)
        row_B = torch.arange(len(place_B), device=place_B.device)
        cache.latent_BLR[row_B, place_B] = latent_BR.to(cache.latent_BLR.dtype)
        cache.key_BLC[row_B, place_B] = key_B1C[:, 0].to(cache.key_BLC.dtype)

        up_HCR = self.kv_b_proj.weight.to(x_BD.dtype).view(self.heads, self.nope + self.value, self.rank)
        up_key, up_value = up_HCR.split([self.nope, self.value], dim=1)
        absorbed_BHR = torch.einsum("bhc,hcr->bhr", q_nope, up_key)
        scores_BHL = absorbed_BHR @ cache.latent_BLR.mT + q_rope @ cache.key_BLC.mT
        places_L = torch.arange(cache.key_BLC.shape[1], device=place_B.device)
        unseen_B1L = (places_L > place_B[:, None])[:, None]
        scores_BHL = (scores_BHL.float() * (self.nope + self.rope) ** -0.5).masked_fill(unseen_B1L, float("-inf"))
        mixed_BHR = scores_BHL.softmax(-1).to(x_BD.dtype) @ cache.latent_BLR
        return self.o_proj(torch.einsum("bhr,hcr->bhc", mixed_BHR, up_value).flatten(1))


class DecoderLayer(nn.Module):
    def __init__(self, config: TextConfig, index: int):
        super().__init__()
        width = config.hidden_size
        self.self_attn = LatentAttention(config)
        self.mlp = SwiGLU(width, config.intermediate_size) if index < config.first_k_dense_replace else MoE(config)
        self.input_layernorm = RMSNorm(width, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(width, config.rms_norm_eps)

    def feed_forward(self, x_TD: Tensor) -> tuple[Tensor, Routing | None]:
        """The second half of the layer, added to its input."""
        normed_TD = self.post_attention_layernorm(x_TD)
        if isinstance(self.mlp, MoE):
            out_TD, routing = self.mlp(normed_TD)
            return x_TD + out_TD, routing
        return x_TD + self.mlp(normed_TD), None


class Decoder(nn.Module):
    """Embeddings, layers, final norm. Official name: `model`."""

    layers: Sequence[DecoderLayer]

    def __init__(self, config: TextConfig):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config, i) for i in range(config.num_hidden_layers))  # type: ignore[assignment]
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class Moonlight(nn.Module):
    """The decoder and its output layer. Official name: `language_model`."""

    def __init__(self, config: TextConfig):
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(self, x_TD: Tensor, segments: Segments) -> DecoderOutput:
        """Runs packed segments.

        Args:
            x_TD: embeddings, in the dtype to compute in.
        """
        table = self._angles(segments.position_T)
        routings, latents = [], []
        for layer in self.model.layers:
            attended_TD, latent = layer.self_attn(layer.input_layernorm(x_TD), table, segments)
            x_TD, routing = layer.feed_forward(x_TD + attended_TD)
            latents.append(latent)
            if routing is not None:
                routings.append(routing)
        return DecoderOutput(self.model.norm(x_TD), routings, latents)

    def decode(self, x_BD: Tensor, place_B: Tensor, caches: list[LatentCache]) -> Tensor:
        """One new token per row against the caches, which are written. Returns hidden states after the final norm, [B, D]."""
        table = self._angles(place_B)
        for layer, cache in zip(self.model.layers, caches, strict=True):
            x_BD = x_BD + layer.self_attn.decode(layer.input_layernorm(x_BD), table, place_B, cache)
            x_BD, _ = layer.feed_forward(x_BD)
        return self.model.norm(x_BD)

    def logits(self, hidden_TD: Tensor) -> Tensor:
        """[T, V] fp32."""
        return self.lm_head(hidden_TD).float()

    def losses(self, hidden_TD: Tensor, labels_T: Tensor) -> Tensor:
        """Cross-entropy of each token against its label, fp32 [T], without fp32 logits of all tokens at once."""
        return linear_cross_entropy(hidden_TD, self.lm_head.weight, labels_T)

    def _angles(self, position_T: Tensor) -> Tensor:
        return rope_1d(position_T, self.config.qk_rope_head_dim, self.config.rope_theta)
