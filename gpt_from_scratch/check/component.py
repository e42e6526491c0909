"""What a check knows of one component: its probes, and the mistakes it can name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from gpt_from_scratch.check.compare import Difference, difference

if TYPE_CHECKING:
    from gpt_from_scratch.check.make import Make

Prepare = Callable[[Any], None]


@dataclass(frozen=True)
class Probe:
    """One question to a component.

    Args:
        name: What is asked, as a learner would say it.
        see: Asks it: takes a ``Make``, returns a tensor, number, word, or dict of such.
        rtol: How far numbers may differ, relative to the expected ones.
        atol: How far they may differ besides.
    """

    name: str
    see: Callable[[Make], object]
    rtol: float
    atol: float

    def compare(self, yours: object, expected: object) -> Difference | None:
        """Find the first difference between two answers."""
        return difference(yours, expected, self.rtol, self.atol)


@dataclass(frozen=True)
class Mistake:
    """A mistake that the check can name.

    Args:
        name: What "This looks like ..." ends with.
        what: What the code does, and the right one does not.
        why: Why it matters, with numbers.
        look_at: The place to look at; never the solution.
        wrong: A version of the component that makes it.
    """

    name: str
    what: str
    why: str
    look_at: str
    wrong: Callable[..., Any]


@dataclass
class Component:
    """What a check knows of one component; probes and mistakes are added below it.

    Args:
        name: The component's name, as the learner knows it.
        reference: The course's own version.
        usual_names: Other names that its weights often have, with the course's.
        heads: Gives the number of attention heads, from what a class is built with.
        parts: Its parts that are components too, by their names in the reference, in
            words; ``example`` is what to build it with, to look at them, and
            ``width`` the number of features per token then.
        probes: The questions, in the order in which they are reported.
        mistakes: The bank of wrong versions.
        is_exercise: Whether it is an exercise, which the package has not among its
            components.
        recordings: What the reference and the wrong versions answered.
    """

    name: str
    reference: Callable[..., Any]
    usual_names: Mapping[str, str] = field(default_factory=dict)
    heads: Callable[..., int] | None = None
    parts: Mapping[str, str] = field(default_factory=dict)
    example: tuple[Any, ...] = ()
    width: int = 0
    probes: list[Probe] = field(default_factory=list, repr=False)
    mistakes: list[Mistake] = field(default_factory=list, repr=False)
    is_exercise: bool = False
    recordings: dict[Any, Any] = field(default_factory=dict, repr=False)
    _weights: dict[object, dict[str, Tensor]] = field(default_factory=dict, repr=False)

    def probe(
        self, name: str, *, rtol: float = 1e-4, atol: float = 1e-5
    ) -> Callable[[Callable[[Make], object]], Callable[[Make], object]]:
        """Add the decorated function as a probe; see ``Probe``."""

        def add(see: Callable[[Make], object]) -> Callable[[Make], object]:
            self.probes.append(Probe(name, see, rtol, atol))
            return see

        return add

    def share(self, other: Component, *names: str) -> None:
        """Add probes of another component, which ask the same of this one."""
        by_name = {probe.name: probe for probe in other.probes}
        self.probes.extend(by_name[name] for name in names)

    def mistake(
        self, name: str, *, what: str, why: str, look_at: str
    ) -> Callable[[Any], Any]:
        """Add the decorated class or function as a wrong version; see ``Mistake``."""

        def add(wrong: Any) -> Any:  # noqa: ANN401
            self.mistakes.append(Mistake(name, what, why, look_at, wrong))
            return wrong

        return add

    def reference_weights(
        self, prepare: Prepare | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> dict[str, Tensor]:
        """Give the reference's parameters, by name, as ``prepare`` leaves them."""
        key = (prepare, repr(args), repr(kwargs))
        if key not in self._weights:
            module = self.reference(*args, **kwargs)
            if prepare:
                prepare(module)
            self._weights[key] = {
                name: parameter.detach()
                for name, parameter in module.named_parameters()
            }
        return self._weights[key]
