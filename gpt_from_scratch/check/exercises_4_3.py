"""Checks of the exercises of notebook 4.3."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpt_from_scratch.check.component import Component
from gpt_from_scratch.check.engine import check
from gpt_from_scratch.check.feed_forward import config, moved
from gpt_from_scratch.check.make import Make
from gpt_from_scratch.check.number_exercise import (
    Asked,
    NumberExercise,
    Slip,
    check_numbers,
    count_parameters,
)
from gpt_from_scratch.check.report import Report
from gpt_from_scratch.check.weights import numbers
from gpt_from_scratch.feed_forward import GELU, FeedForward
from gpt_from_scratch.llm_architecture import GPT2_CONFIGS, GPTConfig
from gpt_from_scratch.transformer_block import TransformerBlock

__all__ = ["feed_forward_parameters", "swiglu"]

# Exercise 1: parameters of the feed-forward network and of attention.

_MEDIUM = GPT2_CONFIGS["gpt2-medium"]
_D = _MEDIUM["emb_dim"]  # 1,024 features


def _layer(index: int) -> Callable[[], int]:
    return lambda: count_parameters(lambda: FeedForward(_MEDIUM).layers[index])


def _attention() -> int:
    return count_parameters(lambda: TransformerBlock(_MEDIUM).att)


FEED_FORWARD_PARAMETERS = NumberExercise(
    "Feed-forward parameters",
    {
        "expand": Asked(
            "the layer that widens",
            _layer(0),
            (
                Slip(4 * _D * _D, "forgotten biases", "only the weights are counted"),
                Slip(
                    4 * _D * _D + _D,
                    "a bias for each input",
                    "it is the outputs that have one",
                ),
                Slip(
                    769 * 3072,
                    "the small model's emb_dim",
                    "medium has more features a token",
                ),
                Slip(_D * _D + _D, "no expansion", "the layer has more outputs"),
                Slip(_D + 4 * _D, "a sum", "inputs and outputs are added"),
            ),
        ),
        "contract": Asked(
            "the layer that narrows",
            _layer(2),
            (
                Slip(4 * _D * _D, "forgotten biases", "only the weights are counted"),
                Slip(
                    4 * _D * _D + 4 * _D,
                    "a bias for each input",
                    "it is the outputs that have one",
                ),
                Slip(
                    3073 * 768,
                    "the small model's emb_dim",
                    "medium has more features a token",
                ),
                Slip(_D * _D + _D, "no expansion", "the layer has more inputs"),
                Slip(4 * _D + _D, "a sum", "inputs and outputs are added"),
            ),
        ),
        "attention": Asked(
            "attention's four matrices, and their biases",
            _attention,
            (
                Slip(
                    4 * _D * _D,
                    "forgotten biases",
                    "the matrix for the output has some",
                ),
                Slip(
                    4 * _D * _D + 4 * _D,
                    "biases in all four matrices",
                    "those for queries, keys and values have none",
                ),
                Slip(
                    4 * 768 * 768 + 768,
                    "the small model's emb_dim",
                    "medium has more features a token",
                ),
                Slip(
                    3 * _D * _D,
                    "a forgotten output",
                    "only the matrices for queries, keys and values are counted",
                ),
                Slip(
                    3 * _D * _D + _D,
                    "three matrices",
                    "queries, keys, values and the output have one each",
                ),
                Slip(_D * _D + _D, "a single matrix", "it has more of them"),
                Slip(
                    16 * (4 * _D * _D + _D),
                    "four matrices for each head",
                    "the heads share them",
                ),
            ),
        ),
        "hidden": Asked(
            "numbers in the middle, for as many weights as attention has",
            lambda: (_attention() - _D) // (2 * _D),
            (
                Slip(4 * _D, "the network as it is", "it has more weights"),
                Slip(_D, "a middle as wide as the token", "it has too few weights"),
                Slip(
                    8 * _D,
                    "the ratio the wrong way round",
                    "the feed-forward network is the one with more weights",
                ),
                Slip(
                    2 * 768,
                    "the small model's emb_dim",
                    "medium has more features a token",
                ),
                Slip(
                    2,
                    "a ratio",
                    "this is how many times as wide as the token the middle would be",
                ),
            ),
        ),
    },
)


def feed_forward_parameters(
    expand: object = None,
    contract: object = None,
    attention: object = None,
    hidden: object = None,
) -> Report:
    """Check your numbers of parameters in a block of GPT-2 medium (exercise of 4.3).

    Args:
        expand: Those of the feed-forward network's first linear layer.
        contract: Those of its second one.
        attention: Those of attention.
        hidden: How many numbers in the middle of the feed-forward network would give
            it as many weights as attention has.

    Returns:
        Which numbers agree; see ``Report``.
    """
    return check_numbers(
        FEED_FORWARD_PARAMETERS,
        expand=expand,
        contract=contract,
        attention=attention,
        hidden=hidden,
    )


# Exercise 2: a SwiGLU feed-forward network of equal size.


class SwiGLU(nn.Module):
    """A feed-forward network whose hidden features are the product of two layers'.

    It has as many weights as ``FeedForward``, in three layers in place of two.

    Source: Shazeer (2020), https://arxiv.org/abs/2002.05202.
    """

    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__()
        emb_dim = cfg["emb_dim"]
        hidden = 8 * emb_dim // 3
        self.gate = nn.Linear(emb_dim, hidden, bias=False)
        self.up = nn.Linear(emb_dim, hidden, bias=False)
        self.down = nn.Linear(hidden, emb_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


SWIGLU = Component(
    "SwiGLU",
    SwiGLU,
    usual_names={  # those of Llama, and of other courses
        **dict.fromkeys(("w1", "W1", "gate_proj", "fc1", "first", "c_gate"), "gate"),
        **dict.fromkeys(("w3", "W3", "up_proj", "fc2", "second", "value"), "up"),
        **dict.fromkeys(("w2", "W2", "down_proj", "fc3", "third", "c_proj"), "down"),
    },
    is_exercise=True,
)


def swiglu(learner: object) -> Report:
    """Check a SwiGLU feed-forward network (exercise of 4.3).

    Args:
        learner: Your class, called as ``SwiGLU(cfg)``.

    Returns:
        What was found; see ``Report``.
    """
    return check(SWIGLU, learner)


def one_by_one(network: SwiGLU) -> None:
    """Let the first features through: gate gives x, up gives x / 2, down sums up."""
    for layer, value in ((network.gate, 1.0), (network.up, 0.5), (network.down, 1.0)):
        nn.init.eye_(layer.weight)
        layer.weight.data *= value


# Probes.


@SWIGLU.probe("shape")
def _shape(make: Make) -> object:
    """A batch of 2 texts of 5 tokens of 12 features, as it comes in and goes out."""
    return str(tuple(make(config())(numbers(2, 5, 12, seed=1)).shape))


@SWIGLU.probe("parameters")
def _parameters(make: Make) -> object:
    return make(config()).parameters()


@SWIGLU.probe("layers that copy")
def _layers_that_copy(make: Make) -> object:
    """The result is SiLU(x) * x / 2: for 2 that is 1.7616, for -1 it is 0.1345."""
    x = torch.tensor([[2.0, -1.0, 0.5, -3.0, 0.0, 1.0]])
    return make(config(6), weights=one_by_one)(x)


@SWIGLU.probe("random weights")
def _random_weights(make: Make) -> object:
    return make(config())(numbers(2, 5, 12, seed=2))


@SWIGLU.probe("inputs of other shapes")
def _inputs_of_other_shapes(make: Make) -> object:
    shapes = [(1, 12), (12, 12), (1, 1, 12), (3, 7, 12), (12, 12, 12)]
    network = make(config())
    return {f"shape {shape}": network(numbers(*shape, seed=3)) for shape in shapes}


@SWIGLU.probe("other numbers of features")
def _other_numbers_of_features(make: Make) -> object:
    return {
        f"emb_dim {size}": make(config(size))(numbers(2, 4, size, seed=4))
        for size in (3, 9, 30)
    }


@SWIGLU.probe("one token changed")
def _one_token_changed(make: Make) -> object:
    """No other token's result may move."""
    return moved(make, config(), 12)


