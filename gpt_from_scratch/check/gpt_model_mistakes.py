"""The mistakes that the check knows of ``GPTModel`` (4.6)."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpt_from_scratch.attention import MultiHeadAttention
from gpt_from_scratch.check.dummy_gpt_model import (
    DUMMY_GPT_MODEL,
    NO_ORDER,
    Outline,
)
from gpt_from_scratch.check.gpt_model import GPT_MODEL
from gpt_from_scratch.layer_normalization import LayerNorm
from gpt_from_scratch.llm_architecture import GPTConfig
from gpt_from_scratch.transformer_block import TransformerBlock

__all__ = ["GPT_MODEL"]


class _Plain(Outline):
    """The whole model, in steps that a mistake replaces."""

    def block(self, cfg: GPTConfig) -> nn.Module:
        return TransformerBlock(cfg)

    def norm(self, cfg: GPTConfig) -> nn.Module:
        return LayerNorm(cfg["emb_dim"])


def _add(name: str, what: str, why: str, look_at: str, **steps: Any) -> None:  # noqa: ANN401
    wrong = type("_Wrong", (_Plain,), steps)
    GPT_MODEL.mistake(name, what=what, why=why, look_at=look_at)(wrong)


def _share(*names: str) -> None:
    """Add mistakes of the outline (4.1) that are made here too, in the same words."""
    by_name = {mistake.name: mistake for mistake in DUMMY_GPT_MODEL.mistakes}
    for name in names:
        known = by_name[name]
        # First the outline's wrong step, then what this model has in place of the rest.
        bases: Any = (known.wrong, _Plain)
        wrong = type("_Wrong", bases, {})
        GPT_MODEL.mistake(name, what=known.what, why=known.why, look_at=known.look_at)(
            wrong
        )


# Embeddings.

_add(
    "token embeddings without positions",
    "the position embedding is there, and not added",
    NO_ORDER,
    "what is added to the token embedding in forward.",
    embed=lambda self, idx: self.tok_emb(idx),
)


def _no_positions(self: Any, cfg: GPTConfig) -> None:  # noqa: ANN401
    del self.pos_emb


_add(
    "a missing position embedding",
    "there is none, neither in __init__ nor in forward",
    NO_ORDER + " GPT-2 small then has 162,223,104 parameters, and not 163,009,536.",
    "the layers in __init__.",
    change=_no_positions,
    embed=lambda self, idx: self.tok_emb(idx),
)
_share(
    "positions without token embeddings",
    "a position embedding looked up with the token ids",
    "a position for each text",
    "positions for the whole context",
    "positions that start at 1",
    "positions from the back",
    "position 0 for every token",
    "positions without a device",
    "a product of the two embeddings",
    "embeddings one beside the other",
)
_add(
    "token embeddings times the root of emb_dim",
    "they are scaled before the positions are added",
    "The first transformer did so, and GPT-2 does not: with 768 features, positions "
    "count 28 times less.",
    "what is added up in forward.",
    embed=lambda self, idx: (
        self.tok_emb(idx) * self.tok_emb.embedding_dim**0.5
        + self.pos_emb(self.positions(idx))
    ),
)
_share(
    "vocab_size rows of positions",
)

# Output layer.

_share(
    "a softmax at the end",
    "a log-softmax at the end",
    "the most likely ids",
    "the logits of the last token alone",
)
_add(
    "features without the output layer",
    "forward returns features and not logits",
    "Each token should get one score for each token of the vocabulary.",
    "the last step of forward.",
    finish=lambda self, x: self.final_norm(self.trf_blocks(self.drop_emb(x))),
)
_share(
    "a forward without return",
)
_add(
    "an output layer with a bias",
    "nn.Linear has one unless it is told otherwise",
    "GPT-2 has none there: it is 50,257 parameters more, 163,059,793 and not "
    "163,009,536.",
    "what nn.Linear is told besides the sizes.",
    change=lambda self, cfg: setattr(
        self, "out_head", nn.Linear(cfg["emb_dim"], cfg["vocab_size"])
    ),
)
_add(
    "an output layer that is tied to the token embedding",
    "both use one matrix, so there are 124,412,160 parameters and not 163,009,536",
    "OpenAI's GPT-2 does so. In this course each has its own, as long as you do not "
    "call tie_weights().",
    "what __init__ does to the weights of the output layer.",
    change=lambda self, cfg: setattr(self.out_head, "weight", self.tok_emb.weight),
)


def _tied_by_data(self: Any, cfg: GPTConfig) -> None:  # noqa: ANN401
    self.out_head.weight.data = self.tok_emb.weight.data


_add(
    "an output layer that shares the token embedding's numbers",
    "it is another parameter, on the same memory",
    "A step of training changes one matrix twice, and when the model is moved or "
    "saved, two come out of it.",
    "what __init__ does to the weights of the output layer.",
    change=_tied_by_data,
)


def _tied_by_copy(self: Any, cfg: GPTConfig) -> None:  # noqa: ANN401
    self.out_head.weight = nn.Parameter(self.tok_emb.weight.detach().clone())


_add(
    "an output layer that starts as a copy of the token embedding",
    "the numbers are copied, and the parameters are two",
    "It is not tied: from the first step of training on, the two go apart, and "
    "nothing is saved.",
    "what __init__ does to the weights of the output layer.",
    change=_tied_by_copy,
)

# The final normalization.


def _no_final_norm(self: Any, cfg: GPTConfig) -> None:  # noqa: ANN401
    self.final_norm = nn.Identity()


_add(
    "a missing final normalization",
    "after the blocks comes the output layer, and there is no normalization",
    "GPT-2's trained weights need it. It has 1,536 of the 163,009,536 parameters.",
    "the layers in __init__, and the steps of forward.",
    change=_no_final_norm,
)
_add(
    "a final normalization that is not used",
    "forward goes from the blocks to the output layer",
    "The parameters are all there, so counting does not show it. Features in the "
    "deeper blocks are large, and so are the logits then.",
    "the steps of forward, one by one.",
    finish=lambda self, x: self.out_head(self.trf_blocks(self.drop_emb(x))),
)
_add(
    "a normalization before the blocks",
    "the final normalization comes before the blocks and not after them",
    "What the blocks add up goes to the output layer as it is, large or small.",
    "the order of the steps in forward.",
    finish=lambda self, x: self.out_head(
        self.trf_blocks(self.final_norm(self.drop_emb(x)))
    ),
)
_add(
    "a final normalization after the output layer",
    "logits are normalized, not features",
    "The sizes do not fit: it has emb_dim scales, and there are vocab_size logits.",
    "the order of the steps in forward.",
    finish=lambda self, x: self.final_norm(
        self.out_head(self.trf_blocks(self.drop_emb(x)))
    ),
)


def _normalized_each_time(self: Any, x: Tensor) -> Tensor:  # noqa: ANN401
    x = self.drop_emb(x)
    for block in self.trf_blocks:
        x = self.final_norm(block(x))
    return x


_add(
    "a final normalization after each block",
    "it is called in the loop over the blocks",
    "The stream of features is normalized again and again. It should pass all blocks "
    "untouched, and be normalized once.",
    "how far the line with final_norm is indented.",
    finish=lambda self, x: self.out_head(_normalized_each_time(self, x)),
)


# Dropout.

_add(
    "dropout that is not used on the embeddings",
    "none of them is set to zero in training",
    "The setting drop_rate has no effect there. In evaluation mode nothing shows.",
    "the steps of forward, one by one.",
    finish=lambda self, x: self.out_head(self.final_norm(self.trf_blocks(x))),
)
_add(
    "dropout before the positions are added",
    "only the token embeddings are dropped",
    "GPT-2 drops values of the sum.",
    "the order of the steps in forward.",
    embed=lambda self, idx: (
        self.drop_emb(self.tok_emb(idx)) + self.pos_emb(self.positions(idx))
    ),
    finish=lambda self, x: self.out_head(self.final_norm(self.trf_blocks(x))),
)
_add(
    "dropout in evaluation mode, too",
    "values are set to zero although the model is in evaluation mode",
    "The same text gives other logits at each call.",
    "how dropout is called: nn.Dropout looks at the mode, F.dropout is told.",
    finish=lambda self, x: self.out_head(
        self.final_norm(self.trf_blocks(F.dropout(x, self.drop_emb.p)))
    ),
)
_add(
    "dropout on the logits",
    "scores are set to zero, and embeddings are not",
    "A score of 0 is a high one for most tokens.",
    "the order of the steps in forward.",
    finish=lambda self, x: self.drop_emb(
        self.out_head(self.final_norm(self.trf_blocks(x)))
    ),
)
_add(
    "dropout after the blocks",
    "it comes between the blocks and the final normalization, not before the blocks",
    "GPT-2 drops values of the embeddings, and in each block.",
    "the order of the steps in forward.",
    finish=lambda self, x: self.out_head(
        self.final_norm(self.drop_emb(self.trf_blocks(x)))
    ),
)
_add(
    "a drop_rate of 0.1, whatever is set",
    "the embeddings' dropout does not ask the configuration",
    "GPT-2 has 0.1, so it does not show there.",
    "what nn.Dropout gets in __init__.",
    change=lambda self, cfg: setattr(self, "drop_emb", nn.Dropout(0.1)),
)
_add(
    "a drop_rate of 0.5, whatever is set",
    "nn.Dropout() without a number drops half of the values",
    "GPT-2 drops a tenth.",
    "what nn.Dropout gets in __init__.",
    change=lambda self, cfg: setattr(self, "drop_emb", nn.Dropout()),
)

# The blocks.

_add(
    "blocks that are not used",
    "forward goes from the embeddings to the final normalization",
    "No token learns anything of the others.",
    "the steps of forward, one by one.",
    finish=lambda self, x: self.out_head(self.final_norm(self.drop_emb(x))),
)
_add(
    "a loop whose result is lost",
    "each block gets the embeddings, and only the last one's result is kept",
    "All blocks but the last have no effect and no gradient.",
    "what the blocks are called with in the loop, and what name the result gets.",
    finish=lambda self, x: self.out_head(
        self.final_norm(self.trf_blocks[-1](self.drop_emb(x)))
    ),
)
_add(
    "the first block alone",
    "the other blocks are not used",
    "The result leaves the loop too early: GPT-2 small has eleven more.",
    "how far the lines after the loop over the blocks are indented.",
    finish=lambda self, x: self.out_head(
        self.final_norm(self.trf_blocks[0](self.drop_emb(x)))
    ),
)
_add(
    "blocks from the last to the first",
    "they run in reversed order",
    "A new model does not care, but trained weights are for one order.",
    "the loop over the blocks.",
    finish=lambda self, x: self.out_head(
        self.final_norm(nn.Sequential(*list(self.trf_blocks)[::-1])(self.drop_emb(x)))
    ),
)


def _block_of(cfg: Any, **others: Any) -> TransformerBlock:  # noqa: ANN401
    return TransformerBlock(cfg | others)


def _in_a_list(self: Any, cfg: GPTConfig) -> None:  # noqa: ANN401
    blocks = list(self.trf_blocks)
    del self.trf_blocks
    self.__dict__["trf_blocks"] = blocks


def _run_list(self: Any, x: Tensor) -> Tensor:  # noqa: ANN401
    x = self.drop_emb(x)
    for block in self.trf_blocks:
        x = block(x)
    return self.out_head(self.final_norm(x))


_add(
    "blocks in a plain list",
    "PyTorch does not look into Python's lists, so the blocks are not registered",
    "Only 77,982,720 of 163,009,536 parameters are left. The others are not trained, "
    "not saved, not moved, and eval() does not reach their dropout.",
    "what __init__ keeps the blocks in.",
    change=_in_a_list,
    finish=_run_list,
)
_add(
    "the same block again and again",
    "[block] * n repeats one object",
    "The blocks share their parameters: 11 of 12 times 7,085,568 are missing, and all "
    "of them learn the same.",
    "whether a new block is made for each layer.",
    blocks=lambda self, cfg: [self.block(cfg)] * cfg["n_layers"],
)
_add(
    "blocks that start as copies of one",
    "the first block is copied, its random numbers too",
    "They are trained apart, but start all alike. GPT-2's start differently.",
    "whether a new block is made for each layer.",
    blocks=lambda self, cfg: [
        copy.deepcopy(block) for block in [self.block(cfg)] * cfg["n_layers"]
    ],
)
_add(
    "one block",
    "there is a single one, whatever n_layers is",
    "GPT-2 small has twelve.",
    "how the blocks are made in __init__.",
    blocks=lambda self, cfg: [self.block(cfg)],
)
_add(
    "one block too few",
    "there are n_layers - 1",
    "GPT-2 small then has 155,923,968 parameters, and not 163,009,536.",
    "the number of blocks in __init__.",
    blocks=lambda self, cfg: [self.block(cfg) for _ in range(1, cfg["n_layers"])],
)
_add(
    "one block too many",
    "there are n_layers + 1",
    "GPT-2 small then has 170,095,104 parameters, and not 163,009,536.",
    "the number of blocks in __init__.",
    blocks=lambda self, cfg: [self.block(cfg) for _ in range(cfg["n_layers"] + 1)],
)
_add(
    "n_heads blocks",
    "the number of blocks is that of the heads",
    "GPT-2 small has 12 of both, so it does not show there.",
    "the key of the configuration that the blocks are counted by.",
    blocks=lambda self, cfg: [self.block(cfg) for _ in range(cfg["n_heads"])],
)
_add(
    "n_layers heads",
    "the blocks are told the number of layers for that of the heads",
    "GPT-2 small has 12 of both, so it does not show there.",
    "what the blocks are made with.",
    block=lambda self, cfg: _block_of(cfg, n_heads=cfg["n_layers"]),
)
_add(
    "12 blocks, whatever n_layers is",
    "the number is written into the code",
    "It fits the smallest GPT-2 alone.",
    "the number of blocks in __init__.",
    blocks=lambda self, cfg: [self.block(cfg) for _ in range(12)],
)
_share(
    "a list in nn.Sequential",
)
_add(
    "a bias for queries, keys and values, whatever qkv_bias is",
    "the blocks have it even with qkv_bias=False",
    "GPT-2 small then has 163,037,184 parameters, and not 163,009,536.",
    "what the blocks are made with.",
    block=lambda self, cfg: _block_of(cfg, qkv_bias=True),
)
_add(
    "a qkv_bias that is ignored",
    "queries, keys and values have no bias even with qkv_bias=True",
    "OpenAI's weights have one, and there is no place for it.",
    "what the blocks are made with.",
    block=lambda self, cfg: _block_of(cfg, qkv_bias=False),
)


def _spoiled_block(spoil: Callable[[Any], object]) -> Callable[[Any, GPTConfig], Any]:
    """Make blocks, and change each."""

    def block(self: Any, cfg: GPTConfig) -> TransformerBlock:  # noqa: ANN401
        made = TransformerBlock(cfg)
        spoil(made)
        return made

    return block


def _without_bias(block: Any) -> None:  # noqa: ANN401
    block.att.out_proj.bias = None


def _with_one_norm(block: Any) -> None:  # noqa: ANN401
    block.norm2 = block.norm1


def _with_counted_mask(block: Any) -> None:  # noqa: ANN401
    size = block.att.context_length
    mask = torch.ones(size, size).triu(1)
    block.att.mask = nn.Parameter(mask, requires_grad=False)


_add(
    "no bias in attention's out_proj",
    "bias=False is for queries, keys and values alone",
    "GPT-2 small then has 163,000,320 parameters, and not 163,009,536.",
    "out_proj in your attention.",
    block=_spoiled_block(_without_bias),
)
_add(
    "one normalization for both branches of a block",
    "norm1 is used for attention and for the feed-forward network",
    "GPT-2 small then has 162,991,104 parameters, and not 163,009,536.",
    "the normalizations in your block.",
    block=_spoiled_block(_with_one_norm),
)
_add(
    "a mask that counts as a parameter",
    "each block's mask is an nn.Parameter",
    "GPT-2 small then has 175,592,448 parameters, and not 163,009,536. The mask is "
    "nothing to learn: it is a buffer.",
    "how your attention keeps its mask.",
    block=_spoiled_block(_with_counted_mask),
)


class _NormWithoutShift(nn.Module):
    def __init__(self, emb_dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(emb_dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.scale)


def _without_shifts(self: Any, cfg: GPTConfig) -> None:  # noqa: ANN401
    self.final_norm = _NormWithoutShift(cfg["emb_dim"])
    for block in self.trf_blocks:
        block.norm1 = _NormWithoutShift(cfg["emb_dim"])
        block.norm2 = _NormWithoutShift(cfg["emb_dim"])


_add(
    "normalizations without shift",
    "they have a scale and nothing that is added",
    "GPT-2 small then has 162,990,336 parameters, and not 163,009,536.",
    "your LayerNorm.",
    change=_without_shifts,
)


class _Unmasked(MultiHeadAttention):
    def forward(self, x: Tensor, cache: object = None, layer: int = 0) -> Tensor:
        queries = self._split_heads(self.W_query(x))
        keys = self._split_heads(self.W_key(x))
        values = self._split_heads(self.W_value(x))
        rate = self.dropout.p if self.training else 0.0
        out = F.scaled_dot_product_attention(queries, keys, values, dropout_p=rate)
        return self.out_proj(out.transpose(1, 2).flatten(2))


def _with_unmasked(block: Any) -> None:  # noqa: ANN401
    block.att.__class__ = _Unmasked


_add(
    "attention without a mask",
    "each token sees the tokens after it",
    "In training the model reads off the answer, and in use there is none to read.",
    "your attention.",
    block=_spoiled_block(_with_unmasked),
)


class _Steps(TransformerBlock):
    """A block in steps, for what is wrong in its forward."""

    def forward(self, x: Tensor, cache: object = None, layer: int = 0) -> Tensor:
        x = x + self.drop_shortcut(self.att(self.norm1(x)))
        return x + self.drop_shortcut(self.ff(self.norm2(x)))


class _PostNorm(_Steps):
    def forward(self, x: Tensor, cache: object = None, layer: int = 0) -> Tensor:
        x = self.norm1(x + self.drop_shortcut(self.att(x)))
        return self.norm2(x + self.drop_shortcut(self.ff(x)))


class _NoShortcuts(_Steps):
    def forward(self, x: Tensor, cache: object = None, layer: int = 0) -> Tensor:
        x = self.drop_shortcut(self.att(self.norm1(x)))
        return self.drop_shortcut(self.ff(self.norm2(x)))


class _FeedForwardFirst(_Steps):
    def forward(self, x: Tensor, cache: object = None, layer: int = 0) -> Tensor:
        x = x + self.drop_shortcut(self.ff(self.norm2(x)))
        return x + self.drop_shortcut(self.att(self.norm1(x)))


class _Parallel(_Steps):
    def forward(self, x: Tensor, cache: object = None, layer: int = 0) -> Tensor:
        attended = self.drop_shortcut(self.att(self.norm1(x)))
        return x + attended + self.drop_shortcut(self.ff(self.norm2(x)))


_BLOCK = "your block; check.transformer_block looks at it alone."

_add(
    "blocks that normalize after the addition",
    "the stream itself is normalized, not what each branch reads",
    "The first transformer did so. GPT-2 keeps the shortcut free, so that gradients "
    "pass it unchanged.",
    _BLOCK,
    block=lambda self, cfg: _PostNorm(cfg),
)
_add(
    "blocks without shortcuts",
    "what goes into a branch is not added to what comes out",
    "In twelve blocks the gradient gets lost on its way to the first (4.4).",
    _BLOCK,
    block=lambda self, cfg: _NoShortcuts(cfg),
)
_add(
    "blocks that begin with the feed-forward network",
    "attention comes second",
    "GPT-2's weights are for the other order.",
    _BLOCK,
    block=lambda self, cfg: _FeedForwardFirst(cfg),
)
_add(
    "blocks with both branches side by side",
    "the feed-forward network reads what attention has not yet added to",
    "Some later models do so; GPT-2's weights are for one after the other.",
    _BLOCK,
    block=lambda self, cfg: _Parallel(cfg),
)


def _with_exact_gelu(block: Any) -> None:  # noqa: ANN401
    block.ff.layers[1] = nn.GELU()


def _with_relu(block: Any) -> None:  # noqa: ANN401
    block.ff.layers[1] = nn.ReLU()


_add(
    "the exact GELU in the blocks",
    "nn.GELU() is not the tanh approximation",
    "GPT-2 was trained with the approximation; they differ by up to 0.000473.",
    "the feed-forward network in your block.",
    block=_spoiled_block(_with_exact_gelu),
)
_add(
    "ReLU in the blocks",
    "the feed-forward network has it in GELU's place",
    "GPT-2 was trained with GELU.",
    "the feed-forward network in your block.",
    block=_spoiled_block(_with_relu),
)

# The class.

_share(
    "768 features, whatever emb_dim is",
    "a missing super().__init__()",
    "a gradient cut off",
)


def _frozen_embeddings(self: Any, cfg: GPTConfig) -> None:  # noqa: ANN401
    self.tok_emb.requires_grad_(False)
    self.pos_emb.requires_grad_(False)


_add(
    "embeddings that are not trained",
    "requires_grad is switched off for them",
    "They start as random numbers, and would stay so.",
    "requires_grad, detach, and how the embeddings are made.",
    change=_frozen_embeddings,
)
