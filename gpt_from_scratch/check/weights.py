"""Give a learner's component the same weights as the reference, whatever their names.

A weight of the reference is looked for among the learner's: by its name, by another
name that is usual for it, by shape and initial value, by shape and order. Several of
one shape may also be stored as one (query, key and value in one matrix), or one as
several (one for each attention head).
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, permutations
from typing import TypeVar

import torch
from torch import Tensor, nn

Item = TypeVar("Item")


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


@dataclass(frozen=True, eq=False)
class Found:
    """What may stand for a weight of the reference, in the learner's module.

    Args:
        name: Its name there.
        tensors: A tensor; or several of one shape, one for each attention head.
        kind: "trained", or how it is not.
        is_linear: Whether it is stored as nn.Linear and nn.Embedding do, (out, in).
    """

    name: str
    tensors: tuple[Tensor, ...]
    kind: str
    is_linear: bool

    @property
    def shape(self) -> torch.Size:
        """The tensor's shape; if there are several, as if they were stacked."""
        first = self.tensors[0].shape
        many = len(self.tensors)
        return first if many == 1 else torch.Size((many, *first))


@dataclass(frozen=True)
class Slot:
    """Where a weight of the reference is in the learner's module.

    Args:
        found: What holds it.
        index: Which of its numbers, in the reference's order and shape; ``None`` if it
            is the one tensor as it is.
    """

    found: Found
    index: Tensor | None = None

    def part(self, tensors: Sequence[Tensor]) -> Tensor:
        """Take from tensors like those found what belongs to the weight."""
        if self.index is None:
            return tensors[0]
        return torch.cat([tensor.flatten() for tensor in tensors])[self.index]

    @property
    def value(self) -> Tensor:
        """The learner's numbers, in the reference's shape."""
        return self.part([tensor.detach() for tensor in self.found.tensors])

    def write(self, values: Tensor) -> None:
        """Overwrite the learner's numbers."""
        if self.index is None:
            self.found.tensors[0].detach().copy_(values)
            return
        flat = torch.cat([tensor.detach().flatten() for tensor in self.found.tensors])
        flat[self.index] = values.to(flat)
        sizes = [tensor.numel() for tensor in self.found.tensors]
        parts = torch.split(flat, sizes)
        for tensor, part in zip(self.found.tensors, parts, strict=True):
            tensor.detach().copy_(part.view(tensor.shape))


@dataclass(frozen=True)
class Reading:
    """One way to take weights whose names say nothing; others are tried if it fails.

    Args:
        order: Which permutation of weights that have one shape.
        transposed: Whether matrices outside of ``nn.Linear`` are ``(in, out)``.
        layout: How queries, keys and values lie in one matrix: the order of which of
            the three (k), head (h) and number in the head (d).
    """

    order: int = 0
    transposed: bool = False
    layout: str = "khd"


