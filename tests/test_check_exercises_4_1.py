"""``check.embeddings``: right variants pass, mistakes it does not know get no name."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gpt_from_scratch import check


class Embeddings(nn.Module):
    """The solution; the versions below change a step of it."""

    def __init__(self, vocab_size, context_length, emb_dim):
        super().__init__()
        self.tok_emb = nn.Embedding(vocab_size, emb_dim)
        self.pos_emb = nn.Embedding(context_length, emb_dim)

    def forward(self, in_idx, start=0):
        positions = torch.arange(start, start + in_idx.shape[1], device=in_idx.device)
        return self.tok_emb(in_idx) + self.pos_emb(positions)


def version(forward):
    return type("Embeddings", (Embeddings,), {"forward": forward})


def ends(idx, start):
    return start, start + idx.shape[1]


class OtherNames(nn.Module):
    def __init__(self, vocab_size, context_length, emb_dim):
        super().__init__()
        self.where = nn.Parameter(torch.randn(context_length, emb_dim))
        self.what = nn.Parameter(torch.randn(vocab_size, emb_dim))

    def forward(self, in_idx, start=0):
        first, last = ends(in_idx, start)
        return self.what[in_idx] + self.where[first:last]


RIGHT = {
    "slice": version(
        lambda self, idx, start=0: (
            self.pos_emb.weight[slice(*ends(idx, start))] + self.tok_emb(idx)
        )
    ),
    "arange plus start": version(
        lambda self, idx, start=0: (
            self.tok_emb(idx) + self.pos_emb(torch.arange(idx.shape[1]) + start)
        )
    ),
    "positions of each text": version(
        lambda self, idx, start=0: (
            self.tok_emb(idx)
            + self.pos_emb(torch.arange(*ends(idx, start)).expand(idx.shape))
        )
    ),
    "one hot": version(
        lambda self, idx, start=0: (
            F.one_hot(idx, len(self.tok_emb.weight)).float() @ self.tok_emb.weight
            + self.pos_emb(torch.arange(*ends(idx, start)))[None]
        )
    ),
    "ones like": version(
        lambda self, idx, start=0: (
            self.tok_emb(idx)
            + self.pos_emb(torch.ones_like(idx).cumsum(dim=1) - 1 + start)
        )
    ),
    "other names": OtherNames,
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_variants_pass(name):
    report = check.embeddings(RIGHT[name])
    assert report.passed, report
    assert report.mistake is None


UNKNOWN = {
    "start minus 1": version(
        lambda self, idx, start=0: (
            self.tok_emb(idx)
            + self.pos_emb(torch.arange(idx.shape[1]) + max(start - 1, 0))
        )
    ),
    "start twice": version(
        lambda self, idx, start=0: (
            self.tok_emb(idx) + self.pos_emb(torch.arange(idx.shape[1]) + 2 * start)
        )
    ),
    "average": version(
        lambda self, idx, start=0: Embeddings.forward(self, idx, start) / 2
    ),
    "difference": version(
        lambda self, idx, start=0: (
            self.tok_emb(idx) - self.pos_emb(torch.arange(*ends(idx, start)))
        )
    ),
    "concatenated": version(
        lambda self, idx, start=0: torch.cat(
            [
                self.tok_emb(idx),
                self.pos_emb(torch.arange(*ends(idx, start)).expand(idx.shape)),
            ],
            dim=-1,
        )
    ),
    "positions from the back": version(
        lambda self, idx, start=0: (
            self.tok_emb(idx) + self.pos_emb(torch.arange(*ends(idx, start)).flip(0))
        )
    ),
    "wraps around": version(
        lambda self, idx, start=0: (
            self.tok_emb(idx) + self.pos_emb(torch.arange(*ends(idx, start)) % 10)
        )
    ),
    "start of 1 by default": version(
        lambda self, idx, start=1: Embeddings.forward(self, idx, start)
    ),
    "start is required": version(
        lambda self, idx, start: Embeddings.forward(self, idx, start)
    ),
    "positions by the batch": version(
        lambda self, idx, start=0: (
            self.tok_emb(idx)
            + self.pos_emb(torch.arange(idx.shape[1]) + start * len(idx))
        )
    ),
    "no gradient for positions": version(
        lambda self, idx, start=0: (
            self.tok_emb(idx) + self.pos_emb.weight.data[slice(*ends(idx, start))]
        )
    ),
    "one table": version(
        lambda self, idx, start=0: (
            self.tok_emb(idx) + self.tok_emb(torch.arange(*ends(idx, start)))
        )
    ),
    "first text only": version(
        lambda self, idx, start=0: Embeddings.forward(self, idx[:1], start)
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_mistakes_of_others_are_found_and_not_misnamed(name):
    report = check.embeddings(UNKNOWN[name])
    assert not report.passed, report
    assert report.mistake is None, report
