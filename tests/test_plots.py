"""The figures hold what they are said to show."""

import base64
import os
import subprocess
import sys
from itertools import pairwise

import pytest
import torch
from matplotlib.colors import to_rgb

from gpt_from_scratch import plots

TOKENS = ["A", " dog", " saw"]


@pytest.fixture
def embeddings():
    torch.manual_seed(123)
    return torch.randn(3, 40), torch.randn(3, 40)


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


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
    legend = legend_of(figure)
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
    assert "mean 0.00" in legend_of(figure)


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


def test_figure_says_how_to_see_it(figure):
    """Matplotlib's message about show() would speak of pyplot, which is not there."""
    with pytest.raises(RuntimeError, match=r"display\(figure\).*savefig"):
        figure.show()


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


def line_of(ax, label):
    """Return the y values of the line with this label."""
    (line,) = [line for line in ax.lines if line.get_label() == label]
    return torch.as_tensor(line.get_ydata())


def line_data(ax):
    """Return the lines' values by their labels."""
    return {line.get_label(): list(line.get_ydata()) for line in ax.lines}


# Losses in training, in several notebooks.

LOSSES = {"slow": [2.0, 1.5, 1.2], "fast": [2.0, 0.5, 0.06]}


def test_losses_shows_each_training():
    figure = plots.plot_losses(LOSSES, 0.478, "the mean")
    (ax,) = figure.axes
    drawn = line_data(ax)
    assert drawn.pop("the mean: 0.48") == [0.478, 0.478]
    assert drawn == LOSSES
    assert list(ax.lines[0].get_xdata()) == [0, 1, 2]
    assert ax.get_xlabel() == "training step"
    assert ax.get_ylabel() == "loss (mean squared error)"
    assert legend_of(figure) == ["slow", "fast", "the mean: 0.48"]
    looks = {(line.get_linestyle(), line.get_marker()) for line in ax.lines}
    assert len(looks) == 3


def test_losses_on_a_logarithmic_axis_with_plain_numbers():
    """0.1 is easier to read than 10 to the power of -1."""
    figure = plots.plot_losses({"8": [0.6, 0.03]})
    figure.draw_without_rendering()
    (ax,) = figure.axes
    assert ax.get_yscale() == "log"
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert {"0.05", "0.1", "0.2", "0.5"} <= set(labels)
    assert {label.get_text() for label in ax.get_yticklabels(minor=True)} <= {""}


def test_losses_on_an_even_axis():
    """A curve that explodes leaves no line; its name says why."""
    losses = {"good": [1.0, 0.5, 0.2], "exploding": [1e12, float("nan"), float("nan")]}
    figure = plots.plot_losses(losses, 1.0, "bar", top=2.0)
    (ax,) = figure.axes
    assert (ax.get_yscale(), ax.get_ylim()) == ("linear", (0, 2.0))
    assert legend_of(figure) == ["good", "exploding\n(off the scale)", "bar: 1.00"]


def test_losses_words_do_not_depend_on_the_losses():
    """After some steps losses differ between machines, and words are compared."""
    one = plots.plot_losses({"plain": [1.5, 1.2]}, 1.0, "bar").alt
    assert one == plots.plot_losses({"plain": [1.5, 1.3]}, 1.0, "bar").alt
    assert one == "Loss over 2 training steps for plain, beside a line: bar."


def test_losses_without_a_baseline():
    figure = plots.plot_losses(LOSSES)
    assert list(line_data(figure.axes[0])) == ["slow", "fast"]
    assert "beside" not in figure.alt


def test_losses_markers_stay_apart():
    """Lines that run together are told apart by their markers."""
    equal = dict.fromkeys("abcde", [1.0] * 70)
    shown = []
    for line in plots.plot_losses(equal).axes[0].lines:
        start, every = line.get_markevery()
        shown.append(set(range(start, 70, every)))
    assert all(shown)
    assert len(set.union(*shown)) == sum(map(len, shown))


@pytest.mark.parametrize(
    ("losses", "settings", "message"),
    [
        ({}, {}, r"losses must hold one to 5 lines .* got lengths \[\]"),
        ({name: [1.0, 0.5] for name in "abcdef"}, {}, "one to 5 lines"),
        ({"a": [1.0, 0.5], "b": [1.0]}, {}, r"equal length .* got lengths \[2, 1\]"),
        ({"none": []}, {}, "two points at least"),
        ({"lost": [1.0, float("nan")]}, {}, "above 0, 'lost' has nan"),
        ({"good": [1.0, 0.5]}, {"baseline": 0.0}, "'always the mean answer' has 0.0"),
        ({"good": [1.0, 0.5]}, {"top": -1.0}, "above 0, 'top' has -1.0"),
    ],
)
def test_losses_that_cannot_be_drawn(losses, settings, message):
    with pytest.raises(ValueError, match=message):
        plots.plot_losses(losses, **settings)


# 4.2: normalization.


@pytest.fixture
def features():
    """Two tokens of four features, and the same normalized by hand."""
    before = torch.tensor([[1.0, 1.0, 3.0, 3.0], [0.0, 0.0, 0.0, 4.0]])
    root = 3**0.5
    after = torch.tensor([[-1.0, -1.0, 1.0, 1.0], [-1 / root] * 3 + [root]])
    return before, after


