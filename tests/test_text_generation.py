"""Section 4.7: greedy decoding, and what goes beyond it."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gpt_from_scratch import (
    GPTConfig,
    GPTModel,
    generate,
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


# generate


@pytest.fixture
def model(small_config):
    """A small model with large matrices, so that it does not soon repeat itself."""
    torch.manual_seed(123)
    model = GPTModel(small_config)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter)
    return model.eval()


class Successor(GPTModel):
    """Score the last id + 1 highest, then + 2, and so on, each by 1 less."""

    def forward(self, in_idx, *, cache=None, last_only=False):
        if cache is not None:
            cache.num_tokens += in_idx.shape[1]
        vocab_size = self.cfg["vocab_size"]
        distance = torch.arange(vocab_size) - in_idx[:, -1:, None] - 1  # (B, 1, V)
        return -(distance % vocab_size).float()


@pytest.fixture
def successor(small_config):
    return Successor({**small_config, "vocab_size": 10})


@given(cfg=st.from_type(GPTConfig), data=st.data())
def test_with_and_without_cache_the_plain_loops_tokens(randomize, cfg, data):
    """For every prompt length and batch size, also beyond the context."""
    model = randomize(GPTModel(cfg), seed=data.draw(st.integers(0, 99))).eval()
    context_size = data.draw(st.integers(1, cfg["context_length"]))
    length = data.draw(st.integers(1, cfg["context_length"] + 3))
    new = data.draw(st.integers(0, 2 * cfg["context_length"]))
    token_ids = st.integers(0, cfg["vocab_size"] - 1)
    texts = st.lists(token_ids, min_size=length, max_size=length)
    ids = torch.tensor(data.draw(st.lists(texts, min_size=1, max_size=3)))
    expected = generate_text_simple(model, ids, new, context_size)
    for use_cache in (True, False):
        found = generate(
            model, ids, new, context_size=context_size, use_cache=use_cache
        )
        assert torch.equal(found, expected)


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("context_size", [None, 4])
def test_far_beyond_the_context(model, context_size, use_cache):
    ids = torch.tensor([[1, 2, 3], [50, 40, 30]])
    found = generate(model, ids, 30, context_size=context_size, use_cache=use_cache)
    assert torch.equal(found, generate_text_simple(model, ids, 30, context_size or 7))
    assert found[:, 3:].unique().numel() > 3


def test_published_continuation_with_cache(model_124m):
    ids = torch.tensor([[15496, 11, 314, 716]])
    found = generate(model_124m, ids, 6)
    assert found[0, 4:].tolist() == [27018, 24086, 47843, 30961, 42348, 7267]


def seen_lengths(model, ids, new, **options):
    """Tell how many tokens the model is given at each step."""
    lengths = []
    hook = model.drop_emb.register_forward_pre_hook(
        lambda _, args: lengths.append(args[0].shape[1])
    )
    generate(model, ids, new, **options)
    hook.remove()
    return lengths


def test_the_work_of_each_step(model):
    """With the cache one token a step, until the window of 7 slides."""
    ids = torch.tensor([[1, 2, 3]])
    assert seen_lengths(model, ids, 7) == [3, 1, 1, 1, 1, 7, 7]
    assert seen_lengths(model, ids, 7, use_cache=False) == [3, 4, 5, 6, 7, 7, 7]
    assert seen_lengths(model, ids, 4, context_size=4) == [3, 1, 4, 4]
    assert seen_lengths(model, torch.ones(1, 9).long(), 2) == [7, 7]
    assert seen_lengths(model, ids, 0) == []


@pytest.mark.parametrize("use_cache", [True, False])
def test_only_the_last_position_is_scored(model, use_cache):
    shapes = []
    model.out_head.register_forward_pre_hook(
        lambda _, args: shapes.append(args[0].shape)
    )
    generate(model, torch.tensor([[1, 2, 3]]), 6, use_cache=use_cache)
    assert shapes == [(1, 1, 12)] * 6


@pytest.mark.parametrize("use_cache", [True, False])
def test_sampling_is_reproducible(model, use_cache):
    """The same generator's seed gives the same text; the global one is left alone."""
    ids = torch.tensor([[1, 2], [3, 4]])
    texts = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(texts))
        before = torch.get_rng_state()
        generator = torch.Generator().manual_seed(seed)
        texts.append(
            generate(
                model,
                ids,
                12,
                temperature=2.0,
                generator=generator,
                use_cache=use_cache,
            )
        )
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(texts[0], texts[1])
    assert not torch.equal(texts[0], texts[2])


def test_sampling_by_the_global_generator(model):
    ids = torch.tensor([[1, 2]])
    texts = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        texts.append(generate(model, ids, 12, temperature=2.0).tolist())
    assert texts[0] == texts[1] != texts[2]


