"""Section 4.6: parameters, storage and operations of models that are never built."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from gpt_from_scratch import (
    GPT2_CONFIGS,
    GPT3_CONFIG,
    GPT_CONFIG_124M,
    GPTConfig,
    GPTModel,
    bytes_kept_for_backward,
    count_parameters,
    flops_per_token,
    kv_cache_bytes_per_token,
    parameter_counts,
    storage_bytes,
    total_parameters,
    training_bytes,
)

DTYPES = [torch.float32, torch.float64, torch.bfloat16]


def build_on_meta(cfg, tied=False):
    with torch.device("meta"):
        model = GPTModel(cfg)
    if tied:
        model.tie_weights()
    return model


# Published numbers


@pytest.mark.parametrize(
    ("name", "untied", "tied"),
    [
        ("gpt2", 163_009_536, 124_412_160),
        ("gpt2-medium", 406_212_608, 354_749_440),
        ("gpt2-large", 838_220_800, 773_891_840),
        ("gpt2-xl", 1_637_792_000, 1_557_380_800),
    ],
)
def test_gpt2_family(name, untied, tied):
    assert total_parameters(GPT2_CONFIGS[name]) == untied
    assert total_parameters(GPT2_CONFIGS[name], tied=True) == tied


def test_gpt2_with_query_key_and_value_biases():
    cfg = {**GPT_CONFIG_124M, "qkv_bias": True}
    assert total_parameters(cfg) == 163_037_184


@pytest.mark.parametrize("tied", [False, True])
def test_gpt3_has_175_billion(tied):
    assert round(total_parameters(GPT3_CONFIG, tied=tied) / 1e9) == 175


def test_storage_of_the_124m_model():
    """621.83 MB (of 2^20 bytes) in float32, half in bfloat16, a quarter in int8."""
    assert f"{storage_bytes(GPT_CONFIG_124M) / 2**20:.2f}" == "621.83"
    assert storage_bytes(GPT_CONFIG_124M, torch.bfloat16) == 2 * 163_009_536
    assert storage_bytes(GPT_CONFIG_124M, torch.int8) == 163_009_536
    assert storage_bytes(GPT_CONFIG_124M, tied=True) == 4 * 124_412_160


def test_components_of_the_124m_model():
    """12 x 2,360,064 in attention, 12 x 4,722,432 in the feed-forward networks."""
    expected = {
        "token embedding": 50257 * 768,
        "position embedding": 1024 * 768,
        "attention": 12 * 2_360_064,
        "feed-forward": 12 * 4_722_432,
        "layer normalization": 25 * 2 * 768,
        "output layer": 768 * 50257,
    }
    counts = parameter_counts(GPT_CONFIG_124M)
    assert counts == expected
    assert list(counts) == list(expected)  # as data flow through the model


def test_flops_by_hand(small_config):
    """2 blocks of 12 x 12 x 12 weights and 2 x 5 x 12 for five tokens; head 12 x 53."""
    expected = 2 * (2 * (12 * 12 * 12 + 2 * 5 * 12) + 12 * 53)
    assert flops_per_token(small_config, 5) == expected == 8664


def test_flops_of_the_whole_context_unless_told(small_config):
    assert flops_per_token(small_config) == flops_per_token(small_config, 7)


def test_kv_cache_by_hand():
    """12 blocks, a key and a value, 768 numbers of 4 bytes."""
    assert kv_cache_bytes_per_token(GPT_CONFIG_124M) == 12 * 2 * 768 * 4 == 73_728


# Against models that are really built


@given(cfg=st.from_type(GPTConfig), tied=st.booleans())
def test_parameters_are_those_of_the_model(cfg, tied):
    model = build_on_meta(cfg, tied)
    assert total_parameters(cfg, tied=tied) == count_parameters(model)
    norms = [model.final_norm]
    attention, feed_forward = [], []
    for block in model.trf_blocks:
        norms += [block.norm1, block.norm2]
        attention.append(block.att)
        feed_forward.append(block.ff)
    assert parameter_counts(cfg, tied=tied) == {
        "token embedding": count_parameters(model.tok_emb),
        "position embedding": count_parameters(model.pos_emb),
        "attention": sum(map(count_parameters, attention)),
        "feed-forward": sum(map(count_parameters, feed_forward)),
        "layer normalization": sum(map(count_parameters, norms)),
        "output layer": 0 if tied else count_parameters(model.out_head),
    }


@given(st.from_type(GPTConfig), st.sampled_from([*DTYPES, torch.int8]), st.booleans())
def test_storage_is_that_of_the_model(cfg, dtype, tied):
    model = build_on_meta(cfg, tied)
    expected = sum(
        torch.empty_like(parameter, dtype=dtype).nbytes
        for parameter in model.parameters()
    )
    assert storage_bytes(cfg, dtype, tied=tied) == expected


@given(cfg=st.from_type(GPTConfig), data=st.data())
def test_flops_are_those_that_pytorch_counts(cfg, data):
    num_tokens = data.draw(st.integers(1, cfg["context_length"]))
    ids = torch.ones(3, num_tokens, dtype=torch.int64, device="meta")
    model = build_on_meta(cfg)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(ids)
    expected = 3 * num_tokens * flops_per_token(cfg, num_tokens)
    assert counter.get_total_flops() == expected


@given(cfg=st.from_type(GPTConfig), dtype=st.sampled_from(DTYPES))
def test_kv_cache_is_that_of_the_keys_and_values(cfg, dtype):
    model = build_on_meta(cfg).to(dtype)
    sizes = []
    for block in model.trf_blocks:
        for layer in (block.att.W_key, block.att.W_value):
            layer.register_forward_hook(lambda *args: sizes.append(args[-1].nbytes))
    model(torch.ones(1, cfg["context_length"], dtype=torch.int64, device="meta"))
    found = kv_cache_bytes_per_token(cfg, dtype) * cfg["context_length"]
    assert found == sum(sizes)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tied", [False, True])
def test_training_keeps_what_adamw_keeps(small_config, dtype, tied):
    """But for its counters of steps, one a parameter."""
    torch.manual_seed(123)
    model = GPTModel(small_config).to(dtype)
    if tied:
        model.tie_weights()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.tensor([[1, 2, 3]])).sum().backward()
    optimizer.step()
    parameters = list(model.parameters())
    states = list(optimizer.state.values())
    assert training_bytes(small_config, dtype, tied=tied) == {
        "weights": sum(parameter.nbytes for parameter in parameters),
        "gradients": sum(parameter.grad.nbytes for parameter in parameters),
        "first moments": sum(state["exp_avg"].nbytes for state in states),
        "second moments": sum(state["exp_avg_sq"].nbytes for state in states),
    }
    assert all(set(state) == {"step", "exp_avg", "exp_avg_sq"} for state in states)


# Nothing is allocated


class NoTensors(TorchDispatchMode):
    """Forbid every operation on tensors, their creation included."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        raise AssertionError(f"{func} was called")


