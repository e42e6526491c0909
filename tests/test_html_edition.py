"""The HTML edition: whole, without the network, readable by eye, ear and keyboard.

The pages' text is compared with the notebooks'. In the system's Chromium, axe-core then
looks for what shuts readers out. Needs the extras ``html`` and, for that, ``browser``.
"""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
from colors import contrast
from notebook_words import TITLES
from scripts import load_script

EXTRA = 'not installed: pip install -e ".[html]"'
pytest.importorskip("math_core", reason=EXTRA)
bs4 = pytest.importorskip("bs4", reason=EXTRA)  # nbconvert needs it too

ROOT = Path(__file__).parents[1]
NAMES = list(TITLES)
LOOKS = [("light", 1280), ("dark", 360)]
EDITION = load_script(ROOT / ".ci/html_edition.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the command has written the edition."""
    folder = tmp_path_factory.mktemp("edition") / "new" / "pages"
    assert EDITION.main([str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def pages(folder):
    """All pages, parsed, by their name without its end."""
    return {
        path.stem: bs4.BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in sorted(folder.iterdir())
    }


def cells(name):
    path = ROOT / "notebooks" / f"{name}.ipynb"
    return [
        {**cell, "source": "".join(cell["source"])}
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
    ]


def markdown(name):
    """Return a notebook's markdown without its own navigation; the page has its own."""
    text = "\n\n".join(c["source"] for c in cells(name) if c["cell_type"] == "markdown")
    return re.sub(r"^\[The course\].*$", "", text, flags=re.MULTILINE)


IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)]*)\)")
FORMULA = re.compile(r"\$\$.+?\$\$|\$[^$]+\$", re.DOTALL)


def without_code(text):
    return re.sub(r"```.*?```|`[^`\n]+`", "", text, flags=re.DOTALL)


def squeezed(text):
    """Return a text's letters and digits."""
    return re.sub(r"[\W_]", "", text)


every_notebook = pytest.mark.parametrize("name", NAMES)
every_page = pytest.mark.parametrize("name", ["index", *NAMES])


# The files.


def test_an_index_and_a_page_for_each_notebook(pages):
    assert list(pages) == [*NAMES, "index"]


