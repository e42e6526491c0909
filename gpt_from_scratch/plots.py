"""The course's figures: one function a figure, in the colours of the whole course.

Every function takes tensors, draws, and returns a ``CourseFigure``, which shows itself
when it is a cell's last value.
"""

import base64
import io
import logging
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

# On a new machine matplotlib says that it builds its font cache, in the middle of a
# cell's output. Errors still show.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

from matplotlib.axes import Axes  # noqa: E402  after the line above
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import (  # noqa: E402
    FixedLocator,
    LogLocator,
    MaxNLocator,
    NullLocator,
)

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

    def show(self, warn: bool = True) -> None:
        """Say what to do instead: matplotlib's own message speaks of pyplot."""
        raise RuntimeError(
            "this figure opens no window. In a notebook it shows itself as a cell's "
            "last value, or by display(figure); in a program, save it: "
            'figure.savefig("figure.png")'
        )

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


# Lines of one plot, told apart by colour, stroke and marker.
_STYLES = (
    (COLORS["attention"], "solid", "o"),
    (COLORS["shortcut"], "dashed", "s"),
    (COLORS["normalization"], "dashdot", "^"),
    (COLORS["embedding"], "dotted", "D"),
    (COLORS["feed_forward"], (0, (5, 1, 1, 1, 1, 1)), "v"),
)


def _require_lines(
    what: str, lines: Mapping[str, Sequence[float]], most: int = len(_STYLES)
) -> None:
    """Refuse what is not a few lines of equal length, two points at least."""
    lengths = {len(values) for values in lines.values()}
    if not 1 <= len(lines) <= most or len(lengths) != 1 or min(lengths) < 2:
        raise ValueError(
            f"{what} must hold one to {most} lines of equal length with two "
            f"points at least, got lengths {[len(line) for line in lines.values()]}"
        )


def _require_positive(lines: Mapping[str, Sequence[float]]) -> None:
    """Refuse what a logarithmic axis cannot show."""
    for name, values in lines.items():
        for value in values:
            if not 0 < value < math.inf:
                raise ValueError(
                    f"a logarithmic axis shows finite numbers above 0, {name!r} has "
                    f"{value}"
                )


def _require_one_shape(what: str, one: Tensor, other: Tensor) -> None:
    """Refuse two tensors that are not rows of features, as many in both, or empty."""
    if one.ndim != 2 or one.shape != other.shape or one.numel() == 0:
        raise ValueError(
            f"both {what} must have one shape (tokens, features), got "
            f"{tuple(one.shape)} and {tuple(other.shape)}"
        )


def _plain(values: Tensor) -> Tensor:
    """Return the values as matplotlib takes them."""
    return values.detach().double().cpu()


def _power_of_ten(size: float) -> str:
    return f"10^{round(math.log10(size))}"


def _finish(figure: CourseFigure, ax: Axes, x_label: str, y_label: str) -> None:
    """Name the axes, open the frame above and on the right, put the legend beside."""
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, labelspacing=0.8)


