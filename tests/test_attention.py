"""Chapter 3: causal multi-head attention."""

import math
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gpt_from_scratch import GPT_CONFIG_124M, MultiHeadAttention, count_parameters


def build(d_in=8, d_out=12, context_length=7, dropout=0.0, num_heads=3, qkv_bias=False):
    return MultiHeadAttention(
        d_in, d_out, context_length, dropout, num_heads, qkv_bias=qkv_bias
    )


def x_ray(d, num_heads, **kwargs):
    """Build attention whose value and output layers copy, so the weights show."""
    attention = build(d, d, d, num_heads=num_heads, **kwargs).double()
    with torch.no_grad():
        attention.W_value.weight.copy_(torch.eye(d))
        attention.out_proj.weight.copy_(torch.eye(d))
        attention.out_proj.bias.zero_()
    return attention


@pytest.mark.parametrize("qkv_bias", [False, True])
@pytest.mark.parametrize("num_tokens", [1, 2, 5, 7])
@pytest.mark.parametrize("num_heads", [1, 3, 12])
def test_equal_to_scores_mask_and_softmax_spelled_out(
    randomize, plain, qkv_bias, num_tokens, num_heads
):
    """The plain version's state dict, with its mask, loads without a complaint."""
    spelled_out = randomize(plain.Attention(8, 12, 7, num_heads, qkv_bias))
    attention = build(num_heads=num_heads, qkv_bias=qkv_bias).double()
    attention.load_state_dict(spelled_out.state_dict())
    torch.manual_seed(123)
    x = torch.randn(2, num_tokens, 8, dtype=torch.float64)
    torch.testing.assert_close(attention(x), spelled_out(x), rtol=1e-11, atol=1e-11)


def test_gradients_equal_those_of_the_plain_version(randomize, plain):
    spelled_out = randomize(plain.Attention(8, 12, 7, 3, True))
    attention = build(qkv_bias=True).double()
    attention.load_state_dict(spelled_out.state_dict())
    torch.manual_seed(123)
    x = torch.randn(2, 5, 8, dtype=torch.float64, requires_grad=True)
    found, expected = (
        torch.autograd.grad(module(x).square().sum(), [x, *module.parameters()])
        for module in (attention, spelled_out)
    )
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_equal_to_pytorchs_multi_head_attention(randomize):
    attention = randomize(build(12, 12, num_heads=3, qkv_bias=True))
    theirs = nn.MultiheadAttention(12, 3, batch_first=True, dtype=torch.float64)
    qkv = [attention.W_query, attention.W_key, attention.W_value]
    theirs.load_state_dict(
        {
            "in_proj_weight": torch.cat([layer.weight for layer in qkv]),
            "in_proj_bias": torch.cat([layer.bias for layer in qkv]),
            "out_proj.weight": attention.out_proj.weight,
            "out_proj.bias": attention.out_proj.bias,
        }
    )
    torch.manual_seed(123)
    x = torch.randn(2, 6, 12, dtype=torch.float64)
    future = torch.ones(6, 6, dtype=torch.bool).triu(diagonal=1)
    expected, _ = theirs(x, x, x, attn_mask=future, need_weights=False)
    torch.testing.assert_close(attention(x), expected, rtol=1e-11, atol=1e-11)


def test_two_tokens_by_hand():
    """One head of 4: scores 4 and 8, over sqrt(4) 2 and 4: weights 1 : e^2."""
    attention = x_ray(4, num_heads=1)
    with torch.no_grad():
        attention.W_query.weight.copy_(torch.eye(4))
        attention.W_key.weight.copy_(torch.eye(4))
    x = torch.tensor([[[2.0, 0, 0, 0], [2.0, 2.0, 0, 0]]], dtype=torch.float64)
    second = math.exp(2) / (1 + math.exp(2))
    expected = torch.tensor([[[2.0, 0, 0, 0], [2.0, 2 * second, 0, 0]]])
    torch.testing.assert_close(attention(x), expected.double())


def test_equal_scores_share_equally():
    """Queries of 0: token t gives 1 / (t + 1) to itself and each token before it."""
    attention = x_ray(4, num_heads=1)
    nn.init.zeros_(attention.W_query.weight)
    weights = attention(torch.eye(4, dtype=torch.float64)[None])[0]
    expected = torch.tensor(
        [[1, 0, 0, 0], [1 / 2] * 2 + [0] * 2, [1 / 3] * 3 + [0], [1 / 4] * 4]
    )
    torch.testing.assert_close(weights, expected.double())


