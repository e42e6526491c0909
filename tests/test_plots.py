"""The figures hold what they are said to show."""

import base64
import os
import subprocess
import sys

import pytest
import torch

from gpt_from_scratch import plots

TOKENS = ["A", " dog", " saw"]


@pytest.fixture
def embeddings():
    torch.manual_seed(123)
    return torch.randn(3, 40), torch.randn(3, 40)


def drawn_rows(ax):
    """Return the values of a heat map."""
    return torch.tensor(ax.images[0].get_array().filled().tolist())


def test_embeddings_shows_both_and_their_sum(embeddings):
    what, where = embeddings
    figure = plots.plot_embeddings(what, where, TOKENS)
    upper, middle, lower = figure.axes[:3]
    torch.testing.assert_close(drawn_rows(upper), what[:, :32])
    torch.testing.assert_close(drawn_rows(middle), where[:, :32])
    torch.testing.assert_close(drawn_rows(lower), (what + where)[:, :32])


def test_embeddings_share_one_scale_around_zero(embeddings):
    """Else one colour would mean different values in different panels."""
    what, where = embeddings
    figure = plots.plot_embeddings(what, where, TOKENS)
    largest = (what + where)[:, :32].abs().max().item()
    for ax in figure.axes[:3]:
        assert ax.images[0].get_clim() == pytest.approx((-largest, largest))


def test_embeddings_labels(embeddings):
    figure = plots.plot_embeddings(*embeddings, TOKENS, num_features=8)
    upper, middle, lower, colorbar = figure.axes
    for ax in (upper, lower):
        labels = [label.get_text() for label in ax.get_yticklabels()]
        assert labels == ["'A'", "' dog'", "' saw'"]
        assert ax.get_ylabel() == "token"
    assert [label.get_text() for label in middle.get_yticklabels()] == ["0", "1", "2"]
    assert middle.get_ylabel() == "position"
    assert lower.get_xlabel() == "feature (the first 8 of 40)"
    assert colorbar.get_ylabel() == "value"
    assert [ax.get_title(loc="left") for ax in (upper, middle, lower)] == [
        "Token embeddings: what",
        "+ position embeddings: where",
        "= their sum",
    ]


@pytest.mark.parametrize("shape", [(2, 40), (3, 39), (3,)])
def test_embeddings_of_different_shapes(embeddings, shape):
    with pytest.raises(ValueError, match=r"must have one shape \(tokens, features\)"):
        plots.plot_embeddings(embeddings[0], torch.zeros(shape), TOKENS)


def test_embeddings_of_no_token():
    with pytest.raises(ValueError, match="needs at least one token"):
        plots.plot_embeddings(torch.zeros(0, 4), torch.zeros(0, 4), [])


def test_embeddings_with_too_few_tokens(embeddings):
    with pytest.raises(ValueError, match="2 tokens for 3 rows of embeddings"):
        plots.plot_embeddings(*embeddings, TOKENS[:2])


@pytest.fixture
def logits():
    torch.manual_seed(123)
    return 1.5 + 2 * torch.randn(2, 50, 100)


def test_logits_histogram_counts_every_logit(logits):
    ax = plots.plot_logits(logits, num_bins=30).axes[0]
    counts, edges, _ = ax.patches[0].get_data()
    assert len(counts) == 30
    assert sum(counts) == logits.numel()
    inside = (logits >= edges[10]) & (logits < edges[11])
    assert counts[10] == inside.sum()


def test_logits_curve_is_the_normal_distribution(logits):
    """It has the logits' mean and deviation, and the same area as the bars."""
    ax = plots.plot_logits(logits).axes[0]
    x, y = (torch.as_tensor(values) for values in ax.lines[0].get_data())
    area = torch.trapezoid(y, x)
    mean = torch.trapezoid(x * y, x) / area
    variance = torch.trapezoid((x - mean) ** 2 * y, x) / area
    bar_area = logits.numel() * (x[1] - x[0])
    torch.testing.assert_close(area, bar_area, rtol=1e-3, atol=0)
    assert mean.item() == pytest.approx(logits.mean().item(), abs=0.01)
    assert variance.sqrt().item() == pytest.approx(logits.std().item(), rel=0.01)


