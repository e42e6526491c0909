"""Section 4.5: the transformer block."""

from typing import TYPE_CHECKING

from torch import Tensor, nn

from gpt_from_scratch.attention import MultiHeadAttention
from gpt_from_scratch.feed_forward import FeedForward
from gpt_from_scratch.layer_normalization import LayerNorm
from gpt_from_scratch.llm_architecture import GPTConfig, validate_config

if TYPE_CHECKING:
    from gpt_from_scratch.kv_cache import KVCache


class TransformerBlock(nn.Module):
    """Enrich each token's features with its context, then with a thought of its own.

    Two branches, attention and the feed-forward network, each add something to the
    stream of features. Each normalizes what it reads (pre-LayerNorm), never the
    stream itself, so that the shortcut around it stays free.

    Source: section 4.5; Radford et al. (2019), section 2.3.

    Args:
        cfg: The model's configuration; ``emb_dim``, ``context_length``, ``n_heads``,
            ``drop_rate`` and ``qkv_bias`` are used.

    ``forward`` takes a ``KVCache`` and the index of the layer in it besides, both
    for attention.

    Shape:
        Input: ``(B, T, emb_dim)``, with ``T`` up to ``context_length``.
        Output: the same.

    Raises:
        ValueError: If the configuration is not valid (see ``validate_config``); in
            ``forward``, if the input has another shape or too many tokens, or does
            not fit the cache.
        RuntimeError: In ``forward``, if a cache is given while gradients are recorded.
    """

    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__()
        validate_config(cfg)
        self.att = MultiHeadAttention(
            d_in=cfg["emb_dim"],
            d_out=cfg["emb_dim"],
            context_length=cfg["context_length"],
            dropout=cfg["drop_rate"],
            num_heads=cfg["n_heads"],
            qkv_bias=cfg["qkv_bias"],
        )
        self.ff = FeedForward(cfg)
        self.norm1 = LayerNorm(cfg["emb_dim"])
        self.norm2 = LayerNorm(cfg["emb_dim"])
        self.drop_shortcut = nn.Dropout(cfg["drop_rate"])

    def forward(
        self, x: Tensor, cache: "KVCache | None" = None, layer: int = 0
    ) -> Tensor:
        x = x + self.drop_shortcut(self.att(self.norm1(x), cache, layer))
        return x + self.drop_shortcut(self.ff(self.norm2(x)))
