"""``check.layer_norm``: right variants pass, mistakes it does not know get no name."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import gpt_from_scratch
from gpt_from_scratch import check


class Norm(nn.Module):
    """The class of notebook 4.2; the versions below change a step of it."""

    def __init__(self, emb_dim, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.scale = nn.Parameter(torch.ones(emb_dim))
        self.shift = nn.Parameter(torch.zeros(emb_dim))

    def normalize(self, x):
        mean = x.mean(dim=-1, keepdim=True)
        variance = x.var(dim=-1, keepdim=True, unbiased=False)
        return (x - mean) / torch.sqrt(variance + self.eps)

    def forward(self, x):
        return self.scale * self.normalize(x) + self.shift


def norm(**steps):
    """Make a version of the class with other methods."""
    return type("LayerNorm", (Norm,), steps)


class BookNorm(nn.Module):
    """As in the book: eps is no argument."""

    def __init__(self, emb_dim):
        super().__init__()
        self.eps = 1e-5
        self.scale = nn.Parameter(torch.ones(emb_dim))
        self.shift = nn.Parameter(torch.zeros(emb_dim))

    def forward(self, x):
        mean = x.mean(dim=-1, keepdim=True)
        var = x.var(dim=-1, keepdim=True, unbiased=False)
        norm_x = (x - mean) / torch.sqrt(var + self.eps)
        return self.scale * norm_x + self.shift


class GammaBeta(nn.Module):
    def __init__(self, ndim):
        super().__init__()
        self.beta = nn.Parameter(torch.zeros(ndim))
        self.gamma = nn.Parameter(torch.ones(ndim))

    def forward(self, x):
        return F.layer_norm(x, self.gamma.shape, self.gamma, self.beta, 1e-5)


class Inner(nn.Module):
    def __init__(self, emb_dim, eps=1e-5):
        super().__init__()
        self.inner = nn.LayerNorm(emb_dim, eps=eps)

    def forward(self, x):
        return self.inner(x)


class EpsTensor(Norm):
    def __init__(self, emb_dim):
        super().__init__(emb_dim, torch.tensor(1e-5))
        self.counter = 0
        self.notes = [self, {"me": self}]


class OneMatrix(nn.Module):
    """Scale and shift as the rows of one parameter."""

    def __init__(self, emb_dim):
        super().__init__()
        both = torch.stack([torch.ones(emb_dim), torch.zeros(emb_dim)])
        self.both = nn.Parameter(both.flatten())

    def forward(self, x):
        n = x.shape[-1]
        return F.layer_norm(x, (n,), self.both[:n], self.both[n:])


class NormOfListArgument(nn.Module):
    def __init__(self, normalized_shape, eps=1e-5, **unused):
        super().__init__()
        self.weights = nn.ParameterDict(
            {
                "scale": nn.Parameter(torch.ones(normalized_shape)),
                "shift": nn.Parameter(torch.zeros(normalized_shape)),
            }
        )
        self.eps = eps

    def forward(self, x):
        out = F.layer_norm(x, x.shape[-1:], eps=self.eps)
        return torch.addcmul(self.weights["shift"], out, self.weights["scale"])


def by_loop(self, x):
    flat = x.reshape(-1, x.shape[-1])
    out = torch.zeros(flat.shape)
    for index, row in enumerate(flat):
        mean = row.sum() / len(row)
        variance = sum((value - mean) ** 2 for value in row) / len(row)
        out[index] = (row - mean) / (variance + self.eps) ** 0.5
    return out.reshape(x.shape)


def by_standard_deviation(self, x):
    variance = x.std(dim=-1, keepdim=True, correction=0) ** 2
    return (x - x.mean(-1, True)) * torch.rsqrt(variance + self.eps)


def by_corrected_variance(self, x):
    n = x.shape[-1]
    mean = x.mean(-1, keepdim=True)
    variance = (x - mean).square().sum(-1, keepdim=True) / n
    return (x - mean) / (variance + self.eps) ** 0.5


def by_mean_of_squares(self, x):
    mean = x.mean(-1, keepdim=True)
    variance = (x * x).mean(-1, keepdim=True) - mean**2
    return (x - mean) / torch.sqrt(variance + self.eps)


def by_var_mean(self, x):
    variance, mean = torch.var_mean(x, dim=-1, keepdim=True, correction=0)
    return (x - mean) / torch.sqrt(variance + self.eps)


def by_unsqueeze(self, x):
    mean = x.mean(-1).unsqueeze(-1)
    variance = x.var(-1, unbiased=False)[..., None]
    return x.sub(mean).div(variance.add(self.eps).sqrt())


def in_place_on_a_copy(self, x):
    x = x.clone()
    x -= x.mean(-1, keepdim=True)
    return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)


def in_float64(self, x):
    return Norm.normalize(self, x.double()).to(x.dtype)


def with_einsum(self, x):
    n = x.shape[-1]
    mean = torch.einsum("...i->...", x)[..., None] / n
    squares = torch.einsum("...i,...i->...", x - mean, x - mean)[..., None] / n
    return (x - mean) / torch.sqrt(squares + self.eps)


RIGHT = {
    "finished": gpt_from_scratch.LayerNorm,
    "notebook": Norm,
    "book": BookNorm,
    "nn.LayerNorm": nn.LayerNorm,
    "gamma and beta, the other way round": GammaBeta,
    "nn.LayerNorm inside": Inner,
    "eps a tensor": EpsTensor,
    "one parameter": OneMatrix,
    "parameter dict": NormOfListArgument,
    "function that builds": lambda emb_dim: Norm(emb_dim),
    "with checks of its input": norm(
        forward=lambda self, x: (
            Norm.forward(self, x) if x.shape[-1] == len(self.scale) else 1 / 0
        )
    ),
    "affine first": norm(
        forward=lambda self, x: self.shift + torch.mul(self.normalize(x), self.scale)
    ),
    "torch.lerp of moments": norm(normalize=by_var_mean),
    **{
        step.__name__: norm(normalize=step)
        for step in (
            by_loop,
            by_standard_deviation,
            by_corrected_variance,
            by_mean_of_squares,
            by_var_mean,
            by_unsqueeze,
            in_place_on_a_copy,
            in_float64,
            with_einsum,
        )
    },
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_variants_pass(name):
    report = check.layer_norm(RIGHT[name])
    assert report.passed, report


class Counting(Norm):
    """Right twice, then off by a little."""

    calls = 0

    def forward(self, x):
        self.calls = self.calls + 1
        return super().forward(x) + (0.01 if self.calls > 1 else 0)


class Surplus(Norm):
    def __init__(self, emb_dim, eps=1e-5):
        super().__init__(emb_dim, eps)
        self.extra = nn.Linear(emb_dim, 3)


class Fixed768(Norm):
    def __init__(self, emb_dim, eps=1e-5):
        super().__init__(768, eps)


class Dropping(Norm):
    def forward(self, x):
        return F.dropout(super().forward(x), 0.5, self.training)


class Seeding(Norm):
    def forward(self, x):
        torch.manual_seed(0)
        return super().forward(x)


class RunningMean(Norm):
    def __init__(self, emb_dim, eps=1e-5):
        super().__init__(emb_dim, eps)
        self.register_buffer("mean", torch.zeros(1))

    def forward(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean()
        return super().forward(x) - self.mean


class Untrained(Norm):
    def __init__(self, emb_dim, eps=1e-5):
        super().__init__(emb_dim, eps)
        self.shift.requires_grad_(False)


class RandomStart(Norm):
    def __init__(self, emb_dim, eps=1e-5):
        super().__init__(emb_dim, eps)
        nn.init.normal_(self.scale, 1, 0.02)


class TwoNames(Norm):
    """Scale and shift are one parameter."""

    def __init__(self, emb_dim, eps=1e-5):
        super().__init__(emb_dim, eps)
        self.shift = self.scale


class PastMean(Norm):
    """Normalizes over the tokens so far, too: no future, but other tokens."""

    def forward(self, x):
        if x.ndim < 3:
            return super().forward(x)
        return super().forward(x + 0.1 * x.cumsum(dim=1) / 10)


UNKNOWN = {
    "two mistakes at once": norm(
        normalize=lambda self, x: (
            (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-6).sqrt()
        )
    ),
    "unbiased, shift first": norm(
        forward=lambda self, x: (
            self.scale
            * (
                (x - x.mean(-1, keepdim=True))
                / (x.var(-1, keepdim=True) + self.eps).sqrt()
                + self.shift
            )
        )
    ),
    "eps added twice": norm(
        normalize=lambda self, x: (
            (x - x.mean(-1, keepdim=True))
            / (x.var(-1, keepdim=True, unbiased=False) + 2 * self.eps).sqrt()
        )
    ),
    "eps a tenth more": norm(
        normalize=lambda self, x: (
            (x - x.mean(-1, keepdim=True))
            / (x.var(-1, keepdim=True, unbiased=False) + 1.1e-5).sqrt()
        )
    ),
    "eps added to the mean": norm(
        normalize=lambda self, x: Norm.normalize(self, x) + 0.003
    ),
    "variance clamped": norm(
        normalize=lambda self, x: (
            (x - x.mean(-1, keepdim=True))
            / x.var(-1, keepdim=True, unbiased=False).clamp(min=1e-5).sqrt()
        )
    ),
    "result clamped at 3": norm(
        normalize=lambda self, x: Norm.normalize(self, x).clamp(-3, 3)
    ),
    "result clamped at 1": norm(
        normalize=lambda self, x: Norm.normalize(self, x).clamp(-1, 1)
    ),
    "ReLU after": norm(forward=lambda self, x: Norm.forward(self, x).relu()),
    "shortcut inside": norm(forward=lambda self, x: Norm.forward(self, x) + x),
    "normalized twice": norm(
        normalize=lambda self, x: Norm.normalize(self, 0.1 * Norm.normalize(self, x))
    ),
    "scale squared": norm(
        forward=lambda self, x: self.scale**2 * self.normalize(x) + self.shift
    ),
    "scale plus 1": norm(
        forward=lambda self, x: (1 + self.scale) * self.normalize(x) + self.shift
    ),
    "n - 2": norm(
        normalize=lambda self, x: (
            (x - x.mean(-1, keepdim=True))
            / (x.var(-1, keepdim=True, correction=2) + self.eps).sqrt()
        )
    ),
    "features sorted": norm(forward=lambda self, x: Norm.forward(self, x.sort(-1)[0])),
    "features reversed": norm(forward=lambda self, x: Norm.forward(self, x.flip(-1))),
    "first token skipped": norm(
        forward=lambda self, x: (
            torch.cat([x[..., :1, :], Norm.forward(self, x)[..., 1:, :]], -2)
            if x.ndim > 1
            else Norm.forward(self, x)
        )
    ),
    "only the first text": norm(
        forward=lambda self, x: Norm.forward(self, x[:1]).expand_as(x)
    ),
    "only 3 dimensions": norm(
        forward=lambda self, x: Norm.forward(self, x) if x.ndim == 3 else x
    ),
    "gradient of the shift cut": norm(
        forward=lambda self, x: self.scale * self.normalize(x) + self.shift.detach()
    ),
    "gradient of the mean cut": norm(
        normalize=lambda self, x: (
            (x - x.mean(-1, keepdim=True).detach())
            / (x.var(-1, keepdim=True, unbiased=False) + self.eps).sqrt()
        )
    ),
    "gradient doubled": norm(
        forward=lambda self, x: 2 * (y := Norm.forward(self, x)) - y.detach()
    ),
    "half precision": norm(
        forward=lambda self, x: Norm.forward(self, x.bfloat16()).float()
    ),
    "identity in training": norm(
        forward=lambda self, x: x if self.training else Norm.forward(self, x)
    ),
    "changes its input afterwards": norm(
        forward=lambda self, x: (Norm.forward(self, x), x.detach().add_(1))[0]
    ),
    "changes its scale": norm(
        forward=lambda self, x: (
            Norm.forward(self, x),
            self.scale.data.mul_(1.1),
        )[0]
    ),
    "eps ignored, 1e-6": norm(
        __init__=lambda self, emb_dim, eps=1e-5: Norm.__init__(self, emb_dim, 1e-6)
    ),
    "no root with mean distance": norm(
        normalize=lambda self, x: (
            (y := x - x.mean(-1, keepdim=True))
            / (y.abs().mean(-1, keepdim=True) + self.eps)
        )
    ),
    "softmax": norm(forward=lambda self, x: x.softmax(-1)),
    "largest is 1": norm(
        normalize=lambda self, x: x / x.abs().amax(-1, keepdim=True).clamp(min=1e-5)
    ),
    "counts calls": Counting,
    "surplus parameters": Surplus,
    "768 fixed": Fixed768,
    "drops in training": Dropping,
    "sets the seed": Seeding,
    "running mean": RunningMean,
    "only the shift untrained": Untrained,
    "random start": RandomStart,
    "one parameter twice": TwoNames,
    "other tokens": PastMean,
    "group normalization": lambda emb_dim, eps=1e-5: nn.GroupNorm(1, emb_dim, eps),
    "instance normalization": lambda emb_dim, eps=1e-5: nn.InstanceNorm1d(emb_dim),
    "RMSNorm of PyTorch": nn.RMSNorm,
    "a linear layer": lambda emb_dim, eps=1e-5: nn.Linear(emb_dim, emb_dim),
    "no affine": lambda emb_dim, eps=1e-5: nn.LayerNorm(
        emb_dim, eps, elementwise_affine=False
    ),
    "no bias": lambda emb_dim, eps=1e-5: nn.LayerNorm(emb_dim, eps, bias=False),
    "embedding size in a tuple": lambda shape: Norm(shape[0]),
}
# These are no other mistakes but the same by another way; the name is right.
KNOWN = {
    "no affine": "a class without scale and shift",
    "no bias": "a missing shift",
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_mistakes_of_others_are_found_and_not_misnamed(name):
    report = check.layer_norm(UNKNOWN[name])
    assert not report.passed, report
    assert report.mistake == KNOWN.get(name), report
    assert max(map(len, report.text.splitlines())) <= 88
