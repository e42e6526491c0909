"""``check.transformer_block``: right variants pass, other mistakes get no name."""

import pytest
import torch
from test_check_layer_norm import UNKNOWN as WRONG_NORMS
from test_check_layer_norm import BookNorm
from test_check_multi_head_attention import UNKNOWN as WRONG_ATTENTIONS
from test_check_multi_head_attention import (
    Attention,
    BookAttention,
    ForeignNames,
    Fused,
    FusedByHead,
    LayerPerHead,
    TensorsPerHead,
)
from torch import nn
from torch.nn import functional as F

import gpt_from_scratch
from gpt_from_scratch import GELU, FeedForward, LayerNorm, MultiHeadAttention, check
from gpt_from_scratch.check.feed_forward import FEED_FORWARD
from gpt_from_scratch.check.layer_norm import LAYER_NORM
from gpt_from_scratch.check.multi_head_attention import MULTI_HEAD_ATTENTION


class Block(nn.Module):
    """The class of notebook 4.5; the versions below change a step of it."""

    attention = MultiHeadAttention
    network = FeedForward
    norm = LayerNorm

    def __init__(self, cfg):
        super().__init__()
        self.att = self.attention(
            cfg["emb_dim"],
            cfg["emb_dim"],
            cfg["context_length"],
            cfg["drop_rate"],
            cfg["n_heads"],
            cfg["qkv_bias"],
        )
        self.ff = self.network(cfg)
        self.norm1 = self.norm(cfg["emb_dim"])
        self.norm2 = self.norm(cfg["emb_dim"])
        self.drop_shortcut = nn.Dropout(cfg["drop_rate"])
        self.finish(cfg)

    def finish(self, cfg):
        pass

    def attend(self, x):
        return self.drop_shortcut(self.att(self.norm1(x)))

    def think(self, x):
        return self.drop_shortcut(self.ff(self.norm2(x)))

    def forward(self, x):
        x = x + self.attend(x)
        return x + self.think(x)


def block(base=Block, **steps):
    """Make a version of the class with other parts or methods."""
    return type("TransformerBlock", (base,), steps)


class BookBlock(nn.Module):
    """As in the book, with a shortcut kept and added."""

    def __init__(self, cfg):
        super().__init__()
        self.att = BookAttention(
            d_in=cfg["emb_dim"],
            d_out=cfg["emb_dim"],
            context_length=cfg["context_length"],
            num_heads=cfg["n_heads"],
            dropout=cfg["drop_rate"],
            qkv_bias=cfg["qkv_bias"],
        )
        self.ff = FeedForward(cfg)
        self.norm1 = BookNorm(cfg["emb_dim"])
        self.norm2 = BookNorm(cfg["emb_dim"])
        self.drop_shortcut = nn.Dropout(cfg["drop_rate"])

    def forward(self, x):
        shortcut = x
        x = self.norm1(x)
        x = self.att(x)
        x = self.drop_shortcut(x)
        x = x + shortcut
        shortcut = x
        x = self.norm2(x)
        x = self.ff(x)
        x = self.drop_shortcut(x)
        return x + shortcut


class Names(nn.Module):
    """Other names in another order, PyTorch's normalization, two dropouts."""

    def __init__(self, cfg):
        super().__init__()
        size = cfg["emb_dim"]
        self.ln_2 = nn.LayerNorm(size)
        self.mlp = nn.Sequential(
            nn.Linear(size, 4 * size),
            nn.GELU(approximate="tanh"),
            nn.Linear(4 * size, size),
            nn.Dropout(cfg["drop_rate"]),
        )
        self.ln_1 = nn.LayerNorm(size)
        self.attn = Fused(
            size,
            size,
            cfg["context_length"],
            cfg["drop_rate"],
            cfg["n_heads"],
            cfg["qkv_bias"],
        )
        self.resid_dropout = nn.Dropout(cfg["drop_rate"])

    def forward(self, x):
        x = x + self.resid_dropout(self.attn(self.ln_1(x)))
        return x + self.mlp(self.ln_2(x))


class AllInOne(nn.Module):
    """No parts: everything in one class."""

    def __init__(self, cfg):
        super().__init__()
        size = cfg["emb_dim"]
        self.heads, self.p = cfg["n_heads"], cfg["drop_rate"]
        self.gamma1, self.gamma2 = (nn.Parameter(torch.ones(size)) for _ in range(2))
        self.beta1, self.beta2 = (nn.Parameter(torch.zeros(size)) for _ in range(2))
        self.qkv = nn.Linear(size, 3 * size, bias=cfg["qkv_bias"])
        self.mix = nn.Linear(size, size)
        self.up, self.down = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)

    def drop(self, x):
        return F.dropout(x, self.p, self.training)

    def forward(self, x):
        y = F.layer_norm(x, x.shape[-1:], self.gamma1, self.beta1)
        parts = [
            part.unflatten(-1, (self.heads, -1)) for part in self.qkv(y).chunk(3, -1)
        ]
        q, k, v = (part.transpose(1, 2) for part in parts)
        y = F.scaled_dot_product_attention(
            q, k, v, is_causal=True, dropout_p=self.p if self.training else 0
        )
        x = x + self.drop(self.mix(y.transpose(1, 2).flatten(2)))
        y = F.layer_norm(x, x.shape[-1:], self.gamma2, self.beta2)
        return x + self.drop(self.down(F.gelu(self.up(y), approximate="tanh")))