@SWIGLU.probe("gradients", atol=1e-4)
def _gradients(make: Make) -> object:
    return make(config()).gradients(numbers(2, 5, 12, seed=8))


@SWIGLU.probe("training mode, with a drop_rate of 0.5")
def _training_mode(make: Make) -> object:
    network = make(config(drop_rate=0.5))
    x = numbers(2, 5, 12, seed=9)
    calm = network(x)
    network.train()
    trained = network(x)
    is_same = calm.shape == trained.shape and torch.allclose(calm, trained, atol=1e-5)
    return {"result": "the same" if is_same else "another", "its values": trained}


@SWIGLU.probe("nothing else changes")
def _nothing_else_changes(make: Make) -> object:
    network = make(config())
    return network.side_effects(numbers(2, 5, 12, seed=10), numbers(1, 3, 12, seed=11))


# Wrong versions.


class _Plain(nn.Module):
    hidden = 8 / 3  # times as many features as emb_dim
    bias = False

    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__()
        size = cfg["emb_dim"]
        hidden = round(self.hidden * size)
        self.gate = nn.Linear(size, hidden, bias=self.bias)
        self.up = nn.Linear(size, hidden, bias=self.bias)
        self.down = nn.Linear(hidden, size, bias=self.bias)

    def combine(self, gate: Tensor, up: Tensor) -> Tensor:
        return F.silu(gate) * up

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.combine(self.gate(x), self.up(x)))


def _combining(combine: Callable[[Tensor, Tensor], Tensor]) -> type[_Plain]:
    """Make a version that gets from what the first two layers give."""
    return type(
        "_Combining", (_Plain,), {"combine": lambda self, gate, up: combine(gate, up)}
    )


def _with(forward: Callable[[Any, Tensor], Any]) -> type[_Plain]:
    return type("_With", (_Plain,), {"forward": forward})


mistake = SWIGLU.mistake

