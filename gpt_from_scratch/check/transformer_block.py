"""What the check knows of ``TransformerBlock`` (4.5): its probes."""

import torch
from torch import Tensor, nn

from gpt_from_scratch.check.component import Component
from gpt_from_scratch.check.make import Make
from gpt_from_scratch.check.multi_head_attention import (
    MULTI_HEAD_ATTENTION,
    levels,
    moved,
    percent,
)
from gpt_from_scratch.check.weights import numbers, randomize
from gpt_from_scratch.llm_architecture import GPTConfig
from gpt_from_scratch.transformer_block import TransformerBlock


def config(
    emb_dim: int = 12,
    n_heads: int = 3,
    drop_rate: float = 0.0,
    qkv_bias: bool = False,
) -> GPTConfig:
    """Give a configuration whose sizes are all different."""
    return {
        "vocab_size": 53,
        "context_length": 7,
        "emb_dim": emb_dim,
        "n_heads": n_heads,
        "n_layers": 2,
        "drop_rate": drop_rate,
        "qkv_bias": qkv_bias,
    }


_NORMS = {
    f"norm{number}": f"norm_{number} ln{number} ln_{number} layernorm{number} "
    f"layer_norm{number} layernorm_{number} layer_norm_{number} {more}"
    for number, more in (
        (1, "norm_att norm_attn att_norm attn_norm attention_norm ln_attn"),
        (2, "norm_ff norm_ffn norm_mlp ff_norm ffn_norm mlp_norm ln_mlp ln_ff"),
    )
}


def _last_two(weights: dict[str, str]) -> dict[str, str]:
    """Name scale and shift within a normalization, and layers within the network."""
    names = {
        f"norm{number}.{other}": f"norm{number}.{ours}"
        for number in (1, 2)
        for other, ours in (
            ("weight", "scale"),
            ("gamma", "scale"),
            ("bias", "shift"),
            ("beta", "shift"),
        )
    }
    return {**weights, **names}


TRANSFORMER_BLOCK = Component(
    "TransformerBlock",
    TransformerBlock,
    usual_names=_last_two(
        {
            **MULTI_HEAD_ATTENTION.usual_names,
            **{
                other: ours for ours, names in _NORMS.items() for other in names.split()
            },
            **dict.fromkeys(
                ("attn", "attention", "self_attn", "mha", "sa", "self_attention"), "att"
            ),
            **dict.fromkeys(
                ("mlp", "ffn", "feed_forward", "ffwd", "feedforward"), "ff"
            ),
        }
    ),
    heads=lambda cfg: cfg["n_heads"],
    parts={
        "att": "attention (check.multi_head_attention)",
        "ff": "feed-forward network (check.feed_forward)",
        "norm1": "first normalization (check.layer_norm)",
        "norm2": "second normalization (check.layer_norm)",
    },
    example=(config(),),
    width=12,
)


# Weights that make a branch simple.


def _constant(layer: nn.Module, value: float) -> None:
    assert isinstance(layer, nn.Linear)
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, value)


def constant_branches(block: TransformerBlock) -> None:
    """Let attention add 10 everywhere, and the feed-forward network 1000."""
    randomize(block)
    _constant(block.att.out_proj, 10.0)
    _constant(block.ff.layers[2], 1000.0)


def attention_alone(block: TransformerBlock) -> None:
    """Let the feed-forward network add nothing."""
    randomize(block)
    _constant(block.ff.layers[2], 0.0)


def feed_forward_alone(block: TransformerBlock) -> None:
    """Let attention add nothing."""
    randomize(block)
    _constant(block.att.out_proj, 0.0)


def silent(block: TransformerBlock) -> None:
    """Let neither branch add anything."""
    randomize(block)
    _constant(block.att.out_proj, 0.0)
    _constant(block.ff.layers[2], 0.0)


def large_scores(block: TransformerBlock) -> None:
    """Make scores that are large and far apart, then some that are all far below 0."""
    attention_alone(block)
    attention = block.att
    for layer in (attention.W_query, attention.W_key):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    places = range(0, attention.d_out, attention.head_dim)
    for place, score in zip(places, (512.0, -64.0, -2048.0), strict=True):
        attention.W_query.bias.data[place] = attention.head_dim**0.5
        attention.W_key.bias.data[place] = score
    attention.W_key.weight.data[0] = numbers(attention.d_in, seed=40) * 200