class Branches(nn.Module):
    """The branches as nn.Sequential in a ModuleList."""

    def __init__(self, cfg):
        super().__init__()
        part = Block(cfg)
        drop = nn.Dropout(cfg["drop_rate"])
        self.branches = nn.ModuleList(
            [
                nn.Sequential(part.norm1, part.att, drop),
                nn.Sequential(part.norm2, part.ff, drop),
            ]
        )

    def forward(self, x):
        for branch in self.branches:
            x = torch.add(x, branch(x))
        return x


RIGHT = {
    "finished": gpt_from_scratch.TransformerBlock,
    "notebook": Block,
    "book": BookBlock,
    "other names": Names,
    "all in one": AllInOne,
    "branches": Branches,
    "function that builds": lambda cfg: Block(cfg),
    "PyTorch's normalization": block(norm=nn.LayerNorm),
    "own attention": block(attention=Attention),
    "fused": block(attention=Fused),
    "fused by head": block(attention=FusedByHead),
    "a layer for each head": block(attention=LayerPerHead),
    "three dimensions": block(attention=TensorsPerHead),
    "foreign names": block(attention=ForeignNames),
    "two dropouts": block(
        finish=lambda self, cfg: setattr(self, "drop2", nn.Dropout(cfg["drop_rate"])),
        think=lambda self, x: self.drop2(self.ff(self.norm2(x))),
    ),
    "in place on a copy": block(
        forward=lambda self, x: (y := x.clone().add_(self.attend(x))) + self.think(y)
    ),
    "the other way round": block(
        forward=lambda self, x: self.think(y := self.attend(x) + x) + y
    ),
    "settings kept": block(finish=lambda self, cfg: setattr(self, "cfg", cfg)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_variants_pass(name):
    report = check.transformer_block(RIGHT[name])
    assert report.passed, report


class Surplus(Block):
    def finish(self, cfg):
        self.norm3 = LayerNorm(cfg["emb_dim"])


class Remembers(Block):
    last = 0.0

    def forward(self, x):
        x, self.last = super().forward(x) + self.last, 0.01
        return x


class SmallNetwork(nn.Module):
    def __init__(self, cfg, hidden=2, act=GELU):
        super().__init__()
        size = cfg["emb_dim"]
        self.layers = nn.Sequential(
            nn.Linear(size, hidden * size), act(), nn.Linear(hidden * size, size)
        )

    def forward(self, x):
        return self.layers(x)


UNKNOWN = {
    "post-norm and no second shortcut": block(
        forward=lambda self, x: self.norm2(self.ff(self.norm1(x + self.att(x))))
    ),
    "post-norm first, pre-norm second": block(
        forward=lambda self, x: (y := self.norm1(x + self.att(x))) + self.think(y)
    ),
    "halved branches": block(
        forward=lambda self, x: (y := x + self.attend(x) / 2) + self.think(y) / 2
    ),
    "averaged": block(
        forward=lambda self, x: (y := (x + self.attend(x)) / 2) + self.think(y)
    ),
    "multiplied": block(
        forward=lambda self, x: (y := x * self.attend(x)) + self.think(y)
    ),
    "first shortcut detached": block(
        forward=lambda self, x: (y := x.detach() + self.attend(x)) + self.think(y)
    ),
    "normalization detached": block(
        think=lambda self, x: self.drop_shortcut(self.ff(self.norm2(x).detach()))
    ),
    "activation after the sum": block(
        forward=lambda self, x: F.gelu(Block.forward(self, x))
    ),
    "activation after attention": block(
        attend=lambda self, x: F.gelu(Block.attend(self, x))
    ),
    "clamped stream": block(
        forward=lambda self, x: Block.forward(self, x.clamp(-5, 5))
    ),
    "normalized twice": block(
        attend=lambda self, x: self.drop_shortcut(self.att(self.norm1(self.norm1(x))))
    ),
    "norm without shift": block(
        think=lambda self, x: self.drop_shortcut(
            self.ff(self.norm2(x) - self.norm2.shift)
        )
    ),
    "network twice": block(
        forward=lambda self, x: (y := Block.forward(self, x)) + self.think(y)
    ),
    "two rates of dropout": block(
        finish=lambda self, cfg: setattr(self, "drop_shortcut", nn.Dropout(0.1))
    ),
    "dropout on the input": block(
        forward=lambda self, x: Block.forward(self, self.drop_shortcut(x))
    ),
    "dropout twice after attention": block(
        attend=lambda self, x: self.drop_shortcut(Block.attend(self, x))
    ),
    "dropout in eval mode": block(
        finish=lambda self, cfg: setattr(self, "p", cfg["drop_rate"]),
        think=lambda self, x: F.dropout(self.ff(self.norm2(x)), self.p),
    ),
    "dropout before the branches": block(
        attend=lambda self, x: self.att(self.drop_shortcut(self.norm1(x))),
        think=lambda self, x: self.ff(self.drop_shortcut(self.norm2(x))),
    ),
    "identity in training": block(
        forward=lambda self, x: x if self.training else Block.forward(self, x)
    ),
    "expands to twice": block(network=SmallNetwork),
    "ReLU": block(network=lambda self, cfg: SmallNetwork(cfg, 4, nn.ReLU)),
    "exact GELU": block(network=lambda self, cfg: SmallNetwork(cfg, 4, nn.GELU)),
    "surplus parameters": Surplus,
    "remembers": Remembers,
    "no mask": block(forward=lambda self, x: Block.forward(self, x.flip(1)).flip(1)),
    "first text for all": block(
        forward=lambda self, x: Block.forward(self, x[:1]).expand_as(x)
    ),
    "changes its input afterwards": block(
        forward=lambda self, x: (Block.forward(self, x), x.detach().add_(1))[0]
    ),
    "PyTorch's layer": lambda cfg: nn.TransformerEncoderLayer(
        cfg["emb_dim"], cfg["n_heads"], 4 * cfg["emb_dim"], batch_first=True
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_mistakes_of_others_are_found_and_not_misnamed(name):
    report = check.transformer_block(UNKNOWN[name])
    assert not report.passed, report
    assert report.mistake is None, report
    assert max(map(len, report.text.splitlines())) <= 88


def text_of(**parts):
    report = check.transformer_block(block(**parts))
    assert not report.passed
    assert report.mistake is None, report
    return " ".join(report.text.split())


@pytest.mark.parametrize(
    "name", ["scaled by a fixed 8", "no scale and no mask", "squared shares"]
)
def test_wrong_attention_is_said_to_differ(name):
    text = text_of(attention=WRONG_ATTENTIONS[name])
    assert "By itself, your attention (check.multi_head_attention) differs." in text


@pytest.mark.parametrize("name", ["n - 2", "scale squared", "half precision"])
def test_wrong_norm_is_said_to_differ(name):
    text = text_of(norm=WRONG_NORMS[name])
    assert (
        "By itself, your first normalization (check.layer_norm) and your second "
        "normalization (check.layer_norm) differ." in text
    )


def test_wrong_network_is_said_to_differ():
    text = text_of(network=lambda self, cfg: SmallNetwork(cfg, 4, nn.GELU))
    assert "By itself, your feed-forward network (check.feed_forward) differs." in text


def test_right_parts_are_said_to_be_right():
    text = text_of(forward=lambda self, x: F.gelu(Block.forward(self, x)))
    assert "Each of its parts, by itself, gives what it should." in text


def test_nothing_is_said_of_parts_that_a_call_cannot_judge():
    class Detached(Attention):
        def forward(self, x):
            return super().forward(x.detach())

    assert "itself" not in text_of(attention=Detached)


BANK = [
    pytest.param(part, mistake, id=f"{component.name}: {mistake.name}")
    for component, part in (
        (MULTI_HEAD_ATTENTION, "attention"),
        (FEED_FORWARD, "network"),
        (LAYER_NORM, "norm"),
    )
    for mistake in component.mistakes
]
UNSEEN = {  # a block does not leave these settings out, or does not give them
    "an eps that is ignored",
    "a qkv_bias that is True by default",
}
NAMED = {  # by a name that is as true of the block
    "a single head": "a single head",
    "a qkv_bias that is ignored: never a bias": "a qkv_bias that is not handed on",
    "no dropout": "attention without dropout",
    "a missing super().__init__()": "a missing super().__init__()",
    "a forward that returns its input": "an input of both branches that is not "
    "normalized",
}


# Those that a block shows in another way, and every sixteenth of the others.
TRIED = [
    parts
    for number, parts in enumerate(BANK)
    if number % 16 == 0 or parts.values[1].name in UNSEEN | set(NAMED)
]


@pytest.mark.parametrize(("part", "mistake"), TRIED)
def test_wrong_parts_are_found_and_not_misnamed(part, mistake):
    """A block with the learner's own part, which makes a mistake of the part's bank."""
    wrong = mistake.wrong
    made = block(**{part: lambda self, *args: wrong(*args)})
    report = check.transformer_block(made)
    assert report.passed == (mistake.name in UNSEEN), report
    names = NAMED.get(mistake.name), None  # a part's error may have another message
    assert report.mistake in names, report


def test_parts_that_cannot_be_told_apart():
    class Wrong(AllInOne):
        def forward(self, x):
            return super().forward(x) + 1

    report = check.transformer_block(Wrong)
    assert not report.passed
    assert "itself" not in report.text