def test_feature_distribution_draws_every_feature(features):
    figure = plots.plot_feature_distribution(*features)
    grid = figure.axes  # row by row: token 0 before, after; token 1 before, after
    assert len(grid) == 4
    for index, ax in enumerate(grid):
        heights = [bar.get_height() for bar in ax.containers[0]]
        assert heights == pytest.approx(features[index % 2][index // 2].tolist())
        assert ax.get_ylim() == grid[0].get_ylim()


def test_feature_distribution_marks_mean_and_deviation(features):
    """The variances are 1 and 3: the mean squared distances, divided by 4."""
    figure = plots.plot_feature_distribution(*features)
    by_hand = [(2, 1), (0, 1), (1, 3**0.5), (0, 1)]
    for ax, (mean, std) in zip(figure.axes, by_hand, strict=True):
        assert ax.lines[0].get_ydata() == pytest.approx([mean, mean], abs=1e-6)
        band = ax.patches[0].get_extents().transformed(ax.transData.inverted())
        assert [band.y0, band.y1] == pytest.approx([mean - std, mean + std], abs=1e-6)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[1] == "token 0: mean 0.00, standard deviation 1.00"
    assert titles[2] == "token 1: mean 1.00, standard deviation 1.73"
    assert "token 1 has mean 1.00 and standard deviation 1.73" in figure.alt


def test_feature_distribution_labels(features):
    figure = plots.plot_feature_distribution(*features)
    assert [ax.get_xlabel() for ax in figure.axes[2:]] == [
        "feature, before",
        "feature, after",
    ]
    assert {ax.get_ylabel() for ax in figure.axes[::2]} == {"value"}
    legend = legend_of(figure)
    assert legend == ["feature", "mean", "mean ± standard deviation"]


def test_feature_distribution_of_many_features():
    """768 features have no tick each."""
    torch.manual_seed(123)
    x = torch.randn(1, 768, requires_grad=True)
    figure = plots.plot_feature_distribution(x, x)
    assert len(figure.axes[0].containers[0]) == 768
    assert len(figure.axes[0].get_xticks()) < 20


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            torch.zeros(2, 3),
            torch.zeros(2, 4),
            r"one shape .* got \(2, 3\) and \(2, 4\)",
        ),
        (torch.zeros(3), torch.zeros(3), "must have one shape"),
        (torch.zeros(2, 0), torch.zeros(2, 0), "must have one shape"),
        (torch.zeros(5, 3), torch.zeros(5, 3), "at most 4 tokens fit, got 5"),
        (torch.zeros(1, 2), torch.tensor([[1.0, float("nan")]]), "must be finite"),
    ],
)
def test_feature_distribution_refuses(before, after, message):
    with pytest.raises(ValueError, match=message):
        plots.plot_feature_distribution(before, after)


SPREADS = {"small": [1.0, 0.1, 0.01], "large": [1.0, 10.0, 300.0]}
LEVEL = {"small": [1.0, 0.5, 0.5], "large": [1.0, 2.0, 2.0]}


def test_spread_over_depth_draws_both_panels():
    figure = plots.plot_spread_over_depth(SPREADS, LEVEL)
    left, right = figure.axes
    for ax, curves in ((left, SPREADS), (right, LEVEL)):
        drawn = {line.get_label(): list(line.get_ydata()) for line in ax.lines[1:]}
        assert drawn == curves
        assert [list(line.get_xdata()) for line in ax.lines[1:]] == [[0, 1, 2]] * 2
        assert ax.get_yscale() == "log"
        assert list(ax.lines[0].get_ydata()) == [1, 1]
        assert ax.get_xlabel() == "layer (0: the input)"
    assert left.get_ylim() == right.get_ylim()
    assert left.get_ylabel() == "spread (standard deviation)"
    assert left.get_title() == "without normalization"
    assert right.get_title() == "with layer normalization"
    legend = legend_of(figure)
    assert legend == list(SPREADS)


def test_spread_over_depth_tells_curves_apart_without_colour():
    left = plots.plot_spread_over_depth(SPREADS).axes[0]
    one, other = left.lines[1:]
    assert one.get_linestyle() != other.get_linestyle()
    assert one.get_marker() != other.get_marker()


def test_spread_over_depth_says_where_the_curves_end():
    figure = plots.plot_spread_over_depth(SPREADS)
    assert len(figure.axes) == 1
    assert "small ends near 10^-2, large ends near 10^2." in figure.alt
    assert "after each of 2 layers" in figure.alt
    assert "With it" not in figure.alt
    with_both = plots.plot_spread_over_depth(SPREADS, LEVEL).alt
    assert with_both.endswith("With it, small ends near 10^0, large ends near 10^0.")


