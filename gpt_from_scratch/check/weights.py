"""Give a learner's component the same weights as the reference, whatever their names.

A weight of the reference is looked for among the learner's: by its name, by another
name that is usual for it, by shape and initial value, by shape and order. Several of
one shape may also be stored as one (query, key and value in one matrix).
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, permutations

import torch
from torch import Tensor, nn

View = Callable[[Tensor], Tensor]


@lru_cache(maxsize=512)
def _draw(shape: tuple[int, ...], seed: int, low: float, high: float) -> Tensor:
    generator = random.Random(seed)  # its numbers are the same on every machine
    size = torch.Size(shape).numel()
    flat = [generator.uniform(low, high) for _ in range(size)]
    return torch.tensor(flat, dtype=torch.float64).reshape(shape)


def numbers(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0) -> Tensor:
    """Give random numbers that are the same on every machine, as float32.

    Args:
        *shape: The tensor's shape.
        seed: Another seed gives other numbers.
        low: The smallest number.
        high: The largest number.

    Returns:
        A new tensor, evenly distributed between the two.
    """
    return _draw(shape, seed, low, high).float()  # a copy


def randomize(module: nn.Module) -> None:
    """Give each parameter values far from 0 and 1, so that none goes unseen.

    Args:
        module: Its parameters are changed. A matrix's values are the smaller, the more
            of them are summed up.
    """
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters()):
            draw = numbers(*parameter.shape, seed=1000 + seed, low=-0.6, high=0.6)
            size = 1.5 / parameter.shape[1] ** 0.5 if parameter.ndim > 1 else 1.0
            parameter.copy_((draw + 0.2 * draw.sign()) * size)


@dataclass(frozen=True)
class Found:
    """A tensor of the learner's module that may stand for a weight of the reference."""

    name: str
    tensor: Tensor
    kind: str  # "trained", or how it is not
    is_linear: bool  # stored as nn.Linear and nn.Embedding do, (out, in)


@dataclass(frozen=True)
class Slot:
    """Where a weight of the reference is in the learner's module."""

    found: Found
    view: View | None  # gives the part that stands for the weight; None: all of it

    def part(self, tensor: Tensor) -> Tensor:
        """Cut from a tensor of the learner's shape what belongs to the weight."""
        return self.view(tensor) if self.view else tensor

    @property
    def value(self) -> Tensor:
        """The learner's numbers, in the reference's shape; writing changes them."""
        return self.part(self.found.tensor.detach())


@dataclass(frozen=True)
class Reading:
    """One way to take weights whose names say nothing; others are tried if it fails.

    Args:
        order: Which permutation of weights that have one shape.
        transposed: Whether matrices outside of ``nn.Linear`` are ``(in, out)``.
    """

    order: int = 0
    transposed: bool = False


READINGS = [Reading(order, flip) for flip in (False, True) for order in range(6)]


def find_weights(module: nn.Module) -> list[Found]:
    """List parameters, then buffers, then tensors that PyTorch does not know of.

    Args:
        module: The learner's module.

    Returns:
        What there is, in the order in which it was made. A parameter that is there
        twice is listed twice.
    """
    found = []
    for prefix, part in module.named_modules(remove_duplicate=False):
        is_linear = isinstance(part, (nn.Linear, nn.Embedding))
        for name, parameter in part.named_parameters(prefix, recurse=False):
            kind = "trained" if parameter.requires_grad else "not trained"
            found.append(Found(name, parameter, kind, is_linear))
    for name, buffer in module.named_buffers():
        if buffer.is_floating_point():
            found.append(Found(name, buffer, "a buffer", False))
    seen = {id(part) for part in module.modules()}
    for prefix, part in module.named_modules():
        for name, value in vars(part).items():
            if not name.startswith("_"):
                found += _unregistered(f"{prefix}.{name}".lstrip("."), value, seen)
    return found


