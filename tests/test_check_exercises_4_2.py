"""The exercises of 4.2: right variants pass, unknown mistakes get no false name."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gpt_from_scratch import check


class RMSNorm(nn.Module):
    """The solution; the versions below change a step of it."""

    def __init__(self, emb_dim, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.scale = nn.Parameter(torch.ones(emb_dim))

    def forward(self, x):
        mean_square = (x**2).mean(dim=-1, keepdim=True)
        return self.scale * x / torch.sqrt(mean_square + self.eps)


def version(forward):
    return type("RMSNorm", (RMSNorm,), {"forward": forward})


class Weight(nn.Module):
    def __init__(self, emb_dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(emb_dim))

    def forward(self, x):
        return F.rms_norm(x, x.shape[-1:], self.weight, 1e-5)


RIGHT = {
    "PyTorch's": lambda emb_dim, eps=1e-5: nn.RMSNorm(emb_dim, eps),
    "by another name": Weight,
    "rsqrt": version(
        lambda self, x: (
            self.scale * (x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.eps))
        )
    ),
    "power": version(
        lambda self, x: (
            x * (x.square().mean(-1, keepdim=True) + self.eps) ** -0.5 * self.scale
        )
    ),
    "sum over n": version(
        lambda self, x: (
            self.scale
            * x
            / ((x**2).sum(-1, keepdim=True) / x.shape[-1] + self.eps).sqrt()
        )
    ),
    "variance plus squared mean": version(
        lambda self, x: (
            self.scale
            * x
            / (
                x.var(-1, keepdim=True, unbiased=False)
                + x.mean(-1, keepdim=True) ** 2
                + self.eps
            ).sqrt()
        )
    ),
    "in double": version(lambda self, x: RMSNorm.forward(self, x.double()).float()),
    "by norm": version(
        lambda self, x: (
            self.scale
            * x
            / (x.norm(dim=-1, keepdim=True) ** 2 / x.shape[-1] + self.eps).sqrt()
        )
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_variants_pass(name):
    report = check.rms_norm(RIGHT[name])
    assert report.passed, report
    assert report.mistake is None


def divided_by(size):
    return version(lambda self, x: self.scale * x / size(self, x))


class Surplus(RMSNorm):
    def __init__(self, emb_dim, eps=1e-5):
        super().__init__(emb_dim, eps)
        self.linear = nn.Linear(emb_dim, emb_dim)


class Counting(RMSNorm):
    def forward(self, x):
        self.calls = getattr(self, "calls", 0) + 1
        return super().forward(x) * (1 + 0.01 * self.calls)


UNKNOWN = {
    "layer normalization": nn.LayerNorm,
    "eps twice": divided_by(
        lambda self, x: ((x**2).mean(-1, keepdim=True) + 2 * self.eps).sqrt()
    ),
    "n minus 1": divided_by(
        lambda self, x: (
            (x**2).sum(-1, keepdim=True) / max(x.shape[-1] - 1, 1) + self.eps
        ).sqrt()
    ),
    "largest": divided_by(lambda self, x: x.abs().amax(-1, keepdim=True) + self.eps),
    "clamped eps": divided_by(
        lambda self, x: (x**2).mean(-1, keepdim=True).clamp(min=self.eps).sqrt()
    ),
    "median": divided_by(
        lambda self, x: ((x**2).median(-1, keepdim=True)[0] + self.eps).sqrt()
    ),
    "cubic": divided_by(
        lambda self, x: (x.abs() ** 3).mean(-1, keepdim=True) ** (1 / 3) + self.eps
    ),
    "fourth root": divided_by(
        lambda self, x: ((x**2).mean(-1, keepdim=True) + self.eps) ** 0.25
    ),
    "absolute result": version(lambda self, x: RMSNorm.forward(self, x).abs()),
    "scaled twice": version(lambda self, x: self.scale * RMSNorm.forward(self, x)),
    "scale plus 1": version(
        lambda self, x: RMSNorm.forward(self, x) * (1 + self.scale)
    ),
    "each text": divided_by(
        lambda self, x: (
            (x**2).mean(dim=tuple(range(max(x.ndim - 2, 0), x.ndim)), keepdim=True)
            + self.eps
        ).sqrt()
    ),
    "cut off at the input": version(lambda self, x: RMSNorm.forward(self, x.detach())),
    "surplus": Surplus,
    "counts calls": Counting,
    "half": version(lambda self, x: RMSNorm.forward(self, x.bfloat16())),
    "identity": lambda emb_dim: nn.Identity(),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_mistakes_of_others_are_found_and_not_misnamed(name):
    report = check.rms_norm(UNKNOWN[name])
    assert not report.passed, report
    assert report.mistake is None, report


# find_axis


def by_the_mean(norm, x):
    means = [norm(x).mean(dim=axis).abs().max().item() for axis in range(3)]
    return means.index(min(means))


def from_the_back(norm, x):
    return by_the_mean(norm, x) - 3


def by_the_gradient(norm, x):
    x = x.clone().requires_grad_()
    norm(x)[1, 1, 1].backward()
    moved = (x.grad != 0).nonzero().amax(dim=0) - (x.grad != 0).nonzero().amin(dim=0)
    return moved.argmax()


def by_slices(norm, x):
    """Normalize a part alone: only the axis of the norm must be whole."""
    whole = norm(x)
    if torch.allclose(norm(x[:, :, :1]), whole[:, :, :1], atol=1e-5):
        if torch.allclose(norm(x[:1]), whole[:1], atol=1e-5):
            return 1.0
        return 0.0
    return 2.0


@pytest.mark.parametrize(
    "find", [by_the_mean, from_the_back, by_the_gradient, by_slices]
)
def test_right_ways_to_find_the_axis(find):
    report = check.find_axis(find)
    assert report.passed, report


@pytest.mark.parametrize(
    "find",
    [
        lambda norm, x: 3,
        lambda norm, x: "tokens",
        lambda norm, x: None,
        lambda norm, x: [by_the_mean(norm, x)],
        lambda norm, x: by_the_mean(norm, x) == 1,
        lambda norm, x: x,
        lambda norm, x: norm(x).argmax(),
        lambda norm, x: (by_the_mean(norm, x) + 1) % 3,
        lambda norm: 1,
        lambda norm, x: x.shape.index(4),
        lambda norm, x: by_the_mean(norm, x) if len(x) == 3 else 2,
    ],
)
def test_other_ways_are_found_wrong_and_not_misnamed(find):
    report = check.find_axis(find)
    assert not report.passed, report
    assert report.mistake is None, report


def test_x_changed_in_place_is_named():
    def find(norm, x):
        changed = x
        changed[0, -1, 0] += 1
        moved = (norm(changed) - norm(x)).abs() > 1e-6
        if moved[0, 0, 0]:
            return 1
        return 0 if moved[1, -1, 0] else 2

    report = check.find_axis(find)
    assert report.mistake == "a comparison in which nothing moves"
