"""Checks of the exercises of notebook 4.5."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gpt_from_scratch.check.component import Component
from gpt_from_scratch.check.engine import check
from gpt_from_scratch.check.make import Built, Make
from gpt_from_scratch.check.multi_head_attention import levels, moved, percent
from gpt_from_scratch.check.number_exercise import NumberExercise
from gpt_from_scratch.check.report import Report
from gpt_from_scratch.check.transformer_block import (
    TRANSFORMER_BLOCK,
    attention_alone,
    config,
    constant_branches,
    feed_forward_alone,
)
from gpt_from_scratch.check.weights import numbers, randomize
from gpt_from_scratch.llm_architecture import GPTConfig
from gpt_from_scratch.transformer_block import TransformerBlock

__all__ = ["block_with_three_rates", "post_norm_block"]


# Exercise 1: a post-norm block.


class _PostNormBlock(TransformerBlock):
    """The block of the first transformer, in steps that a wrong version replaces."""

    def attend(self, x: Tensor) -> Tensor:
        return self.drop_shortcut(self.att(x))

    def think(self, x: Tensor) -> Tensor:
        return self.drop_shortcut(self.ff(x))

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        x = self.norm1(x + self.attend(x))
        return self.norm2(x + self.think(x))


POST_NORM_BLOCK = Component(
    "PostNormBlock",
    _PostNormBlock,
    usual_names=TRANSFORMER_BLOCK.usual_names,
    heads=TRANSFORMER_BLOCK.heads,
    is_exercise=True,
)


def post_norm_block(learner: object) -> Report:
    """Check a transformer block with post-norm (exercise of 4.5).

    Args:
        learner: Your class, called as ``PostNormBlock(cfg)``.

    Returns:
        What was found; see ``Report``.
    """
    return check(POST_NORM_BLOCK, learner)


@POST_NORM_BLOCK.probe("mean and variance of what comes out", atol=1e-3)
def _mean_and_variance(make: Make) -> object:
    """Scales are 1 and shifts 0 in a new block: its result is normalized."""
    block = make(config(), weights=None)
    output = block(numbers(2, 5, 12, seed=1, low=-9, high=12))
    return {
        "shape": str(tuple(output.shape)),
        "mean": output.mean(dim=-1),
        "variance": output.var(dim=-1, correction=0),
    }


@POST_NORM_BLOCK.probe("branches that add the same everywhere", atol=1e-3)
def _branches_that_add_the_same_everywhere(make: Make) -> object:
    """A normalization after the sum takes away what a branch adds."""
    return make(config(), weights=constant_branches)(numbers(2, 5, 12, seed=2))


@POST_NORM_BLOCK.probe("what attention does", rtol=1e-3, atol=1e-4)
def _what_attention_does(make: Make) -> object:
    x = numbers(2, 5, 12, seed=3, low=-3, high=4)
    return make(config(), weights=attention_alone)(x)


@POST_NORM_BLOCK.probe("what the feed-forward network does", rtol=1e-3, atol=1e-4)
def _what_the_feed_forward_network_does(make: Make) -> object:
    x = numbers(2, 5, 12, seed=4, low=-3, high=4)
    return make(config(), weights=feed_forward_alone)(x)


@POST_NORM_BLOCK.probe("both branches", rtol=1e-3, atol=1e-4)
def _both_branches(make: Make) -> object:
    return make(config())(numbers(2, 5, 12, seed=5))


@POST_NORM_BLOCK.probe("parameters")
def _parameters_of_post_norm(make: Make) -> object:
    return {
        f"qkv_bias={bias}": make(config(qkv_bias=bias)).parameters()
        for bias in (False, True)
    }


@POST_NORM_BLOCK.probe("other sizes", rtol=1e-3, atol=1e-3)
def _other_sizes(make: Make) -> object:
    return {
        f"emb_dim {size}, {heads} heads": make(config(size, heads))(
            numbers(3, 3, size, seed=8)
        )
        for size, heads in ((8, 1), (10, 5), (6, 6))
    }


@POST_NORM_BLOCK.probe("one token changed")
def _one_token_changed(make: Make) -> object:
    return moved(make(config()), 12)


@POST_NORM_BLOCK.probe("gradients", rtol=1e-3, atol=1e-3)
def _gradients_of_post_norm(make: Make) -> object:
    return make(config(qkv_bias=True)).gradients(numbers(2, 5, 12, seed=11))


def _network_adds_1000(block: TransformerBlock) -> None:
    """Let attention add nothing, and the norms only normalize."""
    constant_branches(block)
    nn.init.zeros_(block.att.out_proj.bias)
    for norm in (block.norm1, block.norm2):
        nn.init.ones_(norm.scale)
        nn.init.zeros_(norm.shift)


def _dropped(make: Make, weights: Callable[[TransformerBlock], None]) -> object:
    """One branch adds so much that each result is one of two values, within little."""
    block = make(config(24, 3, drop_rate=0.25), weights=weights)
    x = numbers(60, 7, 24, seed=13, low=-1, high=1)
    block.train()
    output, again = block(x).detach(), block(x).detach()
    low = output < 0
    centred = bool(output.mean(dim=-1).abs().max() < 0.01)
    same = torch.allclose(output, again)
    return {
        "two calls": "the same dropped" if same else "others dropped",
        "low results": percent(low),
        "low results of a token": _alike(output, low),
        "results of exactly 0": percent(output == 0),
        "mean of a token's results": "about 0" if centred else "not 0",
    }


def _alike(values: Tensor, some: Tensor) -> str:
    """Say whether some values of each token are the same: the stream has gone there."""
    lowest = values.masked_fill(~some, torch.inf).amin(dim=-1)
    highest = values.masked_fill(~some, -torch.inf).amax(dim=-1)
    return "all the same" if (highest - lowest).max() < 1e-6 else "different"


@POST_NORM_BLOCK.probe("dropout after the feed-forward network")
def _dropout_after_the_feed_forward_network(make: Make) -> object:
    """Attention adds nothing; the network adds so much that it decides alone."""
    return _dropped(make, _network_adds_1000)


@POST_NORM_BLOCK.probe("dropout after attention")
def _dropout_after_attention(make: Make) -> object:
    """The network adds nothing; attention adds so much that it decides alone."""
    return _dropped(make, _attention_adds_1000)


def _attention_adds_1000(block: TransformerBlock) -> None:
    """Let the feed-forward network add nothing, and the norms only normalize."""
    _network_adds_1000(block)
    nn.init.constant_(block.att.out_proj.bias, 1000.0)
    last = block.ff.layers[2]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.bias)


@POST_NORM_BLOCK.probe("nothing else changes")
def _nothing_else_changes(make: Make) -> object:
    return make(config()).side_effects(
        numbers(2, 5, 12, seed=14), numbers(1, 3, 12, seed=15)
    )


_PRE = (
    "In pre-norm the stream is never normalized; in post-norm every sum is, and "
    "nothing else."
)


@POST_NORM_BLOCK.mistake(
    "normalization before the branches",
    what="each branch reads a normalized input, and the sums are not normalized",
    why=f"It is the block of this notebook, pre-norm. {_PRE}",
    look_at="what norm1 and norm2 are called with.",
)
class _PreNorm(_PostNormBlock):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        x = x + self.attend(self.norm1(x))
        return x + self.think(self.norm2(x))


@POST_NORM_BLOCK.mistake(
    "normalization before the branches and after the sums",
    what="the branches' inputs are normalized, and the sums too",
    why="What a branch reads has been normalized at the end of the last sum already.",
    look_at="how often norm1 and norm2 are called.",
)
class _BothNorms(_PostNormBlock):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        x = self.norm1(x + self.attend(self.norm1(x)))
        return self.norm2(x + self.think(self.norm2(x)))


@POST_NORM_BLOCK.mistake(
    "normalization between branch and sum",
    what="what a branch gives is normalized, and the sum is not",
    why="The stream then grows with each block, and the branches read it as it is.",
    look_at="which brackets close before the plus.",
)
class _NormOfBranch(_PostNormBlock):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        x = x + self.norm1(self.attend(x))
        return x + self.norm2(self.think(x))


@POST_NORM_BLOCK.mistake(
    "normalization between branch and dropout",
    what="what a branch gives is normalized before its dropout, and the sum is not",
    why="The stream then grows with each block, and the branches read it as it is.",
    look_at="which brackets close before the plus.",
)
class _NormBeforeDropout(_PostNormBlock):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        x = x + self.drop_shortcut(self.norm1(self.att(x)))
        return x + self.drop_shortcut(self.norm2(self.ff(x)))


@POST_NORM_BLOCK.mistake(
    "a shortcut around the first normalization",
    what="norm1 is only what the feed-forward network reads; the second sum takes the "
    "first sum as it is",
    why=f"The second half is pre-norm, with one more normalization at its end. {_PRE}",
    look_at="what stands left of the second plus.",
)
class _AroundFirstNorm(_PostNormBlock):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        x = x + self.attend(x)
        return self.norm2(x + self.think(self.norm1(x)))


@POST_NORM_BLOCK.mistake(
    "a feed-forward network that reads the sum before its normalization",
    what="norm1 is in the stream, but the network is called with what went into norm1",
    why="A branch of a post-norm block reads the stream as it is, normalized.",
    look_at="what ff is called with.",
)
class _NetworkReadsSum(_PostNormBlock):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        x = x + self.attend(x)
        return self.norm2(self.norm1(x) + self.think(x))


@POST_NORM_BLOCK.mistake(
    "a first sum that is not normalized",
    what="norm1 is not called",
    why=f"{_PRE} norm1 would get no gradient.",
    look_at="what is done with the sum after attention.",
)
class _NoFirstNorm(_PostNormBlock):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        x = x + self.attend(x)
        return self.norm2(x + self.think(x))


@POST_NORM_BLOCK.mistake(
    "a second sum that is not normalized",
    what="norm2 is not called",
    why=f"{_PRE} norm2 would get no gradient.",
    look_at="what forward returns.",
)
class _NoSecondNorm(_PostNormBlock):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        x = self.norm1(x + self.attend(x))
        return x + self.think(x)


@POST_NORM_BLOCK.mistake(
    "norm1 used twice",
    what="both sums go through norm1, and norm2 is not called",
    why="Each has a scale and a shift of its own. norm2 gets no gradient.",
    look_at="which normalization the second sum goes through.",
)
class _FirstNormTwice(_PostNormBlock):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        x = self.norm1(x + self.attend(x))
        return self.norm1(x + self.think(x))


@POST_NORM_BLOCK.mistake(
    "a missing first shortcut",
    what="attention's result is normalized alone, without the input",
    why="A token's own features get lost in what it gathers from the others.",
    look_at="what norm1 is called with.",
)
class _NoFirstShortcut(_PostNormBlock):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        x = self.norm1(self.attend(x))
        return self.norm2(x + self.think(x))


@POST_NORM_BLOCK.mistake(
    "a missing second shortcut",
    what="the feed-forward network's result is normalized alone",
    why="What attention has gathered gets lost behind the network.",
    look_at="what norm2 is called with.",
)
class _NoSecondShortcut(_PostNormBlock):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        x = self.norm1(x + self.attend(x))
        return self.norm2(self.think(x))


@POST_NORM_BLOCK.mistake(
    "no shortcuts",
    what="nothing is added to what the branches give",
    why="Post-norm moves the normalizations; the shortcuts stay.",
    look_at="what norm1 and norm2 are called with.",
)
class _NoShortcuts(_PostNormBlock):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return self.norm2(self.think(self.norm1(self.attend(x))))


@POST_NORM_BLOCK.mistake(
    "a second shortcut from the block's input",
    what="the network's result is added to the block's input, not to the first "
    "normalized sum",
    why="What attention has gathered is lost from the stream.",
    look_at="what stands left of the second plus.",
)
class _SecondFromInput(_PostNormBlock):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        after = self.norm1(x + self.attend(x))
        return self.norm2(x + self.think(after))


@POST_NORM_BLOCK.mistake(
    "parallel branches",
    what="both branches read the block's input",
    why="The network cannot work on what attention has gathered.",
    look_at="what ff is called with.",
)
class _Parallel(_PostNormBlock):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        after = self.norm1(x + self.attend(x))
        return self.norm2(after + self.think(x))


@POST_NORM_BLOCK.mistake(
    "norm1 and norm2 in each other's place",
    what="the first sum goes through norm2, the second one through norm1",
    why="An untrained block would learn it so, but trained weights would not fit.",
    look_at="which sum goes through which normalization.",
)
class _NormsExchanged(_PostNormBlock):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        x = self.norm2(x + self.attend(x))
        return self.norm1(x + self.think(x))


@POST_NORM_BLOCK.mistake(
    "dropout after the normalization",
    what="the normalized sums go through dropout, and not what a branch gives",
    why="Parts of the stream itself are lost, in each block again.",
    look_at="what the dropout is called with.",
)
class _DropoutLast(_PostNormBlock):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        x = self.drop_shortcut(self.norm1(x + self.att(x)))
        return self.drop_shortcut(self.norm2(x + self.ff(x)))


@POST_NORM_BLOCK.mistake(
    "dropout after the addition",
    what="the sums go through dropout, and not what a branch gives",
    why="Parts of the stream itself are lost, in each block again.",
    look_at="what the dropout is called with.",
)
class _DropoutOfSum(_PostNormBlock):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        x = self.norm1(self.drop_shortcut(x + self.att(x)))
        return self.norm2(self.drop_shortcut(x + self.ff(x)))


@POST_NORM_BLOCK.mistake(
    "no dropout at the end of the branches",
    what="what is added goes into the stream without dropout",
    why="Post-norm moves the normalizations; the dropout of both branches stays.",
    look_at="what happens between each branch and its sum.",
)
class _NoDropout(_PostNormBlock):
    def attend(self, x: Tensor) -> Tensor:
        return self.att(x)

    def think(self, x: Tensor) -> Tensor:
        return self.ff(x)


@POST_NORM_BLOCK.mistake(
    "no dropout after attention",
    what="what attention adds goes into the stream without dropout",
    why="Post-norm moves the normalizations; the dropout of both branches stays.",
    look_at="what happens between attention and its sum.",
)
class _NoFirstDropoutOfTwo(_PostNormBlock):
    def attend(self, x: Tensor) -> Tensor:
        return self.att(x)


@POST_NORM_BLOCK.mistake(
    "no dropout after the feed-forward network",
    what="what the feed-forward network adds goes into the stream without dropout",
    why="Post-norm moves the normalizations; the dropout of both branches stays.",
    look_at="what happens between the feed-forward network and its sum.",
)
class _NoSecondDropoutOfTwo(_PostNormBlock):
    def think(self, x: Tensor) -> Tensor:
        return self.ff(x)


# Exercise 2: three rates of dropout.


class _BlockWithThreeRates(nn.Module):
    """Embeddings and a block; which rate goes where is a step of its own."""

    def __init__(
        self,
        cfg: GPTConfig,
        emb_rate: float,
        att_rate: float,
        shortcut_rate: float,
    ) -> None:
        super().__init__()
        emb, att, shortcut = self.rates(cfg, emb_rate, att_rate, shortcut_rate)
        self.tok_emb = nn.Embedding(cfg["vocab_size"], cfg["emb_dim"])
        self.pos_emb = nn.Embedding(cfg["context_length"], cfg["emb_dim"])
        self.drop_emb = nn.Dropout(emb)
        self.block = TransformerBlock({**cfg, "drop_rate": att})
        self.block.drop_shortcut = nn.Dropout(shortcut)

    def rates(
        self, cfg: GPTConfig, emb: float, att: float, shortcut: float
    ) -> tuple[float, float, float]:
        return emb, att, shortcut

    def embed(self, what: Tensor, where: Tensor) -> Tensor:
        return self.drop_emb(what + where)

    def forward(self, in_idx: Tensor) -> Tensor:
        positions = torch.arange(in_idx.shape[1], device=in_idx.device)
        return self.block(self.embed(self.tok_emb(in_idx), self.pos_emb(positions)))


BLOCK_WITH_THREE_RATES = Component(
    "BlockWithThreeRates",
    _BlockWithThreeRates,
    usual_names=TRANSFORMER_BLOCK.usual_names,
    heads=lambda cfg, *_: cfg["n_heads"],
    is_exercise=True,
)


def block_with_three_rates(learner: object) -> Report:
    """Check embeddings and a block with three rates of dropout (exercise of 4.5).

    Args:
        learner: Your class, called as
            ``BlockWithThreeRates(cfg, emb_rate, att_rate, shortcut_rate)``.

    Returns:
        What was found; see ``Report``.
    """
    return check(BLOCK_WITH_THREE_RATES, learner)


def _ids(texts: int, tokens: int) -> Tensor:
    return (7 * torch.arange(texts * tokens).reshape(texts, tokens) + 3) % 53


def _config() -> GPTConfig:
    """Biases everywhere; a rate that is not to be used."""
    return config(12, 3, drop_rate=0.9, qkv_bias=True)


def _ones_and_twos(module: _BlockWithThreeRates) -> None:
    """Let token embeddings be 1, position embeddings 2, and the branches add nothing.

    All values are 1; ``out_proj`` hands nothing on.
    """
    randomize(module)
    nn.init.constant_(module.tok_emb.weight, 1.0)
    nn.init.constant_(module.pos_emb.weight, 2.0)
    nn.init.zeros_(module.block.att.W_value.weight)
    assert module.block.att.W_value.bias is not None
    nn.init.ones_(module.block.att.W_value.bias)
    nn.init.zeros_(module.block.att.out_proj.weight)
    nn.init.zeros_(module.block.att.out_proj.bias)
    last = module.block.ff.layers[2]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)


def _values_handed_on(module: _BlockWithThreeRates) -> None:
    """Let attention add its values, and the feed-forward network nothing."""
    _ones_and_twos(module)
    nn.init.eye_(module.block.att.out_proj.weight)


def _ten_and_thousand(module: _BlockWithThreeRates) -> None:
    """Let attention hand on values of 10, and the feed-forward network add 1000."""
    _values_handed_on(module)
    assert module.block.att.W_value.bias is not None
    nn.init.constant_(module.block.att.W_value.bias, 10.0)
    last = module.block.ff.layers[2]
    assert isinstance(last, nn.Linear)
    nn.init.constant_(last.bias, 1000.0)


def _in_training(built: Built, texts: int = 2000, tokens: int = 1) -> Tensor:
    built.train()
    return built(_ids(texts, tokens)).detach().round(decimals=2)


@BLOCK_WITH_THREE_RATES.probe("eval mode")
def _eval_mode(make: Make) -> object:
    """No rate has any effect."""
    return make(_config(), 0.5, 0.25, 0.75)(_ids(2, 5))


@BLOCK_WITH_THREE_RATES.probe("training mode, all rates 0")
def _all_rates_zero(make: Make) -> object:
    built = make(_config(), 0.0, 0.0, 0.0)
    built.train()
    return {"first call": built(_ids(2, 5)), "second call": built(_ids(3, 4))}


@BLOCK_WITH_THREE_RATES.probe("training mode, the embeddings' rate is 0.5")
def _rate_of_embeddings(make: Make) -> object:
    """Token and position embeddings add up to 3; half of the sums become 0."""
    output = _in_training(make(_config(), 0.5, 0.0, 0.0, weights=_ones_and_twos))
    return {
        "embeddings that should be 3": levels(torch.unique(output)),
        "dropped of them": percent(output == 0),
    }


@BLOCK_WITH_THREE_RATES.probe("training mode, attention's rate is 0.75")
def _rate_of_attention(make: Make) -> object:
    """Of a single token, all numbers of a head are dropped together, or none."""
    built = make(_config(), 0.0, 0.75, 0.0, weights=_values_handed_on)
    heads = (_in_training(built) - 3).reshape(-1, 3, 4)
    together = bool((heads == heads[:, :, :1]).all())
    return {
        "values that should be 1": levels(torch.unique(heads)),
        "dropped of them": percent(heads == 0),
        "within a head": "all or none" if together else "some dropped, others not",
    }


@BLOCK_WITH_THREE_RATES.probe("training mode, the shortcuts' rate is 0.25")
def _rate_of_shortcuts(make: Make) -> object:
    """The branches add 10 and 1000: 0 or 4/3 of it each."""
    built = make(_config(), 0.0, 0.0, 0.25, weights=_ten_and_thousand)
    added = _in_training(built) - 3
    network = (added > 500).double()
    attention = added - network * 4000 / 3
    return {
        "sums that should be 1010": levels(torch.unique(added)),
        "dropped of what attention adds": percent(attention < 5),
        "dropped of what the network adds": percent(network < 0.5),
    }


@BLOCK_WITH_THREE_RATES.probe("parameters")
def _parameters_of_three_rates(make: Make) -> object:
    return make(_config(), 0.5, 0.25, 0.75).parameters()


@BLOCK_WITH_THREE_RATES.probe("texts of other lengths")
def _texts_of_other_lengths(make: Make) -> object:
    built = make(config(12, 3, drop_rate=0.9), 0.1, 0.2, 0.3)
    return {
        f"{texts} texts of {tokens} tokens": built(_ids(texts, tokens))
        for texts, tokens in ((1, 1), (2, 7), (3, 3), (4, 2))
    }


@BLOCK_WITH_THREE_RATES.probe("gradients", rtol=1e-3, atol=1e-3)
def _gradients_of_three_rates(make: Make) -> object:
    return make(_config(), 0.5, 0.25, 0.75).gradients(_ids(2, 5))


_WHY = (
    "A rate that is right for one place need not be so for another: that is the point."
)


def _wrong_rates(
    name: str, what: str, order: str, look_at: str = "which rate each Dropout is given."
) -> None:
    """Add a version that takes other rates: of e, a, s (emb, att, shortcut) and c."""

    class Wrong(_BlockWithThreeRates):
        def rates(
            self, cfg: GPTConfig, emb: float, att: float, shortcut: float
        ) -> tuple[float, float, float]:
            given = {"e": emb, "a": att, "s": shortcut, "c": cfg["drop_rate"]}
            given["0"] = 0.0
            first, second, third = (given[letter] for letter in order)
            return first, second, third

    BLOCK_WITH_THREE_RATES.mistake(name, what=what, why=_WHY, look_at=look_at)(Wrong)


for _name, _what, _order in (
    (
        "attention's rate at the shortcuts",
        "the whole block has att_rate",
        "eaa",
    ),
    (
        "the shortcuts' rate in attention",
        "the whole block has shortcut_rate",
        "ess",
    ),
    (
        "the embeddings' rate everywhere",
        "emb_rate is used in all three places",
        "eee",
    ),
    (
        "the rate of cfg everywhere",
        'cfg["drop_rate"] is used, and the three rates are not',
        "ccc",
    ),
    (
        "the rate of cfg in attention",
        'attention has cfg["drop_rate"], not att_rate',
        "ecs",
    ),
    (
        "the rate of cfg at the shortcuts",
        'the shortcuts have cfg["drop_rate"], not shortcut_rate',
        "eac",
    ),
    (
        "the rate of cfg in the block",
        'the block has cfg["drop_rate"] in both places; only emb_rate is used',
        "ecc",
    ),
    (
        "the rate of cfg at the embeddings",
        'the embeddings have cfg["drop_rate"], not emb_rate',
        "cas",
    ),
    (
        "attention's and the shortcuts' rates in each other's place",
        "attention has shortcut_rate, the shortcuts have att_rate",
        "esa",
    ),
    (
        "the embeddings' and attention's rates in each other's place",
        "the embeddings have att_rate, attention has emb_rate",
        "aes",
    ),
    (
        "the embeddings' and the shortcuts' rates in each other's place",
        "the embeddings have shortcut_rate, the shortcuts have emb_rate",
        "sae",
    ),
    ("no dropout of the embeddings", "emb_rate is not used", "0as"),
    ("no dropout in attention", "att_rate is not used", "e0s"),
    ("no dropout at the shortcuts", "shortcut_rate is not used", "ea0"),
    ("no dropout", "none of the three rates is used", "000"),
):
    _wrong_rates(_name, _what, _order)


class _ChangedBlock(_BlockWithThreeRates):
    """Goes through the block's parts, in steps that a wrong version replaces."""

    def attend(self, x: Tensor) -> Tensor:
        return self.block.drop_shortcut(self.block.att(self.block.norm1(x)))

    def think(self, x: Tensor) -> Tensor:
        return self.block.drop_shortcut(self.block.ff(self.block.norm2(x)))

    def forward(self, in_idx: Tensor) -> Tensor:
        positions = torch.arange(in_idx.shape[1], device=in_idx.device)
        x = self.embed(self.tok_emb(in_idx), self.pos_emb(positions))
        x = x + self.attend(x)
        return x + self.think(x)