@pytest.mark.parametrize(
    ("without", "normalized", "message"),
    [
        ({}, None, r"without must hold one to 5 lines .* got lengths \[\]"),
        ({"a": [1.0, 2.0], "b": [1.0]}, None, r"equal length .* got lengths \[2, 1\]"),
        ({"a": [1.0]}, None, "two points at least"),
        ({name: [1.0, 2.0] for name in "abcdef"}, None, "one to 5 lines"),
        ({"a": [1.0, 0.0]}, None, "finite numbers above 0, 'a' has 0.0"),
        ({"a": [1.0, float("inf")]}, None, "above 0, 'a' has inf"),
        ({"a": [1.0, float("nan")]}, None, "above 0, 'a' has nan"),
        ({"a": [1.0, 2.0]}, {}, "normalized must hold"),
        ({"a": [1.0, 2.0]}, {"b": [1.0, 2.0]}, "both panels need the same stacks"),
        ({"a": [1.0, 2.0]}, {"a": [1.0, 2.0, 3.0]}, "both panels need the same stacks"),
    ],
)
def test_spread_over_depth_refuses(without, normalized, message):
    with pytest.raises(ValueError, match=message):
        plots.plot_spread_over_depth(without, normalized)


# 4.3: activations, their slopes and errors, and what a network fits with them.


@pytest.fixture
def x():
    return torch.linspace(-3, 3, 601, dtype=torch.float64)


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


# 4.4: gradients by layer.


def by_name(*sizes):
    """Return magnitudes as ``gradient_magnitudes`` does."""
    return {f"layers.{index}.0.weight": size for index, size in enumerate(sizes)}


TWO_LINES = {"without": by_name(1e-4, 2e-3, 0.03), "with": by_name(0.2, 0.25, 1.5)}


def test_gradient_magnitudes_shows_each_layer():
    figure = plots.plot_gradient_magnitudes(TWO_LINES)
    (ax,) = figure.axes
    assert line_data(ax) == {"without": [1e-4, 2e-3, 0.03], "with": [0.2, 0.25, 1.5]}
    assert [list(line.get_xdata()) for line in ax.lines] == [[0, 1, 2]] * 2
    assert ax.get_yscale() == "log"
    assert ax.get_xlabel() == "layer (0 is next to the input)"
    assert ax.get_ylabel() == "mean absolute gradient"
    assert legend_of(figure) == ["without", "with"]
    colors = [line.get_color() for line in ax.lines]
    assert colors == [plots.COLORS["attention"], plots.COLORS["shortcut"]]
    assert len({line.get_marker() for line in ax.lines}) == 2


def test_gradient_magnitudes_writes_the_numbers_of_a_small_network():
    (ax,) = plots.plot_gradient_magnitudes(TWO_LINES).axes
    assert [text.get_text() for text in ax.texts] == [
        *("0.0001", "0.002", "0.03"),
        *("0.2", "0.25", "1.5"),
    ]
    (ax,) = plots.plot_gradient_magnitudes({"deep": by_name(*[0.5] * 9)}).axes
    assert not ax.texts


def test_gradient_magnitudes_says_the_numbers_in_powers_of_ten():
    """Without digits that could differ from machine to machine."""
    alt = plots.plot_gradient_magnitudes(TWO_LINES).alt
    assert "3 layers without, from 10^-4 in layer 0 to 10^-2 in the last" in alt
    assert "3 layers with, from 10^-1 in layer 0 to 10^0 in the last" in alt
    level = by_name(
        2.1e-4, 1e-4, 0.9e-4
    )  # one power of ten: one digit says that it falls
    alt = plots.plot_gradient_magnitudes({"level": level}).alt
    assert "from 2e-04 in layer 0 to 9e-05 in the last" in alt


def test_gradient_magnitudes_in_panels():
    """They share one axis, so that heights can be compared."""
    deeper = {
        "without": by_name(1e-28, *[1e-9] * 18, 0.01),
        "with": by_name(*[2.0] * 20),
    }
    figure = plots.plot_gradient_magnitudes(TWO_LINES, deeper, titles=["3", "20"])
    left, right = figure.axes
    assert [ax.get_title(loc="left") for ax in (left, right)] == ["3", "20"]
    assert line_data(right)["without"] == list(deeper["without"].values())
    assert left.get_ylim() == right.get_ylim()
    assert left.get_yscale() == right.get_yscale() == "log"
    assert not left.texts
    low, high = left.get_ylim()
    ticks = [tick for tick in left.get_yticks() if low <= tick <= high]
    assert 3 <= len(ticks) <= 9
    assert len(figure.legends) == 1
    assert legend_of(figure) == ["without", "with"]


@pytest.mark.parametrize(
    ("panels", "titles", "message"),
    [
        ([], [], "needs one panel at least"),
        ([TWO_LINES], ["a", "b"], "2 titles for 1 panels"),
        ([{}], [], "a panel must hold one to 5 lines"),
        ([dict.fromkeys("abcdef", by_name(1.0, 2.0))], [], "one to 5 lines"),
        ([{"none": {}}], [], "two points at least"),
        (
            [TWO_LINES, {"with": by_name(1.0, 2.0)}],
            [],
            r"must have the lines \['without', ",
        ),
        ([{"dead": by_name(0.1, 0.0)}], [], "above 0, 'dead' has 0.0"),
        ([{"lost": by_name(1.0, float("nan"))}], [], "above 0, 'lost' has nan"),
        ([{"far": by_name(1.0, float("inf"))}], [], "above 0, 'far' has inf"),
    ],
)
def test_gradient_magnitudes_that_cannot_be_drawn(panels, titles, message):
    with pytest.raises(ValueError, match=message):
        plots.plot_gradient_magnitudes(*panels, titles=titles)


