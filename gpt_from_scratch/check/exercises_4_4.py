"""Checks of the exercises of notebook 4.4."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpt_from_scratch.check.component import Component
from gpt_from_scratch.check.engine import check
from gpt_from_scratch.check.make import Make
from gpt_from_scratch.check.number_exercise import NumberExercise
from gpt_from_scratch.check.report import Report
from gpt_from_scratch.check.weights import numbers
from gpt_from_scratch.feed_forward import GELU

__all__ = ["projected_layer", "scaled_network"]

# Exercise 1: a shortcut where the shapes differ.


class ProjectedLayer(nn.Module):
    """A linear layer with GELU and a shortcut, whatever the two sizes are.

    Where they differ, the shortcut leads through a matrix. Where they are equal, it
    has nothing on it.

    Source: He et al. (2015), https://arxiv.org/abs/1512.03385, section 3.3, option B.
    """

    def __init__(self, size_in: int, size_out: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(size_in, size_out), GELU())
        self.projection: nn.Module = nn.Identity()
        if size_in != size_out:
            self.projection = nn.Linear(size_in, size_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(x) + self.layer(x)


PROJECTED_LAYER = Component(
    "ProjectedLayer",
    ProjectedLayer,
    usual_names={
        "linear": "layer.0",
        **dict.fromkeys(("layers", "block", "net"), "layer"),
        **dict.fromkeys(("shortcut", "proj", "skip", "project"), "projection"),
    },
    is_exercise=True,
)


def projected_layer(learner: object) -> Report:
    """Check a layer whose shortcut may need a projection (exercise of 4.4).

    Args:
        learner: Your class, called as ``ProjectedLayer(size_in, size_out)``.

    Returns:
        What was found; see ``Report``.
    """
    return check(PROJECTED_LAYER, learner)


SIZES = [(4, 2), (2, 4), (3, 3)]  # narrower, wider, equal


def twenty(network: ProjectedLayer) -> None:
    """Let the layer give 20, whatever comes in, and the projection minus the sum."""
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    linear = network.layer[0]
    assert isinstance(linear, nn.Linear)
    nn.init.constant_(linear.bias, 20.0)
    if isinstance(network.projection, nn.Linear):
        nn.init.constant_(network.projection.weight, -1.0)


@PROJECTED_LAYER.probe("parameters")
def _parameters(make: Make) -> object:
    return {
        f"{size_in} to {size_out} features": make(size_in, size_out).parameters()
        for size_in, size_out in SIZES
    }


@PROJECTED_LAYER.probe("a layer that gives 20, a projection that gives minus the sum")
def _layer_that_gives_20(make: Make) -> object:
    """20 - (1 + 2 + 3 + 4) = 10, 20 - (1 + 2) = 17; with equal sizes 21, 22 and 23."""
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    return {
        "4 to 2 features": make(4, 2, weights=twenty)(x),
        "2 to 4 features": make(2, 4, weights=twenty)(x[:, :2]),
        "3 to 3 features": make(3, 3, weights=twenty)(x[:, :3]),
    }


@PROJECTED_LAYER.probe("random weights")
def _random_weights(make: Make) -> object:
    return {
        f"{size_in} to {size_out} features": make(size_in, size_out)(
            numbers(5, size_in, seed=1)
        )
        for size_in, size_out in [*SIZES, (1, 3), (3, 1), (7, 6), (1, 1)]
    }


@PROJECTED_LAYER.probe("inputs of other shapes")
def _inputs_of_other_shapes(make: Make) -> object:
    shapes = [(3,), (1, 3), (3, 3), (2, 5, 3)]
    wide, even = make(3, 5), make(3, 3)
    return {
        f"shape {shape}": torch.cat(
            [wide(numbers(*shape, seed=2)), even(numbers(*shape, seed=3))], dim=-1
        )
        for shape in shapes
    }


@PROJECTED_LAYER.probe("gradients", atol=1e-4)
def _gradients(make: Make) -> object:
    return {
        f"{size_in} to {size_out} features": make(size_in, size_out).gradients(
            numbers(3, size_in, seed=4)
        )
        for size_in, size_out in SIZES
    }


@PROJECTED_LAYER.probe("nothing else changes")
def _nothing_else_changes(make: Make) -> object:
    wide, even = make(3, 5), make(3, 3)
    one, other = numbers(2, 3, seed=5), numbers(1, 5, 3, seed=6)
    return {
        "3 to 5 features": wide.side_effects(one, other),
        "3 to 3 features": even.side_effects(one, other),
    }


class _PlainLayer(nn.Module):
    bias = False

    def __init__(self, size_in: int, size_out: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(size_in, size_out), GELU())
        if self.projects(size_in, size_out):
            self.projection = nn.Linear(size_in, size_out, bias=self.bias)

    def projects(self, size_in: int, size_out: int) -> bool:
        return size_in != size_out

    def shortcut(self, x: Tensor) -> Tensor:
        return self.projection(x) if hasattr(self, "projection") else x

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.layer(x)


def _layer(**changes: Any) -> type[_PlainLayer]:  # noqa: ANN401
    return type("_Layer", (_PlainLayer,), changes)


mistake = PROJECTED_LAYER.mistake

mistake(
    "a projection where the sizes are equal, too",
    what="the shortcut leads through a matrix in every layer",
    why="Then no path leads around the layers without being multiplied: over many "
    "layers, the gradient can vanish or explode on the shortcuts as well.",
    look_at="when __init__ makes the projection.",
)(_layer(projects=lambda self, size_in, size_out: True))

mistake(
    "a projection with a bias",
    what="nn.Linear adds one if it is not told otherwise",
    why="The layer has a bias already. The shortcut is to pass x on, and a bias "
    "has nothing of x.",
    look_at="what nn.Linear is told besides the sizes.",
)(_layer(bias=True))

mistake(
    "no shortcut where the sizes differ",
    what="the layer's output is passed on alone, as in ExampleDeepNeuralNetwork",
    why="There the gradient has no way around the layer.",
    look_at="what forward does if the sizes differ.",
)(
    _layer(
        projects=lambda self, size_in, size_out: False,
        forward=lambda self, x: (
            x + out if (out := self.layer(x)).shape == x.shape else out
        ),
    )
)

mistake(
    "no shortcut where the sizes are equal",
    what="only the projection is added, where there is one",
    why="Where no projection is needed, x itself is to be added.",
    look_at="what forward does if the sizes are equal.",
)(
    _layer(
        forward=lambda self, x: (
            self.projection(x) + self.layer(x)
            if hasattr(self, "projection")
            else self.layer(x)
        )
    )
)

mistake(
    "an addition without a projection",
    what="x is added as it is, whatever the sizes are",
    why="Shapes that differ cannot be added; and where PyTorch can, by repeating one "
    "feature, it is not what was meant.",
    look_at="what is done to x before it is added.",
)(_layer(projects=lambda self, size_in, size_out: False))

mistake(
    "the layer's own weights as the projection",
    what="the shortcut uses the layer's linear part a second time",
    why="The way around is to be one of its own. This one ends where the layer does, "
    "and it has a bias.",
    look_at="where the projection's weights come from.",
)(
    _layer(
        projects=lambda self, size_in, size_out: False,
        forward=lambda self, x: (
            self.layer(x) + (x if x.shape == self.layer(x).shape else self.layer[0](x))
        ),
    )
)

mistake(
    "a projection that is made in forward",
    what="each call draws new weights",
    why="They are not among the parameters, so they are never trained, and the same "
    "input gives another result each time.",
    look_at="where nn.Linear is called.",
)(
    _layer(
        projects=lambda self, size_in, size_out: False,
        forward=lambda self, x: (
            (x if x.shape == out.shape else _fresh(x, out)) + out
            if (out := self.layer(x)) is not None
            else None
        ),
    )
)


def _fresh(x: Tensor, out: Tensor) -> Tensor:
    return nn.Linear(x.shape[-1], out.shape[-1], bias=False)(x)


mistake(
    "an activation on the projection",
    what="the shortcut goes through GELU",
    why="Where the projected x is negative, hardly anything of it gets through, and "
    "hardly any gradient.",
    look_at="what is done to x after the projection.",
)(
    _layer(
        shortcut=lambda self, x: (
            GELU()(self.projection(x)) if hasattr(self, "projection") else x
        )
    )
)

mistake(
    "an activation after the sum, too",
    what="GELU is applied to the sum once more",
    why="The sum is held back where it is negative, so x does not get through as it "
    "is.",
    look_at="what is done to the sum.",
)(_layer(forward=lambda self, x: GELU()(_PlainLayer.forward(self, x))))

mistake(
    "an activation after the sum, and none before",
    what="the linear part's result is added before GELU and not after it",
    why="GELU stands in the shortcut's way: negative values do not get through.",
    look_at="where GELU is.",
)(_layer(forward=lambda self, x: GELU()(self.shortcut(x) + self.layer[0](x))))

mistake(
    "a layer without activation",
    what="GELU is missing",
    why="Any number of linear layers in a row is worth one, with shortcuts too.",
    look_at="what the layer consists of.",
)(_layer(forward=lambda self, x: self.shortcut(x) + self.layer[0](x)))

mistake(
    "a detached input in the shortcut",
    what="x.detach() is projected or added",
    why="The result is right, but no gradient takes the shortcut, and that is what it "
    "is for.",
    look_at="detach, .data and no_grad.",
)(_layer(shortcut=lambda self, x: _PlainLayer.shortcut(self, x.detach())))

mistake(
    "zeros in place of a projection",
    what="features are cut off, or filled up with zeros, until the sizes fit",
    why="It is a way of He et al. (2015), too, and needs no parameters. But the "
    "task wants a matrix, which can learn what to pass on.",
    look_at="what is done to x before it is added.",
)(
    _layer(
        projects=lambda self, size_in, size_out: False,
        forward=lambda self, x: (
            F.pad(x, (0, (out := self.layer(x)).shape[-1] - x.shape[-1])) + out
        ),
    )
)

mistake(
    "a forward without return",
    what="it gives None",
    why="The next layer gets nothing to work on.",
    look_at="the last line of forward.",
)(_layer(forward=lambda self, x: None))


# Exercise 2: the network at depth 50.


class ScaledNetwork(nn.Module):
    """``ExampleDeepNeuralNetwork`` whose layers add the less, the more there are.

    What a layer adds to its input is divided by the root of the number of layers, so
    that all of them together add about as much at any depth.

    Source: section 2.3 of Radford et al. (2019), which scales the weights so.
    """

    def __init__(self, layer_sizes: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(size_in, size_out), GELU())
            for size_in, size_out in pairwise(layer_sizes)
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            out = layer(x)
            if x.shape == out.shape:
                x = x + out / math.sqrt(len(self.layers))
            else:
                x = out
        return x


SCALED_NETWORK = Component(
    "ScaledNetwork",
    ScaledNetwork,
    usual_names=dict.fromkeys(("blocks", "linears", "net", "network"), "layers"),
    is_exercise=True,
)


def scaled_network(learner: object) -> Report:
    """Check a network whose layers add the less, the more there are (exercise of 4.4).

    Args:
        learner: Your class, called as ``ScaledNetwork(layer_sizes)``.

    Returns:
        What was found; see ``Report``.
    """
    return check(SCALED_NETWORK, learner)


def twelves(network: ScaledNetwork) -> None:
    """Let each layer give 12, whatever comes in."""
    for parameter in network.parameters():
        nn.init.constant_(parameter, 12.0 if parameter.ndim == 1 else 0.0)


def as_drawn(network: ScaledNetwork) -> None:
    """Give it weights as nn.Linear draws them, the same on every machine."""
    with torch.no_grad():
        for seed, layer in enumerate(network.layers):
            assert isinstance(layer, nn.Sequential)
            linear = layer[0]
            assert isinstance(linear, nn.Linear)
            size = linear.in_features**-0.5
            for more, parameter in ((0, linear.weight), (500, linear.bias)):
                shape = parameter.shape
                draw = numbers(*shape, seed=3000 + more + seed, low=-size, high=size)
                parameter.copy_(draw)


@SCALED_NETWORK.probe("4 layers that give 12 each")
def _four_layers(make: Make) -> object:
    """Each adds 12 / 2 = 6 to the 1 that comes in: 25 in the end."""
    return make([3] * 5, weights=twelves)(torch.ones(1, 3))


@SCALED_NETWORK.probe("1, 9 and 16 layers that give 12 each")
def _other_numbers_of_layers(make: Make) -> object:
    """1 + 12, 1 + 9 * 12 / 3, 1 + 16 * 12 / 4."""
    return {
        f"{count} layers": make([2] * (count + 1), weights=twelves)(torch.ones(1, 2))
        for count in (1, 9, 16)
    }


@SCALED_NETWORK.probe("the same, the last one to another number of features")
def _last_layer_without_shortcut(make: Make) -> object:
    """That one has no shortcut, and its 12 come out as they are."""
    return make([3, 3, 3, 3, 2], weights=twelves)(torch.ones(1, 3))


@SCALED_NETWORK.probe("parameters")
def _parameters_of_network(make: Make) -> object:
    return make([4, 4, 2, 2, 5]).parameters()


@SCALED_NETWORK.probe("random weights")
def _random_weights_of_network(make: Make) -> object:
    sizes = [[3] * 6, [4, 4, 2, 2, 5, 1], [3, 1, 3, 3, 1, 1], [16] * 5]
    return {f"sizes {each}": make(each)(numbers(3, each[0], seed=1)) for each in sizes}


@SCALED_NETWORK.probe("initial weights")
def _initial_weights(make: Make) -> object:
    """Not which, only that they are as large as ``nn.Linear`` makes them."""
    return {
        name: "as large as nn.Linear makes them"
        if isinstance(value, Tensor) and 0.1 < value.std() < 0.2
        else "of another size"
        for name, value in make([16] * 17, weights=None).initial().items()
        if "weight" in name
    }


@SCALED_NETWORK.probe("gradients", atol=1e-5)
def _gradients_of_network(make: Make) -> object:
    return make([4, 4, 4, 4, 1]).gradients(numbers(3, 4, seed=2))


@SCALED_NETWORK.probe("50 layers: the answers")
def _answers_at_depth_50(make: Make) -> object:
    return make([16] * 50 + [1], weights=as_drawn)(numbers(4, 16, seed=3))


@SCALED_NETWORK.probe("50 layers: the gradients of layer 0", rtol=1e-3, atol=1e-4)
def _gradients_at_depth_50(make: Make) -> object:
    found = make([16] * 50 + [1], weights=as_drawn).gradients(numbers(4, 16, seed=4))
    return {name: each for name, each in found.items() if name.startswith("layers.0.")}


@SCALED_NETWORK.probe("nothing else changes")
def _nothing_else_changes_in_network(make: Make) -> object:
    network = make([3, 3, 3, 3])
    return network.side_effects(numbers(2, 3, seed=5), numbers(1, 5, 3, seed=6))


class _PlainNetwork(nn.Module):
    def __init__(self, layer_sizes: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(size_in, size_out), GELU())
            for size_in, size_out in pairwise(layer_sizes)
        )

    def combine(self, x: Tensor, out: Tensor, count: int, index: int) -> Tensor:
        return x + out / math.sqrt(count)

    def otherwise(self, out: Tensor) -> Tensor:
        return out

    def forward(self, x: Tensor) -> Tensor:
        for index, layer in enumerate(self.layers):
            out = layer(x)
            if x.shape == out.shape:
                x = self.combine(x, out, len(self.layers), index)
            else:
                x = self.otherwise(out)
        return x


def _adding(
    combine: Callable[[Tensor, Tensor, int, int], Tensor],
) -> type[_PlainNetwork]:
    """Make a version: from input, output, number of layers and the layer's index."""
    return type(
        "_Adding",
        (_PlainNetwork,),
        {"combine": lambda self, x, out, count, index: combine(x, out, count, index)},
    )


