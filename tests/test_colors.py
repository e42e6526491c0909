"""The colours of plots and pictures: legible, and told apart by the colour-blind."""

from __future__ import annotations

import inspect
from itertools import combinations

import pytest
import torch
from colors import BLINDNESS, contrast, distance, lab, linear, seen
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb, to_rgba
from matplotlib.text import Text

from gpt_from_scratch import plots
from gpt_from_scratch.plots import COLORS

EYES = [None, *BLINDNESS]
every_eye = pytest.mark.parametrize("eye", EYES)

APART = 10  # what can be told from a legend; 2 can be seen side by side


def on_white(color, strength):
    """Return what a colour of this strength looks like on white paper."""
    return tuple(1 - strength * (1 - part) for part in to_rgb(color))


# The measures.


def test_contrast_by_hand():
    """Black on white is 21; #767676 is the lightest grey with 4.5 on white."""
    assert contrast("black", "white") == pytest.approx(21)
    assert contrast("#767676", "white") >= 4.5 > contrast("#777777", "white")


def test_lab_by_hand():
    """White has the lightness 100, black 0; pure red is the textbook's (53, 80, 67)."""
    assert lab(linear("white")) == pytest.approx((100, 0, 0), abs=0.1)
    assert lab(linear("black")) == pytest.approx((0, 0, 0), abs=0.1)
    assert lab(linear("red")) == pytest.approx((53.2, 80.1, 67.2), abs=0.2)


@pytest.mark.parametrize("eye", BLINDNESS)
def test_no_cone_is_needed_for_grey(eye):
    """All eyes see the same greys."""
    for grey in ("black", "#5B5B5B", "white"):
        assert seen(grey, eye) == pytest.approx(linear(grey), abs=1e-4)


def test_red_and_green_are_alike_to_two_kinds_of_eyes():
    """The famous pair, of equal lightness, and one of yellow and blue."""
    red, green = "#C05000", "#808000"
    assert distance(red, green) > 40
    for eye in ("protanopia", "deuteranopia"):
        assert distance(red, green, eye) < distance(red, green) / 2
    assert distance("#0000FF", "#FFFF00", "deuteranopia") > 100


# The colours of the components.


@every_eye
def test_components_are_told_apart(eye):
    """In pictures each has its name besides, in plots its marker or its number."""
    components = [name for name in COLORS if name != "other"]
    for one, other in combinations(components, 2):
        assert distance(COLORS[one], COLORS[other], eye) >= APART, (one, other)


@every_eye
@pytest.mark.parametrize("line", ["shortcut", "other"])
def test_gradients_are_told_from_data(line, eye):
    """Arrows of a picture that have no name: orange ones, and black or grey ones."""
    assert distance(COLORS["attention"], COLORS[line], eye) >= 2 * APART


@every_eye
@pytest.mark.parametrize("table", [plots._COMPONENTS, plots._MEMORY])
def test_stacked_bars_are_told_apart(table, eye):
    """Here a legend gives the names, and nothing but the colour leads to it."""
    shades = {kind: on_white(COLORS[name], by) for kind, (name, by) in table.items()}
    for one, other in combinations(shades, 2):
        assert distance(shades[one], shades[other], eye) >= APART, (one, other)


def test_lines_differ_in_more_than_colour():
    """Stroke and marker too."""
    _, strokes, markers = zip(*plots._STYLES, strict=True)
    assert len(set(strokes)) == len(set(markers)) == len(plots._STYLES)


# Every plot, as it is drawn.


