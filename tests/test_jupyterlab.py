"""Every notebook in JupyterLab, in a real browser: opened, run, looked at, saved.

Playwright drives the Chromium of the system, and this needs both: ``pip install -e
".[browser]"`` and a package such as Debian's ``chromium``. The server has a copy of
the course, and no setting, kernel or workspace of the user's own. Nothing that a page
asks of another computer is answered.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
FOLDERS = (
    "JUPYTER_CONFIG_DIR",
    "JUPYTER_DATA_DIR",
    "JUPYTER_RUNTIME_DIR",
    "IPYTHONDIR",
    "JUPYTERLAB_SETTINGS_DIR",
    "JUPYTERLAB_WORKSPACES_DIR",
)
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none", "scrollPastEnd": False},
    "docmanager-extension/plugin": {"autosave": False},
}
PANEL = ".jp-NotebookPanel:not(.lm-mod-hidden)"
TOKEN = "course"
LONGEST_RUN_S = 300  # on a busy machine


class Server:
    """JupyterLab, serving a copy of the course."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "course"
        shutil.copytree(ROOT / "notebooks", self.root / "notebooks")
        shutil.copytree(ROOT / "images", self.root / "images")
        environment = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"}
        for name in FOLDERS:
            environment[name] = str(folder / name)
            (folder / name).mkdir()
        for plugin, settings in SETTINGS.items():
            path = folder / "JUPYTERLAB_SETTINGS_DIR" / "@jupyterlab" / plugin
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_name(f"{path.name}.jupyterlab-settings").write_text(
                json.dumps(settings)
            )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = (folder / "log").open("w")
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "jupyterlab",
                "--no-browser",
                "--allow-root",
                "--ServerApp.ip=127.0.0.1",
                f"--ServerApp.port={self.port}",
                "--ServerApp.port_retries=0",
                f"--ServerApp.root_dir={self.root}",
                f"--IdentityProvider.token={TOKEN}",
                "--LabApp.news_url=None",
                "--LabApp.extension_manager=readonly",
            ],
            env=environment,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def ask(self, path: str) -> object:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            headers={"Authorization": f"token {TOKEN}"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def wait(self) -> None:
        for _ in range(300):
            try:
                self.ask("/api/status")
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.2)
            else:
                return
        pytest.fail("JupyterLab did not start within a minute")

    def is_idle(self, path: str) -> bool:
        """Tell whether the notebook's kernel is connected and has nothing to do."""
        for session in self.ask("/api/sessions"):
            kernel = session["kernel"]
            if session["path"] == path:
                return kernel["execution_state"] == "idle" and kernel["connections"] > 0
        return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("jupyterlab"))
    try:
        server.wait()
        yield server
    finally:
        server.stop()


class Notebook:
    """One notebook in its own tab."""

    def __init__(self, server: Server, browser, name: str) -> None:
        self.server = server
        self.path = f"notebooks/{name}"
        self.cells = json.loads((server.root / self.path).read_text("utf-8"))["cells"]
        self.page = browser.new_page(viewport={"width": 1280, "height": 1000})
        self.complaints: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("response", self._answered)
        self.page.goto(
            f"http://127.0.0.1:{server.port}/lab/workspaces/w{time.time_ns()}/tree/"
            f"{urllib.parse.quote(self.path)}?token={TOKEN}"
        )
        self.wait(self._is_open, 60, "the notebook did not open")

    def _hear(self, message) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def _answered(self, response) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.status} {response.url}")

    def find(self, selector: str):
        return self.page.locator(f"{PANEL} {selector}")

    def wait(self, condition, seconds: float, complaint: str) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end or self.page.locator(".jp-Dialog").count():
                pytest.fail(f"{complaint}; the page says: {self.complaints}")
            self.page.wait_for_timeout(100)

    def _is_open(self) -> bool:
        """Only a file with all its cells drawn, and a kernel that answers, is open."""
        return (
            self.find(".jp-Notebook .jp-Notebook-cell").count() == len(self.cells)
            and self.find(".jp-MarkdownCell:not(.jp-mod-rendered)").count() == 0
            and self.state() == "idle"
            and self.server.is_idle(self.path)
        )

    def state(self) -> str | None:
        indicator = self.find(".jp-Notebook-ExecutionIndicator")
        return indicator.get_attribute("data-status") if indicator.count() else None

    def numbers(self) -> list[str]:
        texts = self.find(".jp-CodeCell .jp-InputArea-prompt").all_inner_texts()
        return [text.strip() for text in texts]

    def choose(self, menu: str, entry: str) -> None:
        bar = self.page.locator("#jp-MainMenu")
        bar.get_by_role("menuitem", name=menu, exact=True).click()
        label = f'> .lm-Menu-itemLabel:text-is("{entry}")'
        self.page.locator(f".lm-Menu .lm-Menu-item:has({label})").click()

    def run_all(self) -> None:
        """Clear what is stored first: old numbers would pass for new ones."""
        self.choose("Edit", "Clear Outputs of All Cells")
        self.wait(lambda: set(self.numbers()) == {"[ ]:"}, 20, "outputs stay")
        self.choose("Run", "Run All Cells")
        self.wait(self._has_run, LONGEST_RUN_S, "not every cell was run")

    def _has_run(self) -> bool:
        waiting = {"[ ]:", "[*]:"} & set(self.numbers())
        return not waiting and self.state() == "idle"

    def save(self) -> list[dict]:
        """Save by the menu, and read what came into the file."""
        with self.page.expect_response(
            lambda answer: (
                answer.request.method == "PUT" and "/api/contents/" in answer.url
            )
        ) as saved:
            self.choose("File", "Save Notebook")
        assert saved.value.ok
        path = self.server.root / self.path
        return json.loads(path.read_text("utf-8"))["cells"]


