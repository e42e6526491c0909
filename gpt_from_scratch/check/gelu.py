"""What the check knows of ``GELU`` (4.3)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpt_from_scratch.check.component import Component
from gpt_from_scratch.check.make import Make
from gpt_from_scratch.check.weights import numbers
from gpt_from_scratch.feed_forward import GELU

GELU_COMPONENT = Component("GELU", GELU)

# Probes. In float64, so that even 0.0447 for 0.044715 shows.


@GELU_COMPONENT.probe("inputs -1, 1 and 3", rtol=1e-6, atol=1e-6)
def _inputs_1_1_and_3(make: Make) -> object:
    return make()(torch.tensor([-1.0, 1.0, 3.0], dtype=torch.float64))


@GELU_COMPONENT.probe("inputs -2.7 and 2.7", rtol=1e-6, atol=1e-6)
def _inputs_2_7_and_2_7(make: Make) -> object:
    """Where the exact GELU is the furthest away, by 0.000473."""
    return make()(torch.tensor([-2.7, 2.7], dtype=torch.float64))


@GELU_COMPONENT.probe("all inputs from -6 to 6", rtol=1e-6, atol=1e-6)
def _all_inputs_from_6_to_6(make: Make) -> object:
    return make()(torch.linspace(-6, 6, 481, dtype=torch.float64))


@GELU_COMPONENT.probe("zero")
def _zero(make: Make) -> object:
    return make()(torch.zeros(3))


@GELU_COMPONENT.probe("large inputs")
def _large_inputs(make: Make) -> object:
    return make()(torch.tensor([-10_000.0, -100.0, -10.0, 10.0, 100.0, 10_000.0]))


@GELU_COMPONENT.probe("inputs of other shapes")
def _inputs_of_other_shapes(make: Make) -> object:
    shapes = [(1,), (5,), (2, 5), (5, 1, 3), (2, 3, 4, 5)]
    gelu = make()
    return {f"shape {shape}": gelu(numbers(*shape, seed=1)) for shape in shapes}


@GELU_COMPONENT.probe("gradients", rtol=1e-4, atol=2e-5)
def _gradients(make: Make) -> object:
    return make().gradients(numbers(3, 40, seed=2, low=-5, high=5))


@GELU_COMPONENT.probe("type of the output")
def _type_of_the_output(make: Make) -> object:
    return str(make()(numbers(3, seed=3)).dtype)


@GELU_COMPONENT.probe("parameters")
def _parameters(make: Make) -> object:
    """There are none."""
    return {"all": make().parameters() or "none"}


@GELU_COMPONENT.probe("training mode")
def _training_mode(make: Make) -> object:
    gelu = make()
    gelu.train()
    x = numbers(2, 5, 4, seed=4)
    return {"first call": gelu(x), "second call": gelu(x + 1)}


@GELU_COMPONENT.probe("nothing else changes")
def _nothing_else_changes(make: Make) -> object:
    return make().side_effects(numbers(2, 5, seed=5), numbers(7, seed=6))


# Wrong versions: each another formula.


class _Formula(nn.Module):
    """Applies a function to every value."""

    formula: Callable[[Tensor], Tensor]

    def forward(self, x: Tensor) -> Tensor:
        return type(self).formula(x)


def _wrong(
    name: str, formula: Callable[[Tensor], Tensor], what: str, why: str, look_at: str
) -> None:
    wrong = type("_Formula", (_Formula,), {"formula": staticmethod(formula)})
    GELU_COMPONENT.mistake(name, what=what, why=why, look_at=look_at)(wrong)


ROOT = math.sqrt(2 / math.pi)


def _inner(x: Tensor) -> Tensor:
    return ROOT * (x + 0.044715 * x**3)


_wrong(
    "the exact GELU",
    F.gelu,
    what="x * Phi(x), with the error function, as nn.GELU() computes it",
    why="GPT-2 was trained with the tanh approximation. The two differ by at most "
    "0.000473, near 2.7 and -2.7.",
    look_at="the formula, or what nn.GELU or F.gelu is told besides x.",
)
_wrong(
    "the sigmoid approximation",
    lambda x: x * torch.sigmoid(1.702 * x),
    what="x * sigmoid(1.702 x)",
    why="It is the coarser of two approximations, off by up to 0.02. GPT-2 was trained "
    "with the other one.",
    look_at="which of the two approximations the formula is.",
)
_wrong(
    "SiLU",
    F.silu,
    what="x * sigmoid(x), which is also called swish",
    why="Its shape is alike, but it is 0.11 away from GELU at 1. GPT-2 uses GELU.",
    look_at="the formula.",
)
_wrong(
    "ReLU",
    torch.relu,
    what="negative values become 0, the others stay",
    why="It has a corner at 0 and no gradient below. GPT-2's weights were trained with "
    "GELU, which is 0.16 lower at 1.",
    look_at="the formula, for values below 0.",
)
_wrong(
    "leaky ReLU",
    F.leaky_relu,
    what="negative values become a hundredth, the others stay",
    why="GPT-2's weights were trained with GELU.",
    look_at="the formula.",
)
_wrong(
    "ELU",
    F.elu,
    what="negative values become exp(x) - 1",
    why="GPT-2's weights were trained with GELU, which comes back to 0 for negative "
    "values.",
    look_at="the formula.",
)
_wrong(
    "Mish",
    F.mish,
    what="x * tanh(softplus(x))",
    why="GPT-2's weights were trained with GELU.",
    look_at="the formula.",
)
_wrong(
    "softplus",
    F.softplus,
    what="log(1 + exp(x))",
    why="It is 0.69 at 0, where GELU is 0.",
    look_at="the formula.",
)
_wrong(
    "a bare tanh",
    torch.tanh,
    what="tanh of x itself",
    why="Its values never exceed 1, while GELU leaves large values as they are.",
    look_at="what the formula has besides tanh.",
)
_wrong(
    "a bare sigmoid",
    torch.sigmoid,
    what="the sigmoid of x",
    why="Its values lie between 0 and 1, while GELU leaves large values as they are.",
    look_at="the formula.",
)
_wrong(
    "a function that returns its input",
    lambda x: x.clone(),
    what="every value stays as it is",
    why="Without a curve between them, any number of linear layers is worth one.",
    look_at="what forward returns.",
)
_wrong(
    "a missing 0.5",
    lambda x: x * (1 + torch.tanh(_inner(x))),
    what="everything is twice too large",
    why="1 + tanh goes from 0 to 2; half of it goes from 0 to 1, as a chance does.",
    look_at="the factors before the bracket.",
)
_wrong(
    "a missing 1",
    lambda x: 0.5 * x * torch.tanh(_inner(x)),
    what="0.5 * x * tanh(...), without the 1 that is added to tanh",
    why="The values of tanh go from -1 to 1. Without the 1, negative values are not "
    "held back but turned around: the result is the same for x and -x.",
    look_at="what is added to tanh.",
)
_wrong(
    "a minus before tanh",
    lambda x: 0.5 * x * (1 - torch.tanh(_inner(x))),
    what="1 - tanh(...): positive values are held back, negative ones pass",
    why="It is GELU from the other side, and lets through what should be stopped.",
    look_at="the sign between 1 and tanh.",
)
_wrong(
    "a missing factor x",
    lambda x: 0.5 * (1 + torch.tanh(_inner(x))),
    what="the weight between 0 and 1 by which x should be multiplied",
    why="All values end between 0 and 1, and how large they were is lost.",
    look_at="the factors before the bracket.",
)
_wrong(
    "a missing cubic term",
    lambda x: 0.5 * x * (1 + torch.tanh(ROOT * x)),
    what="tanh is taken of sqrt(2 / pi) * x alone",
    why="The cubic term brings the curve to the exact GELU; without it, the result is "
    "off by up to 0.03.",
    look_at="what tanh is taken of.",
)
_wrong(
    "x squared in the cubic term's place",
    lambda x: 0.5 * x * (1 + torch.tanh(ROOT * (x + 0.044715 * x**2))),
    what="the power is 2",
    why="A square is never negative, so the two sides of 0 are treated differently.",
    look_at="the power.",
)
_wrong(
    "0.44715 in place of 0.044715",
    lambda x: 0.5 * x * (1 + torch.tanh(ROOT * (x + 0.44715 * x**3))),
    what="the factor of the cubic term is ten times too large",
    why="The result is off by 0.07 at 1.",
    look_at="the digits of the factor.",
)
_wrong(
    "0.0044715 in place of 0.044715",
    lambda x: 0.5 * x * (1 + torch.tanh(ROOT * (x + 0.0044715 * x**3))),
    what="the factor of the cubic term is ten times too small",
    why="The result is off by up to 0.03.",
    look_at="the digits of the factor.",
)
_wrong(
    "a cubic term without factor",
    lambda x: 0.5 * x * (1 + torch.tanh(ROOT * (x + x**3))),
    what="the power is not multiplied by 0.044715",
    why="The result is off by 0.12 at 1.",
    look_at="the factor before the power.",
)
_wrong(
    "a minus before the cubic term",
    lambda x: 0.5 * x * (1 + torch.tanh(ROOT * (x - 0.044715 * x**3))),
    what="the cubic term is subtracted",
    why="For large x, the result goes to 0: at 6 it is 0.02, and it should be 6.",
    look_at="the sign before 0.044715.",
)
_wrong(
    "a power of the whole sum",
    lambda x: 0.5 * x * (1 + torch.tanh(ROOT * (x + 0.044715) ** 3)),
    what="the sum of x and 0.044715 is taken to the power of 3",
    why="Near 0, the power is far smaller than x, and the curve is another.",
    look_at="the brackets around the power: only x belongs under it.",
)
_wrong(
    "a factor inside of the power",
    lambda x: 0.5 * x * (1 + torch.tanh(ROOT * (x + (0.044715 * x) ** 3))),
    what="0.044715 is taken to the power of 3 as well",
    why="The cubic term all but vanishes, and the result is off by up to 0.03.",
    look_at="the brackets around the power: only x belongs under it.",
)
_wrong(
    "a cubic term outside of the root's factor",
    lambda x: 0.5 * x * (1 + torch.tanh(ROOT * x + 0.044715 * x**3)),
    what="only x is multiplied by sqrt(2 / pi), the cubic term is not",
    why="The result is off by up to 0.006.",
    look_at="the brackets after the root.",
)
_wrong(
    "a missing sqrt(2 / pi)",
    lambda x: 0.5 * x * (1 + torch.tanh(x + 0.044715 * x**3)),
    what="tanh is taken of the sum without that factor",
    why="The curve is steeper, and the result off by 0.05 at 1.",
    look_at="what tanh is taken of.",
)
_wrong(
    "a missing root of 2 / pi",
    lambda x: 0.5 * x * (1 + torch.tanh(2 / math.pi * (x + 0.044715 * x**3))),
    what="the factor is 2 / pi = 0.637 and not its root, 0.798",
    why="The curve is less steep, and the result off by 0.05 at 1.",
    look_at="the factor before the bracket.",
)
_wrong(
    "sqrt(pi / 2)",
    lambda x: 0.5 * x * (1 + torch.tanh((x + 0.044715 * x**3) / ROOT)),
    what="the fraction under the root is upside down",
    why="The factor is 1.253 and not 0.798, so the curve is steeper.",
    look_at="the fraction under the root.",
)
_wrong(
    "sqrt(2) / pi",
    lambda x: 0.5 * x * (1 + torch.tanh(2**0.5 / math.pi * (x + 0.044715 * x**3))),
    what="the root is taken of 2 alone",
    why="The factor is 0.450 and not 0.798, so the curve is less steep.",
    look_at="what is under the root.",
)
_wrong(
    "2 / sqrt(pi)",
    lambda x: 0.5 * x * (1 + torch.tanh(2 / math.pi**0.5 * (x + 0.044715 * x**3))),
    what="the root is taken of pi alone",
    why="The factor is 1.128 and not 0.798, so the curve is steeper.",
    look_at="what is under the root.",
)
_wrong(
    "a square in place of the root",
    lambda x: 0.5 * x * (1 + torch.tanh((2 / math.pi) ** 2 * (x + 0.044715 * x**3))),
    what="the factor is (2 / pi) squared and not its root",
    why="The factor is 0.405 and not 0.798, so the curve is less steep.",
    look_at="the root: a power of 0.5, not of 2.",
)
_wrong(
    "a sigmoid in place of tanh",
    lambda x: 0.5 * x * (1 + torch.sigmoid(_inner(x))),
    what="1 + sigmoid goes from 1 to 2",
    why="Negative values are halved only, where GELU brings them back to 0.",
    look_at="the function around the bracket.",
)
_wrong(
    "tan in place of tanh",
    lambda x: 0.5 * x * (1 + torch.tan(_inner(x))),
    what="the tangent without h: it has no bounds, and jumps",
    why="The values of tanh stay between -1 and 1.",
    look_at="the name of the function.",
)
_wrong(
    "a bracket that is missing around 1 + tanh",
    lambda x: 0.5 * x * 1 + torch.tanh(_inner(x)),
    what="0.5 * x * 1 is computed first, then tanh is added to it",
    why="Multiplication comes before addition. The result is 1.18 at 1, not 0.84.",
    look_at="the brackets after 0.5 * x.",
)
_wrong(
    "a sum in place of the product",
    lambda x: 0.5 * x + (1 + torch.tanh(_inner(x))),
    what="0.5 * x is added to the bracket, not multiplied by it",
    why="The result is 1 at 0, where GELU is 0.",
    look_at="the sign between x and the bracket.",
)
_wrong(
    "a bracket that ends after x",
    lambda x: 0.5 * x * (1 + torch.tanh(ROOT * x) + 0.044715 * x**3),
    what="the cubic term is added after tanh, not inside of it",
    why="It grows without bounds: at 3 the result is 4.8, not 3.0.",
    look_at="where the bracket of tanh closes.",
)
_wrong(
    "Phi(x) without the factor x",
    lambda x: 0.5 * (1 + torch.erf(x / 2**0.5)),
    what="the chance that a normal draw is below x, not multiplied by x",
    why="All values end between 0 and 1, and how large they were is lost.",
    look_at="what the chance is multiplied by.",
)
_wrong(
    "an error function without the root of 2",
    lambda x: 0.5 * x * (1 + torch.erf(x)),
    what="erf is taken of x and not of x / sqrt(2)",
    why="The curve is steeper. And GPT-2 uses the approximation with tanh.",
    look_at="what erf is taken of.",
)
_wrong(
    "a gradient cut off at the input",
    lambda x: F.gelu(x.detach(), approximate="tanh"),
    what="x is detached, or the formula computed under no_grad",
    why="The result is right, but no gradient reaches the layers before: they are "
    "never trained.",
    look_at="detach, .data and no_grad.",
)
_wrong(
    "a gradient cut off at tanh",
    lambda x: 0.5 * x * (1 + torch.tanh(_inner(x)).detach()),
    what="the bracket is detached, or computed under no_grad",
    why="The result is right, its gradient is not: training goes another way.",
    look_at="detach, .data, .item() and no_grad.",
)


@GELU_COMPONENT.mistake(
    "a change of the input in place",
    what="x itself is overwritten",
    why="Whoever still needs x, such as a shortcut, gets another one. And backward() "
    "may fail.",
    look_at="operations with =, such as *=, and methods with an underscore.",
)
class _ChangeInputPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        weight = 0.5 * (1 + torch.tanh(_inner(x)))
        x *= weight
        return x


@GELU_COMPONENT.mistake(
    "a missing super().__init__()",
    what="__init__ does not set up what nn.Module needs",
    why="Before the __init__ of nn.Module has run, its objects cannot be called.",
    look_at="the first line of __init__.",
)
class _MissingSuperInit(_Formula):
    def __init__(self) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x * (1 + torch.tanh(_inner(x)))


@GELU_COMPONENT.mistake(
    "a forward without return",
    what="it gives None",
    why="The next layer gets nothing to work on.",
    look_at="the last line of forward.",
)
class _ForwardWithoutReturn(nn.Module):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[return]
        x = 0.5 * x * (1 + torch.tanh(_inner(x)))
