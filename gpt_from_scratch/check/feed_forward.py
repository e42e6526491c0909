"""What the check knows of ``FeedForward`` (4.3)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpt_from_scratch.check.component import Component
from gpt_from_scratch.check.gelu import GELU_COMPONENT
from gpt_from_scratch.check.make import Make
from gpt_from_scratch.check.weights import numbers
from gpt_from_scratch.feed_forward import GELU, FeedForward
from gpt_from_scratch.llm_architecture import GPTConfig

FEED_FORWARD = Component(
    "FeedForward",
    FeedForward,
    usual_names={
        **dict.fromkeys(
            ("first", "fc1", "c_fc", "linear1", "w1", "W1", "expand"), "layers.0"
        ),
        **dict.fromkeys(
            ("second", "fc2", "c_proj", "linear2", "w2", "W2", "contract"), "layers.2"
        ),
        **dict.fromkeys(("net", "ff", "mlp", "model", "network", "layer"), "layers"),
    },
)


def config(emb_dim: int = 12, drop_rate: float = 0.0) -> GPTConfig:
    """Give a configuration whose sizes are all different."""
    return {
        "vocab_size": 53,
        "context_length": 7,
        "emb_dim": emb_dim,
        "n_heads": 1 if emb_dim % 3 else 3,
        "n_layers": 2,
        "drop_rate": drop_rate,
        "qkv_bias": False,
    }


def copying(network: FeedForward) -> None:
    """Let both layers copy the first features: the result is 2 * GELU(x + 0.5) - 1."""
    first, second = network.layers[0], network.layers[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    nn.init.eye_(first.weight)
    nn.init.constant_(first.bias, 0.5)
    nn.init.eye_(second.weight)
    second.weight.data *= 2
    nn.init.constant_(second.bias, -1.0)


# Probes.


@FEED_FORWARD.probe("shape")
def _shape(make: Make) -> object:
    """A batch of 2 texts of 5 tokens of 12 features, as it comes in and goes out."""
    return str(tuple(make(config())(numbers(2, 5, 12, seed=1)).shape))


@FEED_FORWARD.probe("layers that copy", rtol=1e-5, atol=1e-5)
def _layers_that_copy(make: Make) -> object:
    """At 2.2, GELU gets 2.7, where the exact one is the furthest away."""
    x = torch.tensor([[2.2, 0.5, -1.5, 2.5, -3.2, -0.5]])
    return make(config(6), weights=copying)(x)


@FEED_FORWARD.probe("parameters")
def _parameters(make: Make) -> object:
    return make(config()).parameters()


@FEED_FORWARD.probe("random weights")
def _random_weights(make: Make) -> object:
    return make(config())(numbers(2, 5, 12, seed=2))


@FEED_FORWARD.probe("inputs of other shapes")
def _inputs_of_other_shapes(make: Make) -> object:
    shapes = [(1, 12), (12, 12), (1, 1, 12), (3, 7, 12), (12, 12, 12)]
    network = make(config())
    return {f"shape {shape}": network(numbers(*shape, seed=3)) for shape in shapes}


@FEED_FORWARD.probe("other numbers of features")
def _other_numbers_of_features(make: Make) -> object:
    return {
        f"emb_dim {size}": make(config(size))(numbers(2, 4, size, seed=4))
        for size in (1, 3, 8, 30)
    }


@FEED_FORWARD.probe("large features")
def _large_features(make: Make) -> object:
    return make(config())(numbers(2, 3, 12, seed=5, low=-50, high=50))


@FEED_FORWARD.probe("one token changed")
def _one_token_changed(make: Make) -> object:
    """No other token's result may move."""
    return moved(make, config(), 12)


def moved(make: Make, cfg: GPTConfig, size: int) -> dict[str, str]:
    """Say which tokens' results move if one token is changed."""
    x = numbers(2, 5, size, seed=6)
    changed = x.clone()
    changed[1, 3] += numbers(size, seed=7)
    module = make(cfg)
    moves = (module(changed) - module(x)).abs().amax(dim=-1) > 1e-6  # (2, 5)
    return {
        f"text {text}, token {token}": "moves" if moves[text, token] else "stays"
        for text in range(2)
        for token in range(5)
    }


