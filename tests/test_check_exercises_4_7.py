"""The exercises of 4.7: right variants pass, unknown mistakes get no false name."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gpt_from_scratch import check


def draw(z, k, temperature):
    z = z.masked_fill(z < z.topk(k).values[:, -1:], float("-inf"))
    return torch.multinomial(torch.softmax(z / temperature, dim=-1), 1)


def by_gather(logits, temperature, top_k):
    best, ids = logits.topk(top_k)
    places = torch.multinomial(torch.softmax(best / temperature, dim=-1), 1)
    return ids.gather(1, places)


def by_gumbel(logits, temperature, top_k):
    best, ids = (logits / temperature).topk(top_k)
    noise = -torch.empty_like(best).exponential_().log()
    return ids.gather(1, (best + noise).argmax(dim=-1, keepdim=True))


def by_rows(logits, temperature, top_k):
    kept = torch.full_like(logits, float("-inf"))
    for row, (best, places) in enumerate(zip(*logits.topk(top_k), strict=True)):
        kept[row, places] = best
    return torch.multinomial(F.softmax(kept / temperature, dim=1), 1)


def by_categorical(logits, temperature, top_k):
    z = logits / temperature
    z = torch.where(z < z.topk(top_k).values.min(dim=1, keepdim=True)[0], -1e9, z)
    return torch.distributions.Categorical(logits=z).sample()[:, None]


RIGHT_DRAWING = {
    "places and gather": by_gather,
    "noise and argmax": by_gumbel,
    "row by row": by_rows,
    "Categorical": by_categorical,
}
UNKNOWN_DRAWING = {
    "a negative temperature": lambda z, t, k: draw(z, k, -t),
    "a fixed temperature": lambda z, t, k: draw(z, k, 2.0),
    "two of top_k": lambda z, t, k: draw(z, min(k, 2), t),
    "uniform among the best": lambda z, t, k: draw((z * 1e-6), k, t),
    "negative logits": lambda z, t, k: draw(-z, k, t),
    "numbers in place of ids": lambda z, t, k: draw(z, k, t).float(),
    "next token": lambda z, t, k: draw(z, k, t) + 1,
    "None": lambda z, t, k: None,
    "abs": lambda z, t, k: torch.multinomial(z.abs(), 1),
}


def by_lists(model, idx, max_new_tokens, context_size, eos_id):
    texts, over = idx.tolist(), [False] * len(idx)
    for _ in range(max_new_tokens):
        if all(over):
            break
        with torch.no_grad():
            rows = model(torch.tensor(texts)[:, -context_size:])[:, -1]
        for i, row in enumerate(rows):
            new = eos_id if over[i] else row.argmax().item()
            over[i] = over[i] or new == eos_id
            texts[i].append(new)
    return torch.tensor(texts)


def by_counts(model, idx, max_new_tokens, context_size, eos_id):
    start = idx.shape[1]
    with torch.inference_mode():
        for _ in range(max_new_tokens):
            new = model(idx[:, -context_size:])[:, -1].argmax(-1, keepdim=True)
            over = (idx[:, start:] == eos_id).any(dim=1, keepdim=True)
            new[over] = eos_id
            idx = torch.cat([idx, new], dim=1)
            if (idx[:, start:] == eos_id).any(dim=1).all():
                break
    return idx


def end(stop=None, mark=None):
    """A version that stops, or marks ended texts, in another way."""

    def generate(model, idx, max_new_tokens, context_size, eos_id):
        start, over = idx.shape[1], torch.zeros(len(idx), 1, dtype=torch.bool)
        for _ in range(max_new_tokens):
            with torch.no_grad():
                new = model(idx[:, -context_size:])[:, -1].argmax(-1, keepdim=True)
            new = torch.where(over, eos_id if mark is None else mark, new)
            over = over | (new == eos_id)
            idx = torch.cat((idx, new), dim=1)
            if stop(idx[:, start:], eos_id) if stop else over.all():
                break
        return idx

    return generate


RIGHT_END = {"lists": by_lists, "looking back": by_counts, "as taught": end()}
UNKNOWN_END = {
    "filled with 50256": end(mark=50256),
    "filled with -1": end(mark=-1),
    "stops after two": end(stop=lambda new, eos: new.shape[1] == 2),
    "stops at a larger id": end(stop=lambda new, eos: (new[:, -1] >= eos).all()),
    "last text decides": end(stop=lambda new, eos: (new[-1] == eos).any()),
    "None": lambda *arguments: None,
}


class CachedAttention(nn.Module):
    """The solution; the versions below change a step of it."""

    def __init__(self, emb_dim):
        super().__init__()
        layers = [nn.Linear(emb_dim, emb_dim, bias=False) for _ in range(3)]
        self.W_query, self.W_key, self.W_value = layers
        self.keys = self.values = None

    def attend(self, query):
        scores = query @ self.keys.transpose(1, 2) / self.keys.shape[-1] ** 0.5
        return torch.softmax(scores, dim=-1) @ self.values

    def forward(self, x):
        keys, values = self.W_key(x), self.W_value(x)
        if self.keys is not None:
            keys = torch.cat((self.keys, keys), dim=1)
            values = torch.cat((self.values, values), dim=1)
        self.keys, self.values = keys, values
        return self.attend(self.W_query(x))


class Fused(CachedAttention):
    def attend(self, query):
        return F.scaled_dot_product_attention(query, self.keys, self.values)


class Lists(CachedAttention):
    def forward(self, x):
        self.kept = [*getattr(self, "kept", []), (self.W_key(x), self.W_value(x))]
        self.keys, self.values = (torch.cat(t, 1) for t in zip(*self.kept, strict=True))
        return self.attend(self.W_query(x))


class Backwards(CachedAttention):
    """The order does not matter, as long as it is one."""

    def forward(self, x):
        empty = x[:, :0]
        before = (empty, empty) if self.keys is None else (self.keys, self.values)
        self.keys = torch.cat((self.W_key(x), before[0]), dim=1)
        self.values = torch.cat((self.W_value(x), before[1]), dim=1)
        return self.attend(self.W_query(x))


class Reserved(CachedAttention):
    """Memory for 32 tokens at once."""

    def forward(self, x):
        if not hasattr(self, "room"):
            self.room, self.count = x.new_zeros(2, len(x), 32, x.shape[-1]), 0
        self.room[0, :, self.count] = self.W_key(x)[:, 0]
        self.room[1, :, self.count] = self.W_value(x)[:, 0]
        self.count += 1
        self.keys, self.values = self.room[:, :, : self.count]
        return self.attend(self.W_query(x))


class Window(CachedAttention):
    def attend(self, query):
        self.keys, self.values = self.keys[:, -3:], self.values[:, -3:]
        return super().attend(query)


class Doubled(CachedAttention):
    def attend(self, query):
        return super().attend(2 * query)


class NewestCountsTwice(CachedAttention):
    def attend(self, query):
        return super().attend(query) + self.values[:, -1:]


class Mean(CachedAttention):
    def attend(self, query):
        return self.values.mean(dim=1, keepdim=True)


RIGHT_CACHE = {
    "as taught": CachedAttention,
    "fused": Fused,
    "lists": Lists,
    "backwards": Backwards,
    "reserved memory": Reserved,
}
UNKNOWN_CACHE = {
    "a window of three": Window,
    "doubled queries": Doubled,
    "newest twice": NewestCountsTwice,
    "mean": Mean,
    "a bias": lambda size: nn.Linear(size, size),
}

CHECKS = [
    (check.draw_next, RIGHT_DRAWING, UNKNOWN_DRAWING),
    (check.generate_until, RIGHT_END, UNKNOWN_END),
    (check.cached_attention, RIGHT_CACHE, UNKNOWN_CACHE),
]


@pytest.mark.parametrize(
    ("ask", "learner"),
    [
        pytest.param(ask, learner, id=f"{ask.__name__}, {name}")
        for ask, right, _ in CHECKS
        for name, learner in right.items()
    ],
)
def test_right_variants_pass(ask, learner):
    report = ask(learner)
    assert report.passed, report
    assert report.mistake is None


@pytest.mark.parametrize(
    ("ask", "learner"),
    [
        pytest.param(ask, learner, id=f"{ask.__name__}, {name}")
        for ask, _, unknown in CHECKS
        for name, learner in unknown.items()
    ],
)
def test_unknown_mistakes_get_no_false_name(ask, learner):
    report = ask(learner)
    assert not report.passed
    assert report.mistake is None, report
