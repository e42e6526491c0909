"""What the check knows of ``MultiHeadAttention`` (4.5): its probes."""

import math

import torch
from torch import Tensor, nn

from gpt_from_scratch.attention import MultiHeadAttention
from gpt_from_scratch.check.component import Component
from gpt_from_scratch.check.make import Built, Make
from gpt_from_scratch.check.weights import numbers

MULTI_HEAD_ATTENTION = Component(
    "MultiHeadAttention",
    MultiHeadAttention,
    usual_names={
        other: ours
        for ours, others in {
            "W_query": "q query queries to_q to_queries q_proj query_proj Wq W_q "
            "w_q wq W_Q W_queries lin_q linear_q",
            "W_key": "k key keys to_k to_keys k_proj key_proj Wk W_k w_k wk "
            "W_K W_keys lin_k linear_k",
            "W_value": "v value values to_v to_values v_proj value_proj Wv W_v "
            "w_v wv W_V W_values lin_v linear_v",
            "out_proj": "o out output to_out o_proj c_proj proj projection Wo W_o "
            "w_o wo W_O W_out fc_out out_linear linear_out output_projection",
        }.items()
        for other in others.split()
    },
    heads=lambda d_in, d_out, context_length, dropout, num_heads, *_: num_heads,
)


# Weights that let the attention weights be seen.


def see_weights(attention: MultiHeadAttention) -> None:
    """X-ray: for tokens that are one-hot, the output is the table of weights.

    Of head h, number s of what comes out for token t is the weight that t gives to s.
    Queries and keys stay random.
    """
    head_dim = attention.head_dim
    nn.init.zeros_(attention.W_value.weight)
    if attention.W_value.bias is not None:
        nn.init.zeros_(attention.W_value.bias)
    for place in range(attention.d_out):
        token = place % head_dim % attention.d_in
        attention.W_value.weight.data[place, token] = 1.0
    nn.init.eye_(attention.out_proj.weight)
    nn.init.zeros_(attention.out_proj.bias)


def _queries_and_keys(attention: MultiHeadAttention, keys: list[list[float]]) -> None:
    """Give head h and token s a score of keys[h][s] after scaling, for every query."""
    see_weights(attention)
    nn.init.zeros_(attention.W_query.weight)
    nn.init.zeros_(attention.W_key.weight)
    for head, of_tokens in enumerate(keys):
        place = head * attention.head_dim
        attention.W_query.weight.data[place] = math.sqrt(attention.head_dim)
        attention.W_key.weight.data[place, : len(of_tokens)] = torch.tensor(of_tokens)


def quarters(attention: MultiHeadAttention) -> None:
    """Let softmax give the second token 3/4, 1/2 and 1/4 in the three heads."""
    log3 = math.log(3)
    _queries_and_keys(attention, [[0.0, log3], [0.0, 0.0], [log3, 0.0]])


def thousands(attention: MultiHeadAttention) -> None:
    """Make scores that are large, that are far below 0, and that are far apart."""
    keys = [[512.0, 513.0], [0.0, 2e3], [-2048.0, -2049.0], [-256.0] * 2, [-64.0] * 2]
    _queries_and_keys(attention, keys)


def even(attention: MultiHeadAttention) -> None:
    """Let each token share evenly among those that it sees: every score is 1."""
    _queries_and_keys(attention, [[1.0] * attention.d_in] * attention.num_heads)


def by_head(output: Tensor, heads: int) -> dict[str, object]:
    """Cut the output for one text into its heads."""
    found: dict[str, object] = {"shape": str(tuple(output.shape))}
    for head, part in enumerate(output[0].chunk(heads, dim=-1)):
        found[f"head {head}"] = part
    return found


def one_hot(tokens: int, features: int) -> Tensor:
    """One text, in which each token has a feature of its own."""
    return torch.eye(features)[None, :tokens]


# Probes: first those whose numbers can be worked out on paper.


