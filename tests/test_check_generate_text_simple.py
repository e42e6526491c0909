"""``check.generate_text_simple``: right variants pass, no mistake gets a false name."""

import random
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import gpt_from_scratch
from gpt_from_scratch import check


def notebook(model, idx, max_new_tokens, context_size):
    """The function of notebook 4.7."""
    for _ in range(max_new_tokens):
        visible = idx[:, -context_size:]
        with torch.no_grad():
            logits = model(visible)
        last = logits[:, -1, :]
        next_ids = last.argmax(dim=-1, keepdim=True)
        idx = torch.cat((idx, next_ids), dim=1)
    return idx


def book(model, idx, max_new_tokens, context_size):
    for _ in range(max_new_tokens):
        idx_cond = idx[:, -context_size:]
        with torch.no_grad():
            logits = model(idx_cond)
        logits = logits[:, -1, :]
        probas = torch.softmax(logits, dim=-1)
        idx_next = torch.argmax(probas, dim=-1, keepdim=True)
        idx = torch.cat((idx, idx_next), dim=1)
    return idx


def version(
    choose=lambda last: last.argmax(dim=-1, keepdim=True),
    crop=lambda idx, size: idx[:, -size:],
    join=lambda idx, new: torch.cat((idx, new), dim=1),
    last=lambda logits: logits[:, -1, :],
    guard=torch.no_grad,
):
    def generate(model, idx, max_new_tokens, context_size):
        for _ in range(max_new_tokens):
            with guard():
                logits = model(crop(idx, context_size))
            idx = join(idx, choose(last(logits)))
        return idx

    return generate


@torch.no_grad()
def decorated(model, idx, max_new_tokens, context_size):
    for _ in range(max_new_tokens):
        logits = model(idx[:, -context_size:])
        idx = torch.cat([idx, logits[:, -1].argmax(-1)[:, None]], -1)
    return idx


@torch.inference_mode()
def inferring(model, tokens, n, size):
    while n > 0:
        tokens = torch.hstack(
            (tokens, model(tokens[:, -size:])[:, -1].max(-1, True)[1])
        )
        n -= 1
    return tokens


def preallocated(model, idx, max_new_tokens, context_size):
    B, T = idx.shape
    out = torch.zeros(B, T + max_new_tokens, dtype=idx.dtype, device=idx.device)
    out[:, :T] = idx
    with torch.no_grad():
        for t in range(T, T + max_new_tokens):
            logits = model(out[:, max(0, t - context_size) : t])
            out[:, t] = logits[:, -1].argmax(dim=-1)
    return out


def by_while(model, idx, max_new_tokens, context_size):
    goal = idx.shape[1] + max_new_tokens
    while idx.shape[1] < goal:
        with torch.no_grad():
            logits = model(idx[:, -min(context_size, idx.size(1)) :])
        _, new = torch.topk(logits[:, -1, :], k=1)
        idx = torch.cat((idx, new), dim=1)
    return idx


def by_recursion(model, idx, max_new_tokens, context_size):
    if max_new_tokens == 0:
        return idx
    with torch.no_grad():
        new = model(idx[:, -context_size:])[:, -1:].argmax(-1)
    idx = torch.cat((idx, new), 1)
    return by_recursion(model, idx, max_new_tokens - 1, context_size)


def text_by_text(model, idx, max_new_tokens, context_size):
    return torch.cat(
        [notebook(model, row[None], max_new_tokens, context_size) for row in idx]
    )


def by_lists(model, idx, max_new_tokens, context_size):
    rows = idx.tolist()
    for _ in range(max_new_tokens):
        with torch.no_grad():
            visible = torch.tensor([row[-context_size:] for row in rows])
            for row, scores in zip(rows, model(visible)[:, -1].tolist(), strict=True):
                row.append(scores.index(max(scores)))
    return torch.tensor(rows)


def puts_the_mode_back(model, idx, max_new_tokens, context_size):
    was_training = model.training
    model.eval()
    try:
        return notebook(model, idx, max_new_tokens, context_size)
    finally:
        model.train(was_training)


def restores_gradients(model, idx, max_new_tokens, context_size):
    before = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    out = version(guard=nullcontext)(model, idx, max_new_tokens, context_size)
    torch.set_grad_enabled(before)
    return out