def _network(**changes: Any) -> type[_PlainNetwork]:  # noqa: ANN401
    return type("_Network", (_PlainNetwork,), changes)


mistake = SCALED_NETWORK.mistake

mistake(
    "shortcuts without scaling",
    what="x + out, as in ExampleDeepNeuralNetwork",
    why="In 4.4's network of 50 layers, the gradient of layer 0 is about ten million.",
    look_at="what is added to x.",
)(_adding(lambda x, out, count, index: x + out))

mistake(
    "a division by the number of layers, not by its root",
    what="x + out / N",
    why="Random numbers partly cancel: the sum of N of them grows as the root of N. "
    "So this holds the layers back more than needed, and the more the deeper.",
    look_at="what the layer's output is divided by.",
)(_adding(lambda x, out, count, index: x + out / count))

mistake(
    "the whole sum scaled",
    what="(x + out) / root of N",
    why="The shortcut is to pass x on as it is. Here x shrinks in every layer, and "
    "the gradient with it: it vanishes.",
    look_at="what is divided: the brackets.",
)(_adding(lambda x, out, count, index: (x + out) / math.sqrt(count)))

mistake(
    "the input scaled and not the output",
    what="x / root of N + out",
    why="The shortcut is to pass x on as it is. Here x shrinks in every layer, and "
    "the gradient with it: it vanishes.",
    look_at="which of the two is divided.",
)(_adding(lambda x, out, count, index: x / math.sqrt(count) + out))