@MULTI_HEAD_ATTENTION.probe("shares of two tokens, in three heads")
def _shares_of_two_tokens(make: Make) -> object:
    """In row 1: 1/4 and 3/4, then 1/2 and 1/2, then 3/4 and 1/4."""
    return by_head(make(2, 12, 5, 0.0, 3, weights=quarters)(one_hot(2, 2)), 3)


@MULTI_HEAD_ATTENTION.probe("the first token of a text")
def _the_first_token(make: Make) -> object:
    """It sees itself alone: its own value, through the output projection."""
    return make(10, 12, 7, 0.0, 3)(numbers(2, 5, 10, seed=1))[:, 0]


@MULTI_HEAD_ATTENTION.probe("weights of random queries and keys")
def _weights_of_random_queries_and_keys(make: Make) -> object:
    attention = make(6, 18, 7, 0.0, 3, True, weights=see_weights_biased)
    return by_head(attention(2 * one_hot(5, 6)), 3)


def see_weights_biased(attention: MultiHeadAttention) -> None:
    """The X-ray, with known random queries and keys."""
    see_weights(attention)
    for seed, layer in enumerate((attention.W_query, attention.W_key)):
        layer.weight.data = numbers(*layer.weight.shape, seed=20 + seed) / 2
        layer.bias.data = numbers(*layer.bias.shape, seed=30 + seed) / 2


@MULTI_HEAD_ATTENTION.probe("parameters")
def _parameters(make: Make) -> object:
    return {
        "qkv_bias=False": make(10, 12, 7, 0.0, 3, False).parameters(),
        "qkv_bias=True": make(10, 12, 7, 0.0, 3, True).parameters(),
        "qkv_bias left out": make(10, 12, 7, 0.0, 3).parameters(),
    }


@MULTI_HEAD_ATTENTION.probe("queries, keys and values before training")
def _before_training(make: Make) -> object:
    start = make(10, 12, 7, 0.0, 3, weights=None).initial()
    return {
        name: "all the same" if _is_constant(value) else "random numbers"
        for name, value in start.items()
        if name.startswith("W_") and isinstance(value, Tensor)
    }


def _is_constant(value: Tensor) -> bool:
    return bool((value == value.flatten()[0]).all())


@MULTI_HEAD_ATTENTION.probe("a batch of texts")
def _a_batch_of_texts(make: Make) -> object:
    return make(10, 12, 7, 0.0, 3)(numbers(2, 5, 10, seed=2))


@MULTI_HEAD_ATTENTION.probe("with biases of queries, keys and values")
def _with_biases(make: Make) -> object:
    return make(10, 12, 7, 0.0, 3, True)(numbers(2, 5, 10, seed=3))


@MULTI_HEAD_ATTENTION.probe("texts of other lengths")
def _texts_of_other_lengths(make: Make) -> object:
    attention = make(10, 12, 7, 0.0, 3)
    return {
        f"{length} of 7 tokens": attention(numbers(2, length, 10, seed=4))
        for length in (7, 1, 6, 2, 3)
    }


@MULTI_HEAD_ATTENTION.probe("other sizes")
def _other_sizes(make: Make) -> object:
    sizes = [(12, 12, 7, 3), (5, 8, 4, 1), (9, 4, 6, 4), (4, 10, 9, 2), (9, 9, 3, 3)]
    return {
        f"d_in {d_in}, d_out {d_out}, {heads} heads": make(
            d_in, d_out, context_length, 0.0, heads
        )(numbers(3, 3, d_in, seed=5))
        for d_in, d_out, context_length, heads in sizes
    }


@MULTI_HEAD_ATTENTION.probe("one token changed")
def _one_token_changed(make: Make) -> object:
    """It and those after it move, in its own text."""
    return moved(make(10, 12, 7, 0.0, 3), 10)


def moved(built: Built, features: int) -> dict[str, object]:
    """Say which tokens' results move if token 3 of text 1 is changed."""
    x = numbers(2, 6, features, seed=6)
    changed = x.clone()
    changed[1, 3] = numbers(features, seed=7)
    moves = (built(changed) - built(x)).abs().amax(dim=-1) > 1e-6  # (2, 6)
    return {
        f"text {text}, token {token}": "moves" if moves[text, token] else "stays"
        for text in range(2)
        for token in range(6)
    }


