"""Write the notebooks as web pages, for reading without Jupyter.

    .venv/bin/python .ci/html_edition.py FOLDER

A page for each notebook and an index, each whole in itself: no page asks anything of
another computer. Code and outputs are those that the notebooks store; nothing is run.
Needs the extra ``html``. The folder must be new or empty, or hold an earlier edition:
that is written over, and pages of it that are no longer made are removed.
"""

from __future__ import annotations

import argparse
import base64
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape, unescape
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

try:
    import nbformat
    from math_core import LatexError, LatexToMathML
    from nbconvert import HTMLExporter
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
    from nbformat import NotebookNode
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name
except ImportError as missing:
    sys.exit(f'{missing}. The HTML edition needs: pip install -e ".[html]"')

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from notebook_words import TITLES  # noqa: E402

TEMPLATES = Path(__file__).with_name("html_edition")
INDEX = "index.html"
GENERATOR = "gpt_from_scratch, .ci/html_edition.py"
MARK = f'<meta name="generator" content="{GENERATOR}">'  # tells our files from others
MIME_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}


class EditionError(Exception):
    """Something that keeps the edition from being written; its message says what."""


@dataclass
class Page:
    """What one file of the edition holds, as HTML where not said otherwise."""

    file: str
    title: str  # plain text
    body: str
    sections: list[tuple[str, str]] = field(default_factory=list)  # id, heading
    source: str = ""
    number: str = ""
    build: str = ""  # what the reader builds in it
    after: str = ""
    neighbours: list[tuple[str, Page]] = field(default_factory=list)


class Textbook(IPythonRenderer):
    """Markdown as a page shows it: anchors, own pictures, formulas as MathML.

    Args:
        source: The file that the markdown stands in; its links start from there.
        pages: The page for each file that has one.
    """

    def __init__(self, source: Path, pages: dict[Path, str]) -> None:
        super().__init__(escape=False)
        self.source = source
        self.pages = pages
        self.sections: list[tuple[int, str, str]] = []  # level, id, heading
        self.formulas = LatexToMathML()

    def problem(self, words: str) -> EditionError:
        """Name the file in which something is wrong."""
        return EditionError(f"{self.source.relative_to(ROOT).as_posix()}: {words}")

    def local(self, target: str) -> Path:
        """Return the file of the course that a link or a picture names."""
        path = (self.source.parent / unquote(target)).resolve()
        if not path.exists():
            raise self.problem(f"{target} does not exist")
        return path

    def heading(self, text: str, level: int, **_: object) -> str:
        """Give a heading its anchor, spelled as JupyterLab does, and a link to it."""
        name = plain(text).replace(" ", "-")
        taken = [anchor for _, anchor, _ in self.sections]
        anchor, number = name, 2
        while anchor in taken:
            anchor, number = f"{name}-{number}", number + 1
        self.sections.append((level, anchor, text))
        if level == 1:
            return f'<h1 id="{escape(anchor)}">{text}</h1>\n'
        link = f'<a href="#{escape(anchor)}">{text}</a>'
        return f'<h{level} id="{escape(anchor)}">{link}</h{level}>\n'

    def paragraph(self, text: str) -> str:
        """Leave out the notebook's own navigation; the page has its own."""
        if text.startswith(f'<a href="{INDEX}">'):
            return ""
        if re.fullmatch(r"<img [^>]*>", text):
            return f"<figure>{text}</figure>\n"
        return super().paragraph(text)

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """Lead to a page of the edition, or to another site; else leave the words."""
        if re.match(r"[a-z]+:|#", url):
            return super().link(text, url, title)
        target, _, anchor = url.partition("#")
        page = self.pages.get(self.local(target))
        if page is None or (page == INDEX and anchor):  # it is not all of the README
            return text
        return super().link(text, f"{page}#{anchor}" if anchor else page, title)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """Put the picture into the page."""
        path = self.local(url)
        words = plain(text)
        if not words:
            raise self.problem(f"{url} has no alternative text")
        data = base64.b64encode(path.read_bytes()).decode()
        source = f"data:{MIME_TYPES[path.suffix]};base64,{data}"
        return f'<img src="{source}" alt="{escape(words)}">'

    def block_code(self, code: str, info: str | None = None) -> str:
        """Show code in a markdown cell as the code of a code cell."""
        return f"<pre>{colored(code, info) if info else escape(code)}</pre>\n"

    def table(self, text: str) -> str:
        """Let a wide table scroll by itself."""
        return f'<div class="table"><table>\n{text}</table></div>\n'

    def inline_math(self, body: str) -> str:
        """Turn LaTeX into MathML."""
        return self.formula(body, displaystyle=False)

    def block_math(self, body: str) -> str:
        """Turn LaTeX into MathML on a line of its own."""
        return f'<span class="formula">{self.formula(body, displaystyle=True)}</span>'

    def formula(self, body: str, *, displaystyle: bool) -> str:
        """Return a formula as MathML; one that cannot be read is an error."""
        try:
            formula = self.formulas.convert_with_local_state(
                body.strip(), displaystyle=displaystyle
            )
        except LatexError as error:
            raise self.problem(f"the formula {body!r}: {error}") from error
        # A prime is small and raised by itself; as an exponent it can hardly be seen.
        raised = "<msup>(<mi>\\w+</mi>)<mo>\u2032</mo></msup>"
        level = '<mrow>\\1<mo lspace="0" rspace="0">\u2032</mo></mrow>'
        return re.sub(raised, level, formula)


# Pygments' names for what style.css colours: comments, keywords, names that are defined
# or built in, strings, numbers. All else has the colour of the text, and needs no mark.
COLORED = "c|c1|k|kc|kd|kn|kr|ow|nf|fm|nc|nd|nb|bp|s|s1|s2|sa|sd|se|mi|mf"