mistake(
    "a multiplication by the root",
    what="x + out * root of N",
    why="The layers add more instead of less: the gradients explode all the more.",
    look_at="the operator before the root.",
)(_adding(lambda x, out, count, index: x + out * math.sqrt(count)))


@mistake(
    "the weights scaled and not the output",
    what="they are divided once, when the network is made, as GPT-2 does it",
    why="With GELU between the two it is not the same, the biases still add as much as "
    "ever, and training can undo it.",
    look_at="what __init__ does to the weights; forward is the place.",
)
class _WeightsScaled(_PlainNetwork):
    def __init__(self, layer_sizes: Sequence[int]) -> None:
        super().__init__(layer_sizes)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("weight"):
                    parameter.div_(math.sqrt(len(self.layers)))

    def combine(self, x: Tensor, out: Tensor, count: int, index: int) -> Tensor:
        return x + out


mistake(
    "the number of sizes in place of the number of layers",
    what="there is one size more than there are layers",
    why="At 50 layers it hardly shows, at 2 it does. And trained weights do not fit.",
    look_at="the number under the root.",
)(_adding(lambda x, out, count, index: x + out / math.sqrt(count + 1)))

mistake(
    "the number of the layer in place of the number of layers",
    what="the first layer's output is divided by the root of 1, the next one's by "
    "that of 2, and so on",
    why="The first layers add as much as ever.",
    look_at="the number under the root: is it the same for every layer?",
)(_adding(lambda x, out, count, index: x + out / math.sqrt(index + 1)))

