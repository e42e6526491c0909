"""Section 4.7: greedy decoding."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gpt_from_scratch import (
    GPTConfig,
    GPTModel,
    generate_text_simple,
    load_tokenizer,
    text_to_token_ids,
    token_ids_to_text,
)


class Stub(nn.Module):
    """Vote with the last position for the last id + 1, elsewhere for other tokens."""

    def __init__(self, vocab_size=10):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.vocab_size = vocab_size
        self.seen = []
        self.grad_modes = []
        self.training_modes = []

    def forward(self, idx):
        self.seen.append(idx.tolist())
        self.grad_modes.append(torch.is_grad_enabled())
        self.training_modes.append(self.training)
        votes = torch.full_like(idx, self.vocab_size - 1)  # (B, T)
        votes[:, 0] = self.vocab_size - 2
        votes[:, -1] = (idx[:, -1] + 1) % self.vocab_size
        return nn.functional.one_hot(votes, self.vocab_size) + self.weight


def test_the_last_position_votes():
    out = generate_text_simple(Stub(), torch.tensor([[5, 3]]), 4, context_size=9)
    assert out.tolist() == [[5, 3, 4, 5, 6, 7]]
    assert out.dtype == torch.int64


def test_the_model_is_shown_all_or_the_last_tokens():
    stub = Stub()
    generate_text_simple(stub, torch.tensor([[0, 1], [5, 6]]), 3, context_size=3)
    assert stub.seen == [
        [[0, 1], [5, 6]],
        [[0, 1, 2], [5, 6, 7]],
        [[1, 2, 3], [6, 7, 8]],
    ]


def test_a_prompt_longer_than_the_context_is_kept():
    stub = Stub()
    out = generate_text_simple(stub, torch.tensor([[9, 8, 7, 2]]), 2, context_size=2)
    assert out.tolist() == [[9, 8, 7, 2, 3, 4]]
    assert stub.seen == [[[7, 2]], [[2, 3]]]


def test_a_context_of_one_token():
    stub = Stub()
    out = generate_text_simple(stub, torch.tensor([[1, 2]]), 2, context_size=1)
    assert out.tolist() == [[1, 2, 3, 4]]
    assert stub.seen == [[[2]], [[3]]]


def test_no_new_tokens():
    stub = Stub()
    out = generate_text_simple(stub, torch.tensor([[1, 2]]), 0, context_size=5)
    assert out.tolist() == [[1, 2]]
    assert stub.seen == []


def test_the_highest_score_wins_not_the_highest_chance_drawn():
    """The same continuation whatever the seed."""
    texts = set()
    for seed in range(5):
        torch.manual_seed(seed)
        out = generate_text_simple(Stub(), torch.tensor([[1]]), 5, context_size=5)
        texts.add(tuple(out[0].tolist()))
    assert texts == {(1, 2, 3, 4, 5, 6)}


def test_no_graph_is_built():
    stub = Stub()
    out = generate_text_simple(stub, torch.tensor([[1]]), 3, context_size=5)
    assert stub.grad_modes == [False] * 3
    assert torch.is_grad_enabled()
    assert not out.requires_grad


@pytest.mark.parametrize("training", [False, True])
def test_the_models_mode_is_the_callers(training):
    stub = Stub().train(training)
    generate_text_simple(stub, torch.tensor([[1]]), 2, context_size=5)
    assert stub.training_modes == [training] * 2
    assert stub.training == training


def test_the_callers_ids_are_not_changed():
    ids = torch.tensor([[1, 2]])
    generate_text_simple(Stub(), ids, 3, context_size=2)
    assert ids.tolist() == [[1, 2]]


def test_any_callable_is_a_model():
    stub = Stub()
    out = generate_text_simple(lambda ids: stub(ids), torch.tensor([[1]]), 2, 5)
    assert out.tolist() == [[1, 2, 3]]


@given(cfg=st.from_type(GPTConfig), data=st.data())
def test_each_new_token_has_the_highest_score(randomize, cfg, data):
    """Also beyond context_length; and each text as if it were alone."""
    model = randomize(GPTModel(cfg), seed=data.draw(st.integers(0, 99))).eval()
    context_size = data.draw(st.integers(1, cfg["context_length"]))
    length = data.draw(st.integers(1, cfg["context_length"] + 3))
    new = data.draw(st.integers(0, cfg["context_length"] + 3))
    token_ids = st.integers(0, cfg["vocab_size"] - 1)
    texts = st.lists(token_ids, min_size=length, max_size=length)
    ids = torch.tensor(data.draw(st.lists(texts, min_size=1, max_size=3)))
    out = generate_text_simple(model, ids, new, context_size)
    assert out.shape == (len(ids), length + new)
    assert torch.equal(out[:, :length], ids)
    for b in range(len(ids)):
        for t in range(length, length + new):
            shown = out[b, max(0, t - context_size) : t]
            scores = model(shown[None])[0, -1]
            assert scores[out[b, t]] >= scores.max() - 1e-9


def test_published_continuation(model_124m):
    """The untrained model, seed 123: the first six ids are the book's."""
    tokenizer = load_tokenizer()
    ids = text_to_token_ids("Hello, I am", tokenizer)
    out = generate_text_simple(model_124m, ids, max_new_tokens=10, context_size=1024)
    assert out[0, :4].tolist() == [15496, 11, 314, 716]
    assert out[0, 4:10].tolist() == [27018, 24086, 47843, 30961, 42348, 7267]
    assert token_ids_to_text(out, tokenizer) == (
        "Hello, I am Featureiman Byeswickattribute argue logger Normandy Compton "
        "analogous"
    )


