"""The files around the course: versions, what git stores, what the top level shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
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
    # In a container the folder often belongs to somebody else, which git refuses.
    trusting = f"safe.directory={ROOT.as_posix()}"
    command = ["git", "-c", trusting, *arguments]
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


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
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


# Binder and the dev container: the course with nothing to install.


@cache
def dev_container() -> dict[str, Any]:
    path = ROOT / ".devcontainer/devcontainer.json"
    return json.loads(path.read_text(encoding="utf-8"))


def commands() -> dict[str, str]:
    """Give what each of them runs to install the course."""
    return {
        "Binder": (ROOT / ".binder/postBuild").read_text(encoding="utf-8"),
        "dev container": dev_container()["postCreateCommand"],
    }


def python_versions() -> dict[str, str | None]:
    runtime = (ROOT / ".binder/runtime.txt").read_text(encoding="utf-8")
    names = {
        "Binder": re.fullmatch(r"python-(3\.\d+)\n", runtime),
        "dev container": re.fullmatch(r"python:(3\.\d+)-\w+", dev_container()["image"]),
    }
    return {name: found and found[1] for name, found in names.items()}


@pytest.mark.parametrize("name", python_versions())
def test_python_there_is_one_for_the_pins(name: str):
    """The package and every pinned version can be installed on it."""
    version = python_versions()[name]
    assert version
    needed = {"the course": project()["requires-python"]}
    for line in requirement_lines()[:-1]:
        pin = Requirement(line)
        about = metadata.metadata(pin.name)
        if pin.specifier.contains(about["Version"]):  # else another one is installed
            needed[pin.name] = about["Requires-Python"]
    # 3.11 stands for its newest release: ">=3.11.1" is fine, and ">=3.12" is not.
    newest = f"{version}.999"
    wrong = {k: v for k, v in needed.items() if not SpecifierSet(v).contains(newest)}
    assert wrong == {}


@pytest.mark.parametrize(("name", "command"), commands().items())
def test_installation_there(name: str, command: str):
    """It has PyTorch without CUDA, in the pinned versions, from files that exist."""
    assert "--torch-backend cpu" in command
    named = set(re.findall(r"[\w.-]+\.(?:txt|toml|py)\b", command))
    assert "requirements.txt" in named
    assert [file for file in named if not (ROOT / file).is_file()] == []
    assert not re.search(r"https?:|--(?:extra-)?index", command)


def test_binder_takes_exactly_the_pins():
    """It greps ``==``: that finds all pins in requirements.txt, and nothing else."""
    assert "\ngrep == requirements.txt " in commands()["Binder"]
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    assert [line for line in lines if "==" in line] == requirement_lines()[:-1]


def test_binder_can_run_its_script():
    """Git stores it as a program, with a first line that says which."""
    assert git("ls-files", "--stage", ".binder/postBuild").startswith("100755 ")
    assert commands()["Binder"].startswith("#!/usr/bin/env bash\n")


def test_dev_container_uses_its_own_environment():
    """``.venv`` is a volume of the container: the one outside of it is not touched."""
    (mount,) = dev_container()["mounts"]
    assert mount["type"] == "volume"
    folder = mount["target"]
    assert folder == "${containerWorkspaceFolder}/.venv"
    settings = dev_container()["customizations"]["vscode"]["settings"]
    assert settings["python.defaultInterpreterPath"] == f"{folder}/bin/python"
    assert "-m venv .venv &&" in dev_container()["postCreateCommand"]
