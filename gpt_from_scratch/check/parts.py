"""Tell which part of a learner's component differs, when the whole does."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gpt_from_scratch.check.component import Component
from gpt_from_scratch.check.make import Built, Make
from gpt_from_scratch.check.weights import READINGS, numbers, randomize


def about_parts(component: Component, learner: Callable[..., Any]) -> Iterator[str]:
    """Compare parts such as a block's attention with the course's, each by itself.

    Args:
        component: What it should be.
        learner: The learner's class, which differs from it.

    Yields:
        A line for the report, if the parts can be told apart.
    """
    make = Make(component, learner, READINGS[0])
    try:
        built = make(*component.example)
        reference = component.reference(*component.example).eval()
        randomize(reference)
        found = {name: _part(built, name, component) for name in component.parts}
        different = [
            words
            for name, words in component.parts.items()
            if _differ(found[name], reference.get_submodule(name), component.width)
        ]
        if different:
            verb = "differs" if len(different) == 1 else "differ"
            yield f"By itself, your {' and your '.join(different)} {verb}."
        elif all(found.values()) and _differ(built.module, reference, component.width):
            yield "Each of its parts, by itself, gives what it should."
    except Exception:  # without this line, the report is right too
        return
    finally:
        make.undo()


def _part(built: Built, name: str, component: Component) -> nn.Module | None:
    """Find the learner's module that holds the weights of a part, and no others."""
    own: list[list[str]] = []
    others: list[list[str]] = []
    for ours, slot in built.slots.items():
        path = slot.found.name.split(".")[:-1]
        (own if ours.startswith(f"{name}.") else others).append(path)
    for depth in range(1, min(map(len, own), default=0) + 1):
        front = own[0][:depth]
        if any(path[:depth] != front for path in own):
            return None
        if all(path[:depth] != front for path in others):
            return built.module.get_submodule(".".join(front))
    return None


def _differ(part: nn.Module | None, right: nn.Module, width: int) -> bool:
    if part is None:
        return False
    x = numbers(2, 5, width, seed=5)
    x[0, 1], x[0, 2] = 3.0, 1e-3 * x[0, 2]  # where eps counts
    with torch.no_grad():
        expected = right(x)
        try:
            result = part(x)
        except Exception:
            return True
    return not (
        isinstance(result, Tensor)
        and result.shape == expected.shape
        and torch.allclose(result, expected, rtol=1e-3, atol=1e-4)
    )