def test_second_edition_has_the_same_bytes(folder):
    """The earlier one is written over."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert EDITION.main([str(folder)]) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@every_page
def test_page_says_what_wrote_it(folder, name):
    """By these words the next edition knows what it may write over."""
    assert EDITION.MARK in (folder / f"{name}.html").read_text(encoding="utf-8")


@every_page
def test_nothing_comes_from_elsewhere(pages, name):
    """Only a link that a reader follows may name another file or computer."""
    page = pages[name]
    loaders = {"src", "srcset", "poster", "data", "action", "background", "xlink:href"}
    for tag in page.find_all(True):
        sources = {key: tag[key] for key in loaders & tag.attrs.keys()}
        if tag.name != "a" and "href" in tag.attrs:
            sources["href"] = tag["href"]
        for value in sources.values():
            assert value.startswith("data:"), tag
        assert tag.name not in {"iframe", "object", "embed", "base"}
    assert not re.search(r"@import|url\(", page.style.string)
    assert not re.search(r"fetch|import|XMLHttpRequest", page.script.string)


@every_page
def test_every_link_leads_somewhere(pages, name):
    page = pages[name]
    anchors = [tag["id"] for tag in page.find_all(id=True)]
    assert len(anchors) == len(set(anchors))
    for link in page.find_all("a"):
        assert link.get_text().strip() or link["aria-label"]
        target = link["href"]
        if target.startswith(("https:", "http:")):
            continue
        file, _, anchor = unquote(target).partition("#")
        other = pages[Path(file).stem] if file else page
        assert Path(file).suffix in ("", ".html")
        assert not anchor or other.find(id=anchor), target


@every_page
def test_head(pages, name):
    page = pages[name]
    assert page.html["lang"] == "en"
    assert page.title.string.startswith(page.h1.get_text())
    assert page.find("meta", {"name": "viewport"})["content"].startswith("width=device")
    assert page.body.a["href"] == "#text"  # the skip link is the first of all
    assert page.main["id"] == "text"


# What they say.


@every_notebook
def test_all_that_the_notebook_says_is_there(pages, name):
    """Each stretch of text between formulas, in its order."""
    text = squeezed("".join(s for s in pages[name].main.strings if s.strip()))
    source = IMAGE.sub("", markdown(name))
    source = re.sub(r"(?<!!)\[([^\]]*)\]\([^)\s]*\)", r"\1", source)
    signs = r"</?(details|summary)>|^```\w*$|\|[-|]+\||^\d+\. "
    source = re.sub(signs, "", source, flags=re.MULTILINE)
    place = 0
    for stretch in re.split(r"\n\n|\$\$.+?\$\$|\$[^$\n`]+\$", source):
        found = text.find(squeezed(stretch), place)
        assert found >= 0, stretch
        place = found


@every_notebook
def test_code_and_outputs_are_the_stored_ones(pages, name):
    shown = [pre.get_text() for pre in pages[name].select(".cell pre")]
    stored = []
    for cell in cells(name):
        if cell["cell_type"] != "code":
            continue
        stored.append(cell["source"])
        for output in cell["outputs"]:
            data = output.get("data", {})
            if output["output_type"] == "stream":
                stored.append("".join(output["text"]))
            elif "text/html" in data:
                pre = re.search(r"<pre>(.*)</pre>", "".join(data["text/html"]), re.S)
                stored.append(html.unescape(pre[1]))
            elif "image/png" not in data:
                stored.append("".join(data["text/plain"]))
    assert [text.strip("\n") for text in shown] == [s.strip("\n") for s in stored]


@every_notebook
def test_pictures_and_plots_are_in_the_page_with_their_words(pages, name):
    expected = []
    for cell in cells(name):
        if cell["cell_type"] == "markdown":
            for words, target in re.findall(
                r"!\[([^\]]*)\]\(([^)]*)\)", cell["source"]
            ):
                picture = (ROOT / "notebooks" / target).read_bytes()
                expected.append((words, "data:image/svg+xml;base64", picture))
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                picture = base64.b64decode("".join(output["data"]["image/png"]))
                words = output["metadata"]["image/png"]["alt"]
                expected.append((words, "data:image/png;base64", picture))
    shown = []
    for image in pages[name].find_all("img"):
        kind, _, data = image["src"].partition(",")
        shown.append((image["alt"], kind, base64.b64decode(data)))
    assert shown == expected
    assert all(len(words) >= 20 for words, _, _ in shown)


@every_notebook
def test_formulas_are_mathml(pages, name):
    """As many as in the notebook; no dollar sign and no command is left over."""
    page = pages[name]
    formulas = FORMULA.findall(without_code(markdown(name)))
    assert len(page.find_all("math")) == len(formulas)
    displayed = [formula for formula in formulas if formula.startswith("$$")]
    assert len(page.select(".formula > math[display=block]")) == len(displayed)
    for text in page.select_one("main").find_all(string=True):
        if not text.find_parent(["code", "pre"]):
            assert not re.search(r"\$|\\[a-z]", text), text


@every_notebook
def test_headings_are_the_notebook_s(pages, name):
    """In its order, so none skips a level; tests/test_notebooks.py looks at that."""
    page = pages[name]
    found = [
        (tag.name, squeezed(tag.get_text()))
        for tag in page.find_all(re.compile("^h[1-6]$"))
    ]
    source = re.sub(r"```.*?```", "", markdown(name), flags=re.DOTALL)
    headings = re.findall(r"^(#+) (.*)$", source, flags=re.MULTILINE)
    assert found == [(f"h{len(signs)}", squeezed(text)) for signs, text in headings]
    sections = [text for level, text in found if level == "h2"]
    for contents in page.select(".contents, .contents-folded"):
        assert [squeezed(li.get_text()) for li in contents.find_all("li")] == sections


@every_notebook
def test_hints_and_solutions_are_folded(pages, name):
    folded = pages[name].select("main .prose details")
    assert len(folded) == markdown(name).count("<details>") > 0
    for details in folded:
        assert details.find().name == "summary"
        assert not details.has_attr("open")


def test_previous_and_next(pages):
    ends = [None, *NAMES, None]
    for before, name, after in zip(ends, NAMES, ends[2:], strict=False):
        links = pages[name].select(".neighbours a")
        neighbours = [other for other in (before, after) if other]
        assert [link["href"] for link in links] == [f"{n}.html" for n in neighbours]
        current = pages[name].select_one(".bar nav a[aria-current=page]")
        assert current["href"] == f"{name}.html"


def test_index_lists_the_notebooks_and_what_each_builds(pages):
    page = pages["index"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"# {page.h1.get_text()}\n" in readme
    entries = page.select("ol.notebooks > li")
    assert [entry.a["href"] for entry in entries] == [f"{n}.html" for n in NAMES]
    for name, entry in zip(NAMES, entries, strict=True):
        assert entry.h3.get_text() == pages[name].h1.get_text()
        lead = r"\*\*You will build\*\*(.*)"
        build = squeezed(re.search(lead, markdown(name))[1])
        assert squeezed(entry.p.get_text()) == "Youbuild" + build
    for words in ("GPT-2", "Raschka", "in their order"):
        assert words in page.main.get_text()


# Colours, as the style sheet gives them; in the browser axe-core sees them again.


def schemes():
    """Return the colours of both schemes, by their names."""
    style = (ROOT / ".ci" / "html_edition" / "style.css").read_text(encoding="utf-8")
    found = [
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    ]
    assert len(found) == 2
    return zip(("light", "dark"), found, strict=True)


@pytest.mark.parametrize(("scheme", "colors"), list(schemes()))
def test_letters_are_legible(scheme, colors):
    """At least 4.5:1, in both schemes, against all that they may stand on."""
    for name in ("ink", "soft", "link"):
        assert contrast(colors[name], colors["paper"]) >= 4.5, name
        assert contrast(colors[name], colors["code-paper"]) >= 4.5, name
        assert contrast(colors[name], colors["fold-paper"]) >= 4.5, name
    for name in (name for name in colors if name.startswith("code-")):
        if name != "code-paper":
            assert contrast(colors[name], colors["code-paper"]) >= 4.5, name
    # The frame around what has the focus, and the number of the notebook that is shown.
    assert contrast(colors["lit"], colors["paper"]) >= 4.5


def test_each_mark_in_code_has_a_colour(pages):
    style = pages["index"].style.string
    for name in EDITION.COLORED.split("|"):
        assert re.search(rf"\.{name}\b[^{{}}]*\{{\s*color: var\(--code-", style), name


# What cannot become an edition.


def code(source="1", outputs=(), count=1):
    return {
        "cell_type": "code",
        "execution_count": count,
        "id": "some-code",
        "metadata": {},
        "outputs": list(outputs),
        "source": source,
    }


def figure(metadata):
    return {
        "output_type": "display_data",
        "data": {"image/png": "AAAA"},
        "metadata": metadata,
    }


FAILED = {"output_type": "error", "ename": "E", "evalue": "", "traceback": []}
TITLE = "# 4.1 A title\n\n**You will build** `this`.\n\n"


@pytest.fixture
def course(tmp_path, monkeypatch):
    """Give a function that makes a course of one notebook, and its new edition."""
    root = tmp_path / "course"
    (root / "notebooks").mkdir(parents=True)
    shutil.copy(ROOT / "README.md", root)
    shutil.copytree(ROOT / "images", root / "images")
    for name in NAMES:  # the README links to them
        (root / "notebooks" / f"{name}.ipynb").write_text("no notebook yet")
    monkeypatch.setattr(EDITION, "ROOT", root)

    def make(text, *others):
        first = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": text}
        notebook = {
            "cells": [first, *others],
            "metadata": {},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        for name in NAMES:
            path = root / "notebooks" / f"{name}.ipynb"
            path.write_text(json.dumps(notebook), encoding="utf-8")
        return EDITION.main([str(tmp_path / "out")]), tmp_path / "out"

    return make


@pytest.mark.parametrize(
    ("text", "others", "message"),
    [
        ("no title", [], "no title"),
        ("# 4.1 A title", [], "no paragraph **You will build**"),
        (TITLE, [code(count=None)], "'some-code' is stored without its output; run"),
        (TITLE, [code(outputs=[FAILED])], "'some-code' failed when it ran"),
        (TITLE, [code(outputs=[figure({})])], "'some-code' has no alternative text"),
        (TITLE + "[x](gone.ipynb)", [], "gone.ipynb does not exist"),
        (TITLE + "![words](../images/gone.svg)", [], "gone.svg does not exist"),
        (TITLE + "![](../images/checks.svg)", [], "checks.svg has no alternative text"),
        (TITLE + r"$\nonsense{x}$", [], r"the formula '\\nonsense{x}'"),
        (TITLE + r"$\frac{1}{$", [], r"the formula"),
    ],
)
def test_what_is_wrong_with_a_notebook_is_said(course, capsys, text, others, message):
    """And then nothing is written."""
    status, out = course(text, *others)
    said = capsys.readouterr().err
    assert status == 1
    assert message in said
    assert NAMES[0] in said
    assert not out.exists()


def test_without_the_extra():
    """The command says what to install."""
    code = "import runpy, sys; sys.modules['math_core'] = None; runpy.run_path('{}')"
    script = (ROOT / ".ci" / "html_edition.py").as_posix()
    command = [sys.executable, "-c", code.format(script)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert 'needs: pip install -e ".[html]"' in done.stderr


def test_no_notebook_at_all(course, capsys):
    course(TITLE)
    (EDITION.ROOT / "notebooks" / f"{NAMES[0]}.ipynb").write_text("{")
    assert EDITION.main(["anywhere"]) == 1
    assert f"{NAMES[0]}.ipynb is not a notebook" in capsys.readouterr().err


def test_only_notebooks_of_the_course_become_pages(course):
    """A learner's own, which README.md advises, is none."""
    own = EDITION.ROOT / "notebooks" / "my_4.2.ipynb"
    own.write_text("no notebook")
    status, out = course(TITLE, code())
    assert status == 0
    assert {path.stem for path in out.iterdir()} == {"index", *NAMES}