@pytest.fixture(scope="module", params=NOTEBOOKS)
def notebook(request, browser, server):
    """Open a notebook and run it from top to bottom."""
    notebook = Notebook(server, browser, request.param)
    notebook.run_all()
    yield notebook
    notebook.page.close()


def test_it_runs_and_saves(notebook):
    """Numbers 1 to n, no error, nothing on stderr, text as stored."""
    code = [cell for cell in notebook.cells if cell["cell_type"] == "code"]
    assert notebook.numbers() == [f"[{n}]:" for n in range(1, len(code) + 1)]
    saved = [cell for cell in notebook.save() if cell["cell_type"] == "code"]
    for stored, cell in zip(code, saved, strict=True):
        assert cell["source"] == stored["source"]
        for output in cell["outputs"]:
            assert output["output_type"] != "error", cell["id"]
            assert output.get("name") != "stderr", cell["id"]
        assert texts(cell) == texts(stored), cell["id"]


def texts(cell: dict) -> list[str]:
    """Return what a cell printed, and the text form of what it shows."""
    found = []
    for output in cell["outputs"]:
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        found.append("".join(text))
    return ["".join(found)]


def test_every_picture_and_figure_is_shown(notebook):
    loaded = "image => image.complete && image.naturalWidth > 0"
    images = notebook.find("img")
    for index in range(images.count()):
        image = images.nth(index)
        notebook.wait(
            lambda image=image: image.evaluate(loaded), 20, "a picture is missing"
        )
    figures = sum(
        "image/png" in output.get("data", {})
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )
    assert notebook.find(".jp-RenderedImage img").count() == figures > 0
    pictures = "".join(
        "".join(cell["source"])
        for cell in notebook.cells
        if cell["cell_type"] != "code"
    ).count("![")
    assert notebook.find(".jp-RenderedHTMLCommon img").count() == pictures > 0


def test_no_figure_is_blank(notebook):
    """Drawn on a canvas, each has more than one colour."""
    colours = """image => {
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        const context = canvas.getContext("2d");
        context.drawImage(image, 0, 0);
        const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
        return new Set(new Uint32Array(data.buffer)).size;
    }"""
    figures = notebook.find(".jp-RenderedImage img")
    for index in range(figures.count()):
        assert figures.nth(index).evaluate(colours) > 10


def test_no_formula_is_broken(notebook):
    markdown = "".join(
        "".join(cell["source"])
        for cell in notebook.cells
        if cell["cell_type"] != "code"
    )
    prose = re.sub(r"```.*?```|`[^`]*`", "", markdown, flags=re.DOTALL)
    if "$" in prose:
        assert notebook.find("mjx-container").count() > 0
    assert notebook.find("mjx-merror").count() == 0
    assert notebook.find('mjx-assistive-mml mtext[mathcolor="red"]').count() == 0
    rendered = notebook.find(".jp-MarkdownCell .jp-RenderedHTMLCommon")
    for text in rendered.all_inner_texts():
        assert "$" not in text


def test_solutions_open(notebook):
    """What is folded away is out of sight until it is clicked."""
    folded = notebook.find("details")
    for index in range(folded.count()):
        details = folded.nth(index)
        content = details.locator(":scope > *:not(summary)").first
        assert not content.is_visible()
        details.locator("summary").click()
        assert content.is_visible()


def test_links_lead_on(notebook, server, browser):
    """The links to the neighbours open them; all other local links exist."""
    links = {}
    for link in notebook.find(".jp-RenderedHTMLCommon a[href]").all():
        links[link.inner_text()] = link.get_attribute("data-commandlinker-args") or (
            link.get_attribute("href")
        )
    here = NOTEBOOKS.index(Path(notebook.path).name)
    for neighbour in (
        NOTEBOOKS[max(0, here - 1) : here] + NOTEBOOKS[here + 1 : here + 2]
    ):
        assert any(neighbour in target for target in links.values()), neighbour
    if here + 1 < len(NOTEBOOKS):
        target = NOTEBOOKS[here + 1]
        last = notebook.find(f'a[href*="{target}"]').last
        last.click()
        tab = notebook.page.locator(".lm-TabBar-tab", has_text=target)
        tab.first.wait_for(timeout=30_000)


def test_the_page_has_no_complaint(notebook):
    """No error in the browser's console, no request that failed."""
    assert notebook.complaints == []
