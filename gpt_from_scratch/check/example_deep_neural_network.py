"""What the check knows of ``ExampleDeepNeuralNetwork`` (4.4)."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from gpt_from_scratch.check.component import Component, Prepare
from gpt_from_scratch.check.make import Make
from gpt_from_scratch.check.weights import numbers
from gpt_from_scratch.feed_forward import GELU
from gpt_from_scratch.shortcut_connections import ExampleDeepNeuralNetwork

EXAMPLE_DEEP_NEURAL_NETWORK = Component(
    "ExampleDeepNeuralNetwork",
    ExampleDeepNeuralNetwork,
    usual_names=dict.fromkeys(("blocks", "linears", "net", "network"), "layers"),
)

EVEN = [3, 3, 3, 3, 3, 3]  # features before the first layer and after each
UNEVEN = [4, 4, 2, 2, 5, 1]  # shortcuts fit around the first and the third layer


def _constants(*values: float) -> Prepare:
    """Let each layer give a constant, whatever comes in; GELU leaves large ones."""

    def prepare(network: ExampleDeepNeuralNetwork) -> None:
        for parameter in network.parameters():
            nn.init.zeros_(parameter)
        biases = [p for p in network.parameters() if p.ndim == 1]
        for bias, value in zip(biases, values, strict=True):
            nn.init.constant_(bias, value)

    return prepare


tens = _constants(20.0, 30.0, 50.0, 70.0, 110.0)


# Probes.


@EXAMPLE_DEEP_NEURAL_NETWORK.probe("layers that give 20, 30, 50, 70 and 110")
def _layers_that_give_20_30_50_70_and_110(make: Make) -> object:
    """With shortcuts, 1 becomes 21, 51, 101, 171, 281; without them 110 comes out."""
    x = torch.ones(1, 3)
    return {
        "with shortcuts": make(EVEN, True, weights=tens)(x),
        "without shortcuts": make(EVEN, False, weights=tens)(x),
    }


@EXAMPLE_DEEP_NEURAL_NETWORK.probe("layers that change the number of features")
def _layers_that_change_the_number_of_features(make: Make) -> object:
    """No shortcut where the shapes differ; 1 + 20, 30, 30 + 50, 70, 110."""
    return make(UNEVEN, True, weights=tens)(torch.ones(2, 4))


@EXAMPLE_DEEP_NEURAL_NETWORK.probe("the same for one example, without a batch")
def _without_batch(make: Make) -> object:
    return make(UNEVEN, True, weights=tens)(torch.ones(4))


@EXAMPLE_DEEP_NEURAL_NETWORK.probe("layers to one feature and back")
def _layers_to_one_feature_and_back(make: Make) -> object:
    """PyTorch could add those shapes, by repeating the one feature."""
    return make([3, 1, 3, 3, 1, 1], True, weights=tens)(torch.ones(2, 3))


@EXAMPLE_DEEP_NEURAL_NETWORK.probe("parameters")
def _parameters(make: Make) -> object:
    return make(UNEVEN, True).parameters()


@EXAMPLE_DEEP_NEURAL_NETWORK.probe("random weights, with shortcuts")
def _random_weights_with_shortcuts(make: Make) -> object:
    return make(EVEN, True)(numbers(2, 3, seed=1))


@EXAMPLE_DEEP_NEURAL_NETWORK.probe("random weights, without shortcuts")
def _random_weights_without_shortcuts(make: Make) -> object:
    return make(EVEN, False)(numbers(2, 3, seed=2))


@EXAMPLE_DEEP_NEURAL_NETWORK.probe("other layer sizes")
def _other_layer_sizes(make: Make) -> object:
    sizes = [UNEVEN, [1, 1, 1, 2, 2, 2], [5, 4, 3, 2, 1, 6], [7, 7, 7, 7, 7, 1]]
    return {
        f"sizes {each}": make(each, True)(numbers(4, each[0], seed=3)) for each in sizes
    }


@EXAMPLE_DEEP_NEURAL_NETWORK.probe("other numbers of layers")
def _other_numbers_of_layers(make: Make) -> object:
    sizes = [[3, 3], [3, 2], [3, 3, 2], [2] * 9, [4, 4, 4, 3, 3, 3, 3, 4]]
    return {
        f"sizes {each}": make(each, True)(numbers(2, each[0], seed=4)) for each in sizes
    }


@EXAMPLE_DEEP_NEURAL_NETWORK.probe("inputs of other shapes")
def _inputs_of_other_shapes(make: Make) -> object:
    shapes = [(3,), (1, 3), (3, 3), (6, 3), (2, 5, 3), (3, 3, 3)]
    network = make(EVEN, True)
    return {f"shape {shape}": network(numbers(*shape, seed=5)) for shape in shapes}


@EXAMPLE_DEEP_NEURAL_NETWORK.probe("large features")
def _large_features(make: Make) -> object:
    return make(EVEN, True)(numbers(3, 3, seed=6, low=-40, high=40))


@EXAMPLE_DEEP_NEURAL_NETWORK.probe("one example changed")
def _one_example_changed(make: Make) -> object:
    """No other example's result may move."""
    x = numbers(4, 3, seed=7)
    changed = x.clone()
    changed[2] += 1
    network = make(EVEN, True)
    moves = (network(changed) - network(x)).abs().amax(dim=-1) > 1e-6
    return {
        f"example {index}": "moves" if moves[index] else "stays" for index in range(4)
    }


