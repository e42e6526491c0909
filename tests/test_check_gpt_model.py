"""``check.gpt_model``: right variants pass, mistakes it does not know get no name."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import gpt_from_scratch
from gpt_from_scratch import FeedForward, LayerNorm, TransformerBlock, check


class Model(nn.Module):
    """The class of notebook 4.6; the versions below change a step of it."""

    def __init__(self, cfg):
        super().__init__()
        self.tok_emb = nn.Embedding(cfg["vocab_size"], cfg["emb_dim"])
        self.pos_emb = nn.Embedding(cfg["context_length"], cfg["emb_dim"])
        self.drop_emb = nn.Dropout(cfg["drop_rate"])
        self.trf_blocks = nn.Sequential(
            *[self.block(cfg) for _ in range(cfg["n_layers"])]
        )
        self.final_norm = LayerNorm(cfg["emb_dim"])
        self.out_head = nn.Linear(cfg["emb_dim"], cfg["vocab_size"], bias=False)

    def block(self, cfg):
        return TransformerBlock(cfg)

    def positions(self, in_idx):
        return torch.arange(in_idx.shape[1], device=in_idx.device)

    def embed(self, in_idx):
        return self.tok_emb(in_idx) + self.pos_emb(self.positions(in_idx))

    def run(self, x):
        return self.trf_blocks(x)

    def forward(self, in_idx):
        x = self.drop_emb(self.embed(in_idx))
        return self.out_head(self.final_norm(self.run(x)))


def model(change=None, **steps):
    """Make a version with other methods, or changed after it was made."""
    if change:

        def init(self, cfg):
            Model.__init__(self, cfg)
            change(self, cfg)

        steps["__init__"] = init
    return type("GPTModel", (Model,), steps)


class Attention(nn.Module):
    """The book's attention: with a mask as a buffer."""

    def __init__(self, d_in, d_out, context_length, dropout, num_heads, qkv_bias):
        super().__init__()
        self.num_heads = num_heads
        self.W_query = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.W_key = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.W_value = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.out_proj = nn.Linear(d_out, d_out)
        self.dropout = nn.Dropout(dropout)
        mask = torch.triu(torch.ones(context_length, context_length), diagonal=1)
        self.register_buffer("mask", mask)

    def forward(self, x):
        B, T, _ = x.shape
        q, k, v = (
            layer(x).view(B, T, self.num_heads, -1).transpose(1, 2)
            for layer in (self.W_query, self.W_key, self.W_value)
        )
        scores = q @ k.transpose(2, 3)
        scores = scores.masked_fill(self.mask.bool()[:T, :T], -torch.inf)
        weights = self.dropout(torch.softmax(scores / k.shape[-1] ** 0.5, dim=-1))
        return self.out_proj((weights @ v).transpose(1, 2).reshape(B, T, -1))


class Block(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        size = cfg["emb_dim"]
        self.att = Attention(
            size,
            size,
            cfg["context_length"],
            cfg["drop_rate"],
            cfg["n_heads"],
            cfg["qkv_bias"],
        )
        self.ff = FeedForward(cfg)
        self.norm1 = LayerNorm(size)
        self.norm2 = LayerNorm(size)
        self.drop_shortcut = nn.Dropout(cfg["drop_rate"])

    def forward(self, x):
        shortcut = x
        x = self.drop_shortcut(self.att(self.norm1(x)))
        x = x + shortcut
        shortcut = x
        x = self.drop_shortcut(self.ff(self.norm2(x)))
        return x + shortcut


class OtherBlock(nn.Module):
    """With PyTorch's normalization, and other names."""

    def __init__(self, cfg):
        super().__init__()
        size, rate = cfg["emb_dim"], cfg["drop_rate"]
        self.ln_1 = nn.LayerNorm(size)
        self.attn = Attention(
            size, size, cfg["context_length"], rate, cfg["n_heads"], cfg["qkv_bias"]
        )
        self.ln_2 = nn.LayerNorm(size)
        self.mlp = nn.Sequential(
            nn.Linear(size, 4 * size),
            nn.GELU(approximate="tanh"),
            nn.Linear(4 * size, size),
            nn.Dropout(rate),
        )
        self.drop = nn.Dropout(rate)

    def forward(self, x):
        x = x + self.drop(self.attn(self.ln_1(x)))
        return x + self.mlp(self.ln_2(x))


class OtherNames(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        self.wte = nn.Embedding(cfg["vocab_size"], cfg["emb_dim"])
        self.wpe = nn.Embedding(cfg["context_length"], cfg["emb_dim"])
        self.h = nn.ModuleList(OtherBlock(cfg) for _ in range(cfg["n_layers"]))
        self.ln_f = nn.LayerNorm(cfg["emb_dim"])
        self.lm_head = nn.Linear(cfg["emb_dim"], cfg["vocab_size"], bias=False)
        self.apply(self.start)

    def start(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)

    def forward(self, idx):
        x = self.wte(idx) + self.wpe.weight[: idx.shape[1]]
        x = F.dropout(x, self.cfg["drop_rate"], self.training)
        for block in self.h:
            x = block(x)
        return F.linear(self.ln_f(x), self.lm_head.weight)


def blocks_in(container):
    def change(self, cfg):
        self.trf_blocks = container(list(self.trf_blocks))

    return change


def by_loop(self, x):
    for block in self.trf_blocks:
        x = block(x)
    return x


def by_index(self, x):
    for number in range(len(self.trf_blocks)):
        x = self.trf_blocks[number](x)
    return x


def in_attributes(self, cfg):
    blocks = list(self.trf_blocks)
    del self.trf_blocks
    self.count = len(blocks)
    for number, block in enumerate(blocks):
        setattr(self, f"block{number}", block)


def by_attributes(self, x):
    for number in range(self.count):
        x = getattr(self, f"block{number}")(x)
    return x


def small_start(self, cfg):
    for name, parameter in self.named_parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * cfg["n_layers"]))
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)


