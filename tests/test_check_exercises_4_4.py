"""The exercises of 4.4: right variants pass, mistakes unknown to them get no name."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gpt_from_scratch import (
    GELU,
    ExampleDeepNeuralNetwork,
    check,
    gradient_magnitudes,
)
from gpt_from_scratch.check.exercises_4_4 import (
    ProjectedLayer as LayerSolution,
)
from gpt_from_scratch.check.exercises_4_4 import (
    ScaledNetwork as NetworkSolution,
)

# A shortcut where the shapes differ.


class ProjectedLayer(nn.Module):
    """A right version, for those below to change."""

    def __init__(self, size_in, size_out):
        super().__init__()
        self.linear = nn.Linear(size_in, size_out)
        self.proj = None
        if size_in != size_out:
            self.proj = nn.Linear(size_in, size_out, bias=False)

    def out(self, x):
        return F.gelu(self.linear(x), approximate="tanh")

    def around(self, x):
        return x if self.proj is None else self.proj(x)

    def forward(self, x):
        return self.around(x) + self.out(x)


def layer(**changes):
    return type("ProjectedLayer", (ProjectedLayer,), changes)


class ByShapes(ProjectedLayer):
    """Decides in forward."""

    def forward(self, x):
        out = self.out(x)
        if x.shape == out.shape:
            return x + out
        return out + self.proj(x)


class BareMatrix(nn.Module):
    def __init__(self, size_in, size_out):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(size_out, size_in))
        self.bias = nn.Parameter(torch.zeros(size_out))
        self.gelu = GELU()
        if size_in != size_out:
            self.projection = nn.Parameter(torch.randn(size_out, size_in))

    def forward(self, x):
        out = self.gelu(F.linear(x, self.weight, self.bias))
        return out + (x @ self.projection.T if hasattr(self, "projection") else x)


class ProjectionFirst(nn.Module):
    def __init__(self, size_in, size_out):
        super().__init__()
        self.a = (
            nn.Identity()
            if size_in == size_out
            else nn.Linear(size_in, size_out, bias=False)
        )
        self.b = nn.Linear(size_in, size_out)

    def forward(self, x):
        return self.a(x) + GELU()(self.b(x))


RIGHT_LAYERS = {
    "solution": LayerSolution,
    "no projection is None": ProjectedLayer,
    "by shapes": ByShapes,
    "bare matrix": BareMatrix,
    "other names, other order": ProjectionFirst,
    "torch.add": layer(forward=lambda self, x: torch.add(self.out(x), self.around(x))),
}


@pytest.mark.parametrize("name", RIGHT_LAYERS)
def test_right_layers_pass(name):
    report = check.projected_layer(RIGHT_LAYERS[name])
    assert report.passed, report


class Unused(ProjectedLayer):
    """Makes a projection that it does not use."""

    def __init__(self, size_in, size_out):
        super().__init__(size_in, size_out)
        self.more = nn.Linear(size_in, size_out, bias=False)


UNKNOWN_LAYERS = {
    "ReLU": layer(out=lambda self, x: self.linear(x).relu()),
    "the exact GELU": layer(out=lambda self, x: F.gelu(self.linear(x))),
    "difference": layer(forward=lambda self, x: self.around(x) - self.out(x)),
    "mean": layer(forward=lambda self, x: (self.around(x) + self.out(x)) / 2),
    "the shortcut alone": layer(forward=lambda self, x: self.around(x)),
    "mean of the features": layer(
        around=lambda self, x: (
            x if self.proj is None else x.mean(-1, keepdim=True) + 0 * self.proj(x)
        )
    ),
    "detached output": layer(
        forward=lambda self, x: self.around(x) + self.out(x).detach()
    ),
    "detached projection": layer(
        around=lambda self, x: x if self.proj is None else self.proj(x).detach()
    ),
    "unused projection": Unused,
    "sizes exchanged": lambda size_in, size_out: LayerSolution(size_out, size_in),
    "in place": layer(
        forward=lambda self, x: (
            x.add_(self.out(x)) if self.proj is None else self.proj(x) + self.out(x)
        )
    ),
    "a tuple": layer(forward=lambda self, x: (self.around(x) + self.out(x),)),
    "the notebook's network": ExampleDeepNeuralNetwork,
}


@pytest.mark.parametrize("name", UNKNOWN_LAYERS)
def test_unknown_mistakes_of_layers_are_not_misnamed(name):
    report = check.projected_layer(UNKNOWN_LAYERS[name])
    assert not report.passed, report
    assert report.mistake is None, report


# The network at depth 50.


class ScaledNetwork(nn.Module):
    """A right version, for those below to change."""

    def __init__(self, layer_sizes):
        super().__init__()
        self.layers = nn.ModuleList()
        for size_in, size_out in pairwise(layer_sizes):
            self.layers.append(nn.Sequential(nn.Linear(size_in, size_out), GELU()))

    def add(self, x, out):
        return x + out / len(self.layers) ** 0.5

    def forward(self, x):
        for each in self.layers:
            out = each(x)
            x = self.add(x, out) if x.shape == out.shape else out
        return x


def network(add=None, **changes):
    if add:
        changes["add"] = add
    return type("ScaledNetwork", (ScaledNetwork,), changes)


class Bare(nn.Module):
    """Linear layers without nn.Sequential around them."""

    def __init__(self, layer_sizes):
        super().__init__()
        self.depth = len(layer_sizes) - 1
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(layer_sizes))

    def forward(self, x):
        for linear in self.linears:
            out = F.gelu(linear(x), approximate="tanh")
            x = x + out * (1 / math.sqrt(self.depth)) if x.shape == out.shape else out
        return x


RIGHT_NETWORKS = {
    "solution": NetworkSolution,
    "power": ScaledNetwork,
    "factor": network(lambda self, x, out: x + out * len(self.layers) ** -0.5),
    "bare layers": Bare,
}


@pytest.mark.parametrize("name", RIGHT_NETWORKS)
def test_right_networks_pass(name):
    report = check.scaled_network(RIGHT_NETWORKS[name])
    assert report.passed, report


class ScaledWeights(ScaledNetwork):
    """Scales the weights at the start, and the biases too; this is not the task."""

    def __init__(self, layer_sizes):
        super().__init__(layer_sizes)
        with torch.no_grad():
            for each in self.layers:
                each[0].weight /= len(self.layers) ** 0.5
                each[0].bias /= len(self.layers) ** 0.5

    def add(self, x, out):
        return x + out


UNKNOWN_NETWORKS = {
    "half": network(lambda self, x, out: x + out / 2),
    "third root": network(lambda self, x, out: x + out / len(self.layers) ** (1 / 3)),
    "square": network(lambda self, x, out: x + out / len(self.layers) ** 2),
    "one less": network(
        lambda self, x, out: x + out / max(1, len(self.layers) - 1) ** 0.5
    ),
    "logarithm": network(
        lambda self, x, out: x + out / (1 + math.log(len(self.layers)))
    ),
    "difference": network(lambda self, x, out: x - out / len(self.layers) ** 0.5),
    "detached output": network(
        lambda self, x, out: x + out.detach() / len(self.layers) ** 0.5
    ),
    "in place": network(lambda self, x, out: x.add_(out / len(self.layers) ** 0.5)),
    "scaled at the end": network(
        lambda self, x, out: x + out,
        forward=lambda self, x: (
            ScaledNetwork.forward(self, x) / len(self.layers) ** 0.5
        ),
    ),
    "a tuple": network(forward=lambda self, x: (ScaledNetwork.forward(self, x),)),
    "half of it": network(
        lambda self, x, out: x + 0.5 * out / len(self.layers) ** 0.5,
    ),
    "the notebook's network": ExampleDeepNeuralNetwork,
}


@pytest.mark.parametrize("name", UNKNOWN_NETWORKS)
def test_unknown_mistakes_of_networks_are_not_misnamed(name):
    report = check.scaled_network(UNKNOWN_NETWORKS[name])
    assert not report.passed, report
    assert report.mistake is None, report


def test_gpt2s_way_is_named():
    report = check.scaled_network(ScaledWeights)
    assert report.mistake == "the weights scaled and not the output"


@pytest.mark.parametrize(
    ("build", "gradient"),
    [
        (NetworkSolution, 8e-3),
        (lambda sizes: ExampleDeepNeuralNetwork(sizes, use_shortcut=True), 9e6),
    ],
    ids=["scaled", "shortcuts alone"],
)
def test_gradients_that_the_notebook_tells(build, gradient):
    """What 4.4 says under the solution: layer 0's gradients at 50 layers."""
    torch.manual_seed(123)
    made = build([16] * 50 + [1])
    torch.manual_seed(123)
    found = next(iter(gradient_magnitudes(made, torch.randn(32, 16)).values()))
    assert float(f"{found:.0e}") == gradient