@EXAMPLE_DEEP_NEURAL_NETWORK.probe("gradients, with shortcuts", atol=1e-4)
def _gradients_with_shortcuts(make: Make) -> object:
    return make(EVEN, True).gradients(numbers(3, 3, seed=8))


@EXAMPLE_DEEP_NEURAL_NETWORK.probe("gradients, without shortcuts", atol=1e-4)
def _gradients_without_shortcuts(make: Make) -> object:
    return make(UNEVEN, False).gradients(numbers(3, 4, seed=9))


@EXAMPLE_DEEP_NEURAL_NETWORK.probe("initial weights")
def _initial_weights(make: Make) -> object:
    """Not which, only that they are random and of some size."""
    return {
        name: "random, around 0"
        if isinstance(value, Tensor) and 0.001 < value.std() < 1 > value.mean().abs()
        else "other"
        for name, value in make([16] * 6, True, weights=None).initial().items()
        if "weight" in name
    }


@EXAMPLE_DEEP_NEURAL_NETWORK.probe("training mode")
def _training_mode(make: Make) -> object:
    network = make(EVEN, True)
    x = numbers(2, 3, seed=10)
    calm = network(x)
    network.train()
    trained = network(x)
    is_same = calm.shape == trained.shape and torch.allclose(calm, trained, atol=1e-5)
    return {"result": "the same" if is_same else "another", "its values": trained}


@EXAMPLE_DEEP_NEURAL_NETWORK.probe("nothing else changes")
def _nothing_else_changes(make: Make) -> object:
    network = make(EVEN, True)
    return network.side_effects(numbers(2, 3, seed=11), numbers(1, 5, 3, seed=12))


# Wrong versions: each combines a layer's input and output in another way.


class _Plain(nn.Module):
    def __init__(self, layer_sizes: Sequence[int], use_shortcut: bool) -> None:
        super().__init__()
        self.use_shortcut = use_shortcut
        self.layers = nn.ModuleList(
            self.layer(size_in, size_out) for size_in, size_out in pairwise(layer_sizes)
        )

    def layer(self, size_in: int, size_out: int) -> nn.Module:
        return nn.Sequential(nn.Linear(size_in, size_out), GELU())

    def combine(self, x: Tensor, out: Tensor, first: Tensor) -> Tensor:
        return x + out

    def fits(self, x: Tensor, out: Tensor) -> bool:
        return x.shape == out.shape

    def forward(self, x: Tensor) -> Tensor:
        first = x
        for layer in self.layers:
            out = layer(x)
            if self.use_shortcut and self.fits(x, out):
                x = self.combine(x, out, first)
            else:
                x = out
        return x


def _combining(combine: Callable[[Tensor, Tensor, Tensor], Tensor]) -> type[_Plain]:
    """Make a version that gets from a layer's input, its output, the first input."""
    return type(
        "_Combining",
        (_Plain,),
        {"combine": lambda self, x, out, first: combine(x, out, first)},
    )


def _fitting(fits: Callable[[Tensor, Tensor], bool]) -> type[_Plain]:
    """Make a version that adds a shortcut under another condition."""
    return type("_Fitting", (_Plain,), {"fits": lambda self, x, out: fits(x, out)})


