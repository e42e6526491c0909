"""Tell whether a learner's component is right, and if not, which mistake it makes.

The learner's component, the course's own (the reference) and a bank of wrong versions
are put through the same probes. A mistake is named only if one wrong version, and no
other, agrees with the learner's on every probe.
"""

import inspect
import random
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from gpt_from_scratch.check.compare import NOT_ASKED, Difference, Failure, frozen
from gpt_from_scratch.check.component import Component, Mistake
from gpt_from_scratch.check.make import Make, NoTensorError, TheirsError
from gpt_from_scratch.check.parts import about_parts
from gpt_from_scratch.check.report import Report, not_attempted
from gpt_from_scratch.check.watchdog import learners_line, raised_by_hand, watched
from gpt_from_scratch.check.weights import READINGS, UNFUSED_READINGS, Reading

SECONDS = 1.5  # for the learner's code, while no probe gets answered; it needs 0.1

# What a probe saw, and the names of the weights: the course's, and the learner's.
Answer = tuple[object, dict[str, str]]
Answers = list[Answer]


def check(component: Component, learner: object) -> Report:
    """Check a learner's component.

    Global settings of PyTorch and Python, and what the learner gave, are left as they
    were. What the learner's code prints or warns of is not shown.

    Args:
        component: What it should be.
        learner: The learner's class or function; anything else gets a report too.

    Returns:
        What was found. No exception comes out.
    """
    problem = _not_to_be_checked(component, learner)
    if problem or not callable(learner):
        return Report(False, None, (f"{component.name}: {problem}",))
    state = torch.get_rng_state(), random.getstate(), torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        return _check(component, learner)
    finally:
        torch.set_rng_state(state[0])
        random.setstate(state[1])
        torch.set_default_dtype(state[2])


def _not_to_be_checked(component: Component, learner: object) -> str:
    kind = "function" if inspect.isfunction(component.reference) else "class"
    if isinstance(learner, nn.Module):
        return (
            "this is an object made from a class. Give the class itself, "
            "without brackets."
        )
    if kind == "function" and inspect.isclass(learner):
        return "this is a class. Give the function, without brackets."
    if not callable(learner):
        what = (
            "None" if learner is None else f"an object of type {type(learner).__name__}"
        )
        return f"this is {what}. Give your {kind}, without brackets or quotes."
    return ""


def _check(component: Component, learner: Callable[..., Any]) -> Report:
    yours: Answers = []
    expected: Answers = []
    known: list[Mistake] = []
    seconds_of_ours = 60

    def ask_reference() -> None:
        expected.extend(recorded(component, component.reference))

    def ask_learner() -> None:
        for answer in observe(component, learner):
            yours.append(answer)  # those so far are kept if it hangs
            if _is_stub(answer):
                break

    def ask_learner_otherwise() -> None:
        for reading in READINGS[1:] if _has_fused(yours) else UNFUSED_READINGS[1:]:
            answers = observe(component, learner, reading)
            if agree(component, answers, expected):
                yours[:] = observe(component, learner, reading)
                return

    def ask_wrong_versions() -> None:
        for mistake in component.mistakes:
            if agree(component, recorded(component, mistake.wrong), yours):
                known.append(mistake)

    watched(ask_reference, seconds_of_ours)
    stopped_at = watched(ask_learner, SECONDS, lambda: len(yours))
    if any(_is_stub(answer) for answer in yours):
        return not_attempted(component.name)
    if stopped_at is None and _differing(component, yours, expected):
        if _has_other_names(yours):
            watched(ask_learner_otherwise, 10 * SECONDS)  # it did come to an end
        if _differing(component, yours, expected):
            watched(ask_wrong_versions, seconds_of_ours)
    mistake = known[0] if len(known) == 1 else None
    report = _write(component, yours, expected, mistake, stopped_at)
    if report.passed or mistake or stopped_at is not None or not component.parts:
        return report
    hints: list[str] = []
    watched(lambda: hints.extend(about_parts(component, learner)), SECONDS)
    return Report(False, None, (*report.lines, *hints))


def _is_stub(answer: Answer) -> bool:
    return isinstance(answer[0], Failure) and answer[0].is_stub


def _differing(
    component: Component, yours: Answers, expected: Answers
) -> dict[str, tuple[object, Difference]]:
    """By the name of each probe that differs, the learner's answer and where."""
    found = {}
    for probe, (mine, _), (right, _) in zip(
        component.probes, yours, expected, strict=False
    ):
        differs = probe.compare(mine, right)
        if differs:
            found[probe.name] = (mine, differs)
    return found


def _has_other_names(answers: Answers) -> dict[str, str]:
    names = {ours: own for _, each in answers for ours, own in each.items()}
    return {ours: own for ours, own in names.items() if ours != own}


def _has_fused(answers: Answers) -> bool:
    """Whether several weights of the course's are in one of the learner's."""
    return any(len(set(names.values())) < len(names) for _, names in answers)