def shares(model, num_texts=20_000, **options):
    """Count how often each token is drawn after token 9, as a fraction."""
    generator = torch.Generator().manual_seed(123)
    ids = torch.full((num_texts, 1), 9)
    drawn = generate(model, ids, 1, generator=generator, **options)[:, 1]
    return drawn.bincount(minlength=10) / num_texts


@pytest.mark.parametrize("temperature", [0.5, 1, 3.0])
def test_temperature(successor, temperature):
    """The shares of the tokens drawn are those of the formula."""
    expected = torch.softmax(-torch.arange(10.0) / temperature, dim=0)
    found = shares(successor, temperature=temperature)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.015)


def test_top_k(successor):
    """Scores 0, -1, -2 are left; their probabilities then add up to 1."""
    expected = torch.zeros(10)
    expected[:3] = torch.softmax(torch.tensor([0.0, -1.0, -2.0]), dim=0)
    found = shares(successor, temperature=1.0, top_k=3)
    assert found[3:].sum() == 0
    torch.testing.assert_close(found, expected, rtol=0, atol=0.015)


def test_top_1_is_greedy(model):
    ids = torch.tensor([[1, 2]])
    assert torch.equal(
        generate(model, ids, 12, temperature=5.0, top_k=1), generate(model, ids, 12)
    )


def test_more_candidates_than_tokens_are_all_tokens(model):
    texts = []
    for top_k in (None, 53, 1000):
        generator = torch.Generator().manual_seed(123)
        ids = torch.tensor([[1, 2]])
        options = {"temperature": 3.0, "top_k": top_k, "generator": generator}
        texts.append(generate(model, ids, 12, **options).tolist())
    assert texts[0] == texts[1] == texts[2]


def test_equal_scores_leave_exactly_k(successor):
    successor.forward = lambda ids, **_: torch.zeros(*ids.shape, 10)
    assert (shares(successor, temperature=1.0, top_k=4, use_cache=False) > 0).sum() == 4


@pytest.mark.parametrize("temperature", [1e-3, 1e-45, 5e-324])
def test_a_tiny_temperature_is_greedy(model, temperature):
    """And does not overflow."""
    ids = torch.tensor([[1, 2]])
    found = generate(model, ids, 12, temperature=temperature)
    assert torch.equal(found, generate(model, ids, 12))


def test_a_huge_temperature_makes_all_alike(successor):
    found = shares(successor, temperature=1e30)
    torch.testing.assert_close(found, torch.full((10,), 0.1), rtol=0, atol=0.01)


def test_end_of_text(successor):
    """Two texts end at token 7, after one and after four steps; the first is filled."""
    ids = torch.tensor([[5, 6], [2, 3]])
    found = generate(successor, ids, 20, context_size=4, eos_id=7)
    assert found.tolist() == [[5, 6, 7, 7, 7, 7], [2, 3, 4, 5, 6, 7]]


def test_end_of_text_in_the_prompt_ends_nothing(successor):
    found = generate(successor, torch.tensor([[7, 7]]), 2, eos_id=7)
    assert found.tolist() == [[7, 7, 8, 9]]


def test_end_of_text_not_reached(successor):
    found = generate(successor, torch.tensor([[5], [1]]), 3, eos_id=7)
    assert found.tolist() == [[5, 6, 7, 7], [1, 2, 3, 4]]


def test_without_end_of_text_nothing_ends(successor):
    found = generate(successor, torch.tensor([[6]]), 5)
    assert found.tolist() == [[6, 7, 8, 9, 0, 1]]


def test_progress(successor):
    """What is passed on is what is added, step by step, filled up and all."""
    steps = []
    ids = torch.tensor([[5, 6], [4, 5]])
    out = generate(successor, ids, 9, eos_id=7, on_token=steps.append)
    assert [step.tolist() for step in steps] == [[[7], [6]], [[7], [7]]]
    assert torch.equal(torch.cat([ids, *steps], dim=1), out)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("stopped", [True, False])
def test_the_mode_of_every_part_is_restored(small_config, training, stopped):
    """Even of one that is in another mode than the rest, even after an exception."""
    model = GPTModel({**small_config, "drop_rate": 0.5}).train(training)
    model.trf_blocks[1].train(not training)
    modes = {name: part.training for name, part in model.named_modules()}
    seen = []

    def on_token(_):
        seen.append(any(part.training for part in model.modules()))
        if stopped:
            raise KeyboardInterrupt

    ids = torch.tensor([[1, 2]])
    if stopped:
        with pytest.raises(KeyboardInterrupt):
            generate(model, ids, 3, on_token=on_token)
    else:
        generate(model, ids, 3, on_token=on_token)
    assert seen == [False] * (1 if stopped else 3)
    assert {name: part.training for name, part in model.named_modules()} == modes