def _with(forward: Callable[[Any, Tensor], Any]) -> type[_Plain]:
    return type("_With", (_Plain,), {"forward": forward})


mistake = EXAMPLE_DEEP_NEURAL_NETWORK.mistake

mistake(
    "no shortcut at all",
    what="each layer's output takes the place of its input, whatever use_shortcut is",
    why="The gradient of the first layers vanishes: in 4.4's example the first one "
    "gets a 25th of the last one's.",
    look_at="the branch of the if in forward, and whether use_shortcut is kept.",
)(_combining(lambda x, out, first: out))

mistake(
    "the output added to itself",
    what="out + out in place of x + out",
    why="The input is not passed on, so the gradient still vanishes on its way back.",
    look_at="the two things that are added.",
)(_combining(lambda x, out, first: out + out))

mistake(
    "the network's first input added each time",
    what="what is added is not the input of this layer",
    why="What the layers before have computed is not passed on.",
    look_at="which x is added: is it a new one after each layer?",
)(_combining(lambda x, out, first: first + out if first.shape == out.shape else out))

mistake(
    "a product in place of the sum",
    what="x * out",
    why="The gradient is multiplied by the layer's output at every step, and vanishes "
    "or explodes. A sum passes it on as it is.",
    look_at="the sign between x and out.",
)(_combining(lambda x, out, first: x * out))

mistake(
    "a difference in place of the sum",
    what="x - out",
    why="The layer works in the other direction. Training could live with it; trained "
    "weights could not.",
    look_at="the sign between x and out.",
)(_combining(lambda x, out, first: x - out))

mistake(
    "a difference the other way round",
    what="out - x",
    why="The input's sign changes at each layer.",
    look_at="the sign between x and out.",
)(_combining(lambda x, out, first: out - x))

mistake(
    "the mean of input and output",
    what="(x + out) / 2",
    why="The input is halved at each layer: after ten layers a thousandth of it is "
    "left, and of the gradient too.",
    look_at="what is done to the sum.",
)(_combining(lambda x, out, first: (x + out) / 2))

mistake(
    "the larger of input and output",
    what="the maximum, not the sum",
    why="Wherever the input is smaller, neither it nor its gradient gets through.",
    look_at="how x and out are put together.",
)(_combining(lambda x, out, first: torch.maximum(x, out)))

mistake(
    "the input added twice",
    what="x + x + out",
    why="The input doubles at each layer: after ten layers it is a thousand times as "
    "large.",
    look_at="how often x is added.",
)(_combining(lambda x, out, first: x + x + out))

mistake(
    "a shortcut that skips the layer",
    what="where the shapes are equal, x stays as it is",
    why="The layer is not used, and never trained.",
    look_at="what x becomes in the branch with the shortcut.",
)(_combining(lambda x, out, first: x))

mistake(
    "a detached input in the shortcut",
    what="x.detach() + out, or an addition under no_grad",
    why="The result is right, but no gradient takes the shortcut, and that is what it "
    "is for.",
    look_at="detach, .data and no_grad.",
)(_combining(lambda x, out, first: x.detach() + out))

mistake(
    "a detached output in the shortcut",
    what="x + out.detach()",
    why="The result is right, but the layers get no gradient: they are never trained.",
    look_at="detach, .data and no_grad.",
)(_combining(lambda x, out, first: x + out.detach()))

mistake(
    "an activation after the sum, too",
    what="GELU(x + out)",
    why="The sum is held back where it is negative, so the input does not get through "
    "as it is.",
    look_at="what is done to the sum.",
)(_combining(lambda x, out, first: GELU()(x + out)))


@mistake(
    "an activation after the sum, and none before",
    what="the layer's result is added before GELU and not after it",
    why="GELU stands in the shortcut's way: negative values do not get through.",
    look_at="where GELU is: a layer is linear layer and GELU together.",
)
class _ActivationAfterSumNoneBefore(_Plain):
    def layer(self, size_in: int, size_out: int) -> nn.Module:
        return nn.Linear(size_in, size_out)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            out = layer(x)
            if self.use_shortcut and x.shape == out.shape:
                out = x + out
            x = GELU()(out)
        return x


