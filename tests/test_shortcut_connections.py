"""Section 4.4: shortcut connections and gradient magnitudes."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gpt_from_scratch import ExampleDeepNeuralNetwork, gradient_magnitudes

PUBLISHED = {
    False: [0.00020173587, 0.00012011161, 0.00071520416, 0.0013988739, 0.0050496464],
    True: [0.22169793, 0.20694107, 0.32896995, 0.26657325, 1.3258541],
}


def constant_network(layer_sizes, constants, use_shortcut):
    """Build a network whose layers give a constant each, whatever comes in."""
    network = ExampleDeepNeuralNetwork(layer_sizes, use_shortcut).double()
    for layer, constant in zip(network.layers, constants, strict=True):
        nn.init.zeros_(layer[0].weight)
        nn.init.constant_(layer[0].bias, constant)  # GELU leaves large numbers alone
    return network


@pytest.mark.parametrize("use_shortcut", [False, True])
def test_published_gradient_magnitudes(use_shortcut):
    torch.manual_seed(123)
    network = ExampleDeepNeuralNetwork([3, 3, 3, 3, 3, 1], use_shortcut)
    magnitudes = gradient_magnitudes(network, torch.tensor([[1.0, 0.0, -1.0]]))
    assert list(magnitudes) == [f"layers.{index}.0.weight" for index in range(5)]
    expected = PUBLISHED[use_shortcut]
    assert list(magnitudes.values()) == pytest.approx(expected, rel=1e-5)


def test_shortcuts_add_each_layers_input():
    """1 + 20 = 21, 21 + 30 = 51, 51 + 50 = 101; without shortcuts only 50."""
    x = torch.ones(2, 3, dtype=torch.float64)
    sizes, constants = [3, 3, 3, 3], [20.0, 30.0, 50.0]
    out = constant_network(sizes, constants, use_shortcut=True)(x)
    assert torch.equal(out, torch.full_like(x, 101))
    out = constant_network(sizes, constants, use_shortcut=False)(x)
    assert torch.equal(out, torch.full_like(x, 50))


@pytest.mark.parametrize("sizes", [[3, 1], [1, 3], [3, 2]])
def test_no_shortcut_where_the_shapes_differ(sizes):
    """Not even where the smaller one could be broadcast."""
    network = constant_network(sizes, [20.0], use_shortcut=True)
    out = network(torch.ones(4, sizes[0], dtype=torch.float64))
    assert torch.equal(out, torch.full((4, sizes[1]), 20.0, dtype=torch.float64))


@pytest.mark.parametrize("use_shortcut", [False, True])
def test_output_and_gradients_of_the_formula(randomize, use_shortcut):
    network = randomize(ExampleDeepNeuralNetwork([3, 3, 2, 2], use_shortcut))
    x = torch.tensor([[1.0, 0.0, -1.0], [0.5, 2.0, 0.3]], dtype=torch.float64)
    x.requires_grad_()
    w1, b1, w2, b2, w3, b3 = network.parameters()
    s = 1 if use_shortcut else 0
    h1 = F.gelu(x @ w1.T + b1, approximate="tanh") + s * x
    h2 = F.gelu(h1 @ w2.T + b2, approximate="tanh")
    expected = F.gelu(h2 @ w3.T + b3, approximate="tanh") + s * h2
    out = network(x)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    inputs = [x, *network.parameters()]
    gradients = torch.autograd.grad(out.square().sum(), inputs)
    gradients_expected = torch.autograd.grad(expected.square().sum(), inputs)
    torch.testing.assert_close(gradients, gradients_expected, rtol=1e-11, atol=1e-11)


def test_gradient_passes_through_dead_layers():
    """d(x + f(x))/dx = 1 + f'(x); with constant layers f' is 0."""
    x = torch.ones(1, 3, dtype=torch.float64, requires_grad=True)
    constant_network([3] * 6, [20.0] * 5, use_shortcut=True)(x).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_shortcuts_keep_the_first_layers_gradient_alive():
    """At 20 layers it is below a millionth without them, and above a hundredth with."""
    first = {}
    for use_shortcut in (False, True):
        torch.manual_seed(123)
        network = ExampleDeepNeuralNetwork([3] * 21, use_shortcut)
        magnitudes = gradient_magnitudes(network, torch.tensor([[1.0, 0.0, -1.0]]))
        first[use_shortcut] = magnitudes["layers.0.0.weight"]
    assert first[False] < 1e-6
    assert first[True] > 1e-2


def test_order_of_creation():
    torch.manual_seed(123)
    network = ExampleDeepNeuralNetwork((4, 3, 2), use_shortcut=True)
    torch.manual_seed(123)
    expected = [*nn.Linear(4, 3).parameters(), *nn.Linear(3, 2).parameters()]
    found = list(network.parameters())
    assert all(map(torch.equal, found, expected))
    assert len(found) == len(expected)


def test_input_is_not_changed():
    x = torch.ones(2, 3)
    ExampleDeepNeuralNetwork([3, 3, 3], use_shortcut=True)(x)
    assert torch.equal(x, torch.ones(2, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 4, 3)])
def test_types_and_shapes(dtype, shape):
    network = ExampleDeepNeuralNetwork([3, 3, 2], use_shortcut=True).to(dtype)
    out = network(torch.ones(shape, dtype=dtype))
    assert (out.dtype, out.shape) == (dtype, (*shape[:-1], 2))


def test_meta_device():
    network = ExampleDeepNeuralNetwork([3, 3, 1], use_shortcut=True).to("meta")
    assert network(torch.ones(2, 3, device="meta")).shape == (2, 1)


def test_compiles_to_one_graph(compiled):
    torch.manual_seed(123)
    network = ExampleDeepNeuralNetwork([3, 3, 1], use_shortcut=True)
    x = torch.randn(2, 3)
    assert torch.equal(compiled(network)(x), network(x))


@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        ([], ValueError, r"^layer_sizes needs an input and an output size, got \[\]$"),
        ([3], ValueError, r"^layer_sizes needs an input and an output size, got \[3\]"),
        ([3, 0], ValueError, r"^layer_sizes\[1\] must be at least 1, got 0$"),
        ([-3, 1], ValueError, r"^layer_sizes\[0\] must be at least 1, got -3$"),
        ([3, 3, 1.0], TypeError, r"^layer_sizes\[2\] must be an integer, got 1\.0$"),
        ([3, True], TypeError, r"^layer_sizes\[1\] must be an integer, got True$"),
    ],
)
def test_wrong_layer_sizes(sizes, error, message):
    with pytest.raises(error, match=message):
        ExampleDeepNeuralNetwork(sizes, use_shortcut=True)


# Gradient magnitudes


def linear_2_to_1():
    """Build a layer with weights (1, 1) and no bias."""
    layer = nn.Linear(2, 1, bias=False)
    nn.init.ones_(layer.weight)
    return layer


@pytest.mark.parametrize(("target", "expected"), [(None, 8.0), (-1.0, 4.0)])
def test_gradient_magnitude_by_hand(target, expected):
    """1 - 3 = -2, off by -2 (or -1); gradients 2 * -2 * (1, -3): 8 on average."""
    if target is not None:
        target = torch.tensor([[target]])
    magnitudes = gradient_magnitudes(
        linear_2_to_1(), torch.tensor([[1.0, -3.0]]), target
    )
    assert magnitudes == {"weight": expected}


def test_gradient_magnitudes_equal_backward(randomize):
    network = randomize(ExampleDeepNeuralNetwork([3, 3, 2], use_shortcut=True))
    torch.manual_seed(123)
    x, target = torch.randn(2, 4, 3).double(), torch.randn(2, 4, 2).double()
    magnitudes = gradient_magnitudes(network, x, target)
    nn.MSELoss()(network(x), target).backward()
    expected = {
        name: parameter.grad.abs().mean().item()
        for name, parameter in network.named_parameters()
        if "weight" in name
    }
    assert magnitudes == pytest.approx(expected, rel=1e-12)


def test_gradients_already_there_are_kept():
    layer = linear_2_to_1()
    x = torch.tensor([[1.0, -3.0]])
    gradient_magnitudes(layer, x)
    assert layer.weight.grad is None
    layer.weight.grad = torch.full((1, 2), 7.0)
    assert gradient_magnitudes(layer, x) == {"weight": 8.0}
    assert torch.equal(layer.weight.grad, torch.full((1, 2), 7.0))


def test_gradient_magnitudes_within_no_grad():
    with torch.no_grad():
        magnitudes = gradient_magnitudes(linear_2_to_1(), torch.tensor([[1.0, -3.0]]))
    assert magnitudes == {"weight": 8.0}


def test_frozen_weights_are_left_out():
    network = ExampleDeepNeuralNetwork([3, 3, 1], use_shortcut=True)
    network.layers[0].requires_grad_(False)
    magnitudes = gradient_magnitudes(network, torch.ones(1, 3))
    assert list(magnitudes) == ["layers.1.0.weight"]


@pytest.mark.parametrize("model", [nn.GELU(), nn.Linear(2, 1).requires_grad_(False)])
def test_gradient_magnitudes_need_a_weight(model):
    with pytest.raises(
        ValueError, match=r"no trainable parameter named '\.\.\.weight'"
    ):
        gradient_magnitudes(model, torch.ones(1, 2))


@pytest.mark.parametrize("shape", [(1,), (2, 1), (1, 2)])
def test_target_of_another_shape(shape):
    """Also where it could be broadcast."""
    message = r"^the target must have the output's shape \(1, 1\), got \(" + str(
        shape[0]
    )
    with pytest.raises(ValueError, match=message):
        gradient_magnitudes(linear_2_to_1(), torch.ones(1, 2), torch.ones(shape))


def test_gradient_of_a_weight_that_is_not_used():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.used = nn.Linear(3, 1)
            self.unused = nn.Linear(3, 1)

        def forward(self, x):
            return self.used(x)

    torch.manual_seed(123)
    magnitudes = gradient_magnitudes(Half(), torch.ones(1, 3))
    assert magnitudes["used.weight"] > 0
    assert magnitudes["unused.weight"] == 0