def test_gradient_magnitudes_of_other_parts():
    """Blocks have no layer, and a title that says more is among the words."""
    figure = plots.plot_gradient_magnitudes(
        TWO_LINES, titles=["all ways"], part="block"
    )
    assert figure.axes[0].get_xlabel() == "block (0 is next to the input)"
    assert "all ways, 3 blocks with, from 10^-1 in block 0 to 10^0" in figure.alt
    alt = plots.plot_gradient_magnitudes(TWO_LINES, titles=["3 layers"]).alt
    assert ": 3 layers without, from 10^-4 in layer 0" in alt


# 4.5: attention, what moves what, and what the branches add.

SCORES = {"raw": [2.0, 4.0, 8.0], "scaled": [1.0, 1.0, 1.0]}
TOP_SHARES = {"raw": [0.4, 0.7, 0.9], "scaled": [0.25, 0.25, 0.25]}


def test_score_scaling_draws_both_panels():
    figure = plots.plot_score_scaling([4, 16, 64], SCORES, TOP_SHARES, num_keys=16)
    left, right = figure.axes
    assert line_data(left) == SCORES
    drawn = line_data(right)
    assert drawn.pop("even share, 1/16") == [1 / 16, 1 / 16]
    assert drawn == TOP_SHARES
    for ax in (left, right):
        assert ax.get_xscale() == "log"
        assert [tick.get_text() for tick in ax.get_xticklabels()] == ["4", "16", "64"]
        assert ax.get_xlabel() == "features per head (head_dim)"
        assert ax.get_ylim()[0] == 0
    assert left.get_ylabel() == "spread of the scores\n(standard deviation)"
    assert right.get_ylabel() == "largest of 16 weights\n(mean over rows)"
    assert legend_of(figure) == ["raw", "scaled", "even share, 1/16"]
    assert "scores raw and scaled" in figure.alt


@pytest.mark.parametrize(
    ("head_dims", "spreads", "largest", "message"),
    [
        ([4], {"a": [1.0]}, {"a": [1.0]}, "two or more rising numbers"),
        ([16, 4], {"a": [1.0, 2.0]}, {"a": [1.0, 1.0]}, "rising numbers"),
        ([4, 16], {}, {"a": [1.0, 1.0]}, "spreads must hold one to 5 lines"),
        ([4, 16], {"a": [1.0, 2.0]}, {"a": [1.0, 0.0]}, "above 0, 'a' has 0.0"),
        ([4, 16, 64], {"a": [1.0, 2.0]}, {"a": [1.0, 1.0]}, "must hold 3 numbers"),
        ([4, 16], {"a": [1.0, 2.0]}, {"b": [1.0, 1.0]}, "need the same lines"),
    ],
)
def test_score_scaling_refuses(head_dims, spreads, largest, message):
    with pytest.raises(ValueError, match=message):
        plots.plot_score_scaling(head_dims, spreads, largest, num_keys=16)


def test_score_scaling_needs_a_key():
    with pytest.raises(ValueError, match="num_keys must be at least 1"):
        plots.plot_score_scaling([4, 16, 64], SCORES, TOP_SHARES, num_keys=0)


TRIANGLE = torch.tensor([[1.0, 0.0, 0.0], [0.25, 0.75, 0.0], [0.5, 0.25, 0.25]])
WORDS = ["A", " dog", " "]
MAPS = {
    "weights": plots.plot_attention_weights,
    "influence": plots.plot_influence,
}


@pytest.mark.parametrize("draw", MAPS.values(), ids=MAPS)
def test_maps_of_tokens_hold_their_numbers(draw):
    """A number in each square, a dot and no colour where there is exactly nothing."""
    figure = draw({"one": TRIANGLE, "other": TRIANGLE.flip(0)}, WORDS)
    left, right = figure.axes
    assert [ax.get_title() for ax in (left, right)] == ["one", "other"]
    texts = {text.get_position(): text.get_text() for text in left.texts}
    assert texts == {
        (0, 0): "1.00",
        (0, 1): "0.25",
        (1, 1): "0.75",
        (0, 2): "0.50",
        (1, 2): "0.25",
        (2, 2): "0.25",
    }
    dots = [(line.get_xdata()[0], line.get_ydata()[0]) for line in left.lines]
    assert dots == [(1, 0), (2, 0), (2, 1)]
    shades = left.images[0].get_array()
    assert shades.mask.tolist() == (TRIANGLE == 0).tolist()
    assert shades[1, 1] == pytest.approx(0.75**0.5)
    assert [text.get_text() for text in left.get_xticklabels()] == ["A", "dog", "' '"]
    assert [text.get_text() for text in left.get_yticklabels()] == ["A", "dog", "' '"]
    assert left.images[0].get_clim() == right.images[0].get_clim()


def test_attention_weights_says_what_is_taken_from_whom():
    figure = plots.plot_attention_weights({"head 0": TRIANGLE}, WORDS)
    assert figure.axes[0].get_ylabel() == "this token (query)"
    assert figure.axes[0].get_xlabel() == "takes from (key)"
    assert figure.alt.endswith("tokens A, dog, ' ': lower triangles.")
    full = plots.plot_attention_weights({"head 0": TRIANGLE.T}, WORDS)
    assert full.alt.endswith("some weights lie on later tokens.")