@BLOCK_WITH_THREE_RATES.mistake(
    "a first shortcut without dropout",
    what="what attention adds goes into the stream without dropout",
    why="Both branches have dropout at their end.",
    look_at="what happens between attention and its sum.",
)
class _NoFirstDropout(_ChangedBlock):
    def attend(self, x: Tensor) -> Tensor:
        return self.block.att(self.block.norm1(x))


@BLOCK_WITH_THREE_RATES.mistake(
    "a second shortcut without dropout",
    what="what the feed-forward network adds goes into the stream without dropout",
    why="Both branches have dropout at their end.",
    look_at="what happens between the feed-forward network and its sum.",
)
class _NoSecondDropout(_ChangedBlock):
    def think(self, x: Tensor) -> Tensor:
        return self.block.ff(self.block.norm2(x))


@BLOCK_WITH_THREE_RATES.mistake(
    "dropout of the token embeddings alone",
    what="the position embeddings are added after the dropout",
    why="In GPT-2 a dropped place is 0, it does not keep its position.",
    look_at="what drop_emb is called with.",
)
class _DropoutOfTokens(_BlockWithThreeRates):
    def embed(self, what: Tensor, where: Tensor) -> Tensor:
        return self.drop_emb(what) + where


@BLOCK_WITH_THREE_RATES.mistake(
    "dropout of token and position embeddings one by one",
    what="each of the two goes through dropout, and then they are added",
    why="In GPT-2 a dropped place is 0; here one of the two is often left.",
    look_at="what drop_emb is called with.",
)
class _DropoutOfBoth(_BlockWithThreeRates):
    def embed(self, what: Tensor, where: Tensor) -> Tensor:
        return self.drop_emb(what) + self.drop_emb(where)


@BLOCK_WITH_THREE_RATES.mistake(
    "positions that are left out",
    what="the token embeddings go into the block alone",
    why="Attention by itself knows no order.",
    look_at="what is added to the token embeddings.",
)
class _WithoutPositions(_BlockWithThreeRates):
    def embed(self, what: Tensor, where: Tensor) -> Tensor:
        return self.drop_emb(what)


@BLOCK_WITH_THREE_RATES.mistake(
    "dropout that is always on",
    what="the result changes in eval mode too",
    why="A model that writes a text would drop a part of what it knows.",
    look_at="how dropout is called: a module of nn.Dropout knows its mode.",
)
class _AlwaysOn(_BlockWithThreeRates):
    def embed(self, what: Tensor, where: Tensor) -> Tensor:
        return nn.functional.dropout(what + where, self.drop_emb.p, training=True)


EXERCISES: tuple[Component, ...] = (POST_NORM_BLOCK, BLOCK_WITH_THREE_RATES)
NUMBER_EXERCISES: tuple[NumberExercise, ...] = ()
