"""Bug hunts and exercises of the notebooks: their form, and that solutions are right.

A rule is a function that yields what is wrong with a notebook. Every rule is tried on
every notebook with exercises, and on a small bad one that it must find fault with.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from notebook_words import (
    BUG_HUNT,
    CHECK,
    EXERCISE,
    EXERCISES,
    HINT,
    RECAP,
    SOLUTION,
    TITLES,
)
from test_notebooks import FOLDER, STORED, Cell, Notebook, at

from gpt_from_scratch.check.report import Report

ALL_HAVE_EXERCISES = True  # whether all notebooks of the course must have them
SECTIONS = [CHECK, BUG_HUNT, EXERCISES, RECAP]
LEAST = 2

Rule = Callable[[Notebook], Iterator[str]]
RULES: list[Rule] = []


def rule(function: Rule) -> Rule:
    RULES.append(function)
    return function


def section(notebook: Notebook, title: str) -> list[Cell]:
    """Give the cells from a heading of the second level to the next one."""
    found: list[Cell] = []
    inside = False
    for cell in notebook.cells:
        if cell["cell_type"] == "markdown":
            for heading in re.findall(r"^## +(.+?) *$", cell["source"], flags=re.M):
                inside = heading == title
                if inside:
                    break
        if inside:
            found.append(cell)
    return found


def has_exercises(notebook: Notebook) -> bool:
    return bool(section(notebook, EXERCISES))


@dataclass
class Exercise:
    """One exercise, as it stands in its notebook; a cell may be missing."""

    number: int
    task: Cell
    stub: Cell | None
    solution: Cell | None

    @property
    def check(self) -> str:
        """The last expression of the stub's cell."""
        body = ast.parse(self.stub["source"]).body if self.stub else []
        return ast.unparse(body[-1]) if body else ""

    @property
    def solved(self) -> str:
        """The code of the solution."""
        source = self.solution["source"] if self.solution else ""
        return "\n".join(re.findall(r"^```python\n(.*?)^```$", source, re.M | re.S))


TASK = re.compile(rf"^### {EXERCISE} (\d+): \S.*$", re.M)
OPENINGS = {
    "hint": f"<details><summary>{HINT}</summary>\n\n",
    "solution": f"<details><summary>{SOLUTION}</summary>\n\n",
}


def exercises(notebook: Notebook) -> list[Exercise]:
    cells = section(notebook, EXERCISES)
    found = []
    for index, cell in enumerate(cells):
        title = TASK.search(cell["source"]) if cell["cell_type"] == "markdown" else None
        if title:
            after: list[Cell | None] = [*cells[index + 1 : index + 3], None, None]
            stub, solution = after[:2]
            if stub and stub["cell_type"] != "code":
                stub = None
            if solution and not solution["source"].startswith(
                OPENINGS["solution"].strip()
            ):
                solution = None
            found.append(Exercise(int(title[1]), cell, stub, solution))
    return found


def shown(cell: Cell) -> str:
    """Give the text of a cell's result, in one line."""
    texts = [
        "".join(output["data"].get("text/plain", ""))
        for output in cell["outputs"]
        if output["output_type"] == "execute_result"
    ]
    return re.sub(r"\s+", " ", " ".join(texts))


def last_call(cell: Cell) -> str:
    """Give a cell's last expression, if it calls a check."""
    body = ast.parse(cell["source"]).body
    if not body or not isinstance(body[-1], ast.Expr):
        return ""
    text = ast.unparse(body[-1])
    return text if re.match(r"check\.\w+\(", text) else ""


# The rules.


@rule
def headings_in_order(notebook: Notebook) -> Iterator[str]:
    """Check it, bug hunt, exercises, recap: once each, at the end."""
    found = [
        heading
        for cell in notebook.markdown
        for heading in re.findall(r"^## +(.+?) *$", cell["source"], flags=re.M)
    ]
    if found[-len(SECTIONS) :] != SECTIONS:
        yield f"the last headings are {found[-len(SECTIONS) :]}, expected {SECTIONS}"
    for title in SECTIONS:
        if found.count(title) > 1:
            yield f"the heading {title!r} is there {found.count(title)} times"


