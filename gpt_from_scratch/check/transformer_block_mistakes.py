"""What the check knows of ``TransformerBlock`` (4.5): the mistakes it can name.

Each wrong version replaces a step of the plain one.
"""

from typing import Any

from torch import Tensor, nn

from gpt_from_scratch.attention import MultiHeadAttention
from gpt_from_scratch.check.transformer_block import TRANSFORMER_BLOCK
from gpt_from_scratch.feed_forward import FeedForward
from gpt_from_scratch.layer_normalization import LayerNorm
from gpt_from_scratch.llm_architecture import GPTConfig

__all__ = ["TRANSFORMER_BLOCK"]

_STREAM = (
    "The shortcuts are the way on which the stream and its gradient go unchanged "
    "through all twelve blocks."
)
_POST = (
    "Every normalization then stands on the way of the gradient: in 24 blocks of "
    "notebook 4.5, one part in 50,000 of what goes that way gets down to the first."
)


class _Plain(nn.Module):
    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__()
        cfg = self.settings(cfg)
        self.att = MultiHeadAttention(
            cfg["emb_dim"],
            cfg["emb_dim"],
            cfg["context_length"],
            cfg["drop_rate"],
            cfg["n_heads"],
            cfg["qkv_bias"],
        )
        self.ff = FeedForward(cfg)
        self.norm1 = LayerNorm(cfg["emb_dim"])
        self.norm2 = LayerNorm(cfg["emb_dim"])
        self.drop = nn.Dropout(cfg["drop_rate"])
        self.finish(cfg)

    def settings(self, cfg: GPTConfig) -> GPTConfig:
        return cfg

    def finish(self, cfg: GPTConfig) -> None:
        pass

    def attend(self, x: Tensor) -> Tensor:
        return self.drop(self.att(self.norm1(x)))

    def think(self, x: Tensor) -> Tensor:
        return self.drop(self.ff(self.norm2(x)))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(x)
        return x + self.think(x)


# Shortcuts.


