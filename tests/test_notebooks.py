"""The rules that all notebooks keep, and the tool that runs and stores them.

A rule is a function that yields what is wrong with a notebook. Every rule is tried on
every notebook, and on a small bad one that it must find fault with.
"""

from __future__ import annotations

import ast
import errno
import json
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import execute_notebooks
import nbformat
import pytest
from execute_notebooks import MEASURED, keep_measured, normalize
from nbformat.validator import iter_validate
from notebook_words import CHECK, LEAD_WORDS, RECAP, TITLES

from gpt_from_scratch.check.report import Report

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"

CODE_CELLS = range(15, 36)
LINES, LINES_OF_A_CLASS, LINE_LENGTH = 12, 30, 88
ALT_LENGTH = 20  # characters; less says nothing

Cell = dict[str, Any]


class Notebook:
    """A notebook as it is stored, with each source as one text."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text

    @cached_property
    def cells(self) -> list[Cell]:
        cells = json.loads(self.text)["cells"]
        return [{**cell, "source": "".join(cell["source"])} for cell in cells]

    @property
    def code(self) -> list[Cell]:
        return [cell for cell in self.cells if cell["cell_type"] == "code"]

    @property
    def markdown(self) -> list[Cell]:
        return [cell for cell in self.cells if cell["cell_type"] == "markdown"]


Rule = Callable[[Notebook], Iterator[str]]
RULES: list[Rule] = []


def rule(function: Rule) -> Rule:
    RULES.append(function)
    return function


def at(cell: Cell) -> str:
    return f"cell {cell.get('id')!r}"


# How it is stored.


@rule
def normal_form(notebook: Notebook) -> Iterator[str]:
    """The file is what execute_notebooks.py writes."""
    if notebook.text != normalize(json.loads(notebook.text)):
        yield "not in normal form; run: python tests/execute_notebooks.py"


@rule
def valid(notebook: Notebook) -> Iterator[str]:
    """Jupyter takes the file for a notebook, with nothing to repair."""
    for error in iter_validate(json.loads(notebook.text)):
        yield f"not a valid notebook: {error.message}"
    for cell in notebook.cells:
        if cell["cell_type"] not in ("code", "markdown"):
            yield f"{at(cell)}: is neither code nor markdown"


@rule
def execution_counts(notebook: Notebook) -> Iterator[str]:
    """Every code cell ran once, top to bottom: nbval compares nothing in others."""
    for expected, cell in enumerate(notebook.code, start=1):
        if not cell["source"].strip():
            yield f"{at(cell)}: is empty"
        count = cell.get("execution_count")
        if count != expected:
            yield f"{at(cell)}: execution count {count}, expected {expected}"


WORD = r"(?:[a-z]+\d*|\d+[a-z]?)"
WORDS = re.compile(rf"[a-z]+\d*(?:-{WORD})+")
ONE_WORD = re.compile(r"(?=[a-z]*[aeiouy])(?![a-f]{8}$)[a-z]{4,}")


@rule
def cell_ids(notebook: Notebook) -> Iterator[str]:
    """Ids are words, so that a cell can be spoken of and a diff be read."""
    seen = set()
    for cell in notebook.cells:
        name = cell.get("id", "")
        if not (WORDS.fullmatch(name) or ONE_WORD.fullmatch(name)):
            yield f"{at(cell)}: an id is lower-case words, such as define-layer-norm"
        if name in seen:
            yield f"{at(cell)}: this id is there twice"
        seen.add(name)


@rule
def no_exceptions(notebook: Notebook) -> Iterator[str]:
    """No cell is kept from being run and compared."""
    for cell in notebook.cells:
        if "NBVAL_" in cell["source"]:
            yield f"{at(cell)}: holds an NBVAL_ marker"
        for tag in cell["metadata"].get("tags", []):
            if re.fullmatch(r"nbval-.*|raises-exception|skip-execution", tag):
                yield f"{at(cell)}: has the tag {tag!r}"


# What it says.


def prose(cell: Cell) -> str:
    """Return a markdown cell's source without the code that it shows."""
    source = re.sub(r"^(```|~~~).*?^\1", "", cell["source"], flags=re.M | re.S)
    return re.sub(r"(`+)[^`\n]+\1", "code", source)


IMAGE = re.compile(r"!\[([^\]]*)\]\(([^()\s]+)\)")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^()\s]+)\)")
REMOTE = re.compile(r"(?:[a-z]+:)?//|[a-z]+:", re.I)


def links(cell: Cell) -> list[str]:
    return LINK.findall(prose(cell)) + re.findall(r'href="([^"]*)"', prose(cell))


@rule
def images_in_text(notebook: Notebook) -> Iterator[str]:
    """Pictures are files of the course, and say in words what they show."""
    for cell in notebook.markdown:
        text = prose(cell)
        if cell.get("attachments"):
            yield f"{at(cell)}: holds an attachment; put the picture into images/"
        if len(IMAGE.findall(text)) != text.count("!["):
            yield f"{at(cell)}: an image is not written ![words](../images/file)"
        found = IMAGE.findall(text)
        for tag in re.findall(r"<img\b[^>]*>", text, flags=re.I):
            attributes = dict(re.findall(r'(alt|src)="([^"]*)"', tag))
            found.append((attributes.get("alt", ""), attributes.get("src", "")))
        for alt, target in found:
            if len(alt.strip()) < ALT_LENGTH:
                yield f"{at(cell)}: {target} needs words that say what it shows"
            if REMOTE.match(target) or not target.startswith("../images/"):
                yield f"{at(cell)}: {target} is not a file in ../images/"
            elif not (notebook.path.parent / target).is_file():
                yield f"{at(cell)}: {target} does not exist"


