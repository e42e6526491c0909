"""Build a learner's component for a probe, and ask it."""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gpt_from_scratch.check.component import Component, Prepare
from gpt_from_scratch.check.watchdog import Stopped
from gpt_from_scratch.check.weights import (
    Found,
    Reading,
    Slot,
    match,
    numbers,
    randomize,
)


class TheirsError(Exception):
    """An exception of the learner's code is its cause; others are of a probe's."""


class NoTensorError(Exception):
    """The learner's code returned something else than a tensor."""


@contextmanager
def _theirs() -> Iterator[None]:
    try:
        yield
    except Stopped:
        raise
    except BaseException as error:
        raise TheirsError from error


class Built:
    """An object of the learner's class, and where its weights are.

    Args:
        module: The learner's object, in eval mode.
        slots: Where the reference's weights are in it, by the reference's names.
        surplus: Parameters that stand for none of the reference's.
        wanted: The reference's weights.
    """

    def __init__(
        self,
        module: Any,  # noqa: ANN401  all of nn.Module's methods, or none
        slots: Mapping[str, Slot],
        surplus: list[Found],
        wanted: Mapping[str, Tensor],
    ) -> None:
        self.module = module
        self.slots = slots
        self.surplus = surplus
        self.wanted = wanted

    def __call__(self, *inputs: Any) -> Tensor:  # noqa: ANN401
        """Call the learner's object; what it raises or returns is a finding."""
        return _tensor(self.module, *inputs)

    def train(self) -> None:
        """Put the learner's object into training mode, and seed what dropout draws.

        Which values dropout takes differs from one operating system to another. So
        before a probe shows such values, it should show a word that tells as much.
        """
        torch.default_generator.manual_seed(456)
        if isinstance(self.module, nn.Module):
            self.module.train()

    def gradients(self, *inputs: Tensor) -> dict[str, object]:
        """Give the gradients of a weighted sum of the output.

        Args:
            *inputs: What to call it with. Those of floating point get a gradient.

        Returns:
            The gradients for the inputs and for each of the reference's weights.
        """
        leaves = {
            "input" if index == 0 else f"input {index}": value.requires_grad_()
            for index, value in enumerate(inputs)
            if value.is_floating_point()
        }
        output = self(*inputs)
        found = {name: slot.found.tensor for name, slot in self.slots.items()}
        tensors = {
            name: t for name, t in {**leaves, **found}.items() if t.requires_grad
        }
        result: dict[str, object] = dict.fromkeys(
            [*leaves, *self.wanted], "no gradient"
        )
        if not output.requires_grad:
            return result
        weight = numbers(*output.shape, seed=77).to(output)
        with _theirs():
            gradients = torch.autograd.grad(
                (output * weight).sum(), list(tensors.values()), allow_unused=True
            )
        for name, gradient in zip(tensors, gradients, strict=True):
            if gradient is not None:
                slot = self.slots.get(name)
                result[name] = slot.part(gradient) if slot else gradient
        return result

    def parameters(self) -> dict[str, object]:
        """Say of each weight of the reference whether it is there, and trained."""
        if not isinstance(self.module, nn.Module):
            return {"the object": "no nn.Module"}
        result: dict[str, object] = {}
        seen: dict[int, str] = {}
        for name, tensor in self.wanted.items():
            slot = self.slots.get(name)
            kind = slot.found.kind if slot else "missing"
            if slot and not slot.view:
                first = seen.setdefault(id(slot.found.tensor), name)
                kind = kind if first == name else f"the same as {first}"
            if kind == "trained":
                kind = f"trained, shape {tuple(tensor.shape)}"
            result[name] = kind
        if self.surplus:
            shapes = sorted(tuple(found.tensor.shape) for found in self.surplus)
            result["more parameters"] = "shapes " + ", ".join(map(str, shapes))
        return result

    def initial(self) -> dict[str, object]:
        """Give the weights as they are, by the reference's names."""
        return {
            name: self.slots[name].value if name in self.slots else "missing"
            for name in self.wanted
        }

    def side_effects(self, one: Tensor, other: Tensor) -> dict[str, object]:
        """Say what a call changes besides giving its result.

        Args:
            one: An input.
            other: An input of another shape, for a call in between.

        Returns:
            For each thing that could have changed, whether it did.
        """
        before = one.clone()
        state = _copy_state(self.module)
        generator = torch.get_rng_state()
        first = self(one).detach().clone()
        self(other)
        drawn = not torch.equal(generator, torch.get_rng_state())
        again = self(one).detach()
        same = first.shape == again.shape and torch.allclose(
            first, again, rtol=1e-5, atol=1e-6, equal_nan=True
        )
        is_changed = any(
            not torch.equal(old, new)
            for old, new in zip(state, _copy_state(self.module), strict=False)
        )
        return {
            "the input": "left alone" if torch.equal(before, one) else "changed",
            "the weights": "changed" if is_changed else "left alone",
            "a second call": "same result" if same else "another result",
            "random numbers": "drawn" if drawn else "none drawn",
        }


