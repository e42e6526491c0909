"""What the check knows of ``LayerNorm`` (4.2)."""

import torch
from torch import Tensor, nn

from gpt_from_scratch.check.compare import NOT_ASKED
from gpt_from_scratch.check.component import Component
from gpt_from_scratch.check.make import Make
from gpt_from_scratch.check.weights import numbers
from gpt_from_scratch.layer_normalization import LayerNorm

LAYER_NORM = Component(
    "LayerNorm",
    LayerNorm,
    usual_names={
        **dict.fromkeys(
            ("gamma", "weight", "g", "gain", "scales", "a", "a_2"), "scale"
        ),
        **dict.fromkeys(("beta", "bias", "b", "offset", "shifts", "b_2"), "shift"),
    },
)


def neutral(norm: LayerNorm) -> None:
    """Scale by 1 and shift by 0, so that the normalized features come out."""
    nn.init.ones_(norm.scale)
    nn.init.zeros_(norm.shift)


# Probes: first those whose numbers can be worked out on paper.


@LAYER_NORM.probe("variance equal to eps")
def _variance_equal_to_eps(make: Make) -> object:
    """With v = eps the result is 1 / sqrt(2): each wrong formula gives another."""
    a = 1e-5**0.5
    return make(4, weights=neutral)(torch.tensor([[a, -a, a, -a]]))


@LAYER_NORM.probe("features 1, 2, 3, 4")
def _features_1_2_3_4(make: Make) -> object:
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0], [30.0, 10.0, 20.0, 0.0]])
    return make(4, weights=neutral)(x)


@LAYER_NORM.probe("a token whose features are equal")
def _a_token_whose_features_are_equal(make: Make) -> object:
    return make(4)(torch.tensor([[3.0, 3.0, 3.0, 3.0], [0.0, 0.0, 0.0, 0.0]]))


@LAYER_NORM.probe("scale and shift")
def _scale_and_shift(make: Make) -> object:
    return make(5)(numbers(2, 5, seed=1))


@LAYER_NORM.probe("parameters")
def _parameters(make: Make) -> object:
    return make(5).parameters()


@LAYER_NORM.probe("initial scale and shift")
def _initial_scale_and_shift(make: Make) -> object:
    return make(5, weights=None).initial()


@LAYER_NORM.probe("as many tokens as features")
def _as_many_tokens_as_features(make: Make) -> object:
    """Where a missing keepdim goes unseen, and so does a wrong dim."""
    return make(4)(numbers(4, 4, seed=2))


@LAYER_NORM.probe("a batch of texts")
def _a_batch_of_texts(make: Make) -> object:
    return make(4)(numbers(2, 5, 4, seed=3))


@LAYER_NORM.probe("inputs of other shapes")
def _inputs_of_other_shapes(make: Make) -> object:
    shapes = [(7,), (1, 7), (3, 1, 7), (7, 7, 7), (2, 3, 5, 7)]
    norm = make(7)
    return {f"shape {shape}": norm(numbers(*shape, seed=4)) for shape in shapes}


@LAYER_NORM.probe("other numbers of features", rtol=1e-3, atol=1e-3)
def _other_numbers_of_features(make: Make) -> object:
    return {
        f"{size} features": make(size)(numbers(2, 3, size, seed=size))
        for size in (1, 2, 3, 12, 96)
    }


@LAYER_NORM.probe("another eps")
def _another_eps(make: Make) -> object:
    if not make.takes("eps"):
        return NOT_ASKED
    x = torch.tensor([[1.0, -1.0, 1.0, -1.0], [0.5, 0.0, 0.0, 0.0]])
    return make(4, eps=1.0)(x)


@LAYER_NORM.probe("large and small features", rtol=1e-3, atol=1e-3)
def _large_and_small_features(make: Make) -> object:
    x = numbers(3, 6, seed=5)
    norm = make(6)
    return {
        "features around 30": norm(x + 30),
        "features of a million": norm(1e6 * x),
        "features of a thousandth": norm(1e-3 * x),
    }