def test_influence_says_whether_earlier_tokens_move():
    panels = {"masked": TRIANGLE, "bare": TRIANGLE + 1}
    figure = plots.plot_influence(panels, WORDS)
    assert figure.axes[0].get_ylabel() == "output token that moved"
    assert figure.axes[1].get_xlabel() == "input token that was changed"
    assert "masked: a changed token moves itself and later tokens only." in figure.alt
    assert "bare: a changed token moves earlier tokens too." in figure.alt


def test_influence_of_nothing_at_all():
    figure = plots.plot_influence({"dead": torch.zeros(2, 2)}, ["a", "b"])
    assert len(figure.axes[0].lines) == 4


def test_map_of_many_tokens_has_no_numbers():
    weights = torch.full((7, 7), 1 / 7)
    figure = plots.plot_attention_weights({"even": weights}, list("abcdefg"))
    assert not figure.axes[0].texts


@pytest.mark.parametrize("draw", MAPS.values(), ids=MAPS)
@pytest.mark.parametrize(
    ("maps", "tokens", "message"),
    [
        ({}, WORDS, "needs one to .* got 0 and 3"),
        (dict.fromkeys("abcde", TRIANGLE), WORDS, "needs one to .* got 5 and 3"),
        ({"a": torch.zeros(0, 0)}, [], "a token at least, got 1 and 0"),
        ({"a": TRIANGLE}, ["x", "y"], r"'a' must have the shape \(2, 2\)"),
        ({"a": -TRIANGLE}, WORDS, "'a' must hold finite numbers from 0"),
        ({"a": TRIANGLE / 0}, WORDS, "'a' must hold finite numbers from 0"),
    ],
)
def test_maps_of_tokens_refuse(draw, maps, tokens, message):
    with pytest.raises(ValueError, match=message):
        draw(maps, tokens)


def test_branch_sizes_draws_per_cent_of_the_stream():
    by_block = {"attention": [0.07, 0.08], "feed-forward": [0.14, 0.12]}
    by_token = {"attention": [0.25, 0.2, 0.1], "feed-forward": [0.14, 0.13, 0.14]}
    figure = plots.plot_branch_sizes(by_block, by_token)
    left, right = figure.axes
    for ax, lines in ((left, by_block), (right, by_token)):
        drawn = line_data(ax)
        for name, shares in lines.items():
            assert drawn[name] == pytest.approx([100 * share for share in shares])
        numbers = list(ax.lines[0].get_xdata())
        assert numbers == list(range(len(lines["attention"])))
    colors = [line.get_color() for line in left.lines]
    assert colors == [plots.COLORS["attention"], plots.COLORS["feed_forward"]]
    low, high = right.get_ylim()
    assert low == 0
    assert high > 25  # no line is cut off
    assert left.get_ylim() == (low, high)
    assert left.get_xlabel() == "block (0 is next to the input)"
    assert right.get_xlabel() == "token (0 is the first of the text)"
    assert left.get_ylabel() == "added, in % of the stream"
    assert legend_of(figure) == ["attention", "feed-forward"]
    assert "in each of 2 blocks" in figure.alt


@pytest.mark.parametrize(
    ("by_block", "by_token", "message"),
    [
        ({}, {}, "by_block must hold one to 2 lines"),
        ({key: [0.1, 0.2] for key in "abc"}, {}, "by_block must hold one to 2 lines"),
        ({"a": [0.1, 0.2]}, {"a": [0.1]}, "by_token .* two points at least"),
        ({"a": [0.1, 0.2]}, {"a": [0.1, 0.0]}, "above 0, 'a' has 0.0"),
        ({"a": [0.1, 0.2]}, {"b": [0.1, 0.2]}, "need the same branches"),
    ],
)
def test_branch_sizes_refuses(by_block, by_token, message):
    with pytest.raises(ValueError, match=message):
        plots.plot_branch_sizes(by_block, by_token)


# 4.6: parameters by component, memory, and the stream.

COUNTS = {
    "token embedding": 38_597_376,
    "position embedding": 786_432,
    "attention": 28_320_768,
    "feed-forward": 56_669_184,
    "layer normalization": 38_400,
    "output layer": 38_597_376,
}


def bars_of(ax):
    """Return (row, left, width) of each horizontal bar, rows counted from 0."""
    return [
        (round(bar.get_y() + bar.get_height() / 2), bar.get_x(), bar.get_width())
        for bar in ax.patches
    ]


def test_parameters_by_component_has_a_bar_for_each():
    figure = plots.plot_parameters_by_component(COUNTS)
    (ax,) = figure.axes
    rows, lefts, widths = zip(*bars_of(ax), strict=True)
    assert list(rows) == [0, 1, 2, 3, 4, 5]
    assert set(lefts) == {0}
    assert widths == pytest.approx([count / 1e6 for count in COUNTS.values()])
    assert [label.get_text() for label in ax.get_yticklabels()] == list(COUNTS)
    assert ax.yaxis_inverted()  # the first is at the top
    assert ax.get_xlabel() == "millions of parameters"
    texts = [text.get_text() for text in ax.texts]
    assert texts[0] == "38.60 million, 23.68 %"
    assert texts[4] == "0.04 million, 0.02 %"
    assert "a model with 163,009,536" in figure.alt
    assert "feed-forward 34.76 %" in figure.alt