def weights_in_the_stream(block: TransformerBlock) -> None:
    """Let attention add each weight twice, and the feed-forward network nothing.

    The weights are even. For a one-hot token, normalization makes its own place larger
    than the others; the last place, which no token has, is subtracted.
    """
    attention_alone(block)
    for norm in (block.norm1, block.norm2):
        nn.init.ones_(norm.scale)
        nn.init.zeros_(norm.shift)
    emb_dim = block.att.d_out
    nn.init.eye_(block.att.out_proj.weight)
    nn.init.zeros_(block.att.out_proj.bias)
    nn.init.zeros_(block.att.W_value.weight)
    for place in range(emb_dim):
        token = place % block.att.head_dim % 3
        block.att.W_value.weight.data[place, token] = 1.0
    block.att.W_value.weight.data[:, -1] -= 1.0
    spread = ((emb_dim - 1) / emb_dim**2 + 1e-5) ** 0.5
    block.att.W_value.weight.data *= spread
    for layer in (block.att.W_query, block.att.W_key):
        nn.init.zeros_(layer.weight)


# Probes: first those whose numbers can be worked out on paper.


@TRANSFORMER_BLOCK.probe("branches that add 10 and 1000", atol=1e-3)
def _branches_that_add_10_and_1000(make: Make) -> object:
    x = torch.eye(12)[None, :5] + numbers(2, 5, 12, seed=1, low=-1, high=1)
    output = make(config(), weights=constant_branches)(x)
    return {"shape": str(tuple(output.shape)), "added": output - x}


@TRANSFORMER_BLOCK.probe("branches that add nothing")
def _branches_that_add_nothing(make: Make) -> object:
    """The stream goes straight through, however large it is."""
    return make(config(), weights=silent)(numbers(2, 5, 12, seed=2, low=-9, high=9))


@TRANSFORMER_BLOCK.probe("what attention adds")
def _what_attention_adds(make: Make) -> object:
    x = numbers(2, 5, 12, seed=3, low=-3, high=4)
    return make(config(), weights=attention_alone)(x) - x


@TRANSFORMER_BLOCK.probe("what the feed-forward network adds")
def _what_the_feed_forward_network_adds(make: Make) -> object:
    x = numbers(2, 5, 12, seed=4, low=-3, high=4)
    return make(config(), weights=feed_forward_alone)(x) - x


@TRANSFORMER_BLOCK.probe("both branches")
def _both_branches(make: Make) -> object:
    return make(config())(numbers(2, 5, 12, seed=5))


@TRANSFORMER_BLOCK.probe("parameters")
def _parameters(make: Make) -> object:
    return {
        f"qkv_bias={bias}": make(config(qkv_bias=bias)).parameters()
        for bias in (False, True)
    }


@TRANSFORMER_BLOCK.probe("before training")
def _before_training(make: Make) -> object:
    start = make(config(), weights=None).initial()
    return {
        name: value if name.startswith("norm") else _in_a_word(value)
        for name, value in start.items()
        if name.startswith("norm") or "W_" in name or _is_of_network(name)
    }


def _is_of_network(name: str) -> bool:
    return name.startswith("ff.") and name.endswith("weight")


def _in_a_word(value: object) -> object:
    if not isinstance(value, Tensor):
        return value
    constant = bool((value == value.flatten()[0]).all())
    return "all the same" if constant else "random numbers"


@TRANSFORMER_BLOCK.probe("with biases of queries, keys and values")
def _with_biases(make: Make) -> object:
    return make(config(qkv_bias=True))(numbers(2, 5, 12, seed=6))


@TRANSFORMER_BLOCK.probe("texts of other lengths")
def _texts_of_other_lengths(make: Make) -> object:
    block = make(config())
    return {
        f"{length} of 7 tokens": block(numbers(2, length, 12, seed=7))
        for length in (7, 1, 6, 2)
    }


@TRANSFORMER_BLOCK.probe("other sizes", rtol=1e-3, atol=1e-3)
def _other_sizes(make: Make) -> object:
    return {
        f"emb_dim {size}, {heads} heads": make(config(size, heads))(
            numbers(3, 3, size, seed=8)
        )
        for size, heads in ((8, 1), (10, 5), (6, 6), (3, 3), (7, 1))
    }


@TRANSFORMER_BLOCK.probe("a token whose features are equal", rtol=1e-3, atol=1e-3)
def _a_token_whose_features_are_equal(make: Make) -> object:
    x = numbers(1, 4, 12, seed=9)
    x[0, 1] = 3.0
    x[0, 2] *= 1e-3
    return make(config(), weights=attention_alone)(x)


