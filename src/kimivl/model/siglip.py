"""SigLIP's two parts around the image encoder: the text encoder, and the head that pools an image into one vector.

What it is: `TextEncoder` and `ImageHead`, used by the ViT stage only (paper §2.3) and dropped after it.
What it is not: the image encoder (`moonvit.py`), or the losses (`coca.py`).
Facts: names and mathematics are those of Hugging Face's SigLIP, so that its checkpoints load (`imports.py`): LayerNorm
eps 1e-6, tanh-GELU. Texts are padded to one length and the padding is attended to, as SigLIP was trained; the text's vector
is read at the last place. The head is one learned query that attends to all patches of its image.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kimivl.config.model import TextEncoderConfig, VisionConfig
from kimivl.model.layers import LayerNorm, Linear
from kimivl.model.moonvit import Grids
from kimivl.ops.attention import attention
from kimivl.ops.segments import Segments

EPS = 1e-6


class MLP(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        self.fc1 = Linear(width, inner)
        self.fc2 = Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class SelfAttention(nn.Module):
    """Bidirectional attention over equally long texts, packed."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (Linear(width, width) for _ in range(4))

    def forward(self, x_TD: Tensor, segments: Segments) -> Tensor:
        q, k, v = (proj(x_TD).unflatten(-1, (self.heads, -1)) for proj in (self.q_proj, self.k_proj, self.v_proj))
        return self.out_proj(attention(q, k, v, segments, causal=False).flatten(1))


class TextLayer(nn.Module):
    """Pre-norm attention and MLP."""

    def __init__(self, config: TextEncoderConfig):
        super().__init__()
        width = config.hidden_size
        self.layer_norm1, self.layer_norm2 = LayerNorm(width, EPS), LayerNorm(width, EPS)
        self.self_attn = SelfAttention(width, config.num_attention_heads)
        self.mlp = MLP(width, config.intermediate_size)

    def forward(self, x_TD: Tensor, segments: Segments) -> Tensor:
        x_TD = x_TD + self.self_attn(self.layer_norm1(x_TD), segments)
        return x_TD + self.mlp(self.layer_norm2(x_TD))


class TextEmbeddings(nn.Module):
    def __init__(self, config: TextEncoderConfig):
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def forward(self, ids_BL: Tensor) -> Tensor:
        length, longest = ids_BL.shape[1], self.position_embedding.num_embeddings
        if length > longest:
            raise ValueError(f"texts of {length} tokens, but the text encoder has {longest} positions: cut the texts")
        return self.token_embedding(ids_BL) + self.position_embedding.weight[:length]


class TextLayers(nn.Module):
    def __init__(self, config: TextEncoderConfig):
        super().__init__()
        self.layers = nn.ModuleList(TextLayer(config) for _ in range(config.num_hidden_layers))

    def forward(self, x_TD: Tensor, segments: Segments) -> Tensor:
        for layer in self.layers:
            x_TD = layer(x_TD, segments)
        return x_TD


class TextEncoder(nn.Module):
    """Texts → one vector each."""

    def __init__(self, config: TextEncoderConfig):
        super().__init__()
        self.config = config
        self.embeddings = TextEmbeddings(config)
        self.encoder = TextLayers(config)
        self.final_layer_norm = LayerNorm(config.hidden_size, EPS)
        self.head = Linear(config.hidden_size, config.projection_size)

    def forward(self, ids_BL: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Encodes texts.

        Args:
            ids_BL: token ids, every text padded to the same length L; always the same L, as in training.
            dtype: to compute in.
        Returns: [B, projection_size], not normalised.
        """
        rows, length = ids_BL.shape
        x_TD = self.embeddings(ids_BL).to(dtype).flatten(0, 1)
        x_TD = self.encoder(x_TD, Segments([length] * rows, ids_BL.device))
        return self.head(self.final_layer_norm(x_TD.unflatten(0, (rows, length))[:, -1]))


class ProbeAttention(nn.Module):
    """One query, the same for every image, attends to the image's patches. Parameters as in torch's MultiheadAttention."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = Linear(width, width)

    def forward(self, probe_D: Tensor, x_PD: Tensor, segments: Segments) -> Tensor:
        """Returns [N, D], one row per segment. The softmax runs over each image's own patches, of whatever number."""
        weight, bias = self.in_proj_weight.to(x_PD.dtype), self.in_proj_bias.to(x_PD.dtype)
        width, image_P = x_PD.shape[1], segments.id_T
        query_HC = F.linear(probe_D, weight[:width], bias[:width]).unflatten(0, (self.heads, -1))
        key, value = F.linear(x_PD, weight[width:], bias[width:]).unflatten(-1, (2, self.heads, -1)).unbind(1)

        scores_PH = (key * (query_HC * query_HC.shape[-1] ** -0.5)).sum(-1, dtype=torch.float32)
        largest_NH = scores_PH.new_full((len(segments.lengths), self.heads), float("-inf"))
        largest_NH.scatter_reduce_(0, image_P[:, None].expand_as(scores_PH), scores_PH.detach(), "amax")
        share_PH = (scores_PH - largest_NH[image_P]).exp()
        total_NH = torch.zeros_like(largest_NH).index_add(0, image_P, share_PH)
        weighted_PHC = share_PH[..., None] * value
        pooled_NHC = torch.zeros(*total_NH.shape, value.shape[-1], device=x_PD.device).index_add(0, image_P, weighted_PHC)
        return self.out_proj((pooled_NHC / total_NH[..., None]).flatten(1).to(x_PD.dtype))


class ImageHead(nn.Module):
    """Patch vectors of packed images → one vector per image."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        width = config.hidden_size
        self.probe = nn.Parameter(torch.empty(1, 1, width))
        self.attention = ProbeAttention(width, config.num_attention_heads)
        self.layernorm = LayerNorm(width, EPS)
        self.mlp = MLP(width, config.intermediate_size)

    def forward(self, x_PD: Tensor, grids: Grids) -> Tensor:
        """[P, D] → [N, D], not normalised."""
        segments = Segments([rows * columns for rows, columns in grids], x_PD.device)
        pooled_ND = self.attention(self.probe[0, 0].to(x_PD.dtype), x_PD, segments)
        return pooled_ND + self.mlp(self.layernorm(pooled_ND))
