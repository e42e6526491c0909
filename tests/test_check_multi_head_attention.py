"""``check.multi_head_attention``: right variants pass, other mistakes get no name."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import gpt_from_scratch
from gpt_from_scratch import check


class Attention(nn.Module):
    """The class of notebook 4.5; the versions below change a step of it."""

    def __init__(self, d_in, d_out, context_length, dropout, num_heads, qkv_bias=False):
        super().__init__()
        self.d_in, self.d_out, self.context_length = d_in, d_out, context_length
        self.num_heads, self.head_dim = num_heads, d_out // num_heads
        self.W_query = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.W_key = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.W_value = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.out_proj = nn.Linear(d_out, d_out)
        self.dropout = nn.Dropout(dropout)
        mask = torch.ones(context_length, context_length, dtype=torch.bool)
        self.register_buffer("mask", torch.triu(mask, diagonal=1))
        self.finish(d_in, d_out, num_heads, qkv_bias)

    def finish(self, d_in, d_out, num_heads, qkv_bias):
        pass

    def project(self, x):
        return self.W_query(x), self.W_key(x), self.W_value(x)

    def split(self, x):
        B, T, _ = x.shape
        return x.view(B, T, self.num_heads, self.head_dim).transpose(1, 2)

    def scores(self, queries, keys):
        return queries @ keys.transpose(2, 3) / math.sqrt(self.head_dim)

    def hide(self, scores):
        return scores.masked_fill(self.hides(scores), -torch.inf)

    def hides(self, scores):
        T = scores.shape[-1]
        return self.mask[:T, :T]

    def share(self, scores):
        return torch.softmax(scores, dim=-1)

    def average(self, weights, values):
        return self.dropout(weights) @ values

    def join(self, context):
        return context.transpose(1, 2).flatten(2)

    def attend(self, queries, keys, values):
        return self.average(self.share(self.hide(self.scores(queries, keys))), values)

    def forward(self, x):
        parts = [self.split(part) for part in self.project(x)]
        return self.out_proj(self.join(self.attend(*parts)))


def attention(base=Attention, **steps):
    """Make a version of the class with other methods."""
    return type("MultiHeadAttention", (base,), steps)


class BookAttention(nn.Module):
    """As in the book."""

    def __init__(self, d_in, d_out, context_length, dropout, num_heads, qkv_bias=False):
        super().__init__()
        assert d_out % num_heads == 0
        self.d_out = d_out
        self.num_heads = num_heads
        self.head_dim = d_out // num_heads
        self.W_query = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.W_key = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.W_value = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.out_proj = nn.Linear(d_out, d_out)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer(
            "mask", torch.triu(torch.ones(context_length, context_length), diagonal=1)
        )

    def forward(self, x):
        b, num_tokens, _ = x.shape
        keys = self.W_key(x)
        queries = self.W_query(x)
        values = self.W_value(x)
        keys = keys.view(b, num_tokens, self.num_heads, self.head_dim)
        values = values.view(b, num_tokens, self.num_heads, self.head_dim)
        queries = queries.view(b, num_tokens, self.num_heads, self.head_dim)
        keys = keys.transpose(1, 2)
        queries = queries.transpose(1, 2)
        values = values.transpose(1, 2)
        attn_scores = queries @ keys.transpose(2, 3)
        mask_bool = self.mask.bool()[:num_tokens, :num_tokens]
        attn_scores.masked_fill_(mask_bool, -torch.inf)
        attn_weights = torch.softmax(attn_scores / keys.shape[-1] ** 0.5, dim=-1)
        attn_weights = self.dropout(attn_weights)
        context_vec = (attn_weights @ values).transpose(1, 2)
        context_vec = context_vec.contiguous().view(b, num_tokens, self.d_out)
        return self.out_proj(context_vec)


class Fused(Attention):
    """Query, key and value in one layer, as GPT-2 stores them."""

    order = (0, 1, 2)  # where queries, keys and values are
    rows = "three, head, number"

    def finish(self, d_in, d_out, num_heads, qkv_bias):
        del self.W_query, self.W_key, self.W_value
        self.c_attn = nn.Linear(d_in, 3 * d_out, bias=qkv_bias)

    def project(self, x):
        parts = self.c_attn(x).chunk(3, dim=-1)
        return [parts[place] for place in self.order]


class FusedByHead(Fused):
    """The three of head 0, then those of head 1."""

    def forward(self, x):
        B, T, _ = x.shape
        qkv = self.c_attn(x).view(B, T, self.num_heads, 3 * self.head_dim)
        parts = qkv.transpose(1, 2).chunk(3, dim=-1)
        context = self.attend(*(parts[place] for place in self.order))
        return self.out_proj(self.join(context))


class FusedByNumber(Fused):
    """As in some vision transformers: (head_dim, 3, heads)."""

    def forward(self, x):
        B, T, _ = x.shape
        qkv = self.c_attn(x).view(B, T, self.head_dim, 3, self.num_heads)
        parts = qkv.permute(3, 0, 4, 1, 2)  # (3, B, heads, T, head_dim)
        return self.out_proj(self.join(self.attend(*parts)))


class FusedKeysAndValues(Attention):
    def finish(self, d_in, d_out, num_heads, qkv_bias):
        del self.W_key, self.W_value
        self.kv = nn.Linear(d_in, 2 * d_out, bias=qkv_bias)

    def project(self, x):
        return self.W_query(x), *self.kv(x).chunk(2, dim=-1)


class LayerPerHead(Attention):
    def finish(self, d_in, d_out, num_heads, qkv_bias):
        del self.W_query, self.W_key, self.W_value
        self.queries, self.keys, self.values = (
            nn.ModuleList(
                nn.Linear(d_in, self.head_dim, bias=qkv_bias) for _ in range(num_heads)
            )
            for _ in range(3)
        )

    def forward(self, x):
        contexts = []
        for q, k, v in zip(self.queries, self.keys, self.values, strict=True):
            parts = [layer(x)[:, None] for layer in (q, k, v)]
            contexts.append(self.attend(*parts)[:, 0])
        return self.out_proj(torch.cat(contexts, dim=-1))


class Head(nn.Module):
    def __init__(self, d_in, head_dim, context_length, dropout, bias):
        super().__init__()
        self.key = nn.Linear(d_in, head_dim, bias=bias)
        self.query = nn.Linear(d_in, head_dim, bias=bias)
        self.value = nn.Linear(d_in, head_dim, bias=bias)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("tril", torch.tril(torch.ones(context_length, 99)))

    def forward(self, x):
        T = x.shape[1]
        weights = self.query(x) @ self.key(x).transpose(-2, -1)
        weights = weights * self.key.out_features**-0.5
        weights = weights.masked_fill(self.tril[:T, :T] == 0, float("-inf"))
        return self.dropout(F.softmax(weights, dim=-1)) @ self.value(x)


class ListOfHeads(nn.Module):
    """As in nanoGPT's lecture: a class for one head, and a list of them."""

    def __init__(self, d_in, d_out, context_length, dropout, num_heads, qkv_bias=False):
        super().__init__()
        size = d_out // num_heads
        self.heads = nn.ModuleList(
            Head(d_in, size, context_length, dropout, qkv_bias)
            for _ in range(num_heads)
        )
        self.proj = nn.Linear(d_out, d_out)

    def forward(self, x):
        return self.proj(torch.cat([head(x) for head in self.heads], dim=-1))