@mistake(
    "an addition in place",
    what="x += out overwrites the input that was given to the network",
    why="The caller's tensor changes. And backward() needs the old x, and stops with "
    "an error.",
    look_at="the operator of the addition.",
)
class _AdditionPlace(_Plain):
    def combine(self, x: Tensor, out: Tensor, first: Tensor) -> Tensor:
        x += out
        return x


mistake(
    "an addition wherever PyTorch can add",
    what="one feature is repeated to be added to three",
    why="A layer that changes the number of features gets no shortcut.",
    look_at="the condition of the shortcut.",
)(
    _fitting(
        lambda x, out: x.shape[-1] == out.shape[-1] or 1 in (x.shape[-1], out.shape[-1])
    )
)

mistake(
    "a comparison of the batch's size",
    what="x.shape[0] == out.shape[0], which is always true in a batch",
    why="What has to be equal is the number of features.",
    look_at="the condition of the shortcut.",
)(_fitting(lambda x, out: x.shape[0] == out.shape[0]))

mistake(
    "an addition whatever the shapes are",
    what="nothing is asked before the addition",
    why="A layer that changes the number of features gets no shortcut.",
    look_at="the condition of the shortcut.",
)(_fitting(lambda x, out: True))

mistake(
    "shortcuts where the shapes differ",
    what="the condition is the wrong way round",
    why="Where the shapes are equal, the shortcut is missing.",
    look_at="the condition of the shortcut: == or !=.",
)(_fitting(lambda x, out: x.shape != out.shape))


@mistake(
    "shortcuts whatever use_shortcut is",
    what="the argument has no effect",
    why="The network cannot be compared with one without shortcuts.",
    look_at="the condition of the shortcut.",
)
class _ShortcutsWhateverUseShortcut(_Plain):
    def __init__(self, layer_sizes: Sequence[int], use_shortcut: bool) -> None:
        super().__init__(layer_sizes, True)


@mistake(
    "shortcuts if use_shortcut is False",
    what="the condition is the wrong way round",
    why="With True there are none.",
    look_at="the condition of the shortcut.",
)
class _ShortcutsIfUseShortcutFalse(_Plain):
    def __init__(self, layer_sizes: Sequence[int], use_shortcut: bool) -> None:
        super().__init__(layer_sizes, not use_shortcut)


mistake(
    "one shortcut around the whole network",
    what="the input is added once, to the last layer's result",
    why="Between the layers the gradient has no shortcut, and vanishes.",
    look_at="whether the addition is inside of the loop.",
)(
    _with(
        lambda self, x: (
            x + out
            if (out := _Plain.forward(_without(self), x)).shape == x.shape
            and self.use_shortcut
            else out
        )
    )
)


def _without(network: _Plain) -> _Plain:
    """Give a network with the same layers and no shortcuts."""
    other = _Plain([], False)
    other.layers = network.layers
    return other


mistake(
    "a forward that adds nothing and returns the last layer's output",
    what="the sum is computed, but the output is returned without it",
    why="The last shortcut is lost.",
    look_at="what forward returns.",
)(
    _with(
        lambda self, x: self.layers[-1](
            _Plain.forward(_first_layers(self), x),
        )
    )
)


def _first_layers(network: _Plain) -> _Plain:
    """Give a network with all layers but the last."""
    other = _Plain([], network.use_shortcut)
    other.layers = network.layers[:-1]
    return other


mistake(
    "a return inside of the loop",
    what="after the first layer forward ends",
    why="The other layers are not used.",
    look_at="the indentation of return.",
)(
    _with(
        lambda self, x: (
            x + self.layers[0](x)
            if self.use_shortcut and self.layers[0](x).shape == x.shape
            else self.layers[0](x)
        )
    )
)

mistake(
    "a forward without return",
    what="it gives None",
    why="There is nothing to compute a loss from.",
    look_at="the last line of forward.",
)(_with(lambda self, x: None))


def _with_layer(make: Callable[[int, int], nn.Module]) -> type[_Plain]:
    return type(
        "_WithLayer",
        (_Plain,),
        {"layer": lambda self, size_in, size_out: make(size_in, size_out)},
    )


mistake(
    "layers without activation",
    what="each is a linear layer alone",
    why="Any number of linear layers in a row is worth one.",
    look_at="what a layer consists of.",
)(_with_layer(lambda a, b: nn.Sequential(nn.Linear(a, b))))