def colored(code: str, language: str = "python") -> str:
    """Return code as HTML, with what has a colour marked."""
    lexer, formatter = get_lexer_by_name(language), HtmlFormatter(nowrap=True)
    marked = highlight(code, lexer, formatter).rstrip("\n")
    bare = rf'<span class="(?!(?:{COLORED})")\w+">([^<]*)</span>'
    return re.sub(bare, r"\1", marked)


def plain(html: str) -> str:
    """Return the text of a piece of HTML."""
    return unescape(re.sub(r"<[^>]+>", "", html)).strip()


def read_notebook(path: Path) -> NotebookNode:
    """Read a notebook that has been run, and whose figures have words."""
    name = path.relative_to(ROOT).as_posix()
    try:
        notebook = nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise EditionError(f"{name} is missing") from None
    except (ValueError, nbformat.ValidationError) as error:
        raise EditionError(f"{name} is not a notebook: {error}") from error
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        if cell.execution_count is None:
            raise EditionError(
                f"{name}: the cell {cell.id!r} is stored without its output; run "
                "python tests/execute_notebooks.py first"
            )
        for output in cell.outputs:
            if output.output_type == "error":
                raise EditionError(f"{name}: the cell {cell.id!r} failed when it ran")
            about = output.get("metadata", {}).get("image/png", {})
            if "image/png" in output.get("data", {}) and not about.get("alt"):
                raise EditionError(
                    f"{name}: the figure of {cell.id!r} has no alternative text"
                )
    return notebook


def notebook_page(path: Path, pages: dict[Path, str]) -> Page:
    """Turn a notebook into its page."""
    notebook = read_notebook(path)
    markdown = MarkdownWithMath(renderer=(book := Textbook(path, pages)))
    exporter = HTMLExporter(
        template_name=TEMPLATES.name,
        template_file="notebook.html.j2",
        extra_template_basedirs=[str(TEMPLATES.parent)],
    )
    exporter.register_filter("markdown2html", markdown.render)
    exporter.register_filter("colored", colored)
    body, _ = exporter.from_notebook_node(notebook)
    headings = book.sections
    title = next((plain(text) for level, _, text in headings if level == 1), "")
    build = re.search(r"<p><strong>You will build</strong>(.*?)</p>", body, re.DOTALL)
    if not title or build is None:
        raise book.problem("no title, or no paragraph **You will build**")
    return Page(
        file=pages[path],
        title=title,
        body=body,
        sections=[(anchor, text) for level, anchor, text in headings if level == 2],
        source=path.relative_to(ROOT).as_posix(),
        number=title.partition(" ")[0],
        build=f"<p><strong>You build</strong>{build[1]}</p>",
    )


def index_page(readme: Path, pages: dict[Path, str]) -> Page:
    """Make the index of what the README says of the course and its notebooks."""
    text = readme.read_text(encoding="utf-8")
    start = re.match(r"# (.+?)\n(.*?)^## ", text, re.DOTALL | re.MULTILINE)
    about = re.search(
        r"^## The notebooks\n\n(?:\|[^\n]*\n)+(.*?)^#", text, re.DOTALL | re.MULTILINE
    )
    if start is None or about is None:
        raise EditionError("README.md: no introduction, or no table '## The notebooks'")
    markdown = MarkdownWithMath(renderer=Textbook(readme, pages))
    return Page(
        file=INDEX,
        title=start[1],
        body=markdown.render(f"# {start[1]}\n{start[2]}\n## The notebooks\n"),
        after=markdown.render(about[1]),
    )


def build() -> dict[str, str]:
    """Return every file of the edition, by its name."""
    sources = [ROOT / "notebooks" / f"{name}.ipynb" for name in TITLES]
    pages = {path: f"{path.stem}.html" for path in sources}
    pages[ROOT / "README.md"] = INDEX
    notebooks = [notebook_page(path, pages) for path in sources]
    for one, other in pairwise(notebooks):
        one.neighbours.append(("Next", other))
        other.neighbours.insert(0, ("Previous", one))
    index = index_page(ROOT / "README.md", pages)
    template = HTMLExporter(
        template_name=TEMPLATES.name, extra_template_basedirs=[str(TEMPLATES.parent)]
    ).environment.get_template("page.html.j2")
    shared = {
        "course": index.title,
        "generator": GENERATOR,
        "notebooks": notebooks,
        "style": (TEMPLATES / "style.css").read_text(encoding="utf-8").strip(),
        "script": (TEMPLATES / "page.js").read_text(encoding="utf-8").strip(),
    }
    return {
        page.file: template.render(page=page, **shared).strip() + "\n"
        for page in [index, *notebooks]
    }


def write(files: dict[str, str], folder: Path) -> None:
    """Write the files, and remove the pages that an earlier edition had besides.

    Whatever else lies in the folder stays; what is not hidden keeps all from being
    written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        earlier = [path for path in folder.iterdir() if not path.name.startswith(".")]
        for path in sorted(earlier):
            if not (path.is_file() and MARK in path.read_text("utf-8", "replace")):
                raise EditionError(
                    f"{folder} holds {path.name}, which this command did not write; "
                    "name an empty or a new folder"
                )
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
        for path in earlier:
            if path.name not in files:
                path.unlink()
    except FileExistsError:
        raise EditionError(f"{folder} is a file, not a folder") from None
    except OSError as error:
        raise EditionError(f"cannot write to {folder}: {error.strerror}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the edition into the folder that was named; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the pages go")
    folder = parser.parse_args(arguments).folder
    try:
        files = build()
        write(files, folder)
    except EditionError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(files)} pages; open {folder / INDEX}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