@TRANSFORMER_BLOCK.mistake(
    "a missing first shortcut",
    what="after attention, the input is not added",
    why=f"{_STREAM} Here the stream ends in attention.",
    look_at="what happens to the input after attention.",
)
class _NoFirstShortcut(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = self.attend(x)
        return x + self.think(x)


@TRANSFORMER_BLOCK.mistake(
    "a missing second shortcut",
    what="after the feed-forward network, what came before it is not added",
    why=f"{_STREAM} Here the stream ends in the feed-forward network.",
    look_at="what forward returns.",
)
class _NoSecondShortcut(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.think(x + self.attend(x))


@TRANSFORMER_BLOCK.mistake(
    "no shortcuts",
    what="nothing is added to what the branches give",
    why=_STREAM,
    look_at="what happens to the input of each branch.",
)
class _NoShortcuts(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.think(self.attend(x))


@TRANSFORMER_BLOCK.mistake(
    "a second shortcut from the block's input",
    what="what the feed-forward network gives is added to the block's input, not to "
    "the sum after attention",
    why="What attention has found is lost from the stream; only the feed-forward "
    "network has seen it.",
    look_at="what the second sum adds up: is the shortcut kept anew?",
)
class _SecondFromInput(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        return x + self.think(x + self.attend(x))


@TRANSFORMER_BLOCK.mistake(
    "a block's input that is added twice",
    what="the second sum adds the block's input besides the sum after attention",
    why="With twelve blocks, the stream grows to 4,096 times what it was.",
    look_at="what the second sum adds up.",
)
class _InputTwice(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        after = x + self.attend(x)
        return x + after + self.think(after)


@TRANSFORMER_BLOCK.mistake(
    "a first shortcut from the normalized input",
    what="attention's result is added to what norm1 gives",
    why=f"{_STREAM} Here a normalization stands on it.",
    look_at="when the shortcut is kept: before the normalization, or after it?",
)
class _FirstFromNormalized(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x) + self.attend(x)
        return x + self.think(x)


@TRANSFORMER_BLOCK.mistake(
    "a second shortcut from the normalized input",
    what="the feed-forward network's result is added to what norm2 gives",
    why=f"{_STREAM} Here a normalization stands on it.",
    look_at="when the shortcut is kept: before the normalization, or after it?",
)
class _SecondFromNormalized(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(x)
        return self.norm2(x) + self.think(x)


@TRANSFORMER_BLOCK.mistake(
    "shortcuts from the normalized inputs",
    what="each branch's result is added to what the normalization gives",
    why=f"{_STREAM} Here two normalizations stand on it.",
    look_at="when the shortcuts are kept: before the normalization, or after it?",
)
class _BothFromNormalized(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x) + self.attend(x)
        return self.norm2(x) + self.think(x)


@TRANSFORMER_BLOCK.mistake(
    "shortcuts without a gradient",
    what="the input is detached before it is added",
    why="The forward result is right, but the gradient has to go through the branches, "
    "as if there were no shortcuts.",
    look_at="detach, .data and no_grad.",
)
class _Detached(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = x.detach() + self.attend(x)
        return x.detach() + self.think(x)


@TRANSFORMER_BLOCK.mistake(
    "shortcuts that add in place",
    what="the input itself is overwritten by the sum",
    why="Who still needs the block's input, gets something else; and backward() may "
    "end in an error.",
    look_at="the sign += and methods with an underscore.",
)
class _InPlace(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        x += self.attend(x)
        x += self.think(x)
        return x


@TRANSFORMER_BLOCK.mistake(
    "branches that are subtracted",
    what="the sign of the sums is a minus",
    why="Training could live with it, but GPT-2's trained weights go the wrong way.",
    look_at="the signs in forward.",
)
class _Subtracted(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = x - self.attend(x)
        return x - self.think(x)


# Normalizations.


@TRANSFORMER_BLOCK.mistake(
    "normalization after the sums",
    what="each sum is normalized (post-norm), and not what a branch reads (pre-norm)",
    why=_POST,
    look_at="where norm1 and norm2 stand: before the branch, or after the sum?",
)
class _PostNorm(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.drop(self.att(x)))
        return self.norm2(x + self.drop(self.ff(x)))


@TRANSFORMER_BLOCK.mistake(
    "normalization between branch and sum",
    what="what a branch gives is normalized, not what it reads",
    why="A branch then reads a stream that grows from block to block; and GPT-2's "
    "trained weights do not fit.",
    look_at="where norm1 and norm2 stand: before the branch, or after it?",
)
class _NormAfterBranch(_Plain):
    def attend(self, x: Tensor) -> Tensor:
        return self.drop(self.norm1(self.att(x)))

    def think(self, x: Tensor) -> Tensor:
        return self.drop(self.norm2(self.ff(x)))


class _BareAttention(_Plain):
    def attend(self, x: Tensor) -> Tensor:
        return self.drop(self.att(x))


class _BareNetwork(_Plain):
    def think(self, x: Tensor) -> Tensor:
        return self.drop(self.ff(x))


_NOT_NORMALIZED = (
    "The stream grows from block to block, and with it what this branch reads. Scores "
    "and activations then get far larger than they are made for."
)
for _bare, _whose in (
    ((_BareAttention,), "attention"),
    ((_BareNetwork,), "the feed-forward network"),
    ((_BareAttention, _BareNetwork), "both branches"),
):
    TRANSFORMER_BLOCK.mistake(
        f"an input of {_whose} that is not normalized",
        what="the normalization is there, but is not called",
        why=_NOT_NORMALIZED,
        look_at="what each branch is called with.",
    )(type("_", _bare, {}))


class _OneNorm(_Plain):
    def think(self, x: Tensor) -> Tensor:
        return self.drop(self.ff(self.norm1(x)))


TRANSFORMER_BLOCK.mistake(
    "norm1 used twice",
    what="the feed-forward network reads what norm1 gives, and norm2 is not called",
    why="Each branch has a scale and a shift of its own in GPT-2. norm2 gets no "
    "gradient.",
    look_at="which normalization stands before which branch.",
)(_OneNorm)


@TRANSFORMER_BLOCK.mistake(
    "norm2 used twice",
    what="attention reads what norm2 gives, and norm1 is not called",
    why="Each branch has a scale and a shift of its own in GPT-2. norm1 gets no "
    "gradient.",
    look_at="which normalization stands before which branch.",
)
class _SecondNormTwice(_Plain):
    def attend(self, x: Tensor) -> Tensor:
        return self.drop(self.att(self.norm2(x)))


@TRANSFORMER_BLOCK.mistake(
    "one normalization for both branches",
    what="norm1 and norm2 are the same object, or only one is made",
    why="Each branch has a scale and a shift of its own in GPT-2, 1,536 numbers in a "
    "block that have no place to go.",
    look_at="what __init__ makes.",
)
class _OneNormMade(_OneNorm):
    def finish(self, cfg: GPTConfig) -> None:
        del self.norm2


@TRANSFORMER_BLOCK.mistake(
    "norm1 and norm2 in each other's place",
    what="attention reads what norm2 gives, the feed-forward network what norm1 gives",
    why="An untrained block would learn it so, but GPT-2's trained weights do not fit.",
    look_at="which normalization stands before which branch.",
)
class _NormsExchanged(_Plain):
    def attend(self, x: Tensor) -> Tensor:
        return self.drop(self.att(self.norm2(x)))

    def think(self, x: Tensor) -> Tensor:
        return self.drop(self.ff(self.norm1(x)))


@TRANSFORMER_BLOCK.mistake(
    "a normalized result",
    what="the block's result goes through norm2 once more",
    why=f"{_STREAM} A final normalization stands only once, after the last block.",
    look_at="what forward returns.",
)
class _ResultNormalized(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm2(super().forward(x))


# Branches.


@TRANSFORMER_BLOCK.mistake(
    "parallel branches",
    what="the feed-forward network reads the block's input, not the sum after "
    "attention",
    why="It cannot work on what attention has gathered. (Some models are built so, "
    "GPT-2 is not, and its weights do not fit.)",
    look_at="what norm2 is called with.",
)
class _Parallel(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        return x + self.attend(x) + self.think(x)


@TRANSFORMER_BLOCK.mistake(
    "the feed-forward network before attention",
    what="the two branches come in the other order, each with its normalization",
    why="GPT-2's trained weights do not fit: its network works on what attention has "
    "gathered in the same block.",
    look_at="the order of the branches in forward.",
)
class _OtherOrder(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = x + self.think(x)
        return x + self.attend(x)


@TRANSFORMER_BLOCK.mistake(
    "the feed-forward network before attention, with the normalizations in order",
    what="norm1 stands before the feed-forward network, which comes first, and norm2 "
    "before attention",
    why="GPT-2's trained weights do not fit: its network works on what attention has "
    "gathered in the same block.",
    look_at="the order of the branches in forward.",
)
class _OtherOrderOfBranches(_NormsExchanged):
    def forward(self, x: Tensor) -> Tensor:
        x = x + self.think(x)
        return x + self.attend(x)


@TRANSFORMER_BLOCK.mistake(
    "a block without attention",
    what="attention is not called",
    why="No token learns anything of the others.",
    look_at="forward: is every part called?",
)
class _NoAttention(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        return x + self.think(x)


@TRANSFORMER_BLOCK.mistake(
    "a block without the feed-forward network",
    what="the feed-forward network is not called",
    why="Two thirds of a block's parameters are in it, and get no gradient.",
    look_at="forward: is every part called?",
)
class _NoNetwork(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        return x + self.attend(x)


@TRANSFORMER_BLOCK.mistake(
    "attention applied twice",
    what="attention reads what attention gave",
    why="The second one mixes what is mixed already; GPT-2 has one in each block.",
    look_at="forward: how often is attention called?",
)
class _AttentionTwice(_Plain):
    def attend(self, x: Tensor) -> Tensor:
        return self.drop(self.att(self.att(self.norm1(x))))


# Dropout.


@TRANSFORMER_BLOCK.mistake(
    "dropout after the addition",
    what="the sums go through dropout, and not what a branch gives",
    why="A quarter of dropped numbers (at 0.25) are lost from the stream itself, in "
    "each block again. Dropout should only touch what is added.",
    look_at="the order of dropout and addition.",
)
class _DropoutAfterAddition(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(x + self.att(self.norm1(x)))
        return self.drop(x + self.ff(self.norm2(x)))


class _NoDropAttention(_Plain):
    def attend(self, x: Tensor) -> Tensor:
        return self.att(self.norm1(x))


class _NoDropNetwork(_Plain):
    def think(self, x: Tensor) -> Tensor:
        return self.ff(self.norm2(x))


for _none, _where in (
    ((_NoDropAttention,), "after attention"),
    ((_NoDropNetwork,), "after the feed-forward network"),
    ((_NoDropAttention, _NoDropNetwork), "in either branch"),
):
    TRANSFORMER_BLOCK.mistake(
        f"no dropout {_where}",
        what="what is added goes into the stream without dropout",
        why="The book's GPT-2 has it at the end of both branches: the model learns its "
        "texts by heart later.",
        look_at="what happens between each branch and its sum.",
    )(type("_", _none, {}))


class _OtherAttention(_Plain):
    @staticmethod
    def other(cfg: GPTConfig) -> dict[str, Any]:
        raise NotImplementedError

    def finish(self, cfg: GPTConfig) -> None:
        wanted = {
            "d_in": cfg["emb_dim"],
            "d_out": cfg["emb_dim"],
            "context_length": cfg["context_length"],
            "dropout": cfg["drop_rate"],
            "num_heads": cfg["n_heads"],
            "qkv_bias": cfg["qkv_bias"],
        }
        self.att = MultiHeadAttention(**{**wanted, **self.other(cfg)})


@TRANSFORMER_BLOCK.mistake(
    "attention without dropout",
    what="drop_rate is not handed on to it",
    why="In training, tokens come to rely on single other ones.",
    look_at="what attention is built with.",
)
class _AttentionWithoutDropout(_OtherAttention):
    @staticmethod
    def other(cfg: GPTConfig) -> dict[str, Any]:
        return {"dropout": 0.0}


# Settings.


@TRANSFORMER_BLOCK.mistake(
    "a qkv_bias that is not handed on",
    what="attention is built without it, so that it never has these biases",
    why="OpenAI's trained weights have them, and they have no place to go.",
    look_at="what attention is built with.",
)
class _BiasNotHandedOn(_OtherAttention):
    @staticmethod
    def other(cfg: GPTConfig) -> dict[str, Any]:
        return {"qkv_bias": False}


@TRANSFORMER_BLOCK.mistake(
    "a qkv_bias that is always True",
    what="attention has these biases, whatever cfg says",
    why="The model of this course would have 27,648 parameters more than it should.",
    look_at="what attention is built with.",
)
class _BiasAlways(_OtherAttention):
    @staticmethod
    def other(cfg: GPTConfig) -> dict[str, Any]:
        return {"qkv_bias": True}


@TRANSFORMER_BLOCK.mistake(
    "a single head",
    what="n_heads is not handed on to attention",
    why="One table of weights has to serve every purpose; GPT-2 has twelve of them in "
    "each block.",
    look_at="what attention is built with.",
)
class _SingleHead(_OtherAttention):
    @staticmethod
    def other(cfg: GPTConfig) -> dict[str, Any]:
        return {"num_heads": 1}


@TRANSFORMER_BLOCK.mistake(
    "n_layers in the place of n_heads",
    what="attention gets as many heads as the model has blocks",
    why="In GPT-2 small both are 12, and nothing shows. In GPT-2 medium there are 16 "
    "heads and 24 blocks.",
    look_at="what attention is built with.",
)
class _LayersForHeads(_OtherAttention):
    @staticmethod
    def other(cfg: GPTConfig) -> dict[str, Any]:
        return {"num_heads": cfg["n_layers"]}


@TRANSFORMER_BLOCK.mistake(
    "a context_length that is the number of heads",
    what="attention is built with arguments in another order",
    why="Only texts of as many tokens as there are heads would fit.",
    look_at="what attention is built with, and in which order.",
)
class _ContextIsHeads(_OtherAttention):
    @staticmethod
    def other(cfg: GPTConfig) -> dict[str, Any]:
        return {"context_length": cfg["n_heads"]}


# The rest.


@TRANSFORMER_BLOCK.mistake(
    "a missing super().__init__()",
    what="the block's class, or that of a part, does not set up what nn.Module needs",
    why="Before the __init__ of nn.Module has run, it cannot take layers.",
    look_at="the first line of __init__.",
)
class _NoSuper(_Plain):
    def __init__(self, cfg: GPTConfig) -> None:
        self.norm1 = LayerNorm(cfg["emb_dim"])


@TRANSFORMER_BLOCK.mistake(
    "a forward that returns its input",
    what="nothing is added to the stream",
    why="It is the placeholder of section 4.1, with parameters.",
    look_at="what forward returns.",
)
class _ReturnsInput(_Plain):
    def forward(self, x: Tensor) -> Tensor:
        return x


@TRANSFORMER_BLOCK.mistake(
    "a forward without return",
    what="it gives None",
    why="The next block gets nothing to work on.",
    look_at="the last line of forward.",
)
class _NoReturn(_Plain):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[return]
        super().forward(x)
