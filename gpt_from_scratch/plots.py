"""The course's figures: one function a figure, in the colours of the whole course.

Every function takes tensors, draws, and returns a ``CourseFigure``, which shows itself
when it is a cell's last value.
"""

import base64
import io
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

# On a new machine matplotlib says that it builds its font cache, in the middle of a
# cell's output. Errors still show.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

from matplotlib.axes import Axes  # noqa: E402  after the line above
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import LogLocator  # noqa: E402

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


# 4.3: activations, their slopes and errors, and what a network can fit with them.


def _require_curves(x: Tensor, curves: Mapping[str, Tensor]) -> None:
    """Refuse curves that cannot be drawn over ``x``."""
    if x.ndim != 1 or len(x) < 2 or not bool((x[1:] > x[:-1]).all()):
        raise ValueError(
            f"x must be two or more rising numbers, of shape (points,), got a tensor "
            f"of shape {tuple(x.shape)} that is not"
        )
    if not curves:
        raise ValueError("needs one curve at least, got none")
    for name, curve in curves.items():
        if curve.shape != x.shape or not bool(curve.isfinite().all()):
            raise ValueError(
                f"{name!r} must hold one finite number for each x, shape "
                f"{tuple(x.shape)}, got a tensor of shape {tuple(curve.shape)} that "
                f"does not"
            )


def _plain(values: Tensor) -> Tensor:
    """Return the values as matplotlib takes them."""
    return values.detach().double().cpu()


# The first is what is compared with, the second what it is about; then others.
_CURVES = (
    (COLORS["other"], "--"),
    (COLORS["feed_forward"], "-"),
    (COLORS["attention"], "-."),
    (COLORS["embedding"], ":"),
)


def _draw_curves(ax: Axes, x: Tensor, curves: Mapping[str, Tensor]) -> None:
    """Draw named curves, with thin lines through zero behind them."""
    ax.axhline(0, color=COLORS["other"], linewidth=0.6)
    ax.axvline(0, color=COLORS["other"], linewidth=0.6)
    for index, (name, curve) in enumerate(curves.items()):
        color, style = _CURVES[index % len(_CURVES)]
        ax.plot(
            _plain(x).numpy(),
            _plain(curve).numpy(),
            color=color,
            linestyle=style,
            linewidth=2,
            label=name,
        )
    ax.set_xlim(x.min().item(), x.max().item())
    ax.spines[["top", "right"]].set_visible(False)


def plot_activations(x: Tensor, outputs: Mapping[str, Tensor]) -> CourseFigure:
    """Draw activation functions over their input, and mark a lowest point below zero.

    Args:
        x: Inputs, rising, shape ``(points,)``.
        outputs: For each function's name, what it gives for ``x``, same shape.

    Returns:
        The figure.

    Raises:
        ValueError: If ``x`` is not rising, or there is no curve, or one is not of the
            shape of ``x`` or not finite.
    """
    _require_curves(x, outputs)
    lows = {}
    for name, curve in outputs.items():
        index = int(curve.argmin())
        low_x, low_y = rounded([x[index].item(), curve[index].item()], decimals=2)
        if low_y < 0 and 0 < index < len(x) - 1:
            lows[name] = (low_x, low_y)
    figure = CourseFigure(
        f"Curves of {' and '.join(outputs)} for inputs from {x.min().item():g} to "
        f"{x.max().item():g}."
        + "".join(
            f" {name} goes below zero, down to {low_y:.2f} at an input of {low_x:.2f}."
            for name, (low_x, low_y) in lows.items()
        ),
    )
    ax = figure.subplots()
    _draw_curves(ax, x, outputs)
    for name, (low_x, low_y) in lows.items():
        color = COLORS["shortcut"]
        label = f"lowest point of {name}:\n{low_y:.2f} at {low_x:.2f}"
        ax.plot(low_x, low_y, "o", color=color, markersize=6, label=label)
    ax.set_xlabel("input x")
    ax.set_ylabel("output")
    figure.legend(loc="outside right upper", frameon=False, labelspacing=0.8)
    return figure


def plot_derivatives(x: Tensor, derivatives: Mapping[str, Tensor]) -> CourseFigure:
    """Draw functions' derivatives, and shade where one is exactly zero.

    Args:
        x: Inputs, rising, shape ``(points,)``.
        derivatives: For each function's name, its derivative at ``x``, same shape.

    Returns:
        The figure.

    Raises:
        ValueError: If ``x`` is not rising, or there is no curve, or one is not of the
            shape of ``x`` or not finite.
    """
    _require_curves(x, derivatives)
    spans = {
        name: (x[curve == 0].min().item(), x[curve == 0].max().item())
        for name, curve in derivatives.items()
        if int((curve == 0).sum()) > 1
    }
    figure = CourseFigure(
        f"Derivatives of {' and '.join(derivatives)} for inputs from "
        f"{x.min().item():g} to {x.max().item():g}."
        + "".join(
            f" A shaded area, from {low:g} to {high:g}, shows where that of {name} is "
            f"zero."
            for name, (low, high) in rounded(spans, decimals=2).items()
        ),
    )
    ax = figure.subplots()
    for name, (low, high) in spans.items():
        label = f"{name} passes\nno gradient"
        ax.axvspan(low, high, color=COLORS["other"], alpha=0.15, lw=0, label=label)
    _draw_curves(ax, x, derivatives)
    ax.set_xlabel("input x")
    ax.set_ylabel("derivative (slope)")
    figure.legend(loc="outside right upper", frameon=False, labelspacing=0.8)
    return figure