def _copy_state(module: Any) -> list[Tensor]:  # noqa: ANN401
    if not isinstance(module, nn.Module):
        return []
    return [tensor.detach().clone() for tensor in module.state_dict().values()]


def _tensor(function: Callable[..., Any], *args: Any) -> Tensor:  # noqa: ANN401
    with _theirs():
        result = function(*args)
        if not isinstance(result, Tensor):
            kind = "None" if result is None else f"a {type(result).__name__}"
            raise NoTensorError(kind)
    return result


class Make:
    """Builds the learner's component, with the reference's weights copied in.

    Args:
        component: What is checked.
        target: The learner's class or function.
        reading: How to take weights whose names say nothing.
    """

    def __init__(
        self, component: Component, target: Callable[..., Any], reading: Reading
    ) -> None:
        self.target = target
        self.names: dict[str, str] = {}  # the reference's, and the learner's
        self._component = component
        self._reading = reading
        self._undo: list[tuple[Tensor, Tensor]] = []

    def __call__(
        self,
        *args: Any,  # noqa: ANN401
        weights: Prepare | None = randomize,
        **kwargs: Any,  # noqa: ANN401
    ) -> Built:
        """Build an object of the learner's class, in eval mode.

        Args:
            *args: What to build it with.
            weights: Sets the weights, given an object of the reference's class. They
                are then copied. ``None`` leaves them as the learner's class makes them.
            **kwargs: What to build it with.

        Returns:
            The object.
        """
        wanted = self._component.reference_weights(weights, args, kwargs)
        initial = self._component.reference_weights(None, args, kwargs)
        with _theirs():
            module = self.target(*copy.deepcopy(args), **copy.deepcopy(kwargs))
        if not isinstance(module, nn.Module):
            return Built(module, {}, [], wanted)
        module.eval()
        usual = self._component.usual_names
        slots, surplus = match(module, initial, usual, self._reading)
        for name, slot in slots.items():
            tensor = slot.found.tensor
            if weights:
                # Undone in the end: it could belong to a module the learner still has.
                self._undo.append((tensor, tensor.detach().clone()))
                with torch.no_grad():
                    slot.value.copy_(wanted[name])
            self.names[name] = slot.found.name
        return Built(module, slots, surplus, wanted)

    def takes(self, argument: str) -> bool:
        """Tell whether the learner's class has an argument of this name."""
        try:
            return argument in inspect.signature(self.target).parameters
        except (TypeError, ValueError):
            return False

    def call(self, *args: Any) -> Tensor:  # noqa: ANN401
        """Call the learner's function; what it raises or returns is a finding."""
        return _tensor(self.target, *args)

    def ask(self, *args: Any) -> object:  # noqa: ANN401
        """Call the learner's function, which may return a number or a word."""
        with _theirs():
            return self.target(*args)

    def undo(self) -> None:
        """Put back the values of all weights that were overwritten."""
        with torch.no_grad():
            for tensor, values in reversed(self._undo):
                tensor.copy_(values)
        self._undo.clear()
