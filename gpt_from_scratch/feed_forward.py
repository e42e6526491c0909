"""Section 4.3: the GELU activation, and the feed-forward network."""

import math

import torch
from torch import Tensor, nn

from gpt_from_scratch.llm_architecture import GPTConfig, validate_config


class GELU(nn.Module):
    """Weigh each value by about the chance that a standard normal draw is below it.

    This is the tanh approximation, which GPT-2 was trained with. It differs from the
    exact ``x * Phi(x)`` by at most 0.000473, near ``|x| = 2.70``.

    Source: section 4.3; Hendrycks and Gimpel (2016), https://arxiv.org/abs/1606.08415.
    Equal to ``torch.nn.GELU(approximate="tanh")``, written out; in float16 only
    while ``|x|`` stays below 256, or the gradient overflows.

    Shape:
        Input: any. Output: the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))
        return 0.5 * x * (1 + torch.tanh(inner))


class FeedForward(nn.Module):
    """Widen each token's features to four times as many, apply GELU, narrow them again.

    Every token is treated alone, and all alike.

    Source: section 4.3; Vaswani et al. (2017), https://arxiv.org/abs/1706.03762,
    section 3.3, with GELU for ReLU.

    Args:
        cfg: The model's configuration; ``emb_dim`` is used.

    Shape:
        Input: ``(..., emb_dim)``. Output: the same.

    Raises:
        ValueError: If the configuration is not valid (see ``validate_config``).
    """

    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__()
        validate_config(cfg)
        emb_dim = cfg["emb_dim"]
        self.layers = nn.Sequential(
            nn.Linear(emb_dim, 4 * emb_dim),  # (..., 4 * emb_dim)
            GELU(),
            nn.Linear(4 * emb_dim, emb_dim),  # (..., emb_dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