def test_no_tensor_is_made():
    """Not even on the meta device; checked with the largest configuration."""
    with NoTensors():
        with pytest.raises(AssertionError, match="empty"):
            torch.empty(1)
        parameter_counts(GPT3_CONFIG)
        total_parameters(GPT3_CONFIG)
        storage_bytes(GPT3_CONFIG)
        training_bytes(GPT3_CONFIG)
        kv_cache_bytes_per_token(GPT3_CONFIG)
        flops_per_token(GPT3_CONFIG)


# Counting


def test_count_parameters_counts_a_shared_one_once():
    layer = nn.Linear(3, 4)
    assert count_parameters(layer) == 16
    assert count_parameters(nn.Sequential(layer, nn.ReLU(), layer)) == 16
    assert count_parameters(nn.ReLU()) == 0


def test_count_parameters_of_a_large_layer():
    """2,048 x 2,048: the example of section 4.1. Frozen ones count too."""
    layer = nn.Linear(2048, 2048, bias=False, device="meta")
    assert count_parameters(layer) == 4_194_304
    assert count_parameters(layer.requires_grad_(False)) == 4_194_304


# What a pass keeps for backward()


def test_bytes_kept_by_two_linear_layers():
    """The input of each: 5 and 7 numbers for 3 rows. The weights are not counted."""
    model = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 2))
    x = torch.zeros(3, 5)
    assert bytes_kept_for_backward(model, x) == 4 * 3 * (5 + 7)
    with torch.no_grad():
        assert bytes_kept_for_backward(model, x) == 0


def test_shared_memory_is_kept_once():
    """A product of x with itself keeps x twice, which is one piece of memory."""

    class Square(nn.Module):
        def forward(self, x):
            y = x + 1
            return y * y.view(-1).view_as(y)

    x = torch.zeros(3, 5, requires_grad=True)
    assert bytes_kept_for_backward(Square(), x) == 4 * 3 * 5


def test_bytes_kept_grow_with_the_text(small_config):
    """So much for each token: fused attention stores no scores."""
    torch.manual_seed(123)
    model = GPTModel(small_config)
    one, two = (
        bytes_kept_for_backward(model, torch.zeros(1, tokens, dtype=torch.int64))
        for tokens in (3, 6)
    )
    assert 1.9 * one < two < 2.3 * one


# Errors


@pytest.mark.parametrize(
    "function",
    [
        parameter_counts,
        total_parameters,
        storage_bytes,
        kv_cache_bytes_per_token,
        training_bytes,
        flops_per_token,
    ],
)
def test_wrong_configuration(small_config, function):
    with pytest.raises(ValueError, match=r"^cfg\['n_layers'\] must be an integer >= 1"):
        function({**small_config, "n_layers": 0})
    with pytest.raises(ValueError, match="must be divisible by"):
        function({**small_config, "n_heads": 5})


@pytest.mark.parametrize(
    ("num_tokens", "error", "message"),
    [
        (0, ValueError, "^num_tokens must be at least 1, got 0$"),
        (-1, ValueError, "^num_tokens must be at least 1, got -1$"),
        (8, ValueError, "^num_tokens must be at most context_length=7, got 8$"),
        (2.0, TypeError, r"^num_tokens must be an integer, got 2\.0$"),
        (True, TypeError, "^num_tokens must be an integer, got True$"),
    ],
)
def test_wrong_number_of_tokens(small_config, num_tokens, error, message):
    with pytest.raises(error, match=message):
        flops_per_token(small_config, num_tokens)