# Errors


@pytest.mark.parametrize(
    ("idx", "error", "message"),
    [
        ([[1]], TypeError, "^token ids must be a tensor, got list"),
        (
            torch.tensor([[1.0]]),
            TypeError,
            r"must be torch\.int64 or torch\.int32, got .*float32",
        ),
        (torch.tensor([1, 2]), ValueError, r"got \(2,\); add the batch dimension"),
        (torch.ones(1, 1, 1).long(), ValueError, r"tokens\), got \(1, 1, 1\)$"),
        (torch.ones(1, 0).long(), ValueError, r"hold no token: shape \(1, 0\); give"),
    ],
)
def test_wrong_prompt(idx, error, message):
    """Even if nothing is to be added to it."""
    for max_new_tokens in (0, 2):
        stub = Stub()
        with pytest.raises(error, match=message):
            generate_text_simple(stub, idx, max_new_tokens, context_size=5)
        assert stub.seen == []


@pytest.mark.parametrize(
    ("max_new_tokens", "context_size", "error", "message"),
    [
        (-1, 5, ValueError, "^max_new_tokens must be at least 0, got -1$"),
        (2.0, 5, TypeError, r"^max_new_tokens must be an integer, got 2\.0$"),
        (True, 5, TypeError, "^max_new_tokens must be an integer, got True$"),
        (None, 5, TypeError, "^max_new_tokens must be an integer, got None$"),
        (2, 0, ValueError, "^context_size must be at least 1, got 0$"),
        (2, -4, ValueError, "^context_size must be at least 1, got -4$"),
        (2, 5.0, TypeError, r"^context_size must be an integer, got 5\.0$"),
    ],
)
def test_wrong_numbers(max_new_tokens, context_size, error, message):
    with pytest.raises(error, match=message):
        generate_text_simple(Stub(), torch.tensor([[1]]), max_new_tokens, context_size)


def test_context_size_beyond_the_models(small_config):
    """Found by the model, once the text is that long."""
    model = GPTModel(small_config)
    with pytest.raises(ValueError, match=r"^8 tokens are more than context_length=7"):
        generate_text_simple(model, torch.tensor([[1]]), 8, context_size=8)


def test_prompt_of_another_vocabulary(small_config):
    with pytest.raises(ValueError, match=r"^token id 53 is not in the vocabulary"):
        generate_text_simple(GPTModel(small_config), torch.tensor([[53]]), 1, 7)