def test_dropout_is_off(small_config):
    model = GPTModel({**small_config, "drop_rate": 0.9}).train()
    ids = torch.tensor([[1, 2]])
    expected = generate(model.eval(), ids, 12)
    assert torch.equal(generate(model.train(), ids, 12), expected)


def test_generate_records_no_gradients(model):
    grad_modes = []
    model.drop_emb.register_forward_pre_hook(
        lambda *_: grad_modes.append(torch.is_grad_enabled())
    )
    generate(model, torch.tensor([[1]]), 3)
    assert grad_modes == [False] * 3
    assert torch.is_grad_enabled()


def test_generate_leaves_the_callers_ids(model):
    ids = torch.tensor([[1, 2]])
    generate(model, ids, 3, eos_id=2)
    assert ids.tolist() == [[1, 2]]


def test_int32_ids(model):
    found = generate(model, torch.tensor([[1, 2]], dtype=torch.int32), 3)
    assert torch.equal(found.long(), generate(model, torch.tensor([[1, 2]]), 3))


def test_bfloat16(model):
    ids = torch.tensor([[1, 2, 3]])
    options = {"temperature": 1.0, "top_k": 5}
    torch.manual_seed(123)
    found = generate(model.bfloat16(), ids, 9, **options)
    torch.manual_seed(123)
    without = generate(model, ids, 9, use_cache=False, **options)
    assert found.shape == without.shape == (1, 12)


def test_autocast(model):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert generate(model, torch.tensor([[1, 2, 3]]), 9).shape == (1, 12)


def test_inference_mode(model):
    ids = torch.tensor([[1, 2]])
    with torch.inference_mode():
        found = generate(model, ids, 9)
    assert torch.equal(found, generate(model, ids, 9))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_new_tokens": -1}, ValueError, "^max_new_tokens must be at least 0, got"),
        ({"max_new_tokens": 2.0}, TypeError, "^max_new_tokens must be an integer"),
        ({"context_size": 0}, ValueError, "^context_size must be at least 1, got 0$"),
        (
            {"context_size": 8},
            ValueError,
            "^context_size must be at most context_length=7, got 8$",
        ),
        ({"context_size": 2.5}, TypeError, "^context_size must be an integer, got 2.5"),
        (
            {"temperature": -0.5},
            ValueError,
            r"^temperature must be .* >= 0, got -0\.5$",
        ),
        ({"temperature": math.nan}, ValueError, "^temperature must be .* got nan$"),
        ({"temperature": math.inf}, ValueError, "^temperature must be .* got inf$"),
        ({"temperature": "hot"}, TypeError, "^temperature must be a number, got 'hot'"),
        ({"temperature": None}, TypeError, "^temperature must be a number, got None"),
        ({"temperature": True}, TypeError, "^temperature must be a number, got True"),
        ({"top_k": 0}, ValueError, "^top_k must be at least 1, got 0$"),
        ({"top_k": 1.5}, TypeError, r"^top_k must be an integer, got 1\.5$"),
        ({"eos_id": -1}, ValueError, "^eos_id must be at least 0, got -1$"),
        (
            {"eos_id": 53},
            ValueError,
            "^eos_id must be in the vocabulary, from 0 to 52, got 53$",
        ),
        ({"idx": torch.tensor([1, 2])}, ValueError, "add the batch dimension"),
        ({"idx": torch.ones(1, 0).long()}, ValueError, "hold no token"),
        ({"idx": torch.ones(0, 2).long()}, ValueError, r"^no text .* shape \(0, 2\)$"),
        ({"idx": torch.ones(1, 2)}, TypeError, "must be torch.int64 or torch.int32"),
        ({"idx": torch.tensor([[53]])}, ValueError, "^token id 53 is not in the voc"),
    ],
)
def test_generate_refuses(model, options, error, message):
    """Before anything is computed, even if nothing is to be added."""
    model.drop_emb.register_forward_pre_hook(lambda *_: pytest.fail("computed"))
    arguments = {"idx": torch.tensor([[1]]), "max_new_tokens": 3, **options}
    with pytest.raises(error, match=message):
        generate(model, **arguments)
    if "max_new_tokens" not in options:
        with pytest.raises(error, match=message):
            generate(model, **{**arguments, "max_new_tokens": 0})


def test_generate_needs_the_model():
    with pytest.raises(TypeError, match=r"^model must be a GPTModel, got Stub; gener"):
        generate(Stub(), torch.tensor([[1]]), 2)