def test_parameters_by_component_keeps_its_numbers_inside():
    figure = plots.plot_parameters_by_component(COUNTS)
    figure.draw_without_rendering()
    for text in figure.axes[0].texts:
        assert text.get_window_extent().x1 < figure.bbox.x1


def test_parameter_shares_fill_each_bar():
    tied = {**COUNTS, "output layer": 0}
    figure = plots.plot_parameter_shares({"not tied": COUNTS, "tied": tied})
    (ax,) = figure.axes
    for row, counts in enumerate([COUNTS, tied]):
        bars = [(left, width) for at, left, width in bars_of(ax) if at == row]
        shares = [100 * count / sum(counts.values()) for count in counts.values()]
        assert [width for _, width in bars] == pytest.approx(shares)
        assert sum(bars[-1]) == pytest.approx(100)
        for (left, width), (next_left, _) in pairwise(bars):
            assert left + width == pytest.approx(next_left)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["not tied\n163 million", "tied\n124 million"]
    low, high = ax.get_ylim()
    assert low > high  # the first is at the top
    assert ax.get_xlim() == (0, 100)
    assert ax.get_xlabel() == "share of the parameters (percent)"
    assert set(legend_of(figure)) == set(COUNTS)
    assert "tied, 124 million: token embedding 31 %" in figure.alt


def test_parameter_shares_number_what_is_wide_enough():
    (ax,) = plots.plot_parameter_shares({"small": COUNTS}).axes
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["24 %", "17 %", "35 %", "24 %"]


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (124_412_160, "124 million"),
        (1_557_380_800, "1.6 billion"),
        (999_600_000, "1.0 billion"),
        (174_600_720_384, "174.6 billion"),
    ],
)
def test_parameter_shares_says_counts_in_words(count, words):
    (ax,) = plots.plot_parameter_shares({"x": {"attention": count}}).axes
    assert ax.get_yticklabels()[0].get_text() == f"x\n{words}"


def test_parameters_that_cannot_be_drawn():
    draw_shares = plots.plot_parameter_shares
    with pytest.raises(ValueError, match="needs one model at least, got none"):
        draw_shares({})
    for draw in (
        plots.plot_parameters_by_component,
        lambda counts: draw_shares({"the model": counts}),
    ):
        with pytest.raises(ValueError, match="'the model' has the component 'head'"):
            draw({"head": 5})
        with pytest.raises(ValueError, match="'the model' has no parameters"):
            draw({"attention": 0})
        with pytest.raises(ValueError, match="attention must be at least 0, got -1"):
            draw({"attention": -1})
        with pytest.raises(TypeError, match="attention must be an integer"):
            draw({"attention": 1.5})


NEEDS = {
    "stored": {"weights": 4 * 2**20},
    "training": {
        "weights": 4 * 2**20,
        "gradients": 2**20,
        "first moments": 2 * 2**20,
        "second moments": 3 * 2**20,
    },
    "generating": {"weights": 4 * 2**20, "key-value cache": 2**19},
}


def test_memory_stacks_what_a_purpose_needs():
    figure = plots.plot_memory(NEEDS)
    (ax,) = figure.axes
    assert bars_of(ax) == [
        (0, 0, 4),
        *((1, 0, 4), (1, 4, 1), (1, 5, 2), (1, 7, 3)),
        *((2, 0, 4), (2, 4, 0.5)),
    ]
    assert [text.get_text() for text in ax.texts] == ["4", "10", "4"]
    assert [label.get_text() for label in ax.get_yticklabels()] == list(NEEDS)
    assert ax.get_xlabel() == "MB (2^20 bytes)"
    low, high = ax.get_ylim()
    assert low > high  # the first is at the top
    assert legend_of(figure) == [
        *("weights", "gradients", "first moments", "second moments"),
        "key-value cache",
    ]
    assert "training: 10 MB for weights, gradients, first moments" in figure.alt


def test_memory_gives_each_kind_its_own_look():
    (ax,) = plots.plot_memory(NEEDS).axes
    looks = [bar.get_facecolor() for bar in ax.patches]
    assert len({*looks}) == 5
    assert looks[0] == looks[1] == looks[5]
    for kind in looks[:5]:  # no other component's colour
        for component in ("embedding", "feed_forward", "normalization"):
            assert to_rgb(kind) != to_rgb(plots.COLORS[component])


@pytest.mark.parametrize(
    ("needs", "error", "message"),
    [
        ({}, ValueError, "needs one purpose at least, got none"),
        ({"a": {}}, ValueError, "'a' takes no bytes"),
        ({"a": {"weights": 0}}, ValueError, "'a' takes no bytes"),
        ({"a": {"activations": 1}}, ValueError, "'a' has 'activations'"),
        ({"a": {"weights": -1}}, ValueError, "weights must be at least 0"),
        ({"a": {"weights": 0.5}}, TypeError, "weights must be an integer"),
    ],
)
def test_memory_that_cannot_be_drawn(needs, error, message):
    with pytest.raises(error, match=message):
        plots.plot_memory(needs)