@rule
def component_is_checked(notebook: Notebook) -> Iterator[str]:
    """The learner's own class is checked, and right."""
    reports = [
        shown(cell)
        for cell in section(notebook, CHECK)
        if cell["cell_type"] == "code" and last_call(cell)
    ]
    if not reports:
        yield "no cell under ## Check it ends with check.name(...)"
    for report in reports:
        if not re.search(r": all \d+ probes agree with", report):
            yield f"under ## Check it, a check says {report[:60]!r}"


@rule
def bug_hunt(notebook: Notebook) -> Iterator[str]:
    """A broken version, what comes of it, and in the end the check, which names it."""
    code = [c for c in section(notebook, BUG_HUNT) if c["cell_type"] == "code"]
    if len(code) < 2:
        yield f"the bug hunt has {len(code)} code cells, expected 2 or more"
    if not code:
        return
    broken = re.findall(r"^(?:class|def) (\w+)", code[0]["source"], flags=re.M)
    if not any(name.lower().startswith("broken") for name in broken):
        yield f"{at(code[0])}: defines no Broken...; the bug hunt begins with it"
    last = last_call(code[-1])
    if not re.match(r"check\.\w+\(broken", last, flags=re.I):
        yield f"{at(code[-1])}: does not end with check.name(Broken...)"
    elif not re.search(r"This looks like .+: ", shown(code[-1])):
        yield f"{at(code[-1])}: the check does not name the mistake"
    for cell in code[:-1]:
        if "This looks like" in shown(cell):
            yield f"{at(cell)}: names the mistake before the learner can"
        elif cell is not code[0] and not cell["outputs"]:
            yield f"{at(cell)}: shows no symptom"
    after = section(notebook, BUG_HUNT)[-1]
    if after["cell_type"] != "markdown":
        yield "no sentence after the check that says what the bug was"


@rule
def enough_exercises(notebook: Notebook) -> Iterator[str]:
    """Two or more, numbered, each with its three cells."""
    found = exercises(notebook)
    if len(found) < LEAST:
        yield f"{len(found)} exercises, expected {LEAST} or more"
    numbers = [exercise.number for exercise in found]
    if numbers != list(range(1, len(found) + 1)):
        yield f"the exercises have the numbers {numbers}"
    for exercise in found:
        if not exercise.stub:
            yield f"exercise {exercise.number}: no code cell after its task"
        elif exercise.stub["id"] != f"exercise-{exercise.number}":
            yield f"{at(exercise.stub)}: is to be 'exercise-{exercise.number}'"
        if not exercise.solution:
            yield f"exercise {exercise.number}: no solution after its code cell"
    cells = section(notebook, EXERCISES)
    known = sum(bool(re.fullmatch(r"exercise-\d+", cell["id"])) for cell in cells)
    if known != len(found):
        yield f"{known} cells named exercise-N, but {len(found)} tasks"


@rule
def folded_away(notebook: Notebook) -> Iterator[str]:
    """Hint and solution do not meet the eye; JupyterLab needs the empty lines."""
    for exercise in exercises(notebook):
        for what, cell in [("hint", exercise.task), ("solution", exercise.solution)]:
            if cell is None:
                continue
            source = cell["source"]
            pattern = re.escape(OPENINGS[what]) + r"\S.*?\n\n</details>(\n|$)"
            if not re.search(pattern, source, flags=re.S):
                yield f"exercise {exercise.number}: its {what} is not folded away"
            if source.count("<details>") != 1 or source.count("</details>") != 1:
                yield f"{at(cell)}: is to have one <details>"
            outside = re.sub(r"<details>.*</details>", "", source, flags=re.S)
            if "```" in outside:
                yield f"exercise {exercise.number}: code outside of <details>"
        if exercise.solution is None:
            continue
        blocks = exercise.solution["source"].count("```python")
        if blocks != 1:
            yield f"exercise {exercise.number}: its solution has {blocks} code blocks"


