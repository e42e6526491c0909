"""The edition for students: no answer is left in it, and all else is as it was."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from notebook_words import (
    BUG_HUNT,
    HINT,
    HINT_ALONE,
    HINT_AND_SOLUTION,
    SOLUTION,
    TITLES,
)
from scripts import load_script
from test_exercises import exercises, section
from test_notebooks import IMAGE, LINK, REMOTE, RULES, Cell, Notebook, texts

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / ".ci/student_edition.py"

student_edition = load_script(SCRIPT)


def notebooks(root: Path) -> dict[str, Notebook]:
    """Read the course's notebooks; what a learner left beside them is none."""
    paths = [root / f"notebooks/{name}.ipynb" for name in TITLES]
    stored = [path for path in paths if path.is_file()]
    return {path.stem: Notebook(path, path.read_text("utf-8")) for path in stored}


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


WHOLE = notebooks(ROOT)


PARTS = (
    *(".ci", "tests", "notebooks", "images", "gpt_from_scratch"),
    *(".binder", ".devcontainer", ".gitignore"),
    *("LICENSE", "README.md", "pyproject.toml", "requirements.txt"),
)
NOT_OURS = (
    "notebooks/.ipynb_checkpoints/4.2_layer_normalization-checkpoint.ipynb",
    "notebooks/.DS_Store",
    "notebooks/my_4.2.ipynb",
    "gpt_from_scratch/.DS_Store",
    "gpt_from_scratch/.ipynb_checkpoints/tokenizer-checkpoint.py",
    "images/._checks.svg",
    ".binder/.DS_Store",
)