READINGS = [Reading(order, flip) for flip in (False, True) for order in range(24)]
READINGS += [
    Reading(order, layout=layout)
    for layout in ("hkd", "hdk", "dhk", "dkh", "kdh")
    for order in range(6)
]
READINGS.sort(key=lambda reading: reading.order)  # the likely ones first
UNFUSED_READINGS = [reading for reading in READINGS if reading.layout == "khd"]


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
            found.append(Found(name, (parameter,), kind, is_linear))
    for name, buffer in module.named_buffers():
        if buffer.is_floating_point():
            found.append(Found(name, (buffer,), "a buffer", False))
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
        yield Found(name, (value,), "a plain tensor", False)
    elif isinstance(value, nn.Module):
        for inner, part in value.named_modules():
            is_linear = isinstance(part, (nn.Linear, nn.Embedding))
            for last, parameter in part.named_parameters(recurse=False):
                full = ".".join(filter(None, (name, inner, last)))
                yield Found(full, (parameter,), "in a plain list", is_linear)
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
    heads: int = 0,
) -> tuple[dict[str, Slot], list[Found]]:
    """Find each weight of the reference in the learner's module.

    Args:
        module: The learner's module, as it was made.
        wanted: The reference's parameters as they were made, by name.
        usual_names: For other names that are usual, the reference's: of a part
            between two dots, such as ``{"gamma": "scale"}``, or of the last two.
        reading: How to take weights whose names say nothing.
        heads: The number of attention heads, if there are any.

    Returns:
        The slot for each weight that was found, by the reference's name, and the
        learner's parameters that stand for none.
    """
    free = find_weights(module)
    slots: dict[str, Slot] = {}

    def usual(name: str) -> str:
        parts = ".".join(usual_names.get(part, part) for part in name.split("."))
        *front, last, own = ("", *parts.split("."))
        both = f"{last}.{own}".lstrip(".")
        return ".".join(filter(None, (*front, usual_names.get(both, both))))

    def constant(tensor: Tensor) -> float | None:
        first = tensor.flatten()[:1]
        return first.item() if bool((tensor == first).all()) else None

    def pass_over(fits: Callable[[str, Tensor, Slot], bool]) -> None:
        for name, tensor in wanted.items():
            if name in slots:
                continue
            for found in free:
                slot = _whole(found, tensor.shape, reading, heads)
                if slot and fits(name, tensor, slot):
                    slots[name] = slot
                    free.remove(found)
                    break

    def goes_with_its_weight(name: str, tensor: Tensor, slot: Slot) -> bool:
        front, _, last = name.rpartition(".")
        weight = slots.get(f"{front}.weight")
        return (
            last == "bias"
            and weight is not None
            and weight.found.name.endswith("weight")
            and slot.found.name == f"{weight.found.name[:-6]}bias"
        )

    pass_over(lambda name, _, slot: slot.found.name == name)
    pass_over(lambda name, _, slot: usual(slot.found.name) == name)
    pass_over(lambda name, _, slot: usual(slot.found.name).endswith(f".{name}"))
    pass_over(
        lambda _, tensor, slot: (
            constant(tensor) is not None and constant(tensor) == constant(slot.value)
        )
    )
    left = {name: tensor for name, tensor in wanted.items() if name not in slots}
    free = _with_heads_joined(free, left, reading, heads)
    pass_over(lambda name, _, slot: usual(slot.found.name).endswith(f".{name}"))
    left = {name: tensor for name, tensor in wanted.items() if name not in slots}
    for found in list(free):
        if any(_whole(found, t.shape, reading, heads) for t in left.values()):
            continue
        for piece, index in _pieces(found, left, reading, heads):
            slots[piece] = Slot(found, index)
            del left[piece]
            free = [other for other in free if other is not found]
    free = _reordered(free, list(left.values()), reading, heads)
    for size in dict.fromkeys(tensor.shape for tensor in left.values()):
        pass_over(goes_with_its_weight)
        names = [n for n, t in left.items() if t.shape == size and n not in slots]
        fitting = [_whole(found, size, reading, heads) for found in free]
        for own, slot in zip(names, [slot for slot in fitting if slot], strict=False):
            slots[own] = slot
            free.remove(slot.found)
    is_parameter = ("trained", "not trained")
    return slots, [found for found in free if found.kind in is_parameter]


def _reordered(
    free: list[Found], left: list[Tensor], reading: Reading, heads: int
) -> list[Found]:
    """Bring matrices whose names say nothing into the order of the reading.

    It is the same for all sizes with which the class is built, as the order is of all
    matrices, where they are few, whether their shapes are equal or not.
    """
    counts = {
        id(found): sum(
            1
            for tensor in left
            if tensor.ndim > 1 and _whole(found, tensor.shape, reading, heads)
        )
        for found in free
    }
    matrices = [found for found in free if counts[id(found)]]
    if len(matrices) > 4:
        matrices = [found for found in matrices if counts[id(found)] > 1]
    others = [found for found in free if found not in matrices]
    return [*_permuted(matrices, len(matrices), reading), *others]


