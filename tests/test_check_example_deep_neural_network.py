"""``check.example_deep_neural_network``: right variants pass, the rest is found."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import gpt_from_scratch
from gpt_from_scratch import GELU, check


class Network(nn.Module):
    """The class of notebook 4.4; the versions below change a step of it."""

    def __init__(self, layer_sizes, use_shortcut):
        super().__init__()
        self.use_shortcut = use_shortcut
        self.layers = nn.ModuleList()
        for i in range(len(layer_sizes) - 1):
            linear = nn.Linear(layer_sizes[i], layer_sizes[i + 1])
            self.layers.append(nn.Sequential(linear, GELU()))

    def forward(self, x):
        for layer in self.layers:
            out = layer(x)
            if self.use_shortcut and x.shape == out.shape:
                x = x + out
            else:
                x = out
        return x


class Compact(nn.Module):
    def __init__(self, sizes, shortcut=True):
        super().__init__()
        pairs = pairwise(sizes)
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in pairs)
        self.shortcut = shortcut

    def forward(self, x):
        for linear in self.linears:
            keep = self.shortcut and linear.in_features == linear.out_features
            x = F.gelu(linear(x), approximate="tanh") + (x if keep else 0)
        return x


class InSequential(nn.Module):
    """Each layer knows its shortcut."""

    def __init__(self, layer_sizes, use_shortcut):
        super().__init__()
        pairs = list(pairwise(layer_sizes))
        self.all = nn.Sequential(
            *[Residual(a, b, use_shortcut and a == b) for a, b in pairs]
        )

    def forward(self, x):
        return self.all(x)


class Residual(nn.Module):
    def __init__(self, size_in, size_out, add):
        super().__init__()
        self.linear = nn.Linear(size_in, size_out)
        self.add = add

    def forward(self, x):
        out = nn.GELU(approximate="tanh")(self.linear(x))
        return torch.add(x, out) if self.add else out


class Matrices(nn.Module):
    """Bare parameters, (in, out)."""

    def __init__(self, layer_sizes, use_shortcut):
        super().__init__()
        self.use_shortcut = use_shortcut
        self.w = nn.ParameterList()
        self.b = nn.ParameterList()
        for i, size in enumerate(layer_sizes[1:]):
            self.w.append(nn.Parameter(0.1 * torch.randn(layer_sizes[i], size)))
            self.b.append(nn.Parameter(0.1 * torch.randn(size)))

    def forward(self, x):
        for w, b in zip(self.w, self.b, strict=True):
            out = F.gelu(x @ w + b, approximate="tanh")
            x = x + out if self.use_shortcut and x.size(-1) == out.size(-1) else out
        return x


RIGHT = {
    "finished": gpt_from_scratch.ExampleDeepNeuralNetwork,
    "notebook": Network,
    "compact": Compact,
    "layers with shortcuts in Sequential": InSequential,
    "bare matrices": Matrices,
    "in place on the output": type(
        "N",
        (Network,),
        {
            "forward": lambda self, x: [
                x := (out.add(x) if self.use_shortcut and out.shape == x.shape else out)
                for layer in self.layers
                if (out := layer(x)) is not None
            ][-1]
        },
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_variants_pass(name):
    report = check.example_deep_neural_network(RIGHT[name])
    assert report.passed, report


def stepping(step, init=None):
    """Make a version whose step gets (self, layer's number, x, output, inputs)."""

    def forward(self, x):
        inputs = [x]
        for index, layer in enumerate(self.layers):
            x = step(self, index, x, layer(x), inputs)
            inputs.append(x)
        return x

    more = {"__init__": init} if init else {}
    return type("ExampleDeepNeuralNetwork", (Network,), {"forward": forward, **more})


def add(self, x, out):
    return x + out if self.use_shortcut and x.shape == out.shape else out


def changed(change):
    def init(self, layer_sizes, use_shortcut):
        Network.__init__(self, layer_sizes, use_shortcut)
        change(self)

    return type("ExampleDeepNeuralNetwork", (Network,), {"__init__": init})


def forward(function):
    return type("ExampleDeepNeuralNetwork", (Network,), {"forward": function})


def right(self, x):
    return Network.forward(self, x)


UNKNOWN = {
    "first layer without shortcut": stepping(
        lambda self, i, x, out, _: add(self, x, out) if i else out
    ),
    "last layer without shortcut": stepping(
        lambda self, i, x, out, _: add(self, x, out) if i < 4 else out
    ),
    "every second shortcut": stepping(
        lambda self, i, x, out, _: add(self, x, out) if i % 2 else out
    ),
    "sum of all inputs": stepping(
        lambda self, i, x, out, inputs: (
            sum(inputs) + out
            if self.use_shortcut
            and all(x.shape == each.shape for each in [*inputs, out])
            else out
        )
    ),
    "input of the layer before": stepping(
        lambda self, i, x, out, inputs: (
            inputs[-2] + out
            if i and self.use_shortcut and inputs[-2].shape == out.shape
            else add(self, x, out)
        )
    ),
    "half of the output": stepping(lambda self, i, x, out, _: add(self, x, out / 2)),
    "half of the input": stepping(lambda self, i, x, out, _: add(self, x / 2, out)),
    "divided by root 2": stepping(
        lambda self, i, x, out, _: add(self, x, out) / 2**0.5
    ),
    "normalized": stepping(
        lambda self, i, x, out, _: F.layer_norm(add(self, x, out), out.shape[-1:])
    ),
    "tanh of the input": stepping(lambda self, i, x, out, _: add(self, x.tanh(), out)),
    "absolute input": stepping(lambda self, i, x, out, _: add(self, x.abs(), out)),
    "clamped at 300": stepping(
        lambda self, i, x, out, _: add(self, x, out).clamp(max=250)
    ),
    "only one half gets a gradient": stepping(
        lambda self, i, x, out, _: add(self, (x + x.detach()) / 2, out)
    ),
    "only the first shortcut is cut": stepping(
        lambda self, i, x, out, _: add(self, x if i else x.detach(), out)
    ),
    "shape of two dimensions only": stepping(
        lambda self, i, x, out, _: add(self, x, out) if x.ndim == 2 else out
    ),
    "only where features grow": stepping(
        lambda self, i, x, out, _: x + out if x.shape[-1] > out.shape[-1] else out
    ),
    "padded where shapes differ": stepping(
        lambda self, i, x, out, _: (
            out + F.pad(x, (0, out.shape[-1] - x.shape[-1]))
            if self.use_shortcut
            else out
        )
    ),
    "concatenated": forward(lambda self, x: torch.cat([right(self, x), x], -1)),
    "layers from the back": forward(
        lambda self, x: right(
            type(
                "N",
                (),
                {"layers": self.layers[::-1], "use_shortcut": self.use_shortcut},
            ),
            x,
        )
    ),
    "layer applied twice": stepping(
        lambda self, i, x, out, _: (
            add(self, x, self.layers[i](out)) if out.shape == x.shape else out
        )
    ),
    "no activation at the end": forward(
        lambda self, x: right(
            type(
                "N",
                (),
                {
                    "layers": [*self.layers[:-1], self.layers[-1][0]],
                    "use_shortcut": self.use_shortcut,
                },
            ),
            x,
        )
    ),
    "dropout": forward(lambda self, x: F.dropout(right(self, x), 0.1, self.training)),
    "mean of the batch": forward(lambda self, x: right(self, x - 0.01 * x.mean(0))),
    "first example leaks": forward(
        lambda self, x: right(self, x) + 0.01 * x.flatten()[0]
    ),
    "result rounded": forward(lambda self, x: right(self, x).round(decimals=2)),
    "input changed": forward(lambda self, x: (right(self, x), x.detach().add_(1))[0]),
    "seed set": forward(lambda self, x: (torch.manual_seed(1), right(self, x))[1]),
    "no gradient": forward(torch.no_grad()(right)),
    "relu between": forward(lambda self, x: right(self, x).relu()),
    "surplus layer": changed(lambda self: setattr(self, "extra", nn.Linear(3, 3))),
    "biases not trained": changed(
        lambda self: [layer[0].bias.requires_grad_(False) for layer in self.layers]
    ),
    "weights of 0": changed(
        lambda self: [nn.init.zeros_(layer[0].weight) for layer in self.layers]
    ),
    "SiLU": changed(
        lambda self: [layer.__setitem__(1, nn.SiLU()) for layer in self.layers]
    ),
    "two activations": changed(
        lambda self: [layer.append(GELU()) for layer in self.layers]
    ),
    "tuple": forward(lambda self, x: (right(self, x), x)),
    "list of all outputs": forward(lambda self, x: [layer(x) for layer in self.layers]),
    "arguments the other way": lambda use_shortcut, layer_sizes: Network(
        layer_sizes, use_shortcut
    ),
    "no argument use_shortcut": lambda layer_sizes: Network(layer_sizes, True),
    "eval only": forward(lambda self, x: x if self.training else right(self, x)),
    "nn.Sequential": nn.Sequential,
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_mistakes_of_others_are_found_and_not_misnamed(name):
    report = check.example_deep_neural_network(UNKNOWN[name])
    assert not report.passed, report
    assert report.mistake is None, report


def test_class_of_the_book():
    """Its five layers are fixed; 4.4 needs other depths."""

    class Five(Network):
        def __init__(self, layer_sizes, use_shortcut):
            super().__init__([layer_sizes[i] for i in range(6)], use_shortcut)

    report = check.example_deep_neural_network(Five)
    assert report.mistake == "a fixed depth of five layers"