mistake(
    "the number of shortcuts in place of the number of layers",
    what="layers without a shortcut are not counted",
    why="GPT-2 counts so, too. But the task counts all layers, and with fewer under "
    "the root, each of them adds more.",
    look_at="the number under the root: which layers are counted?",
)(
    _network(
        combine=lambda self, x, out, count, index: (
            x
            + out
            / math.sqrt(
                sum(
                    layer[0].in_features == layer[0].out_features
                    for layer in self.layers
                )
            )
        )
    )
)

mistake(
    "the number of features in place of the number of layers",
    what="the root is that of the layer's width",
    why="The scaling is to answer to the depth: a deeper network needs more of it.",
    look_at="the number under the root.",
)(_adding(lambda x, out, count, index: x + out / math.sqrt(out.shape[-1])))

mistake(
    "the root of 50, whatever the depth is",
    what="the number is written into the code",
    why="The class is for networks of any depth.",
    look_at="the number under the root.",
)(_adding(lambda x, out, count, index: x + out / math.sqrt(50)))

mistake(
    "an output scaled where there is no shortcut, too",
    what="where the shapes differ, the layer's output is divided as well",
    why="There it is the only thing that is passed on, and nothing is added up.",
    look_at="the branch without the shortcut.",
)(_network(otherwise=lambda self, out: out / math.sqrt(len(self.layers))))