STREAM = [1.4, 1.5, 1.6, 1.7]
BRANCHES = {"attention": [0.25, 0.3, 0.2], "feed-forward": [0.2, 0.1, 0.3]}


def test_stream_shows_the_spread_and_what_is_added():
    figure = plots.plot_stream(STREAM, BRANCHES, 1.0, [1.4, 1.51, 1.61, 1.71])
    (ax,) = figure.axes
    assert line_data(ax) == {
        "the stream": STREAM,
        "the stream,\nas worked out": [1.4, 1.51, 1.61, 1.71],
        "after the final\nlayer normalization": [1.7, 1.0],
        "what attention adds": BRANCHES["attention"],
        "what feed-forward adds": BRANCHES["feed-forward"],
    }
    assert set(legend_of(figure)) == set(line_data(ax))
    x = {line.get_label(): list(line.get_xdata()) for line in ax.lines}
    assert x["the stream"] == [0, 1, 2, 3]
    assert x["what attention adds"] == [1, 2, 3]
    assert x["after the final\nlayer normalization"] == [3, 4]
    assert ax.get_ylim()[0] == 0
    assert ax.get_yscale() == "linear"
    assert ax.get_xlabel() == "blocks passed (0: the embeddings)"
    assert ax.get_ylabel() == "spread (standard deviation)"
    assert len({line.get_color() for line in ax.lines}) == 5
    assert "through 3 blocks: it goes from 1.4 to 1.7, and is 1.0 after" in figure.alt
    assert "What attention adds has a spread of 0.25 on average." in figure.alt
    assert figure.alt.endswith("A broad line shows the stream as worked out.")
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels == ["0", "1", "2", "3", "final\nnorm"]
    assert list(ax.get_xticks()) == [0, 1, 2, 3, 4]


def test_stream_alone():
    figure = plots.plot_stream([1.0, 2.0], {}, 1.0)
    (ax,) = figure.axes
    assert len(ax.lines) == 2
    assert "broad line" not in figure.alt


@pytest.mark.parametrize(("num_blocks", "step"), [(12, 1), (13, 2), (48, 4)])
def test_stream_labels_have_room(num_blocks, step):
    (ax,) = plots.plot_stream([1.0] * (num_blocks + 1), {}, 1.0).axes
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels[:-1] == [str(block) for block in range(0, num_blocks + 1, step)]
    assert labels[-1] == "final\nnorm"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], {}, 1.0), "needs a stream of two numbers at least"),
        ((STREAM, dict.fromkeys("abc", [1.0] * 3), 1.0), "at most two branches"),
        ((STREAM, {"a": [1.0] * 4}, 1.0), "'a' must have one number for each of 3"),
        ((STREAM, BRANCHES, 1.0, [1.0]), "expected must have 4 numbers"),
        (([1.0, 0.0], {}, 1.0), "'stream' has 0.0"),
        ((STREAM, {"a": [1.0, float("nan"), 1.0]}, 1.0), "'a' has nan"),
        ((STREAM, {}, -1.0), "'after_norm' has -1.0"),
        ((STREAM, {}, 1.0, [1.0, 1.0, 1.0, float("inf")]), "'expected' has inf"),
    ],
)
def test_stream_that_cannot_be_drawn(arguments, message):
    with pytest.raises(ValueError, match=message):
        plots.plot_stream(*arguments)


# 4.7: probabilities of the next token, and the time that a token takes.


def bar_sizes(ax, horizontal=False):
    return [
        [bar.get_width() if horizontal else bar.get_height() for bar in bars]
        for bars in ax.containers
    ]


def test_next_tokens_shows_each_probability():
    shares = torch.tensor([0.5, 0.25, 0.001])
    figure = plots.plot_next_tokens(shares, TOKENS, vocab_size=50)
    (ax,) = figure.axes
    assert bar_sizes(ax, horizontal=True)[0] == pytest.approx([50, 25, 0.1])
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["'A'", "' dog'", "' saw'"]
    assert ax.yaxis_inverted()  # the likeliest on top
    assert [text.get_text() for text in ax.texts] == ["50.0 %", "25.0 %", "0.100 %"]
    (line,) = ax.lines
    assert list(line.get_xdata()) == [2, 2]
    assert set(legend_of(figure)) == {"probability", "even share:\n2.00 %"}
    assert ax.get_xlabel() == "probability of being next (%)"
    assert ax.get_ylabel() == "token"
    assert ax.get_xlim()[1] > 50  # room for the numbers
    assert "the 3 likeliest next tokens" in figure.alt
    assert "one token in 50." in figure.alt


def test_next_tokens_that_are_certain():
    """The one bar's number has no point at its end."""
    (ax,) = plots.plot_next_tokens(torch.tensor([1.0]), ["a"], 50257).axes
    assert [text.get_text() for text in ax.texts] == ["100 %"]