@rule
def local_links(notebook: Notebook) -> Iterator[str]:
    """A link leads to a file, and with ``#`` to a heading of a text such as README."""
    for cell in notebook.markdown:
        text = prose(cell)
        if len(LINK.findall(text) + IMAGE.findall(text)) != text.count("]("):
            yield f"{at(cell)}: a link is not written [words](target)"
        for target in links(cell):
            file = unquote(target.partition("#")[0])
            if REMOTE.match(target) or not file:
                continue
            path, anchor = notebook.path.parent / file, target.partition("#")[2]
            is_text = path.suffix == ".md"
            if not path.exists() or (
                is_text and anchor and anchor not in anchors(path)
            ):
                yield f"{at(cell)}: the link to {target} leads nowhere"


def anchors(path: Path) -> list[str]:
    """Return how GitHub calls the headings of a text; spaces become hyphens."""
    headings = re.findall(r"^#+ +(.+?) *$", path.read_text(encoding="utf-8"), re.M)
    return [re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings]


LINKED = re.compile(r"(?<!!)\[([^\]]*)\]\([^()\s]+\)|<a\b[^>]*>(.*?)</a>", re.S)
POINTING = {
    *("a", "an", "and", "at", "click", "further", "here", "in", "it", "itself", "link"),
    *("more", "on", "page", "read", "said", "says", "see", "site", "that", "the"),
    *("there", "this", "to"),
}


def pointing_links(text: str) -> list[str]:
    """Return the links whose own words do not say where they lead."""
    words = [markdown or html for markdown, html in LINKED.findall(text)]
    return [link for link in words if set(re.findall(r"\w+", link.lower())) <= POINTING]


@rule
def link_words(notebook: Notebook) -> Iterator[str]:
    """A link's words make sense in a list of links, as screen readers give it."""
    for cell in notebook.markdown:
        for words in pointing_links(prose(cell)):
            yield f"{at(cell)}: the link {words!r} does not say where it leads"


@rule
def navigation(notebook: Notebook) -> Iterator[str]:
    """The neighbours, as far as they exist, are linked at the top, the next one below.

    One that does not exist yet is not linked: ``local_links`` sees to that.
    """
    names = list(TITLES)
    if notebook.path.stem not in names:
        return
    here = names.index(notebook.path.stem)
    first, last = notebook.cells[0], notebook.cells[-1]
    neighbours = [(name, first) for name in names[max(here - 1, 0) : here]]
    for name in names[here + 1 : here + 2]:
        neighbours += [(name, first), (name, last)]
    for name, cell in neighbours:
        file = f"{name}.ipynb"
        if (notebook.path.parent / file).exists() and file not in links(cell):
            yield f"{at(cell)}: no link to {file}"


@rule
def frame(notebook: Notebook) -> Iterator[str]:
    """The first cell holds the title, the picture and the three lead words."""
    name, first = notebook.path.stem, notebook.cells[0]
    section = name.partition("_")[0]
    title = f"# {section} {TITLES.get(name)}"
    if first["source"].partition("\n")[0] != title:
        yield f"{at(first)}: does not begin with {title!r}"
    picture = f"../images/{section}_you_are_here.svg"
    if picture not in [target for _, target in IMAGE.findall(prose(first))]:
        yield f"{at(first)}: does not show {picture}"
    for words in LEAD_WORDS:
        if not re.search(rf"\*\*{words}[.:]?\*\*", first["source"]):
            yield f"{at(first)}: the lead words **{words}** are missing"


@rule
def headings(notebook: Notebook) -> Iterator[str]:
    """One title, steps below it, among them the check and the recap."""
    found = [
        (len(signs), text, cell)
        for cell in notebook.markdown
        for signs, text in re.findall(r"^(#{1,6}) +(.+?) *$", prose(cell), flags=re.M)
    ]
    titles = [text for level, text, _ in found if level == 1]
    if len(titles) != 1:
        yield f"one heading of the first level expected, found {titles}"
    level_above = 0
    for level, text, cell in found:
        if level > level_above + 1:
            yield f"{at(cell)}: the heading {text!r} skips a level"
        level_above = level
    sections = [text for level, text, _ in found if level == 2]
    for expected in (CHECK, RECAP):
        if expected not in sections:
            yield f"no heading ## {expected}"


@rule
def rhythm(notebook: Notebook) -> Iterator[str]:
    """Words before every code cell, and not too much code at a time."""
    if len(notebook.code) not in CODE_CELLS:
        least, most = CODE_CELLS[0], CODE_CELLS[-1]
        yield f"{len(notebook.code)} code cells, expected {least} to {most}"
    kind_before = "code"
    for cell in notebook.cells:
        if cell["cell_type"] == kind_before == "code":
            yield f"{at(cell)}: no markdown cell before it"
        kind_before = cell["cell_type"]
    for cell in notebook.code:
        lines = cell["source"].splitlines()
        body = parse(cell).body
        is_class = body and all(isinstance(node, ast.ClassDef) for node in body)
        limit = LINES_OF_A_CLASS if is_class else LINES
        if len(lines) > limit:
            yield f"{at(cell)}: {len(lines)} lines of code, at most {limit}"
        for number, line in enumerate(lines, start=1):
            if len(line) > LINE_LENGTH:
                yield f"{at(cell)}: line {number} has {len(line)} characters"


# What it runs.


def parse(cell: Cell) -> ast.Module:
    try:
        return ast.parse(cell["source"])
    except SyntaxError:  # plain_python speaks of it
        return ast.Module(body=[], type_ignores=[])


def last_name(node: ast.expr) -> str:
    """Return ``Linear`` of ``torch.nn.Linear``."""
    return ast.unparse(node).rpartition(".")[2]


@rule
def plain_python(notebook: Notebook) -> Iterator[str]:
    """No magic command: the code runs wherever Python runs."""
    for cell in notebook.code:
        try:
            ast.parse(cell["source"])
        except SyntaxError as error:
            yield f"{at(cell)}: not plain Python: {error.text}"
        if "get_ipython" in cell["source"]:
            yield f"{at(cell)}: uses get_ipython"