def test_weights_are_a_lower_triangle_with_rows_of_sum_1():
    torch.manual_seed(123)
    weights = x_ray(6, num_heads=1)(torch.eye(6, dtype=torch.float64)[None])[0]
    assert torch.equal(weights, weights.tril())
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(6).double())
    assert weights.tril().gt(0).sum() == 21


def test_first_token_sees_only_itself(randomize):
    """Its output is out_proj(W_value(x)), whatever queries and keys are."""
    attention = randomize(build(qkv_bias=True))
    torch.manual_seed(123)
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    expected = attention.out_proj(attention.W_value(x[:, 0]))
    torch.testing.assert_close(attention(x)[:, 0], expected)


def test_heads_read_their_own_columns(randomize):
    """What the third head's query weighs differently changes its columns alone."""
    attention = randomize(build())
    with torch.no_grad():
        attention.out_proj.weight.copy_(torch.eye(12))
    torch.manual_seed(123)
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    before = attention(x)
    with torch.no_grad():
        attention.W_query.weight[8:] *= -1
    moved = (attention(x) - before).abs().amax(dim=(0, 1)) > 1e-6
    assert moved.tolist() == [False] * 8 + [True] * 4


@given(st.data())
def test_a_token_moves_itself_and_what_follows(randomize, data):
    """Neither an earlier token nor another text of the batch."""
    num_heads = data.draw(st.integers(1, 3))
    d_out = num_heads * data.draw(st.integers(1, 4))
    attention = randomize(build(5, d_out, 9, num_heads=num_heads))
    num_tokens = data.draw(st.integers(1, 9))
    b, t = data.draw(st.integers(0, 1)), data.draw(st.integers(0, num_tokens - 1))
    torch.manual_seed(123)
    x = torch.randn(2, num_tokens, 5, dtype=torch.float64)
    changed = x.clone()
    changed[b, t] += 1
    moved = (attention(x) - attention(changed)).abs().amax(dim=-1) > 1e-9
    expected = torch.zeros(2, num_tokens, dtype=torch.bool)
    expected[b, t:] = True
    assert torch.equal(moved, expected)


@pytest.mark.parametrize("num_tokens", [1, 3, 7])
def test_a_prefix_gives_the_same_output(randomize, num_tokens):
    """How many tokens follow, up to context_length, makes no difference."""
    attention = randomize(build())
    torch.manual_seed(123)
    x = torch.randn(2, 7, 8, dtype=torch.float64)
    out = attention(x[:, :num_tokens])
    torch.testing.assert_close(out, attention(x)[:, :num_tokens])


def test_input_that_is_not_contiguous(randomize):
    attention = randomize(build())
    torch.manual_seed(123)
    x = torch.randn(8, 5, 2, dtype=torch.float64)
    x = x.permute(2, 1, 0)
    torch.testing.assert_close(attention(x), attention(x.contiguous()))


# Dropout


def test_dropout_drops_attention_weights():
    """A lone token's weight is 1: each head gives 0 or, made up for, twice the value.

    Dropout on the scores would give the value itself every time.
    """
    attention = x_ray(6, num_heads=3, dropout=0.5)
    torch.manual_seed(123)
    x = 1 + torch.rand(200, 1, 6, dtype=torch.float64)
    factors = (attention(x) / x).view(200, 3, 2)
    torch.testing.assert_close(factors, 2 * (factors > 1).double())
    assert torch.equal(factors[..., 0] > 1, factors[..., 1] > 1)  # whole heads
    assert 0.3 < (factors > 1).double().mean() < 0.7


def test_dropout_only_in_training():
    torch.manual_seed(123)
    attention = build(dropout=0.5)
    x = torch.randn(2, 5, 8)
    assert attention.dropout.p == 0.5
    assert not torch.equal(attention(x), attention(x))
    attention.eval()
    assert torch.equal(attention(x), attention(x))


# Parameters


def test_published_number_of_parameters():
    with torch.device("meta"):
        attention = MultiHeadAttention(768, 768, 1024, 0.1, 12)
    assert count_parameters(attention) == 2_360_064
    assert GPT_CONFIG_124M["emb_dim"] == 768