def _write(
    component: Component,
    yours: Answers,
    expected: Answers,
    mistake: Mistake | None,
    stopped_at: str | None,
) -> Report:
    """Write the report."""
    title, count = component.name, len(component.probes)
    names = [probe.name for probe in component.probes]
    differing = _differing(component, yours, expected)
    right = [
        name
        for name, (answer, _) in zip(names, yours, strict=False)
        if name not in differing and answer is not NOT_ASKED
    ]
    if not differing and stopped_at is None:
        model = "the solution" if component.is_exercise else f"gpt_from_scratch.{title}"
        lines = [f"{title}: all {count} probes agree with {model}."]
        lines.append(f"Probed: {'; '.join(names)}.")
        other = _has_other_names(yours)
        if other:
            lines.append(
                f"Your names: {_some(other.values())}. The course's: "
                f"{_some(other)}. That changes no result, but saved weights are "
                f"loaded by name."
            )
        return Report(True, None, tuple(lines))
    lines = []
    if stopped_at is not None:
        lines.append(
            f"{title}: stopped, your code took longer than {SECONDS} seconds at probe "
            f'"{names[min(len(yours), count - 1)]}".'
        )
        lines.append(f"It was at {stopped_at or 'a line that is not known'}")
        lines.append("Look at: loops that may not come to an end.")
    else:
        verb = "differs" if len(differing) == 1 else "differ"
        lines.append(f"{title}: {len(differing)} of {count} probes {verb}.")
    if differing:
        name, (answer, first) = next(iter(differing.items()))
        place = f", {first.where}" if first.where else ""
        lines.append(
            f'Probe "{name}"{place}: yours {first.yours}, expected {first.expected}'
        )
        if isinstance(answer, Failure) and answer.line:
            lines.append(f"In your code, {answer.line}")
    if mistake:
        lines.append(
            f"This looks like {mistake.name}: {mistake.what}. "
            f"[agrees on {count} of {count} probes]"
        )
        lines.append(f"Why it matters: {mistake.why}")
        lines.append(f"Look at: {mistake.look_at}")
    elif stopped_at is None:
        lines.append("This is none of the mistakes that the check knows by name.")
        if len(differing) > 1:
            lines.append(f"Differs too: {'; '.join(list(differing)[1:])}.")
    if right:
        lines.append(f"Already right: {'; '.join(right)}.")
    return Report(False, mistake.name if mistake else None, tuple(lines))


def _some(names: Iterable[str]) -> str:
    """List names, the first six if there are many."""
    different = list(dict.fromkeys(names))
    more = f" and {len(different) - 6} more" if len(different) > 6 else ""
    return ", ".join(different[:6]) + more


def _failure(
    error: BaseException, component: Component, target: Callable[..., Any]
) -> Failure:
    """Put an exception into words that are equal on every machine, for every name."""
    if not isinstance(error, TheirsError):  # in a probe: the output does not fit
        return Failure("an output that does not fit the question")
    cause = error.__cause__
    assert cause is not None
    if isinstance(cause, NoTensorError):
        return Failure(f"returned {cause}, not a tensor")
    try:
        message = str(cause).strip().partition("\n")[0][:200]
    except Exception:
        message = ""
    message = re.sub(r" at 0x[0-9a-fA-F]+", "", message)
    message = re.sub(r"[\w.]*<locals>\.|\b__main__\.", "", message)
    own = re.escape(getattr(target, "__name__", component.name))
    message = re.sub(rf"\b{own}\b", component.name, message)
    message = re.sub(r"(/|[A-Za-z]:\\)\S*[/\\]", "", message)
    what = f"raised {type(cause).__name__}" + (f": {message}" if message else "")
    is_stub = isinstance(cause, NotImplementedError) and raised_by_hand(cause)
    return Failure(what, learners_line(cause.__traceback__), is_stub)


def observe(
    component: Component, target: Callable[..., Any], reading: Reading = READINGS[0]
) -> Iterator[Answer]:
    """Put a component through the probes, one after the other.

    Args:
        component: What is checked.
        target: The learner's version, the reference, or a wrong version.
        reading: How to take weights whose names say nothing.

    Yields:
        What the next probe saw, and the names of the weights.
    """
    for probe in component.probes:
        make = Make(component, target, reading)
        torch.default_generator.manual_seed(123)  # CUDA's is left alone
        random.seed(123)
        answer: object
        try:
            answer = frozen(probe.see(make))
        except Exception as error:
            answer = _failure(error, component, target)
        finally:
            make.undo()
        yield answer, make.names


class _Recording:
    """The answers of a version of ours, asked for only once, when they are needed."""

    def __init__(self, component: Component, target: Callable[..., Any]) -> None:
        self._rest = observe(component, target)
        self._answers: Answers = []

    def __iter__(self) -> Iterator[Answer]:
        yield from self._answers
        for answer in self._rest:
            self._answers.append(answer)
            yield answer


def recorded(component: Component, target: Callable[..., Any]) -> Iterable[Answer]:
    """Give what ``observe`` gives, from memory if it was asked before.

    Args:
        component: What is checked.
        target: The reference or a wrong version: not the learner's.

    Returns:
        The answers, to be gone through as often as needed.
    """
    return component.recordings.setdefault(target, _Recording(component, target))


def agree(
    component: Component, some: Iterable[Answer], others: Iterable[Answer]
) -> bool:
    """Tell whether two versions agree on every probe.

    Args:
        component: What is checked.
        some: What the one answered to each probe.
        others: What the other answered.

    Returns:
        Whether they do. After the first difference, nothing more is asked.
    """
    return all(
        probe.compare(one, other) is None
        for probe, (one, _), (other, _) in zip(
            component.probes, some, others, strict=True
        )
    )


def confusion(component: Component) -> dict[str, list[str]]:
    """For each wrong version, the names of all mistakes that agree with it.

    Args:
        component: What is checked.

    Returns:
        By the name of each mistake, those that it could be taken for, itself included;
        "" stands for the reference. One name each, its own, is as it should be.
    """
    versions = {"": recorded(component, component.reference)}
    for mistake in component.mistakes:
        versions[mistake.name] = recorded(component, mistake.wrong)
    result: dict[str, list[str]] = {}

    def compare() -> None:
        for mistake in component.mistakes:
            seen = list(versions[mistake.name])
            result[mistake.name] = [
                name for name in versions if agree(component, versions[name], seen)
            ]

    watched(compare, 600)
    return result
