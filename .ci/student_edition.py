"""Make the course's edition for students: the notebooks without their solutions.

    .venv/bin/python .ci/student_edition.py FOLDER

FOLDER must not exist yet, or be empty. It becomes a course that can be handed out as it
is: notebooks, pictures, package, a README of its own, and what starts it, on Binder and
in a dev container too. Tests and the authors' tools stay behind. Two runs give the same
bytes.

Left out of the notebooks are

- the folded solutions of the exercises; their hints stay, folded;
- the answer to the bug hunt: the text after its last cell of code, and that cell's
  stored output, where the check names the mistake. The cell loses its execution count
  too, like one that was never run: then nbval runs it, and compares nothing.

All else stays to the letter, stored results included. They are the explanation, and a
student is asked to predict them first. What this command cannot hide: the checks have
to compare, so the sources of ``gpt_from_scratch`` hold what is right.

Only the seven notebooks of the course are taken, and only as they were before anybody
worked in them: what you tried in an exercise would be an answer too. If git knows that
one was changed, or Jupyter saved it, the command says so and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

try:
    from execute_notebooks import normalize
    from notebook_words import (
        BUG_HUNT,
        HINT,
        HINT_ALONE,
        HINT_AND_SOLUTION,
        SOLUTION,
        TITLES,
    )
except ModuleNotFoundError as error:
    sys.exit(f"{error}: run this with the course's own Python, .venv/bin/python")

COPIED = (
    "gpt_from_scratch/**/*",
    "images/*.svg",
    ".binder/*",
    ".devcontainer/*",
    ".gitignore",
    "LICENSE",
    "pyproject.toml",
    "requirements.txt",
)
ATTRIBUTES = """\
# Git may change no line ending here: the data's SHA-256 is checked when it is loaded.
gpt_from_scratch/data/* -text
"""
README = """\
{top}

This is the edition for students: in the notebooks, exercises and bug hunts stand
without their answers. All else is as in the whole course.

## Start

Open a terminal in this folder. You need {python}. On Linux without an NVIDIA
GPU, take [PyTorch's CPU build](#without-cuda) first: it saves gigabytes. This opens the
first notebook in JupyterLab:

```sh
{start}
```

On Windows, in PowerShell:

```powershell
{start_on_windows}
```

Both make the virtual environment `.venv` if it is not there yet, and install into it
what is missing. On Windows, write `.venv\\Scripts\\python` for `.venv/bin/python` in
all later commands. Press Ctrl + C twice in the terminal to stop JupyterLab. Start it
from this folder, as here, and not from `notebooks`, or the pictures are out of its
reach.

{without_cuda}

{needs}

## The notebooks

{table}

Take the notebooks in their order, and run the cells of each from top to bottom. You
build a component step by step, and `check` compares it with the finished one. If they
differ, it often says which mistake it is. Then comes a bug hunt: name the bug before
you run its last cell, which names it. In the exercises you replace what is missing;
each has a hint to unfold, and a check.

The finished components can be used without the notebooks too:

```python
{example}
```

The model is untrained: it speaks nonsense, and everyone gets the same nonsense.

{weights}

{trouble}

{first_state}

{licence}
"""


class EditionError(Exception):
    """The edition cannot be made; the message says why. Nothing was written."""


def without_solutions(notebook: dict[str, Any]) -> dict[str, Any]:
    """Return a notebook without what gives its exercises and its bug hunt away.

    Args:
        notebook: The whole notebook; it stays as it is.

    Returns:
        The notebook for students.

    Raises:
        EditionError: If there is no solution or no bug hunt in it, or something folded
            that is neither a hint nor a solution: then the answers look different
            from what this program knows.
    """
    cells, solutions = [], 0
    for cell in _without_answer(notebook["cells"]):
        if cell["cell_type"] == "markdown":
            whole = "".join(cell["source"])
            text, found = _without_folded_solutions(whole)
            solutions += found
            if not text:
                continue
            if text != whole:
                cell = {**cell, "source": text}
        cells.append(cell)
    if not solutions:
        raise EditionError(f"nothing in it is folded under {SOLUTION!r}")
    return {**notebook, "cells": cells}


def _without_folded_solutions(text: str) -> tuple[str, int]:
    """Return a markdown text without its solutions, and how many there were."""
    folded = re.findall(r"<details><summary>(.*?)</summary>.*?</details>", text, re.S)
    if len(folded) != len(re.findall(r"</?(?:details|summary)", text)) / 4:
        raise EditionError("a <details> in it is not of the form that is known here")
    if unknown := set(folded) - {HINT, SOLUTION}:
        raise EditionError(f"{unknown} is folded: is it a hint or a solution?")
    if SOLUTION in folded:
        solution = rf"<details><summary>{SOLUTION}</summary>.*?</details>"
        text = re.sub(solution, "", text, flags=re.S).strip("\n")
    return text.replace(HINT_AND_SOLUTION, HINT_ALONE), folded.count(SOLUTION)


def _without_answer(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the cells without the end of the bug hunt, which names the bug."""
    hunt, inside = [], False
    for index, cell in enumerate(cells):
        if cell["cell_type"] == "markdown":
            headings = re.findall(r"^## +(.+?) *$", "".join(cell["source"]), re.M)
            inside = headings[-1] == BUG_HUNT if headings else inside
        if inside:
            hunt.append(index)
    code = [index for index in hunt if cells[index]["cell_type"] == "code"]
    if not code:
        raise EditionError(f"it has no code under a heading ## {BUG_HUNT}")
    check, answer = code[-1], {index for index in hunt if index > code[-1]}
    not_run = {**cells[check], "outputs": [], "execution_count": None}
    return [
        not_run if index == check else cell
        for index, cell in enumerate(cells)
        if index not in answer
    ]


def readme(whole: str) -> str:
    """Return the README of the edition, with parts of the whole course's.

    Raises:
        EditionError: If a part is not there any more.
    """

    def part(pattern: str) -> str:
        found = re.search(pattern, whole, flags=re.M | re.S)
        if not found:
            raise EditionError(f"README.md has nothing like {pattern!r}")
        return found[1].strip("\n")

    def section(heading: str) -> str:
        return part(rf"^({heading}\n.*?)(?=^##|\Z)")

    def block(language: str) -> str:
        return part(rf"^```{language}\n(.*?)^```$")

    return README.format(
        top=part(r"\A(.*?)^## Start$"),
        python=part(r"You need (Python 3\.\d+ to 3\.\d+)\."),
        start=block("sh"),
        start_on_windows=block("powershell"),
        without_cuda=section("### Without CUDA"),
        needs=section("### What it needs"),
        table=part(r"^(\| section \|.*?)\n\n"),
        example=block("python"),
        weights=section("### OpenAI's weights"),
        trouble=section("## When something goes wrong"),
        first_state=section("### Back to the first state"),
        licence=section("## Licence and sources"),
    )


def changed_since_commit(root: Path) -> list[str]:
    """Return the names of the notebooks that git has in another form.

    None, if git is not installed or has no commit of this folder to compare with.
    """
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return []
    command = [git, "-c", f"safe.directory={root.as_posix()}", "diff", "--name-only"]
    done = subprocess.run(
        [*command, "HEAD", "--", *(f"notebooks/{name}.ipynb" for name in TITLES)],
        cwd=root,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode:
        return []
    return [Path(line).name for line in done.stdout.splitlines()]


def whole_notebooks(root: Path) -> dict[str, dict[str, Any]]:
    """Return the notebooks of the course by file name, if nobody worked in them.

    Raises:
        EditionError: If one is missing, or may hold answers of whoever opened it.
    """
    found, worked_in = {}, set(changed_since_commit(root))
    for name in (f"{name}.ipynb" for name in TITLES):
        try:
            text = (root / "notebooks" / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise EditionError(
                f"notebooks/{name} is missing. README.md says under "
                '"Back to the first state" how to bring it back.'
            ) from None
        try:
            found[name] = json.loads(text)
        except ValueError as error:
            raise EditionError(f"notebooks/{name} is not a notebook: {error}") from None
        if text != normalize(found[name]):  # Jupyter saves it in another form
            worked_in.add(name)
    if worked_in:
        raise EditionError(
            f"Changed or run by you: {', '.join(sorted(worked_in))}.\n"
            "Students might get your answers. README.md says under\n"
            '"Back to the first state" how to put your work aside.\n'
            "Is it a change to the course? Run tests/execute_notebooks.py, and commit."
        )
    return found


def edition(root: Path) -> dict[str, bytes]:
    """Return the files of the edition: their paths in it, and what they hold.

    Raises:
        EditionError: If a notebook or the README has another form than is known here,
            or a notebook is not as the course has it.
    """
    files = {}
    for path in (path for pattern in COPIED for path in root.glob(pattern)):
        inner = path.relative_to(root).parts[1:]  # .DS_Store, but not .binder
        hidden = any(part.startswith(".") for part in inner)
        if path.is_file() and not hidden and "__pycache__" not in inner:
            files[path.relative_to(root).as_posix()] = path.read_bytes()
    for name, whole in whole_notebooks(root).items():
        try:
            notebook = without_solutions(whole)
        except EditionError as error:
            raise EditionError(f"{name}: {error}") from error
        files[f"notebooks/{name}"] = normalize(notebook).encode()
    text = (root / "README.md").read_text(encoding="utf-8")
    files["README.md"] = readme(text).encode()
    files[".gitattributes"] = ATTRIBUTES.encode()
    return dict(sorted(files.items()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the edition into a new folder; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    folder = parser.parse_args(arguments).folder
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise EditionError(f"{folder} exists and is not an empty folder")
        files = edition(ROOT)
    except EditionError as error:
        sys.stderr.write(f"{error}\nNothing was written.\n")
        return 1
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755 if content.startswith(b"#!") else 0o644)
    notebooks = sum(name.endswith(".ipynb") for name in files)
    print(
        f"{folder}: {notebooks} notebooks without solutions, {len(files)} files in all"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
