"""What the check knows of ``GPTModel`` (4.6); see also its mistakes."""

from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from gpt_from_scratch.check.compare import NOT_ASKED
from gpt_from_scratch.check.component import Component, Prepare
from gpt_from_scratch.check.dummy_gpt_model import _NewTensors
from gpt_from_scratch.check.make import Built, Make
from gpt_from_scratch.check.weights import numbers, randomize
from gpt_from_scratch.gpt_model import GPTModel
from gpt_from_scratch.llm_architecture import GPT_CONFIG_124M, GPTConfig

GPT_MODEL = Component(
    "GPTModel",
    GPTModel,
    usual_names={
        other: ours
        for ours, others in {
            "tok_emb": "wte token_emb token_embedding token_embeddings tok embedding",
            "pos_emb": "wpe position_emb pos_embedding position_embedding pos",
            "trf_blocks": "blocks h transformer_blocks transformer trf",
            "final_norm": "ln_f norm_f norm final_layer_norm ln_final last_norm",
            "out_head": "lm_head head output unembed output_layer",
            "att": "attn attention mha self_attn self_attention",
            "ff": "mlp ffn feed_forward feedforward",
            "norm1": "ln1 ln_1 layer_norm1 norm_1 layernorm1",
            "norm2": "ln2 ln_2 layer_norm2 norm_2 layernorm2",
            "scale": "gamma",
            "shift": "beta",
            "W_query": "q query queries q_proj W_q Wq to_q",
            "W_key": "k key keys k_proj W_k Wk to_k",
            "W_value": "v value values v_proj W_v Wv to_v",
            "out_proj": "o_proj proj W_o Wo to_out",
            "norm1.scale": "norm1.weight",
            "norm1.shift": "norm1.bias",
            "norm2.scale": "norm2.weight",
            "norm2.shift": "norm2.bias",
            "final_norm.scale": "final_norm.weight",
            "final_norm.shift": "final_norm.bias",
        }.items()
        for other in others.split()
    },
)
CFG: GPTConfig = {
    "vocab_size": 53,
    "context_length": 7,
    "emb_dim": 12,
    "n_heads": 3,
    "n_layers": 2,
    "drop_rate": 0.0,
    "qkv_bias": False,
}
ONE_LAYER: GPTConfig = {**CFG, "n_layers": 1}


def ids(*shape: int, seed: int = 0) -> Tensor:
    """Give token ids below 53 that are the same on every machine."""
    return numbers(*shape, seed=seed, low=0, high=53).long()


# How weights are set. A silenced branch adds nothing, so that the others are seen.


def _zero(*modules: nn.Module) -> None:
    for module in modules:
        for parameter in module.parameters():
            nn.init.zeros_(parameter)


def no_attention(model: Any) -> None:  # noqa: ANN401
    """Silence attention in each block."""
    randomize(model)
    _zero(*[block.att.out_proj for block in model.trf_blocks])


def no_feed_forward(model: Any) -> None:  # noqa: ANN401
    """Silence the feed-forward network in each block."""
    randomize(model)
    _zero(*[block.ff.layers[2] for block in model.trf_blocks])


def no_blocks(model: Any) -> None:  # noqa: ANN401
    """Silence both: the blocks change nothing."""
    no_attention(model)
    _zero(*[block.ff.layers[2] for block in model.trf_blocks])


def only_tokens(model: Any) -> None:  # noqa: ANN401
    """Silence the blocks and the position embedding."""
    no_blocks(model)
    _zero(model.pos_emb)


def only_positions(model: Any) -> None:  # noqa: ANN401
    """Silence the blocks and the token embedding."""
    no_blocks(model)
    _zero(model.tok_emb)


def only_attention(model: Any) -> None:  # noqa: ANN401
    """Silence all but attention, which gets the shift of its normalization."""
    no_feed_forward(model)
    _zero(model.tok_emb, model.pos_emb)