@LAYER_NORM.probe("one feature far from the others")
def _one_feature_far_from_the_others(make: Make) -> object:
    x = numbers(2, 200, seed=13)
    x[0, 7], x[1, 9] = 1000.0, -1000.0
    return make(200)(x)


@LAYER_NORM.probe("one token changed")
def _one_token_changed(make: Make) -> object:
    """No other token's result may move."""
    x = numbers(2, 5, 4, seed=6)
    changed = x.clone()
    changed[1, 3] += torch.tensor([5.0, -1.0, 0.0, 2.0])
    norm = make(4)
    moved = (norm(changed) - norm(x)).abs().amax(dim=-1) > 1e-6  # (2, 5)
    return {
        f"text {text}, token {token}": "moves" if moved[text, token] else "stays"
        for text in range(2)
        for token in range(5)
    }


@LAYER_NORM.probe("gradients", atol=1e-4)
def _gradients(make: Make) -> object:
    return make(4).gradients(numbers(2, 5, 4, seed=7))


@LAYER_NORM.probe("training mode")
def _training_mode(make: Make) -> object:
    norm = make(4)
    norm.train()
    x = numbers(2, 5, 4, seed=8)
    return {"first call": norm(x), "second call": norm(x + 1)}


@LAYER_NORM.probe("nothing else changes")
def _nothing_else_changes(make: Make) -> object:
    return make(4).side_effects(numbers(2, 5, 4, seed=9), numbers(1, 3, 4, seed=10))


@LAYER_NORM.probe("an input of many random features")
def _an_input_of_many_random_features(make: Make) -> object:
    x = torch.cat(
        [numbers(40, 9, seed=11), numbers(40, 9, seed=12, low=-0.02, high=0.01)]
    )
    return make(9)(x)


# Wrong versions: each replaces a step of the plain one.