@pytest.mark.parametrize(
    ("shares", "tokens", "vocab_size", "message"),
    [
        ([], [], 3, "needs one to 20 tokens"),
        ([0.1] * 21, ["a"] * 21, 50, "got 21 tokens"),
        ([0.5], ["a", "b"], 3, r"2 tokens and probabilities of shape \(1,\)"),
        ([[0.5]], ["a"], 3, r"shape \(1, 1\)"),
        ([0.1, 0.5], ["a", "b"], 3, "must fall"),
        ([1.5], ["a"], 3, "must fall"),
        ([0.5, -0.1], ["a", "b"], 3, "must fall"),
        ([float("nan")], ["a"], 3, "must fall"),
        ([0.5], ["a"], 0, "vocab_size"),
    ],
)
def test_next_tokens_that_cannot_be_drawn(shares, tokens, vocab_size, message):
    with pytest.raises(ValueError, match=message):
        plots.plot_next_tokens(torch.tensor(shares), tokens, vocab_size)


TWO_DISTRIBUTIONS = {
    "cold": torch.tensor([0.75, 0.25, 0.0]),
    "hot": torch.tensor([0.25, 0.5, 0.25]),
}


def test_distributions_stand_side_by_side():
    figure = plots.plot_distributions(TOKENS, TWO_DISTRIBUTIONS)
    (ax,) = figure.axes
    assert bar_sizes(ax) == [[75, 25, 0], [25, 50, 25]]
    assert legend_of(figure) == ["cold", "hot"]
    assert [label.get_text() for label in ax.get_xticklabels()] == [
        *("'A'", "' dog'", "' saw'")
    ]
    assert ax.get_xlabel() == "next token"
    assert ax.get_ylabel() == "probability (%)"
    cold, hot = ax.containers
    for token, (left, right) in enumerate(zip(cold, hot, strict=True)):
        assert left.get_x() + left.get_width() < right.get_x()
        middle = (left.get_x() + right.get_x() + right.get_width()) / 2
        assert middle == pytest.approx(token)
    assert cold[0].get_facecolor() != hot[0].get_facecolor()
    assert cold[0].get_hatch() != hot[0].get_hatch()  # not by colour alone
    assert "cold, 75 % for 'A'; hot, 50 % for ' dog'" in figure.alt


@pytest.mark.parametrize(
    ("tokens", "distributions", "message"),
    [
        ([], {"none": torch.tensor([])}, "got 1 over 0"),
        (["a"], {}, "got 0 over 1"),
        (["a"], dict.fromkeys("abcdef", torch.tensor([1.0])), "got 6 over 1"),
        (["a", "b"], {"short": torch.tensor([1.0])}, "'short' must hold 2"),
        (["a", "b"], {"low": torch.tensor([0.5, 0.4])}, "'low' must hold 2"),
        (["a", "b"], {"below": torch.tensor([1.5, -0.5])}, "'below' must hold 2"),
        (["a"], {"lost": torch.tensor([float("nan")])}, "'lost' must hold 1"),
    ],
)
def test_distributions_that_cannot_be_drawn(tokens, distributions, message):
    with pytest.raises(ValueError, match=message):
        plots.plot_distributions(tokens, distributions)


def test_time_per_token_shows_milliseconds_over_length():
    times = {"without": [0.01, 0.02, 0.5], "with": [0.01, 0.011, 0.012]}
    figure = plots.plot_time_per_token([16, 32, 64], times)
    (ax,) = figure.axes
    drawn = line_data(ax)
    assert drawn["without"] == pytest.approx([10, 20, 500])
    assert drawn["with"] == pytest.approx([10, 11, 12])
    assert [list(line.get_xdata()) for line in ax.lines] == [[16, 32, 64]] * 2
    assert ax.get_xscale() == ax.get_yscale() == "linear"
    assert ax.get_xlim()[0] == ax.get_ylim()[0] == 0
    assert list(ax.get_xticks()) == [16, 32, 64]
    assert ax.get_xlabel() == "tokens in the text"
    assert ax.get_ylabel() == "time per token (milliseconds)"
    assert legend_of(figure) == ["without", "with"]
    assert len({line.get_linestyle() for line in ax.lines}) == 2


def test_time_per_token_says_no_time():
    """The words are compared when the notebook runs, and times are never equal."""
    one, other = (
        plots.plot_time_per_token([16, 32], {"a": times, "b": times}).alt
        for times in ([0.01, 0.02], [7.0, 3.0])
    )
    assert one == other
    assert "after 16 to 32 tokens, one line each: a, b." in one


@pytest.mark.parametrize(
    ("lengths", "seconds", "message"),
    [
        ([1, 2], {}, "one to 5 lines"),
        ([1], {"a": [1.0]}, "two points at least"),
        ([1, 2], {"a": [1.0, 2.0], "b": [1.0]}, "equal length"),
        ([1, 2, 3], {"a": [1.0, 2.0]}, "needs 2 lengths"),
        ([2, 1], {"a": [1.0, 2.0]}, "that rise from 1"),
        ([0, 1], {"a": [1.0, 2.0]}, "that rise from 1"),
        ([1, 2], {"a": [1.0, 0.0]}, "above 0, 'a' has 0.0"),
    ],
)
def test_time_per_token_that_cannot_be_drawn(lengths, seconds, message):
    with pytest.raises(ValueError, match=message):
        plots.plot_time_per_token(lengths, seconds)