@MULTI_HEAD_ATTENTION.probe("large scores", rtol=1e-3, atol=1e-3)
def _large_scores(make: Make) -> object:
    return by_head(make(2, 20, 6, 0.0, 5, weights=thousands)(one_hot(2, 2)), 5)


@MULTI_HEAD_ATTENTION.probe("gradients", atol=1e-4)
def _gradients(make: Make) -> object:
    return make(10, 12, 7, 0.0, 3, True).gradients(numbers(2, 5, 10, seed=8))


@MULTI_HEAD_ATTENTION.probe("training mode without dropout")
def _training_mode_without_dropout(make: Make) -> object:
    attention = make(10, 12, 7, 0.0, 3)
    attention.train()
    x = numbers(2, 5, 10, seed=9)
    return {"first call": attention(x), "second call": attention(x + 1)}


@MULTI_HEAD_ATTENTION.probe("dropout of a quarter")
def _dropout_of_a_quarter(make: Make) -> object:
    """In training, each weight is 0 or 4/3 of what it was.

    Each value is there twice, so it shows whether a weight is dropped or a number.
    """
    attention = make(10, 60, 10, 0.25, 3, weights=even)
    x = one_hot(10, 10).repeat(60, 1, 1)
    visible = torch.ones(10, 10).tril()[:, None, None]  # (token, 1, 1, seen token)

    def weights() -> Tensor:
        """As multiples of what they are without dropout, (B, T, heads, copy, T)."""
        per_token = torch.arange(1.0, 11.0)[:, None, None, None]
        return attention(x).detach().view(60, 10, 3, 2, 10) * per_token

    calm = weights()
    attention.train()
    first, second = weights(), weights()
    seen = visible.expand_as(first) > 0
    return {
        "eval mode": "all there"
        if torch.allclose(calm, visible.expand_as(calm), atol=1e-4)
        else "others than without dropout",
        "training mode": levels(first[seen]),
        "dropped": percent(first[seen] == 0),
        "both copies of a value": "treated alike"
        if torch.equal(first[:, :, :, 0], first[:, :, :, 1])
        else "not treated alike",
        "later tokens": "not seen" if (first[~seen] == 0).all() else "seen",
        "the tokens": same(first[:, 8, ..., :9], first[:, 9, ..., :9]),
        "the heads": same(first[:, :, 0], first[:, :, 1]),
        "the texts": same(first[0], first[1]),
        "two calls": same(first, second),
    }


def levels(values: Tensor) -> str:
    """List the different values, if they are few."""
    rounded = values.double().round(decimals=3) + 0.0  # no -0.0
    few = [f"{value:.3f}" for value in sorted(set(rounded.flatten().tolist()))]
    return "many different values" if len(few) > 4 else f"times {' or '.join(few)}"


def percent(dropped: Tensor) -> str:
    """Say how many are dropped: so roughly that any mask gives the same."""
    return f"about {5 * round(20 * dropped.double().mean().item())} %"


def same(one: Tensor, other: Tensor) -> str:
    """Say whether dropout took the same."""
    return "the same dropped" if torch.equal(one, other) else "others dropped"


@MULTI_HEAD_ATTENTION.probe("nothing else changes")
def _nothing_else_changes(make: Make) -> object:
    return make(10, 12, 7, 0.0, 3).side_effects(
        numbers(2, 5, 10, seed=10), numbers(1, 3, 10, seed=11)
    )


@MULTI_HEAD_ATTENTION.probe("on another device")
def _on_another_device(make: Make) -> object:
    there = make(10, 12, 7, 0.0, 3).on_another_device(numbers(2, 5, 10, seed=12))
    return {"moved there": there}


@MULTI_HEAD_ATTENTION.probe("many random tokens")
def _many_random_tokens(make: Make) -> object:
    x = numbers(4, 11, 20, seed=13, low=-5, high=5)
    return make(20, 30, 11, 0.0, 5, True)(x)