def test_logits_marks_mean_and_deviation(logits):
    figure = plots.plot_logits(logits)
    mean, std = logits.mean().item(), logits.std().item()
    marks = sorted(line.get_xdata()[0] for line in figure.axes[0].lines[1:])
    assert marks == pytest.approx([mean - std, mean, mean + std], abs=0.01)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[0] == "logits"
    assert f"mean {mean:.2f}" in legend
    assert f"mean ± standard\ndeviation {std:.2f}" in legend
    assert figure.axes[0].get_xlabel() == "logit"
    assert figure.axes[0].get_ylabel() == "number of logits"


def test_logits_mean_never_reads_minus_zero():
    torch.manual_seed(123)
    logits = torch.randn(1000)
    figure = plots.plot_logits(logits - logits.mean() - 1e-4)
    assert "-0.00" not in figure.alt
    assert "mean 0.00" in [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize(
    "logits", [torch.zeros(9), torch.tensor([1.0, float("nan")]), torch.zeros(0)]
)
def test_logits_that_have_no_distribution(logits):
    with pytest.raises(ValueError, match="needs two different logits at least"):
        plots.plot_logits(logits)


def test_too_few_bars_or_features(embeddings, logits):
    with pytest.raises(ValueError, match="num_bins must be at least 1, got 0"):
        plots.plot_logits(logits, num_bins=0)
    with pytest.raises(ValueError, match="num_features must be at least 1, got 0"):
        plots.plot_embeddings(*embeddings, TOKENS, num_features=0)


@pytest.fixture
def figure(embeddings):
    return plots.plot_embeddings(*embeddings, TOKENS)


def test_figure_shows_itself_with_its_words(figure):
    data, metadata = figure._repr_mimebundle_()
    png = base64.b64decode(data["image/png"])
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert data["text/plain"] == f"<Figure: {figure.alt}>"
    assert "' dog'" in figure.alt
    shown = metadata["image/png"]
    assert shown["alt"] == figure.alt
    # Drawn at twice the size at which it is shown, for sharp screens.
    width = int.from_bytes(png[16:20], "big")
    height = int.from_bytes(png[20:24], "big")
    assert (width, height) == (2 * shown["width"], 2 * shown["height"])


def test_figure_is_drawn_the_same_again(figure, embeddings):
    """Else running a notebook again would change its stored bytes."""
    again = plots.plot_embeddings(*embeddings, TOKENS)
    assert again._repr_mimebundle_() == figure._repr_mimebundle_()


def test_figure_names_no_version(figure):
    data, _ = figure._repr_mimebundle_()
    assert b"Matplotlib" not in base64.b64decode(data["image/png"])


def test_a_new_machine_prints_no_font_message(tmp_path):
    """Matplotlib's messages, here about its cache, would end up in a cell's output."""
    blocked = tmp_path / "file"
    blocked.write_text("no folder can be made in here")
    done = subprocess.run(
        [sys.executable, "-c", "from gpt_from_scratch import plots"],
        env={**os.environ, "MPLCONFIGDIR": str(blocked / "matplotlib")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")


# 4.3: activations, their slopes and errors, and what a network can fit with them.


@pytest.fixture
def x():
    return torch.linspace(-3, 3, 601, dtype=torch.float64)


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def line_of(ax, label):
    """Return the y values of the line with this label."""
    (line,) = [line for line in ax.lines if line.get_label() == label]
    return torch.as_tensor(line.get_ydata())


def test_activations_draws_both_curves(x):
    outputs = {"ReLU": x.relu(), "GELU": torch.nn.functional.gelu(x)}
    ax = plots.plot_activations(x, outputs).axes[0]
    for name, output in outputs.items():
        torch.testing.assert_close(line_of(ax, name), output)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("input x", "output")
    assert ax.get_xlim() == (-3, 3)


def test_activations_marks_the_lowest_point(x):
    """GELU's, and none for ReLU, which never goes below zero."""
    outputs = {"ReLU": x.relu(), "GELU": torch.nn.functional.gelu(x)}
    figure = plots.plot_activations(x, outputs)
    words = "lowest point of GELU:\n-0.17 at -0.75"
    assert legend_of(figure) == ["ReLU", "GELU", words]
    (mark,) = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert (mark.get_xdata(), mark.get_ydata()) == ([-0.75], [-0.17])
    assert "GELU goes below zero, down to -0.17" in figure.alt


def test_activations_marks_no_end(x):
    """A straight line is lowest where the drawing ends: that means nothing."""
    assert legend_of(plots.plot_activations(x, {"line": x})) == ["line"]


def test_derivatives_shades_where_no_gradient_passes(x):
    slopes = {"ReLU": (x > 0).double(), "GELU": torch.sigmoid(x)}
    figure = plots.plot_derivatives(x, slopes)
    ax = figure.axes[0]
    (shade,) = ax.patches
    assert (shade.get_x(), shade.get_width()) == pytest.approx((-3, 3), abs=1e-6)
    for name, slope in slopes.items():
        torch.testing.assert_close(line_of(ax, name), slope)
    assert set(legend_of(figure)) == {"ReLU passes\nno gradient", "ReLU", "GELU"}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("input x", "derivative (slope)")
    assert "A shaded area, from -3 to 0" in figure.alt


def test_derivatives_shades_nothing_for_a_single_zero(x):
    figure = plots.plot_derivatives(x, {"square": 2 * x})
    assert list(figure.axes[0].patches) == []
    assert "shaded" not in figure.alt


def test_approximation_error_marks_the_largest_twice(x):
    """The difference is -0.02 at -2 and at 2: both places are marked."""
    bumps = torch.exp(-50 * (x.abs() - 2) ** 2)
    figure = plots.plot_approximation_error(x, x, x - 0.02 * bumps)
    ax = figure.axes[0]
    torch.testing.assert_close(line_of(ax, "difference"), -0.02 * bumps)
    assert legend_of(figure) == ["difference", "largest: 0.02\nat -2.00 and 2.00"]
    (marks,) = [line for line in ax.lines if line.get_marker() == "o"]
    assert marks.get_xdata().tolist() == pytest.approx([-2, 2])
    assert marks.get_ydata().tolist() == pytest.approx([-0.02, -0.02])
    assert ax.get_xlabel() == "input x"
    assert ax.get_ylabel() == "approximation - exact"
    assert "largest, 0.02, at an input of -2.00 and 2.00" in figure.alt


def test_approximation_without_error(x):
    with pytest.raises(ValueError, match="the approximation differs nowhere"):
        plots.plot_approximation_error(x, x, x.clone())


def test_fits_draws_a_panel_for_each_network(x):
    target = x.sin()
    outputs = {"no activation": 0 * x, "ReLU": target + 0.1}
    figure = plots.plot_fits(x, target, outputs)
    assert len(figure.axes) == 2
    for ax, output in zip(figure.axes, outputs.values(), strict=True):
        torch.testing.assert_close(line_of(ax, "wanted"), target)
        torch.testing.assert_close(line_of(ax, "network"), output)
        assert ax.get_xlabel() == "input x"
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["no activation: loss 0.522", "ReLU: loss 0.010"]
    assert figure.axes[0].get_ylabel() == "output"
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    assert legend_of(figure) == ["wanted", "network"]
    assert "ReLU: a loss of 0.010" in figure.alt


def test_fits_of_a_network_with_gradients(x):
    """What a network gives can be drawn as it comes."""
    output = (x * torch.ones(1, dtype=x.dtype, requires_grad=True)).float()
    ax = plots.plot_fits(x, x, {"network": output}).axes[0]
    torch.testing.assert_close(line_of(ax, "network"), x, rtol=1e-6, atol=1e-6)


def test_losses_by_width_on_a_logarithmic_axis():
    losses = {"8": [0.5, 0.2, 0.1], "32": [0.5, 0.1, 0.01], "none": [0.6, 0.5, 0.4]}
    figure = plots.plot_losses_by_width(losses)
    (ax,) = figure.axes
    assert ax.get_yscale() == "log"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("training step", "loss (logarithmic)")
    # In the legend the curves stand as they lie in the drawing, from above.
    assert legend_of(figure) == ["none: 0.400", "8: 0.100", "32: 0.010"]
    assert line_of(ax, "32: 0.010").tolist() == losses["32"]
    looks = {(line.get_color(), line.get_linestyle()) for line in ax.lines}
    assert len(looks) == 3
    assert "At the end: 8: 0.100; 32: 0.010; none: 0.400." in figure.alt


def test_losses_by_width_shows_plain_numbers():
    """0.1 is easier to read than 10 to the power of -1."""
    figure = plots.plot_losses_by_width({"8": [0.6, 0.03]})
    figure.draw_without_rendering()
    (ax,) = figure.axes
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert {"0.05", "0.1", "0.2", "0.5"} <= set(labels)
    minor = [label.get_text() for label in ax.get_yticklabels(minor=True)]
    assert set(minor) <= {""}


def test_losses_by_width_that_end_alike_keep_their_order():
    """The last digits, which depend on the machine, decide nothing."""
    losses = {"a": [1.0, 0.21], "b": [1.0, 0.21 + 1e-12]}
    assert legend_of(plots.plot_losses_by_width(losses)) == ["a: 0.210", "b: 0.210"]


@pytest.mark.parametrize(
    "losses", [{}, {"a": [1.0, 0.5], "b": [1.0]}, {"a": [1.0, 0.5], "b": []}]
)
def test_losses_of_different_lengths(losses):
    with pytest.raises(ValueError, match="needs losses of one length, got lengths"):
        plots.plot_losses_by_width(losses)


@pytest.mark.parametrize("curve", [[1.0], [1.0, 0.0], [1.0, float("inf")]])
def test_losses_that_no_logarithmic_axis_can_show(curve):
    with pytest.raises(ValueError, match="'a' must hold two losses at least, above"):
        plots.plot_losses_by_width({"a": curve})


CURVE_FIGURES = {
    "activations": lambda x, y: plots.plot_activations(x, {"f": y}),
    "derivatives": lambda x, y: plots.plot_derivatives(x, {"f": y}),
    "error": lambda x, y: plots.plot_approximation_error(x, x, y),
    "fits": lambda x, y: plots.plot_fits(x, x, {"f": y}),
}


@pytest.mark.parametrize("draw", CURVE_FIGURES.values(), ids=CURVE_FIGURES)
def test_curves_that_cannot_be_drawn(draw, x):
    with pytest.raises(ValueError, match="one finite number for each x, shape"):
        draw(x, x[1:])
    with pytest.raises(ValueError, match="one finite number for each x, shape"):
        draw(x, x / 0)
    with pytest.raises(ValueError, match="x must be two or more rising numbers"):
        draw(x.flip(0), x.cos())
    with pytest.raises(ValueError, match="x must be two or more rising numbers"):
        draw(x[:1], x[:1])


def test_no_curves(x):
    for draw in (plots.plot_activations, plots.plot_derivatives):
        with pytest.raises(ValueError, match="needs one curve at least, got none"):
            draw(x, {})
    with pytest.raises(ValueError, match="needs one curve at least, got none"):
        plots.plot_fits(x, x, {})


def test_fits_with_a_target_of_another_length(x):
    with pytest.raises(ValueError, match="'target' must hold one finite number"):
        plots.plot_fits(x, x[1:], {"f": x})
