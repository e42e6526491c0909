"""Exercises of 4.5: right variants pass, mistakes it does not know get no name."""

import pytest
import torch
from torch import nn

import gpt_from_scratch
from gpt_from_scratch import check


class Inherited(gpt_from_scratch.TransformerBlock):
    def forward(self, x):
        x = self.norm1(x + self.drop_shortcut(self.att(x)))
        return self.norm2(x + self.drop_shortcut(self.ff(x)))


class WithPyTorch(nn.Module):
    """PyTorch's normalization, other names, two modules of dropout."""

    def __init__(self, cfg):
        super().__init__()
        self.attn = gpt_from_scratch.MultiHeadAttention(
            cfg["emb_dim"],
            cfg["emb_dim"],
            cfg["context_length"],
            cfg["drop_rate"],
            cfg["n_heads"],
            cfg["qkv_bias"],
        )
        self.ln1, self.ln2 = nn.LayerNorm(cfg["emb_dim"]), nn.LayerNorm(cfg["emb_dim"])
        self.mlp = gpt_from_scratch.FeedForward(cfg)
        self.drop1, self.drop2 = (nn.Dropout(cfg["drop_rate"]) for _ in range(2))

    def forward(self, x):
        shortcut = x
        x = self.drop1(self.attn(x))
        x = self.ln1(x + shortcut)
        shortcut = x
        x = self.drop2(self.mlp(x))
        return self.ln2(x + shortcut)


class Around(nn.Module):
    """Takes the parts from a whole block."""

    def __init__(self, cfg):
        super().__init__()
        self.parts = gpt_from_scratch.TransformerBlock(cfg)

    def forward(self, x):
        parts = self.parts
        x = parts.norm1(parts.drop_shortcut(parts.att(x)).add(x))
        return parts.norm2(parts.drop_shortcut(parts.ff(x)).add(x))


@pytest.mark.parametrize("right", [Inherited, WithPyTorch, Around])
def test_right_post_norm_blocks_pass(right):
    report = check.post_norm_block(right)
    assert report.passed, report


class Detached(Inherited):
    def forward(self, x):
        x = self.norm1(x.detach() + self.drop_shortcut(self.att(x)))
        return self.norm2(x + self.drop_shortcut(self.ff(x)))


class NormalizedThreeTimes(Inherited):
    def forward(self, x):
        return super().forward(self.norm1(x))


class Halved(Inherited):
    def forward(self, x):
        x = self.norm1(x + self.drop_shortcut(self.att(x)) / 2)
        return self.norm2(x + self.drop_shortcut(self.ff(x)))


class DroppedTwiceAfterAttention(Inherited):
    def forward(self, x):
        added = self.drop_shortcut(self.drop_shortcut(self.att(x)))
        x = self.norm1(x + added)
        return self.norm2(x + self.drop_shortcut(self.ff(x)))


@pytest.mark.parametrize(
    "wrong", [Detached, NormalizedThreeTimes, Halved, DroppedTwiceAfterAttention]
)
def test_unknown_mistakes_of_post_norm_get_no_name(wrong):
    report = check.post_norm_block(wrong)
    assert not report.passed
    assert report.mistake is None


class Replaced(nn.Module):
    def __init__(self, cfg, emb_rate, att_rate, shortcut_rate):
        super().__init__()
        self.tok_emb = nn.Embedding(cfg["vocab_size"], cfg["emb_dim"])
        self.pos_emb = nn.Embedding(cfg["context_length"], cfg["emb_dim"])
        self.drop_emb = nn.Dropout(emb_rate)
        self.block = gpt_from_scratch.TransformerBlock({**cfg, "drop_rate": att_rate})
        self.block.drop_shortcut = nn.Dropout(shortcut_rate)

    def forward(self, in_idx):
        positions = torch.arange(in_idx.shape[1], device=in_idx.device)
        x = self.tok_emb(in_idx) + self.pos_emb(positions)
        return self.block(self.drop_emb(x))


class WrittenOut(nn.Module):
    """All parts of the block beside the embeddings, under the course's names."""

    def __init__(self, cfg, emb_rate, att_rate, shortcut_rate):
        super().__init__()
        size = cfg["emb_dim"]
        self.tok_emb = nn.Embedding(cfg["vocab_size"], size)
        self.pos_emb = nn.Embedding(cfg["context_length"], size)
        self.drop_emb = nn.Dropout(emb_rate)
        self.att = gpt_from_scratch.MultiHeadAttention(
            size,
            size,
            cfg["context_length"],
            att_rate,
            cfg["n_heads"],
            cfg["qkv_bias"],
        )
        self.ff = gpt_from_scratch.FeedForward(cfg)
        self.norm1 = gpt_from_scratch.LayerNorm(size)
        self.norm2 = gpt_from_scratch.LayerNorm(size)
        self.drop_shortcut = nn.Dropout(shortcut_rate)

    def forward(self, in_idx):
        T = in_idx.shape[1]
        x = self.tok_emb(in_idx) + self.pos_emb(torch.arange(T, device=in_idx.device))
        x = self.drop_emb(x)
        x = x + self.drop_shortcut(self.att(self.norm1(x)))
        return x + self.drop_shortcut(self.ff(self.norm2(x)))


class ItsAttention(Replaced):
    """Sets attention's rate afterwards, instead of the shortcuts'."""

    def __init__(self, cfg, emb_rate, att_rate, shortcut_rate):
        super().__init__(cfg, emb_rate, att_rate, shortcut_rate)
        cfg = {**cfg, "drop_rate": shortcut_rate}
        self.block = gpt_from_scratch.TransformerBlock(cfg)
        self.block.att.dropout.p = att_rate


@pytest.mark.parametrize("right", [Replaced, WrittenOut, ItsAttention])
def test_right_blocks_with_three_rates_pass(right):
    report = check.block_with_three_rates(right)
    assert report.passed, report


class PostNorm(WrittenOut):
    def forward(self, in_idx):
        positions = torch.arange(in_idx.shape[1])
        x = self.drop_emb(self.tok_emb(in_idx) + self.pos_emb(positions))
        x = self.norm1(x + self.drop_shortcut(self.att(x)))
        return self.norm2(x + self.drop_shortcut(self.ff(x)))


class DroppedTwice(Replaced):
    def forward(self, in_idx):
        positions = torch.arange(in_idx.shape[1])
        x = self.drop_emb(self.tok_emb(in_idx) + self.pos_emb(positions))
        return self.block(self.drop_emb(x))


class DroppedAtTheEnd(Replaced):
    def forward(self, in_idx):
        return self.block.drop_shortcut(super().forward(in_idx))


@pytest.mark.parametrize("wrong", [PostNorm, DroppedTwice, DroppedAtTheEnd])
def test_unknown_mistakes_with_three_rates_get_no_name(wrong):
    report = check.block_with_three_rates(wrong)
    assert not report.passed
    assert report.mistake is None


def test_that_a_whole_configuration_is_given():
    """So that the finished parts can be built with it: they refuse other keys."""
    seen = []

    class Noting(Replaced):
        def __init__(self, cfg, *rates):
            seen.append((dict(cfg), rates))
            super().__init__(cfg, *rates)

    assert check.block_with_three_rates(Noting).passed
    assert {frozenset(cfg) for cfg, _ in seen} == {
        frozenset(gpt_from_scratch.GPT_CONFIG_124M)
    }
    assert all(cfg["drop_rate"] == 0.9 for cfg, _ in seen)