def only_feed_forward(model: Any) -> None:  # noqa: ANN401
    """Silence all but the feed-forward network."""
    no_attention(model)
    _zero(model.tok_emb, model.pos_emb)


def gelu_of_numbers_below_0(model: Any) -> None:  # noqa: ANN401
    """Let the features be GELU of -4 to -1.5, where its versions differ the most."""
    only_feed_forward(model)
    for block in model.trf_blocks:
        _zero(block.ff)
        nn.init.eye_(block.ff.layers[0].weight)
        nn.init.eye_(block.ff.layers[2].weight)
        size = len(block.norm2.shift)
        block.norm2.shift.data = torch.linspace(-4.0, -1.5, size)


def nothing(model: Any) -> None:  # noqa: ANN401
    """Silence the embeddings and the blocks: the final norm's shift is left."""
    only_tokens(model)
    _zero(model.tok_emb)


def ones(model: Any) -> None:  # noqa: ANN401
    """Let both embeddings be 1, and the first logits the normalized features."""
    no_blocks(model)
    nn.init.ones_(model.tok_emb.weight)
    nn.init.ones_(model.pos_emb.weight)
    nn.init.ones_(model.final_norm.scale)
    nn.init.zeros_(model.final_norm.shift)
    nn.init.eye_(model.out_head.weight)


def ones_and_branch(model: Any) -> None:  # noqa: ANN401
    """Let the last block's feed-forward network add 5, and drop it or not."""
    ones(model)
    nn.init.constant_(model.trf_blocks[-1].ff.layers[2].bias, 5.0)


def count_without_numbers(make: Make, cfg: GPTConfig) -> int | None:
    """Count a model's parameters on the "meta" device, where none is stored.

    Args:
        make: What makes the model.
        cfg: Its configuration.

    Returns:
        The count, or ``None`` if the learner's code does not work there; it need not.
    """
    try:
        with torch.device("meta"):
            parameters = list(make.target({**cfg}).parameters())
    except Exception:
        return None
    if not all(parameter.is_meta for parameter in parameters):
        return None
    return sum(parameter.numel() for parameter in parameters)


# Classes whose models are far too large: to build them again and again takes too long.
_TOO_LARGE: WeakSet[Any] = WeakSet()


def build(make: Make, cfg: GPTConfig, weights: Prepare | None = randomize) -> Built:
    """Build a model, but none that is far too large."""
    if make.target in _TOO_LARGE:
        raise ValueError("too large")
    return make(cfg, weights=weights)


# Probes: first those of the parameters, then of one part after the other.


@GPT_MODEL.probe("number of parameters")
def _number_of_parameters(make: Make) -> object:
    full = count_without_numbers(make, GPT_CONFIG_124M)
    small = count_without_numbers(make, CFG)
    _TOO_LARGE.discard(make.target)
    if full is None or small is None:
        return NOT_ASKED
    if small > 20_000:
        _TOO_LARGE.add(make.target)
    return {"GPT-2 small": f"{full:,}", "two small blocks": f"{small:,}"}


@GPT_MODEL.probe("parameters")
def _parameters(make: Make) -> object:
    return build(make, CFG).parameters()


@GPT_MODEL.probe("parameters with qkv_bias=True")
def _parameters_with_qkv_bias_true(make: Make) -> object:
    return build(make, {**ONE_LAYER, "qkv_bias": True}).parameters()


@GPT_MODEL.probe("shape")
def _shape(make: Make) -> object:
    """2 texts of 5 tokens, a logit for each of 53 tokens."""
    logits = build(make, CFG)(ids(2, 5))
    return f"{tuple(logits.shape)}, {logits.dtype}"


@GPT_MODEL.probe("embeddings, final normalization and output layer")
def _embeddings_final_normalization_and_output_layer(make: Make) -> object:
    """The blocks are silenced: they change nothing."""
    return build(make, CFG, weights=no_blocks)(ids(2, 5, seed=1))


@GPT_MODEL.probe("attention in a block, alone")
def _attention_in_a_block_alone(make: Make) -> object:
    return build(make, ONE_LAYER, weights=no_feed_forward)(ids(2, 5, seed=2))


