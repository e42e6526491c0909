"""Section 4.2: layer normalization."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gpt_from_scratch import LayerNorm


def test_two_features_by_hand():
    """For (1, 3): mean 2, variance 1, so (x - mean) / sqrt(1 + eps) is (-1, 1)."""
    out = LayerNorm(emb_dim=2)(torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(out, torch.tensor([-1.0, 1.0]), rtol=0, atol=1e-5)


def test_variance_equal_to_eps_by_hand():
    """Mean 0, biased variance a * a = eps, so a / sqrt(2 eps) = 1 / sqrt(2)."""
    a = 1e-5**0.5
    out = LayerNorm(4)(torch.tensor([a, -a, a, -a]))
    expected = 0.70711 * torch.tensor([1.0, -1.0, 1.0, -1.0])
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-5)


def test_scale_then_shift_by_hand():
    """The normalized values -1 and 1, times 10 and 100, plus 3 and 4."""
    norm = LayerNorm(2, eps=0.0)
    weights = {"scale": torch.tensor([10.0, 100.0]), "shift": torch.tensor([3.0, 4.0])}
    norm.load_state_dict(weights)
    out = norm(torch.tensor([5.0, 9.0]))
    torch.testing.assert_close(out, torch.tensor([-7.0, 104.0]))


def test_constant_token_gives_the_shift():
    norm = LayerNorm(3)
    nn.init.constant_(norm.shift, 0.25)
    assert torch.equal(norm(torch.full((1, 3), 7.0)), torch.full((1, 3), 0.25))


def test_published_example():
    """Five numbers through a linear layer and ReLU, then normalized: section 4.2."""
    torch.manual_seed(123)
    batch = torch.randn(2, 5)
    out = nn.Sequential(nn.Linear(5, 6), nn.ReLU())(batch)
    expected = [
        [0.2260, 0.3470, 0.0, 0.2216, 0.0, 0.0],
        [0.2133, 0.2394, 0.0, 0.5198, 0.3297, 0.0],
    ]
    torch.testing.assert_close(out, torch.tensor(expected), rtol=0, atol=1e-4)
    mean, variance = out.mean(dim=-1), out.var(dim=-1)
    torch.testing.assert_close(mean, torch.tensor([0.1324, 0.2170]), rtol=0, atol=1e-4)
    torch.testing.assert_close(
        variance, torch.tensor([0.0231, 0.0398]), rtol=0, atol=1e-4
    )
    # The book's first example divides by n - 1 and has no eps.
    expected = [
        [0.6159, 1.4126, -0.8719, 0.5872, -0.8719, -0.8719],
        [-0.0189, 0.1121, -1.0876, 1.5173, 0.5647, -1.0876],
    ]
    by_hand = (out - mean[:, None]) / variance[:, None].sqrt()
    torch.testing.assert_close(by_hand, torch.tensor(expected), rtol=0, atol=1e-4)
    # Ours divides by n: larger by sqrt(6 / 5), less what eps takes.
    biased = variance[:, None] * 5 / 6
    shrunk = (biased / (biased + 1e-5)).sqrt()
    torch.testing.assert_close(LayerNorm(6)(out), by_hand * 1.2**0.5 * shrunk)


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 1, 3, 5)])
@pytest.mark.parametrize("eps", [1e-5, 1e-12, 0.5])
def test_equal_to_pytorch(randomize, shape, eps):
    norm = randomize(LayerNorm(5, eps=eps))
    theirs = nn.LayerNorm(5, eps=eps, dtype=torch.float64)
    theirs.load_state_dict({"weight": norm.scale.data, "bias": norm.shift.data})
    generator = torch.Generator().manual_seed(123)
    x = torch.randn(shape, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(norm(x), theirs(x), rtol=1e-12, atol=1e-12)


def test_default_eps_is_that_of_pytorch():
    assert LayerNorm(2).eps == nn.LayerNorm(2).eps == 1e-5


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20).filter(
        lambda features: max(features) - min(features) > 0.1
    )
)
def test_mean_0_and_variance_1(features):
    x = torch.tensor(features, dtype=torch.float64)
    out = LayerNorm(len(features), eps=0.0).double()(x)
    assert abs(out.mean().item()) < 1e-6
    assert out.var(unbiased=False).item() == pytest.approx(1)


@given(st.integers(0, 4))
def test_tokens_do_not_see_each_other(t):
    """A changed token changes its own output, and no other's."""
    torch.manual_seed(123)
    x = torch.randn(2, 5, 4)
    changed = x.clone()
    changed[0, t] = torch.tensor([1.0, 2.0, 4.0, 8.0])
    norm = LayerNorm(4)
    moved = (norm(x) - norm(changed)).abs().amax(dim=-1) > 1e-6  # (2, 5)
    assert moved.nonzero().tolist() == [[0, t]]


def test_gradients(randomize):
    norm = randomize(LayerNorm(4))
    torch.manual_seed(123)
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, x)
    norm(x).square().sum().backward()
    assert norm.scale.grad.abs().min() > 0
    assert norm.shift.grad.abs().min() > 0


def test_starts_with_scale_1_and_shift_0():
    norm = LayerNorm(3)
    assert [name for name, _ in norm.named_parameters()] == ["scale", "shift"]
    assert torch.equal(norm.scale, torch.ones(3))
    assert torch.equal(norm.shift, torch.zeros(3))


def test_input_is_not_changed():
    x = torch.tensor([[1.0, 2.0, 4.0]])
    LayerNorm(3)(x)
    assert x.tolist() == [[1.0, 2.0, 4.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_type_in_and_out(dtype):
    out = LayerNorm(2).to(dtype)(torch.tensor([[1.0, 3.0]], dtype=dtype))
    torch.testing.assert_close(
        out, torch.tensor([[-1.0, 1.0]], dtype=dtype), rtol=0, atol=1e-2
    )


def test_meta_device():
    norm = LayerNorm(3).to("meta")
    assert norm(torch.ones(2, 3, device="meta")).shape == (2, 3)


def test_compiles_to_one_graph(compiled):
    norm = LayerNorm(3)
    x = torch.tensor([[1.0, 2.0, 4.0]])
    assert torch.equal(compiled(norm)(x), norm(x))


@pytest.mark.parametrize("last", [1, 2, 4])
def test_wrong_number_of_features(last):
    """Also 1, which would be broadcast."""
    with pytest.raises(ValueError, match=f"^expected 3 features, got {last}$"):
        LayerNorm(3)(torch.ones(2, last))


@pytest.mark.parametrize(
    ("emb_dim", "error", "message"),
    [
        (0, ValueError, "^emb_dim must be at least 1, got 0$"),
        (-2, ValueError, "^emb_dim must be at least 1, got -2$"),
        (3.0, TypeError, r"^emb_dim must be an integer, got 3\.0$"),
        ("3", TypeError, "^emb_dim must be an integer, got '3'$"),
        (True, TypeError, "^emb_dim must be an integer, got True$"),
    ],
)
def test_wrong_size(emb_dim, error, message):
    with pytest.raises(error, match=message):
        LayerNorm(emb_dim)