def checked(self, idx):
    if idx.shape[1] > self.pos_emb.num_embeddings:
        raise ValueError
    return Model.forward(self, idx)


RIGHT = {
    "finished": gpt_from_scratch.GPTModel,
    "notebook": Model,
    "function that builds": lambda cfg: Model(cfg),
    "own blocks": model(block=lambda self, cfg: Block(cfg)),
    "blocks of other names": model(block=lambda self, cfg: OtherBlock(cfg)),
    "other names": OtherNames,
    "ModuleList, by a loop": model(change=blocks_in(nn.ModuleList), run=by_loop),
    "ModuleList, by index": model(change=blocks_in(nn.ModuleList), run=by_index),
    "Sequential, by a loop": model(run=by_loop),
    "attributes": model(change=in_attributes, run=by_attributes),
    "a dict of modules": model(
        change=blocks_in(
            lambda blocks: nn.ModuleDict({f"n{i}": b for i, b in enumerate(blocks)})
        ),
        run=lambda self, x: nn.Sequential(*self.trf_blocks.values())(x),
    ),
    "nn.LayerNorm at the end": model(
        change=lambda self, cfg: setattr(
            self, "final_norm", nn.LayerNorm(cfg["emb_dim"])
        )
    ),
    "rows of the position table": model(
        embed=lambda self, idx: self.tok_emb(idx) + self.pos_emb.weight[: idx.shape[1]]
    ),
    "positions in a buffer": model(
        change=lambda self, cfg: self.register_buffer(
            "numbers", torch.arange(cfg["context_length"]), persistent=False
        ),
        positions=lambda self, idx: self.numbers[: idx.shape[1]],
    ),
    "positions in a matrix": model(
        positions=lambda self, idx: (
            torch.arange(0, idx.shape[1], dtype=torch.long, device=idx.device)
            .unsqueeze(0)
            .expand(idx.shape)
        )
    ),
    "positions moved": model(
        positions=lambda self, idx: torch.arange(idx.size(1)).to(idx.device)
    ),
    "positions first": model(
        embed=lambda self, idx: self.pos_emb(self.positions(idx)) + self.tok_emb(idx)
    ),
    "matrix product": model(
        forward=lambda self, idx: (
            self.final_norm(self.run(self.drop_emb(self.embed(idx))))
            @ self.out_head.weight.T
        )
    ),
    "einsum": model(
        forward=lambda self, idx: torch.einsum(
            "bte,ve->btv",
            self.final_norm(self.run(self.drop_emb(self.embed(idx)))),
            self.out_head.weight,
        )
    ),
    "dropout as a function": model(
        change=lambda self, cfg: setattr(self, "rate", cfg["drop_rate"]),
        forward=lambda self, idx: self.out_head(
            self.final_norm(
                self.run(F.dropout(self.embed(idx), self.rate, self.training))
            )
        ),
    ),
    "small start": model(change=small_start),
    "checks its input": model(forward=checked),
    "embedding by rows": model(
        embed=lambda self, idx: (
            self.tok_emb.weight[idx] + self.pos_emb(self.positions(idx))
        )
    ),
    "keeps the configuration": model(
        change=lambda self, cfg: setattr(self, "cfg", cfg)
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_variants_pass(name):
    report = check.gpt_model(RIGHT[name])
    assert report.passed, report


def after(function):
    return model(
        forward=lambda self, idx: function(self, Model.forward(self, idx), idx)
    )


def in_blocks(spoil):
    """Spoil each block."""

    def block(self, cfg):
        made = Block(cfg)
        spoil(made, cfg)
        return made

    return model(block=block)


def block_with(**steps):
    spoiled = type("Block", (Block,), steps)
    return model(block=lambda self, cfg: spoiled(cfg))


def scaled_otherwise(block, cfg):
    with_root = block.att.forward

    def forward(x):
        original = block.att.W_query.forward
        block.att.W_query.forward = lambda x: original(x) / 1.1
        try:
            return with_root(x)
        finally:
            del block.att.W_query.forward

    block.att.forward = forward


def shared_feed_forward(self, cfg):
    for block in self.trf_blocks[1:]:
        block.ff = self.trf_blocks[0].ff


def shared_norms(self, cfg):
    for block in self.trf_blocks:
        block.norm1 = self.final_norm


class TwoDropouts(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.first, self.second = nn.Dropout(rate), nn.Dropout(rate)

    def forward(self, x):
        return self.second(self.first(x))


class DropsTokens(nn.Module):
    """Drops all features of a token at once."""

    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        return x * F.dropout(torch.ones_like(x[..., :1]), self.rate, self.training)


UNKNOWN = {
    "positions from 2": model(
        positions=lambda self, idx: torch.arange(2, idx.shape[1] + 2)
    ),
    "last position repeated": model(
        positions=lambda self, idx: torch.arange(idx.shape[1]).clamp(max=5)
    ),
    "sorted ids as positions": model(positions=lambda self, idx: idx.argsort(-1)),
    "positions subtracted": model(
        embed=lambda self, idx: self.tok_emb(idx) - self.pos_emb(self.positions(idx))
    ),
    "positions after the blocks": model(
        embed=lambda self, idx: self.tok_emb(idx),
        forward=lambda self, idx: self.out_head(
            self.final_norm(
                self.run(self.drop_emb(self.tok_emb(idx)))
                + self.pos_emb(self.positions(idx))
            )
        ),
    ),
    "positions in each block": model(
        forward=lambda self, idx: self.out_head(
            self.final_norm(
                by_loop_with(self, self.drop_emb(self.embed(idx)), self.positions(idx))
            )
        )
    ),
    "normalized embeddings": model(
        embed=lambda self, idx: self.final_norm(Model.embed(self, idx))
    ),
    "another shortcut around all blocks": model(
        run=lambda self, x: x + self.trf_blocks(x)
    ),
    "average over the blocks": model(run=lambda self, x: (x + self.trf_blocks(x)) / 2),
    "the first block twice": model(
        run=lambda self, x: self.trf_blocks(self.trf_blocks[0](x))
    ),
    "the last block skipped": model(run=lambda self, x: self.trf_blocks[:-1](x)),
    "all blocks twice": model(run=lambda self, x: self.trf_blocks(self.trf_blocks(x))),
    "two blocks, whatever n_layers is": model(
        change=lambda self, cfg: setattr(
            self,
            "trf_blocks",
            nn.Sequential(*[TransformerBlock(cfg) for _ in range(2)]),
        )
    ),
    "shared feed-forward network": model(change=shared_feed_forward),
    "shared normalization": model(change=shared_norms),
    "normalized twice at the end": after(
        lambda self, out, idx: self.out_head(
            self.final_norm(self.final_norm(self.run(self.embed(idx))))
        )
    ),
    "another eps at the end": model(
        change=lambda self, cfg: setattr(
            self, "final_norm", nn.LayerNorm(cfg["emb_dim"], eps=1e-2)
        )
    ),
    "RMSNorm at the end": model(
        change=lambda self, cfg: setattr(self, "final_norm", nn.RMSNorm(cfg["emb_dim"]))
    ),
    "unbiased variance at the end": model(
        change=lambda self, cfg: setattr(self.final_norm, "forward", unbiased(self))
    ),
    "temperature": after(lambda self, out, idx: out / 1.01),
    "sigmoid": after(lambda self, out, idx: out.sigmoid()),
    "softmax over the texts": after(lambda self, out, idx: out.softmax(0)),
    "clamped at 5": after(lambda self, out, idx: out.clamp(-5, 5)),
    "rounded": after(lambda self, out, idx: out.round(decimals=2)),
    "half precision": after(lambda self, out, idx: out.bfloat16().float()),
    "float64": after(lambda self, out, idx: out.double()),
    "first token's logits": after(lambda self, out, idx: out[:, 0]),
    "transposed": after(lambda self, out, idx: out.transpose(1, 2)),
    "flattened": after(lambda self, out, idx: out.flatten(0, 1)),
    "tuple": after(lambda self, out, idx: (out, None)),
    "a loss": after(
        lambda self, out, idx: F.cross_entropy(out.flatten(0, 1), idx.flatten())
    ),
    "future leaks": after(lambda self, out, idx: out + 0.01 * out.mean(1, True)),
    "texts leak": after(lambda self, out, idx: out + 0.01 * out[:1]),
    "ids changed": after(lambda self, out, idx: (out, idx.add_(1))[0]),
    "seed set": after(lambda self, out, idx: (torch.manual_seed(3), out)[1]),
    "gradient halved": after(lambda self, out, idx: (out + out.detach()) / 2),
    "head without gradient": model(
        forward=lambda self, idx: F.linear(
            self.final_norm(self.run(self.drop_emb(self.embed(idx)))),
            self.out_head.weight.detach(),
        )
    ),
    "embedding without gradient": model(
        embed=lambda self, idx: (
            self.tok_emb(idx).detach() + self.pos_emb(self.positions(idx))
        )
    ),
    "last 5 tokens": model(
        forward=lambda self, idx: F.pad(
            Model.forward(self, idx[:, -5:]), (0, 0, max(0, idx.shape[1] - 5), 0)
        )
    ),
    "surplus layer": model(
        change=lambda self, cfg: setattr(self, "extra", nn.Linear(3, 3))
    ),
    "one position too many": model(
        change=lambda self, cfg: setattr(
            self, "pos_emb", nn.Embedding(cfg["context_length"] + 1, cfg["emb_dim"])
        )
    ),
    "vocabulary of GPT-2": model(
        change=lambda self, cfg: setattr(
            self, "out_head", nn.Linear(cfg["emb_dim"], 50257, bias=False)
        )
    ),
    "padding id": model(
        change=lambda self, cfg: setattr(
            self,
            "tok_emb",
            nn.Embedding(cfg["vocab_size"], cfg["emb_dim"], padding_idx=0),
        )
    ),
    "zero positions at the start": model(
        change=lambda self, cfg: nn.init.zeros_(self.pos_emb.weight)
    ),
    "all weights of the blocks 0": model(
        change=lambda self, cfg: [
            nn.init.zeros_(p) for p in self.trf_blocks.parameters() if p.ndim == 2
        ]
    ),
    "scale starts at 0": model(
        change=lambda self, cfg: nn.init.zeros_(self.final_norm.scale)
    ),
    "positions not trained": model(
        change=lambda self, cfg: self.pos_emb.requires_grad_(False)
    ),
    "dropout twice": model(
        change=lambda self, cfg: setattr(
            self, "drop_emb", TwoDropouts(cfg["drop_rate"])
        )
    ),
    "half the rate": model(
        change=lambda self, cfg: setattr(
            self, "drop_emb", nn.Dropout(cfg["drop_rate"] / 2)
        )
    ),
    "no dropout in the blocks": model(
        block=lambda self, cfg: TransformerBlock({**cfg, "drop_rate": 0.0})
    ),
    "always in evaluation mode": model(train=lambda self, mode=True: self),
    "changes the configuration": lambda cfg: Model(cfg | {"x": cfg.pop("n_heads")}),
    "attribute access": lambda cfg: Model({"vocab_size": cfg.vocab_size}),
    "sizes the other way": lambda cfg: Model(
        {**cfg, "emb_dim": cfg["context_length"], "context_length": cfg["emb_dim"]}
    ),
    "two mistakes": model(
        change=lambda self, cfg: setattr(self.out_head, "weight", self.tok_emb.weight),
        positions=lambda self, idx: torch.arange(1, idx.shape[1] + 1),
    ),
    "the dummy model": gpt_from_scratch.DummyGPTModel,
    "block: scaled by another number": in_blocks(scaled_otherwise),
    "block: mask off by one": in_blocks(
        lambda block, cfg: block.att.mask.copy_(block.att.mask.triu(2))
    ),
    "block: only the last token seen": in_blocks(
        lambda block, cfg: block.att.mask.copy_(
            1 - torch.eye(cfg["context_length"]).fill_diagonal_(1)
        )
    ),
    "block: shortcut detached": block_with(
        forward=lambda self, x: (
            (y := x.detach() + self.drop_shortcut(self.att(self.norm1(x))))
            + self.drop_shortcut(self.ff(self.norm2(y)))
        )
    ),
    "block: first shortcut missing": block_with(
        forward=lambda self, x: (
            (y := self.drop_shortcut(self.att(self.norm1(x))))
            + self.drop_shortcut(self.ff(self.norm2(y)))
        )
    ),
    "block: norm1 twice": block_with(
        forward=lambda self, x: (
            (y := x + self.drop_shortcut(self.att(self.norm1(x))))
            + self.drop_shortcut(self.ff(self.norm1(y)))
        )
    ),
    "block: no feed-forward network": block_with(
        forward=lambda self, x: x + self.drop_shortcut(self.att(self.norm1(x)))
    ),
    "block: SiLU": in_blocks(
        lambda block, cfg: block.ff.layers.__setitem__(1, nn.SiLU())
    ),
    "block: three times as wide": in_blocks(
        lambda block, cfg: setattr(
            block,
            "ff",
            nn.Sequential(
                nn.Linear(cfg["emb_dim"], 3 * cfg["emb_dim"]),
                nn.GELU(approximate="tanh"),
                nn.Linear(3 * cfg["emb_dim"], cfg["emb_dim"]),
            ),
        )
    ),
    "block: batch normalization": in_blocks(
        lambda block, cfg: setattr(
            block, "norm1", nn.BatchNorm1d(cfg["emb_dim"], affine=False)
        )
    ),
    "whole tokens dropped": model(
        change=lambda self, cfg: setattr(
            self, "drop_emb", DropsTokens(cfg["drop_rate"])
        )
    ),
}


def by_loop_with(self, x, positions):
    for block in self.trf_blocks:
        x = block(x + self.pos_emb(positions))
    return x


def unbiased(self):
    norm = self.final_norm

    def forward(x):
        x = x - x.mean(-1, keepdim=True)
        return norm.scale * x / (x.var(-1, keepdim=True) + 1e-5).sqrt() + norm.shift

    return forward


@pytest.mark.parametrize("name", UNKNOWN)
def test_mistakes_of_others_are_found_and_not_misnamed(name):
    report = check.gpt_model(UNKNOWN[name])
    assert not report.passed, report
    assert report.mistake is None, report
    assert max(map(len, report.text.splitlines())) <= 88


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        (
            "attention in a block, alone",
            in_blocks(
                lambda block, cfg: block.att.mask.copy_(
                    torch.ones_like(block.att.mask).triu(2)
                )
            ),
        ),
        (
            "the feed-forward network in a block, alone",
            in_blocks(lambda block, cfg: block.ff.layers.__setitem__(1, nn.SiLU())),
        ),
        (
            "embeddings, final normalization and output layer",
            after(lambda self, out, idx: out.clamp(-1, 1)),
        ),
        ("two blocks", model(run=lambda self, x: self.trf_blocks[0](x) + 0 * x[:1])),
    ],
)
def test_report_says_which_part_differs(name, wrong):
    lines = check.gpt_model(wrong).text.splitlines()
    assert any(line.startswith(f'  Probe "{name}"') for line in lines), lines


def test_parameters_of_the_full_size_are_counted():
    wrong = model(
        change=lambda self, cfg: setattr(
            self, "out_head", nn.Linear(cfg["emb_dim"], cfg["vocab_size"])
        )
    )
    report = check.gpt_model(wrong)
    assert report.mistake == "an output layer with a bias"
    assert "163,059,793" in report.text


def test_tied_weights_are_named():
    def tie(self, cfg):
        self.out_head.weight = self.tok_emb.weight

    report = check.gpt_model(model(change=tie))
    assert report.mistake == "an output layer that is tied to the token embedding"
    assert "GPT-2 small: yours 124,412,160, expected 163,009,536" in report.text


def test_code_that_does_not_work_without_numbers_is_not_blamed():
    """The full size is counted on the meta device, where item() fails."""

    def look(self, cfg):
        assert self.final_norm.scale.sum().item() == cfg["emb_dim"]

    assert check.gpt_model(model(change=look)).passed


def test_copied_blocks_are_told_from_shared_ones():
    def copied(self, cfg):
        block = TransformerBlock(cfg)
        self.trf_blocks = nn.Sequential(
            *[copy.deepcopy(block) for _ in range(cfg["n_layers"])]
        )

    def shared(self, cfg):
        self.trf_blocks = nn.Sequential(*[TransformerBlock(cfg)] * cfg["n_layers"])

    assert check.gpt_model(model(change=copied)).mistake == (
        "blocks that start as copies of one"
    )
    assert check.gpt_model(model(change=shared)).mistake == (
        "the same block again and again"
    )
