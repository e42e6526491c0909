"""The exercises of 4.3: right variants pass, mistakes unknown to them get no name."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gpt_from_scratch import GELU, GPT_CONFIG_124M, FeedForward, check
from gpt_from_scratch.check.exercises_4_3 import SwiGLU as Solution


class SwiGLU(nn.Module):
    """A right version, for those below to change."""

    def __init__(self, cfg):
        super().__init__()
        size = cfg["emb_dim"]
        hidden = int(4 * size * 2 / 3)
        self.gate = nn.Linear(size, hidden, bias=False)
        self.up = nn.Linear(size, hidden, bias=False)
        self.down = nn.Linear(hidden, size, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


def network(forward=None, **more):
    if forward:
        more["forward"] = forward
    return type("SwiGLU", (SwiGLU,), more)


def with_layers(**sizes):
    """Make a class with layers of other names, in another order."""

    def init(self, cfg):
        nn.Module.__init__(self)
        size = cfg["emb_dim"]
        for name, (wide_in, wide_out) in sizes.items():
            hidden = round(8 / 3 * size)
            layer = nn.Linear(
                hidden if wide_in else size, hidden if wide_out else size, bias=False
            )
            setattr(self, name, layer)

    return {"__init__": init}


UP, DOWN = (False, True), (True, False)


class Fused(nn.Module):
    """One matrix for both first layers."""

    def __init__(self, cfg):
        super().__init__()
        size = cfg["emb_dim"]
        self.both = nn.Linear(size, 2 * (8 * size // 3), bias=False)
        self.down = nn.Linear(8 * size // 3, size, bias=False)

    def forward(self, x):
        gate, up = self.both(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


RIGHT = {
    "solution": Solution,
    "the other hidden": SwiGLU,
    "SiLU by hand": network(
        lambda self, x: self.down(
            self.gate(x) * torch.sigmoid(self.gate(x)) * self.up(x)
        )
    ),
    "the product the other way round": network(
        lambda self, x: self.down(self.up(x) * F.silu(self.gate(x)))
    ),
    "Llama's names": network(
        lambda self, x: self.w2(F.silu(self.w1(x)) * self.w3(x)),
        **with_layers(w1=UP, w2=DOWN, w3=UP),
    ),
    "Hugging Face's names": network(
        lambda self, x: self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x)),
        **with_layers(gate_proj=UP, up_proj=UP, down_proj=DOWN),
    ),
    "names that say nothing": network(
        lambda self, x: self.c(F.silu(self.b(x)) * self.a(x)),
        **with_layers(a=UP, b=UP, c=DOWN),
    ),
    "both in one": Fused,
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_variants_pass(name):
    report = check.swiglu(RIGHT[name])
    assert report.passed, report


UNKNOWN = {
    "GELU by sigmoid": network(
        lambda self, x: self.down(
            self.gate(x) * torch.sigmoid(1.702 * self.gate(x)) * self.up(x)
        )
    ),
    "tanh": network(lambda self, x: self.down(torch.tanh(self.gate(x)) * self.up(x))),
    "softmax": network(
        lambda self, x: self.down(F.softmax(self.gate(x), dim=-1) * self.up(x))
    ),
    "difference": network(lambda self, x: self.down(F.silu(self.gate(x)) - self.up(x))),
    "scaled": network(
        lambda self, x: 0.99 * self.down(F.silu(self.gate(x)) * self.up(x))
    ),
    "activation at the end": network(
        lambda self, x: F.silu(self.down(F.silu(self.gate(x)) * self.up(x)))
    ),
    "detached gate": network(
        lambda self, x: self.down(F.silu(self.gate(x)).detach() * self.up(x))
    ),
    "mean over the tokens": network(
        lambda self, x: SwiGLU.forward(self, x.mean(-2, keepdim=True)).expand_as(x)
    ),
    "dropout": network(lambda self, x: F.dropout(SwiGLU.forward(self, x), 0.1)),
    "input changed": network(lambda self, x: SwiGLU.forward(self, x.detach().mul_(2))),
    "a tuple": network(lambda self, x: (SwiGLU.forward(self, x),)),
    "takes the sizes": lambda emb_dim, hidden: Solution({"emb_dim": emb_dim}),
    "the feed-forward network": FeedForward,
    "GELU alone": lambda cfg: GELU(),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_mistakes_of_others_are_found_and_not_misnamed(name):
    report = check.swiglu(UNKNOWN[name])
    assert not report.passed, report
    assert report.mistake is None, report


def test_size_is_equal():
    """Three matrices hold what two hold in ``FeedForward``, biases aside."""
    with torch.device("meta"):
        mine, theirs = Solution(GPT_CONFIG_124M), FeedForward(GPT_CONFIG_124M)

    def count(module):
        return sum(p.numel() for p in module.parameters() if p.ndim == 2)

    assert count(mine) == count(theirs) == 4718592


def test_one_forgotten_bias_explains_all():
    report = check.feed_forward_parameters(
        4 * 1024**2, 4 * 1024**2, 4 * 1024**2, hidden=2048
    )
    assert report.mistake == "forgotten biases"
    assert check.feed_forward_parameters(hidden=2048).text.count("not attempted") == 3
