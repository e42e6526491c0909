"""The pictures: drawn again they are the same, and each is legible and used."""

import errno
import importlib.metadata
import json
import re
import xml.etree.ElementTree as ET
from itertools import combinations
from pathlib import Path
from urllib.parse import unquote

import matplotlib
import pytest
import torch
from colors import contrast
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from scripts import load_script

from gpt_from_scratch import (
    GPT_CONFIG_124M,
    ExampleDeepNeuralNetwork,
    GPTModel,
    count_parameters,
    generate,
    gradient_magnitudes,
    load_tokenizer,
)
from gpt_from_scratch.plots import COLORS

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "images"
GENERATE = load_script(IMAGES / "generate.py")
NAMES = sorted(GENERATE.PICTURES)
every_picture = pytest.mark.parametrize("name", NAMES)


def pinned_matplotlib():
    """Return the version of matplotlib that ``requirements.txt`` pins."""
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    return re.search(r"^matplotlib==([\w.]+)", pins, re.MULTILINE)[1]


def image_references():
    """Return (page, target) of each local image in the notebooks and the README."""
    pages = [(ROOT / "README.md", (ROOT / "README.md").read_text(encoding="utf-8"))]
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts = ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
        pages.append((path, "\n".join(texts)))
    pattern = re.compile(
        r"!\[.*?\]\(\s*<?([^)\s>]+)|<img[^>]*\ssrc=[\"']([^\"']+)", re.S
    )
    return [
        (path, unquote(match[1] or match[2]))
        for path, text in pages
        for match in pattern.finditer(text)
        if "://" not in (match[1] or match[2])
    ]


def drawn(name):
    """Return a picture's axes and a renderer that measures its texts finely."""
    figure = GENERATE.PICTURES[name]()
    figure.set_dpi(288)
    return figure.axes[0], FigureCanvasAgg(figure).get_renderer()


def surface(axes, text):
    """Return the topmost filled patch that holds a text's middle."""
    middle = axes.transData.transform(text.get_position())
    if text.get_ha() != "center":
        box = text.get_window_extent()
        middle = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
    patches = sorted(axes.patches, key=lambda patch: patch.get_zorder())
    holding = [
        patch
        for patch in patches
        if patch.get_facecolor()[3] > 0
        and patch.get_transform()
        .transform_path(patch.get_path())
        .contains_point(middle)
    ]
    return holding[-1]


@every_picture
def test_stored_picture_is_what_the_script_draws(name):
    """The bytes hold for one version of matplotlib: the pinned one."""
    installed = importlib.metadata.version("matplotlib")
    if installed != pinned_matplotlib():
        pytest.skip(f"matplotlib {installed} is not the pinned {pinned_matplotlib()}")
    assert (IMAGES / name).read_bytes() == GENERATE.to_svg(GENERATE.PICTURES[name])


@every_picture
def test_drawing_twice_gives_equal_bytes(name):
    """Not even the user's own matplotlib settings change them."""
    first = GENERATE.to_svg(GENERATE.PICTURES[name])
    with matplotlib.rc_context({"lines.linewidth": 7, "font.size": 30}):
        assert GENERATE.to_svg(GENERATE.PICTURES[name]) == first


def visible(folder):
    """Return the names in a folder; hidden ones are an editor's or the system's."""
    names = {path.name for path in folder.iterdir()} - {"__pycache__"}
    return {name for name in names if not name.startswith(".")}


def test_folder_holds_the_script_and_its_pictures_only():
    """A picture that nothing draws, or a stray file, is named."""
    assert visible(IMAGES) == {"generate.py", *NAMES}


def test_hidden_files_are_no_strays(tmp_path):
    """Whoever opens the folder on a Mac leaves one; another file is one too many."""
    for name in (".DS_Store", "._checks.svg", "stray.png"):
        (tmp_path / name).touch()
    assert visible(tmp_path) == {"stray.png"}


@pytest.fixture
def three_pictures(monkeypatch):
    """Let the script know three pictures only, which saves time."""
    few = {name: GENERATE.PICTURES[name] for name in NAMES[:3]}
    monkeypatch.setattr(GENERATE, "PICTURES", few)
    return list(few)


def test_draw_all_writes_every_picture(three_pictures, tmp_path):
    """What it has written passes its own check."""
    files = GENERATE.draw_all(tmp_path)
    assert files == [tmp_path / name for name in three_pictures]
    assert GENERATE.check(tmp_path) == []


def test_full_disk_leaves_the_picture(three_pictures, tmp_path, monkeypatch):
    """Half of the new file fits: the old one stays, and nothing else."""

    def write_half(path, content):
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    old = tmp_path / three_pictures[0]
    old.write_text("old", encoding="utf-8")
    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(OSError, match="No space left on device"):
        GENERATE.draw_all(tmp_path)
    assert old.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [old]


def test_check_names_each_wrong_file(three_pictures, tmp_path):
    """One picture changed, one lost, one too many."""
    changed, lost, _ = GENERATE.draw_all(tmp_path)
    changed.write_bytes(changed.read_bytes() + b"\n")
    lost.unlink()
    (tmp_path / "9.9_nobody.svg").write_text("<svg/>", encoding="utf-8")
    assert GENERATE.check(tmp_path) == [
        "9.9_nobody.svg: surplus",
        f"{changed.name}: differs",
        f"{lost.name}: missing",
    ]


@pytest.mark.parametrize("problems", [[], ["a.svg: differs", "b.svg: missing"]])
def test_option_check_reports_and_fails(problems, monkeypatch, capsys):
    """``--check`` names the files and ends with 1; it writes nothing."""
    monkeypatch.setattr(GENERATE, "check", lambda folder: problems)
    monkeypatch.setattr(GENERATE, "draw_all", lambda folder: pytest.fail("wrote"))
    assert GENERATE.main(["--check"]) == bool(problems)
    assert capsys.readouterr().err.splitlines() == problems