def _permuted(items: list[Item], count: int, reading: Reading) -> tuple[Item, ...]:
    orders = list(islice(permutations(items, min(count, len(items))), 24))
    return orders[min(reading.order, len(orders) - 1)]


def _whole(
    found: Found, wanted: torch.Size, reading: Reading, heads: int
) -> Slot | None:
    """Take all of it for one weight, if the shape fits."""
    flip = reading.transposed and not found.is_linear and len(found.shape) == 2
    if found.shape == wanted and len(found.tensors) == 1 and not flip:
        return Slot(found)
    if found.shape.numel() != wanted.numel():
        return None
    own = torch.arange(wanted.numel()).view(found.shape)
    ways = [own.T if flip else own]
    if heads and own.ndim > 1 and own.shape[0] == heads:
        if own.ndim == 2 and len(wanted) == 1:
            ways.append(own.flatten())
        if own.ndim == 3:
            stacked = own.flatten(0, 1)
            by_head = [stacked, own.transpose(1, 2).flatten(0, 1), stacked.T]
            ways += by_head[::-1] if reading.transposed else by_head
    index = next((way for way in ways if way.shape == wanted), None)
    return None if index is None else Slot(found, index)


def _with_heads_joined(
    free: list[Found], left: Mapping[str, Tensor], reading: Reading, heads: int
) -> list[Found]:
    """Take weights that only differ by a number in their names for one of all heads."""
    groups: dict[tuple[str, torch.Size, str], list[Found]] = {}
    for found in free:
        fits = any(_whole(found, t.shape, reading, heads) for t in left.values())
        if heads > 1 and not fits:
            pattern = re.sub(r"(^|\.)\d+(?=\.|$)", r"\1*", found.name)
            groups.setdefault((pattern, found.shape, found.kind), []).append(found)
    joined = []
    for (name, _, kind), group in groups.items():
        for start in range(0, len(group) - heads + 1, heads):
            several = group[start : start + heads]
            tensors = tuple(found.tensors[0] for found in several)
            joined.append(Found(name, tensors, kind, several[0].is_linear))
            free = [found for found in free if found not in several]
    return free + joined


def _pieces(
    found: Found, left: Mapping[str, Tensor], reading: Reading, heads: int
) -> Iterator[tuple[str, Tensor]]:
    """Split a weight that holds several of the reference, one under the other."""
    if found.shape.numel() > sum(tensor.numel() for tensor in left.values()):
        return
    own = torch.arange(found.shape.numel()).view(found.shape)
    if own.ndim == 3:  # one for each head
        own = own.flatten(0, 1)
    for matrix in (own, own.T) if own.ndim == 2 else (own,):
        for first, tensor in left.items():
            if tensor.ndim == 0 or tensor.shape[1:] != matrix.shape[1:]:
                continue
            part_of = first.split(".")[:-2]
            names = [
                name
                for name in left
                if left[name].shape == tensor.shape and name.split(".")[:-2] == part_of
            ]
            count, rest = divmod(len(matrix), len(tensor))
            if rest or not 1 < count <= len(names):
                continue
            rows = _rows(count, len(tensor), reading, heads)
            if rows is not None:
                for name, row in zip(
                    _permuted(names, count, reading), rows, strict=True
                ):
                    yield name, matrix[row]
                return


def _rows(count: int, size: int, reading: Reading, heads: int) -> Tensor | None:
    """For each of the weights in one matrix, the numbers of its rows."""
    if reading.layout == "khd":
        return torch.arange(count * size).view(count, size)
    if not heads or size % heads:
        return None
    sizes = {"k": count, "h": heads, "d": size // heads}
    rows = torch.arange(count * size).view([sizes[axis] for axis in reading.layout])
    return rows.permute([reading.layout.index(axis) for axis in "khd"]).flatten(1)