for _hidden, _name, _how_many in (
    (4.0, "an expansion to four times as many features", "half as many again"),
    (2.0, "an expansion to twice as many features", "three quarters of them"),
    (4 / 3, "an expansion to 4/3 times as many features", "half of them"),
):
    mistake(
        _name,
        what="the two networks do not have equally many weights",
        why=f"There are three matrices now, not two: this has {_how_many}. "
        "Whoever compares the two networks then compares their sizes.",
        look_at="the number of hidden features: three matrices of hidden * emb_dim "
        "weights should hold what two of 4 * emb_dim * emb_dim hold.",
    )(type("_OtherSize", (_Plain,), {"hidden": _hidden}))

mistake(
    "linear layers with biases",
    what="nn.Linear adds them if it is not told otherwise",
    why="The task wants none, as in the Llama models: then the number of weights "
    "is all that counts.",
    look_at="what nn.Linear is told besides the sizes.",
)(type("_Biases", (_Plain,), {"bias": True}))

mistake(
    "SiLU on the layer called up",
    what="the gate is the one that goes through SiLU",
    why="The network could learn the same. But trained weights are loaded by name, "
    "and would come into the wrong places.",
    look_at="which of the two results SiLU is applied to.",
)(_combining(lambda gate, up: gate * F.silu(up)))

mistake(
    "SiLU on both layers' results",
    what="silu(gate) * silu(up)",
    why="What the gate lets through is bent a second time, and hardly ever below 0.",
    look_at="how often SiLU is applied, and to what.",
)(_combining(lambda gate, up: F.silu(gate) * F.silu(up)))

mistake(
    "SiLU after the product",
    what="silu(gate * up)",
    why="No layer is a gate to the other any more: it is one activation, on a product.",
    look_at="the order of SiLU and the product.",
)(_combining(lambda gate, up: F.silu(gate * up)))

mistake(
    "a product without activation",
    what="gate * up",
    why="This is a network of its own (a bilinear one), but it is not SwiGLU.",
    look_at="what happens to the gate's result before the product.",
)(_combining(lambda gate, up: gate * up))

mistake(
    "a sum in place of the product",
    what="silu(gate) + up",
    why="A sum opens and closes nothing: the gate is to weigh the other's numbers.",
    look_at="the sign between the two results.",
)(_combining(lambda gate, up: F.silu(gate) + up))

mistake(
    "the sigmoid in place of SiLU",
    what="sigmoid(gate) * up",
    why="This is GLU, the older relative. SiLU is x * sigmoid(x).",
    look_at="the activation.",
)(_combining(lambda gate, up: torch.sigmoid(gate) * up))

mistake(
    "GELU in place of SiLU",
    what="gelu(gate) * up",
    why="This is GEGLU, a relative. Trained weights of the one do not fit the other.",
    look_at="the activation.",
)(_combining(lambda gate, up: GELU()(gate) * up))

mistake(
    "the exact GELU in place of SiLU",
    what="gelu(gate) * up, with the error function",
    why="This is GEGLU, a relative. Trained weights of the one do not fit the other.",
    look_at="the activation.",
)(_combining(lambda gate, up: F.gelu(gate) * up))

mistake(
    "ReLU in place of SiLU",
    what="relu(gate) * up",
    why="This is ReGLU, a relative. Its gate is shut for good where it is negative.",
    look_at="the activation.",
)(_combining(lambda gate, up: F.relu(gate) * up))

mistake(
    "the gate used twice",
    what="silu(gate) * gate, and the layer up is not used",
    why="One of the three layers gets no gradient and learns nothing.",
    look_at="which layer gives each factor of the product.",
)(_combining(lambda gate, up: F.silu(gate) * gate))

mistake(
    "a product with the input's SiLU",
    what="SiLU is applied to x, before the layer and not after it",
    why="The gate's numbers are not bent, so they do not open and close.",
    look_at="the order of the layer and SiLU.",
)(_with(lambda self, x: self.down(self.gate(F.silu(x)) * self.up(x))))

mistake(
    "a product that is not narrowed",
    what="forward ends before the third layer",
    why="The next component expects emb_dim features.",
    look_at="what forward returns.",
)(_with(lambda self, x: self.combine(self.gate(x), self.up(x))))

mistake(
    "a matrix product of the two results",
    what="@ or matmul in place of *",
    why="It multiplies rows by columns. Here each number meets its own partner.",
    look_at="the operator between the two results.",
)(_with(lambda self, x: self.down(F.silu(self.gate(x)) @ self.up(x))))

mistake(
    "a shortcut inside",
    what="x is added to the result",
    why="The block adds it too (4.5), so it would be added twice.",
    look_at="what forward returns.",
)(_with(lambda self, x: x + _Plain.forward(self, x)))

mistake(
    "a forward without return",
    what="it gives None",
    why="The next component gets nothing to work on.",
    look_at="the last line of forward.",
)(_with(lambda self, x: None))

EXERCISES = (SWIGLU,)
NUMBER_EXERCISES = (FEED_FORWARD_PARAMETERS,)