class TensorsPerHead(nn.Module):
    """Parameters of three dimensions and einsum, biases always or never."""

    def __init__(self, d_in, d_out, context_length, dropout, num_heads, qkv_bias=False):
        super().__init__()
        size = d_out // num_heads
        for letter in "QKV":
            matrix = nn.Parameter(torch.randn(num_heads, d_in, size))
            self.register_parameter(f"W_{letter}", matrix)
            bias = nn.Parameter(torch.randn(num_heads, size)) if qkv_bias else None
            self.register_parameter(f"b_{letter}", bias)
        self.W_O = nn.Parameter(torch.randn(num_heads, size, d_out))
        self.b_O = nn.Parameter(torch.zeros(d_out))
        self.dropout = nn.Dropout(dropout)

    def one(self, x, letter):
        result = torch.einsum("btd,hds->bhts", x, getattr(self, f"W_{letter}"))
        bias = getattr(self, f"b_{letter}")
        return result if bias is None else result + bias[:, None]

    def forward(self, x):
        q, k, v = (self.one(x, letter) for letter in "QKV")
        context = F.scaled_dot_product_attention(
            q,
            k,
            v,
            is_causal=True,
            dropout_p=self.dropout.p if self.training else 0.0,
        )
        return torch.einsum("bhts,hsd->btd", context, self.W_O) + self.b_O


