"""``check.feed_forward``: right variants pass, mistakes unknown to it get no name."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import gpt_from_scratch
from gpt_from_scratch import GELU, check


class Network(nn.Module):
    """The class of notebook 4.3; the versions below change a step of it."""

    def __init__(self, cfg):
        super().__init__()
        emb_dim = cfg["emb_dim"]
        self.layers = nn.Sequential(
            nn.Linear(emb_dim, 4 * emb_dim),
            GELU(),
            nn.Linear(4 * emb_dim, emb_dim),
        )

    def forward(self, x):
        return self.layers(x)


class OtherNames(nn.Module):
    def __init__(self, config):
        super().__init__()
        size = config["emb_dim"]
        self.down = nn.Linear(4 * size, size)
        self.up = nn.Linear(size, 4 * size)

    def forward(self, x):
        return self.down(F.gelu(self.up(x), approximate="tanh"))


class NanoGPT(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        size = cfg["emb_dim"]
        self.c_fc = nn.Linear(size, 4 * size)
        self.gelu = nn.GELU(approximate="tanh")
        self.c_proj = nn.Linear(4 * size, size)
        self.dropout = nn.Dropout(0.0)
        nn.init.normal_(self.c_fc.weight, std=0.02)
        nn.init.normal_(self.c_proj.weight, std=0.02)
        nn.init.zeros_(self.c_fc.bias)
        nn.init.zeros_(self.c_proj.bias)

    def forward(self, x):
        return self.dropout(self.c_proj(self.gelu(self.c_fc(x))))


class BareParameters(nn.Module):
    """As Hugging Face's Conv1D: the matrices are (in, out)."""

    def __init__(self, cfg):
        super().__init__()
        size = cfg["emb_dim"]
        self.a = nn.Parameter(0.02 * torch.randn(size, 4 * size))
        self.b = nn.Parameter(torch.zeros(4 * size))
        self.c = nn.Parameter(0.02 * torch.randn(4 * size, size))
        self.d = nn.Parameter(torch.zeros(size))

    def forward(self, x):
        return F.gelu(x @ self.a + self.b, approximate="tanh") @ self.c + self.d


class Einsum(Network):
    def forward(self, x):
        first, _, second = self.layers
        hidden = torch.einsum("...i,hi->...h", x, first.weight) + first.bias
        hidden = F.gelu(hidden, approximate="tanh")
        return torch.einsum("...h,oh->...o", hidden, second.weight) + second.bias


class Loop(Network):
    def forward(self, x):
        out = torch.empty(x.shape)
        for index in range(x.shape[0]):
            out[index] = self.layers(x[index])
        return out


class Listed(Network):
    def __init__(self, cfg):
        super().__init__(cfg)
        self.layers = nn.ModuleList(self.layers)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Chunked(Network):
    def forward(self, x):
        flat = x.reshape(-1, x.shape[-1])
        return torch.cat([self.layers(part) for part in flat.split(2)]).view_as(x)


