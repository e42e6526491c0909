"""``check.gelu``: right variants pass, mistakes it does not know get no name."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import gpt_from_scratch
from gpt_from_scratch import check


def inner(x):
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)


def gelu(formula, **more):
    """Make a class that applies a formula."""
    return type("GELU", (nn.Module,), {"forward": lambda self, x: formula(x), **more})


class Book(nn.Module):
    def __init__(self):
        super().__init__()

    def forward(self, x):
        return (
            0.5
            * x
            * (
                1
                + torch.tanh(
                    torch.sqrt(torch.tensor(2.0 / torch.pi))
                    * (x + 0.044715 * torch.pow(x, 3))
                )
            )
        )


class WithBuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("factor", torch.tensor(math.sqrt(2 / math.pi)))
        self.coefficient = torch.tensor(0.044715)

    def forward(self, x):
        return 0.5 * x * (1 + (self.factor * (x + self.coefficient * x**3)).tanh())


def by_loop(x):
    out = torch.zeros(x.shape)
    flat, values = out.view(-1), x.flatten()
    for index, value in enumerate(values):
        flat[index] = 0.5 * value * (1 + torch.tanh(inner(value)))
    return out


RIGHT = {
    "finished": gpt_from_scratch.GELU,
    "notebook": gelu(lambda x: 0.5 * x * (1 + torch.tanh(inner(x)))),
    "book": Book,
    "buffer and tensor": WithBuffer,
    "F.gelu": gelu(lambda x: F.gelu(x, approximate="tanh")),
    "nn.GELU by a function": lambda: nn.GELU(approximate="tanh"),
    "nn.GELU inside": type(
        "GELU",
        (nn.Module,),
        {
            "__init__": lambda self: (
                (
                    nn.Module.__init__(self),
                    setattr(self, "gelu", nn.GELU("tanh")),
                )
                and None
            ),
            "forward": lambda self, x: self.gelu(x),
        },
    ),
    "sigmoid of twice": gelu(lambda x: x * torch.sigmoid(2 * inner(x))),
    "factored out": gelu(
        lambda x: x / 2 * (1 + torch.tanh(0.7978845608 * x * (1 + 0.044715 * x * x)))
    ),
    "exp": gelu(lambda x: x / (1 + torch.exp(-2 * inner(x)))),
    "mean of x and x tanh": gelu(lambda x: (x + x * torch.tanh(inner(x))) / 2),
    "loop": gelu(by_loop),
    "math.pow": gelu(
        lambda x: torch.mul(
            x.mul(0.5),
            torch.tanh(math.pow(2 / math.pi, 0.5) * x.add(x.pow(3), alpha=0.044715))
            + 1,
        )
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_variants_pass(name):
    report = check.gelu(RIGHT[name])
    assert report.passed, report


def exact(x):
    return F.gelu(x)


def tanh_gelu(x):
    return F.gelu(x, approximate="tanh")


class Trained(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.044715))

    def forward(self, x):
        return (
            0.5
            * x
            * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + self.factor * x**3)))
        )


class Dropping(nn.Module):
    def forward(self, x):
        return F.dropout(tanh_gelu(x), 0.1, self.training)


class OneCall(nn.Module):
    seen = None

    def forward(self, x):
        if self.seen is None or self.seen.shape != x.shape:
            self.seen = tanh_gelu(x)
        return self.seen


UNKNOWN = {
    "tanh overwritten, which its gradient needs": gelu(
        lambda x: inner(x).tanh_().add_(1).mul(0.5).mul(x)
    ),
    "0.0447": gelu(
        lambda x: (
            0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.0447 * x**3)))
        )
    ),
    "0.04715": gelu(
        lambda x: (
            0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.04715 * x**3)))
        )
    ),
    "0.8 for the root": gelu(
        lambda x: 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.044715 * x**3)))
    ),
    "pi = 3.14": gelu(
        lambda x: (
            0.5 * x * (1 + torch.tanh(math.sqrt(2 / 3.14) * (x + 0.044715 * x**3)))
        )
    ),
    "sigmoid with 1.7": gelu(lambda x: x * torch.sigmoid(1.7 * x)),
    "0.5 twice": gelu(lambda x: 0.5 * tanh_gelu(x)),
    "two mistakes": gelu(lambda x: x * torch.tanh(0.8 * x)),
    "exact for negative values": gelu(
        lambda x: torch.where(x < 0, exact(x), tanh_gelu(x))
    ),
    "clipped at 4": gelu(lambda x: tanh_gelu(x.clamp(-4, 4))),
    "clipped at 1000": gelu(lambda x: tanh_gelu(x).clamp(max=1000)),
    "zero below -3": gelu(lambda x: torch.where(x < -3, 0 * x, tanh_gelu(x))),
    "bfloat16": gelu(lambda x: tanh_gelu(x.bfloat16()).to(x.dtype)),
    "rounded": gelu(lambda x: tanh_gelu(x).round(decimals=4)),
    "ReLU6": gelu(F.relu6),
    "SELU": gelu(F.selu),
    "softsign": gelu(F.softsign),
    "softmax": gelu(lambda x: F.softmax(x, -1)),
    "GLU": gelu(lambda x: tanh_gelu(x) * x.sigmoid()),
    "squared ReLU": gelu(lambda x: F.relu(x) ** 2),
    "absolute value": gelu(lambda x: tanh_gelu(x.abs())),
    "negative": gelu(lambda x: -tanh_gelu(x)),
    "sum": gelu(lambda x: x + tanh_gelu(x)),
    "mean of tokens added": gelu(lambda x: tanh_gelu(x) + 1e-3 * x.mean()),
    "first row only": gelu(lambda x: tanh_gelu(x[:1]).expand_as(x)),
    "flattened": gelu(lambda x: tanh_gelu(x).flatten()),
    "sorted": gelu(lambda x: tanh_gelu(x.sort(-1)[0])),
    "gradient of ReLU": gelu(lambda x: F.relu(x) + (tanh_gelu(x) - F.relu(x)).detach()),
    "gradient tenfold": gelu(lambda x: 10 * (y := tanh_gelu(x)) - 9 * y.detach()),
    "double out": gelu(lambda x: tanh_gelu(x.double())),
    "trained coefficient": Trained,
    "drops in training": Dropping,
    "remembers": OneCall,
    "sets the seed": gelu(lambda x: (torch.manual_seed(1), tanh_gelu(x))[1]),
    "exp overflows": gelu(lambda x: x * (e := torch.exp(2 * inner(x))) / (1 + e)),
    "cube by XOR": gelu(
        lambda x: (
            0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ^ 3)))
        )
    ),
    "math.tanh": gelu(lambda x: 0.5 * x * (1 + math.tanh(inner(x)))),
    "PReLU": nn.PReLU,
    "the function itself": tanh_gelu,
    "nn.GLU": nn.GLU,
    "Hardswish": nn.Hardswish,
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_mistakes_of_others_are_found_and_not_misnamed(name):
    report = check.gelu(UNKNOWN[name])
    assert not report.passed, report
    assert report.mistake is None, report


def test_torchs_own_by_default_is_the_exact_one():
    assert check.gelu(nn.GELU).mistake == "the exact GELU"