class ForeignNames(Attention):
    def finish(self, d_in, d_out, num_heads, qkv_bias):
        self.mixer, self.second = self._modules["out_proj"], self.W_value
        self.first, self.third = self.W_key, self.W_query
        del self._modules["out_proj"], self.W_query, self.W_key, self.W_value

    def project(self, x):
        return self.third(x), self.first(x), self.second(x)

    def out_proj(self, x):
        return self.mixer(x)


class Matrices(Attention):
    """Matrices of (in, out), as in the book's first version."""

    def finish(self, d_in, d_out, num_heads, qkv_bias):
        del self.W_query, self.W_key, self.W_value
        for name in ("q", "k", "v"):
            self.register_parameter(name, nn.Parameter(torch.rand(d_in, d_out)))
            bias = nn.Parameter(torch.rand(d_out)) if qkv_bias else None
            self.register_parameter(f"bias_{name}", bias)

    def project(self, x):
        found = []
        for name in ("q", "k", "v"):
            bias = getattr(self, f"bias_{name}")
            found.append(x @ getattr(self, name) + (0 if bias is None else bias))
        return found


def fused_by_pytorch(self, queries, keys, values):
    p = self.dropout.p if self.training else 0.0
    return F.scaled_dot_product_attention(
        queries, keys, values, is_causal=True, dropout_p=p
    )


def pytorch_with_mask(self, queries, keys, values):
    T = queries.shape[2]
    p = self.dropout.p if self.training else 0.0
    return F.scaled_dot_product_attention(
        queries, keys, values, attn_mask=~self.mask[:T, :T], dropout_p=p
    )


def made_on_the_fly(self, scores):
    T = scores.shape[-1]
    mask = torch.ones(T, T, device=scores.device).triu(1).bool()
    return scores.masked_fill_(mask, float("-inf"))


def by_where(self, scores):
    T = scores.shape[-1]
    seen = torch.ones(T, T, dtype=torch.bool, device=scores.device).tril()
    return torch.where(seen, scores, torch.finfo(scores.dtype).min)


def by_adding(self, scores):
    T = scores.shape[-1]
    mask = torch.full((T, T), -torch.inf, device=scores.device).triu(diagonal=1)
    return scores + mask


def by_adding_a_billion(self, scores):
    T = scores.shape[-1]
    return scores + self.mask[:T, :T] * -1e9


def by_comparing_positions(self, scores):
    places = torch.arange(scores.shape[-1], device=scores.device)
    return scores.masked_fill(places[None] > places[:, None], -1e4)


def by_index(self, scores):
    T = scores.shape[-1]
    scores[:, :, self.mask[:T, :T]] = -torch.inf
    return scores


def other_corner(self, scores):
    T = scores.shape[-1]
    return scores.masked_fill(self.mask[-T:, -T:], -torch.inf)


def softmax_by_hand(self, scores):
    powers = (scores - scores.amax(dim=-1, keepdim=True)).exp()
    return powers / powers.sum(dim=-1, keepdim=True)


def head_by_head(self, queries, keys, values):
    contexts = []
    for head in range(self.num_heads):
        parts = [part[:, head : head + 1] for part in (queries, keys, values)]
        contexts.append(Attention.attend(self, *parts))
    return torch.cat(contexts, dim=1)


def token_by_token(self, queries, keys, values):
    """No mask at all: each token gets those before it."""
    rows = []
    for t in range(queries.shape[2]):
        scores = self.scores(queries[:, :, t : t + 1], keys[:, :, : t + 1])
        rows.append(self.average(scores.softmax(-1), values[:, :, : t + 1]))
    return torch.cat(rows, dim=2)


def no_transpose_but_einsum(self, x):
    B, T, _ = x.shape
    q, k, v = (
        part.view(B, T, self.num_heads, self.head_dim) for part in self.project(x)
    )
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / self.head_dim**0.5
    weights = self.dropout(self.share(self.hide(scores)))
    context = torch.einsum("bhqk,bkhd->bqhd", weights, v)
    return self.out_proj(context.reshape(B, T, self.d_out))


def heads_into_the_batch(self, x):
    B, T, _ = x.shape
    parts = [self.split(part).reshape(-1, T, self.head_dim) for part in self.project(x)]
    weights = self.share(self.hide(parts[0] @ parts[1].mT / self.head_dim**0.5))
    context = self.dropout(weights) @ parts[2]
    return self.out_proj(self.join(context.view(B, self.num_heads, T, self.head_dim)))


def float_mask(self, d_in, d_out, num_heads, qkv_bias):
    mask = self.mask.float().masked_fill(self.mask, -torch.inf)
    self.register_buffer("mask", mask[None, None], persistent=False)


