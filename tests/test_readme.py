"""README.md: its commands, its links and its example are what the course has."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
import torch
from notebook_words import BUG_HUNT, CHECK, EXERCISES, HINT, RECAP, SOLUTION
from test_notebooks import ALT_LENGTH, IMAGE, LINK, REMOTE, TITLES, pointing_links
from torch import Tensor, nn

from gpt_from_scratch import check

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROSE = re.sub(r"^```.*?^```$", "", README, flags=re.M | re.S)


def blocks(language: str) -> list[str]:
    """Return what the fenced blocks of a language hold."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.M | re.S)


def table_rows() -> list[str]:
    return [line for line in README.splitlines() if line.startswith("|")]


@pytest.mark.parametrize(("number", "last"), [(0, "-m jupyterlab"), (1, "-m pytest")])
def test_first_two_commands(number: int, last: str):
    """Each makes the environment, installs the pins, and starts what it says."""
    lines = blocks("sh")[number].splitlines()
    assert len(lines) == 3
    for line, words in zip(
        lines, ["-m venv .venv", "-r requirements.txt", last], strict=True
    ):
        assert words in line
    # Joined, or a failed installation would be followed by the next line.
    assert all(line.endswith("&&") for line in lines[:-1])


def test_jupyter_opens_the_first_notebook():
    """The notebook that the command opens is there."""
    (notebook,) = re.findall(r"/lab/tree/(\S+)", blocks("sh")[0])
    assert (ROOT / notebook).is_file()
    assert Path(notebook).stem == next(iter(TITLES))


def test_links_elsewhere_open_the_first_notebook():
    """Those for Binder and JupyterHub, where the repository's name comes first."""
    opened = re.findall(r"lab/tree/(?:REPO/)?(\S+)", unquote(README))
    assert len(opened) >= 3
    assert set(opened) == {f"notebooks/{next(iter(TITLES))}.ipynb"}


def test_notebooks_named_in_commands_exist():
    """A command that gives back a notebook gives back one of the course's."""
    named = re.findall(r"notebooks/(4\.\w+)\.ipynb", "".join(blocks("sh")))
    assert named
    assert set(named) <= set(TITLES)


def test_words_to_translate_together():
    """README.md lists the words that tests look for."""
    for word in (CHECK, BUG_HUNT, EXERCISES, RECAP, HINT, SOLUTION):
        assert f'"{word}"' in PROSE


def test_links_resolve():
    """A link to a file of the course leads to one."""
    targets = {target.partition("#")[0] for target in LINK.findall(PROSE)} - {""}
    local = [target for target in targets if not REMOTE.match(target)]
    assert local
    assert [target for target in local if not (ROOT / target).exists()] == []


def test_links_say_where_they_lead():
    """Their words make sense in a list of links, as screen readers give it."""
    assert pointing_links(PROSE) == []


def test_images_are_local_and_say_what_they_show():
    """No badge and no picture from elsewhere; words for those who cannot see it."""
    images = IMAGE.findall(PROSE)
    assert images
    assert len(images) == PROSE.count("![")
    for alt, target in images:
        assert (ROOT / target).is_file(), target
        assert len(alt) >= ALT_LENGTH, target
    assert not re.search(r"<img|shields\.io|badge", README)


def test_table_names_every_notebook():
    """All seven are there, in their order, and those that exist are linked."""
    table = "\n".join(table_rows())
    found = re.findall(r"\b4\.\d_\w+(?=\]|\s*\|)", table)
    assert found == list(TITLES)
    linked = re.findall(r"\(notebooks/(4\.\d_\w+)\.ipynb\)", table)
    stored = [name for name in TITLES if (ROOT / f"notebooks/{name}.ipynb").is_file()]
    assert linked == stored


def test_files_named_in_code_exist():
    """A path written as code, such as `images/generate.py`, is one of the course's."""
    names = re.findall(r"`((?:\.?\w[\w.-]*/)+[\w.-]*|[\w-]+\.(?:py|txt|toml))`", PROSE)
    assert names
    folders = (ROOT, ROOT / "gpt_from_scratch")
    own = [name for name in names if not name.startswith(".venv/")]
    missing = [n for n in own if not any((f / n).exists() for f in folders)]
    assert missing == []


def test_versions_are_the_pins():
    """A version in README.md, as in a message of pip, is that of requirements.txt."""
    pins = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    named = re.findall(r"\b[\w-]+==\d[\d.]*\d", README)
    assert named
    assert set(named) <= set(pins)


def test_table_names_modules_of_the_package():
    """Every module in the table is a file of the package."""
    modules = re.findall(r"\[(\w+\.py)\]\(([^)]+)\)", "\n".join(table_rows()))
    assert modules
    for name, target in modules:
        assert target == f"gpt_from_scratch/{name}"
        assert (ROOT / target).is_file()


def test_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]):
    """The Python example runs; the comment at its end is what it prints."""
    (example,) = blocks("python")
    exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out == example.splitlines()[-1].removeprefix("# ") + "\n"


class Unbiased(nn.Module):
    def __init__(self, emb_dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(emb_dim))
        self.shift = nn.Parameter(torch.zeros(emb_dim))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=-1, keepdim=True)
        variance = x.var(dim=-1, keepdim=True)
        return self.scale * (x - mean) / torch.sqrt(variance + 1e-5) + self.shift


def test_sample_report_is_what_the_check_says():
    """The report in README.md is that of a variance divided by n - 1."""
    assert f"```\n{check.layer_norm(Unbiased)}\n```" in README


def test_number_of_wrong_versions():
    """README.md says how many mistakes the checks know."""
    known = sum(len(component.mistakes) for component in check.COMPONENTS)
    assert f"each of the {known} wrong versions" in README
    for component in check.COMPONENTS:
        assert component.name in (ROOT / "images/generate.py").read_text("utf-8")