@rule
def imports(notebook: Notebook) -> Iterator[str]:
    """The setup cell, the first one, imports everything, and nothing is shadowed."""
    imported, taken = set(), set()
    for index, cell in enumerate(notebook.code):
        if index == 0 and cell.get("id") != "setup":
            yield f"{at(cell)}: the first code cell has the id 'setup'"
        for node in ast.walk(parse(cell)):
            if isinstance(node, ast.Import | ast.ImportFrom) and index > 0:
                yield f"{at(cell)}: imports outside the setup cell: {ast.unparse(node)}"
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {alias.name for alias in node.names}
                imported.add(node.module)
                if "*" in names:
                    yield f"{at(cell)}: imports *"
                if (node.module or "").startswith("gpt_from_scratch"):
                    taken |= names
            elif isinstance(node, ast.ClassDef | ast.FunctionDef):
                if node.name in taken:
                    package = f"gpt_from_scratch.{node.name}"
                    yield f"{at(cell)}: defines {node.name}; write {package} for theirs"
    for module in ("torch", "gpt_from_scratch"):
        if module not in imported:
            yield f"the setup cell does not import {module}"


DRAWING = re.compile(
    r"(rand|randn|randint)(_like)?|randperm|multinomial|bernoulli_?|normal_?|uniform_?"
    r"|(xavier|kaiming)_(normal|uniform)_|trunc_normal_|random_|exponential_|dropout"
    r"|Linear|Bilinear|Embedding|Conv[123]d|LSTM|GRU|RNN|MultiheadAttention"
    r"|Transformer(En|De)coder(Layer)?"
    r"|[A-Z]\w*(Model|Block|Network|Attention)|FeedForward"
)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def run_at_once(node: ast.AST) -> Iterator[ast.AST]:
    """Walk what a cell runs itself; on the meta device nothing is drawn."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*DEFINITIONS, ast.Lambda)):
            continue
        if isinstance(child, ast.With) and "'meta'" in ast.unparse(child.items[0]):
            continue
        yield child
        yield from run_at_once(child)


def called(nodes: Iterator[ast.AST]) -> list[str]:
    """Return the names of what is called, in the order of the text."""
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    calls.sort(key=lambda call: (call.lineno, call.col_offset))
    return [last_name(call.func) for call in calls]


@rule
def seeds(notebook: Notebook) -> Iterator[str]:
    """A cell that draws random numbers sets the seed first, so it can run alone."""
    own: set[str] = set()  # the notebook's own functions and classes that draw
    for cell in notebook.code:
        tree = parse(cell)
        for node in ast.walk(tree):
            if isinstance(node, DEFINITIONS):
                names = called(ast.walk(node))
                draws = any(DRAWING.fullmatch(name) or name in own for name in names)
                if draws and "manual_seed" not in names:
                    own.add(node.name)
        for name in called(run_at_once(tree)):
            if name == "manual_seed":
                break
            if DRAWING.fullmatch(name) or name in own:
                yield f"{at(cell)}: {name} draws numbers; first torch.manual_seed(123)"
                break


# What it prints.


def texts(cell: Cell) -> Iterator[tuple[str, bool]]:
    """Yield each text in a cell's outputs, and whether it stands in for a picture."""
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            yield "".join(output["text"]), False
        data = output.get("data", {})
        for mime, value in data.items():
            if mime.startswith("text/"):
                yield "".join(value), "image/png" in data


@rule
def no_errors(notebook: Notebook) -> Iterator[str]:
    """No cell failed, warned, or showed what nbval cannot compare."""
    for cell in notebook.code:
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                yield f"{at(cell)}: failed with {output['ename']}"
            if output.get("name") == "stderr":
                yield f"{at(cell)}: wrote to stderr: {''.join(output['text'])[:80]}"
            for mime in output.get("data", {}):
                if not re.fullmatch(
                    r"image/png|text/(plain|html|markdown|latex)", mime
                ):
                    yield f"{at(cell)}: shows {mime}"
        for text, _ in texts(cell):
            if re.search(r"<img[^>]*src=.?(\w+:)?//|!\[[^\]]*\]\(\w+:", text):
                yield f"{at(cell)}: its output shows a picture from elsewhere"


TENSOR = re.compile(r"tensor\((?:[^()]|\([^()]*\))*\)")
NUMBER = re.compile(
    r"(?<![\w.])-?(?:\d[\d,]*\.\d*(?:e[+-]?\d+)?|\d+e[+-]?\d+|0\b)", re.IGNORECASE
)
MACHINE_DEPENDENT = {
    "a tensor's gradient function": r"grad_fn=|requires_grad=",
    "a raw parameter": r"Parameter containing",
    "an address": r"0x[0-9a-f]{6,}",
    "a path": (
        r"/(?:home|root|Users|tmp|var|usr|opt|private)/|\b[A-Z]:\\|site-packages"
        r"|PosixPath|WindowsPath|file://|ipykernel_"
    ),
    "a time": (
        r"\b(?:wall|cpu) times?\b|\bit/s\b|\bloops each\b"
        r"|\b\d[\d,.]*\s?(?:ms|[µμ]s|ns)\b|\b\d[\d,.]* (?:s|secs?|seconds)\b"
        r"|\b\d+\.\d+(?:s|secs?|seconds)\b"
    ),
    "a version": (
        r"(?<![\w.,])v?\d+\.\d+\.\d+|\+(?:cpu|cu\d+)\b"
        r"|\b(?:python|(?:py)?torch|matplotlib|tiktoken|numpy) v?\d+\.\d"
    ),
}


DIGITS, DIGITS_IN_A_REPORT = 4, 5  # a check's own numbers stay clear of rounding edges