mistake(
    "no shortcut at all",
    what="each layer's output takes the place of its input",
    why="In 4.4's network of 50 layers, the gradient of layer 0 has 28 zeros after "
    "the point.",
    look_at="what is added to x.",
)(_adding(lambda x, out, count, index: out))

mistake(
    "scaling without a shortcut",
    what="the layer's output is divided, and x is not added",
    why="What is passed on gets smaller in every layer, and vanishes.",
    look_at="what is added to x.",
)(_adding(lambda x, out, count, index: out / math.sqrt(count)))

mistake(
    "the root of the output",
    what="x + (out / N) ** 0.5: the root is taken of the output, too",
    why="The root of a negative number is no number (nan). The root that is wanted is "
    "that of N.",
    look_at="what stands under the root.",
)(_adding(lambda x, out, count, index: x + (out / count) ** 0.5))

mistake(
    "a detached input in the shortcut",
    what="x.detach() + out, or an addition under no_grad",
    why="The result is right, but no gradient takes the shortcut, and that is what it "
    "is for.",
    look_at="detach, .data and no_grad.",
)(_adding(lambda x, out, count, index: x.detach() + out / math.sqrt(count)))

mistake(
    "a forward without return",
    what="it gives None",
    why="There is nothing to compute a loss from.",
    look_at="the last line of forward.",
)(_network(forward=lambda self, x: None))


EXERCISES = (PROJECTED_LAYER, SCALED_NETWORK)
NUMBER_EXERCISES: tuple[NumberExercise, ...] = ()