@GPT_MODEL.probe("the feed-forward network in a block, alone")
def _the_feed_forward_network_in_a_block_alone(make: Make) -> object:
    weights = {
        "random weights": no_attention,
        "GELU of -4 to -1.5": gelu_of_numbers_below_0,
    }
    return {
        name: build(make, ONE_LAYER, weights=prepare)(ids(2, 5, seed=3))
        for name, prepare in weights.items()
    }


@GPT_MODEL.probe("one block")
def _one_block(make: Make) -> object:
    return build(make, ONE_LAYER)(ids(2, 5, seed=4))


@GPT_MODEL.probe("two blocks")
def _two_blocks(make: Make) -> object:
    return build(make, CFG)(ids(2, 5, seed=5))


@GPT_MODEL.probe("other numbers of texts and tokens")
def _other_numbers_of_texts_and_tokens(make: Make) -> object:
    model = build(make, CFG)
    shapes = [(1, 1), (1, 7), (3, 1), (5, 5), (9, 7), (7, 2)]
    return {f"shape {shape}": model(ids(*shape, seed=6)) for shape in shapes}


@GPT_MODEL.probe("other configurations")
def _other_configurations(make: Make) -> object:
    others: list[Any] = [
        {"n_layers": 3},
        {"n_heads": 1},
        {"n_heads": 6, "n_layers": 1},
        {"vocab_size": 61},
        {"context_length": 11},
        {"emb_dim": 6},
        {"emb_dim": 15, "qkv_bias": True},
        {"drop_rate": 0.5},
    ]
    return {
        str(other): build(make, {**CFG, **other})(ids(2, 6, seed=7)) for other in others
    }


@GPT_MODEL.probe("a configuration that is not changed")
def _a_configuration_that_is_not_changed(make: Make) -> object:
    cfg = {**CFG}
    build(make, CFG)  # what raises here is another finding
    make.target(cfg)
    return "as it was" if cfg == CFG else "changed"


@GPT_MODEL.probe("one token changed")
def _one_token_changed(make: Make) -> object:
    """It and those after it move, in its text; no other does."""
    model = build(make, CFG)
    one = ids(2, 6, seed=8)
    other = one.clone()
    other[1, 3] = (other[1, 3] + 7) % 53
    moves = (model(other) - model(one)).abs().amax(dim=-1) > 1e-5  # (2, 6)
    return {
        f"text {text}, token {token}": "moves" if moves[text, token] else "stays"
        for text in range(2)
        for token in range(6)
    }


@GPT_MODEL.probe("gradients", rtol=1e-3, atol=1e-3)
def _gradients(make: Make) -> object:
    every_id = torch.arange(56).reshape(8, 7) % 53
    return build(make, {**CFG, "qkv_bias": True}).gradients(every_id)


def dropped(
    make: Make, weights: Prepare, rate: float = 0.5, num_texts: int = 8
) -> tuple[Tensor, Tensor]:
    """Give the logits in evaluation mode, and in training mode."""
    model = build(make, {**CFG, "drop_rate": rate}, weights=weights)
    batch = ids(num_texts, 7, seed=9)
    calm = model(batch)
    model.train()
    return calm, model(batch)


