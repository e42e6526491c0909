"""Compare what two components gave: tensors, numbers, words, and dicts of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Failure:
    """What there is instead of a value, if the learner's code gave none.

    Args:
        what: What happened, to follow the word "yours".
        line: The line of the learner's code where it did; not compared.
        is_stub: Whether the learner's code says itself that it is not written yet.
    """

    what: str
    line: str = field(default="", compare=False)
    is_stub: bool = field(default=False, compare=False)


class _NotAsked:
    """The answer of a component that cannot be asked; agrees with every other."""


NOT_ASKED = _NotAsked()


@dataclass(frozen=True)
class Difference:
    """The first place where two observations differ, in words."""

    where: str
    yours: str
    expected: str


def frozen(value: object) -> object:
    """Copy an observation, so that nothing can change it any more.

    Args:
        value: A tensor, number, word, or a dict of such.

    Returns:
        The same, tensors in float64, on the CPU.
    """
    if isinstance(value, Tensor):
        if value.layout is not torch.strided or value.is_complex():
            return Failure("a tensor of another kind (sparse or complex)")
        return value.detach().to("cpu", torch.float64, copy=True)
    if isinstance(value, Mapping):
        return {key: frozen(item) for key, item in value.items()}
    return value


def difference(
    yours: object, expected: object, rtol: float, atol: float, where: str = ""
) -> Difference | None:
    """Find the first place where two observations differ.

    Args:
        yours: What the one gave, as ``frozen`` returns it.
        expected: What the other gave.
        rtol: How far numbers may differ, relative to ``expected``.
        atol: How far they may differ besides. NaN is equal to NaN.
        where: What is compared, for the words.

    Returns:
        The difference, or ``None`` if there is none.
    """
    if yours is NOT_ASKED or expected is NOT_ASKED:
        return None
    if isinstance(expected, Mapping) and isinstance(yours, Mapping):
        for key in [*expected, *(key for key in yours if key not in expected)]:
            found = difference(
                yours.get(key, "missing"),
                expected.get(key, "nothing of the kind"),
                rtol,
                atol,
                ", ".join(filter(None, (where, key))),
            )
            if found:
                return found
        return None
    if isinstance(expected, Tensor) and isinstance(yours, Tensor):
        if yours.shape != expected.shape:
            shapes = f"shape {tuple(yours.shape)}", f"shape {tuple(expected.shape)}"
            return Difference(where, *shapes)
        close = torch.isclose(yours, expected, rtol=rtol, atol=atol, equal_nan=True)
        if close.all():
            return None
        place = (~close).nonzero()[0].tolist()
        pair = yours[tuple(place)].item(), expected[tuple(place)].item()
        if place:
            where = f"{where} at {place}".lstrip()
        return Difference(where, *_shown(*pair))
    if _is_number(expected) and _is_number(yours):
        pair = float(yours), float(expected)  # type: ignore[arg-type]
        tensors = [torch.tensor(value, dtype=torch.float64) for value in pair]
        return difference(tensors[0], tensors[1], rtol, atol, where)
    if type(yours) is type(expected) and yours == expected:
        return None
    return Difference(where, _in_words(yours), _in_words(expected))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(yours: float, expected: float) -> tuple[str, str]:
    """Write two numbers: five digits that count, or as many as tell them apart."""
    noise = 1e-6 * max(1.0, abs(expected) if abs(expected) < float("inf") else 1.0)
    pair = [0.0 if abs(value) < noise else value for value in (yours, expected)]
    if pair[0] == pair[1]:
        pair = [yours, expected]
    for digits in range(5, 10):
        first, second = (f"{value:.{digits}g}" for value in pair)
        if first != second:
            break
    return first, second


def _in_words(value: object) -> str:
    if isinstance(value, Failure):
        return value.what
    if isinstance(value, Tensor):
        if value.numel() == 1:
            return _shown(value.item(), 0.0)[0]
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return "an answer"
    return str(value)
