"""Print a command of README.md as it stands there, so that CI runs nothing else.

python3 .ci/readme_command.py Start 2     # the second block under the heading "Start"
python3 .ci/readme_command.py Windows     # the first under "Windows"
"""

import sys
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def command(heading: str, number: int = 1) -> str:
    """Return what stands in the numbered block of code under a heading."""
    found: dict[str, list[str]] = {}
    above, inside = "", False
    for line in README.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.startswith("```"):
            inside = not inside
            if inside:
                found[above].append("")
        elif inside:
            found[above][-1] += line
        elif line.startswith("#"):
            above = line.lstrip("#").strip()
            found[above] = []
    if heading not in found:
        raise SystemExit(f"README.md has no heading {heading!r}")
    blocks = found[heading]
    if not 1 <= number <= len(blocks):
        raise SystemExit(f"{heading!r} has {len(blocks)} blocks of code, no {number}")
    return blocks[number - 1]


if __name__ == "__main__":
    print(command(sys.argv[1], *map(int, sys.argv[2:])), end="")