def draw_all():
    """Return a figure of each function of ``plots``, with all that it can show."""
    torch.manual_seed(123)
    tokens = ["A", " dog", " saw"]
    x = torch.linspace(-3, 3, 61)
    curves = {"one": x.relu(), "two": x.tanh(), "three": x.sin(), "four": 0.2 * x}
    lines = {name: [2.0, 1.0, 0.3] for name in ("a", "b", "c", "d", "e")}
    weights = torch.linspace(0.01, 1, 16).reshape(4, 4).tril()
    counts = dict.fromkeys(plots._COMPONENTS, 10**7)
    rows = torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.7, 0.2]])
    sizes = {f"layers.{layer}": 0.1**layer for layer in range(5)}
    branches = {"attention": [0.4, 0.3], "feed-forward": [0.3, 0.3]}
    figures = [
        plots.plot_losses(lines, 1.5, "the mean"),
        plots.plot_losses(lines, top=2.0),
        plots.plot_embeddings(torch.randn(3, 40), torch.randn(3, 40), tokens),
        plots.plot_logits(torch.randn(2, 4, 50)),
        plots.plot_feature_distribution(torch.randn(2, 6), torch.randn(2, 6)),
        plots.plot_spread_over_depth(lines, lines),
        plots.plot_activations(x, curves),
        plots.plot_derivatives(x, curves),
        plots.plot_approximation_error(x, x, x + 0.1 * x.sin()),
        plots.plot_fits(x, x.sin(), {"network": x.tanh()}),
        plots.plot_gradient_magnitudes({"one": sizes, "two": sizes}),
        plots.plot_score_scaling(
            [4, 16, 64], {"one": [2.0, 4.0, 8.0]}, {"one": [0.4, 0.6, 0.8]}, num_keys=16
        ),
        plots.plot_attention_weights({"head 0": weights}, ["A", "b", "c", "d"]),
        plots.plot_influence({"all": 10 * weights}, ["A", "b", "c", "d"]),
        plots.plot_branch_sizes(branches, branches),
        plots.plot_parameters_by_component(counts),
        plots.plot_parameter_shares({"small": counts}),
        plots.plot_memory({"training": dict.fromkeys(plots._MEMORY, 2**30)}),
        plots.plot_stream([1.0, 1.2, 1.3], branches, 1.0),
        plots.plot_next_tokens(rows[0], tokens, vocab_size=50),
        plots.plot_distributions(tokens, {"one": rows[0], "two": rows[1]}),
        plots.plot_time_per_token([16, 32], {"with": [1e-3, 1e-3], "no": [2e-3, 3e-3]}),
    ]
    return figures


def name_of(figure):
    return figure.alt[:40]


@pytest.fixture(scope="module")
def figures():
    return draw_all()


def test_no_plot_is_forgotten():
    """A new function of ``plots`` is drawn here too."""
    source = inspect.getsource(draw_all)
    names = [name for name in vars(plots) if name.startswith("plot_")]
    assert [name for name in names if f"plots.{name}(" not in source] == []


def grounds(figure, texts):
    """Return for each text the most frequent colour behind it, as it is drawn."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # the layout is made, and every text has its place
    boxes = [text.get_window_extent() for text in texts]
    for text in texts:
        text.set_visible(False)
    figure.set_layout_engine("none")
    canvas.draw()
    drawn = bytearray(canvas.buffer_rgba())
    width, height = canvas.get_width_height()
    pixels = torch.frombuffer(drawn, dtype=torch.uint8).reshape(height, width, 4)
    for text in texts:
        text.set_visible(True)
    behind = []
    for box in boxes:
        rows = pixels[round(height - box.y1) : round(height - box.y0)]
        area = rows[:, round(box.x0) : round(box.x1), :3].reshape(-1, 3)
        colors, times = area.unique(dim=0, return_counts=True)
        behind.append(tuple(part / 255 for part in colors[times.argmax()].tolist()))
    return behind


def test_text_in_plots_is_legible(figures):
    """At least 4.5:1 against what lies behind it."""
    for figure in figures:
        texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text()]
        FigureCanvasAgg(figure).draw()
        texts = [t for t in texts if t.get_window_extent().width > 0]
        for text, ground in zip(texts, grounds(figure, texts), strict=True):
            ratio = contrast(to_rgb(text.get_color()), ground)
            about = (name_of(figure), text.get_text(), to_hex(ground), round(ratio, 2))
            assert ratio >= 4.5, about


def test_lines_in_plots_are_visible(figures):
    """At least 3:1 on the white paper; a line at zero and a grid may stand back."""
    for figure in figures:
        for ax in figure.axes:
            for line in ax.lines:
                *color, strength = to_rgba(line.get_color(), line.get_alpha())
                if line.get_linewidth() < 1 and line.get_linestyle() == "-":
                    continue
                ratio = contrast(on_white(color, strength), "white")
                assert ratio >= 3, (name_of(figure), line.get_label(), round(ratio, 2))


def test_bars_in_plots_are_visible(figures):
    """At least 3:1 on the white paper, a bar itself or the line around it."""
    found = 0
    for figure in figures:
        for bars in (bars for ax in figure.axes for bars in ax.containers):
            for bar in bars:
                face, edge = (
                    contrast(on_white(color, strength), "white")
                    for *color, strength in (bar.get_facecolor(), bar.get_edgecolor())
                )
                line = edge if bar.get_linewidth() >= 1 else 1
                about = (name_of(figure), bars.get_label(), round(face, 2))
                assert max(face, line) >= 3, about
                found += 1
    assert found > 20