class OneByOneConvolution(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.inner = Network(cfg)

    def forward(self, x):
        return self.inner(x)


RIGHT = {
    "finished": gpt_from_scratch.FeedForward,
    "notebook": Network,
    "other names, other order": OtherNames,
    "nanoGPT": NanoGPT,
    "matrices the other way": BareParameters,
    "einsum": Einsum,
    "loop over the batch": Loop,
    "ModuleList": Listed,
    "chunks": Chunked,
    "one more level": OneByOneConvolution,
    "asks for n_heads too": type(
        "FeedForward",
        (Network,),
        {
            "__init__": lambda self, cfg: (cfg["n_heads"], Network.__init__(self, cfg))[
                1
            ]
        },
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_variants_pass(name):
    report = check.feed_forward(RIGHT[name])
    assert report.passed, report


def network(forward=None, **more):
    if forward:
        more["forward"] = forward
    return type("FeedForward", (Network,), more)


def made_by(change):
    """Make a class whose layers are changed after they were made."""

    def init(self, cfg):
        Network.__init__(self, cfg)
        change(self, cfg["emb_dim"])

    return network(__init__=init)


class FreshLayers(nn.Module):
    """Makes new layers at every call."""

    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg

    def forward(self, x):
        return Network(self.cfg)(x)


class Tied(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.inner = Network(cfg)
        self.inner.layers[2].weight = nn.Parameter(self.inner.layers[0].weight.T)

    def forward(self, x):
        first, _, second = self.inner.layers
        hidden = F.gelu(first(x), approximate="tanh")
        return F.linear(hidden, first.weight.T, second.bias)


def with_layer(index, make):
    return made_by(lambda self, n: self.layers.__setitem__(index, make(n)))


def appended(*make):
    return made_by(lambda self, n: [self.layers.append(m(n)) for m in make])


UNKNOWN = {
    "two activations": with_layer(1, lambda n: nn.Sequential(GELU(), GELU())),
    "ReLU after GELU": with_layer(1, lambda n: nn.Sequential(GELU(), nn.ReLU())),
    "GELU of half": network(
        lambda self, x: self.layers[2](GELU()(self.layers[0](x) / 2))
    ),
    "SELU": with_layer(1, lambda n: nn.SELU()),
    "softmax": with_layer(1, lambda n: nn.Softmax(-1)),
    "GELU with 1.7": with_layer(
        1,
        lambda n: type(
            "A", (nn.Module,), {"forward": lambda self, x: x * torch.sigmoid(1.7 * x)}
        )(),
    ),
    "dropout between": with_layer(1, lambda n: nn.Sequential(GELU(), nn.Dropout(0.1))),
    "expansion to 5": made_by(
        lambda self, n: setattr(
            self,
            "layers",
            nn.Sequential(nn.Linear(n, 5 * n), GELU(), nn.Linear(5 * n, n)),
        )
    ),
    "expansion by 36": made_by(
        lambda self, n: setattr(
            self,
            "layers",
            nn.Sequential(nn.Linear(n, n + 36), GELU(), nn.Linear(n + 36, n)),
        )
    ),
    "third layer": appended(lambda n: nn.Linear(n, n)),
    "two more steps": appended(lambda n: GELU(), lambda n: nn.Linear(n, n)),
    "norm at the end": appended(lambda n: nn.LayerNorm(n)),
    "norm without parameters": appended(
        lambda n: nn.LayerNorm(n, elementwise_affine=False)
    ),
    "tanh at the end": appended(lambda n: nn.Tanh()),
    "scaled": network(lambda self, x: self.layers(x) * 0.99),
    "rounded": network(lambda self, x: self.layers(x).round(decimals=3)),
    "clamped at 30": network(lambda self, x: self.layers(x).clamp(-30, 30)),
    "applied twice": network(lambda self, x: self.layers(self.layers(x))),
    "token 0 left out": network(
        lambda self, x: torch.cat([x[..., :1, :], self.layers(x[..., 1:, :])], dim=-2)
    ),
    "mean over the tokens": network(
        lambda self, x: self.layers(x.mean(-2, keepdim=True)).expand_as(x)
    ),
    "running mean of tokens": network(
        lambda self, x: self.layers(x + 0.01 * x.cumsum(-2))
    ),
    "text 0 leaks": network(lambda self, x: self.layers(x) + 0.01 * x[:1].mean()),
    "only three dimensions": network(
        lambda self, x: self.layers(x) if x.ndim == 3 else x
    ),
    "result flattened": network(lambda self, x: self.layers(x).flatten(1)),
    "first bias not used": network(
        lambda self, x: self.layers[2](GELU()(F.linear(x, self.layers[0].weight)))
    ),
    "bias not trained": made_by(
        lambda self, n: self.layers[2].bias.requires_grad_(False)
    ),
    "gradient of the input halved": network(
        lambda self, x: self.layers(x / 2 + x.detach() / 2)
    ),
    "input changed": network(lambda self, x: self.layers(x.detach().mul_(1.5))),
    "input changed afterwards": network(
        lambda self, x: (self.layers(x), x.detach().zero_())[0]
    ),
    "seed set": network(lambda self, x: (torch.manual_seed(1), self.layers(x))[1]),
    "weights of 0": made_by(lambda self, n: nn.init.zeros_(self.layers[0].weight)),
    "weights of 10": made_by(
        lambda self, n: nn.init.constant_(self.layers[0].weight, 10)
    ),
    "fresh layers": FreshLayers,
    "tied layers": Tied,
    "weights drift": network(
        lambda self, x: (self.layers(x), self.layers[0].weight.data.mul_(1.01))[0]
    ),
    "surplus layer": made_by(lambda self, n: setattr(self, "extra", nn.Linear(n, n))),
    "tuple": network(lambda self, x: (self.layers(x),)),
    "half precision": network(
        lambda self, x: self.layers(x.bfloat16().float()).bfloat16().float()
    ),
    "takes the sizes": lambda emb_dim, hidden: Network({"emb_dim": emb_dim}),
    "wrong key": lambda cfg: Network({"emb_dim": cfg["embed_dim"]}),
    "size from n_heads": lambda cfg: Network({"emb_dim": 4 * cfg["n_heads"]}),
    "identity in training": network(
        lambda self, x: x if self.training else self.layers(x)
    ),
    "gated": network(lambda self, x: self.layers(x) * x.sigmoid()),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_mistakes_of_others_are_found_and_not_misnamed(name):
    report = check.feed_forward(UNKNOWN[name])
    assert not report.passed, report
    assert report.mistake is None, report


def test_activation_that_is_wrong_in_the_learners_own_gelu():
    report = check.feed_forward(with_layer(1, lambda n: nn.ReLU()))
    assert report.mistake == "ReLU as the activation"
