"""Section 4.7: the key-value cache, which spares a model what it has computed."""

import torch
from torch import Tensor

from gpt_from_scratch.llm_architecture import GPTConfig, require_int, validate_config


class KVCache:
    """Keep every layer's keys and values of the tokens that a model has read.

    A token's keys and values depend on no later token, so they stay what they are
    while the text grows. ``model(ids, cache=cache)`` then needs the new tokens alone:
    it reads the others' keys and values from the cache, and adds theirs. The memory
    for all of them is reserved at once.

    For generating, not for training: no gradient flows through a cache.

    Source: section 4.7; Pope et al. (2022), https://arxiv.org/abs/2211.05102,
    section 2.1.

    Args:
        cfg: The model's configuration; ``n_layers``, ``n_heads`` and ``emb_dim`` give
            the sizes.
        batch_size: Number of texts; at least 1.
        max_tokens: Tokens per text for which there is room: from 1 to
            ``context_length``, which is taken if it is not given.
        device: Where the model is; PyTorch's default if not given.
        dtype: The type in which the model computes; PyTorch's default if not given.

    Attributes:
        num_tokens: Tokens per text that the cache holds.
        keys: All layers' keys; those of the first ``num_tokens`` tokens are set.
        values: All layers' values, likewise.

    Shape:
        keys, values: ``(n_layers, B, n_heads, max_tokens, head_dim)``.

    Raises:
        TypeError: If a size is not an integer.
        ValueError: If the configuration is not valid (see ``validate_config``), or a
            size is out of range.
    """

    def __init__(
        self,
        cfg: GPTConfig,
        batch_size: int = 1,
        *,
        max_tokens: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        validate_config(cfg)
        require_int("batch_size", batch_size, at_least=1)
        if max_tokens is None:
            max_tokens = cfg["context_length"]
        require_int("max_tokens", max_tokens, at_least=1)
        if max_tokens > cfg["context_length"]:
            raise ValueError(
                f"max_tokens must be at most context_length={cfg['context_length']}, "
                f"got {max_tokens}: the model has no position for more tokens"
            )
        n_heads = cfg["n_heads"]
        head_dim = cfg["emb_dim"] // n_heads
        shape = (cfg["n_layers"], batch_size, n_heads, max_tokens, head_dim)
        self.keys = torch.empty(shape, device=device, dtype=dtype)
        self.values = torch.empty_like(self.keys)
        self.num_tokens = 0

    @property
    def max_tokens(self) -> int:
        """Tokens per text for which there is room."""
        return self.keys.shape[3]

    def reset(self) -> None:
        """Forget all tokens, to begin other texts in the same memory."""
        self.num_tokens = 0

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Put the new tokens' keys and values of one layer behind the earlier ones'.

        Once every layer has done so, the model adds the new tokens to
        ``num_tokens``: a pass that was broken off leaves the cache as it was.

        Args:
            layer: The layer's index; 0 is the first.
            keys: The new tokens' keys.
            values: The new tokens' values.

        Returns:
            The keys and the values of all tokens so far, the new ones included: views
            of the cache.

        Shape:
            keys, values: ``(B, n_heads, T, head_dim)``.
            Output: twice ``(B, n_heads, num_tokens + T, head_dim)``.

        Raises:
            RuntimeError: If gradients are being recorded.
            ValueError: If the cache has another number of layers or texts, other
                heads, another dtype or device, or no room for the new tokens.
        """
        if keys.requires_grad:
            raise RuntimeError(
                "a KVCache keeps no gradients; call the model in a block "
                "`with torch.no_grad():`"
            )
        n_layers, *sizes, max_tokens, head_dim = self.keys.shape
        if not 0 <= layer < n_layers:
            raise ValueError(
                f"the cache has {n_layers} layers, so none with index {layer}; was it "
                f"made for another model?"
            )
        batch_size, n_heads, num_new, _ = keys.shape
        if batch_size != sizes[0]:
            raise ValueError(
                f"the cache was made for batch_size={sizes[0]}, got a batch of "
                f"{batch_size}"
            )
        if (n_heads, keys.shape[3]) != (sizes[1], head_dim):
            raise ValueError(
                f"the cache holds {sizes[1]} heads of {head_dim} features, got "
                f"{n_heads} heads of {keys.shape[3]}; was it made for another model?"
            )
        if (keys.dtype, keys.device) != (self.keys.dtype, self.keys.device):
            raise ValueError(
                f"the cache holds {self.keys.dtype} on {self.keys.device}, the model "
                f"computes {keys.dtype} on {keys.device}; give KVCache the model's "
                f"dtype and device"
            )
        end = self.num_tokens + num_new
        if end > max_tokens:
            raise ValueError(
                f"the cache is full: it has room for max_tokens={max_tokens}, holds "
                f"{self.num_tokens} and is to take {num_new} more"
            )
        self.keys[layer, :, :, self.num_tokens : end] = keys
        self.values[layer, :, :, self.num_tokens : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]