def is_report(output: dict[str, Any]) -> bool:
    """Tell whether an output is what a check of ``gpt_from_scratch`` found."""
    shown = "".join(output.get("data", {}).get("text/html", ""))
    return shown.startswith("<div><span style=") and shown.endswith("</pre></div>")


def number_problem(number: str, most: int = DIGITS) -> str | None:
    """Return what is wrong with a printed number, if anything."""
    mantissa, _, exponent = number.lower().replace(",", "").partition("e")
    value = float(number.replace(",", ""))
    if value == 0 and number.startswith("-"):
        return "a zero with a sign"
    if 0 < abs(value) < 9e-7:
        return "so small a number is chance; print that it is small (x < 1e-6)"
    digits = mantissa.lstrip("-").replace(".", "").lstrip("0")
    decimals = mantissa.partition(".")[2]
    if len(digits) > most and (exponent or len(decimals) > DIGITS):
        return "more than 4 decimals and 4 significant digits; use rounded(...)"
    return None


@rule
def prints(notebook: Notebook) -> Iterator[str]:
    """Prints are equal on every machine."""
    for cell in notebook.code:
        reports = any(is_report(output) for output in cell["outputs"])
        most = DIGITS_IN_A_REPORT if reports else DIGITS
        for text, _ in texts(cell):
            for shown in TENSOR.findall(text):
                if re.search(r"\d\.|\de[+-]?\d|nan|inf", shown):
                    yield f"{at(cell)}: prints a raw float tensor: {shown[:60]}"
            for kind, pattern in MACHINE_DEPENDENT.items():
                for match in re.finditer(pattern, text, flags=re.IGNORECASE):
                    yield f"{at(cell)}: prints {kind}: {match[0]!r}"
            for number in NUMBER.findall(text):
                if problem := number_problem(number, most):
                    yield f"{at(cell)}: prints {number}: {problem}"


@rule
def plots_carry_proof(notebook: Notebook) -> Iterator[str]:
    """A plot has words, a number beside it that nbval compares, and text below it."""
    cells = notebook.cells
    for index, cell in enumerate(cells):
        if cell["cell_type"] != "code":
            continue
        plots = [o for o in cell["outputs"] if "image/png" in o.get("data", {})]
        for output in plots:
            alt = output["metadata"].get("image/png", {}).get("alt", "")
            if len(alt.strip()) < ALT_LENGTH:
                yield f"{at(cell)}: its plot needs words that say what it shows"
        if not plots:
            continue
        before = [c for c in cells[:index] if c["cell_type"] == "code"][-1:]
        beside = [
            text for c in [*before, cell] for text, words in texts(c) if not words
        ]
        if not re.search(r"\d|\bTrue\b|\bFalse\b", " ".join(beside)):
            yield f"{at(cell)}: no number printed beside its plot, or just before it"
        if [c["cell_type"] for c in cells[index + 1 : index + 2]] != ["markdown"]:
            yield f"{at(cell)}: no text below its plot that says what to see in it"


@rule
def measured_plots(notebook: Notebook) -> Iterator[str]:
    """The tag measured is for plots: it keeps a stored picture, and nothing else."""
    for cell in notebook.cells:
        if MEASURED not in cell["metadata"].get("tags", []):
            continue
        if not any("image/png" in o.get("data", {}) for o in cell.get("outputs", [])):
            yield f"{at(cell)}: has the tag {MEASURED!r}, but no plot"


# The rules, tried on the course's notebooks.

# A learner's own, such as my_4.2.ipynb, keeps no rules; one test below names it.
STORED = [path for path in sorted(FOLDER.glob("*.ipynb")) if path.stem in TITLES]


@pytest.mark.parametrize("check", RULES, ids=lambda check: check.__name__)
@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_notebook(path: Path, check: Rule):
    """Each notebook of the course keeps each rule."""
    problems = list(check(Notebook(path, path.read_text(encoding="utf-8"))))
    if problems:
        lines = [f"{path.name}: {problem}" for problem in problems]
        pytest.fail("\n".join([check.__doc__ or "", *lines]), pytrace=False)


def surplus_files(folder: Path) -> list[str]:
    names = {path.name for path in folder.iterdir() if path.name[0] != "."}
    return sorted(names - {f"{name}.ipynb" for name in TITLES})


def test_folder_holds_only_notebooks_of_the_course():
    """``notebooks`` is the learner's path and holds nothing else."""
    assert surplus_files(FOLDER) == []
    assert f"{next(iter(TITLES))}.ipynb" in [path.name for path in STORED]


def test_nbval_compares_without_exception():
    """No setting of the tests makes nbval look away."""
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert "--nbval --nbval-current-env" in settings
    assert not re.search(r"sanitize|nbval-lax|nbdime|--ignore|--deselect", settings)
    others = ("pytest.ini", ".pytest.ini", "tox.ini", "setup.cfg")
    assert [name for name in others if (ROOT / name).exists()] == []


# The rules themselves, tried on a good notebook and on bad ones.

ALT = "A line that rises from 0 to 5."
PNG = "iVBORw0KGgo="


def markdown_cell(name: str, source: str) -> Cell:
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": source}


def code_cell(name: str, count: int, source: str, *outputs: dict[str, Any]) -> Cell:
    return {
        "cell_type": "code",
        "id": name,
        "metadata": {},
        "source": source,
        "execution_count": count,
        "outputs": list(outputs),
    }


