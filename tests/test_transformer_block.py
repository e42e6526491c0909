"""Section 4.5: the transformer block."""

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gpt_from_scratch import (
    GPT_CONFIG_124M,
    GPTConfig,
    TransformerBlock,
    count_parameters,
)


def constant_branches(cfg):
    """Build a block whose attention gives 10 and whose feed-forward network 1000."""
    block = TransformerBlock(cfg).double()
    for layer, constant in [(block.att.out_proj, 10), (block.ff.layers[2], 1000)]:
        nn.init.zeros_(layer.weight)
        nn.init.constant_(layer.bias, constant)
    return block


@pytest.mark.parametrize("qkv_bias", [False, True])
@pytest.mark.parametrize("num_tokens", [1, 4, 7])
def test_equal_to_the_block_spelled_out(
    small_config, randomize, plain, qkv_bias, num_tokens
):
    """The plain version's state dict, with its mask, loads without a complaint."""
    cfg = {**small_config, "qkv_bias": qkv_bias}
    spelled_out = randomize(plain.Block(cfg))
    block = TransformerBlock(cfg).double()
    block.load_state_dict(spelled_out.state_dict())
    torch.manual_seed(123)
    x = torch.randn(2, num_tokens, 12, dtype=torch.float64, requires_grad=True)
    out, expected = block(x), spelled_out(x)
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)
    gradients, gradients_expected = (
        torch.autograd.grad(y.square().sum(), [x, *module.parameters()])
        for y, module in [(out, block), (expected, spelled_out)]
    )
    torch.testing.assert_close(gradients, gradients_expected, rtol=1e-9, atol=1e-9)


def test_published_shape():
    torch.manual_seed(123)
    x = torch.rand(2, 4, 768)
    assert TransformerBlock(GPT_CONFIG_124M)(x).shape == (2, 4, 768)


def test_both_branches_are_added_to_the_input(small_config):
    """10 from one, 1000 from the other, whatever comes in."""
    x = torch.arange(120, dtype=torch.float64).view(2, 5, 12)
    out = constant_branches(small_config)(x)
    assert torch.equal(out - x, torch.full_like(x, 1010))


def test_silent_branches_leave_the_stream_alone(small_config):
    """The stream itself is never normalized: the output is the input to the bit."""
    block = constant_branches(small_config)
    nn.init.zeros_(block.att.out_proj.bias)
    nn.init.zeros_(block.ff.layers[2].bias)
    torch.manual_seed(123)
    x = torch.randn(2, 5, 12, dtype=torch.float64, requires_grad=True)
    out = block(x)
    assert torch.equal(out, x)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(gradient, torch.ones_like(x))


def test_dropout_on_each_branch_before_it_is_added(small_config):
    """With rate 0.5 a branch gives 0 or, made up for, twice its constant."""
    block = constant_branches({**small_config, "drop_rate": 0.5})
    torch.manual_seed(123)
    x = torch.zeros(50, 7, 12, dtype=torch.float64)
    assert block(x).unique().tolist() == [0, 20, 2000, 2020]
    assert block.eval()(x).unique().tolist() == [1010]


def test_dropout_rate_is_handed_on(small_config):
    block = TransformerBlock({**small_config, "drop_rate": 0.25})
    assert block.drop_shortcut.p == 0.25
    assert block.att.dropout.p == 0.25


def test_order_of_creation(small_config):
    """Query, key, value, output projection, first and second feed-forward layer."""
    torch.manual_seed(123)
    block = TransformerBlock({**small_config, "qkv_bias": True})
    torch.manual_seed(123)
    expected = [nn.Linear(12, 12) for _ in range(4)]
    expected += [nn.Linear(12, 48), nn.Linear(48, 12)]
    found = [
        block.att.W_query,
        block.att.W_key,
        block.att.W_value,
        block.att.out_proj,
        block.ff.layers[0],
        block.ff.layers[2],
    ]
    for layer, layer_expected in zip(found, expected, strict=True):
        assert torch.equal(layer.weight, layer_expected.weight)
        assert torch.equal(layer.bias, layer_expected.bias)


def test_parts_have_the_known_names(small_config):
    names = "att ff norm1 norm2 drop_shortcut".split()
    children = TransformerBlock(small_config).named_children()
    assert [name for name, _ in children] == names


def test_number_of_parameters():
    """Attention 2,360,064, feed-forward 4,722,432, two norms of 2 x 768."""
    with torch.device("meta"):
        block = TransformerBlock(GPT_CONFIG_124M)
    assert count_parameters(block) == 2_360_064 + 4_722_432 + 2 * 2 * 768


@given(cfg=st.from_type(GPTConfig), data=st.data())
def test_a_token_moves_itself_and_what_follows(randomize, cfg, data):
    """Neither an earlier token nor another text of the batch."""
    block = randomize(TransformerBlock(cfg))
    num_tokens = data.draw(st.integers(1, cfg["context_length"]))
    b, t = data.draw(st.integers(0, 1)), data.draw(st.integers(0, num_tokens - 1))
    torch.manual_seed(123)
    x = torch.randn(2, num_tokens, cfg["emb_dim"], dtype=torch.float64)
    changed = x.clone()
    changed[b, t] = torch.randn(cfg["emb_dim"])
    moved = (block(x) - block(changed)).abs().amax(dim=-1) > 1e-9  # (2, T)
    assert not moved[1 - b].any()
    assert not moved[b, :t].any()
    assert moved[b, t]


def test_later_tokens_are_moved(small_config, randomize):
    block = randomize(TransformerBlock(small_config))
    torch.manual_seed(123)
    x = torch.randn(1, 7, 12, dtype=torch.float64)
    changed = x.clone()
    changed[0, 0] = torch.randn(12)
    assert ((block(x) - block(changed)).abs().amax(dim=-1) > 1e-6).all()


def test_gradients_reach_every_parameter(small_config, randomize):
    block = randomize(TransformerBlock(small_config))
    torch.manual_seed(123)
    block(torch.randn(2, 5, 12).double()).square().sum().backward()
    for name, parameter in block.named_parameters():
        assert parameter.grad.abs().max() > 1e-9, name


def test_state_dict_with_a_mask(small_config, plain):
    state_dict = plain.Block(small_config).state_dict()
    assert "att.mask" in state_dict
    names = list(state_dict)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = TransformerBlock(small_config).load_state_dict(state_dict)
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    assert list(state_dict) == names
    with pytest.raises(RuntimeError, match=r'Unexpected key.*"mask"'):
        TransformerBlock(small_config).load_state_dict(
            {**state_dict, "mask": torch.ones(7, 7)}
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_type_in_and_out(small_config, dtype):
    x = torch.ones(2, 3, 12, dtype=dtype)
    out = TransformerBlock(small_config).to(dtype)(x)
    assert (out.dtype, out.shape) == (dtype, x.shape)


def test_meta_device(small_config):
    block = TransformerBlock(small_config).to("meta")
    assert block(torch.ones(2, 7, 12, device="meta")).shape == (2, 7, 12)


def test_compiles_to_one_graph(small_config, compiled):
    torch.manual_seed(123)
    block = TransformerBlock(small_config)
    x = torch.randn(2, 5, 12)
    torch.testing.assert_close(compiled(block)(x), block(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 5, 11), r"^expected 12 features, got 11$"),
        ((5, 12), r"^expected an input of shape \(batch, tokens, 12\), got \(5, 12\)$"),
        ((2, 8, 12), r"^8 tokens are more than context_length=7"),
    ],
)
def test_wrong_input(small_config, shape, message):
    with pytest.raises(ValueError, match=message):
        TransformerBlock(small_config)(torch.ones(shape))