@FEED_FORWARD.probe("gradients", atol=1e-4)
def _gradients(make: Make) -> object:
    return make(config()).gradients(numbers(2, 5, 12, seed=8))


@FEED_FORWARD.probe("initial weights")
def _initial_weights(make: Make) -> object:
    """Not which, only that they are random and of some size."""
    return {
        name: "random, around 0"
        if isinstance(value, Tensor) and 0.001 < value.std() < 1 > value.mean().abs()
        else "other"
        for name, value in make(config(), weights=None).initial().items()
        if "weight" in name
    }


@FEED_FORWARD.probe("training mode, with a drop_rate of 0.5")
def _training_mode_with_a_drop_rate_of_0_5(make: Make) -> object:
    """Dropout stands outside of this component, in the block."""
    network = make(config(drop_rate=0.5))
    x = numbers(2, 5, 12, seed=9)
    calm = network(x)
    network.train()
    trained = network(x)
    is_same = calm.shape == trained.shape and torch.allclose(calm, trained, atol=1e-5)
    return {
        "result in eval mode": calm,
        "result in training mode": "the same" if is_same else "another",
        "its values": trained,
    }


@FEED_FORWARD.probe("nothing else changes")
def _nothing_else_changes(make: Make) -> object:
    network = make(config())
    return network.side_effects(numbers(2, 5, 12, seed=10), numbers(1, 3, 12, seed=11))


# Wrong versions.


class _Plain(nn.Module):
    hidden = 4.0  # times as many features as emb_dim
    bias = (True, True)
    activation: Callable[[Tensor], Tensor] = GELU()

    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__()
        size = cfg["emb_dim"]
        hidden = max(1, int(self.hidden * size))
        self.first = nn.Linear(size, hidden, bias=self.bias[0])
        self.second = nn.Linear(hidden, size, bias=self.bias[1])

    def forward(self, x: Tensor) -> Tensor:
        return self.second(type(self).activation(self.first(x)))


# A mistake in the activation is one here too.
for _mistake in GELU_COMPONENT.mistakes:
    if not _mistake.wrong.__name__ == "_Formula" or "gradient" in _mistake.name:
        continue
    FEED_FORWARD.mistake(
        f"{_mistake.name} as the activation",
        what=_mistake.what,
        why=_mistake.why,
        look_at=f"the activation, which check.gelu checks alone: {_mistake.look_at}",
    )(type("_Wrong", (_Plain,), {"activation": staticmethod(_mistake.wrong())}))