def plot_losses(
    losses: Mapping[str, Sequence[float]],
    baseline: float | None = None,
    baseline_name: str = "always the mean answer",
    *,
    top: float | None = None,
) -> CourseFigure:
    """Draw how the losses of one or several trainings fall, step by step.

    Args:
        losses: For each training its name and its loss before each step; one to five
            trainings of as many steps.
        baseline: A loss to compare with, drawn as a line across; may be left out.
        baseline_name: What that loss is.
        top: If given, the axis goes evenly from 0 to this loss, and a training that is
            never below it (or has no number any more) is named as off the scale. If
            not, the axis is logarithmic.

    Returns:
        The figure.

    Raises:
        ValueError: If there is no training or more than five, or they have different
            numbers of steps or fewer than two, or the baseline, ``top`` or, on a
            logarithmic axis, a loss is not above 0 and finite.
    """
    _require_lines("losses", losses)
    _require_positive({} if baseline is None else {baseline_name: [baseline]})
    _require_positive(losses if top is None else {"top": [top]})
    num_steps = len(next(iter(losses.values())))
    beside = "" if baseline is None else f", beside a line: {baseline_name}"
    figure = CourseFigure(
        f"Loss over {num_steps} training steps for {', '.join(losses)}{beside}.",
        height=3.4,
    )
    ax = figure.subplots()
    every = max(1, num_steps // 6)
    for index, (name, values) in enumerate(losses.items()):
        color, stroke, marker = _STYLES[index]
        inside = top is None or any(value < top for value in values)
        ax.plot(
            values,
            color=color,
            linestyle=stroke,
            marker=marker,
            markersize=5,
            markevery=(index * every // 5, every),  # seen where lines run together
            label=name if inside else f"{name}\n(off the scale)",
        )
    if baseline is not None:
        label = f"{baseline_name}: {rounded(baseline, 2):.2f}"
        ax.axhline(baseline, color=COLORS["other"], linewidth=1.2, label=label)
    if top is None:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(lambda loss, _: f"{loss:g}")
        ax.yaxis.set_minor_formatter(lambda *_: "")
    else:
        ax.set_ylim(0, top)
    ax.grid(axis="y", color="#E0E0E0")
    _finish(figure, ax, "training step", "loss (mean squared error)")
    return figure


# 4.1: embeddings and logits.


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
        ValueError: If the shapes differ or are not ``(T, emb_dim)``, or there are no
            features, or the number of tokens is not ``T`` or 0, or ``num_features``
            less than 1.
        TypeError: If ``num_features`` is not an integer.
    """
    require_int("num_features", num_features, at_least=1)
    if not tokens:
        raise ValueError("needs at least one token")
    _require_one_shape("embeddings", token_embeddings, position_embeddings)
    if len(tokens) != len(token_embeddings):
        raise ValueError(
            f"{len(tokens)} tokens for {len(token_embeddings)} rows of embeddings"
        )
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
    shown = [_plain(rows[:, :num_features]) for _, rows, _ in panels]
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
    values = _plain(logits).flatten()
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
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
    _finish(figure, ax, "logit", "number of logits")
    return figure


# 4.2: normalization.


def plot_feature_distribution(before: Tensor, after: Tensor) -> CourseFigure:
    """Draw each token's features before and after normalization, side by side.

    A line marks each token's mean, a band its standard deviation on either side (the
    one that divides by the number of features).

    Args:
        before: Features as a layer gives them, shape ``(T, emb_dim)``, ``T`` at most 4.
        after: The same features normalized, shape ``(T, emb_dim)``.

    Returns:
        The figure.

    Raises:
        ValueError: If the shapes differ or are not ``(T, emb_dim)``, or there are more
            than 4 tokens or none, or no features, or a value is not finite.
    """
    _require_one_shape("tensors", before, after)
    num_tokens, emb_dim = before.shape
    if num_tokens > 4:
        raise ValueError(f"at most 4 tokens fit, got {num_tokens}")
    panels = [_plain(values) for values in (before, after)]
    if not all(bool(values.isfinite().all()) for values in panels):
        raise ValueError("all features must be finite")
    sizes = [
        rounded(
            [(row.mean().item(), row.std(unbiased=False).item()) for row in values], 2
        )
        for values in panels
    ]
    words = [
        "; ".join(
            f"token {row} has mean {mean:.2f} and standard deviation {std:.2f}"
            for row, (mean, std) in enumerate(moments)
        )
        for moments in sizes
    ]
    figure = CourseFigure(
        f"Bars: the {emb_dim} features of {num_tokens} tokens. On the left, before "
        f"normalization, {words[0]}. On the right, after it, {words[1]}.",
        height=1.0 + 1.4 * num_tokens,
    )
    grid = figure.subplots(num_tokens, 2, sharex=True, sharey=True, squeeze=False)
    color = COLORS["normalization"]
    black = COLORS["shortcut"]
    for column, values in enumerate(panels):
        for row, ax in enumerate(grid[:, column]):
            features = values[row]
            mean, std = features.mean().item(), features.std(unbiased=False).item()
            band = ax.axhspan(mean - std, mean + std, color=color, alpha=0.18, lw=0)
            x, heights = range(emb_dim), features.numpy()
            bars = ax.bar(x, heights, width=0.55, color=color, alpha=0.65)
            line = ax.axhline(mean, color=black, linestyle="--", linewidth=1.4)
            ax.axhline(0, color="#BBBBBB", linewidth=0.8, zorder=0)
            shown_mean, shown_std = sizes[column][row]
            ax.set_title(
                f"token {row}: mean {shown_mean:.2f}, "
                f"standard deviation {shown_std:.2f}",
                fontsize=9,
            )
            ax.spines[["top", "right"]].set_visible(False)
            if emb_dim <= 16:
                ax.set_xticks(range(emb_dim))
            ax.tick_params(labelleft=True)
            bars.set_label("feature")
            line.set_label("mean")
            band.set_label("mean ± standard deviation")
        grid[-1, column].set_xlabel(f"feature, {('before', 'after')[column]}")
    for ax in grid[:, 0]:
        ax.set_ylabel("value")
    handles = [bars, line, band]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
    return figure


def plot_spread_over_depth(
    without: Mapping[str, Sequence[float]],
    normalized: Mapping[str, Sequence[float]] | None = None,
) -> CourseFigure:
    """Draw how the spread of activations goes from layer to layer.

    The axis of the spread is logarithmic, and both panels share it.

    Args:
        without: For each stack of layers its name and the standard deviation of its
            input and of each layer's output, all above 0; one to five stacks.
        normalized: The same stacks with normalization, for a second panel.

    Returns:
        The figure.

    Raises:
        ValueError: If there are no stacks or more than five, or they have different
            lengths or fewer than two values, or a value is not positive and finite, or
            the two arguments do not have the same names and lengths.
    """
    _require_lines("without", without)
    panels = [("without normalization", without)]
    if normalized is not None:
        _require_lines("normalized", normalized)
        shapes = [
            [(name, len(values)) for name, values in curves.items()]
            for curves in (without, normalized)
        ]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"both panels need the same stacks, got {shapes[0]} and {shapes[1]}"
            )
        panels.append(("with layer normalization", normalized))
    for _, curves in panels:
        _require_positive(curves)
    num_layers = len(next(iter(without.values()))) - 1
    words = f"Spread of the activations after each of {num_layers} layers, on a "
    words += f"logarithmic axis, for {', '.join(without)}. Without normalization: "
    words += ". With it, ".join(
        ", ".join(
            f"{name} ends near {_power_of_ten(values[-1])}"
            for name, values in curves.items()
        )
        for _, curves in panels
    )
    figure = CourseFigure(words + ".", height=3.4)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, (title, curves) in zip(axes, panels, strict=True):
        ax.axhline(1, color=COLORS["other"], linewidth=0.8)
        for (name, values), (color, line, marker) in zip(
            curves.items(), _STYLES, strict=False
        ):
            ax.plot(
                range(num_layers + 1),
                values,
                color=color,
                linestyle=line,
                marker=marker,
                markersize=4,
                markevery=max(1, num_layers // 6),
                label=name,
            )
        ax.set_yscale("log")
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("layer (0: the input)")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("spread (standard deviation)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False)
    return figure


# 4.3: activations, their slopes and errors, and what a network fits with them.


def _require_functions(x: Tensor, curves: Mapping[str, Tensor]) -> None:
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


# The first is what is compared with, the second what it is about; then others.
_CURVES = (
    (COLORS["other"], "--"),
    (COLORS["feed_forward"], "-"),
    (COLORS["attention"], "-."),
    (COLORS["embedding"], ":"),
)


def _draw_curves(
    ax: Axes, x: Tensor, curves: Mapping[str, Tensor], first_style: int = 0
) -> None:
    """Draw named curves, with thin lines through zero behind them."""
    ax.axhline(0, color=COLORS["other"], linewidth=0.6)
    ax.axvline(0, color=COLORS["other"], linewidth=0.6)
    for index, (name, curve) in enumerate(curves.items(), start=first_style):
        color, style = _CURVES[index % len(_CURVES)]
        ax.plot(
            _plain(x).numpy(),
            _plain(curve).numpy(),
            color=color,
            linestyle=style,
            linewidth=2,
            label=name,
            zorder=2 - index / 10,  # the first, dashed, over the others
        )
    ax.set_xlim(x.min().item(), x.max().item())


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
    _require_functions(x, outputs)
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
    _finish(figure, ax, "input x", "output")
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
    _require_functions(x, derivatives)
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
    _finish(figure, ax, "input x", "derivative (slope)")
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
    _require_functions(x, {"exact": exact, "approximation": approximation})
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
    _draw_curves(ax, x, {"difference": error}, first_style=1)
    color = COLORS["shortcut"]
    label = f"largest: {size}\nat {marked}"
    places_x, places_y = _plain(x)[places].numpy(), error[places].numpy()
    ax.plot(places_x, places_y, "o", color=color, markersize=6, label=label)
    _finish(figure, ax, "input x", "approximation - exact")
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
    _require_functions(x, outputs)
    _require_functions(x, {"target": target})
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


# 4.4: gradients by layer.


def plot_gradient_magnitudes(
    *panels: Mapping[str, Mapping[str, float]],
    titles: Sequence[str] = (),
    part: str = "layer",
) -> CourseFigure:
    """Draw the gradients of each layer's weight, on a logarithmic axis.

    Args:
        panels: For each panel, the lines by their names in the legend, one to five; a
            line is what ``gradient_magnitudes`` returns. All panels have the same
            names. A single panel of at most 8 layers has the numbers at its points.
        titles: The panels' titles; may be left out.
        part: What the numbers belong to, if not to layers.

    Returns:
        The figure.

    Raises:
        ValueError: If there is no panel, or one has no line, more than five or other
            names than the first, or lines of different or fewer than two layers, or a
            number is not above 0 and finite, or the titles are not as many as the
            panels.
    """
    if not panels:
        raise ValueError("needs one panel at least, got none")
    if titles and len(titles) != len(panels):
        raise ValueError(f"{len(titles)} titles for {len(panels)} panels")
    lines = [
        {label: list(sizes.values()) for label, sizes in panel.items()}
        for panel in panels
    ]
    for panel in lines:
        _require_lines("a panel", panel)
        if list(panel) != list(lines[0]):
            raise ValueError(
                f"all panels must have the lines {list(lines[0])}, got {list(panel)}"
            )
        _require_positive(panel)
    words = []
    for index, panel in enumerate(lines):
        for label, sizes in panel.items():
            said = f"{len(sizes)} {part}s"
            if titles and titles[index] != said:
                said = f"{titles[index]}, {said}"
            first, last = _power_of_ten(sizes[0]), _power_of_ten(sizes[-1])
            if first == last:  # a digit shows whether the line rises or falls
                first, last = f"{sizes[0]:.0e}", f"{sizes[-1]:.0e}"
            words.append(
                f"{said} {label}, from {first} in {part} 0 to {last} in the last"
            )
    figure = CourseFigure(
        f"Mean absolute gradient by {part} on a logarithmic axis, in powers of ten: "
        f"{'; '.join(words)}.",
        height=3.4,
    )
    axes = figure.subplots(1, len(lines), sharey=True, squeeze=False)[0]
    axes[0].set_yscale("log")
    axes[0].yaxis.set_major_locator(_few_powers_of_ten(lines))
    axes[0].yaxis.set_minor_locator(NullLocator())
    bins = 10 if len(lines) == 1 else 5
    for ax, panel in zip(axes, lines, strict=True):
        few = len(next(iter(panel.values()))) <= 8  # all lines are of equal length
        write_sizes = few and len(lines) == 1
        for (label, sizes), style in zip(panel.items(), _STYLES, strict=False):
            color, _, marker = style
            size = 6 if few else 3
            ax.plot(sizes, color=color, marker=marker, ms=size, label=label)
            if write_sizes:
                _write_sizes(ax, sizes, color)
        if write_sizes:
            ax.margins(x=0.08, y=0.14)
        ax.set_xlabel(f"{part} (0 is next to the input)")
        ax.xaxis.set_major_locator(MaxNLocator(bins, steps=[1, 2, 5, 10], integer=True))
        ax.grid(axis="y", color="#E0E0E0")
        ax.spines[["top", "right"]].set_visible(False)
    for ax, title in zip(axes, titles, strict=False):
        ax.set_title(title, loc="left", fontsize=10)
    axes[0].set_ylabel("mean absolute gradient")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=len(labels), frameon=False
    )
    return figure


def _few_powers_of_ten(panels: Sequence[Mapping[str, Sequence[float]]]) -> FixedLocator:
    """Place at most about eight ticks, at every power of ten, or every fifth, ..."""
    sizes = [size for panel in panels for line in panel.values() for size in line]
    low, high = math.log10(min(sizes)), math.log10(max(sizes))
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100) if high - low <= 8 * step)
    first, last = math.floor(low / step) - 1, math.ceil(high / step) + 1
    return FixedLocator([10.0 ** (step * n) for n in range(first, last + 1)])


def _write_sizes(ax: Axes, sizes: Sequence[float], color: str) -> None:
    """Write each number above its point."""
    for layer, size in enumerate(sizes):
        ax.annotate(
            f"{rounded(size, significant=4):.4g}",
            (layer, size),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            color=color,
            fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            zorder=1.8,  # over the grid, under the lines
        )


# 4.5: attention, what moves what, and what the branches add.


def plot_score_scaling(
    head_dims: Sequence[int],
    spreads: Mapping[str, Sequence[float]],
    largest: Mapping[str, Sequence[float]],
    num_keys: int,
) -> CourseFigure:
    """Draw how scores and attention weights depend on the number of features.

    Args:
        head_dims: Features of a query and a key, rising; two at least.
        spreads: For each way to score its name and the scores' standard deviation at
            each number of features; one to five ways.
        largest: For the same ways, the largest weight that softmax makes of a row.
        num_keys: How many keys a row has: an even share is one part in so many.

    Returns:
        The figure, a panel for the spreads and one for the weights.

    Raises:
        TypeError: If ``num_keys`` is not an integer.
        ValueError: If the ways differ, or their numbers are not one for each of two
            or more rising ``head_dims``, or a number is not above 0 and finite, or
            ``num_keys`` less than 1.
    """
    require_int("num_keys", num_keys, at_least=1)
    if len(head_dims) < 2 or list(head_dims) != sorted(set(head_dims)):
        raise ValueError(f"head_dims must be two or more rising numbers: {head_dims}")
    for what, lines in (("spreads", spreads), ("largest", largest)):
        _require_lines(what, lines)
        _require_positive(lines)
        if any(len(values) != len(head_dims) for values in lines.values()):
            raise ValueError(f"{what} must hold {len(head_dims)} numbers a line")
    if list(spreads) != list(largest):
        raise ValueError(
            f"both panels need the same lines, got {list(spreads)} and {list(largest)}"
        )
    figure = CourseFigure(
        f"Two panels over {head_dims[0]} to {head_dims[-1]} features per head, for "
        f"scores {' and '.join(spreads)}: the spread of the scores, and the largest "
        f"of {num_keys} attention weights, beside an even share.",
        height=3.2,
    )
    left, right = figure.subplots(1, 2)
    for ax, lines in ((left, spreads), (right, largest)):
        for (name, values), style in zip(lines.items(), _STYLES, strict=False):
            color, stroke, marker = style
            ax.plot(
                head_dims,
                values,
                color=color,
                linestyle=stroke,
                marker=marker,
                label=name,
            )
        ax.set_xscale("log", base=2)
        ax.set_xticks(head_dims, [str(size) for size in head_dims])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlabel("features per head (head_dim)")
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color="#E0E0E0")
    left.set_ylabel("spread of the scores\n(standard deviation)")
    left.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 4, 5, 10], integer=True))
    left.set_ylim(bottom=0)
    right.set_ylabel(f"largest of {num_keys} weights\n(mean over rows)")
    right.set_ylim(0, 1)
    label = f"even share, 1/{num_keys}"
    right.axhline(1 / num_keys, color=COLORS["other"], linewidth=1.2, label=label)
    handles, labels = right.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=len(labels), frameon=False
    )
    return figure


def _require_maps(
    what: str, maps: Mapping[str, Tensor], tokens: Sequence[str], most: int
) -> None:
    """Refuse maps that are not one number from 0 for each pair of tokens."""
    size = len(tokens)
    if not 1 <= len(maps) <= most or size == 0:
        raise ValueError(
            f"needs one to {most} {what} and a token at least, got {len(maps)} and "
            f"{size}"
        )
    for name, values in maps.items():
        if values.shape != (size, size):
            raise ValueError(
                f"{name!r} must have the shape ({size}, {size}), one row and one "
                f"column for each token, got {tuple(values.shape)}"
            )
        if not bool(((values >= 0) & values.isfinite()).all()):
            raise ValueError(f"{name!r} must hold finite numbers from 0")


def _draw_map(
    ax: Axes, values: Tensor, labels: Sequence[str], top: float, decimals: int
) -> None:
    """Draw one number for each pair of tokens, darker the larger; zeros stay empty."""
    shown = _plain(values)
    shades = shown.sqrt().where(shown > 0, math.nan)  # not a number: no colour
    # No shade is so dark that its number could not be read.
    ax.imshow(shades.numpy(), cmap="Oranges", vmin=0, vmax=1.5 * math.sqrt(top))
    size = len(labels)
    for row in range(size):
        for column in range(size):
            value = shown[row, column].item()
            if value == 0:
                ax.plot(column, row, ".", color="#858585", markersize=3)
            elif size <= 6:
                ax.text(
                    column,
                    row,
                    f"{value:.{decimals}f}",
                    ha="center",
                    va="center",
                    fontsize=9 if size <= 5 else 8,
                    color="#1F1F1F",
                )
    ax.set_xticks(range(size), labels, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(size), labels)
    ax.tick_params(length=0)
    ax.set_xticks([edge - 0.5 for edge in range(1, size)], minor=True)
    ax.set_yticks([edge - 0.5 for edge in range(1, size)], minor=True)
    ax.grid(which="minor", color="white", linewidth=1.5)
    ax.tick_params(which="minor", length=0)


def plot_attention_weights(
    heads: Mapping[str, Tensor], tokens: Sequence[str]
) -> CourseFigure:
    """Draw heads' attention weights: a row for each token, of what it takes from which.

    Args:
        heads: For each head its name and its weights, shape ``(T, T)``; at most 4.
        tokens: The ``T`` tokens as text, for the labels.

    Returns:
        The figure. Up to 6 tokens, each square holds its number; where a weight is
        exactly 0, there is a dot.

    Raises:
        ValueError: If there are no heads or more than 4, or no tokens, or a shape is
            not ``(T, T)``, or a weight is below 0 or not finite.
    """
    _require_maps("heads", heads, tokens, most=4)
    labels = [token.strip() or repr(token) for token in tokens]
    future = any(bool((values.triu(1) > 0).any()) for values in heads.values())
    shape = "some weights lie on later tokens" if future else "lower triangles"
    figure = CourseFigure(
        f"Attention weights of {', '.join(heads)} as squares, darker the larger, a "
        f"row and a column for each of the tokens {', '.join(labels)}: {shape}.",
        height=3.1 if len(heads) > 2 else 3.7,
    )
    axes = figure.subplots(1, len(heads), sharey=True, squeeze=False)[0]
    for ax, (name, values) in zip(axes, heads.items(), strict=True):
        _draw_map(ax, values, labels, top=1.0, decimals=2)
        ax.set_title(name, fontsize=10)
        ax.set_xlabel("takes from (key)")
    axes[0].set_ylabel("this token (query)")
    return figure


def plot_influence(panels: Mapping[str, Tensor], tokens: Sequence[str]) -> CourseFigure:
    """Draw how far a change of each input token moves each output token.

    Args:
        panels: For each case its name and the movements, shape ``(T, T)``: row the
            output token, column the input token that was changed; at most 3.
        tokens: The ``T`` tokens as text, for the labels.

    Returns:
        The figure. Up to 6 tokens, each square holds its number; where nothing moved,
        there is a dot.

    Raises:
        ValueError: If there are no panels or more than 3, or no tokens, or a shape is
            not ``(T, T)``, or a movement is below 0 or not finite.
    """
    _require_maps("panels", panels, tokens, most=3)
    labels = [token.strip() or repr(token) for token in tokens]
    words = []
    for name, values in panels.items():
        later = int((values.triu(1) > 0).sum())
        words.append(
            f"{name}: a changed token moves "
            f"{'earlier tokens too' if later else 'itself and later tokens only'}"
        )
    figure = CourseFigure(
        f"Maps of which input token moves which output token, for the tokens "
        f"{', '.join(labels)}. {'. '.join(words)}.",
        height=3.9,
    )
    top = max(values.max().item() for values in panels.values()) or 1.0
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, (name, values) in zip(axes, panels.items(), strict=True):
        _draw_map(ax, values, labels, top, decimals=2)
        ax.set_title(name, fontsize=10)
        ax.set_xlabel("input token that was changed")
    axes[0].set_ylabel("output token that moved")
    return figure


def plot_branch_sizes(
    by_block: Mapping[str, Sequence[float]], by_token: Mapping[str, Sequence[float]]
) -> CourseFigure:
    """Draw how much the branches add to the stream, by block and by token.

    Args:
        by_block: For each branch its name and the size of what it adds in each block,
            as a share of the stream; first attention, then the feed-forward network.
        by_token: For the same branches, the share for each token of a text.

    Returns:
        The figure; blocks and tokens are counted from 0.

    Raises:
        ValueError: If the branches differ, or there are none or more than two, or a
            panel's lines have different lengths or fewer than two points, or a share
            is not above 0 and finite.
    """
    for what, lines in (("by_block", by_block), ("by_token", by_token)):
        _require_lines(what, lines, most=2)
        _require_positive(lines)
    if list(by_block) != list(by_token):
        raise ValueError(
            f"both panels need the same branches, got {list(by_block)} and "
            f"{list(by_token)}"
        )
    num_blocks = len(next(iter(by_block.values())))
    num_tokens = len(next(iter(by_token.values())))
    figure = CourseFigure(
        f"What {' and '.join(by_block)} add, as a share of the stream: on the left "
        f"in each of {num_blocks} blocks, on the right in block 0 for each of "
        f"{num_tokens} tokens.",
        height=3.2,
    )
    left, right = figure.subplots(1, 2, sharey=True)
    for ax, lines in ((left, by_block), (right, by_token)):
        for index, (name, shares) in enumerate(lines.items()):
            color = COLORS[("attention", "feed_forward")[index]]
            marker = _STYLES[index][2]
            every = max(1, len(shares) // 12)
            ax.plot(
                [100 * share for share in shares],
                color=color,
                marker=marker,
                markersize=5,
                markevery=every,
                label=name,
            )
        ax.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        ax.grid(axis="y", color="#E0E0E0")
        ax.spines[["top", "right"]].set_visible(False)
    left.set_ylim(bottom=0)
    left.set_title("all tokens, block by block", loc="left", fontsize=10)
    right.set_title("block 0, token by token", loc="left", fontsize=10)
    left.set_xlabel("block (0 is next to the input)")
    right.set_xlabel("token (0 is the first of the text)")
    left.set_ylabel("added, in % of the stream")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=len(labels), frameon=False
    )
    return figure


# 4.6: where a model's parameters are, what memory it takes, and its stream.

# Each component's colour, and how strongly it is laid on: two share the embedding's.
# Shortcuts have no parameters, so their black is free; grey would be too near to the
# green for some of the colour-blind.
_COMPONENTS = {
    "token embedding": ("embedding", 1.0),
    "position embedding": ("embedding", 0.35),
    "attention": ("attention", 1.0),
    "feed-forward": ("feed_forward", 1.0),
    "layer normalization": ("normalization", 1.0),
    "output layer": ("shortcut", 1.0),
}


def _require_counts(name: str, counts: Mapping[str, int]) -> int:
    """Refuse counts of unknown components, or none; return their sum."""
    for component, count in counts.items():
        if component not in _COMPONENTS:
            raise ValueError(
                f"{name!r} has the component {component!r}; the components are "
                f"{list(_COMPONENTS)}"
            )
        require_int(component, count, at_least=0)
    total = sum(counts.values())
    if total == 0:
        raise ValueError(f"{name!r} has no parameters")
    return total


def _laid_on(color: str, strength: float) -> dict[str, Any]:
    """Return how a bar looks: a light one has an edge, or it would hardly be seen."""
    full = COLORS[color]
    return {
        "facecolor": (full, strength),
        "edgecolor": full if strength < 0.6 else "white",
        "linewidth": 1.0,
    }


def plot_parameters_by_component(counts: Mapping[str, int]) -> CourseFigure:
    """Draw how many parameters each component of a model has.

    Args:
        counts: The number of parameters of each component, as ``parameter_counts``
            gives them; at least one above 0.

    Returns:
        The figure: one bar a component, the first at the top, in millions, with its
        share of the whole.

    Raises:
        TypeError: If a count is not an integer.
        ValueError: If a component is not one of ``parameter_counts``, a count is
            negative, or there are no parameters.
    """
    total = _require_counts("the model", counts)
    shares = {name: f"{100 * count / total:.2f} %" for name, count in counts.items()}
    words = ", ".join(f"{name} {share}" for name, share in shares.items())
    figure = CourseFigure(
        f"Bars: the parameters of each component of a model with {total:,}. {words}.",
        height=0.9 + 0.37 * len(counts),
    )
    ax = figure.subplots()
    for row, (name, count) in enumerate(counts.items()):
        color, strength = _COMPONENTS[name]
        ax.barh(row, count / 1e6, height=0.7, **_laid_on(color, strength))
        text = f"{count / 1e6:,.2f} million, {shares[name]}"
        ax.annotate(
            text,
            (count / 1e6, row),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
        )
    ax.set_yticks(range(len(counts)), list(counts))
    ax.invert_yaxis()  # the first at the top, as in a table
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(0, 1.35 * max(counts.values()) / 1e6)  # room for the numbers
    ax.set_xlabel("millions of parameters")
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def plot_parameter_shares(models: Mapping[str, Mapping[str, int]]) -> CourseFigure:
    """Draw for several models which share of its parameters each component has.

    Args:
        models: For each model its name and the number of parameters of each
            component, as ``parameter_counts`` gives them.

    Returns:
        The figure: one bar a model, the first at the top, from 0 to 100 percent. A
        share of 4 percent or more has its number.

    Raises:
        TypeError: If a count is not an integer.
        ValueError: If there is no model, a component is not one of
            ``parameter_counts``, a count is negative, or a model has no parameters.
    """
    if not models:
        raise ValueError("needs one model at least, got none")
    totals = {name: _require_counts(name, counts) for name, counts in models.items()}
    words = [
        f"{name}, {_in_words(totals[name])}: "
        + ", ".join(
            f"{component} {100 * count / totals[name]:.0f} %"
            for component, count in counts.items()
        )
        for name, counts in models.items()
    ]
    figure = CourseFigure(
        f"Bars from 0 to 100 percent, the share of each component. {'; '.join(words)}.",
        height=1.2 + 0.46 * len(models),
    )
    ax = figure.subplots()
    for row, (name, counts) in enumerate(models.items()):
        left = 0.0
        for component, (color, strength) in _COMPONENTS.items():
            share = 100 * counts.get(component, 0) / totals[name]
            bar = ax.barh(
                row,
                share,
                left=left,
                height=0.72,
                **_laid_on(color, strength),
                label=component if row == 0 else None,
            )
            if share >= 4:
                light = strength < 0.5
                ax.bar_label(
                    bar,
                    [f"{share:.0f} %"],
                    label_type="center",
                    color=COLORS["shortcut"] if light else "white",
                )
            left += share
    labels = [f"{name}\n{_in_words(total)}" for name, total in totals.items()]
    ax.set_yticks(range(len(models)), labels)
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(0, 100)
    ax.set_xlabel("share of the parameters (percent)")
    ax.spines[["top", "right", "left"]].set_visible(False)
    handles, names = ax.get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside upper center", ncols=3, frameon=False, fontsize=9
    )
    return figure


def _in_words(count: int) -> str:
    """Write a count of parameters as people say it."""
    if count >= 999_500_000:
        return f"{count / 1e9:,.1f} billion"
    return f"{count / 1e6:,.0f} million"


# What memory is for, in the order in which it is stacked. Keys and values have the
# colour of attention, which makes them; no other kind belongs to one component.
_MEMORY = {
    "weights": ("shortcut", 0.9),
    "gradients": ("other", 0.8),
    "first moments": ("other", 0.5),
    "second moments": ("other", 0.25),
    "key-value cache": ("attention", 0.9),
}


def plot_memory(needs: Mapping[str, Mapping[str, int]]) -> CourseFigure:
    """Draw what memory a model takes, for one purpose beside the other.

    Args:
        needs: For each purpose its name and the bytes of each kind of content:
            weights, gradients, first moments, second moments, key-value cache.

    Returns:
        The figure: one bar a purpose, the first at the top, in MB of 2^20 bytes.

    Raises:
        TypeError: If a number of bytes is not an integer.
        ValueError: If there is no purpose, one has no bytes, a kind is not one of
            those above, or a number of bytes is negative.
    """
    if not needs:
        raise ValueError("needs one purpose at least, got none")
    for name, sizes in needs.items():
        for kind, size in sizes.items():
            if kind not in _MEMORY:
                raise ValueError(
                    f"{name!r} has {kind!r}; the kinds of content are {list(_MEMORY)}"
                )
            require_int(kind, size, at_least=0)
        if sum(sizes.values()) == 0:
            raise ValueError(f"{name!r} takes no bytes")
    totals = {name: sum(sizes.values()) / 2**20 for name, sizes in needs.items()}
    words = [
        f"{name}: {totals[name]:,.0f} MB for {', '.join(sizes)}"
        for name, sizes in needs.items()
    ]
    figure = CourseFigure(
        f"Bars: memory in MB. {'; '.join(words)}.", height=1.0 + 0.42 * len(needs)
    )
    ax = figure.subplots()
    named = set()
    for row, (name, sizes) in enumerate(needs.items()):
        left = 0.0
        for kind in (kind for kind in _MEMORY if kind in sizes):
            color, strength = _MEMORY[kind]
            width = sizes[kind] / 2**20
            ax.barh(
                row,
                width,
                left=left,
                height=0.7,
                **_laid_on(color, strength),
                label=None if kind in named else kind,
            )
            named.add(kind)
            left += width
        ax.annotate(
            f"{totals[name]:,.0f}",
            (left, row),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
        )
    ax.set_yticks(range(len(needs)), list(needs))
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(0, 1.1 * max(totals.values()))
    ax.xaxis.set_major_formatter(lambda size, _: f"{size:,.0f}")
    _finish(figure, ax, "MB (2^20 bytes)", "")
    return figure


def plot_stream(
    stream: Sequence[float],
    branches: Mapping[str, Sequence[float]],
    after_norm: float,
    expected: Sequence[float] | None = None,
) -> CourseFigure:
    """Draw the spread of a model's stream from block to block, and what is added.

    Args:
        stream: Standard deviation of the features before the first block and after
            each block; at least two numbers above 0.
        branches: For each kind of branch its name and the standard deviation of what
            it adds in each block, one number fewer than ``stream``; at most two.
        after_norm: Standard deviation after the final normalization.
        expected: What was worked out for the stream, one number for each of its; may
            be left out.

    Returns:
        The figure.

    Raises:
        ValueError: If there are too few numbers or too many branches, the lengths do
            not fit, or a number is not above 0 and finite.
    """
    num_blocks = len(stream) - 1
    if num_blocks < 1 or len(branches) > 2:
        raise ValueError(
            f"needs a stream of two numbers at least and at most two branches, got "
            f"{len(stream)} numbers and {len(branches)} branches"
        )
    lines: dict[str, Sequence[float]] = {"stream": stream, **branches}
    for name, values in branches.items():
        if len(values) != num_blocks:
            raise ValueError(
                f"{name!r} must have one number for each of {num_blocks} blocks, got "
                f"{len(values)}"
            )
    if expected is not None:
        if len(expected) != len(stream):
            raise ValueError(
                f"expected must have {len(stream)} numbers as the stream has, got "
                f"{len(expected)}"
            )
        lines["expected"] = expected
    for name, values in {**lines, "after_norm": [after_norm]}.items():
        for value in values:
            if not 0 < value < math.inf:
                raise ValueError(
                    f"a spread is finite and above 0, {name!r} has {value}"
                )
    start, end, last = rounded([stream[0], stream[-1], after_norm], decimals=1)
    figure = CourseFigure(
        f"Spread of the stream through {num_blocks} blocks: it goes from "
        f"{start:.1f} to {end:.1f}, and is {last:.1f} after the final normalization."
        + "".join(
            f" What {name} adds has a spread of "
            f"{rounded(sum(values) / num_blocks, 2):.2f} on average."
            for name, values in branches.items()
        )
        + (
            " A broad line shows the stream as worked out."
            if expected is not None
            else ""
        ),
        height=3.4,
    )
    ax = figure.subplots()
    black, pink = COLORS["shortcut"], COLORS["normalization"]
    ax.plot(stream, color=black, marker="s", markersize=5, label="the stream")
    if expected is not None:
        ax.plot(
            expected,
            color=COLORS["embedding"],
            linewidth=7,
            alpha=0.35,
            zorder=1.5,  # under the stream
            label="the stream,\nas worked out",
        )
    ax.plot(
        [num_blocks, num_blocks + 1],
        [stream[-1], after_norm],
        color=pink,
        linestyle=":",
        marker="D",
        markevery=[1],
        label="after the final\nlayer normalization",
    )
    for (name, values), (color, marker) in zip(
        branches.items(),
        ((COLORS["attention"], "o"), (COLORS["feed_forward"], "v")),
        strict=False,
    ):
        x = range(1, num_blocks + 1)
        label = f"what {name} adds"
        ax.plot(x, values, color=color, marker=marker, markersize=5, label=label)
    ax.set_ylim(bottom=0)
    step = 1 + num_blocks // 13
    blocks = range(0, num_blocks + 1, step)
    ax.set_xticks([*blocks, num_blocks + 1], [*map(str, blocks), "final\nnorm"])
    ax.grid(axis="y", color="#E0E0E0")
    _finish(
        figure, ax, "blocks passed (0: the embeddings)", "spread (standard deviation)"
    )
    return figure


# 4.7: probabilities of the next token, and the time that a token takes.


def plot_next_tokens(
    probabilities: Tensor, tokens: Sequence[str], vocab_size: int
) -> CourseFigure:
    """Draw the likeliest next tokens as bars, beside the share if all were alike.

    Args:
        probabilities: Their probabilities, falling, shape ``(tokens,)``.
        tokens: The tokens as text, as many; at most 20.
        vocab_size: Tokens in the vocabulary; each one's even share is 1 of it.

    Returns:
        The figure.

    Raises:
        TypeError: If ``vocab_size`` is not an integer.
        ValueError: If there is no token, or more than 20, or not one probability for
            each, or the probabilities do not fall from at most 1 to at least 0, or
            ``vocab_size`` is less than 1.
    """
    require_int("vocab_size", vocab_size, at_least=1)
    if not 1 <= len(tokens) <= 20 or probabilities.shape != (len(tokens),):
        raise ValueError(
            f"needs one to 20 tokens with a probability each, got {len(tokens)} tokens "
            f"and probabilities of shape {tuple(probabilities.shape)}"
        )
    shares = _plain(probabilities)
    if not (shares[0] <= 1 and shares[-1] >= 0 and bool((shares.diff() <= 0).all())):
        raise ValueError("the probabilities must fall, from at most 1 to at least 0")
    labels = [repr(token) for token in tokens]
    percent = (100 * shares).tolist()
    even = 100 / vocab_size
    figure = CourseFigure(
        f"Bars: the probabilities of the {len(tokens)} likeliest next tokens, falling "
        f"from {labels[0]} to {labels[-1]}, beside a line at the even share of one "
        f"token in {vocab_size:,}.",
        height=1.0 + 0.24 * len(tokens),
    )
    ax = figure.subplots()
    color = COLORS["embedding"]
    bars = ax.barh(range(len(tokens)), percent, color=color, alpha=0.75, height=0.7)
    bars.set_label("probability")
    texts = [f"{share:#.3g}".rstrip(".") + " %" for share in percent]
    ax.bar_label(bars, texts, padding=4, fontsize=9)
    ax.axvline(
        even,
        color=COLORS["attention"],
        linestyle="--",
        linewidth=2,
        label=f"even share:\n{even:#.3g}".rstrip(".") + " %",
    )
    ax.set_yticks(range(len(tokens)), labels)
    ax.invert_yaxis()  # the likeliest on top
    ax.set_xlim(0, 1.14 * max(percent[0], even))
    ax.tick_params(axis="y", length=0)
    _finish(figure, ax, "probability of being next (%)", "token")
    return figure


def plot_distributions(
    tokens: Sequence[str], distributions: Mapping[str, Tensor]
) -> CourseFigure:
    """Draw several distributions over the same few tokens, side by side.

    Args:
        tokens: The tokens as text.
        distributions: For each name in the legend the tokens' probabilities, shape
            ``(tokens,)``; one to five.

    Returns:
        The figure.

    Raises:
        ValueError: If there is no token, no distribution or more than five, or one
            has not a probability for each token that together make 1.
    """
    if not tokens or not 1 <= len(distributions) <= len(_STYLES):
        raise ValueError(
            f"needs one to {len(_STYLES)} distributions over one token at least, got "
            f"{len(distributions)} over {len(tokens)}"
        )
    shown = {name: _plain(values) for name, values in distributions.items()}
    for name, values in shown.items():
        fits = values.shape == (len(tokens),) and bool((values >= 0).all())
        if not fits or not math.isclose(values.sum().item(), 1, abs_tol=1e-4):
            raise ValueError(
                f"{name!r} must hold {len(tokens)} probabilities that make 1, got "
                f"{values.tolist()}"
            )
    likeliest = [
        f"{name}, {rounded(100 * values.max().item(), 0):.0f} % for "
        f"{tokens[int(values.argmax())]!r}"
        for name, values in shown.items()
    ]
    figure = CourseFigure(
        f"Bars: probabilities of {len(tokens)} tokens in {len(shown)} distributions. "
        f"Highest bars: {'; '.join(likeliest)}.",
        height=3.2,
    )
    ax = figure.subplots()
    width = 0.8 / len(shown)
    fills = ("", "//", "..", "xx", "--")
    for index, (name, values) in enumerate(shown.items()):
        left = (index - (len(shown) - 1) / 2) * width
        ax.bar(
            [place + left for place in range(len(tokens))],
            (100 * values).tolist(),
            width=0.9 * width,
            color=_STYLES[index][0],
            alpha=0.8,
            hatch=fills[index],
            edgecolor="white",
            linewidth=0,
            label=name,
        )
    ax.set_xticks(range(len(tokens)), [repr(token) for token in tokens])
    ax.tick_params(axis="x", length=0)
    ax.grid(axis="y", color="#E0E0E0")
    ax.set_axisbelow(True)
    ax.set_ylim(bottom=0)
    _finish(figure, ax, "next token", "probability (%)")
    return figure


def plot_time_per_token(
    lengths: Sequence[int], seconds: Mapping[str, Sequence[float]]
) -> CourseFigure:
    """Draw how long the next token takes after texts of several lengths.

    The alternative text holds no time, as times differ from run to run.

    Args:
        lengths: Numbers of tokens, rising.
        seconds: For each line's name the time at each length, in seconds; one to five.

    Returns:
        The figure.

    Raises:
        ValueError: If the lengths do not rise from 1 or more, there is no line or more
            than five, one has not a time for each of two lengths at least, or a time
            is not above 0 and finite.
    """
    _require_lines("seconds", seconds)
    _require_positive(seconds)
    num_times = len(next(iter(seconds.values())))
    rising = all(one < other for one, other in pairwise(lengths))
    if len(lengths) != num_times or not rising or lengths[0] < 1:
        raise ValueError(
            f"needs {num_times} lengths that rise from 1 or more, got {list(lengths)}"
        )
    figure = CourseFigure(
        f"Time for the next token after {lengths[0]} to {lengths[-1]} tokens, one line "
        f"each: {', '.join(seconds)}.",
    )
    ax = figure.subplots()
    for (name, times), style in zip(seconds.items(), _STYLES, strict=False):
        color, stroke, marker = style
        milliseconds = [1000 * time for time in times]
        ax.plot(
            lengths,
            milliseconds,
            color=color,
            linestyle=stroke,
            marker=marker,
            label=name,
        )
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.set_xticks(lengths)
    ax.yaxis.set_major_formatter(lambda time, _: f"{time:,.0f}")
    ax.grid(axis="y", color="#E0E0E0")
    _finish(figure, ax, "tokens in the text", "time per token (milliseconds)")
    return figure
