"""Exercises whose answers are numbers: predict them, then have them counted."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gpt_from_scratch.check.report import Report, not_attempted


@dataclass(frozen=True)
class Slip:
    """A wrong number that learners arrive at.

    Args:
        number: The number.
        name: What "This looks like ..." ends with.
        what: What was counted, or not, without a full stop; never the right number.
    """

    number: float
    name: str
    what: str


@dataclass(frozen=True)
class Asked:
    """One number that is asked for.

    Args:
        what: What it is the number of, in words.
        count: Gives the right number, by counting if that is possible; modules are
            made on the meta device, where they take no memory and draw no numbers.
        slips: Wrong numbers that the check knows.
        rtol: How far an answer may be off, relative to the right one or a slip's.
    """

    what: str
    count: Callable[[], float]
    slips: tuple[Slip, ...] = ()
    rtol: float = 0.0


@dataclass(frozen=True)
class NumberExercise:
    """Numbers to be predicted.

    Args:
        name: The exercise's name.
        asked: What is asked for, by the name that the learner gives the number.
    """

    name: str
    asked: dict[str, Asked]


def check_numbers(exercise: NumberExercise, **given: object) -> Report:
    """Check a learner's numbers. The right ones are not told.

    Args:
        exercise: What is asked.
        **given: The learner's numbers, by name; ``None`` or ``...`` if there is none.

    Returns:
        Which agree, and what gives a wrong one, if that is known.
    """
    if all(value is None or value is ... for value in given.values()):
        return not_attempted(exercise.name)
    slips: set[str] = set()
    lines = []
    number_right = 0
    for name, asked in exercise.asked.items():
        value = given.get(name)
        if value is None or value is ...:
            lines.append(f"{name} ({asked.what}): not attempted yet.")
            slips.add("")
            continue
        number = _number(value)
        if number is None:
            kind = type(value).__name__
            lines.append(f"{name} ({asked.what}): this is no number, but a {kind}.")
            slips.add("")
            continue
        line = f"{name} ({asked.what}): {_shown(number)}"
        if _agree(number, asked.count(), asked.rtol):
            number_right += 1
            lines.append(f"{line} agrees.")
            continue
        known = [
            slip for slip in asked.slips if _agree(number, slip.number, asked.rtol)
        ]
        slips.add(known[0].name if known else "")
        because = f" This looks like {known[0].name}: {known[0].what}." if known else ""
        lines.append(f"{line} differs.{because}")
    total = len(exercise.asked)
    if number_right == total:
        first = f"{exercise.name}: all {total} numbers agree."
        if total == 1:
            first = f"{exercise.name}: the number agrees."
        return Report(True, None, (first, *lines))
    verb = "agrees" if number_right == 1 else "agree"
    first = f"{exercise.name}: {number_right} of {total} numbers {verb}."
    # One name for all that is wrong, or none.
    mistake = slips.pop() if len(slips) == 1 else ""
    return Report(False, mistake or None, (first, *lines))


def count_parameters(make: Callable[[], torch.nn.Module]) -> int:
    """Count the parameters of a module that takes no memory.

    Args:
        make: Makes the module; called where the meta device is the default.

    Returns:
        How many numbers training would adjust.
    """
    with torch.device("meta"), _NothingDrawn():
        module = make()
    return sum(parameter.numel() for parameter in module.parameters())


class _NothingDrawn(TorchFunctionMode):
    """Draws no initial values; without memory PyTorch takes a second to draw none."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in ("normal_", "uniform_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _number(value: object) -> float | None:
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex():
        value = value.item()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    return None


def _agree(number: float, right: float, rtol: float) -> bool:
    return abs(number - right) <= rtol * abs(right)


def _shown(number: float) -> str:
    if isinstance(number, int) or number.is_integer():
        return f"{int(number):,}"
    return f"{number:.5g}"
