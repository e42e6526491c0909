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