def test_missing_notebook_is_named(course, capsys):
    course(TITLE)
    (EDITION.ROOT / "notebooks" / f"{NAMES[2]}.ipynb").unlink()
    assert EDITION.main(["anywhere"]) == 1
    assert f"{NAMES[2]}.ipynb is missing" in capsys.readouterr().err


def test_links_to_other_files_are_words(course):
    """A page could not lead to them wherever it is put.

    Nor to a part of the README: the index has its introduction alone.
    """
    files = "[the pictures](../images/generate.py), [how to start](../README.md#start)"
    links = f"{files}, [the course](../README.md)."
    status, out = course(f"{TITLE}See {links}", code())
    assert status == 0
    page = (out / f"{NAMES[0]}.html").read_text(encoding="utf-8")
    assert (
        '<p>See the pictures, how to start, <a href="index.html">the course</a>.</p>'
        in page
    )


def test_headings_of_the_same_name_have_their_own_anchors(course):
    _, out = course(f"{TITLE}## Twice & more\n\n## Twice & more\n", code())
    page = (out / f"{NAMES[0]}.html").read_text(encoding="utf-8")
    assert '<h2 id="Twice-&amp;-more">' in page
    assert '<h2 id="Twice-&amp;-more-2">' in page


@pytest.fixture
def written(monkeypatch):
    """Let the command make two small pages, which saves time."""
    files = {"index.html": f"{EDITION.MARK} index", "4.1.html": f"{EDITION.MARK} 4.1"}
    monkeypatch.setattr(EDITION, "build", lambda: files)
    return files