@pytest.mark.parametrize("qkv_bias", [False, True])
def test_state_dict_has_the_known_names_and_no_mask(qkv_bias):
    names = []
    for layer in ("W_query", "W_key", "W_value"):
        names += [f"{layer}.weight"] + [f"{layer}.bias"] * qkv_bias
    names += ["out_proj.weight", "out_proj.bias"]
    assert list(build(qkv_bias=qkv_bias).state_dict()) == names


def test_no_qkv_bias_unless_asked_for():
    assert MultiHeadAttention(8, 12, 7, 0.0, 3).W_query.bias is None


def test_order_of_creation():
    torch.manual_seed(123)
    attention = build(qkv_bias=True)
    torch.manual_seed(123)
    expected = [nn.Linear(8, 12), nn.Linear(8, 12), nn.Linear(8, 12), nn.Linear(12, 12)]
    found = [
        attention.W_query,
        attention.W_key,
        attention.W_value,
        attention.out_proj,
    ]
    for layer, layer_expected in zip(found, expected, strict=True):
        assert torch.equal(layer.weight, layer_expected.weight)
        assert torch.equal(layer.bias, layer_expected.bias)


def test_gradients_reach_every_parameter(randomize):
    """A key bias has none: it moves all scores of a token by the same amount."""
    attention = randomize(build(qkv_bias=True))
    torch.manual_seed(123)
    attention(torch.randn(2, 5, 8).double()).square().sum().backward()
    for name, parameter in attention.named_parameters():
        assert (parameter.grad.abs().max() > 1e-9) == (name != "W_key.bias"), name


# State dicts of other implementations


def test_mask_of_another_implementation_is_passed_over(plain):
    state_dict = plain.Attention(8, 12, 7, 3, False).state_dict()
    assert "mask" in state_dict
    names = list(state_dict)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = build().load_state_dict(state_dict, strict=True)
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    assert list(state_dict) == names


@pytest.mark.parametrize("name", ["masks", "mask.0", "att.mask", "W_query.mask", "x"])
def test_any_other_surplus_name_is_an_error(name):
    attention = build()
    state_dict = {**attention.state_dict(), name: torch.ones(1)}
    with pytest.raises(RuntimeError, match=f'Unexpected key.*"{name}"'):
        attention.load_state_dict(state_dict)


# Types, devices, errors


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_type_in_and_out(dtype):
    out = build().to(dtype)(torch.ones(2, 3, 8, dtype=dtype))
    assert (out.dtype, out.shape) == (dtype, (2, 3, 12))


def test_meta_device():
    out = build().to("meta")(torch.ones(2, 7, 8, device="meta"))
    assert out.shape == (2, 7, 12)


def test_compiles_to_one_graph(compiled):
    torch.manual_seed(123)
    attention = build()
    x = torch.randn(2, 5, 8)
    torch.testing.assert_close(compiled(attention)(x), attention(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((5, 8), r"^expected an input of shape \(batch, tokens, 8\), got \(5, 8\)$"),
        ((1, 2, 5, 8), r"\(batch, tokens, 8\), got \(1, 2, 5, 8\)$"),
        ((2, 5, 12), r"\(batch, tokens, 8\), got \(2, 5, 12\)$"),
        ((2, 5, 1), r"\(batch, tokens, 8\), got \(2, 5, 1\)$"),
        ((2, 8, 8), r"^8 tokens are more than context_length=7"),
    ],
)
def test_wrong_input(shape, message):
    with pytest.raises(ValueError, match=message):
        build()(torch.ones(shape))


@pytest.mark.parametrize("name", ["d_in", "d_out", "context_length", "num_heads"])
@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (0, ValueError, "must be at least 1, got 0$"),
        (-3, ValueError, "must be at least 1, got -3$"),
        (12.0, TypeError, r"must be an integer, got 12\.0$"),
        (True, TypeError, "must be an integer, got True$"),
    ],
)
def test_wrong_size(name, value, error, message):
    with pytest.raises(error, match=f"^{name} {message}"):
        build(**{name: value})


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 1, 7.5, float("nan")])
def test_wrong_dropout(dropout):
    with pytest.raises(
        ValueError, match=rf"^dropout must be in \[0, 1\), got {dropout}"
    ):
        build(dropout=dropout)


@pytest.mark.parametrize("num_heads", [5, 24])
def test_heads_take_equal_shares(num_heads):
    message = (
        f"^d_out must be divisible by num_heads, got 12 and {num_heads}: each head"
    )
    with pytest.raises(ValueError, match=message):
        build(num_heads=num_heads)