def collects(model, idx, max_new_tokens, context_size):
    parts, window = [idx], idx
    for _ in range(max_new_tokens):
        window = window[:, -context_size:]
        with torch.no_grad():
            parts.append(model(window)[:, -1].argmax(-1).unsqueeze(-1))
        window = torch.cat((window, parts[-1]), dim=1)
    return torch.cat(parts, dim=1)


def moves_to_the_device(model, idx, max_new_tokens, context_size):
    idx = idx.to(next(model.parameters()).device)
    return notebook(model, idx, max_new_tokens, context_size)


def on_a_copy(model, idx, max_new_tokens, context_size):
    return notebook(model, idx.clone(), max_new_tokens, context_size).contiguous()


class Callable:
    def __call__(self, model, idx, max_new_tokens, context_size):
        return notebook(model, idx, max_new_tokens, context_size)


RIGHT = {
    "finished": gpt_from_scratch.generate_text_simple,
    "an object with __call__": Callable(),
    "more arguments": lambda model, idx, n, size, eos_id=None: notebook(
        model, idx, n, size
    ),
    **{
        function.__name__: function
        for function in (
            notebook,
            book,
            decorated,
            inferring,
            preallocated,
            by_while,
            by_recursion,
            text_by_text,
            by_lists,
            puts_the_mode_back,
            restores_gradients,
            collects,
            moves_to_the_device,
            on_a_copy,
        )
    },
    "narrow": version(
        crop=lambda idx, size: idx.narrow(
            1, max(0, idx.shape[1] - size), min(size, idx.shape[1])
        )
    ),
    "if too long": version(
        crop=lambda idx, size: idx if idx.size(1) <= size else idx[:, -size:]
    ),
    "a start": version(crop=lambda idx, size: idx[:, max(0, idx.shape[1] - size) :]),
    "log_softmax": version(
        choose=lambda last: F.log_softmax(last, -1).argmax(-1, keepdim=True)
    ),
    "softmax of all": version(last=lambda logits: logits.softmax(-1)[:, -1]),
    "argmax of all": version(
        last=lambda logits: logits, choose=lambda logits: logits.argmax(-1)[:, -1:]
    ),
    "sort": version(
        choose=lambda last: last.sort(dim=-1, descending=True).indices[:, :1]
    ),
    "argsort": version(choose=lambda last: last.argsort(-1)[:, -1:]),
    "float64": version(choose=lambda last: last.double().argmax(-1, keepdim=True)),
    "numpy": version(
        choose=lambda last: torch.from_numpy(last.numpy().argmax(-1))[:, None]
    ),
    "reshape": version(choose=lambda last: last.argmax(-1).view(-1, 1)),
    "hstack": version(join=lambda idx, new: torch.hstack([idx, new])),
    "concat": version(join=lambda idx, new: torch.concat([idx, new], axis=-1)),
    "pad": version(
        join=lambda idx, new: F.pad(idx, (0, 1)).index_copy(
            1, torch.tensor([idx.shape[1]]), new
        )
    ),
    "select": version(last=lambda logits: logits.select(1, logits.shape[1] - 1)),
    "squeeze": version(last=lambda logits: logits[:, -1:].squeeze(1)),
    "inference_mode": version(guard=torch.inference_mode),
    "detached too": version(last=lambda logits: logits.detach()[:, -1]),
    "temperature 0.7, greedy": version(
        choose=lambda last: (last / 0.7).argmax(-1, keepdim=True)
    ),
    "largest subtracted": version(
        choose=lambda last: (
            (last - last.amax(-1, keepdim=True)).exp().argmax(-1, keepdim=True)
        )
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_variants_pass(name):
    report = check.generate_text_simple(RIGHT[name])
    assert report.passed, report


def chosen(function):
    return version(choose=function)


def result(change):
    """Let something happen to the right result."""
    return lambda model, idx, n, size: change(notebook(model, idx, n, size))


def first_step_wrong(model, idx, n, size):
    """From the second token on, everything is right."""
    if n == 0:
        return idx
    with torch.no_grad():
        new = model(idx[:, -size:])[:, 0].argmax(-1, keepdim=True)
    return notebook(model, torch.cat((idx, new), 1), n - 1, size)


def never_twice(model, idx, n, size):
    """A token that the text ends with is not chosen again."""
    for _ in range(n):
        with torch.no_grad():
            last = model(idx[:, -size:])[:, -1].clone()
        last.scatter_(1, idx[:, -1:], -torch.inf)
        idx = torch.cat((idx, last.argmax(-1, keepdim=True)), 1)
    return idx


def own_generator(model, idx, n, size):
    """Draws, and each time the same."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(n):
        with torch.no_grad():
            p = model(idx[:, -size:])[:, -1].softmax(-1)
        idx = torch.cat((idx, torch.multinomial(p, 1, generator=generator)), 1)
    return idx


def seeds(model, idx, n, size):
    torch.manual_seed(0)
    return notebook(model, idx, n, size)


def counts_calls(model, idx, n, size):
    counts_calls.number += 1
    return notebook(model, idx, n, size) + (counts_calls.number > 4)


counts_calls.number = 0


def nearly_greedy(last):
    return torch.multinomial((last / 0.001).softmax(-1), 1)


def trains(model, idx, n, size):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    return notebook(model, idx, n, size)


def freezes(model, idx, n, size):
    """In place of no_grad."""
    model.requires_grad_(False)
    return version(guard=torch.enable_grad)(model, idx, n, size)


def gradients_on(model, idx, n, size):
    out = notebook(model, idx, n, size)
    torch.set_grad_enabled(True)
    return out


def at_most_100(model, idx, n, size):
    return notebook(model, idx, min(n, 100), size)


def ends_at_zero(model, idx, n, size):
    for _ in range(n):
        new = notebook(model, idx, 1, size)[:, -1:]
        if not new.any():
            break
        idx = torch.cat((idx, new), 1)
    return idx


def asks_twice(model, idx, n, size):
    for _ in range(n):
        with torch.no_grad():
            model(idx[:, -size:])
        idx = notebook(model, idx, 1, size)
    return idx


def recorded_once(model, idx, n, size):
    """no_grad from the second step on."""
    if n == 0:
        return idx
    new = model(idx[:, -size:])[:, -1].argmax(-1, keepdim=True)
    return notebook(model, torch.cat((idx, new), 1), n - 1, size)


def slice_of_the_prompt(model, idx, n, size):
    """Writes into the caller's memory, beside the prompt."""
    out = notebook(model, idx, n, size)
    if idx.stride(0) > idx.shape[1]:
        idx.as_strided((1, 1), (1, 1), idx.storage_offset() + idx.shape[1])[0, 0] = 7
    return out


def by_a_hand_made_maximum(last):
    best, place = torch.zeros(len(last)), torch.zeros(len(last), dtype=torch.long)
    for token in range(last.shape[1]):
        place[last[:, token] > best] = token
        best = torch.maximum(best, last[:, token])
    return place[:, None]


def beam_of_two(model, idx, n, size):
    """Not greedy: looks two tokens ahead."""
    for _ in range(n):
        with torch.no_grad():
            best = model(idx[:, -size:])[:, -1].log_softmax(-1).topk(2, -1)
            totals = []
            for k in range(2):
                longer = torch.cat((idx, best.indices[:, k : k + 1]), 1)
                after = model(longer[:, -size:])[:, -1].log_softmax(-1).amax(-1)
                totals.append(best.values[:, k] + after)
        pick = torch.stack(totals, 1).argmax(1, keepdim=True)
        idx = torch.cat((idx, best.indices.gather(1, pick)), 1)
    return idx


UNKNOWN = {
    "the position in the middle": version(last=lambda x: x[:, x.shape[1] // 2]),
    "position 1 of several": version(last=lambda x: x[:, min(1, x.shape[1] - 1)]),
    "the last two positions added up": version(last=lambda x: x[:, -2:].sum(1)),
    "first step wrong": first_step_wrong,
    "never twice": never_twice,
    "draws, always the same": own_generator,
    "sets the seed": seeds,
    "counts calls": counts_calls,
    "nearly greedy": chosen(nearly_greedy),
    "rounded scores": chosen(lambda last: last.round().argmax(-1, keepdim=True)),
    "scores in half precision": chosen(
        lambda last: last.bfloat16().argmax(-1, keepdim=True)
    ),
    "hand-made maximum": chosen(by_a_hand_made_maximum),
    "tanh of the scores": chosen(lambda last: last.tanh().argmax(-1, keepdim=True)),
    "ReLU of the scores": chosen(lambda last: last.relu().argmax(-1, keepdim=True)),
    "next to the best": chosen(lambda last: last.argmax(-1, keepdim=True) + 1),
    "token 0 never": chosen(lambda last: last[:, 1:].argmax(-1, keepdim=True) + 1),
    "the last token never": chosen(lambda last: last[:, :-1].argmax(-1, keepdim=True)),
    "third best": chosen(lambda last: last.topk(3).indices[:, 2:]),
    "trains the model": trains,
    "freezes the model": freezes,
    "gradients on": gradients_on,
    "at most 100": at_most_100,
    "an end at token 0": ends_at_zero,
    "asks twice": asks_twice,
    "gradients recorded once": recorded_once,
    "writes beside the prompt": slice_of_the_prompt,
    "a beam of two": beam_of_two,
    "reversed window": version(crop=lambda idx, size: idx[:, -size:].flip(1)),
    "sorted window": version(crop=lambda idx, size: idx[:, -size:].sort(1)[0]),
    "window of half": version(crop=lambda idx, size: idx[:, -max(1, size // 2) :]),
    "window of at most 5": version(crop=lambda idx, size: idx[:, -min(size, 5) :]),
    "blocks, not a window": version(
        crop=lambda idx, size: idx[:, (idx.shape[1] - 1) // size * size :]
    ),
    "first token kept in the window": version(
        crop=lambda idx, size: (
            idx
            if idx.shape[1] <= size
            else torch.cat((idx[:, :1], idx[:, idx.shape[1] - size + 1 :]), 1)
        )
    ),
    "int32": result(lambda out: out.int()),
    "float": result(lambda out: out.float()),
    "a tuple": result(lambda out: (out, None)),
    "a list": result(lambda out: out.tolist()),
    "one text, flat": result(lambda out: out[0] if len(out) == 1 else out),
    "reversed texts": result(lambda out: out.flip(0)),
    "the first text only": result(lambda out: out[:1]),
    "two mistakes": version(
        last=lambda logits: logits[:, 0], crop=lambda idx, size: idx[:, :size]
    ),
    "two others": version(
        guard=torch.enable_grad, crop=lambda idx, size: idx[:, -size - 1 :]
    ),
    "no loop": lambda model, idx, n, size: idx,
    "another function": gpt_from_scratch.rounded,
    "other arguments": lambda model, idx: idx,
    "model not used": lambda model, idx, n, size: F.pad(idx, (0, n)),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_mistakes_of_others_are_found_and_not_misnamed(name):
    report = check.generate_text_simple(UNKNOWN[name])
    assert not report.passed, report
    assert report.mistake is None, report
    assert max(map(len, report.text.splitlines())) <= 88


def by_gumbel(last):
    noise = torch.empty_like(last).exponential_().log()
    return (last - noise).argmax(-1, keepdim=True)


def by_python(last):
    weights = last.softmax(-1).tolist()
    tokens = range(last.shape[1])
    return torch.tensor([random.choices(tokens, row) for row in weights])


@pytest.mark.parametrize(
    "draw",
    [
        lambda last: torch.multinomial(last.softmax(-1), 1),
        lambda last: torch.multinomial((last / 1.5).softmax(-1), 1),
        lambda last: torch.randint(last.shape[1], (len(last), 1)),
        by_gumbel,
        by_python,
    ],
)
def test_drawing_has_one_name(draw):
    report = check.generate_text_simple(version(choose=draw))
    assert report.mistake == "a token that is drawn by chance"


def test_same_mistakes_by_other_ways_are_named():
    versions = {
        "a missing no_grad": lambda model, idx, n, size: version(
            guard=torch.enable_grad, last=lambda logits: logits[:, -1].detach()
        )(model, idx, n, size),
        "a single row of new ids": chosen(lambda last: last.argmax(keepdim=True)),
        "the largest score without its sign": chosen(
            lambda last: (last**2).argmax(-1, keepdim=True)
        ),
        "argmin": chosen(lambda last: last.argsort(-1)[:, :1]),
        "a mean over the positions": version(last=lambda logits: logits.sum(1)),
    }
    for name, function in versions.items():
        assert check.generate_text_simple(function).mistake == name


def test_sample_report():
    report = check.generate_text_simple(version(last=lambda logits: logits[:, 0]))
    lines = report.text.splitlines()
    assert lines[1] == (
        '  Probe "three tokens after 13, 17, 15", at [0, 3]: yours 51, expected 16'
    )
    assert "looks like a token chosen by the logits of position 0:" in report.text


@pytest.mark.parametrize("wrong", [nn.Linear, gpt_from_scratch.GPTModel])
def test_class_in_the_functions_place(wrong):
    report = check.generate_text_simple(wrong)
    assert "this is a class. Give the function" in report.text