RIGHT = {
    "finished": gpt_from_scratch.MultiHeadAttention,
    "notebook": Attention,
    "book": BookAttention,
    "fused": Fused,
    "fused, keys first": attention(Fused, order=(1, 0, 2)),
    "fused, values first": attention(Fused, order=(2, 1, 0)),
    "fused by head": FusedByHead,
    "fused by head, values first": attention(FusedByHead, order=(1, 2, 0)),
    "fused by number": FusedByNumber,
    "fused keys and values": FusedKeysAndValues,
    "a layer for each head": LayerPerHead,
    "a list of heads": ListOfHeads,
    "three dimensions": TensorsPerHead,
    "foreign names": ForeignNames,
    "matrices": Matrices,
    "function that builds": lambda *args: Attention(*args),
    "float mask": attention(
        finish=float_mask,
        hide=lambda self, s: s + self.mask[..., : s.shape[-1], : s.shape[-1]],
    ),
    "scale after the mask": attention(
        scores=lambda self, q, k: q @ k.mT,
        share=lambda self, s: torch.softmax(s * self.head_dim**-0.5, -1),
    ),
    "queries scaled": attention(
        scores=lambda self, q, k: (q / self.head_dim**0.5) @ k.mT
    ),
    "both scaled": attention(
        scores=lambda self, q, k: (
            (q * self.head_dim**-0.25) @ (k.mT / k.shape[-1] ** 0.25)
        )
    ),
    "root of a tensor": attention(
        scores=lambda self, q, k: q @ k.mT / torch.sqrt(torch.tensor(k.shape[-1]))
    ),
    "in float64": attention(
        attend=lambda self, *parts: Attention.attend(
            self, *(part.double() for part in parts)
        ).float()
    ),
    "split by unflatten": attention(
        split=lambda self, x: x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
    ),
    "split by chunk": attention(
        split=lambda self, x: torch.stack(x.chunk(self.num_heads, dim=-1), dim=1)
    ),
    "joined by reshape": attention(
        join=lambda self, c: c.transpose(1, 2).reshape(len(c), -1, self.d_out)
    ),
    "joined by cat": attention(join=lambda self, c: torch.cat(c.unbind(dim=1), dim=-1)),
    "values projected late": attention(
        join=lambda self, c: (
            c.permute(0, 2, 1, 3).contiguous().view(len(c), -1, self.d_out)
        )
    ),
    "SDPA": attention(attend=fused_by_pytorch),
    "SDPA with a mask": attention(attend=pytorch_with_mask),
    **{
        step.__name__: attention(hide=step)
        for step in (
            made_on_the_fly,
            by_where,
            by_adding,
            by_adding_a_billion,
            by_comparing_positions,
            by_index,
            other_corner,
        )
    },
    "softmax by hand": attention(share=softmax_by_hand),
    "head by head": attention(attend=head_by_head),
    "token by token": attention(attend=token_by_token),
    "einsum": attention(forward=no_transpose_but_einsum),
    "heads into the batch": attention(forward=heads_into_the_batch),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_variants_pass(name):
    report = check.multi_head_attention(RIGHT[name])
    assert report.passed, report


def hide_with(mask):
    """Make a version with another mask, given the number of tokens."""
    return attention(
        hide=lambda self, s: s.masked_fill(mask(s.shape[-1]).to(s.device), -torch.inf)
    )


class Positions(Attention):
    def finish(self, d_in, d_out, num_heads, qkv_bias):
        self.places = nn.Parameter(torch.randn(self.context_length, d_in))


class Growing(Attention):
    """Remembers the last text's values."""

    last = None

    def average(self, weights, values):
        last, self.last = self.last, values.detach().mean() / 100
        return super().average(weights, values) + (0 if last is None else last)


class OneOutOfOrder(Attention):
    def split(self, x):
        return super().split(x).roll(1, dims=1)


class PerHeadOfFullSize(nn.Module):
    """The book's wrapper: heads of d_out features, side by side."""

    def __init__(self, d_in, d_out, context_length, dropout, num_heads, qkv_bias=False):
        super().__init__()
        self.heads = nn.ModuleList(
            Head(d_in, d_out, context_length, dropout, qkv_bias)
            for _ in range(num_heads)
        )

    def forward(self, x):
        return torch.cat([head(x) for head in self.heads], dim=-1)


UNKNOWN = {
    "no scale and no mask": attention(
        scores=lambda self, q, k: q @ k.mT, hide=lambda self, s: s
    ),
    "scaled by a fixed 8": attention(scores=lambda self, q, k: q @ k.mT / 8),
    "scaled a tenth off": attention(
        scores=lambda self, q, k: q @ k.mT / self.head_dim**0.55
    ),
    "only four tokens back": hide_with(lambda n: torch.ones(n, n).tril().triu(-3) == 0),
    "the first token hidden from all others": hide_with(
        lambda n: (
            (torch.ones(n, n).tril() == 0)
            | ((torch.arange(n) == 0)[None] & (torch.arange(n) > 0)[:, None])
        )
    ),
    "the last token sees itself alone": hide_with(
        lambda n: (
            (torch.ones(n, n).tril() == 0)
            | ((torch.arange(n) == n - 1)[:, None] & (torch.arange(n) < n - 1)[None])
        )
    ),
    "no mask in training": attention(
        hide=lambda self, s: s if self.training else Attention.hide(self, s)
    ),
    "no mask for one head": attention(
        hide=lambda self, s: torch.cat([Attention.hide(self, s)[:, :-1], s[:, -1:]], 1)
    ),
    "no mask for the second text": attention(
        hide=lambda self, s: torch.cat([Attention.hide(self, s)[:1], s[1:]])
    ),
    "squared shares": attention(share=lambda self, s: s.softmax(-1) ** 2),
    "softmax twice": attention(share=lambda self, s: s.softmax(-1).softmax(-1)),
    "softmax plus one": attention(
        share=lambda self, s: s.exp() / (1 + s.exp().sum(-1, keepdim=True))
    ),
    "scores clamped at 50": attention(
        hide=lambda self, s: Attention.hide(self, s.clamp(-50, 50))
    ),
    "scores clamped at 5": attention(
        hide=lambda self, s: Attention.hide(self, s.clamp(-5, 5))
    ),
    "cosine of queries and keys": attention(
        scores=lambda self, q, k: F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT
    ),
    "bfloat16": attention(share=lambda self, s: s.bfloat16().softmax(-1).float()),
    "shortcut inside": attention(
        forward=lambda self, x: (
            Attention.forward(self, x) + (x if x.shape[-1] == self.d_out else 0)
        )
    ),
    "normalized values": attention(
        average=lambda self, w, v: self.dropout(w) @ F.layer_norm(v, v.shape[-1:])
    ),
    "projected twice": attention(
        join=lambda self, c: self.out_proj(Attention.join(self, c))
    ),
    "activation after": attention(
        forward=lambda self, x: F.gelu(Attention.forward(self, x))
    ),
    "heads in another order": attention(
        join=lambda self, c: Attention.join(self, c.flip(1))
    ),
    "heads rolled": OneOutOfOrder,
    "all heads the first": attention(
        attend=lambda self, q, k, v: Attention.attend(
            self, q[:, :1].expand_as(q), k[:, :1].expand_as(k), v
        )
    ),
    "three heads fixed": attention(
        finish=lambda self, d_in, d_out, heads, bias: (
            setattr(self, "num_heads", 3),
            setattr(self, "head_dim", d_out // 3),
        )
    ),
    "query bias only": attention(
        finish=lambda self, d_in, d_out, heads, bias: setattr(
            self, "W_key", nn.Linear(d_in, d_out, bias=False)
        )
    ),
    "key bias not used": attention(
        project=lambda self, x: (
            self.W_query(x),
            self.W_key(x),
            x @ self.W_value.weight.T,
        )
    ),
    "values of the input": attention(
        project=lambda self, x: (
            self.W_query(x),
            self.W_key(x),
            self.W_value(x) + 0.01 * x.mean(-1, keepdim=True),
        )
    ),
    "one weight for keys and queries": attention(
        finish=lambda self, d_in, d_out, heads, bias: setattr(
            self, "W_key", self.W_query
        )
    ),
    "values detached": attention(
        average=lambda self, w, v: self.dropout(w) @ v.detach()
    ),
    "keys detached": attention(
        scores=lambda self, q, k: Attention.scores(self, q, k.detach())
    ),
    "dropout of its own": attention(
        finish=lambda self, *_: setattr(self, "dropout", nn.Dropout(0.1))
    ),
    "keeps instead of drops": attention(
        finish=lambda self, *_: (
            setattr(self.dropout, "p", 1 - self.dropout.p) if self.dropout.p else None
        )
    ),
    "dropout not scaled": attention(
        average=lambda self, w, v: (
            (self.dropout(w) * (1 - self.dropout.p)) @ v if self.training else w @ v
        )
    ),
    "dropout of values": attention(average=lambda self, w, v: w @ self.dropout(v)),
    "one mask for all heads": attention(
        average=lambda self, w, v: (w * self.dropout(torch.ones_like(w[:, :1]))) @ v
    ),
    "one mask for all texts": attention(
        average=lambda self, w, v: (w * self.dropout(torch.ones_like(w[:1]))) @ v
    ),
    "surplus parameters": Positions,
    "remembers": Growing,
    "changes its input": attention(
        forward=lambda self, x: (Attention.forward(self, x), x.detach().add_(1))[0]
    ),
    "changes its weights": attention(
        forward=lambda self, x: (
            Attention.forward(self, x),
            self.out_proj.weight.data.mul_(1.1),
        )[0]
    ),
    "the book's wrapper": PerHeadOfFullSize,
    "PyTorch's, without a mask": lambda d_in, d_out, length, dropout, heads, b=False: (
        nn.MultiheadAttention(d_out, heads, dropout, b)
    ),
    "a linear layer": lambda d_in, d_out, *_: nn.Linear(d_in, d_out),
    "over the batch": attention(
        forward=lambda self, x: Attention.forward(self, x.flatten(0, 1)[None]).view(
            *x.shape[:2], -1
        )
    ),
    "the first text for all": attention(
        forward=lambda self, x: Attention.forward(self, x[:1]).expand(len(x), -1, -1)
    ),
    "without the last token": attention(
        forward=lambda self, x: Attention.forward(self, x[:, :-1])
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_mistakes_of_others_are_found_and_not_misnamed(name):
    report = check.multi_head_attention(UNKNOWN[name])
    assert not report.passed, report
    assert report.mistake is None, report
    assert max(map(len, report.text.splitlines())) <= 88


class PlainMask(Attention):
    def finish(self, d_in, d_out, num_heads, qkv_bias):
        mask = self.mask
        del self.mask
        self.mask = mask


# Other code for a mistake in the bank gets its name.
SAME = {
    "multiplied by a mask": (
        attention(hide=lambda self, s: s * ~self.mask[: s.shape[-1], : s.shape[-1]]),
        "zeros as the scores of later tokens",
    ),
    "masked_fill dropped": (
        attention(hide=lambda self, s: (Attention.hide(self, s), s)[1]),
        "attention without a mask",
    ),
    "SDPA without is_causal": (
        attention(attend=lambda self, *qkv: F.scaled_dot_product_attention(*qkv)),
        None,  # and no dropout
    ),
    "a plain tensor": (PlainMask, "a tensor that stays on the CPU"),
    "a plain tensor, in place": (
        attention(
            PlainMask,
            hide=lambda self, s: s.masked_fill_(
                self.mask[: s.shape[-1], : s.shape[-1]], -torch.inf
            ),
        ),
        "a tensor that stays on the CPU",
    ),
    "fused, not scaled": (
        attention(Fused, scores=lambda self, q, k: q @ k.mT),
        "scores that are not scaled",
    ),
    "a list of layers, not scaled": (
        attention(LayerPerHead, scores=lambda self, q, k: q @ k.mT),
        "scores that are not scaled",
    ),
    "not cut, added": (
        attention(finish=float_mask, hide=lambda self, s: s + self.mask),
        "an added mask that is not cut to the text",
    ),
    "filled with -30": (
        attention(hide=lambda self, s: s.masked_fill(self.hides(s), -30)),
        "a mask filled with a number such as -50",
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_other_code_for_a_known_mistake(name):
    version, mistake = SAME[name]
    report = check.multi_head_attention(version)
    assert not report.passed, report
    assert report.mistake == mistake, report


def test_names_of_a_fused_layer_are_said_once():
    text = " ".join(check.multi_head_attention(Fused).text.split())
    assert (
        "Your names: c_attn.weight, c_attn.bias. The course's: W_query.weight" in text
    )


def test_a_list_of_heads_that_pytorch_does_not_know():
    class Plain(LayerPerHead):
        def finish(self, d_in, d_out, num_heads, qkv_bias):
            super().finish(d_in, d_out, num_heads, qkv_bias)
            for name in ("queries", "keys", "values"):
                layers = list(getattr(self, name))
                delattr(self, name)
                setattr(self, name, layers)

    report = check.multi_head_attention(Plain)
    assert not report.passed
    assert report.mistake is None
    assert "in a plain list" in report.text
