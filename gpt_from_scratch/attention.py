"""Causal multi-head attention (chapter 3), which section 4.5 builds upon."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpt_from_scratch.llm_architecture import require_int

if TYPE_CHECKING:
    from gpt_from_scratch.kv_cache import KVCache


class MultiHeadAttention(nn.Module):
    """Let each token gather features from itself and from the tokens before it.

    Each of the heads does so with its own share of the queries, keys and values. No
    mask is stored: PyTorch's fused attention skips the future by itself, and never
    holds all scores at once where it has a kernel for the device.

    Source: chapter 3; Vaswani et al. (2017), https://arxiv.org/abs/1706.03762,
    section 3.2; ``torch.nn.functional.scaled_dot_product_attention``.

    Args:
        d_in: Features per token of the input; at least 1.
        d_out: Features per token of the output; divisible by ``num_heads``.
        context_length: Largest number of tokens; at least 1.
        dropout: Fraction of the attention weights dropped in training, in [0, 1).
        num_heads: Number of heads; at least 1.
        qkv_bias: Whether the query, key and value layers have a bias.

    ``forward`` takes a ``KVCache`` (4.7) besides, and the index of the layer in it;
    the input is then what follows the tokens that the cache holds.

    Shape:
        Input: ``(B, T, d_in)``, with ``T`` up to ``context_length``, the tokens in
        the cache included. Output: ``(B, T, d_out)``.

    Raises:
        TypeError: If a size is not an integer.
        ValueError: If a size is less than 1, ``dropout`` not in [0, 1), or ``d_out``
            not divisible by ``num_heads``; in ``forward``, if the input is not of
            shape ``(B, T, d_in)``, has more than ``context_length`` tokens, or does
            not fit the cache.
        RuntimeError: In ``forward``, if a cache is given while gradients are recorded.
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        context_length: int,
        dropout: float,
        num_heads: int,
        qkv_bias: bool = False,
    ) -> None:
        super().__init__()
        require_int("d_in", d_in, at_least=1)
        require_int("d_out", d_out, at_least=1)
        require_int("context_length", context_length, at_least=1)
        require_int("num_heads", num_heads, at_least=1)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        if d_out % num_heads != 0:
            raise ValueError(
                f"d_out must be divisible by num_heads, got {d_out} and {num_heads}: "
                f"each head takes an equal share"
            )
        self.d_in = d_in
        self.d_out = d_out
        self.context_length = context_length
        self.num_heads = num_heads
        self.head_dim = d_out // num_heads
        self.W_query = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.W_key = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.W_value = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.out_proj = nn.Linear(d_out, d_out)
        self.dropout = nn.Dropout(dropout)
        self.register_load_state_dict_pre_hook(_forget_mask)  # type: ignore[no-untyped-call]

    def forward(
        self, x: Tensor, cache: "KVCache | None" = None, layer: int = 0
    ) -> Tensor:
        if x.ndim != 3 or x.shape[-1] != self.d_in:
            raise ValueError(
                f"expected an input of shape (batch, tokens, {self.d_in}), "
                f"got {tuple(x.shape)}"
            )
        if x.shape[1] > self.context_length:
            raise ValueError(
                f"{x.shape[1]} tokens are more than "
                f"context_length={self.context_length}"
            )
        queries = self._split_heads(self.W_query(x))  # (B, num_heads, T, head_dim)
        keys = self._split_heads(self.W_key(x))
        values = self._split_heads(self.W_value(x))
        if cache is not None:  # from here on: those of all tokens so far
            keys, values = cache.write(layer, keys, values)
        context = F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            **_causal(queries.shape[2], keys.shape[2], x.device),
            dropout_p=self.dropout.p if self.training else 0.0,
        )  # (B, num_heads, T, head_dim)
        context = context.transpose(1, 2).flatten(2)  # (B, T, d_out)
        return self.out_proj(context)

    def _split_heads(self, x: Tensor) -> Tensor:
        B, T, _ = x.shape
        x = x.view(B, T, self.num_heads, self.head_dim)
        return x.transpose(1, 2)  # (B, num_heads, T, head_dim)


def _causal(num_queries: int, num_keys: int, device: torch.device) -> dict[str, Any]:
    """Choose what keeps the last ``num_queries`` of the tokens from looking ahead."""
    if num_queries == num_keys:
        return {"is_causal": True}
    if num_queries == 1:  # the last token may look at all
        return {}
    may_look = torch.ones(num_queries, num_keys, dtype=torch.bool, device=device)
    return {"attn_mask": may_look.tril(diagonal=num_keys - num_queries)}


def _forget_mask(
    module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: object
) -> None:
    """Pass over the mask that other implementations store beside the weights."""
    state_dict.pop(f"{prefix}mask", None)