@pytest.mark.parametrize("name", ["notes.txt", "index.html", "drafts"])
def test_what_is_not_ours_is_left_alone(tmp_path, written, capsys, name):
    """Also a page of the same name."""
    if name == "drafts":
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_text("mine")
    assert EDITION.main([str(tmp_path)]) == 1
    assert f"holds {name}, which this command did not write" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert name == "drafts" or (tmp_path / name).read_text() == "mine"


def test_pages_of_an_earlier_edition_are_removed(tmp_path, written):
    """A notebook has another name now, and its page too."""
    assert EDITION.main([str(tmp_path)]) == 0
    written["4.1_renamed.html"] = written.pop("4.1.html")
    assert EDITION.main([str(tmp_path)]) == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == written


def test_nothing_is_removed_beside_a_file_that_is_not_ours(tmp_path, written):
    """Nor is a file taken for a page because it speaks of this command."""
    assert EDITION.main([str(tmp_path)]) == 0
    (tmp_path / "notes.txt").write_text(f"Written by {EDITION.GENERATOR}")
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    del written["4.1.html"]
    assert EDITION.main([str(tmp_path)]) == 1
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_hidden_files_may_be_there(tmp_path, written, capsys):
    """Such as those of git."""
    (tmp_path / ".git").mkdir()
    assert EDITION.main([str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {".git", *written}
    assert capsys.readouterr().out == f"2 pages; open {tmp_path / 'index.html'}\n"


def test_folder_that_is_a_file(tmp_path, written, capsys):
    (tmp_path / "file").touch()
    assert EDITION.main([str(tmp_path / "file")]) == 1
    assert "is a file, not a folder" in capsys.readouterr().err


def test_folder_that_cannot_be_written_to(tmp_path, written, capsys, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    assert EDITION.main([str(tmp_path)]) == 1
    assert f"cannot write to {tmp_path}: Permission denied" in capsys.readouterr().err


# In the browser.

# One of each kind of text: colours do not depend on what is written, and axe-core would
# take minutes for all.
KINDS = """() => {
    const kinds = new Map();
    for (const element of document.body.querySelectorAll("*")) {
        const words = [...element.childNodes].some(
            node => node.nodeType === Node.TEXT_NODE && node.data.trim().length > 1);
        if (!words || element.closest("math")) continue;
        const {color, fontSize, fontWeight} = getComputedStyle(element);
        let key = [color, fontSize, fontWeight].join();
        for (let e = element; e !== document.body; e = e.parentElement)
            key += " " + e.tagName + "." + e.className;
        if (!kinds.has(key)) kinds.set(key, element);
    }
    return [...kinds.values()];
}"""
AXE = f"""async () => {{
    const rules = await axe.run({{
        resultTypes: ["violations"], rules: {{"color-contrast": {{enabled: false}}}},
    }});
    const colors = await axe.run({{include: ({KINDS})(), exclude: [["math"]]}}, {{
        runOnly: ["color-contrast"], resultTypes: ["violations", "incomplete"],
    }});
    return [...rules.violations, ...colors.violations, ...colors.incomplete].map(
        found => [found.id, ...found.nodes.map(node => node.html)]);
}}"""


@pytest.fixture(scope="module")
def axe():
    package = pytest.importorskip(
        "axe_playwright_python", reason='no axe-core: pip install -e ".[browser]"'
    )
    return (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture
def opened(browser, folder):
    """Give a function that opens a page, and what the browser complains of."""
    contexts, complaints = [], []

    def note(request):
        if not request.url.startswith(("file:", "data:")):
            complaints.append(f"asks for {request.url}")

    def open_page(name, scheme="light", width=1280):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(request.url[:80]))
        page.on("request", note)
        page.goto((folder / f"{name}.html").as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
@every_page
def test_page_in_the_browser(opened, axe, name, scheme, width):
    """Nothing is wider than the page, each image is drawn, and axe-core is content."""
    page = opened(name, scheme, width)
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") == (
        scheme == "dark"
    )
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = """() => [...document.querySelectorAll("main *")].filter(element =>
        element.getBoundingClientRect().right > innerWidth
        && !element.closest("pre, .table, .formula, figure")
    ).map(element => element.outerHTML.slice(0, 99))"""
    assert page.evaluate(outside) == []
    flat = """() => [...document.querySelectorAll("img, math")].filter(element =>
        element.naturalWidth === 0 || element.getBoundingClientRect().height < 5
    ).length"""
    assert page.evaluate(flat) == 0
    page.evaluate(axe)
    assert page.evaluate(AXE) == []


def test_keyboard_alone(opened):
    """Skip to the text, scroll a wide line of code, open a hint."""
    page = opened(NAMES[1], width=360)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to the text"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "text"
    wide = page.locator("pre[tabindex='0']").first
    wide.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.activeElement.scrollLeft > 0")
    hint = page.locator(".prose details").first
    hint.locator("summary").focus()
    page.keyboard.press("Enter")
    assert hint.evaluate("details => details.open")


def test_on_paper_solutions_are_open(opened):
    page = opened(NAMES[0])
    hidden = page.locator(".prose details p").first
    assert not hidden.is_visible()
    page.emulate_media(media="print")
    assert hidden.is_visible()
    assert not page.locator(".contents").is_visible()