def copy_course(root: Path) -> Path:
    """Copy the course, with what is not of it; the copy is in no git repository."""
    leave = shutil.ignore_patterns("__pycache__")
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=leave)
        else:
            root.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    for name in NOT_OURS:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"\xff not of the course")
    return root


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a copy, as an author runs the tests before a change is committed."""
    return copy_course(tmp_path_factory.mktemp("whole") / "course")


@pytest.fixture(scope="module")
def folder(course: Path) -> Path:
    """Make the edition once, as README.md says."""
    path = course.parent / "for/students"
    command = [sys.executable, course / ".ci/student_edition.py", path]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def edition(folder: Path) -> dict[str, Notebook]:
    return notebooks(folder)


def answer(notebook: Notebook) -> list[Cell]:
    """Give the end of the bug hunt: the check that names it, and the text after."""
    hunt = section(notebook, BUG_HUNT)
    last = max(i for i, cell in enumerate(hunt) if cell["cell_type"] == "code")
    return hunt[last:]


def paragraphs(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def everything(notebook: Notebook) -> str:
    """Give all that a reader of a notebook sees."""
    parts = [cell["source"] for cell in notebook.cells]
    parts += [text for cell in notebook.code for text, _ in texts(cell)]
    return "\n".join(parts)


@pytest.mark.parametrize("name", TITLES)
def test_no_solution_is_left(edition: dict[str, Notebook], name: str):
    """Neither the code nor a word about it, in no cell of the notebook."""
    found = exercises(WHOLE[name])
    assert found
    shown = everything(edition[name])
    others = everything(WHOLE[name])
    for exercise in found:
        assert exercise.solved.strip()
        others = others.replace(exercise.solution["source"], "")
    known = {line.strip() for line in others.splitlines()}
    for exercise in found:
        assert exercise.solved not in shown
        own = {line.strip() for line in exercise.solved.splitlines()} - known
        assert own  # a solution says something that is nowhere else
        assert own & {line.strip() for line in shown.splitlines()} == set()
        folded = exercise.solution["source"].partition("</details>")[0]
        assert [text for text in paragraphs(folded) if text in shown] == []
    assert not re.search(rf"\b{SOLUTION}", shown, flags=re.I)


@pytest.mark.parametrize("name", TITLES)
def test_no_bug_is_named(edition: dict[str, Notebook], name: str):
    """The text after the hunt is gone, and what the check said."""
    check, *after = answer(WHOLE[name])
    said = [text for text, _ in texts(check)]
    assert said
    assert after
    shown = everything(edition[name])
    hidden = [*said, *(part for cell in after for part in paragraphs(cell["source"]))]
    assert [text for text in hidden if text in shown] == []
    (left,) = answer(edition[name])
    assert left == {**check, "outputs": [], "execution_count": None}


@pytest.mark.parametrize("name", TITLES)
def test_all_else_is_equal(edition: dict[str, Notebook], name: str):
    """The same cells in the same order, but for those that hold an answer."""
    check, *after = answer(WHOLE[name])
    gone = {cell["id"] for cell in after}
    expected = []
    for cell in WHOLE[name].cells:
        if cell["cell_type"] == "markdown":
            solution = rf"<details><summary>{SOLUTION}.*</details>\s*"
            text = re.sub(solution, "", cell["source"], flags=re.S)
            text = text.replace(HINT_AND_SOLUTION, HINT_ALONE)
            cell = {**cell, "source": text}
        if cell["id"] == check["id"]:
            cell = {**cell, "outputs": [], "execution_count": None}
        if cell["source"] and cell["id"] not in gone:
            expected.append(cell)
    assert edition[name].cells == expected
    hints = f"<details><summary>{HINT}</summary>"
    assert edition[name].text.count(hints) == WHOLE[name].text.count(hints) > 0


@pytest.mark.parametrize("name", TITLES)
def test_notebooks_keep_the_rules(edition: dict[str, Notebook], name: str):
    """Stored form, links, pictures and all else; one cell only has not been run."""
    check, *_ = answer(WHOLE[name])
    problems = [problem for rule in RULES for problem in rule(edition[name])]
    (problem,) = problems
    assert problem.startswith(f"cell '{check['id']}': execution count None")


def test_folder_is_a_course(folder: Path):
    """What the notebooks and the first command need, and no tests or tools."""
    names = set(files(folder))
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "gpt_from_scratch").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
        if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    }
    assert package | {"LICENSE", "pyproject.toml", "requirements.txt"} <= names
    top = {name.partition("/")[0] for name in names}
    assert top == {
        *("README.md", "LICENSE", "pyproject.toml", "requirements.txt"),
        *("notebooks", "images", "gpt_from_scratch"),
        *(".binder", ".devcontainer", ".gitattributes", ".gitignore"),
    }
    for name in names - {"README.md", ".gitattributes"}:
        if not name.endswith(".ipynb"):
            assert (folder / name).read_bytes() == (ROOT / name).read_bytes()
    if os.name == "posix":
        assert os.access(folder / ".binder/postBuild", os.X_OK)


def test_readme_is_true_there(folder: Path):
    """Its commands and links work in the folder, and it names nothing left behind."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    assert "{" not in prose
    links = {*LINK.findall(prose), *(target for _, target in IMAGE.findall(prose))}
    local = {link for link in links if not REMOTE.match(link)}
    headings = re.findall(r"^#+ (.+)$", prose, flags=re.M)
    anchors = {"#" + heading.lower().replace(" ", "-") for heading in headings}
    assert [link for link in local - anchors if not (folder / link).exists()] == []
    (notebook,) = set(re.findall(r"/lab/tree/(\S+)", text))
    assert (folder / notebook).is_file()
    for word in ("pytest", "tests", "nbval", "generate.py", ".ci", "solution"):
        assert word not in text
    assert re.search(r"You need Python 3\.\d+ to 3\.\d+\.", text)


def test_what_lies_beside_the_notebooks_stops_no_test(course: Path):
    """This file reads the notebooks when it is imported: that may not fail."""
    assert list(notebooks(course)) == list(TITLES)


def test_what_is_not_of_the_course_stays_behind(folder: Path):
    """Neither a learner's own notebook, nor what Jupyter and a Mac leave."""
    assert set(files(folder)) & set(NOT_OURS) == set()
    found = sorted(path.name for path in (folder / "notebooks").iterdir())
    assert found == [f"{name}.ipynb" for name in TITLES]


def test_twice_the_same(
    course: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Two runs give the same bytes; a folder that is there, and empty, is taken."""
    monkeypatch.setattr(student_edition, "ROOT", course)
    again = tmp_path / "again"
    again.mkdir()
    assert student_edition.main([str(again)]) == 0
    assert files(again) == files(folder)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_there_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
):
    """A folder with something in it is left alone, and the message says so."""
    target = tmp_path / "mine"
    if kind == "folder":
        target.mkdir()
        (target / "work.txt").write_text("mine")
    else:
        target.write_text("mine")
    before = files(tmp_path)
    assert student_edition.main([str(target)]) == 1
    assert files(tmp_path) == before
    words = "mine exists and is not an empty folder\nNothing was written.\n"
    assert capsys.readouterr().err.endswith(words)


SOLVED = "4.2_layer_normalization.ipynb"


@pytest.fixture
def teachers(tmp_path: Path) -> Path:
    """Give a copy of the course that a teacher may work in."""
    return copy_course(tmp_path / "teachers")


def solve(course: Path) -> None:
    """Put an answer into an exercise, with no other change to the file's form."""
    path = course / "notebooks" / SOLVED
    exercise = exercises(WHOLE[path.stem])[0]
    notebook = json.loads(path.read_text(encoding="utf-8"))
    (cell,) = (c for c in notebook["cells"] if c["id"] == exercise.stub["id"])
    cell["source"] = exercise.solved
    path.write_bytes(student_edition.normalize(notebook).encode())


def commit(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit the notebooks, in a new repository if the course is in none."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)  # in a hook they name another repository
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for command in (
        ["init", "-q"],
        ["-c", "core.autocrlf=false", "add", "notebooks"],
        [*who, "commit", "-q", "--no-verify", "-m", "notebooks"],
    ):
        subprocess.run(["git", *command], cwd=course, check=True)


def refused(course: Path) -> str:
    """Say why there is no edition of this course."""
    with pytest.raises(student_edition.EditionError) as error:
        student_edition.edition(course)
    return str(error.value)


def test_own_answers_are_not_handed_out(
    teachers: Path, monkeypatch: pytest.MonkeyPatch
):
    """Git knows that a notebook is not as it was, and the message what to do."""
    commit(teachers, monkeypatch)
    assert student_edition.edition(teachers)
    solve(teachers)
    message = refused(teachers)
    assert re.search(rf": {re.escape(SOLVED)}\.\n.*your answers", message)
    (section,) = re.findall(r'under\s+"([^"]+)"', message)
    assert f"### {section}\n" in (ROOT / "README.md").read_text(encoding="utf-8")
    commit(teachers, monkeypatch)  # then it is a change to the course
    assert student_edition.edition(teachers)


@pytest.mark.parametrize("why", ["no .git", "no git", "no commit"])
def test_without_git_a_notebook_saved_by_jupyter_is_known(
    teachers: Path, monkeypatch: pytest.MonkeyPatch, why: str
):
    """It has not the one form in which the course stores its notebooks."""
    if why != "no .git":
        (teachers / ".git").mkdir()
    if why == "no git":
        monkeypatch.setenv("PATH", "")
    assert student_edition.edition(teachers)
    path = teachers / "notebooks" / SOLVED
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["metadata"]["language_info"]["version"] = "3.11.2"
    path.write_text(json.dumps(notebook, indent=1), encoding="utf-8")
    assert f": {SOLVED}.\n" in refused(teachers)


def test_lost_or_broken_notebook_is_named(teachers: Path):
    path = teachers / "notebooks" / SOLVED
    path.write_text("<<<<<<<", encoding="utf-8")
    assert refused(teachers).startswith(f"notebooks/{SOLVED} is not a notebook: ")
    path.unlink()
    assert refused(teachers).startswith(f"notebooks/{SOLVED} is missing.")


def changed(old: str, new: str) -> dict[str, Any]:
    """Give the first notebook with something else in every markdown cell."""
    notebook = json.loads(WHOLE[next(iter(TITLES))].text)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = "".join(cell["source"]).replace(old, new)
    assert json.dumps(notebook).count(json.dumps(new)[1:-1])
    return notebook


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (f">{SOLUTION}<", ">Resolution<", "is it a hint or a solution"),
        (f"<details><summary>{SOLUTION}", f"<b><b>{SOLUTION}", "not of the form"),
        ("</details>", "<details>", "not of the form"),
        ("<details>", "<details open>", "not of the form"),
        (f">{SOLUTION}<", f">{HINT}<", "nothing in it is folded"),
        (f"## {BUG_HUNT}", "## Another heading", "no code under"),
    ],
)
def test_answers_of_another_form_are_not_given_away(old: str, new: str, message: str):
    """Rather no edition than one with an answer that was not recognized."""
    with pytest.raises(student_edition.EditionError, match=message):
        student_edition.without_solutions(changed(old, new))


def test_readme_of_another_form():
    """A part that the edition's README takes over, and is not there, is named."""
    whole = (ROOT / "README.md").read_text(encoding="utf-8")
    other = whole.replace("### Without CUDA", "### Smaller")
    with pytest.raises(student_edition.EditionError, match="Without CUDA"):
        student_edition.readme(other)


def test_hint_and_solution_are_announced_somewhere():
    """The words that the edition changes are still those of the notebooks."""
    assert any(HINT_AND_SOLUTION in notebook.text for notebook in WHOLE.values())


def test_nbval_passes_in_the_edition(folder: Path):
    """The folder stands alone: its notebook runs with its own package."""
    command = ["-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, *command, "notebooks/4.3_feed_forward.ipynb"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    assert done.returncode == 0, done.stdout
    cells = len(notebooks(folder)["4.3_feed_forward"].code)
    assert f"{cells} passed" in done.stdout
