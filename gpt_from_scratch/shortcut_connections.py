"""Section 4.4: shortcut connections, and the gradients that they keep alive."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpt_from_scratch.feed_forward import GELU
from gpt_from_scratch.llm_architecture import require_int


class ExampleDeepNeuralNetwork(nn.Module):
    """A stack of linear layers with GELU, with or without shortcuts around them.

    A layer's input is added to its output where the two have the same shape.

    Source: section 4.4; He et al. (2015), https://arxiv.org/abs/1512.03385.

    Args:
        layer_sizes: Features before the first layer and after each layer: at least
            two numbers, each at least 1.
        use_shortcut: Whether to add the shortcuts.

    Shape:
        Input: ``(..., layer_sizes[0])``. Output: ``(..., layer_sizes[-1])``.

    Raises:
        TypeError: If a size is not an integer.
        ValueError: If there are fewer than two sizes, or one is less than 1.
    """

    def __init__(self, layer_sizes: Sequence[int], use_shortcut: bool) -> None:
        super().__init__()
        if len(layer_sizes) < 2:
            raise ValueError(
                f"layer_sizes needs an input and an output size, got {layer_sizes!r}"
            )
        for index, size in enumerate(layer_sizes):
            require_int(f"layer_sizes[{index}]", size, at_least=1)
        self.use_shortcut = use_shortcut
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(size_in, size_out), GELU())
            for size_in, size_out in pairwise(layer_sizes)
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            out = layer(x)  # (..., the layer's size)
            x = x + out if self.use_shortcut and x.shape == out.shape else out
        return x


def gradient_magnitudes(
    model: nn.Module, x: Tensor, target: Tensor | None = None
) -> dict[str, float]:
    """Measure how strongly each weight would be pulled by one training step.

    The loss is the mean squared error. The parameters and the gradients that they
    hold are left as they were. Not to be called in ``torch.inference_mode()``, which
    forbids gradients.

    Source: section 4.4.

    Args:
        model: Any model whose weights' names end in ``weight``.
        x: Its input.
        target: What the output should be, in the output's shape; zeros if not given.

    Returns:
        For each weight, in the model's order, the mean absolute gradient of the loss;
        0.0 for one that the output does not depend on.

    Raises:
        ValueError: If the model has no weight, or the target another shape than the
            output.
    """
    weights = {
        name: parameter
        for name, parameter in model.named_parameters()
        if name.endswith("weight") and parameter.requires_grad
    }
    if not weights:
        raise ValueError("the model has no trainable parameter named '...weight'")
    with torch.enable_grad():
        out = model(x)
        if target is None:
            target = torch.zeros_like(out)
        if target.shape != out.shape:
            raise ValueError(
                f"the target must have the output's shape {tuple(out.shape)}, "
                f"got {tuple(target.shape)}"
            )
        loss = F.mse_loss(out, target)
        gradients = torch.autograd.grad(
            loss, list(weights.values()), allow_unused=True, materialize_grads=True
        )
    return {
        name: gradient.abs().mean().item()
        for name, gradient in zip(weights, gradients, strict=True)
    }