@rule
def stubs(notebook: Notebook) -> Iterator[str]:
    """A stub runs as it is, and says that it was not attempted."""
    for exercise in exercises(notebook):
        if not exercise.stub:
            continue
        if not last_call(exercise.stub):
            yield f"{at(exercise.stub)}: does not end with check.name(...)"
        if not re.fullmatch(r"[^:]+: not attempted yet\.", shown(exercise.stub)):
            yield f"{at(exercise.stub)}: does not say 'not attempted yet'"


def definitions(source: str) -> set[str]:
    """Name what code defines at its top level."""
    names = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {ast.unparse(target) for target in node.targets}
    return names


@rule
def solutions(notebook: Notebook) -> Iterator[str]:
    """A solution takes the place of the stub, and of nothing else."""
    for exercise in exercises(notebook):
        if not (exercise.stub and exercise.solution):
            continue
        try:
            defined = definitions(exercise.solved)
        except SyntaxError as error:
            yield f"exercise {exercise.number}: its solution is no Python: {error}"
            continue
        missing = definitions(exercise.stub["source"]) - defined
        if missing:
            yield f"exercise {exercise.number}: its solution lacks {sorted(missing)}"
        if re.search(r"^\s*(import|from) ", exercise.solved, flags=re.M):
            yield f"exercise {exercise.number}: its solution imports something"
        if "check." in exercise.solved:
            yield f"exercise {exercise.number}: its solution repeats the check"


def report_of(notebook: Notebook, exercise: Exercise, code: str) -> Report:
    """Run the setup cell, some code, and the exercise's check."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    threads = torch.get_num_threads()
    try:
        exec(notebook.code[0]["source"], namespace)
        exec(code, namespace)
        return eval(exercise.check, namespace)
    finally:
        torch.set_num_threads(threads)


@rule
def solutions_pass(notebook: Notebook) -> Iterator[str]:
    """A solution passes its check with the setup cell alone, and the stub does not."""
    for exercise in exercises(notebook):
        if not (exercise.stub and exercise.solution):
            continue
        stub = "\n".join(
            ast.unparse(node) for node in ast.parse(exercise.stub["source"]).body[:-1]
        )
        for what, code in [("solution", exercise.solved), ("stub", stub)]:
            try:
                report = report_of(notebook, exercise, code)
            except Exception as error:
                yield f"exercise {exercise.number}: its {what} raises {error!r}"
                continue
            if what == "solution" and not report.passed:
                yield f"exercise {exercise.number}: its solution fails: {report}"
            if what == "stub" and (report.passed or report.attempted):
                yield f"exercise {exercise.number}: its stub says {report}"


# The rules, tried on the course's notebooks.

READ = {path: Notebook(path, path.read_text(encoding="utf-8")) for path in STORED}
WITH_EXERCISES = [path for path, notebook in READ.items() if has_exercises(notebook)]


@pytest.mark.parametrize("check", RULES, ids=lambda check: check.__name__)
@pytest.mark.parametrize("path", WITH_EXERCISES, ids=lambda path: path.stem)
def test_notebook(path: Path, check: Rule):
    """Each notebook with exercises keeps each rule."""
    problems = list(check(READ[path]))
    if problems:
        lines = [f"{path.name}: {problem}" for problem in problems]
        pytest.fail("\n".join([check.__doc__ or "", *lines]), pytrace=False)


def test_all_notebooks_have_exercises():
    if ALL_HAVE_EXERCISES:
        assert WITH_EXERCISES == [FOLDER / f"{name}.ipynb" for name in TITLES]


# The rules themselves, tried on a good notebook and on bad ones.

SETUP = """import torch
from torch import nn

