"""Run the notebooks again, and store each in the one form that the course keeps.

``python tests/execute_notebooks.py`` runs every notebook from top to bottom, each in a
new kernel, and writes what changed. Running it twice changes nothing. A notebook with
a cell that fails stays as it was, and the command stops there. So it does when the
disk is full.

A plot of measured times is never twice the same. Its cell has the tag ``measured``:
the stored picture stays as long as nothing but its bytes would change. So do not look
for today's times in it; to have it drawn anew, clear the cell's output first.

``python tests/execute_notebooks.py --check`` runs nothing, writes nothing, and names
each notebook that is not stored in that form.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import (
    CellControlSignal,
    CellExecutionError,
    DeadKernelError,
)

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"

SECONDS_PER_CELL = 600

# No version of Python or of Jupyter: it would change with each author.
METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}
IMAGE_METADATA = ("alt", "height", "width")
MEASURED = "measured"  # the tag of a cell whose picture differs from run to run


class NotebookError(Exception):
    """A cell failed; the message says which, and how."""


def execute(path: Path) -> dict[str, Any]:
    """Run a notebook from top to bottom in a new kernel, in its own folder.

    Args:
        path: The notebook; the file is only read.

    Returns:
        The notebook with its new outputs.

    Raises:
        NotebookError: If a cell fails, takes too long or ends its kernel.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        # With no folder to look for kernels in, "python3" is the Python running this,
        # and not one that was installed under that name elsewhere.
        km=AsyncKernelManager(
            kernel_name="python3",
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
        ),
        extra_arguments=["--log-level=ERROR"],  # no advice on its own connection
        timeout=SECONDS_PER_CELL,
        force_raise_errors=True,
        record_timing=False,
        resources={"metadata": {"path": str(path.resolve().parent)}},
    )
    with client.setup_kernel(cleanup_kc=True):
        for index, cell in enumerate(notebook.cells):
            try:
                client.execute_cell(cell, index)
            except (CellControlSignal, DeadKernelError) as error:
                reason = str(error).strip()
                if isinstance(error, CellExecutionError):
                    reason = f"{error.ename}: {error.evalue}"
                where = f"{path.name}, cell {cell.get('id')!r}"
                raise NotebookError(f"{where}: {reason}") from error
    return notebook


def normalize(notebook: dict[str, Any]) -> str:
    """Return the text of a notebook's file in the one form that the course keeps.

    What readers see stays: text, code, outputs, counts, tags, and an image's size and
    alternative text. What only an editor or a run left behind goes.
    """
    normal = {
        "cells": [_normal_cell(cell) for cell in notebook["cells"]],
        "metadata": METADATA,
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(normal, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def keep_measured(stored: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the new notebook with the stored pictures of measured times.

    Only a cell with the tag ``measured`` keeps them, and only if its source and all
    else that it shows, the alternative text and the size included, are as stored.
    """
    before = {cell.get("id"): cell for cell in stored["cells"]}
    cells = []
    for cell in new["cells"]:
        earlier = before.get(cell.get("id"))
        tagged = MEASURED in cell["metadata"].get("tags", [])
        if tagged and earlier and _but_pictures(earlier) == _but_pictures(cell):
            cell = {**cell, "outputs": earlier["outputs"]}
        cells.append(cell)
    return {**new, "cells": cells}


def _but_pictures(cell: dict[str, Any]) -> dict[str, Any]:
    """Return a cell in normal form, with a blank in place of each picture."""
    normal = _normal_cell({**cell, "execution_count": None})
    for output in normal.get("outputs", []):
        if "image/png" in output.get("data", {}):
            output["data"]["image/png"] = ""
    return normal


def _normal_cell(cell: dict[str, Any]) -> dict[str, Any]:
    tags = cell["metadata"].get("tags")
    normal = {
        "cell_type": cell["cell_type"],
        "metadata": {"tags": tags} if tags else {},
        "source": _lines(_join(cell["source"]).rstrip()),
    }
    # A missing id stays missing and attachments stay, for the tests to speak of them.
    normal |= {key: cell[key] for key in ("id", "attachments") if cell.get(key)}
    if cell["cell_type"] == "code":
        count = cell.get("execution_count")
        normal["execution_count"] = count
        outputs = _merge_streams(cell.get("outputs", []))
        normal["outputs"] = [_normal_output(output, count) for output in outputs]
    return normal


def _normal_output(output: dict[str, Any], count: int | None) -> dict[str, Any]:
    if output["output_type"] not in ("display_data", "execute_result"):
        return {k: _lines(v) if k == "text" else v for k, v in output.items()}
    normal = {
        "output_type": output["output_type"],
        "data": {mime: _normal_data(mime, v) for mime, v in output["data"].items()},
        "metadata": {
            mime: {key: values[key] for key in IMAGE_METADATA if key in values}
            for mime, values in output.get("metadata", {}).items()
            if mime == "image/png" and mime in output["data"]
        },
    }
    if output["output_type"] == "execute_result":
        normal["execution_count"] = count
    return normal


def _normal_data(mime: str, value: Any) -> Any:
    if mime.startswith("text/") or mime == "image/svg+xml":
        return _lines(_join(value))
    if mime.startswith("image/"):
        return "".join(_join(value).split())  # base64, on one line
    return value


def _merge_streams(outputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join what a cell printed in several pieces, with nothing between, into one."""
    merged: list[dict[str, Any]] = []
    for output in outputs:
        if output["output_type"] == "stream":
            last = merged[-1] if merged else {}
            text = _join(output["text"])
            if last.get("name") == output["name"]:
                last["text"] += text
                continue
            output = {"output_type": "stream", "name": output["name"], "text": text}
        merged.append(output)
    return merged


def _join(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all: on a full disk the old one stays."""
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_bytes(content)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and store the notebooks, or check their form; return the exit status."""
    parser = argparse.ArgumentParser(description="Run the notebooks and store them.")
    parser.add_argument(
        "--check", action="store_true", help="run nothing; name files in another form"
    )
    parser.add_argument(
        "notebooks", nargs="*", type=Path, help="which; all if none is given"
    )
    options = parser.parse_args(arguments)
    status = 0
    for path in options.notebooks or sorted(NOTEBOOKS.glob("*.ipynb")):
        if not path.is_file():
            parser.error(f"there is no notebook {path}")
        stored = path.read_bytes()
        if options.check:
            if stored != normalize(json.loads(stored)).encode():
                sys.stdout.write(f"{path.name}: not in normal form\n")
                status = 1
            continue
        try:
            new = keep_measured(json.loads(stored), execute(path))
            text = normalize(new).encode()
            if text != stored:
                write_whole(path, text)
        except (NotebookError, OSError) as error:
            sys.stderr.write(f"{error}\n{path.name} was not written.\n")
            return 1
        outcome = "unchanged" if text == stored else "written"
        sys.stdout.write(f"{path.name}: {outcome}\n")
        sys.stdout.flush()
    return status


if __name__ == "__main__":
    sys.exit(main())