class _Plain(nn.Module):
    def __init__(self, emb_dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.scale = nn.Parameter(torch.ones(emb_dim))
        self.shift = nn.Parameter(torch.zeros(emb_dim))

    def center(self, x: Tensor) -> Tensor:
        return x - x.mean(dim=-1, keepdim=True)

    def variance(self, x: Tensor) -> Tensor:
        return x.var(dim=-1, keepdim=True, unbiased=False)

    def divide(self, centered: Tensor, variance: Tensor) -> Tensor:
        return centered / torch.sqrt(variance + self.eps)

    def affine(self, normalized: Tensor) -> Tensor:
        return self.scale * normalized + self.shift

    def forward(self, x: Tensor) -> Tensor:
        return self.affine(self.divide(self.center(x), self.variance(x)))


@LAYER_NORM.mistake(
    "an unbiased variance",
    what="x.var(...) divides by n - 1",
    why="GPT-2 divides by n. With 768 features the results differ by 0.065 %: too "
    "little to notice, but its trained weights were made for the other.",
    look_at="the call of var (or std), and what it takes besides dim and keepdim.",
)
class _UnbiasedVariance(_Plain):
    def variance(self, x: Tensor) -> Tensor:
        return x.var(dim=-1, keepdim=True)


@LAYER_NORM.mistake(
    "a variance without eps",
    what="nothing is added to the variance before the division",
    why="A token whose features are all equal has variance 0, and 0 / 0 is nan. One "
    "nan makes the loss nan, and after one step all parameters.",
    look_at="what is under the root.",
)
class _VarianceWithoutEps(_Plain):
    def divide(self, centered: Tensor, variance: Tensor) -> Tensor:
        return centered / torch.sqrt(variance)


@LAYER_NORM.mistake(
    "eps added outside of the root",
    what="eps is added to the standard deviation, not to the variance",
    why="For a small variance v, sqrt(v) + eps is far from sqrt(v + eps): at v = 1e-5 "
    "the results differ by 41 %.",
    look_at="the brackets of the root, and on which side of them eps is.",
)
class _EpsAddedOutsideRoot(_Plain):
    def divide(self, centered: Tensor, variance: Tensor) -> Tensor:
        return centered / (torch.sqrt(variance) + self.eps)


@LAYER_NORM.mistake(
    "an unbiased standard deviation with eps outside",
    what="x.std(...) divides by n - 1, and eps is added after the root",
    why="GPT-2 divides by n and adds eps to the variance. For a small variance, the "
    "results differ by 22 % with four features.",
    look_at="the call of std; the formula has the variance, and eps beside it.",
)
class _UnbiasedStandardDeviationEpsOutside(_Plain):
    def divide(self, centered: Tensor, variance: Tensor) -> Tensor:
        return centered / (centered.std(dim=-1, keepdim=True) + self.eps)


class _OtherDefault(_Plain):
    default = 1e-6

    def __init__(self, emb_dim: int, eps: float | None = None) -> None:
        super().__init__(emb_dim, self.default if eps is None else eps)


for _default in (1e-6, 1e-8, 1e-12, 1e-4, 1e-3):
    LAYER_NORM.mistake(
        f"an eps of {_default:g}",
        what="this is what is added to the variance, if no other eps is given",
        why="GPT-2 was trained with 0.00001. A token of small variance comes out of "
        "another size with another eps.",
        look_at="where eps gets its value in __init__.",
    )(type("_", (_OtherDefault,), {"default": _default}))


@LAYER_NORM.mistake(
    "an eps that is ignored",
    what="0.00001 is added, whatever eps is given",
    why="The argument has no effect: a model that asks for another eps gets this one.",
    look_at="where eps goes after __init__ has got it.",
)
class _EpsIgnored(_Plain):
    def __init__(self, emb_dim: int, eps: float = 1e-5) -> None:
        super().__init__(emb_dim)


@LAYER_NORM.mistake(
    "a division by the variance",
    what="the root is missing",
    why="The result has variance 1 / v and not 1: what is spread widely comes out "
    "tiny, and what is small comes out huge.",
    look_at="what the features are divided by.",
)
class _DivisionByVariance(_Plain):
    def divide(self, centered: Tensor, variance: Tensor) -> Tensor:
        return centered / (variance + self.eps)


@LAYER_NORM.mistake(
    "a multiplication by the standard deviation",
    what="the features are multiplied by the root, not divided by it",
    why="Differences in size between tokens grow instead of vanishing.",
    look_at="the sign between the features and the root.",
)
class _MultiplicationByStandardDeviation(_Plain):
    def divide(self, centered: Tensor, variance: Tensor) -> Tensor:
        return centered * torch.sqrt(variance + self.eps)


@LAYER_NORM.mistake(
    "centring without division",
    what="the mean is subtracted, and nothing divided by the standard deviation",
    why="The tokens keep their sizes. In a deep network they grow or shrink from layer "
    "to layer, which normalization is to stop.",
    look_at="what follows after the subtraction of the mean.",
)
class _CentringWithoutDivision(_Plain):
    def divide(self, centered: Tensor, variance: Tensor) -> Tensor:
        return centered


@LAYER_NORM.mistake(
    "a subtraction of the variance",
    what="the mean's place is taken by the variance",
    why="The result has no longer mean 0.",
    look_at="what is subtracted from x.",
)
class _SubtractionVariance(_Plain):
    def center(self, x: Tensor) -> Tensor:
        return x - self.variance(x)


@LAYER_NORM.mistake(
    "a division without centring",
    what="the mean is not subtracted before the division by the standard deviation",
    why="The result does not have mean 0. (RMSNorm leaves the mean out too, and GPT-2 "
    "does not use it.)",
    look_at="what is divided by the root.",
)
class _DivisionWithoutCentring(_Plain):
    def center(self, x: Tensor) -> Tensor:
        return x


@LAYER_NORM.mistake(
    "RMSNorm",
    what="features are divided by the root of their mean square, no mean is subtracted",
    why="Llama uses it, GPT-2 does not: its weights expect features of mean 0.",
    look_at="the mean: it is used twice, in the variance and before the division.",
)
class _RMSNorm(_Plain):
    def center(self, x: Tensor) -> Tensor:
        return x

    def variance(self, x: Tensor) -> Tensor:
        return x.pow(2).mean(dim=-1, keepdim=True)


@LAYER_NORM.mistake(
    "a mean square in the variance's place",
    what="x is squared before the mean is subtracted from it",
    why="The mean square is the variance plus the squared mean: tokens that lie far "
    "from 0 come out too small.",
    look_at="how the variance is computed: of x, or of the distances from the mean?",
)
class _MeanSquareVarianceSPlace(_Plain):
    def variance(self, x: Tensor) -> Tensor:
        return x.pow(2).mean(dim=-1, keepdim=True)


@LAYER_NORM.mistake(
    "a mean distance in the variance's place",
    what="absolute distances from the mean are averaged, not squared ones",
    why="The result does not have variance 1.",
    look_at="how the variance is computed.",
)
class _MeanDistanceVarianceSPlace(_Plain):
    def variance(self, x: Tensor) -> Tensor:
        return self.center(x).abs().mean(dim=-1, keepdim=True)


@LAYER_NORM.mistake(
    "a sum in the variance's place",
    what="squared distances are added up and not divided by their number",
    why="The result's variance is 1 / n and not 1: with 768 features, each is 28 times "
    "too small.",
    look_at="how the variance is computed.",
)
class _SumVarianceSPlace(_Plain):
    def variance(self, x: Tensor) -> Tensor:
        return self.center(x).pow(2).sum(dim=-1, keepdim=True)


@LAYER_NORM.mistake(
    "a median in the mean's place",
    what="the median is subtracted",
    why="The result does not have mean 0.",
    look_at="what is subtracted from x.",
)
class _MedianMeanSPlace(_Plain):
    def center(self, x: Tensor) -> Tensor:
        return x - x.median(dim=-1, keepdim=True).values


class _OverDims(_Plain):
    @staticmethod
    def dims(x: Tensor) -> tuple[int, ...]:
        raise NotImplementedError

    def center(self, x: Tensor) -> Tensor:
        return x - x.mean(dim=self.dims(x), keepdim=True)

    def variance(self, x: Tensor) -> Tensor:
        return x.var(dim=self.dims(x), keepdim=True, unbiased=False)


@LAYER_NORM.mistake(
    "a normalization over dim=0",
    what="mean and variance are taken over the texts of the batch",
    why="A token's result depends on the other texts that happen to be in the batch.",
    look_at="dim, in mean and in var: which dimension holds a token's features?",
)
class _NormalizationOverDim0(_OverDims):
    @staticmethod
    def dims(x: Tensor) -> tuple[int, ...]:
        return (0,)


@LAYER_NORM.mistake(
    "a normalization over dim=1",
    what="in a batch (texts, tokens, features), that is over the tokens of a text",
    why="A token's result depends on the tokens after it: the model sees the future "
    "that it is to predict.",
    look_at="dim, in mean and in var: which dimension holds a token's features?",
)
class _NormalizationOverDim1(_OverDims):
    @staticmethod
    def dims(x: Tensor) -> tuple[int, ...]:
        return (1,)


@LAYER_NORM.mistake(
    "a normalization over dim=-2",
    what="mean and variance are taken over the tokens of a text",
    why="A token's result depends on the tokens after it: the model sees the future "
    "that it is to predict.",
    look_at="dim, in mean and in var: which dimension holds a token's features?",
)
class _NormalizationOverDim2(_OverDims):
    @staticmethod
    def dims(x: Tensor) -> tuple[int, ...]:
        return (-2,)


@LAYER_NORM.mistake(
    "one mean and one variance for all",
    what="both are taken over all dimensions at once",
    why="A token's result depends on all other tokens, those of other texts too.",
    look_at="dim, in mean and in var.",
)
class _OneMeanOneVarianceAll(_OverDims):
    @staticmethod
    def dims(x: Tensor) -> tuple[int, ...]:
        return tuple(range(x.ndim))


@LAYER_NORM.mistake(
    "one mean and one variance for each text",
    what="both are taken over all dimensions but the first",
    why="A token's result depends on the tokens after it.",
    look_at="dim, in mean and in var.",
)
class _OneMeanOneVarianceEachText(_OverDims):
    @staticmethod
    def dims(x: Tensor) -> tuple[int, ...]:
        return tuple(range(1, x.ndim)) or (0,)


@LAYER_NORM.mistake(
    "a missing keepdim in mean and var",
    what="mean and variance lose the last dimension, so they are subtracted from the "
    "features in place of the tokens",
    why="With as many tokens as features the shapes fit, and each column gets a mean "
    "that belongs to a row. With other numbers, PyTorch reports an error.",
    look_at="the calls of mean and var.",
)
class _MissingKeepdimMeanVar(_Plain):
    def center(self, x: Tensor) -> Tensor:
        return x - x.mean(dim=-1)

    def variance(self, x: Tensor) -> Tensor:
        return x.var(dim=-1, unbiased=False)


@LAYER_NORM.mistake(
    "a missing keepdim in mean",
    what="the mean loses the last dimension, so it is subtracted from the features in "
    "place of the tokens",
    why="With as many tokens as features the shapes fit, and each column gets a mean "
    "that belongs to a row. With other numbers, PyTorch reports an error.",
    look_at="the call of mean.",
)
class _MissingKeepdimMean(_Plain):
    def center(self, x: Tensor) -> Tensor:
        return x - x.mean(dim=-1)


@LAYER_NORM.mistake(
    "a missing keepdim in var",
    what="the variance loses the last dimension, so that it belongs to the features in "
    "place of the tokens",
    why="With as many tokens as features the shapes fit, and each column is divided by "
    "what belongs to a row. With other numbers, PyTorch reports an error.",
    look_at="the call of var.",
)
class _MissingKeepdimVar(_Plain):
    def variance(self, x: Tensor) -> Tensor:
        return x.var(dim=-1, unbiased=False)


@LAYER_NORM.mistake(
    "a result without scale and shift",
    what="the parameters are there, but forward does not use them",
    why="They get no gradient, so the model cannot choose another scale and shift.",
    look_at="what forward returns.",
)
class _ResultWithoutScaleShift(_Plain):
    def affine(self, normalized: Tensor) -> Tensor:
        return normalized


@LAYER_NORM.mistake(
    "a class without scale and shift",
    what="it has no parameters",
    why="The model cannot choose another scale and shift for a feature, and GPT-2's "
    "trained ones have no place to go.",
    look_at="what __init__ makes.",
)
class _ClassWithoutScaleShift(_Plain):
    def __init__(self, emb_dim: int, eps: float = 1e-5) -> None:
        super().__init__(emb_dim, eps)
        del self.scale, self.shift

    def affine(self, normalized: Tensor) -> Tensor:
        return normalized


@LAYER_NORM.mistake(
    "a scale that is not used",
    what="the shift is added, but nothing is multiplied by the scale",
    why="The scale gets no gradient and stays as it is.",
    look_at="what forward returns.",
)
class _ScaleNotUsed(_Plain):
    def affine(self, normalized: Tensor) -> Tensor:
        return normalized + self.shift


@LAYER_NORM.mistake(
    "a shift that is not used",
    what="the scale is applied, but no shift is added",
    why="The shift gets no gradient and stays as it is.",
    look_at="what forward returns.",
)
class _ShiftNotUsed(_Plain):
    def affine(self, normalized: Tensor) -> Tensor:
        return self.scale * normalized


@LAYER_NORM.mistake(
    "a missing shift",
    what="there is a scale, but no parameter for the shift",
    why="The model cannot move a feature's mean, and GPT-2's trained shifts have no "
    "place to go.",
    look_at="what __init__ makes, and what forward adds.",
)
class _MissingShift(_Plain):
    def __init__(self, emb_dim: int, eps: float = 1e-5) -> None:
        super().__init__(emb_dim, eps)
        del self.shift

    def affine(self, normalized: Tensor) -> Tensor:
        return self.scale * normalized


@LAYER_NORM.mistake(
    "a missing scale",
    what="there is a shift, but no parameter for the scale",
    why="The model cannot choose how widely a feature spreads, and GPT-2's trained "
    "scales have no place to go.",
    look_at="what __init__ makes, and what forward multiplies by.",
)
class _MissingScale(_Plain):
    def __init__(self, emb_dim: int, eps: float = 1e-5) -> None:
        super().__init__(emb_dim, eps)
        del self.scale

    def affine(self, normalized: Tensor) -> Tensor:
        return normalized + self.shift


@LAYER_NORM.mistake(
    "a shift added before scaling",
    what="the sum is multiplied by the scale, so the shift is too",
    why="With the same parameters the result is another: GPT-2's trained ones do not "
    "fit.",
    look_at="the brackets of what forward returns.",
)
class _ShiftAddedBeforeScaling(_Plain):
    def affine(self, normalized: Tensor) -> Tensor:
        return self.scale * (normalized + self.shift)


@LAYER_NORM.mistake(
    "scale and shift in each other's place",
    what="the shift is multiplied by, and the scale added",
    why="Shifts start at 0, so that at first every token becomes the same.",
    look_at="what forward returns.",
)
class _ScaleShiftEachOtherSPlace(_Plain):
    def affine(self, normalized: Tensor) -> Tensor:
        return self.shift * normalized + self.scale


@LAYER_NORM.mistake(
    "a shift that is subtracted",
    what="the sign before the shift is a minus",
    why="Training could live with it, but GPT-2's trained shifts go the wrong way.",
    look_at="what forward returns.",
)
class _ShiftSubtracted(_Plain):
    def affine(self, normalized: Tensor) -> Tensor:
        return self.scale * normalized - self.shift


class _OtherStart(_Plain):
    def __init__(self, emb_dim: int, eps: float = 1e-5) -> None:
        super().__init__(emb_dim, eps)
        self.start()

    def start(self) -> None:
        raise NotImplementedError


@LAYER_NORM.mistake(
    "a scale that starts at 0",
    what="everything is multiplied by 0 at first",
    why="Before training, every token comes out the same, and no gradient gets through "
    "to the layers before.",
    look_at="the values that __init__ gives the scale.",
)
class _ScaleStartsAt0(_OtherStart):
    def start(self) -> None:
        nn.init.zeros_(self.scale)


@LAYER_NORM.mistake(
    "a shift that starts at 1",
    what="1 is added to every feature at first",
    why="Before training, the results have mean 1 and not 0.",
    look_at="the values that __init__ gives the shift.",
)
class _ShiftStartsAt1(_OtherStart):
    def start(self) -> None:
        nn.init.ones_(self.shift)


@LAYER_NORM.mistake(
    "a scale that starts at 0 with a shift that starts at 1",
    what="the two initial values are in each other's place",
    why="Before training, every token comes out as ones.",
    look_at="the values that __init__ gives scale and shift.",
)
class _ScaleStartsAt0ShiftStartsAt1(_OtherStart):
    def start(self) -> None:
        nn.init.zeros_(self.scale)
        nn.init.ones_(self.shift)


@LAYER_NORM.mistake(
    "plain tensors in the parameters' place",
    what="scale and shift are tensors that PyTorch does not know as parameters",
    why="An optimizer does not see them, they are not saved with the model, and do not "
    "move to the GPU with it.",
    look_at="how __init__ makes scale and shift.",
)
class _PlainTensorsParametersPlace(_Plain):
    def __init__(self, emb_dim: int, eps: float = 1e-5) -> None:
        super().__init__(emb_dim, eps)
        del self.scale, self.shift
        self.scale = torch.ones(emb_dim)  # type: ignore[assignment]
        self.shift = torch.zeros(emb_dim)  # type: ignore[assignment]


@LAYER_NORM.mistake(
    "buffers in the parameters' place",
    what="scale and shift are saved with the model, but are no parameters",
    why="Training does not change them.",
    look_at="how __init__ makes scale and shift.",
)
class _BuffersParametersPlace(_Plain):
    def __init__(self, emb_dim: int, eps: float = 1e-5) -> None:
        super().__init__(emb_dim, eps)
        del self.scale, self.shift
        self.register_buffer("scale", torch.ones(emb_dim))
        self.register_buffer("shift", torch.zeros(emb_dim))


@LAYER_NORM.mistake(
    "parameters that are not trained",
    what="scale and shift have requires_grad=False",
    why="Training does not change them.",
    look_at="how __init__ makes scale and shift.",
)
class _ParametersAreNotTrained(_OtherStart):
    def start(self) -> None:
        self.requires_grad_(False)


class _OneNumber(_Plain):
    def __init__(self, emb_dim: int, eps: float = 1e-5) -> None:
        super().__init__(1, eps)


LAYER_NORM.mistake(
    "one scale and one shift for all features",
    what="the parameters hold one number each",
    why="Each feature has its own in GPT-2: 768 scales and 768 shifts.",
    look_at="the shapes of scale and shift in __init__.",
)(_OneNumber)


@LAYER_NORM.mistake(
    "a change of the input in place",
    what="x itself is overwritten by the result",
    why="In a block, the shortcut adds the input afterwards, and gets the normalized "
    "one. And backward() may fail.",
    look_at="operations with =, such as -= and /=, and methods with an underscore.",
)
class _ChangeInputPlace(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        variance = self.variance(x)
        x -= x.mean(dim=-1, keepdim=True)
        x /= torch.sqrt(variance + self.eps)
        return self.affine(x)


@LAYER_NORM.mistake(
    "a gradient cut off at mean and variance",
    what="they are computed under no_grad, or detached",
    why="The forward result is right, the gradient of the input is not: training goes "
    "another way.",
    look_at="detach, .data, .item() and no_grad.",
)
class _GradientCutOffAtMeanVariance(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            mean, variance = x.mean(dim=-1, keepdim=True), self.variance(x)
        return self.affine(self.divide(x - mean, variance))


@LAYER_NORM.mistake(
    "a gradient cut off at the variance",
    what="it is computed under no_grad, or detached",
    why="The forward result is right, the gradient of the input is not: training goes "
    "another way.",
    look_at="detach, .data, .item() and no_grad.",
)
class _GradientCutOffAtVariance(_Plain):
    def variance(self, x: Tensor) -> Tensor:
        return super().variance(x).detach()


@LAYER_NORM.mistake(
    "a gradient cut off at the input",
    what="x is detached, or normalized under no_grad",
    why="The forward result is right, but no gradient reaches the layers before: they "
    "are never trained.",
    look_at="detach, .data and no_grad.",
)
class _GradientCutOffAtInput(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.detach())


@LAYER_NORM.mistake(
    "batch normalization",
    what="each feature is normalized over all tokens of the batch",
    why="A token's result depends on all other tokens, and in eval mode on those that "
    "the layer has seen in training.",
    look_at="the layer that you use: it is another one than layer normalization.",
)
class _BatchNormalization(_OverDims):
    def __init__(self, emb_dim: int, eps: float = 1e-5) -> None:
        super().__init__(emb_dim, eps)
        self.register_buffer("running_mean", torch.zeros(emb_dim))
        self.register_buffer("running_var", torch.ones(emb_dim))

    def forward(self, x: Tensor) -> Tensor:
        flat = nn.functional.batch_norm(
            x.reshape(-1, x.shape[-1]),
            self.get_buffer("running_mean"),
            self.get_buffer("running_var"),
            self.scale,
            self.shift,
            self.training,
            eps=self.eps,
        )
        return flat.view_as(x)


@LAYER_NORM.mistake(
    "a missing super().__init__()",
    what="the class does not set up what nn.Module needs",
    why="Before the __init__ of nn.Module has run, it cannot take parameters.",
    look_at="the first line of __init__.",
)
class _MissingSuperInit(_Plain):
    def __init__(self, emb_dim: int, eps: float = 1e-5) -> None:
        self.scale = nn.Parameter(torch.ones(emb_dim))


@LAYER_NORM.mistake(
    "a forward that returns its input",
    what="nothing is normalized",
    why="It is the placeholder of section 4.1, with parameters.",
    look_at="what forward returns.",
)
class _ForwardReturnsItsInput(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        return x


@LAYER_NORM.mistake(
    "a forward without return",
    what="it gives None",
    why="The next layer gets nothing to work on.",
    look_at="the last line of forward.",
)
class _ForwardWithoutReturn(_Plain):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[return]
        super().forward(x)