import gpt_from_scratch
from gpt_from_scratch import check
"""
RIGHT_NORM = """class LayerNorm(nn.Module):
    def __init__(self, emb_dim, eps=1e-5):
        super().__init__()
        self.norm = nn.LayerNorm(emb_dim, eps=eps)

    def forward(self, x):
        return self.norm(x)
"""
STUB_NORM = RIGHT_NORM.replace("return self.norm(x)", "raise NotImplementedError")


def md(name: str, source: str) -> Cell:
    return {"cell_type": "markdown", "id": name, "source": source, "metadata": {}}


def code(name: str, source: str, result: str | None = None) -> Cell:
    outputs = []
    if result is not None:
        data = {"text/plain": [result]}
        outputs.append({"output_type": "execute_result", "data": data})
    return {
        "cell_type": "code",
        "id": name,
        "source": source,
        "metadata": {},
        "outputs": outputs,
    }


def folded(what: str, text: str) -> str:
    return f"<details><summary>{what}</summary>\n\n{text}\n\n</details>"


def good_cells() -> list[Cell]:
    """Make the end of a notebook that keeps every rule."""
    not_yet = ": not attempted yet."
    layer = "weights = None\nwith_bias = None\n\n"
    layer_check = "check.parameters_of_a_layer(weights, with_bias)"
    solved_layer = "weights = 768 * 3072\nwith_bias = 769 * 3072\n"
    return [
        code("setup", SETUP),
        md("about-check", f"## {CHECK}\n\nIs it right?"),
        code(
            "check-it",
            "check.layer_norm(LayerNorm)",
            "LayerNorm: all 18 probes agree with gpt_from_scratch.LayerNorm.",
        ),
        md("about-bug", f"## {BUG_HUNT}\n\nA class that someone wrote."),
        code("broken", "class BrokenNorm:\n    pass"),
        md("about-symptom", "What comes of it:"),
        code("symptom", "1 + 1", "2"),
        md("name-it", "Which mistake is it?"),
        code(
            "hunt",
            "check.layer_norm(BrokenNorm)",
            "LayerNorm: 7 of 18 probes differ.\n  This looks like a pass: nothing.",
        ),
        md("after-bug", "It was that."),
        md(
            "task-1",
            f"## {EXERCISES}\n\n### {EXERCISE} 1: A\n\nDo.\n\n" + folded(HINT, "h"),
        ),
        code("exercise-1", layer + layer_check, "Layer" + not_yet),
        md(
            "solution-1",
            folded(SOLUTION, f"```python\n{solved_layer}```") + "\n\nWhy.",
        ),
        md("task-2", f"### {EXERCISE} 2: B\n\nDo that.\n\n" + folded(HINT, "h")),
        code(
            "exercise-2",
            f"{STUB_NORM}\n\ncheck.layer_norm(LayerNorm)",
            "LayerNorm" + not_yet,
        ),
        md("solution-2", folded(SOLUTION, f"```python\n{RIGHT_NORM}```")),
        md("recap", f"## {RECAP}\n\nAll."),
    ]


class Sample(Notebook):
    """A notebook made of cells."""

    def __init__(self, cells: list[Cell]) -> None:
        super().__init__(Path("sample.ipynb"), "")
        self.cells = cells


Change = Callable[[list[Cell]], object]


def find(cells: list[Cell], name: str) -> Cell:
    return next(cell for cell in cells if cell["id"] == name)


def replace(name: str, old: str, new: str) -> Change:
    def apply(cells: list[Cell]) -> None:
        cell = find(cells, name)
        assert old in cell["source"]
        cell["source"] = cell["source"].replace(old, new)

    return apply


def shows(name: str, result: str) -> Change:
    def apply(cells: list[Cell]) -> None:
        find(cells, name)["outputs"] = code(name, "", result)["outputs"]

    return apply


def remove(*names: str) -> Change:
    def apply(cells: list[Cell]) -> None:
        for name in names:
            cells.remove(find(cells, name))

    return apply


BAD: list[tuple[Rule, Change, str]] = [
    (headings_in_order, replace("about-bug", BUG_HUNT, "Other"), "last headings"),
    (headings_in_order, replace("recap", RECAP, "Other"), "last headings"),
    (
        headings_in_order,
        replace("name-it", "Which", f"## {EXERCISES}\n\nWhich"),
        "2 times",
    ),
    (component_is_checked, remove("check-it"), "no cell under"),
    (component_is_checked, shows("check-it", "7 of 18 probes differ."), "a check says"),
    (bug_hunt, remove("broken", "symptom"), "1 code cells"),
    (bug_hunt, replace("broken", "BrokenNorm", "Norm"), "defines no Broken"),
    (bug_hunt, replace("hunt", "BrokenNorm", "LayerNorm"), "does not end with"),
    (bug_hunt, shows("hunt", "This is none of the mistakes"), "does not name"),
    (bug_hunt, shows("symptom", "This looks like x: y"), "before the learner"),
    (bug_hunt, lambda cells: find(cells, "symptom")["outputs"].clear(), "no symptom"),
    (bug_hunt, remove("after-bug"), "no sentence after"),
    (enough_exercises, remove("task-2", "exercise-2", "solution-2"), "1 exercises"),
    (enough_exercises, replace("task-2", f"{EXERCISE} 2", f"{EXERCISE} 3"), "[1, 3]"),
    (enough_exercises, remove("exercise-1"), "no code cell"),
    (enough_exercises, remove("solution-2"), "no solution"),
    (
        enough_exercises,
        lambda cells: find(cells, "exercise-2").update(id="second"),
        "is to be 'exercise-2'",
    ),
    (enough_exercises, replace("task-2", f"### {EXERCISE} 2:", "### More:"), "tasks"),
    (folded_away, replace("task-1", f"<summary>{HINT}</summary>", ""), "its hint"),
    (folded_away, replace("task-1", "</details>", ""), "its hint"),
    (folded_away, replace("solution-1", "\n\n```", "\n```"), "its solution is"),
    (folded_away, replace("solution-1", "Why.", "<details>Why."), "one <details>"),
    (
        folded_away,
        replace("solution-1", "Why.", "```python\n1\n```"),
        "outside of <details>",
    ),
    (folded_away, replace("solution-1", "```python", "```"), "0 code blocks"),
    (stubs, replace("exercise-1", "check.", "print(0) #"), "does not end"),
    (stubs, shows("exercise-1", "Layer: 1 of 2 numbers agrees."), "does not say"),
    (solutions, replace("solution-1", "with_bias =", "biases ="), "['with_bias']"),
    (solutions, replace("solution-1", "weights =", "weights"), "no Python"),
    (solutions, replace("solution-2", "class", "import math\nclass"), "imports"),
    (
        solutions,
        replace("solution-1", "3072\n```", "3072\ncheck.x(1)\n```"),
        "repeats",
    ),
    (solutions_pass, replace("solution-1", "769", "768"), "solution fails"),
    (solutions_pass, replace("solution-2", "norm(x)", "norm(2 + x)[0]"), "fails"),
    (solutions_pass, replace("solution-1", "769", "emb_dim"), "raises NameError"),
    (solutions_pass, replace("exercise-1", "weights = None", "weights = 3"), "stub"),
]


def test_rules_let_a_good_notebook_pass():
    sample = Sample(good_cells())
    assert has_exercises(sample)
    assert len(exercises(sample)) == 2
    assert [problem for check in RULES for problem in check(sample)] == []


@pytest.mark.parametrize(
    ("check", "apply", "expected"),
    BAD,
    ids=[f"{check.__name__}: {expected}" for check, _, expected in BAD],
)
def test_rule_finds_the_fault(check: Rule, apply: Change, expected: str):
    cells = good_cells()
    apply(cells)
    problems = list(check(Sample(cells)))
    assert any(expected in problem for problem in problems), problems


def test_every_rule_is_tested():
    assert {check for check, _, _ in BAD} == set(RULES)