mistake(
    "ReLU in place of GELU",
    what="negative values become 0",
    why="It has no gradient below 0, so the gradients of 4.4 come out differently.",
    look_at="what a layer consists of.",
)(_with_layer(lambda a, b: nn.Sequential(nn.Linear(a, b), nn.ReLU())))

mistake(
    "the exact GELU",
    what="nn.GELU() uses the error function, not the tanh approximation",
    why="The two differ by up to 0.000473 at each layer.",
    look_at="which GELU the layers have.",
)(_with_layer(lambda a, b: nn.Sequential(nn.Linear(a, b), nn.GELU())))

mistake(
    "layers without bias",
    what="bias=False",
    why="The network has fewer parameters than the one that it is compared with.",
    look_at="what nn.Linear is told besides the sizes.",
)(_with_layer(lambda a, b: nn.Sequential(nn.Linear(a, b, bias=False), GELU())))

mistake(
    "an activation before the linear layer",
    what="the two steps of a layer are in each other's place",
    why="The shortcut adds what comes out of the linear layer, and the first thing "
    "that happens to the input is GELU.",
    look_at="the order of the steps in a layer.",
)(_with_layer(lambda a, b: nn.Sequential(_Renamed(a, b))))


class _Renamed(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(GELU()(x))


@mistake(
    "layers in a plain list",
    what="PyTorch does not look into Python's lists, so the layers are not registered",
    why="An optimizer does not see their parameters, and named_parameters() is empty, "
    "so there are no gradients to look at.",
    look_at="what __init__ keeps the layers in.",
)
class _LayersPlainList(_Plain):
    def __init__(self, layer_sizes: Sequence[int], use_shortcut: bool) -> None:
        super().__init__(layer_sizes, use_shortcut)
        layers = list(self.layers)
        del self.layers
        self.layers = layers  # type: ignore[assignment]


@mistake(
    "a fixed depth of five layers",
    what="the class makes five layers, however many sizes it gets",
    why="4.4 compares networks of up to 20 layers.",
    look_at="the loop over layer_sizes.",
)
class _FixedDepthFiveLayers(_Plain):
    def __init__(self, layer_sizes: Sequence[int], use_shortcut: bool) -> None:
        super().__init__([layer_sizes[index] for index in range(6)], use_shortcut)


@mistake(
    "a last layer that is missing",
    what="there is one layer fewer than there should be",
    why="The result has the number of features of the last but one size.",
    look_at="the range of the loop over layer_sizes.",
)
class _LastLayerMissing(_Plain):
    def __init__(self, layer_sizes: Sequence[int], use_shortcut: bool) -> None:
        super().__init__(layer_sizes[:-1], use_shortcut)


@mistake(
    "a loop that goes one step too far",
    what="layer_sizes[i + 1] is asked for where there is none",
    why="There is one layer fewer than there are sizes.",
    look_at="the range of the loop over layer_sizes.",
)
class _LoopGoesOneStepTooFar(_Plain):
    def __init__(self, layer_sizes: Sequence[int], use_shortcut: bool) -> None:
        super().__init__(layer_sizes, use_shortcut)
        _ = [layer_sizes[index + 1] for index in range(len(layer_sizes))]


@mistake(
    "one layer used again and again",
    what="all layers of the list are the same object",
    why="They share their parameters, so the network learns one layer and not five.",
    look_at="whether a new layer is made in each round of the loop.",
)
class _OneLayerUsedAgainAgain(_Plain):
    def __init__(self, layer_sizes: Sequence[int], use_shortcut: bool) -> None:
        super().__init__(layer_sizes, use_shortcut)
        made: dict[tuple[int, int], nn.Module] = {}
        self.layers = nn.ModuleList(
            made.setdefault(sizes, layer)
            for sizes, layer in zip(pairwise(layer_sizes), self.layers, strict=True)
        )


@mistake(
    "a missing super().__init__()",
    what="the class does not set up what nn.Module needs",
    why="Before the __init__ of nn.Module has run, it cannot take layers.",
    look_at="the first line of __init__.",
)
class _MissingSuperInit(_Plain):
    def __init__(self, layer_sizes: Sequence[int], use_shortcut: bool) -> None:
        self.layers = nn.ModuleList()