def _unregistered(name: str, value: object, seen: set[int]) -> Iterator[Found]:
    """Look into plain tensors, and into plain lists and dicts that hold weights."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor) and value.is_floating_point():
        yield Found(name, value, "a plain tensor", False)
    elif isinstance(value, nn.Module):
        for inner, part in value.named_modules():
            is_linear = isinstance(part, (nn.Linear, nn.Embedding))
            for last, parameter in part.named_parameters(recurse=False):
                full = ".".join(filter(None, (name, inner, last)))
                yield Found(full, parameter, "in a plain list", is_linear)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _unregistered(f"{name}.{index}", item, seen)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _unregistered(f"{name}.{key}", item, seen)


def match(
    module: nn.Module,
    wanted: Mapping[str, Tensor],
    usual_names: Mapping[str, str],
    reading: Reading,
) -> tuple[dict[str, Slot], list[Found]]:
    """Find each weight of the reference in the learner's module.

    Args:
        module: The learner's module, as it was made.
        wanted: The reference's parameters as they were made, by name.
        usual_names: For other names that are usual, the reference's: of a part
            between two dots, such as ``{"gamma": "scale"}``.
        reading: How to take weights whose names say nothing.

    Returns:
        The slot for each weight that was found, by the reference's name, and the
        learner's parameters that stand for none.
    """
    free = find_weights(module)
    slots: dict[str, Slot] = {}

    def shape(found: Found) -> torch.Size:
        return Slot(found, _as_read(found, reading)).value.shape

    def take(name: str, found: Found, view: View | None = None) -> None:
        slots[name] = Slot(found, view or _as_read(found, reading))

    def usual(name: str) -> str:
        return ".".join(usual_names.get(part, part) for part in name.split("."))

    def constant(tensor: Tensor) -> float | None:
        first = tensor.flatten()[:1]
        return first.item() if bool((tensor == first).all()) else None

    def pass_over(fits: Callable[[str, Tensor, Found], bool]) -> None:
        for name, tensor in wanted.items():
            if name in slots:
                continue
            for found in free:
                if shape(found) == tensor.shape and fits(name, tensor, found):
                    take(name, found)
                    free.remove(found)
                    break

    pass_over(lambda name, _, found: found.name == name)
    pass_over(lambda name, _, found: usual(found.name) == name)
    pass_over(
        lambda _, tensor, found: (
            constant(tensor) is not None
            and constant(tensor) == constant(found.tensor.detach())
        )
    )
    left = {name: tensor for name, tensor in wanted.items() if name not in slots}
    for found in [f for f in free if shape(f) not in {t.shape for t in left.values()}]:
        for name, view in _pieces(found, left, reading):
            take(name, found, view)
            del left[name]
            free = [other for other in free if other is not found]
    for size in dict.fromkeys(tensor.shape for tensor in left.values()):
        names = [name for name, tensor in left.items() if tensor.shape == size]
        fitting = [found for found in free if shape(found) == size][: len(names)]
        orders = list(islice(permutations(fitting), 6))
        for name, found in zip(
            names, orders[min(reading.order, len(orders) - 1)], strict=False
        ):
            take(name, found)
        free = [found for found in free if found not in fitting]
    is_parameter = ("trained", "not trained")
    return slots, [found for found in free if found.kind in is_parameter]


def _as_read(found: Found, reading: Reading) -> View | None:
    if reading.transposed and not found.is_linear and found.tensor.ndim == 2:
        return lambda tensor: tensor.T
    return None


def _pieces(
    found: Found, left: Mapping[str, Tensor], reading: Reading
) -> Iterator[tuple[str, View]]:
    """Split a weight that holds several of the reference, one under the other."""
    for flip in (False, True):
        if found.tensor.ndim == 0 or (found.tensor.ndim != 2 and flip):
            return
        height, *rest = found.tensor.T.shape if flip else found.tensor.shape
        for first in left.values():
            if first.ndim == 0 or list(first.shape[1:]) != rest:
                continue
            names = [name for name in left if left[name].shape == first.shape]
            count, remainder = divmod(height, len(first))
            if remainder == 0 and 1 < count <= len(names):
                for index, name in enumerate(names[:count]):
                    yield name, _rows(index * len(first), len(first), flip)
                return


def _rows(start: int, count: int, flip: bool) -> View:
    return lambda tensor: (tensor.T if flip else tensor).narrow(0, start, count)