@FEED_FORWARD.mistake(
    "an activation after the second layer",
    what="the two linear layers follow one another, and GELU comes last",
    why="Two linear layers in a row are worth one: the expansion to four times as many "
    "features is for nothing. And the result is hardly ever below 0.",
    look_at="the order of the three steps.",
)
class _ActivationAfterSecondLayer(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        return type(self).activation(self.second(self.first(x)))


@FEED_FORWARD.mistake(
    "an activation before the first layer",
    what="GELU comes first, and the two linear layers follow one another",
    why="Two linear layers in a row are worth one: the expansion to four times as many "
    "features is for nothing.",
    look_at="the order of the three steps.",
)
class _ActivationBeforeFirstLayer(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(type(self).activation(x)))


@FEED_FORWARD.mistake(
    "an activation after both layers",
    what="GELU is applied twice",
    why="The last one holds back negative results, so the network can hardly make a "
    "feature smaller.",
    look_at="what comes after the second linear layer.",
)
class _ActivationAfterBothLayers(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        return type(self).activation(super().forward(x))


for _hidden, _name, _why in (
    (1.0, "no expansion", "There is less to choose from"),
    (0.25, "a contraction to a quarter", "Three quarters of the information are lost"),
    (2.0, "an expansion to twice as many features", "The network holds half as much"),
    (3.0, "an expansion to three times as many features", "The network holds less"),
    (8.0, "an expansion to eight times as many features", "The network is larger"),
    (8 / 3, "an expansion to 8/3 times as many features", "The network holds less"),
):
    FEED_FORWARD.mistake(
        _name,
        what="between the layers each token should have 4 * emb_dim features",
        why=f"{_why}, and GPT-2's trained weights do not fit: they are 768 by 3,072.",
        look_at="the sizes of the two linear layers.",
    )(type("_OtherSize", (_Plain,), {"hidden": _hidden}))

for _bias, _name in (
    ((False, False), "linear layers without bias"),
    ((False, True), "a first layer without bias"),
    ((True, False), "a second layer without bias"),
):
    FEED_FORWARD.mistake(
        _name,
        what="bias=False",
        why="GPT-2's layers have one here: 3,072 numbers in the first layer, 768 in "
        "the second. The setting qkv_bias is for attention alone.",
        look_at="what nn.Linear is told besides the sizes.",
    )(type("_NoBias", (_Plain,), {"bias": _bias}))


@FEED_FORWARD.mistake(
    "3,072 hidden features, whatever emb_dim is",
    what="the number is written into the code",
    why="It fits the smallest GPT-2 alone. The next one has 1,024 features a token, so "
    "4,096 hidden ones.",
    look_at="the sizes of the two linear layers.",
)
class _Hidden3072(_Plain):
    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__(cfg)
        self.first = nn.Linear(cfg["emb_dim"], 3072)
        self.second = nn.Linear(3072, cfg["emb_dim"])


@FEED_FORWARD.mistake(
    "768 features, whatever emb_dim is",
    what="the number is written into the code",
    why="It fits the smallest GPT-2 alone. The next one has 1,024 features a token.",
    look_at="the sizes of the two linear layers.",
)
class _Features768(_Plain):
    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__({**cfg, "emb_dim": 768})


@FEED_FORWARD.mistake(
    "GELU in place of GELU()",
    what="nn.Sequential gets the class itself and not an object of it",
    why="A class is a plan. nn.Sequential chains modules, which are built by it.",
    look_at="the brackets after GELU.",
)
class _GELUPlaceGELU(_Plain):
    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__(cfg)
        nn.Sequential(self.first, GELU, self.second)  # type: ignore[call-overload]


@FEED_FORWARD.mistake(
    "a list in nn.Sequential",
    what="nn.Sequential gets one list and not the steps one by one",
    why="It takes its modules as separate arguments.",
    look_at="the square brackets; a * before a list takes it apart.",
)
class _ListNnSequential(_Plain):
    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__(cfg)
        nn.Sequential([self.first, GELU(), self.second])  # type: ignore[call-overload]


@FEED_FORWARD.mistake(
    "a missing super().__init__()",
    what="the class does not set up what nn.Module needs",
    why="Before the __init__ of nn.Module has run, it cannot take layers.",
    look_at="the first line of __init__.",
)
class _MissingSuperInit(_Plain):
    def __init__(self, cfg: GPTConfig) -> None:
        self.first = nn.Linear(1, 1)


@FEED_FORWARD.mistake(
    "linear layers over the tokens",
    what="tokens and features change places before the layers",
    why="Tokens are mixed with each other, those after with those before: the model "
    "sees the future. And it fits one number of tokens only.",
    look_at="calls of transpose, permute, mT or T in forward.",
)
class _LinearLayersOverTokens(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(-1, -2)).transpose(-1, -2)


def _with(forward: Callable[[Any, Tensor], Any]) -> type[_Plain]:
    return type("_Wrong", (_Plain,), {"forward": forward})


FEED_FORWARD.mistake(
    "a shortcut inside",
    what="x is added to the result",
    why="The block adds it too (4.5), so it would be added twice.",
    look_at="what forward returns.",
)(_with(lambda self, x: x + _Plain.forward(self, x)))

FEED_FORWARD.mistake(
    "the input alone",
    what="forward returns x and not the result",
    why="The layers are not used, and never trained.",
    look_at="what forward returns.",
)(_with(lambda self, x: x.clone()))

FEED_FORWARD.mistake(
    "the first layer alone",
    what="the result has four times as many features",
    why="The next component expects emb_dim features.",
    look_at="what forward returns.",
)(_with(lambda self, x: self.first(x)))

FEED_FORWARD.mistake(
    "the first layer and the activation alone",
    what="the result has four times as many features",
    why="The next component expects emb_dim features.",
    look_at="what forward returns.",
)(_with(lambda self, x: type(self).activation(self.first(x))))

FEED_FORWARD.mistake(
    "a forward without return",
    what="it gives None",
    why="The next component gets nothing to work on.",
    look_at="the last line of forward.",
)(_with(lambda self, x: None))

FEED_FORWARD.mistake(
    "a gradient cut off at the input",
    what="x is detached",
    why="The result is right, but no gradient reaches the layers before: they are "
    "never trained.",
    look_at="detach, .data and no_grad.",
)(_with(lambda self, x: _Plain.forward(self, x.detach())))

FEED_FORWARD.mistake(
    "a gradient cut off between the layers",
    what="what the second layer gets is detached",
    why="The result is right, but the first layer gets no gradient, nor does all that "
    "comes before: they are never trained.",
    look_at="detach, .data and no_grad.",
)(_with(lambda self, x: self.second(type(self).activation(self.first(x)).detach())))

FEED_FORWARD.mistake(
    "a forward under no_grad",
    what="PyTorch does not record how the result comes about",
    why="The result is right, but nothing can be trained.",
    look_at="detach, .data and no_grad.",
)(_with(torch.no_grad()(lambda self, x: _Plain.forward(self, x))))

FEED_FORWARD.mistake(
    "dropout after the second layer",
    what="in training, some results are set to zero",
    why="GPT-2's block drops there too (4.5), outside of this component: values would "
    "be dropped twice.",
    look_at="dropout; the block will have its own.",
)(
    _with(
        lambda self, x: F.dropout(_Plain.forward(self, x), 0.5, self.training),
    )
)


@FEED_FORWARD.mistake(
    "layers in a plain list",
    what="PyTorch does not look into Python's lists, so the layers are not registered",
    why="An optimizer does not see their parameters, they are not saved, and do not "
    "move to the GPU.",
    look_at="how __init__ keeps the layers.",
)
class _LayersPlainList(_Plain):
    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__(cfg)
        self.steps = [self.first, self.second]
        del self.first, self.second

    def forward(self, x: Tensor) -> Tensor:
        return self.steps[1](type(self).activation(self.steps[0](x)))


@FEED_FORWARD.mistake(
    "weights that start at 0",
    what="they are set to 0 in __init__",
    why="With zeros, all hidden features are alike and get the same gradient: they "
    "can never become different.",
    look_at="what __init__ does to the weights.",
)
class _WeightsStartAt0(_Plain):
    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__(cfg)
        nn.init.zeros_(self.first.weight)
        nn.init.zeros_(self.second.weight)


@FEED_FORWARD.mistake(
    "parameters that are not trained",
    what="they have requires_grad=False",
    why="Training does not change them.",
    look_at="what __init__ does to the layers.",
)
class _ParametersAreNotTrained(_Plain):
    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__(cfg)
        self.requires_grad_(False)


@FEED_FORWARD.mistake(
    "a layer normalization inside",
    what="x is normalized before the first layer, with parameters of its own",
    why="The block normalizes (4.5), so it would be done twice.",
    look_at="what happens to x before the first layer.",
)
class _LayerNormalizationInside(_Plain):
    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__(cfg)
        self.norm = nn.LayerNorm(cfg["emb_dim"])

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.norm(x))
