"""Section 4.3: GELU and the feed-forward network."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from gpt_from_scratch import GELU, GPT_CONFIG_124M, FeedForward, count_parameters

# GELU


@pytest.mark.parametrize(
    ("x", "expected"), [(-1, -0.15881), (0, 0), (1, 0.84119), (3, 2.99636)]
)
def test_gelu_by_hand(x, expected):
    """0.5 x (1 + tanh(0.79788 (x + 0.044715 x^3))), by a pocket calculator."""
    assert GELU()(torch.tensor(float(x))).item() == pytest.approx(expected, abs=1e-5)


def test_gelu_is_pytorchs_tanh_approximation():
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64, requires_grad=True)
    ours, theirs = GELU()(x), F.gelu(x, approximate="tanh")
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
    (our_slope,) = torch.autograd.grad(ours.sum(), x)
    (their_slope,) = torch.autograd.grad(theirs.sum(), x)
    torch.testing.assert_close(our_slope, their_slope, rtol=1e-11, atol=1e-13)


def test_gelu_largest_error_of_the_approximation():
    """0.000473 near |x| = 2.70."""
    x = torch.linspace(-6, 6, 12001, dtype=torch.float64)
    error = (GELU()(x) - F.gelu(x)).abs()
    assert error.max().item() == pytest.approx(0.000473, abs=5e-7)
    assert x[error.argmax()].abs().item() == pytest.approx(2.70, abs=0.005)


@given(st.floats(-30, 30))
def test_gelu_is_odd_but_for_a_ramp(number):
    """GELU(x) - GELU(-x) = x, as x Phi(x) + x Phi(-x) is."""
    x = torch.tensor(number, dtype=torch.float64)
    assert (GELU()(x) - GELU()(-x)).item() == pytest.approx(number, abs=1e-12)


def test_gelu_of_large_numbers():
    """Their cube is more than a float can hold."""
    out = GELU()(torch.tensor([1e30, -1e30]))
    assert torch.equal(out, torch.tensor([1e30, 0.0]))


def test_gelu_leaves_its_input_and_has_no_state():
    x = torch.tensor([-1.0, 2.0])
    GELU()(x)
    assert x.tolist() == [-1.0, 2.0]
    assert GELU().state_dict() == {}


# The feed-forward network


@pytest.mark.parametrize("shape", [(12,), (5, 12), (2, 5, 12), (2, 1, 3, 12)])
def test_equal_to_the_formula(small_config, randomize, shape):
    network = randomize(FeedForward(small_config))
    torch.manual_seed(123)
    x = torch.randn(shape, dtype=torch.float64)
    w1, b1, w2, b2 = network.parameters()
    assert (w1.shape, w2.shape) == ((48, 12), (12, 48))
    expected = F.gelu(x @ w1.T + b1, approximate="tanh") @ w2.T + b2
    torch.testing.assert_close(network(x), expected, rtol=1e-11, atol=1e-11)


def test_published_number_of_parameters():
    with torch.device("meta"):
        network = FeedForward(GPT_CONFIG_124M)
    assert count_parameters(network) == 4_722_432


def test_state_dict_has_the_known_names(small_config):
    names = "layers.0.weight layers.0.bias layers.2.weight layers.2.bias".split()
    assert list(FeedForward(small_config).state_dict()) == names


def test_order_of_creation(small_config):
    torch.manual_seed(123)
    network = FeedForward(small_config)
    torch.manual_seed(123)
    expected = [*nn.Linear(12, 48).parameters(), *nn.Linear(48, 12).parameters()]
    for parameter, parameter_expected in zip(
        network.parameters(), expected, strict=True
    ):
        assert torch.equal(parameter, parameter_expected)


@given(st.integers(0, 1), st.integers(0, 4))
def test_each_token_is_treated_alone(small_config, randomize, b, t):
    network = randomize(FeedForward(small_config))
    torch.manual_seed(123)
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    changed = x.clone()
    changed[b, t] += 1
    moved = (network(x) - network(changed)).abs().amax(dim=-1) > 1e-6
    assert moved.nonzero().tolist() == [[b, t]]


def test_gradients_reach_every_parameter(small_config, randomize):
    network = randomize(FeedForward(small_config))
    torch.manual_seed(123)
    network(torch.randn(2, 3, 12, dtype=torch.float64)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_type_in_and_out(small_config, dtype):
    out = FeedForward(small_config).to(dtype)(torch.ones(2, 3, 12, dtype=dtype))
    assert out.dtype == dtype
    assert GELU()(torch.ones(2, dtype=dtype)).dtype == dtype


def test_meta_device(small_config):
    network = FeedForward(small_config).to("meta")
    assert network(torch.ones(2, 3, 12, device="meta")).shape == (2, 3, 12)


def test_compiles_to_one_graph(small_config, compiled):
    torch.manual_seed(123)
    network = FeedForward(small_config)
    x = torch.randn(2, 3, 12)
    assert torch.equal(compiled(network)(x), network(x))
