"""The files around the course: versions, what git stores, what the top level shows."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with pytest

ROOT = Path(__file__).resolve().parent.parent
VISIBLE = {
    "notebooks",
    "gpt_from_scratch",
    "tests",
    "images",
    "README.md",
    "requirements.txt",
    "pyproject.toml",
    "LICENSE",
}


def git(*arguments: str) -> str:
    """Return what git says about this repository; skip where there is none."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    if not (ROOT / ".git").exists():
        pytest.skip("the course's folder is not a git repository")
    command = ["git", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    return result.stdout.decode()


def tracked_files() -> list[str]:
    return git("ls-files", "-z").split("\0")[:-1]


@cache
def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def requirement_lines() -> list[str]:
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_requirements_are_exact():
    """Whoever installs them gets the versions that were tested together."""
    *pins, last = requirement_lines()
    assert last == "-e ."
    assert pins
    exact = r"[a-z_-]+==\d+(\.\d+)+(; python_version (<|>=) \"3\.11\")?"
    wrong = [pin for pin in pins if not re.fullmatch(exact, pin)]
    assert wrong == []


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.13"])
def test_pins_lie_in_the_ranges(python: str):
    """What is tested is what pyproject.toml says can work; one pin for a package."""
    versions = {}
    for line in requirement_lines()[:-1]:
        pin = Requirement(line)
        if pin.marker and not pin.marker.evaluate({"python_version": python}):
            continue
        (version,) = pin.specifier
        assert canonicalize_name(pin.name) not in versions, line
        versions[canonicalize_name(pin.name)] = version.version
    for line in project()["dependencies"]:
        needed = Requirement(line)
        name = canonicalize_name(needed.name)
        assert name in versions, f"{name} has no pin in requirements.txt"
        assert needed.specifier.contains(versions[name]), line


def test_git_leaves_the_tokenizer_data_alone():
    """No line ending is changed: the data's SHA-256 is checked when it is loaded."""
    data = "gpt_from_scratch/data/gpt2.tiktoken"
    assert git("check-attr", "text", data) == f"{data}: text: unset\n"


def test_top_level_holds_nothing_else():
    """What a learner sees first stays small."""
    top = {name.partition("/")[0] for name in tracked_files()}
    assert {name for name in top if not name.startswith(".")} <= VISIBLE


def test_text_files_are_clean():
    """No carriage return, no space at a line's end, a newline at the file's end."""
    problems = []
    for name in tracked_files():
        path = ROOT / name
        if name.startswith("gpt_from_scratch/data/") or not path.is_file():
            continue
        content = path.read_bytes()
        if b"\0" in content:
            continue  # not a text
        if b"\r" in content:
            problems.append(f"{name}: carriage return")
        if re.search(rb"[ \t]$", content, flags=re.M):
            problems.append(f"{name}: space at the end of a line")
        if content and not content.endswith(b"\n"):
            problems.append(f"{name}: no newline at the end")
    assert problems == []