@GPT_MODEL.probe("dropout in training")
def _dropout_in_training(make: Make) -> object:
    """Where it is, and how much: at a drop_rate of 0.25, 1 of 4 features becomes 0.

    At 0.5, 1 of 4 is dropped by the embeddings and by a branch, too.
    """

    def words(weights: Prepare, rate: float = 0.5) -> str:
        calm, trained = dropped(make, weights, rate)
        is_same = torch.allclose(calm, trained, rtol=1e-4, atol=1e-5)
        return "none" if is_same else "active"

    seen: dict[str, object] = {
        "on the token embeddings": words(only_tokens),
        "on the position embeddings": words(only_positions),
        "on attention's branch": words(only_attention),
        "on the feed-forward branch": words(only_feed_forward),
        "after the blocks": words(nothing),
        "with a drop_rate of 0": words(randomize, 0.0),
    }
    # Of so many features, a share comes out the same within 0.01 whatever the masks.
    features = dropped(make, ones, 0.25, 128)[1][..., :12]  # (128, 7, 12)
    seen["share of the features"] = share_in_words((features < -1e-3).float().mean())
    kinds = max(len(row.unique()) for row in features.round(decimals=3)[0])
    seen["the two embeddings"] = "dropped together" if kinds <= 2 else "one by one"
    features = dropped(make, ones_and_branch, num_texts=128)[1][..., :12]
    lowest = features.amin(dim=-1, keepdim=True)
    share = (features < lowest + 1e-3).float().mean()
    seen["dropped by the embeddings and a branch"] = share_in_words(share)
    return seen


def share_in_words(share: Tensor) -> str:
    """Say how large a share is, about; which values are dropped is left to chance."""
    near = [value for value in (0.0, 0.1, 0.25, 0.5, 0.75) if abs(share - value) < 0.04]
    return f"about {near[0]:g}" if near else "another"


@GPT_MODEL.probe("evaluation mode")
def _evaluation_mode(make: Make) -> object:
    """Nothing is dropped: two calls give the same."""
    model = build(make, {**CFG, "drop_rate": 0.5})
    batch = ids(2, 5, seed=10)
    is_same = torch.allclose(model(batch), model(batch), rtol=1e-4, atol=1e-5)
    return "twice the same" if is_same else "another result each time"


@GPT_MODEL.probe("initial weights")
def _initial_weights(make: Make) -> object:
    """Random; those of normalization 1 and 0, and none the copy of another."""
    weights = build(make, {**CFG, "qkv_bias": True}, weights=None).initial()
    seen: dict[str, object] = {}
    matrices: dict[str, Tensor] = {}
    for name, value in weights.items():
        if not isinstance(value, Tensor):
            seen[name] = value
        elif name.endswith(("scale", "shift")):
            first = value.flatten()[0]
            is_constant = bool((value == first).all())
            seen[name] = f"all {first.item():g}" if is_constant else "not all equal"
        elif value.ndim == 2:
            is_random = 0.001 < value.std() < 2 > value.mean().abs()
            seen[name] = "random, around 0" if is_random else "other"
            for earlier, matrix in matrices.items():
                if matrix.shape == value.shape and torch.equal(matrix, value):
                    seen[name] = f"a copy of {earlier}"
                    break
            matrices[name] = value
    return seen


@GPT_MODEL.probe("positions on the device of the ids")
def _positions_on_the_device_of_the_ids(make: Make) -> object:
    model, batch = build(make, CFG), ids(2, 5, seed=11)
    with _NewTensors() as mode:
        model(batch)
    return "always on the CPU" if mode.used else "yes"


@GPT_MODEL.probe("large features and logits", rtol=1e-3, atol=1e-2)
def _large_features_and_logits(make: Make) -> object:
    """Features of some hundreds, as GPT-2's are in its deeper blocks; large logits."""
    return build(make, {**CFG, "qkv_bias": True}, weights=large)(ids(2, 6, seed=12))


def large(model: Any) -> None:  # noqa: ANN401
    """Let the embeddings be 100 times as large, and the logits 20 times."""
    randomize(model)
    with torch.no_grad():
        model.tok_emb.weight *= 100
        model.pos_emb.weight *= 100
        model.out_head.weight *= 20


@GPT_MODEL.probe("nothing else changes")
def _nothing_else_changes(make: Make) -> object:
    return build(make, CFG).side_effects(ids(2, 5, seed=13), ids(3, 7, seed=14))


@GPT_MODEL.probe("many random tokens")
def _many_random_tokens(make: Make) -> object:
    cfg: GPTConfig = {**CFG, "context_length": 40, "emb_dim": 18, "n_layers": 4}
    return build(make, cfg)(ids(3, 40, seed=15))
