"""Checks of the exercises of notebook 4.2."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gpt_from_scratch.check.component import Component
from gpt_from_scratch.check.engine import check
from gpt_from_scratch.check.layer_norm import LAYER_NORM
from gpt_from_scratch.check.make import Make
from gpt_from_scratch.check.number_exercise import NumberExercise
from gpt_from_scratch.check.report import Report
from gpt_from_scratch.check.weights import numbers

__all__ = ["find_axis", "rms_norm"]


# RMSNorm.


class _RMSNorm(nn.Module):
    def __init__(self, emb_dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.scale = nn.Parameter(torch.ones(emb_dim))

    def center(self, x: Tensor) -> Tensor:
        return x

    def mean_square(self, x: Tensor) -> Tensor:
        return x.pow(2).mean(dim=-1, keepdim=True)

    def divide(self, x: Tensor, mean_square: Tensor) -> Tensor:
        return x / torch.sqrt(mean_square + self.eps)

    def stretch(self, normalized: Tensor) -> Tensor:
        return self.scale * normalized

    def forward(self, x: Tensor) -> Tensor:
        x = self.center(x)
        return self.stretch(self.divide(x, self.mean_square(x)))


RMS_NORM = Component(
    "RMSNorm",
    _RMSNorm,
    usual_names=dict.fromkeys(("weight", "gamma", "g", "gain"), "scale"),
    is_exercise=True,
)


def rms_norm(learner: object) -> Report:
    """Check a normalization by the root mean square (exercise of 4.2).

    Args:
        learner: Your class, called as ``RMSNorm(emb_dim)``.

    Returns:
        What was found; see ``Report``.
    """
    return check(RMS_NORM, learner)


def neutral(norm: _RMSNorm) -> None:
    """Scale by 1, so that the normalized features come out."""
    nn.init.ones_(norm.scale)


@RMS_NORM.probe("features 1, 2, 3, 4")
def _features_1_2_3_4(make: Make) -> object:
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0], [30.0, 10.0, 20.0, 0.0]])
    return make(4, weights=neutral)(x)


@RMS_NORM.probe("mean square equal to eps")
def _mean_square_equal_to_eps(make: Make) -> object:
    """Then the result is 1 / sqrt(2): each wrong formula gives another."""
    a = 1e-5**0.5
    return make(4, weights=neutral)(torch.tensor([[a, -a, a, -a]]))


RMS_NORM.share(LAYER_NORM, "a token whose features are equal")


@RMS_NORM.probe("scale")
def _scale(make: Make) -> object:
    return make(5)(numbers(2, 5, seed=1))


RMS_NORM.share(LAYER_NORM, "parameters")


@RMS_NORM.probe("initial scale")
def _initial_scale(make: Make) -> object:
    return make(5, weights=None).initial()


@RMS_NORM.probe("as many tokens as features")
def _as_many_tokens_as_features(make: Make) -> object:
    return make(4)(numbers(4, 4, seed=2))


RMS_NORM.share(LAYER_NORM, "a batch of texts")


@RMS_NORM.probe("inputs of other shapes")
def _inputs_of_other_shapes(make: Make) -> object:
    shapes = [(1, 7), (3, 1, 7), (7, 7, 7), (2, 3, 5, 7)]
    norm = make(7)
    return {f"shape {shape}": norm(numbers(*shape, seed=4)) for shape in shapes}


RMS_NORM.share(
    LAYER_NORM,
    "other numbers of features",
    "another eps",
    "large and small features",
    "one token changed",
    "gradients",
    "training mode",
    "nothing else changes",
)


def _add(name: str, what: str, why: str, look_at: str, **steps: object) -> None:
    wrong = type("_Wrong", (_RMSNorm,), steps)
    RMS_NORM.mistake(name, what=what, why=why, look_at=look_at)(wrong)


FORMULA = "the formula, and what is under the root."
AXIS = "The features of a token would depend on other tokens."

_add(
    "a subtracted mean",
    "each token's mean is taken away first, as in LayerNorm",
    "That is the step which RMSNorm saves. A token of equal features 3 becomes 0, and "
    "not 1.",
    "what is done to x before the division.",
    center=lambda self, x: x - x.mean(dim=-1, keepdim=True),
)
_add(
    "a variance in the mean square's place",
    "the squared distances from the mean are averaged, not the squares",
    "For a token far from 0 the variance is much smaller than the mean square, and the "
    "result much too large.",
    FORMULA,
    mean_square=lambda self, x: x.var(dim=-1, keepdim=True, unbiased=False),
)
_add(
    "an unbiased variance in the mean square's place",
    "x.var(...) takes the mean away, and divides by n - 1",
    "RMSNorm averages the squares of the features themselves, and divides by n.",
    FORMULA,
    mean_square=lambda self, x: x.var(dim=-1, keepdim=True),
)
_add(
    "a squared mean",
    "the features are averaged first, and the mean is squared",
    "Positive and negative features cancel, and the result is far too large.",
    "which comes first, the square or the mean.",
    mean_square=lambda self, x: x.mean(dim=-1, keepdim=True) ** 2,
)
_add(
    "a mean of absolute values",
    "the features are averaged without their signs, and not squared",
    "Of 1, 2, 3 and 4 that is 2.5; the root of the mean square is 2.74.",
    FORMULA,
    divide=lambda self, x, _: x / (x.abs().mean(dim=-1, keepdim=True) + self.eps),
)
_add(
    "a sum of squares",
    "the squares are added up, and not divided by their number",
    "The more features a token has, the smaller each becomes: with 768 by a factor of "
    "27.7.",
    FORMULA,
    mean_square=lambda self, x: x.pow(2).sum(dim=-1, keepdim=True),
)
_add(
    "a mean square without eps",
    "nothing is added to it before the division",
    "A token of zeros becomes nan, and with it the loss and all parameters.",
    FORMULA,
    divide=lambda self, x, mean_square: x / torch.sqrt(mean_square),
)
_add(
    "eps added outside of the root",
    "eps is added to the root, not to the mean square",
    "For small features the results differ: at a mean square of 1e-5 by 41 %.",
    "the brackets of the root, and on which side of them eps is.",
    divide=lambda self, x, mean_square: x / (torch.sqrt(mean_square) + self.eps),
)
_add(
    "a division by the mean square",
    "the root is missing",
    "A token whose features are ten times larger comes out ten times smaller, and not "
    "the same.",
    FORMULA,
    divide=lambda self, x, mean_square: x / (mean_square + self.eps),
)
_add(
    "a multiplication by the root",
    "the features are multiplied where they are to be divided",
    "A token whose features are ten times larger comes out a hundred times larger.",
    "rsqrt is one over the root, sqrt the root itself.",
    divide=lambda self, x, mean_square: x * torch.sqrt(mean_square + self.eps),
)
_add(
    "an eps that is ignored",
    "another eps than the default changes nothing",
    "A model that was trained with another eps cannot be used.",
    "whether forward uses the eps that __init__ was given.",
    divide=lambda self, x, mean_square: x / torch.sqrt(mean_square + 1e-5),
)
for _dim in (0, 1, -2):
    _add(
        f"a mean over dim={_dim}",
        "the squares of other tokens are averaged, not those of one token",
        AXIS,
        "the dim of the mean.",
        mean_square=lambda self, x, dim=_dim: x.pow(2).mean(dim=dim, keepdim=True),
    )
_add(
    "one mean square for all",
    "all squares of the batch are averaged",
    AXIS,
    "whether the mean has a dim.",
    mean_square=lambda self, x: x.pow(2).mean(),
)
_add(
    "a missing keepdim",
    "the averaged dimension disappears, so the shapes do not line up",
    "It fails, or, with as many tokens as features, divides each feature by another "
    "token's root without a word.",
    "the call of mean.",
    mean_square=lambda self, x: x.pow(2).mean(dim=-1),
)
_add(
    "a scale that is not used",
    "the features are not multiplied by it",
    "The model cannot choose another scale, and the parameter never learns.",
    "what forward returns.",
    stretch=lambda self, normalized: normalized,
)
_add(
    "a scale that is added",
    "it is added where it is to be multiplied",
    "A scale of 1 should change nothing; here it moves every feature by 1.",
    "what forward returns.",
    stretch=lambda self, normalized: self.scale + normalized,
)


class _Changed(_RMSNorm):
    def __init__(self, emb_dim: int, eps: float = 1e-5) -> None:
        super().__init__(emb_dim, eps)
        self.change(emb_dim)

    def change(self, emb_dim: int) -> None:
        """Spoil what was made."""


@RMS_NORM.mistake(
    "a shift",
    what="a second parameter is there, and added to the result",
    why="RMSNorm has a scale only: half of LayerNorm's parameters.",
    look_at="the parameters that __init__ makes.",
)
class _Shift(_Changed):
    def change(self, emb_dim: int) -> None:
        self.shift = nn.Parameter(torch.zeros(emb_dim))

    def stretch(self, normalized: Tensor) -> Tensor:
        return self.scale * normalized + self.shift


@RMS_NORM.mistake(
    "a missing scale",
    what="the class has no parameter",
    why="The model cannot choose another scale for the layer that follows.",
    look_at="the parameters that __init__ makes.",
)
class _MissingScale(_Changed):
    def change(self, emb_dim: int) -> None:
        del self.scale

    def stretch(self, normalized: Tensor) -> Tensor:
        return normalized


@RMS_NORM.mistake(
    "a scale that starts at 0",
    what="all results are 0 before training",
    why="Nothing of the input gets through, and no gradient to what comes before.",
    look_at="the values that the scale is made with.",
)
class _ScaleOfZeros(_Changed):
    def change(self, emb_dim: int) -> None:
        nn.init.zeros_(self.scale)


@RMS_NORM.mistake(
    "a random scale",
    what="it starts with random numbers, not with 1",
    why="Before training, normalization is to change nothing but the size.",
    look_at="the values that the scale is made with.",
)
class _RandomScale(_Changed):
    def change(self, emb_dim: int) -> None:
        nn.init.normal_(self.scale)


@RMS_NORM.mistake(
    "one scale for all features",
    what="the scale is a single number",
    why="Each feature is to get a scale of its own.",
    look_at="the size of the scale.",
)
class _OneScale(_Changed):
    def change(self, emb_dim: int) -> None:
        self.scale = nn.Parameter(torch.ones(1))


@RMS_NORM.mistake(
    "a plain tensor in the parameter's place",
    what="the scale is a tensor that PyTorch does not know as a parameter",
    why="Training never changes it, because parameters() does not list it.",
    look_at="how __init__ makes the scale; 4.1 made a single weight so.",
)
class _PlainTensor(_Changed):
    def change(self, emb_dim: int) -> None:
        del self.scale
        self.scale = torch.ones(emb_dim)  # type: ignore[assignment]


@RMS_NORM.mistake(
    "a change of the input in place",
    what="x itself is divided",
    why="Whoever gave x still needs it: in 4.4 it is added to the result.",
    look_at="operations with an underscore at the end, and /= and *=.",
)
class _InPlace(_RMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        root = torch.sqrt(self.mean_square(x) + self.eps)
        with torch.no_grad():
            x /= root
        return self.scale * x


@RMS_NORM.mistake(
    "a gradient cut off at the mean square",
    what="it counts as a constant in training",
    why="The gradient does not know that a larger feature also makes its token's root "
    "larger.",
    look_at="detach, item, data and no_grad.",
)
class _CutOff(_RMSNorm):
    def mean_square(self, x: Tensor) -> Tensor:
        return super().mean_square(x).detach()


class _OtherDefault(_RMSNorm):
    default = 1e-6

    def __init__(self, emb_dim: int, eps: float | None = None) -> None:
        super().__init__(emb_dim, self.default if eps is None else eps)


for _default in (1e-6, 1e-8):
    RMS_NORM.mistake(
        f"an eps of {_default:g}",
        what="this is what is added to the mean square, if no other eps is given",
        why="The exercise asks for 0.00001. Tokens of small features come out of "
        "another size.",
        look_at="where eps gets its value in __init__.",
    )(type("_", (_OtherDefault,), {"default": _default}))


# Which axis leaks.

Norm = Callable[[Tensor], Tensor]


def _norm_over(axis: int) -> Norm:
    def norm(x: Tensor) -> Tensor:
        mean = x.mean(dim=axis, keepdim=True)
        variance = x.var(dim=axis, keepdim=True, unbiased=False)
        return (x - mean) / torch.sqrt(variance + 1e-5)

    return norm


def _find_axis(norm: Norm, x: Tensor) -> int:
    changed = x.clone()
    changed[0, -1, 0] += 1
    moved = (norm(changed) - norm(x)).abs() > 1e-6
    if moved[0, 0, 0]:
        return 1
    return 0 if moved[1, -1, 0] else 2


FIND_AXIS = Component("find_axis", _find_axis, is_exercise=True)


def find_axis(learner: object) -> Report:
    """Check a function that finds the axis of a normalization (exercise of 4.2).

    Args:
        learner: Your function, called as ``find_axis(norm, x)``.

    Returns:
        What was found; see ``Report``.
    """
    return check(FIND_AXIS, learner)


def _asked(make: Make, axis: int, *shape: int, seed: int = 0) -> object:
    answer = make.ask(_norm_over(axis), numbers(*shape, seed=seed))
    if isinstance(answer, Tensor) and answer.numel() == 1:
        answer = answer.item()
    if isinstance(answer, (int, float)) and not isinstance(answer, bool):
        return answer + 3 if -3 <= answer < 0 else answer  # -1 is the last, too
    return "None" if answer is None else f"a {type(answer).__name__}"


@FIND_AXIS.probe("a norm over the features")
def _a_norm_over_the_features(make: Make) -> object:
    return _asked(make, 2, 3, 4, 5)


@FIND_AXIS.probe("a norm over the tokens")
def _a_norm_over_the_tokens(make: Make) -> object:
    return _asked(make, 1, 3, 4, 5)


@FIND_AXIS.probe("a norm over the texts")
def _a_norm_over_the_texts(make: Make) -> object:
    return _asked(make, 0, 3, 4, 5)


@FIND_AXIS.probe("other sizes")
def _other_sizes(make: Make) -> object:
    return {
        f"axis {axis} of {shape}": _asked(make, axis, *shape, seed=5)
        for axis in range(3)
        for shape in [(4, 6, 3), (5, 3, 8), (4, 4, 4)]
    }


def _add_axis(name: str, what: str, why: str, look_at: str, *answers: int) -> None:
    """Add a version that answers so for the axes 0, 1 and 2."""

    def wrong(norm: Norm, x: Tensor) -> int:
        return answers[_find_axis(norm, x)]

    FIND_AXIS.mistake(name, what=what, why=why, look_at=look_at)(wrong)


_add_axis(
    "a comparison in which nothing moves",
    "the answer is 2 for every norm",
    "If x itself is changed, and not a copy, the norm of x is compared with itself.",
    "how the changed input is made, and whether x is still what it was.",
    2,
    2,
    2,
)
_add_axis(
    "a look at the changed token itself",
    "the answer is 1 for every norm",
    "The changed token moves with every norm. What leaks shows in the others.",
    "which places of the result are compared.",
    1,
    1,
    1,
)
_add_axis(
    "a look at the changed text itself",
    "the answer is 0 for every norm",
    "The changed text moves with every norm. What leaks shows in the others.",
    "which places of the result are compared.",
    0,
    0,
    0,
)
_add_axis(
    "an exchange of texts and tokens",
    "0 and 1 stand in each other's place",
    "A norm that leaks the future would be taken for one that mixes texts.",
    "the order of the axes: (B, T, emb_dim).",
    1,
    0,
    2,
)
_add_axis(
    "axes counted from 1",
    "each answer is larger by 1",
    "In PyTorch dim=0 is the first axis.",
    "what is returned.",
    1,
    2,
    3,
)
_add_axis(
    "axes counted from the back",
    "0 and 2 stand in each other's place",
    "In (B, T, emb_dim), the features are the last axis, 2 or -1.",
    "what is returned.",
    2,
    1,
    0,
)
_add_axis(
    "texts that are not looked at",
    "a norm over the texts is taken for one over the features",
    "If no other token of its own text moves, a token of another text may.",
    "whether a number of another text is compared.",
    2,
    1,
    2,
)
_add_axis(
    "tokens that are not looked at",
    "a norm over the tokens is taken for one over the features",
    "This is the one that leaks the future: an earlier token moves.",
    "whether an earlier token of the changed text is compared.",
    0,
    2,
    2,
)


EXERCISES = (RMS_NORM, FIND_AXIS)
NUMBER_EXERCISES: tuple[NumberExercise, ...] = ()