def plot_approximation_error(
    x: Tensor, exact: Tensor, approximation: Tensor
) -> CourseFigure:
    """Draw by how much an approximation differs, and mark where it does so the most.

    Args:
        x: Inputs, rising, shape ``(points,)``.
        exact: The function at ``x``, same shape.
        approximation: Its approximation at ``x``, same shape.

    Returns:
        The figure. Where the largest difference occurs more than once, up to a
        millionth of it, each place is marked.

    Raises:
        ValueError: If ``x`` is not rising, or one of the others not of its shape or
            not finite, or both are equal.
    """
    _require_curves(x, {"exact": exact, "approximation": approximation})
    error = _plain(approximation) - _plain(exact)
    largest = error.abs().max()
    if largest == 0:
        raise ValueError("the approximation differs nowhere: there is no error to draw")
    places = error.abs() >= largest * (1 - 1e-6)
    at = rounded(_plain(x)[places], decimals=2)
    marked = " and ".join(f"{place:.2f}" for place in at)
    size = f"{largest.item():.3g}"
    figure = CourseFigure(
        f"The difference between an approximation and the exact function. It is "
        f"largest, {size}, at an input of {marked}.",
    )
    ax = figure.subplots()
    _draw_curves(ax, x, {"zero": torch.zeros_like(error), "difference": error})
    ax.lines[2].remove()  # the zero line is there already
    color = COLORS["shortcut"]
    label = f"largest: {size}\nat {marked}"
    places_x, places_y = _plain(x)[places].numpy(), error[places].numpy()
    ax.plot(places_x, places_y, "o", color=color, markersize=6, label=label)
    ax.set_xlabel("input x")
    ax.set_ylabel("approximation - exact")
    figure.legend(loc="outside right upper", frameon=False, labelspacing=0.8)
    return figure


def plot_fits(x: Tensor, target: Tensor, outputs: Mapping[str, Tensor]) -> CourseFigure:
    """Draw what networks give for each input beside what they should, in panels.

    Args:
        x: Inputs, rising, shape ``(points,)``.
        target: The wanted outputs, same shape.
        outputs: For each network's name, its outputs, same shape.

    Returns:
        The figure; each panel's title holds the mean squared difference, the loss.

    Raises:
        ValueError: If ``x`` is not rising, or there is no network, or a tensor is not
            of the shape of ``x`` or not finite.
    """
    _require_curves(x, outputs)
    _require_curves(x, {"target": target})
    losses = {
        name: f"{(_plain(output) - _plain(target)).square().mean().item():.3f}"
        for name, output in outputs.items()
    }
    figure = CourseFigure(
        "Panels with the wanted curve as points and a network's output as a line."
        + "".join(f" {name}: a loss of {loss}." for name, loss in losses.items()),
    )
    panels = figure.subplots(1, len(outputs), sharey=True, squeeze=False)[0]
    for ax, (name, output) in zip(panels, outputs.items(), strict=True):
        ax.plot(
            _plain(x).numpy(),
            _plain(target).numpy(),
            "o",
            color=COLORS["other"],
            markersize=4,
            label="wanted",
        )
        color = COLORS["feed_forward"]
        ax.plot(
            _plain(x).numpy(),
            _plain(output).numpy(),
            color=color,
            linewidth=2,
            label="network",
        )
        ax.set_title(f"{name}: loss {losses[name]}", loc="left", fontsize=10)
        ax.set_xlabel("input x")
        ax.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("output")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False)
    return figure


def plot_losses_by_width(losses: Mapping[str, Sequence[float]]) -> CourseFigure:
    """Draw how the loss of each of several networks falls in training.

    Args:
        losses: For each network's name, its loss before each step; all of one length,
            at least 2, and above zero.

    Returns:
        The figure, with a logarithmic loss axis; the legend names the networks from
        the highest last loss to the lowest.

    Raises:
        ValueError: If there is no network, or the lengths differ or are below 2, or a
            loss is not above zero and finite.
    """
    if not losses or len({len(curve) for curve in losses.values()}) > 1:
        raise ValueError(
            f"needs losses of one length, got lengths "
            f"{[len(curve) for curve in losses.values()]}"
        )
    for name, curve in losses.items():
        if len(curve) < 2 or not all(0 < loss < math.inf for loss in curve):
            raise ValueError(
                f"{name!r} must hold two losses at least, above zero and finite"
            )
    steps = len(next(iter(losses.values())))
    last = {name: f"{curve[-1]:.3f}" for name, curve in losses.items()}
    figure = CourseFigure(
        f"The loss over {steps} training steps, on a logarithmic axis. At the end:"
        + ";".join(f" {name}: {loss}" for name, loss in last.items())
        + ".",
        height=3.2,
    )
    ax = figure.subplots()
    order = sorted(losses, key=lambda name: float(last[name]), reverse=True)
    styles = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
    colors = ("other", "attention", "normalization", "embedding", "feed_forward")
    for index, name in enumerate(order):
        ax.plot(
            range(steps),
            losses[name],
            color=COLORS[colors[index % len(colors)]],
            linestyle=styles[index % len(styles)],
            linewidth=2,
            label=f"{name}: {last[name]}",
        )
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(lambda loss, _: f"{loss:g}")
    ax.yaxis.set_minor_formatter(lambda *_: "")
    ax.set_xlim(0, steps - 1)
    ax.set_xlabel("training step")
    ax.set_ylabel("loss (logarithmic)")
    ax.spines[["top", "right"]].set_visible(False)
    title = "hidden layer: last loss"
    figure.legend(loc="outside right upper", frameon=False, title=title)
    return figure