@TRANSFORMER_BLOCK.probe("large features", rtol=1e-3, atol=1e-2)
def _large_features(make: Make) -> object:
    return make(config())(numbers(2, 5, 12, seed=10, low=-1000, high=1500))


@TRANSFORMER_BLOCK.probe("large scores", rtol=1e-3, atol=1e-3)
def _large_scores(make: Make) -> object:
    x = numbers(2, 5, 12, seed=18)
    return make(config(qkv_bias=True), weights=large_scores)(x) - x


@TRANSFORMER_BLOCK.probe("one token changed")
def _one_token_changed(make: Make) -> object:
    """It and those after it move, in its own text."""
    return moved(make(config()), 12)


@TRANSFORMER_BLOCK.probe("gradients", rtol=1e-3, atol=1e-3)
def _gradients(make: Make) -> object:
    return make(config(qkv_bias=True)).gradients(numbers(2, 5, 12, seed=11))


@TRANSFORMER_BLOCK.probe("training mode without dropout")
def _training_mode_without_dropout(make: Make) -> object:
    block = make(config())
    block.train()
    x = numbers(2, 5, 12, seed=12)
    return {"first call": block(x), "second call": block(x + 1)}


@TRANSFORMER_BLOCK.probe("dropout of a quarter")
def _dropout_of_a_quarter(make: Make) -> object:
    """In training, what a branch adds is 0 or 4/3 of what it was; the stream stays."""
    block = make(config(24, 3, drop_rate=0.25), weights=constant_branches)
    x = numbers(60, 7, 24, seed=13, low=-1, high=1)
    calm = block(x) - x
    block.train()
    added, again = block(x).detach() - x, block(x).detach() - x
    attention = (added + 300) % (4000 / 3) - 300  # without what the other branch adds
    network = added - attention
    same = torch.allclose(added, again)
    return {
        "eval mode": "1010 added" if (calm - 1010).abs().max() < 0.1 else "others",
        "training mode, attention adds 10": levels((attention / 10).round(decimals=2)),
        "dropped of it": percent(attention.abs() < 5),
        "training mode, feed-forward network adds 1000": levels(
            (network / 1000).round(decimals=2)
        ),
        "dropped of that": percent(network.abs() < 500),
        "two calls": "the same dropped" if same else "others dropped",
    }


@TRANSFORMER_BLOCK.probe("dropout of attention weights")
def _dropout_of_attention_weights(make: Make) -> object:
    """It comes on top of the dropout of the branch: 16/9 of a weight are left."""
    cfg = config(18, 3, drop_rate=0.25)
    block = make(cfg, weights=weights_in_the_stream)
    x = torch.eye(18)[:3].repeat(1000, 1, 1)

    def shares() -> Tensor:
        """As multiples of what they are without dropout, (B, T, heads, copy, T)."""
        added = (block(x).detach() - x).reshape(1000, 3, 3, 2, 3)
        return added * torch.arange(1.0, 4.0)[:, None, None, None]

    calm = shares()
    block.train()
    both = shares()
    visible = torch.ones(3, 3).tril()[:, None, None].expand_as(both) > 0
    pairs = both.amax(dim=3)[visible[:, :, :, 0]]
    return {
        "eval mode": "all there"
        if torch.allclose(calm, visible.float(), atol=1e-3)
        else "others than without dropout",
        "training mode": levels(both[visible].round(decimals=2).abs()),
        "both copies of a value dropped": percent(pairs < 0.5),
        "later tokens": "not seen" if (both[~visible].abs() < 1e-3).all() else "seen",
    }


@TRANSFORMER_BLOCK.probe("nothing else changes")
def _nothing_else_changes(make: Make) -> object:
    return make(config()).side_effects(
        numbers(2, 5, 12, seed=14), numbers(1, 3, 12, seed=15)
    )


@TRANSFORMER_BLOCK.probe("on another device")
def _on_another_device(make: Make) -> object:
    there = make(config()).on_another_device(numbers(2, 5, 12, seed=16))
    return {"moved there": there}


@TRANSFORMER_BLOCK.probe("many random tokens", rtol=1e-3, atol=1e-4)
def _many_random_tokens(make: Make) -> object:
    x = numbers(6, 7, 20, seed=17, low=-3, high=2)
    return make(config(20, 5, qkv_bias=True))(x)
