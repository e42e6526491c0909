"""The course's figures: one function a figure, in the colours of the whole course.

Every function takes tensors, draws, and returns a ``CourseFigure``, which shows itself
when it is a cell's last value.
"""

import base64
import io
import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# On a new machine matplotlib says that it builds its font cache, in the middle of a
# cell's output. Errors still show.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

from matplotlib.figure import Figure  # noqa: E402  after the line above

from gpt_from_scratch.display import rounded  # noqa: E402
from gpt_from_scratch.llm_architecture import require_int  # noqa: E402

# One colour a component, in every plot and picture. At least 4.5:1 against white, so
# that letters can wear it too, and told apart by the colour-blind.
COLORS = {
    "embedding": "#0072B2",
    "attention": "#C44E00",
    "feed_forward": "#00785A",
    "normalization": "#AA3377",
    "shortcut": "#222222",
    "other": "#5B5B5B",
}

# From orange (below zero) over white to purple (above): safe for the colour-blind.
_DIVERGING = "PuOr"


class CourseFigure(Figure):
    """A figure that knows in words what it shows.

    It needs neither pyplot nor its backends, leaves nothing open, and a notebook
    stores its words beside the picture.

    Args:
        alt: What the figure shows, for those who cannot see it.
        width: Width in inches; a notebook shows 100 pixels an inch.
        height: Height in inches.
    """

    def __init__(self, alt: str, width: float = 8.0, height: float = 3.0) -> None:
        super().__init__(figsize=(width, height), dpi=100, layout="constrained")
        self.alt = alt

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, str], dict[str, Any]]:
        """Give Jupyter the picture, drawn at twice the size for sharp screens."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=200, metadata={"Software": None})
        width, height = (round(100 * inches) for inches in self.get_size_inches())
        data = {
            "image/png": base64.b64encode(buffer.getvalue()).decode(),
            "text/plain": f"<Figure: {self.alt}>",
        }
        return data, {"image/png": {"alt": self.alt, "width": width, "height": height}}


def plot_embeddings(
    token_embeddings: Tensor,
    position_embeddings: Tensor,
    tokens: Sequence[str],
    num_features: int = 32,
) -> CourseFigure:
    """Draw a text's token embeddings, position embeddings and their sum as heat maps.

    Args:
        token_embeddings: One row per token, shape ``(T, emb_dim)``.
        position_embeddings: One row per position, shape ``(T, emb_dim)``.
        tokens: The ``T`` tokens as text, for the labels.
        num_features: How many features to show, from the first; at least 1.

    Returns:
        The figure.

    Raises:
        ValueError: If the shapes differ or are not ``(T, emb_dim)``, or the number of
            tokens is not ``T`` or 0, or ``num_features`` less than 1.
        TypeError: If ``num_features`` is not an integer.
    """
    require_int("num_features", num_features, at_least=1)
    if (
        token_embeddings.ndim != 2
        or token_embeddings.shape != position_embeddings.shape
    ):
        raise ValueError(
            f"both embeddings must have one shape (tokens, features), got "
            f"{tuple(token_embeddings.shape)} and {tuple(position_embeddings.shape)}"
        )
    if len(tokens) != len(token_embeddings):
        raise ValueError(
            f"{len(tokens)} tokens for {len(token_embeddings)} rows of embeddings"
        )
    if not tokens:
        raise ValueError("needs at least one token")
    labels = [repr(token) for token in tokens]
    panels = [
        ("Token embeddings: what", token_embeddings, labels),
        ("+ position embeddings: where", position_embeddings, range(len(tokens))),
        ("= their sum", token_embeddings + position_embeddings, labels),
    ]
    figure = CourseFigure(
        f"Three heat maps of {len(tokens)} rows, one above the other: the token "
        f"embeddings of {', '.join(labels)}, the position embeddings, and their sum.",
        height=0.9 + 0.75 * len(tokens),
    )
    axes = figure.subplots(3, 1, sharex=True)
    shown = [rows[:, :num_features].detach().float().cpu() for _, rows, _ in panels]
    limit = max(rows.abs().max().item() for rows in shown)
    for ax, rows, (title, _, row_labels) in zip(axes, shown, panels, strict=True):
        image = ax.imshow(
            rows.numpy(), cmap=_DIVERGING, vmin=-limit, vmax=limit, aspect="auto"
        )
        ax.set_title(title, loc="left", fontsize=10)
        ax.set_yticks(range(len(tokens)), row_labels)
        ax.tick_params(length=0)
    axes[0].set_ylabel("token")
    axes[1].set_ylabel("position")
    axes[2].set_ylabel("token")
    emb_dim = token_embeddings.shape[1]
    axes[2].set_xlabel(f"feature (the first {shown[0].shape[1]} of {emb_dim})")
    figure.colorbar(image, ax=axes, label="value")
    return figure


def plot_logits(logits: Tensor, num_bins: int = 120) -> CourseFigure:
    """Draw how a model's logits are distributed, beside a normal distribution.

    Args:
        logits: Logits of any shape, not all equal.
        num_bins: Number of bars; at least 1.

    Returns:
        The figure.

    Raises:
        TypeError: If ``num_bins`` is not an integer.
        ValueError: If all logits are equal, or one is not finite, or ``num_bins`` is
            less than 1.
    """
    values = logits.detach().flatten().double().cpu()
    finite = values.numel() > 0 and bool(values.isfinite().all())
    if not finite or values.min() == values.max():
        raise ValueError(
            f"needs two different logits at least, and all of them finite, got a "
            f"tensor of shape {tuple(logits.shape)} that has not"
        )
    require_int("num_bins", num_bins, at_least=1)
    mean, std = rounded([values.mean().item(), values.std().item()], decimals=2)
    figure = CourseFigure(
        f"Histogram of {values.numel():,} logits: a bell around {mean:.2f} with a "
        f"standard deviation of {std:.2f} that follows a normal distribution's curve.",
    )
    ax = figure.subplots()
    low, high = values.min().item(), values.max().item()
    edges = torch.linspace(low, high, num_bins + 1, dtype=torch.float64)
    counts = torch.histogram(values, edges).hist
    blue, orange, black = COLORS["embedding"], COLORS["attention"], COLORS["shortcut"]
    x = edges.numpy()
    ax.stairs(counts.numpy(), x, fill=True, color=blue, alpha=0.5, label="logits")
    curve = torch.exp(-0.5 * ((edges - values.mean()) / values.std()) ** 2)
    curve *= counts.sum() * (edges[1] - edges[0])
    curve /= values.std() * math.sqrt(2 * math.pi)
    label = "normal distribution\nof the same mean\nand deviation"
    ax.plot(x, curve.numpy(), color=orange, linestyle="--", label=label)
    ax.axvline(mean, color=black, label=f"mean {mean:.2f}")
    label = f"mean ± standard\ndeviation {std:.2f}"
    ax.axvline(mean - std, color=black, linestyle=":")
    ax.axvline(mean + std, color=black, linestyle=":", label=label)
    ax.set_xlabel("logit")
    ax.set_ylabel("number of logits")
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
    figure.legend(loc="outside right upper", frameon=False, labelspacing=0.8)
    ax.spines[["top", "right"]].set_visible(False)
    return figure
