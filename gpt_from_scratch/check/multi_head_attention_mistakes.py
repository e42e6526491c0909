"""What the check knows of ``MultiHeadAttention`` (4.5): the mistakes it can name.

Each wrong version replaces a step of the plain one.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpt_from_scratch.check.multi_head_attention import MULTI_HEAD_ATTENTION

__all__ = ["MULTI_HEAD_ATTENTION"]

_LEAK = (
    "In training, a token's row is to predict the next token. If it can see that "
    "token, it learns to copy it, and can do nothing when it writes a text."
)
_SPREAD = (
    "Scores then have another spread than those that GPT-2 was trained with: softmax "
    "gives sharper or flatter shares."
)
_HEADS = (
    "The shapes fit and nothing complains, but numbers of different tokens get mixed, "
    "later ones too."
)


class _Plain(nn.Module):
    mask: Tensor

    def __init__(
        self,
        d_in: int,
        d_out: int,
        context_length: int,
        dropout: float,
        num_heads: int,
        qkv_bias: bool = False,
    ) -> None:
        super().__init__()
        self.d_in, self.d_out = d_in, d_out
        self.num_heads, self.head_dim = num_heads, d_out // num_heads
        self.W_query = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.W_key = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.W_value = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.out_proj = nn.Linear(d_out, d_out)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("mask", self.hidden(context_length))

    def hidden(self, tokens: int) -> Tensor:
        return torch.ones(tokens, tokens, dtype=torch.bool).triu(1)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.W_query(x), self.W_key(x), self.W_value(x)

    def split(self, x: Tensor) -> Tensor:
        B, T, _ = x.shape
        return x.view(B, T, self.num_heads, self.head_dim).transpose(1, 2)

    def scale(self, scores: Tensor) -> Tensor:
        return scores / math.sqrt(self.head_dim)

    def hide(self, scores: Tensor) -> Tensor:
        T = scores.shape[-1]
        return scores.masked_fill(self.mask[:T, :T], -torch.inf)

    def share(self, scores: Tensor) -> Tensor:
        return torch.softmax(scores, dim=-1)

    def weigh(self, queries: Tensor, keys: Tensor) -> Tensor:
        return self.share(self.hide(self.scale(queries @ keys.transpose(2, 3))))

    def average(self, weights: Tensor, values: Tensor) -> Tensor:
        return self.dropout(weights) @ values

    def join(self, context: Tensor) -> Tensor:
        return context.transpose(1, 2).flatten(2)

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = (self.split(part) for part in self.project(x))
        context = self.average(self.weigh(queries, keys), values)
        return self.out_proj(self.join(context))


# The scale.


@MULTI_HEAD_ATTENTION.mistake(
    "scores that are not scaled",
    what="they are not divided by the root of head_dim",
    why="With 64 numbers in a query, scores have a spread of up to 8 and not 1. "
    "Softmax "
    "gives nearly all to one token, and hardly any gradient gets through.",
    look_at="what happens between the product of queries and keys, and softmax.",
)
class _NotScaled(_Plain):
    def scale(self, scores: Tensor) -> Tensor:
        return scores


@MULTI_HEAD_ATTENTION.mistake(
    "a scale by head_dim without the root",
    what="scores are divided by head_dim itself",
    why="With a head_dim of 64, they come out 8 times too small, and all tokens get "
    "nearly the same share.",
    look_at="what scores are divided by.",
)
class _NoRoot(_Plain):
    def scale(self, scores: Tensor) -> Tensor:
        return scores / self.head_dim


@MULTI_HEAD_ATTENTION.mistake(
    "a scale by the root of d_out",
    what="scores are divided by the root of the features of all heads together",
    why="A score is a sum over the head_dim numbers of one head: in GPT-2 64, not 768. "
    "The scores come out 3.5 times too small.",
    look_at="what scores are divided by, and how many products a score sums up.",
)
class _RootOfDOut(_Plain):
    def scale(self, scores: Tensor) -> Tensor:
        return scores / math.sqrt(self.d_out)


@MULTI_HEAD_ATTENTION.mistake(
    "a scale by d_out",
    what="scores are divided by the features of all heads together, without a root",
    why="A score is a sum over the head_dim numbers of one head, and its spread is the "
    "root of that number. The scores come out 96 times too small in GPT-2.",
    look_at="what scores are divided by.",
)
class _DOut(_Plain):
    def scale(self, scores: Tensor) -> Tensor:
        return scores / self.d_out


@MULTI_HEAD_ATTENTION.mistake(
    "a scale by the root of d_in",
    what="scores are divided by the root of the features that come in",
    why="A score is a sum over the head_dim numbers of one head: in GPT-2 64, not 768.",
    look_at="what scores are divided by, and how many products a score sums up.",
)
class _RootOfDIn(_Plain):
    def scale(self, scores: Tensor) -> Tensor:
        return scores / math.sqrt(self.d_in)


@MULTI_HEAD_ATTENTION.mistake(
    "a scale by the root of num_heads",
    what="scores are divided by the root of the number of heads",
    why="A score is a sum over the head_dim numbers of one head; how many heads there "
    "are does not matter.",
    look_at="what scores are divided by.",
)
class _RootOfHeads(_Plain):
    def scale(self, scores: Tensor) -> Tensor:
        return scores / math.sqrt(self.num_heads)


@MULTI_HEAD_ATTENTION.mistake(
    "a scale by num_heads",
    what="scores are divided by the number of heads",
    why="A score is a sum over the head_dim numbers of one head, and its spread is the "
    "root of that number; how many heads there are does not matter.",
    look_at="what scores are divided by.",
)
class _Heads(_Plain):
    def scale(self, scores: Tensor) -> Tensor:
        return scores / self.num_heads


@MULTI_HEAD_ATTENTION.mistake(
    "a scale by the root of the number of tokens",
    what="scores are divided by the root of the last number in their own shape",
    why=f"{_SPREAD} And the shares change with the length of the text.",
    look_at="what scores are divided by: the shape of which tensor is asked for?",
)
class _RootOfTokens(_Plain):
    def scale(self, scores: Tensor) -> Tensor:
        return scores / math.sqrt(scores.shape[-1])


@MULTI_HEAD_ATTENTION.mistake(
    "scores multiplied by the root of head_dim",
    what="they are multiplied where they should be divided",
    why="With a head_dim of 64, they come out 64 times too large, and softmax gives "
    "all "
    "to one token.",
    look_at="the sign between the scores and the root.",
)
class _Multiplied(_Plain):
    def scale(self, scores: Tensor) -> Tensor:
        return scores * math.sqrt(self.head_dim)


@MULTI_HEAD_ATTENTION.mistake(
    "a scale before and after softmax",
    what="the weights are divided by the root of head_dim, as the scores were",
    why="The shares no longer add up to 1, but to 1/8 if head_dim is 64.",
    look_at="every place with the root of head_dim.",
)
class _ScaledBeforeAndAfter(_Plain):
    def weigh(self, queries: Tensor, keys: Tensor) -> Tensor:
        return self.scale(super().weigh(queries, keys))


@MULTI_HEAD_ATTENTION.mistake(
    "a scale after softmax",
    what="the weights are divided by the root of head_dim, and not the scores",
    why="The shares no longer add up to 1, but to 1/8 if head_dim is 64; and softmax "
    "still gets scores of a large spread.",
    look_at="the order of scaling and softmax.",
)
class _ScaledAfterSoftmax(_Plain):
    def weigh(self, queries: Tensor, keys: Tensor) -> Tensor:
        return self.scale(self.share(self.hide(queries @ keys.transpose(2, 3))))


# The mask.


@MULTI_HEAD_ATTENTION.mistake(
    "attention without a mask",
    what="no mask has an effect: there is none, or the result of masked_fill (without "
    "an underscore, it gives a new tensor) is not used",
    why=_LEAK,
    look_at="where the scores are masked, and what happens to the result.",
)
class _NoMask(_Plain):
    def hide(self, scores: Tensor) -> Tensor:
        return scores


@MULTI_HEAD_ATTENTION.mistake(
    "a mask that shows the next token",
    what="it begins one place too far to the right, so that each token sees one later",
    why=_LEAK,
    look_at="diagonal, where the mask is made: which diagonal is the token itself?",
)
class _OneLater(_Plain):
    def hidden(self, tokens: int) -> Tensor:
        return torch.ones(tokens, tokens, dtype=torch.bool).triu(2)


class _HidesItself(_Plain):
    def hidden(self, tokens: int) -> Tensor:
        return torch.ones(tokens, tokens, dtype=torch.bool).triu(0)


class _HidesPast(_Plain):
    def hidden(self, tokens: int) -> Tensor:
        return super().hidden(tokens).T


class _Inverted(_Plain):
    def hidden(self, tokens: int) -> Tensor:
        return ~super().hidden(tokens)


class _LargeNumber(_Plain):
    def hide(self, scores: Tensor) -> Tensor:
        T = scores.shape[-1]
        lowest = torch.finfo(scores.dtype).min
        return scores.masked_fill(self.mask[:T, :T], lowest)


class _OfPyTorch(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        T = x.shape[1]
        queries, keys, values = (self.split(part) for part in self.project(x))
        context = F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=~self.mask[:T, :T],
            dropout_p=self.dropout.p if self.training else 0.0,
        )
        return self.out_proj(self.join(context))


_ITSELF = (
    "The first token sees nothing then: softmax over minus infinities is nan, and one "
    "nan makes the loss nan. The others miss what they know themselves."
)
_ITSELF_FINITE = (
    "The first token sees nothing then: all its scores are equally low, and it shares "
    "evenly among all tokens, later ones too."
)
for _way, _hides_itself, _shows_future in (
    (
        "",
        _ITSELF,
        f"{_LEAK} And the last token sees nothing: its row is nan.",
    ),
    (
        " (with a lowest number for infinity)",
        _ITSELF_FINITE,
        f"{_LEAK} And the last token, all of whose scores are equally low, shares "
        "evenly among all.",
    ),
    (
        " (in scaled_dot_product_attention)",
        "The first token sees nothing then, and gets nothing: its result is 0, or nan "
        "in older versions of PyTorch.",
        f"{_LEAK} In attn_mask of this function, True means that a token may look.",
    ),
):
    _base = {"": _Plain, " (w": _LargeNumber, " (i": _OfPyTorch}[_way[:3]]
    MULTI_HEAD_ATTENTION.mistake(
        f"a mask that hides the token itself{_way}",
        what="it begins on the diagonal, where a token's query meets its own key",
        why=_hides_itself,
        look_at="diagonal, where the mask is made: which diagonal is the token itself?",
    )(type("_", (_HidesItself, _base), {}))
    MULTI_HEAD_ATTENTION.mistake(
        f"an inverted mask{_way}",
        what="it hides what should be seen, and shows what should be hidden",
        why=_shows_future,
        look_at="what True, or 1, means in the mask, and where it is used.",
    )(type("_", (_Inverted, _base), {}))


@MULTI_HEAD_ATTENTION.mistake(
    "a transposed mask",
    what="it hides earlier tokens, and shows later ones",
    why=_LEAK,
    look_at="triu and tril: in the table of scores, what is above the diagonal?",
)
class _Transposed(_HidesPast):
    pass


@MULTI_HEAD_ATTENTION.mistake(
    "zeros as the scores of later tokens",
    what="the masked scores are set to 0 (by masked_fill, or by a product with a mask)",
    why=f"0 is an ordinary score, and e to the power of 0 is 1. {_LEAK}",
    look_at="what masked scores become, and what softmax makes of it.",
)
class _Zeros(_Plain):
    def hide(self, scores: Tensor) -> Tensor:
        T = scores.shape[-1]
        return scores.masked_fill(self.mask[:T, :T], 0.0)


@MULTI_HEAD_ATTENTION.mistake(
    "a mask that is added as ones",
    what="1 is added to the scores of later tokens",
    why=f"The later tokens' shares even become larger. {_LEAK}",
    look_at="what is added to a masked score: softmax should make 0 of it.",
)
class _OnesAdded(_Plain):
    def hide(self, scores: Tensor) -> Tensor:
        T = scores.shape[-1]
        return scores + self.mask[:T, :T]


class _Filled(_Plain):
    fill = 0.0

    def hide(self, scores: Tensor) -> Tensor:
        T = scores.shape[-1]
        return scores.masked_fill(self.mask[:T, :T], self.fill)


for _fill in (-1.0, -10.0, -50.0, -100.0, -1000.0):
    MULTI_HEAD_ATTENTION.mistake(
        f"a mask filled with a number such as {_fill:g}",
        what="this is what the scores of later tokens are set to",
        why="It is an ordinary score. Where a token's own scores are as low, the later "
        "tokens get shares too.",
        look_at="the number in the place of minus infinity.",
    )(type("_", (_Filled,), {"fill": _fill}))


@MULTI_HEAD_ATTENTION.mistake(
    "a mask filled with plus infinity",
    what="the scores of later tokens are set to +inf",
    why="Softmax makes nan of it: inf / inf. One nan makes the loss nan.",
    look_at="the sign of the infinity.",
)
class _PlusInfinity(_Filled):
    fill = torch.inf


@MULTI_HEAD_ATTENTION.mistake(
    "a mask after softmax",
    what="later tokens' weights are set to 0, and the others not normalized again",
    why="The shares do not add up to 1. And each holds in its denominator the scores "
    "of "
    "later tokens, so that the future still leaks.",
    look_at="the order of mask and softmax.",
)
class _AfterSoftmax(_Plain):
    def weigh(self, queries: Tensor, keys: Tensor) -> Tensor:
        weights = self.share(self.scale(queries @ keys.transpose(2, 3)))
        T = weights.shape[-1]
        return weights.masked_fill(self.mask[:T, :T], 0.0)


@MULTI_HEAD_ATTENTION.mistake(
    "a mask after softmax, normalized again",
    what="later tokens' weights are set to 0, and the others divided by their sum",
    why="On paper that is right. But where a later token's score is larger by more "
    "than "
    "about 100, all visible weights are rounded to 0, and 0 / 0 is nan.",
    look_at="the order of mask and softmax.",
)
class _NormalizedAgain(_AfterSoftmax):
    def weigh(self, queries: Tensor, keys: Tensor) -> Tensor:
        weights = super().weigh(queries, keys)
        return weights / weights.sum(dim=-1, keepdim=True)


@MULTI_HEAD_ATTENTION.mistake(
    "a mask that is not cut to the text",
    what="it has context_length rows and columns, the scores only as many as tokens",
    why="A text that is shorter than context_length, as almost all are, ends in an "
    "error.",
    look_at="the shape of the mask where it is used.",
)
class _NotCut(_Plain):
    def hide(self, scores: Tensor) -> Tensor:
        return scores.masked_fill(self.mask, -torch.inf)


@MULTI_HEAD_ATTENTION.mistake(
    "an added mask that is not cut to the text",
    what="it has context_length rows and columns, the scores only as many as tokens",
    why="A text that is shorter than context_length, as almost all are, ends in an "
    "error.",
    look_at="the shape of the mask where it is used.",
)
class _NotCutAdded(_Plain):
    def hide(self, scores: Tensor) -> Tensor:
        return scores + torch.zeros(self.mask.shape).masked_fill(self.mask, -torch.inf)


@MULTI_HEAD_ATTENTION.mistake(
    "a mask that stays cut",
    what="what is cut to one text's length is kept for the next",
    why="After a short text, a longer one ends in an error.",
    look_at="where the mask is cut, and what the result is assigned to.",
)
class _StaysCut(_Plain):
    def hide(self, scores: Tensor) -> Tensor:
        T = scores.shape[-1]
        self.mask = self.mask[:T, :T]
        return scores.masked_fill(self.mask, -torch.inf)


@MULTI_HEAD_ATTENTION.mistake(
    "a tensor that stays on the CPU",
    what="the mask, or another tensor, is neither a buffer nor made on the input's "
    "device",
    why="When the model moves to a GPU, it stays behind, and forward ends in an error.",
    look_at="how the mask is made, and how the module is told of it.",
)
class _StaysOnTheCPU(_Plain):
    def hide(self, scores: Tensor) -> Tensor:
        hidden = self.hidden(scores.shape[-1])
        return scores.masked_fill(hidden, -torch.inf)


@MULTI_HEAD_ATTENTION.mistake(
    "a mask among the parameters",
    what="the mask is an nn.Parameter",
    why="It is counted as a weight: twelve masks of 1024 by 1024 would be 12.6 million "
    "of them. And training might change it.",
    look_at="how the mask is kept: what is neither trained nor counted?",
)
class _MaskIsParameter(_Plain):
    def __init__(self, *args: Any) -> None:  # noqa: ANN401
        super().__init__(*args)
        mask = self.mask
        del self.mask
        self.mask = nn.Parameter(mask, requires_grad=False)


# Softmax.


class _OverDim(_Plain):
    dim = -1

    def share(self, scores: Tensor) -> Tensor:
        return torch.softmax(scores, dim=self.dim)


MULTI_HEAD_ATTENTION.mistake(
    "a softmax over the queries",
    what="the shares add up to 1 in each column, over the tokens that look",
    why="What a token takes does not add up to 1, and depends on how much later tokens "
    "take: the future leaks.",
    look_at="dim, in softmax: which dimension are the tokens that are looked at?",
)(type("_", (_OverDim,), {"dim": -2}))
MULTI_HEAD_ATTENTION.mistake(
    "a softmax over the heads",
    what="the shares of one pair of tokens add up to 1 over the heads (dim=1; that is "
    "also what softmax does if no dim is given)",
    why="What a token takes does not add up to 1; and where all heads are masked, "
    "there "
    "is nan.",
    look_at="dim, in softmax: which dimension are the tokens that are looked at?",
)(type("_", (_OverDim,), {"dim": 1}))
MULTI_HEAD_ATTENTION.mistake(
    "a softmax over the texts",
    what="the shares of one pair of tokens add up to 1 over the batch (dim=0)",
    why="A text's result depends on the other texts in the batch; and where all are "
    "masked, there is nan.",
    look_at="dim, in softmax: which dimension are the tokens that are looked at?",
)(type("_", (_OverDim,), {"dim": 0}))


@MULTI_HEAD_ATTENTION.mistake(
    "scores without softmax",
    what="the masked scores themselves weigh the values",
    why="Scores can be negative, and do not add up to 1; and the minus infinities of "
    "the mask give nan or infinity.",
    look_at="what happens between the mask and the product with the values.",
)
class _NoSoftmax(_Plain):
    def share(self, scores: Tensor) -> Tensor:
        return scores


@MULTI_HEAD_ATTENTION.mistake(
    "a softmax that overflows",
    what="e is raised to each score as it is, and the result divided by the sum",
    why="From a score of 89 on, float32 overflows, and inf / inf is nan. PyTorch's "
    "softmax subtracts the largest score first, which changes nothing else.",
    look_at="exp: what is the largest number that it gets?",
)
class _Overflows(_Plain):
    def share(self, scores: Tensor) -> Tensor:
        powers = scores.exp()
        return powers / powers.sum(dim=-1, keepdim=True)


# Queries, keys and values.


class _Exchanged(_Plain):
    order = "qkv"

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        layers = {"q": self.W_query, "k": self.W_key, "v": self.W_value}
        queries, keys, values = (layers[letter](x) for letter in self.order)
        return queries, keys, values


for _order, _name, _what, _why in (
    (
        "qqv",
        "keys made by W_query",
        "queries and keys come from the same layer",
        "The scores are symmetric: what a token looks for and by what it is found are "
        "the same. W_key gets no gradient.",
    ),
    (
        "kkv",
        "queries made by W_key",
        "queries and keys come from the same layer",
        "The scores are symmetric: what a token looks for and by what it is found are "
        "the same. W_query gets no gradient.",
    ),
    (
        "qkk",
        "values made by W_key",
        "keys and values come from the same layer",
        "By what a token is found and what it hands over are the same. W_value gets no "
        "gradient.",
    ),
    (
        "qkq",
        "values made by W_query",
        "queries and values come from the same layer",
        "What a token looks for and what it hands over are the same. W_value gets no "
        "gradient.",
    ),
    (
        "qvv",
        "keys made by W_value",
        "keys and values come from the same layer",
        "By what a token is found and what it hands over are the same. W_key gets no "
        "gradient.",
    ),
    (
        "vkv",
        "queries made by W_value",
        "queries and values come from the same layer",
        "What a token looks for and what it hands over are the same. W_query gets no "
        "gradient.",
    ),
    (
        "kqv",
        "queries and keys in each other's place",
        "the table of scores is turned on its side: row i, column j is what token j "
        "seeks in token i",
        "An untrained layer would learn it the other way round, but GPT-2's trained "
        "weights do not fit.",
    ),
    (
        "vkq",
        "queries and values in each other's place",
        "what W_query makes is averaged, and what W_value makes asks",
        "An untrained layer would learn it the other way round, but GPT-2's trained "
        "weights do not fit.",
    ),
    (
        "qvk",
        "keys and values in each other's place",
        "what W_key makes is averaged, and what W_value makes answers",
        "An untrained layer would learn it the other way round, but GPT-2's trained "
        "weights do not fit.",
    ),
):
    MULTI_HEAD_ATTENTION.mistake(
        _name,
        what=_what,
        why=_why,
        look_at="which layer makes which, and the order of unpacking and of arguments.",
    )(type("_", (_Exchanged,), {"order": _order}))


@MULTI_HEAD_ATTENTION.mistake(
    "transposed weights before the values",
    what="the table of weights is turned on its side before it meets the values",
    why=f"A token takes by what later tokens seek. {_LEAK}",
    look_at="the product of weights and values, and every transpose.",
)
class _WeightsTransposed(_Plain):
    def average(self, weights: Tensor, values: Tensor) -> Tensor:
        return self.dropout(weights).transpose(2, 3) @ values


# Heads.


@MULTI_HEAD_ATTENTION.mistake(
    "heads split by view alone",
    what="(B, T, d_out) is read at once as (B, num_heads, T, head_dim)",
    why=_HEADS,
    look_at="view, where heads are split: in which order do the numbers of one token "
    "lie?",
)
class _SplitByView(_Plain):
    def split(self, x: Tensor) -> Tensor:
        B, T, _ = x.shape
        return x.reshape(B, self.num_heads, T, self.head_dim)


@MULTI_HEAD_ATTENTION.mistake(
    "heads joined without the transpose",
    what="(B, num_heads, T, head_dim) is read at once as (B, T, d_out)",
    why=_HEADS,
    look_at="how heads are joined: the way back from how they were split.",
)
class _JoinedByView(_Plain):
    def join(self, context: Tensor) -> Tensor:
        B, _, T, _ = context.shape
        return context.reshape(B, T, self.d_out)


@MULTI_HEAD_ATTENTION.mistake(
    "heads split and joined by view alone",
    what="no transpose: (B, T, d_out) is read as (B, num_heads, T, head_dim), and back",
    why=_HEADS,
    look_at="view, where heads are split and joined: in which order do the numbers of "
    "one token lie?",
)
class _SplitAndJoinedByView(_JoinedByView, _SplitByView):
    pass


@MULTI_HEAD_ATTENTION.mistake(
    "heads joined by a view that is not possible",
    what="after the transpose, the numbers lie in memory in another order, and view "
    "cannot read them so",
    why="PyTorch reports an error where there is more than one head and one token.",
    look_at="where heads are joined: what does view need, and what can do without?",
)
class _NotContiguous(_Plain):
    def join(self, context: Tensor) -> Tensor:
        B, _, T, _ = context.shape
        return context.transpose(1, 2).view(B, T, self.d_out)


@MULTI_HEAD_ATTENTION.mistake(
    "heads that are split without the transpose",
    what="the scores are those of heads with heads, within each token",
    why="No token looks at another, and the mask of tokens does not fit.",
    look_at="the order of the dimensions when queries meet keys.",
)
class _NoTranspose(_Plain):
    def split(self, x: Tensor) -> Tensor:
        return super().split(x).transpose(1, 2)

    def join(self, context: Tensor) -> Tensor:
        return context.flatten(2)


class _HeadsExchanged(_Plain):
    def split(self, x: Tensor) -> Tensor:
        B, T, _ = x.shape
        return x.view(B, T, self.head_dim, self.num_heads).transpose(1, 2)


MULTI_HEAD_ATTENTION.mistake(
    "num_heads and head_dim in each other's place",
    what="there are head_dim heads of num_heads numbers each",
    why="GPT-2 small would get 64 heads of 12 numbers, and not 12 of 64.",
    look_at="view, where heads are split: the order of the last two numbers.",
)(_HeadsExchanged)


@MULTI_HEAD_ATTENTION.mistake(
    "num_heads and head_dim in each other's place, in the scale too",
    what="there are head_dim heads of num_heads numbers each, and scores are divided "
    "by "
    "the root of the last number in the keys' shape",
    why="GPT-2 small would get 64 heads of 12 numbers, and not 12 of 64.",
    look_at="view, where heads are split: the order of the last two numbers.",
)
class _HeadsExchangedInScale(_HeadsExchanged):
    def scale(self, scores: Tensor) -> Tensor:
        return scores / math.sqrt(self.num_heads)


class _Interleaved(_Plain):
    def split(self, x: Tensor) -> Tensor:
        B, T, _ = x.shape
        return x.view(B, T, self.head_dim, self.num_heads).permute(0, 3, 1, 2)


MULTI_HEAD_ATTENTION.mistake(
    "heads of interleaved numbers",
    what="head 0 gets the numbers 0, num_heads, 2 * num_heads ..., not the first ones",
    why="An untrained layer would learn it so, but GPT-2's trained weights do not fit: "
    "the numbers of a head lie side by side there.",
    look_at="view, where heads are split: the order of the last two numbers.",
)(_Interleaved)


@MULTI_HEAD_ATTENTION.mistake(
    "heads of interleaved numbers, and joined the same way",
    what="head 0 gets the numbers 0, num_heads, 2 * num_heads ..., and writes there",
    why="An untrained layer would learn it so, but GPT-2's trained weights do not fit: "
    "the numbers of a head lie side by side there.",
    look_at="view, where heads are split and joined: the order of the last two "
    "numbers.",
)
class _InterleavedBothWays(_Interleaved):
    def join(self, context: Tensor) -> Tensor:
        return context.permute(0, 2, 3, 1).flatten(2)


@MULTI_HEAD_ATTENTION.mistake(
    "a single head",
    what="num_heads is not used: queries, keys and values are not split",
    why="One table of weights has to serve every purpose; GPT-2 has twelve of them in "
    "each block.",
    look_at="where queries, keys and values are cut into heads.",
)
class _SingleHead(_Plain):
    def __init__(
        self,
        d_in: int,
        d_out: int,
        context_length: int,
        dropout: float,
        num_heads: int,
        qkv_bias: bool = False,
    ) -> None:
        super().__init__(d_in, d_out, context_length, dropout, 1, qkv_bias)


# The output projection.


@MULTI_HEAD_ATTENTION.mistake(
    "an output projection that is not used",
    what="out_proj is there, but forward returns the joined heads",
    why="The heads stay apart, each in its own places; and out_proj gets no gradient.",
    look_at="what forward returns.",
)
class _ProjectionNotUsed(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = (self.split(part) for part in self.project(x))
        return self.join(self.average(self.weigh(queries, keys), values))


@MULTI_HEAD_ATTENTION.mistake(
    "a missing output projection",
    what="there is no linear layer after the joined heads",
    why="The heads stay apart, each in its own places; and GPT-2's trained weights "
    "have "
    "no place to go.",
    look_at="what __init__ makes, and what happens to the joined heads.",
)
class _NoProjection(_ProjectionNotUsed):
    def __init__(self, *args: Any) -> None:  # noqa: ANN401
        super().__init__(*args)
        del self.out_proj


@MULTI_HEAD_ATTENTION.mistake(
    "an output projection without bias",
    what="the last linear layer has bias=False",
    why="Only queries, keys and values go by qkv_bias. GPT-2's twelve output "
    "projections have a bias each, 9,216 numbers in all.",
    look_at="how __init__ makes out_proj.",
)
class _ProjectionWithoutBias(_Plain):
    def __init__(self, *args: Any) -> None:  # noqa: ANN401
        super().__init__(*args)
        self.out_proj = nn.Linear(self.d_out, self.d_out, bias=False)


@MULTI_HEAD_ATTENTION.mistake(
    "an output projection that follows qkv_bias",
    what="the last linear layer has a bias only if qkv_bias is True",
    why="Only queries, keys and values go by qkv_bias. GPT-2's twelve output "
    "projections have a bias each, 9,216 numbers in all.",
    look_at="how __init__ makes out_proj.",
)
class _ProjectionFollows(_Plain):
    def __init__(self, *args: Any) -> None:  # noqa: ANN401
        super().__init__(*args)
        if self.W_query.bias is None:
            self.out_proj = nn.Linear(self.d_out, self.d_out, bias=False)


# The biases of queries, keys and values.


class _OtherBias(_Plain):
    @staticmethod
    def bias(given: bool) -> bool:
        raise NotImplementedError

    def __init__(
        self,
        d_in: int,
        d_out: int,
        context_length: int,
        dropout: float,
        num_heads: int,
        qkv_bias: bool = False,
    ) -> None:
        bias = self.bias(qkv_bias)
        super().__init__(d_in, d_out, context_length, dropout, num_heads, bias)


@MULTI_HEAD_ATTENTION.mistake(
    "a qkv_bias that is ignored: never a bias",
    what="query, key and value layers have no bias, even where qkv_bias is True",
    why="OpenAI's trained weights have these biases, and they have no place to go.",
    look_at="how __init__ makes the three layers.",
)
class _NeverBias(_OtherBias):
    @staticmethod
    def bias(given: bool) -> bool:
        return False


@MULTI_HEAD_ATTENTION.mistake(
    "a qkv_bias that is ignored: always a bias",
    what="query, key and value layers have a bias, even where qkv_bias is False",
    why="The model of this course would have 27,648 parameters more than it should.",
    look_at="how __init__ makes the three layers: nn.Linear has a bias by default.",
)
class _AlwaysBias(_OtherBias):
    @staticmethod
    def bias(given: bool) -> bool:
        return True


@MULTI_HEAD_ATTENTION.mistake(
    "a qkv_bias the other way round",
    what="query, key and value layers have a bias where qkv_bias is False",
    why="The model has parameters that it should not have, or lacks those that it "
    "should.",
    look_at="how __init__ makes the three layers.",
)
class _BiasInverted(_OtherBias):
    @staticmethod
    def bias(given: bool) -> bool:
        return not given


@MULTI_HEAD_ATTENTION.mistake(
    "a qkv_bias that is True by default",
    what="if qkv_bias is not given, query, key and value layers have a bias",
    why="It is False by default in this course; who leaves it out gets parameters that "
    "are not expected.",
    look_at="the arguments of __init__.",
)
class _BiasByDefault(_Plain):
    def __init__(
        self,
        d_in: int,
        d_out: int,
        context_length: int,
        dropout: float,
        num_heads: int,
        qkv_bias: bool = True,
    ) -> None:
        super().__init__(d_in, d_out, context_length, dropout, num_heads, qkv_bias)


# Dropout.


@MULTI_HEAD_ATTENTION.mistake(
    "no dropout",
    what="the argument has no effect in training",
    why="In training, tokens come to rely on single other ones, and the model learns "
    "its texts by heart sooner.",
    look_at="where forward uses dropout.",
)
class _NoDropout(_Plain):
    def average(self, weights: Tensor, values: Tensor) -> Tensor:
        return weights @ values


@MULTI_HEAD_ATTENTION.mistake(
    "dropout in eval mode too",
    what="weights are dropped in every call",
    why="The same text gives another result each time, and a worse one, when the model "
    "is used.",
    look_at="how dropout is called: how does it know of the mode?",
)
class _DropoutAlways(_Plain):
    def average(self, weights: Tensor, values: Tensor) -> Tensor:
        return F.dropout(weights, self.dropout.p) @ values


@MULTI_HEAD_ATTENTION.mistake(
    "dropout on the scores",
    what="scores are dropped before softmax, not weights after it",
    why="A dropped score becomes 0, and e to the power of 0 is 1: the token is not "
    "dropped, it gets a share by chance.",
    look_at="the order of dropout and softmax.",
)
class _DropoutOnScores(_Plain):
    def share(self, scores: Tensor) -> Tensor:
        return super().share(self.dropout(scores))

    def average(self, weights: Tensor, values: Tensor) -> Tensor:
        return weights @ values


@MULTI_HEAD_ATTENTION.mistake(
    "dropout on scores that are masked later",
    what="scores are dropped before mask and softmax, not weights after them",
    why="A dropped score becomes 0, and e to the power of 0 is 1: the token is not "
    "dropped, it gets a share by chance.",
    look_at="the order of dropout and softmax.",
)
class _DropoutBeforeMask(_Plain):
    def scale(self, scores: Tensor) -> Tensor:
        return self.dropout(super().scale(scores))

    def average(self, weights: Tensor, values: Tensor) -> Tensor:
        return weights @ values


@MULTI_HEAD_ATTENTION.mistake(
    "dropout on the result",
    what="numbers of the result are dropped, not attention weights",
    why="The block drops numbers of the result itself, after attention; here whole "
    "tokens should be left out of the average.",
    look_at="where forward uses dropout.",
)
class _DropoutOnResult(_NoDropout):
    def join(self, context: Tensor) -> Tensor:
        return self.dropout(super().join(context))


@MULTI_HEAD_ATTENTION.mistake(
    "dropout on the weights and on the result",
    what="besides attention weights, numbers of the result are dropped",
    why="The block drops numbers of the result itself, after attention: together it "
    "happens twice.",
    look_at="every place where forward uses dropout.",
)
class _DropoutTwice(_Plain):
    def join(self, context: Tensor) -> Tensor:
        return self.dropout(super().join(context))


# Gradients, and the rest.


@MULTI_HEAD_ATTENTION.mistake(
    "a gradient cut off at the weights",
    what="the attention weights are detached, or computed under no_grad",
    why="The forward result is right, but W_query and W_key get no gradient: what to "
    "look at is never learned.",
    look_at="detach, .data and no_grad.",
)
class _WeightsDetached(_Plain):
    def weigh(self, queries: Tensor, keys: Tensor) -> Tensor:
        return super().weigh(queries, keys).detach()


@MULTI_HEAD_ATTENTION.mistake(
    "a gradient cut off at the input",
    what="x is detached",
    why="The forward result is right, but no gradient reaches the layers before.",
    look_at="detach, .data and no_grad.",
)
class _InputDetached(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.detach())


@MULTI_HEAD_ATTENTION.mistake(
    "queries, keys and values that start at 0",
    what="the three layers are set to 0 in __init__",
    why="With all queries and keys at 0, neither gets a gradient, and they stay there.",
    look_at="what __init__ does with the layers after it has made them.",
)
class _StartsAtZero(_Plain):
    def __init__(self, *args: Any) -> None:  # noqa: ANN401
        super().__init__(*args)
        for layer in (self.W_query, self.W_key, self.W_value):
            nn.init.zeros_(layer.weight)


@MULTI_HEAD_ATTENTION.mistake(
    "a missing super().__init__()",
    what="the class does not set up what nn.Module needs",
    why="Before the __init__ of nn.Module has run, it cannot take layers.",
    look_at="the first line of __init__.",
)
class _NoSuper(_Plain):
    def __init__(
        self,
        d_in: int,
        d_out: int,
        context_length: int,
        dropout: float,
        num_heads: int,
        qkv_bias: bool = False,
    ) -> None:
        self.W_query = nn.Linear(d_in, d_out, bias=qkv_bias)


@MULTI_HEAD_ATTENTION.mistake(
    "a forward that returns the weights too",
    what="it gives a pair, and not a tensor",
    why="The block adds the result to its input, which it cannot do with a pair.",
    look_at="the last line of forward.",
)
class _ReturnsPair(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = (self.split(part) for part in self.project(x))
        weights = self.weigh(queries, keys)
        result = self.out_proj(self.join(self.average(weights, values)))
        return result, weights  # type: ignore[return-value]


@MULTI_HEAD_ATTENTION.mistake(
    "a forward without return",
    what="it gives None",
    why="The next layer gets nothing to work on.",
    look_at="the last line of forward.",
)
class _NoReturn(_Plain):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[return]
        super().forward(x)