def printed(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def plotted(alt: str = ALT) -> dict[str, Any]:
    return {
        "output_type": "display_data",
        "data": {"image/png": PNG, "text/plain": f"<Figure: {alt}>"},
        "metadata": {"image/png": {"alt": alt, "height": 300, "width": 800}},
    }


def good_notebook() -> dict[str, Any]:
    """Make the smallest notebook that keeps every rule, as section 4.2."""
    build, need, time = LEAD_WORDS
    top = f"""# 4.2 {TITLES["4.2_layer_normalization"]}

[4.1](4.1_llm_architecture.ipynb), [4.3](4.3_feed_forward.ipynb)

![The whole model with this part lit.](../images/4.2_you_are_here.svg)

**{build}** `LayerNorm`. **{need}** 4.1. **{time}** 30 minutes.
"""
    setup = "import torch\nfrom torch import nn\n\nimport gpt_from_scratch\n"
    end = f"## {RECAP}\n\n[Next](4.3_feed_forward.ipynb), [paper](https://arxiv.org)"
    cells = [markdown_cell("title", top), code_cell("setup", 1, setup)]
    for step in range(2, 16):
        heading = {2: "## Build it\n\n", 14: f"## {CHECK}\n\n"}.get(step, "")
        cells += [
            markdown_cell(f"about-step-{step}", f"{heading}Add 1. Predict the sum."),
            code_cell(f"step-{step}", step, f"print(1 + {step})", printed("3\n")),
        ]
    cells[-1]["outputs"].append(plotted())
    cells.append(markdown_cell("recap", end))
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """Make a course's folders, with what the good notebook links and shows."""
    for folder in ("notebooks", "images"):
        (tmp_path / folder).mkdir()
    (tmp_path / "images/4.2_you_are_here.svg").touch()
    (tmp_path / "README.md").write_text("# The course\n\n## What it needs\n")
    for name in ("4.1_llm_architecture", "4.3_feed_forward"):
        (tmp_path / f"notebooks/{name}.ipynb").touch()
    return tmp_path


def in_course(course: Path, text: str) -> Notebook:
    return Notebook(course / "notebooks/4.2_layer_normalization.ipynb", text)


Change = Callable[[dict[str, Any]], object]


def find(notebook: dict[str, Any], name: str) -> Cell:
    return next(cell for cell in notebook["cells"] if cell["id"] == name)


def change(name: str, **values: object) -> Change:
    """Set values of a cell."""
    return lambda notebook: find(notebook, name).update(values)


def code(*sources: str) -> Change:
    """Replace the code of steps 2, 3, ..."""

    def apply(notebook: dict[str, Any]) -> None:
        for step, source in enumerate(sources, start=2):
            find(notebook, f"step-{step}")["source"] = source

    return apply


def prints_text(text: str) -> Change:
    return change("step-2", outputs=[printed(text)])


def reports(text: str) -> Change:
    data = Report(False, None, (text,))._repr_mimebundle_()
    output = {"output_type": "execute_result", "data": data, "metadata": {}}
    return change("step-2", outputs=[{**output, "execution_count": 2}])


def says(text: str) -> Change:
    return change("about-step-2", source=f"## Build it\n\n{text}")


def replace(name: str, old: str, new: str) -> Change:
    """Replace a text in a cell's source; it must be there."""

    def apply(notebook: dict[str, Any]) -> None:
        cell = find(notebook, name)
        assert old in cell["source"]
        cell["source"] = cell["source"].replace(old, new)

    return apply


def remove(name: str) -> Change:
    return lambda notebook: notebook["cells"].remove(find(notebook, name))


def long_class(lines: int) -> str:
    return "class Long:\n" + "    x = 1\n" * (lines - 1)


PICTURE = "../images/4.2_you_are_here.svg"

# The rule, what is done to the good notebook, and a piece of what the rule must say.
BAD: list[tuple[Rule, Change, str]] = [
    (valid, change("step-2", outputs=[{"output_type": "paper"}]), "not a valid"),
    (valid, lambda notebook: notebook["cells"][0].pop("id"), "not a valid"),
    (valid, change("about-step-2", cell_type="raw"), "neither code nor markdown"),
    (execution_counts, change("step-3", execution_count=None), "count None"),
    (execution_counts, change("step-3", execution_count=4), "expected 3"),
    (execution_counts, change("step-3", source=""), "is empty"),
    (cell_ids, change("step-3", id="a1b2c3d4"), "words"),
    (cell_ids, change("step-3", id="deadbeef"), "words"),
    (cell_ids, change("step-3", id="8cb5ed13-64a4-4ad2-9c14-f4e3b0d5f2a3"), "words"),
    (cell_ids, change("step-3", id="Step_Three"), "words"),
    (cell_ids, change("step-3", id="step-2"), "twice"),
    (no_exceptions, code("# NBVAL_IGNORE_OUTPUT\n1"), "NBVAL_"),
    (no_exceptions, change("step-2", metadata={"tags": ["nbval-skip"]}), "nbval-skip"),
    (no_exceptions, change("step-2", metadata={"tags": ["raises-exception"]}), "tag"),
    (images_in_text, says(f"![]({PICTURE})"), "needs words"),
    (images_in_text, says(f'<img src="{PICTURE}">'), "needs words"),
    (images_in_text, says(f"![{ALT}](../images/none.svg)"), "does not exist"),
    (images_in_text, says(f"![{ALT}](https://example.org/a.png)"), "not a file in"),
    (images_in_text, says(f"![{ALT}](//example.org/a.png)"), "not a file in"),
    (images_in_text, says(f"![{ALT}](data:image/png;base64,AA)"), "not a file in"),
    (images_in_text, says(f"![{ALT}](attachment:a.png)"), "not a file in"),
    (images_in_text, says(f"![{ALT}][reference]"), "is not written"),
    (
        images_in_text,
        change("recap", attachments={"a.png": {"image/png": PNG}}),
        "an a",
    ),
    (local_links, says("[the model](4.6_gpt_model.ipynb)"), "leads nowhere"),
    (local_links, says("[start](../README.md#start)"), "leads nowhere"),
    (local_links, says('<a href="none.md">this</a>'), "leads nowhere"),
    (local_links, says("[the [old] model](none.md)"), "is not written"),
    (link_words, says("As OpenAI [says here](https://openai.com)."), "'says here'"),
    (link_words, says('Read <a href="../README.md">this</a>.'), "'this'"),
    (link_words, says("[](../README.md)"), "''"),
    (navigation, replace("title", "4.1_llm_architecture", "4.0"), "4.1_llm"),
    (navigation, replace("title", "4.3_feed_forward", "4.0"), "'title': no link"),
    (navigation, replace("recap", "4.3_feed_forward", "4.0"), "'recap': no link"),
    (frame, replace("title", "# 4.2 ", "# "), "begin with"),
    (frame, replace("title", "4.2_you_are_here", "4.1_you_are_here"), "does not show"),
    *[
        (frame, replace("title", f"**{words}**", words), f"**{words}** are missing")
        for words in LEAD_WORDS
    ],
    (headings, says("# Another title"), "first level"),
    (headings, says("#### Deep down"), "skips a level"),
    (headings, replace("about-step-14", f"## {CHECK}", "## Other"), f"## {CHECK}"),
    (headings, replace("recap", f"## {RECAP}", "## Other"), f"## {RECAP}"),
    (rhythm, lambda notebook: notebook["cells"].pop(-2), "14 code cells"),
    (rhythm, remove("about-step-4"), "no markdown cell before"),
    (rhythm, code("print(1)\n" * 13), "13 lines"),
    (rhythm, code(long_class(31)), "31 lines"),
    (rhythm, code(long_class(20) + "print(1)"), "21 lines"),
    (rhythm, code("x = " + "1 + " * 22 + "1"), "characters"),
    (plain_python, code("%timeit 1 + 1"), "not plain Python"),
    (plain_python, code("!pip list"), "not plain Python"),
    (plain_python, code("get_ipython()"), "get_ipython"),
    (imports, change("setup", id="import-it"), "the id 'setup'"),
    (imports, change("setup", source="import gpt_from_scratch"), "not import torch"),
    (imports, change("setup", source="import torch"), "not import gpt_from_scratch"),
    (imports, code("import math"), "outside the setup cell"),
    (imports, code("def f():\n    from math import pi"), "outside the setup cell"),
    (imports, replace("setup", "from torch import nn", "from torch import *"), "ts *"),
    (seeds, code("torch.rand(3)"), "rand draws"),
    (seeds, code("for _ in range(2):\n    layer = nn.Linear(2, 2)"), "Linear draws"),
    (seeds, code("torch.randn(3)\ntorch.manual_seed(123)"), "randn draws"),
    (seeds, code("gpt_from_scratch.GPTModel(cfg)"), "GPTModel draws"),
    (seeds, code("FeedForward(cfg)"), "FeedForward draws"),
    (seeds, code("def f():\n    return torch.rand(3)", "f()"), "f draws"),
    (no_errors, change("step-2", outputs=[printed("oh", "stderr")]), "stderr"),
    (
        no_errors,
        change(
            "step-2",
            outputs=[
                {
                    "output_type": "error",
                    "ename": "ValueError",
                    "evalue": "no",
                    "traceback": [],
                }
            ],
        ),
        "failed with ValueError",
    ),
    (
        no_errors,
        change(
            "step-2",
            outputs=[
                {
                    "output_type": "display_data",
                    "metadata": {},
                    "data": {"image/svg+xml": "<svg/>"},
                }
            ],
        ),
        "shows image/svg+xml",
    ),
    (no_errors, prints_text('<img src="https://example.org/a.png">'), "elsewhere"),
    (prints, prints_text("tensor([0.1235, 2.0000])"), "raw float tensor"),
    (prints, prints_text("tensor([[1.]])"), "raw float tensor"),
    (prints, prints_text("tensor(3, grad_fn=<SumBackward0>)"), "gradient function"),
    (prints, prints_text("Parameter containing:\ntensor([1])"), "raw parameter"),
    (prints, prints_text("0.70710678"), "rounded"),
    (prints, prints_text("[12.34567]"), "rounded"),
    (prints, reports("yours 0.707107, expected 1"), "rounded"),
    (prints, reports("yours 2.98e-08, expected 1"), "chance"),
    (prints, prints_text("1.23456e+10"), "rounded"),
    (prints, prints_text("mean -0.0"), "a zero with a sign"),
    (prints, prints_text("mean -0.0000,"), "a zero with a sign"),
    (prints, prints_text("mean -0"), "a zero with a sign"),
    (prints, prints_text("mean 1e-09"), "chance"),
    (prints, prints_text("mean -2.98e-08"), "chance"),
    (prints, prints_text("<object at 0x7f3a2c1b>"), "an address"),
    (prints, prints_text("/home/me/a.txt"), "a path"),
    (prints, prints_text(r"C:\Users\me"), "a path"),
    (prints, prints_text("lib/site-packages/torch"), "a path"),
    (prints, prints_text("took 1.23 s"), "a time"),
    (prints, prints_text("took 1.23s"), "a time"),
    (prints, prints_text("12 ms per token"), "a time"),
    (prints, prints_text("took 4 seconds"), "a time"),
    (prints, prints_text("2.13.0+cpu"), "a version"),
    (prints, prints_text("torch 2.13"), "a version"),
    (
        plots_carry_proof,
        change("step-15", outputs=[printed("3"), plotted("")]),
        "words",
    ),
    (plots_carry_proof, remove("recap"), "no text below"),
    (measured_plots, change("step-2", metadata={"tags": [MEASURED]}), "but no plot"),
    (measured_plots, change("recap", metadata={"tags": [MEASURED]}), "but no plot"),
]


def no_number(notebook: dict[str, Any]) -> None:
    """Leave a number only in the plot's own words, which prove nothing."""
    find(notebook, "step-14")["outputs"] = [printed("done")]
    find(notebook, "step-15")["outputs"] = [plotted()]


def shadow(notebook: dict[str, Any]) -> None:
    line = "from gpt_from_scratch import LayerNorm"
    find(notebook, "setup")["source"] += line
    find(notebook, "step-2")["source"] = "class LayerNorm:\n    pass"


BAD += [
    (plots_carry_proof, no_number, "no number printed"),
    (imports, shadow, "defines LayerNorm"),
]

# Allowed, though it looks like what is not.
FINE: list[Change] = [
    lambda notebook: None,
    prints_text("tensor([[6109, 3626], [6109, 1110]]) torch.Size([2, 4, 768])"),
    prints_text(
        "0.000473 at 2.7, 0.07071, 163,009,536, 621.83 MB, 1.234e-05, 0, -0.05"
    ),
    prints_text(
        "below 1e-06: True; 355 years; trf_blocks.0.ff.layers.2.weight; 4.1, 4"
    ),
    prints_text("requires_grad: True"),
    reports("at [0, 0]: yours 0.65465, expected 0.028184"),
    prints_text("drop_rate must be in [0, 1), got -0.5; 12,345.6789; 10 * 768."),
    code("torch.manual_seed(123)\nx = torch.rand(3)"),
    code("def f():\n    torch.manual_seed(1)\n    return torch.rand(3)", "f()"),
    code("with torch.device('meta'):\n    GPTModel(cfg)", "check.block(FeedForward)"),
    code(long_class(30)),
    says(
        "`![an image](none.svg)`, [inside](#recap)\n\n```md\n# Code\n[x](none.md)\n```"
    ),
    says(f'<img alt="{ALT}" src="{PICTURE}">'),
    change("step-3", id="gpt2-layer-norm-124m"),
    change("step-2", metadata={"tags": ["hide-input"]}),
    change("step-15", metadata={"tags": [MEASURED]}),
]


@pytest.mark.parametrize("apply", FINE, ids=range(len(FINE)))
def test_rules_let_a_good_notebook_pass(course: Path, apply: Change):
    """No rule finds fault with what is allowed."""
    notebook = good_notebook()
    apply(notebook)
    sample = in_course(course, normalize(notebook))
    assert [problem for check in RULES for problem in check(sample)] == []


@pytest.mark.parametrize(
    ("check", "apply", "expected"),
    BAD,
    ids=[f"{check.__name__}: {expected}" for check, _, expected in BAD],
)
def test_rule_finds_the_fault(course: Path, check: Rule, apply: Change, expected: str):
    """Each rule finds the fault that was put into the good notebook."""
    notebook = good_notebook()
    apply(notebook)
    problems = list(check(in_course(course, normalize(notebook))))
    assert any(expected in problem for problem in problems), problems


def test_every_rule_is_tested():
    """No rule is without a notebook that breaks it; normal_form's are below."""
    assert {check for check, _, _ in BAD} | {normal_form} == set(RULES)


def test_surplus_file_is_found(course: Path):
    """A file that is no notebook of the course is named."""
    (course / "notebooks/scratch.ipynb").touch()
    (course / "notebooks/.ipynb_checkpoints").mkdir()
    assert surplus_files(course / "notebooks") == ["scratch.ipynb"]


# The tool that runs and stores them.


def as_saved_by_jupyterlab(notebook: dict[str, Any]) -> dict[str, Any]:
    """Add what JupyterLab and nbclient leave behind."""
    saved = json.loads(json.dumps(notebook))
    saved["metadata"] = {
        "kernelspec": {"name": "mine", "display_name": "My kernel"},
        "language_info": {"name": "python", "version": "3.11.7", "nbconvert": "x"},
        "widgets": {},
    }
    for cell in saved["cells"]:
        cell["metadata"] = {"collapsed": True, "execution": {"at": "12:00"}, "tags": []}
        cell["source"] = (cell["source"] + "\n\n").splitlines(keepends=True)
        for output in cell.get("outputs", []):
            if "data" in output:
                output["data"]["image/png"] = f"{PNG[:4]}\n{PNG[4:]}\n"
                output["metadata"] |= {"text/plain": {}}
                output["metadata"]["image/png"] |= {"needs_background": "light"}
    first = find(saved, "step-2")
    first["outputs"] = [printed("3"), printed(["\n"])]
    return saved


def test_normal_form_drops_only_what_an_editor_leaves_behind(course: Path):
    """However a notebook was saved, it is stored with the same bytes."""
    notebook = good_notebook()
    normal = normalize(notebook)
    saved = as_saved_by_jupyterlab(notebook)
    assert normalize(saved) == normal
    for text in (json.dumps(saved), normal + "\n", json.dumps(notebook, indent=1)):
        assert list(normal_form(in_course(course, text)))
    for word in (ALT, '"height": 300', '"width": 800', PNG, '"python3"'):
        assert word in normal


def test_normal_form_is_stable():
    """Normalizing again changes nothing, and nbformat writes the same text."""
    normal = normalize(good_notebook())
    assert normalize(json.loads(normal)) == normal
    assert nbformat.writes(nbformat.reads(normal, as_version=4)) + "\n" == normal


def test_normal_form_merges_only_neighbouring_streams():
    """Prints around a plot stay on their sides; a result wears its cell's count."""
    result = {"output_type": "execute_result", "data": {}, "metadata": {}}
    outputs = [printed("a\n"), printed("b"), plotted(), printed("c"), result]
    cell = code_cell("step-2", 7, "1", *outputs)
    (stored,) = json.loads(normalize({"cells": [cell]}))["cells"]
    texts = [output.get("text") for output in stored["outputs"]]
    assert texts == [["a\n", "b"], None, ["c"], None]
    assert stored["outputs"][-1]["execution_count"] == 7
    assert outputs[0]["text"] == "a\n"  # what was given is left alone


def store(folder: Path, *sources: str) -> Path:
    cells = [
        code_cell(f"step-{number}", 9, source, printed("old"))
        for number, source in enumerate(sources, start=1)
    ]
    path = folder / "sample.ipynb"
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return path


def test_running_twice_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """The second run writes nothing; cells run here, in this environment's Python."""
    path = store(
        tmp_path,
        "import os, sys\nprint('é', flush=True)\nsys.prefix",
        "print(os.path.exists('sample.ipynb'))",
    )
    assert execute_notebooks.main(["--check", str(path)]) == 1
    assert execute_notebooks.main([str(path)]) == 0
    first = path.read_bytes()
    assert execute_notebooks.main([str(path)]) == 0
    assert path.read_bytes() == first
    assert execute_notebooks.main(["--check", str(path)]) == 0
    name = "sample.ipynb"
    assert capsys.readouterr().out.splitlines() == [
        f"{name}: not in normal form",
        f"{name}: written",
        f"{name}: unchanged",
    ]
    cells = json.loads(first)["cells"]
    assert [cell["execution_count"] for cell in cells] == [1, 2]
    assert cells[0]["outputs"][0]["text"] == ["é\n"]
    assert ast.literal_eval(cells[0]["outputs"][1]["data"]["text/plain"][0])
    assert cells[1]["outputs"][0]["text"] == ["True\n"]


@pytest.mark.parametrize("full", ["disk", "runtime folder"])
def test_full_disk_leaves_the_notebook(
    full: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Half of the new file fits, or the kernel cannot start; the old one stays."""

    def write_half(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise no_space

    def start_nothing(path: Path) -> None:
        raise no_space

    no_space = OSError(errno.ENOSPC, "No space left on device")
    path = store(tmp_path, "print(1)")
    before = path.read_bytes()
    if full == "disk":
        monkeypatch.setattr(Path, "write_bytes", write_half)
    else:
        monkeypatch.setattr(execute_notebooks, "execute", start_nothing)
    assert execute_notebooks.main([str(path)]) == 1
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    reason, outcome = capsys.readouterr().err.splitlines()
    assert "No space left on device" in reason
    assert outcome == "sample.ipynb was not written."


OTHER_PNG = "iVBORw0KGgoAAAA="


def measured_notebook(*outputs: dict[str, Any], tag: str = MEASURED) -> dict[str, Any]:
    """Make a notebook with one cell of that tag and these outputs."""
    cell = code_cell("plot-times", 3, "plot()", *outputs)
    cell["metadata"] = {"tags": [tag], "execution": {"at": "12:00"}}
    return {"cells": [markdown_cell("about-times", "Times."), cell]}


def test_measured_picture_is_kept():
    """Two runs give other bytes of the picture; the stored one stays."""
    stored = measured_notebook(printed("faster: True"), plotted())
    new = measured_notebook(printed("faster: "), printed("True"), plotted())
    new["cells"][1]["outputs"][-1]["data"]["image/png"] = OTHER_PNG
    before = json.dumps(new)
    assert normalize(keep_measured(stored, new)) == normalize(stored)
    assert json.dumps(new) == before  # what was given is left alone


def another_size() -> dict[str, Any]:
    output = plotted()
    output["metadata"]["image/png"]["width"] = 600
    return output


@pytest.mark.parametrize(
    ("stored", "changed"),
    [
        ([printed("a"), plotted()], {"outputs": [printed("b"), plotted()]}),
        ([plotted()], {"outputs": [plotted("Another line, which falls.")]}),
        ([plotted()], {"outputs": [another_size()]}),
        ([plotted()], {"outputs": [plotted(), plotted()]}),
        ([plotted()], {"source": "plot(2)"}),
        ([plotted()], {"metadata": {"tags": ["hide-input"]}}),
        ([plotted()], {"id": "plot-other-times"}),
        ([], {"outputs": [plotted()]}),
    ],
    ids=["print", "words", "size", "number", "source", "tag", "id", "cleared"],
)
def test_measured_picture_is_drawn_anew(stored: list[dict], changed: dict[str, Any]):
    """Whatever else changed, the tag included, the new picture is stored."""
    new = measured_notebook(*(changed.get("outputs") or [plotted()]))
    new["cells"][1].update(changed)
    for output in new["cells"][1]["outputs"]:
        if "data" in output:
            output["data"]["image/png"] = OTHER_PNG
    kept = keep_measured(measured_notebook(*stored), new)
    assert normalize(kept) == normalize(new)


def test_running_a_measured_cell_twice_changes_nothing(tmp_path: Path):
    """A cell whose picture differs at each run; without the tag it would change."""
    show = (
        "import base64, os\nfrom IPython.display import display\n"
        "png = base64.b64encode(os.urandom(9)).decode()\n"
        "data = {'image/png': png, 'text/plain': 'times'}\n"
        "display(data, raw=True)"
    )
    for tags, same in (([MEASURED], True), ([], False)):
        path = store(tmp_path, show)
        notebook = json.loads(path.read_text(encoding="utf-8"))
        notebook["cells"][0]["metadata"] = {"tags": tags}
        path.write_text(json.dumps(notebook), encoding="utf-8")
        assert execute_notebooks.main([str(path)]) == 0
        first = path.read_bytes()
        assert execute_notebooks.main([str(path)]) == 0
        assert (path.read_bytes() == first) is same


def test_a_failing_cell_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A notebook that fails keeps its bytes, and the command says which cell it is."""
    path = store(tmp_path, "1", "raise ValueError('too wide')", "2")
    before = path.read_bytes()
    assert execute_notebooks.main([str(path)]) == 1
    assert path.read_bytes() == before
    message = capsys.readouterr().err
    assert "sample.ipynb, cell 'step-2': ValueError: too wide" in message