def test_every_reference_to_an_image_resolves():
    """A broken image shows its alternative text only, and nobody notices."""
    broken = [
        (page.name, target)
        for page, target in image_references()
        if not (page.parent / target).is_file()
    ]
    assert broken == []


def test_every_picture_is_used():
    """Once a section has its notebook, its pictures are shown."""
    used = {Path(target).name for _, target in image_references()}
    sections = {path.name[:4] for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert [name for name in NAMES if name[:4] in sections and name not in used] == []


@every_picture
def test_file_is_small_and_well_formed(name):
    """A picture of 150 kB would hold something that is no drawing."""
    content = (IMAGES / name).read_bytes()
    assert len(content) <= 150_000
    assert ET.fromstring(content).tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.parametrize("component", COLORS)
def test_component_colors_are_legible_on_white(component):
    """Letters may wear a component's colour."""
    assert contrast(COLORS[component], "white") >= 4.5


@every_picture
def test_letters_are_large_and_dark_enough(name):
    """At least 9 points, at least 4.5:1 against what they stand on."""
    axes, _ = drawn(name)
    for text in axes.texts:
        assert text.get_fontsize() >= 9, text
        fill = surface(axes, text).get_facecolor()
        assert contrast(text.get_color(), fill) >= 4.5, text


@every_picture
def test_lines_are_dark_enough(name):
    """Edges at least 3:1 against their fill, lines against white; not the halo."""
    axes, _ = drawn(name)
    for patch in axes.patches:
        edge, fill = patch.get_edgecolor(), patch.get_facecolor()
        if edge[3] == 0 or edge[:3] == to_rgb(GENERATE.HALO):
            continue
        beside = "white" if fill[3] == 0 or fill == edge else fill
        assert contrast(edge, beside) >= 3, patch


@every_picture
def test_letters_stay_in_their_boxes_and_apart(name):
    """No text leaves the shape that it stands on, and no two texts touch."""
    axes, renderer = drawn(name)
    extents = [(text, text.get_window_extent(renderer)) for text in axes.texts]
    for text, extent in extents:
        holder = surface(axes, text).get_window_extent(renderer)
        assert holder.x0 < extent.x0 < extent.x1 < holder.x1, text
        assert holder.y0 < extent.y0 < extent.y1 < holder.y1, text
    for (one, extent), (other, neighbour) in combinations(extents, 2):
        assert not extent.overlaps(neighbour), (one, other)


# 4.4


@pytest.mark.parametrize(
    ("title", "use_shortcut"), [("Without shortcuts", False), ("With shortcuts", True)]
)
def test_gradients_beside_the_layers_are_measured(title, use_shortcut):
    """The picture has the numbers that the notebook measures."""
    torch.manual_seed(123)
    network = ExampleDeepNeuralNetwork([3, 3, 3, 3, 3, 1], use_shortcut)
    x = torch.tensor([[1.0, 0.0, -1.0]])
    measured = gradient_magnitudes(network, x).values()
    drawn = [float(number) for number in GENERATE.GRADIENTS[title]]
    assert drawn == pytest.approx(list(measured), rel=2e-3)


# 4.6


def test_parameters_beside_the_stages_are_counted():
    """The picture has the numbers that the notebook counts."""
    with torch.device("meta"):
        model = GPTModel(GPT_CONFIG_124M)
    assert len(model.trf_blocks) == GENERATE.BLOCKS
    for name, part in model.named_children():
        times = GENERATE.BLOCKS if name == "trf_blocks" else 1
        assert count_parameters(part) == times * GENERATE.PARAMETERS[name]
    axes, _ = drawn("4.6_twelve_blocks.svg")
    texts = [text.get_text() for text in axes.texts]
    assert f"in all {count_parameters(model):,}" in texts
    assert texts.count("(2, 4, 768)") == 3 + GENERATE.BLOCKS + 1


# 4.7


def test_ids_in_the_loop_are_the_model_s(model_124m):
    """The picture has the ids that the untrained model gives with seed 123."""
    out = generate(model_124m, torch.tensor([GENERATE.HELLO]), 6)
    assert tuple(out[0].tolist()) == GENERATE.HELLO + GENERATE.CONTINUATION
    tokenizer = load_tokenizer()
    words = [tokenizer.decode([token_id]).strip() for token_id in out[0].tolist()]
    assert words == list(GENERATE.WORDS)


def test_cells_of_the_cache_are_what_is_computed():
    """One orange cell for each position that ``generate`` computes, and the key's."""
    torch.manual_seed(123)
    sizes = {"context_length": 8, "emb_dim": 8, "n_heads": 2, "n_layers": 1}
    model = GPTModel({**GPT_CONFIG_124M, **sizes})
    counts = {}
    for use_cache in (False, True):
        seen = counts[use_cache] = []
        hook = model.drop_emb.register_forward_hook(
            lambda module, inputs, output, seen=seen: seen.append(output.shape[1])
        )
        prompt = torch.zeros(1, 4, dtype=torch.int64)
        generate(model, prompt, 4, use_cache=use_cache)
        hook.remove()
    assert tuple(counts[False]) == GENERATE.CACHE_STEPS
    axes, _ = drawn("4.7_key_value_cache.svg")
    orange = to_rgb(COLORS[GENERATE.NEW])
    cells = [p for p in axes.patches if p.get_edgecolor()[:3] == orange]
    assert len(cells) == sum(counts[False]) + sum(counts[True]) + 2
    texts = [text.get_text() for text in axes.texts]
    for total in (sum(counts[False]), sum(counts[True])):
        assert f"computed: {total} positions in all" in texts
