"""Checks of the exercises of notebook 4.1."""

import torch
from torch import Tensor, nn

from gpt_from_scratch.check.component import Component
from gpt_from_scratch.check.engine import check
from gpt_from_scratch.check.make import Make
from gpt_from_scratch.check.number_exercise import (
    Asked,
    NumberExercise,
    Slip,
    check_numbers,
    count_parameters,
)
from gpt_from_scratch.check.report import Report
from gpt_from_scratch.llm_architecture import GPT2_CONFIGS, DummyGPTModel

__all__ = ["embeddings", "parameters_of_a_layer", "parameters_of_embeddings"]

PARAMETERS_OF_A_LAYER = NumberExercise(
    "Parameters of a layer",
    {
        "weights": Asked(
            "nn.Linear(768, 3072, bias=False)",
            lambda: count_parameters(lambda: nn.Linear(768, 3072, bias=False)),
            (
                Slip(768 + 3072, "a sum", "there are as many as inputs and outputs"),
                Slip(768 * 768, "768 outputs", "the layer gives back 768 numbers"),
                Slip(3072, "one weight for each output", "the inputs do not count"),
                Slip(768, "one weight for each input", "the outputs do not count"),
                Slip(
                    2362368, "counted biases", "bias=False leaves them out of this one"
                ),
            ),
        ),
        "with_bias": Asked(
            "nn.Linear(768, 3072)",
            lambda: count_parameters(lambda: nn.Linear(768, 3072)),
            (
                Slip(2359296, "forgotten biases", "only the weights are counted"),
                Slip(
                    2360064, "a bias for each input", "it is the outputs that have one"
                ),
                Slip(2359297, "a single bias", "the whole layer has one constant"),
                Slip(
                    2363136, "a bias on both sides", "inputs and outputs have one each"
                ),
                Slip(4718592, "a bias for each weight", "all weights count twice"),
            ),
        ),
    },
)

_XL = GPT2_CONFIGS["gpt2-xl"]


def _one_part(part: str) -> int:
    def make() -> nn.Module:
        return DummyGPTModel(_XL).get_submodule(part)

    return count_parameters(make)


PARAMETERS_OF_EMBEDDINGS = NumberExercise(
    "Parameters of the embeddings",
    {
        "token_table": Asked(
            "the token embeddings of GPT-2 XL",
            lambda: _one_part("tok_emb"),
            (
                Slip(50257 * 768, "the small model's emb_dim", "XL has another"),
                Slip(50257 + 1600, "a sum", "rows and columns are added"),
                Slip(50257, "one number for each token", "emb_dim does not count"),
                Slip(
                    1024 * 1600,
                    "a row for each position",
                    "the rows of this table stand for tokens",
                ),
                Slip(
                    50257 * 1024,
                    "a column for each position",
                    "the columns stand for features",
                ),
                Slip(
                    50258 * 1600,
                    "one row too many",
                    "50,257 is already the number of tokens",
                ),
            ),
        ),
        "position_table": Asked(
            "the position embeddings of GPT-2 XL",
            lambda: _one_part("pos_emb"),
            (
                Slip(1024 * 768, "the small model's emb_dim", "XL has another"),
                Slip(1024 + 1600, "a sum", "rows and columns are added"),
                Slip(1024, "one number for each position", "emb_dim does not count"),
                Slip(
                    4 * 1600,
                    "a text of four tokens",
                    "the table has a row for each position that any text may have",
                ),
                Slip(
                    50257 * 1600,
                    "a row for each token",
                    "the rows of this table stand for positions",
                ),
                Slip(
                    50257 * 1024,
                    "a table of tokens by positions",
                    "there are as many numbers as pairs of token and position",
                ),
            ),
        ),
        "outline": Asked(
            "the whole DummyGPTModel of GPT-2 XL",
            lambda: count_parameters(lambda: DummyGPTModel(_XL)),
            (
                Slip(
                    82049600,
                    "a forgotten output layer",
                    "only the two tables are counted",
                ),
                Slip(
                    160822400,
                    "forgotten positions",
                    "only the token table and the output layer are counted",
                ),
                Slip(
                    162511057,
                    "counted biases",
                    "the output layer is made with bias=False",
                ),
                Slip(
                    77981184,
                    "the small model's emb_dim",
                    "it is the count of the small outline",
                ),
            ),
        ),
    },
)


def parameters_of_a_layer(weights: object = None, with_bias: object = None) -> Report:
    """Check your numbers of parameters of a linear layer (exercise of 4.1).

    Args:
        weights: Those of ``nn.Linear(768, 3072, bias=False)``.
        with_bias: Those of ``nn.Linear(768, 3072)``.

    Returns:
        Which numbers agree; see ``Report``.
    """
    return check_numbers(PARAMETERS_OF_A_LAYER, weights=weights, with_bias=with_bias)


def parameters_of_embeddings(
    token_table: object = None, position_table: object = None, outline: object = None
) -> Report:
    """Check your numbers of parameters of the embeddings (exercise of 4.1).

    Args:
        token_table: Those of the token embeddings of GPT-2 XL.
        position_table: Those of its position embeddings.
        outline: Those of a whole ``DummyGPTModel`` of that size.

    Returns:
        Which numbers agree; see ``Report``.
    """
    return check_numbers(
        PARAMETERS_OF_EMBEDDINGS,
        token_table=token_table,
        position_table=position_table,
        outline=outline,
    )


class _Embeddings(nn.Module):
    """Token plus position embeddings of a text, or of the rest of one."""

    def __init__(self, vocab_size: int, context_length: int, emb_dim: int) -> None:
        super().__init__()
        self.tok_emb = nn.Embedding(vocab_size, emb_dim)
        self.pos_emb = nn.Embedding(context_length, emb_dim)

    def positions(self, in_idx: Tensor, start: int) -> Tensor:
        return torch.arange(start, start + in_idx.shape[1])

    def together(self, what: Tensor, where: Tensor) -> Tensor:
        return what + where

    def forward(self, in_idx: Tensor, start: int = 0) -> Tensor:
        where = self.pos_emb(self.positions(in_idx, start))
        return self.together(self.tok_emb(in_idx), where)


EMBEDDINGS = Component("Embeddings", _Embeddings, is_exercise=True)


def embeddings(learner: object) -> Report:
    """Check the embeddings of a text that goes on (exercise of 4.1).

    Args:
        learner: Your class, called as
            ``Embeddings(vocab_size, context_length, emb_dim)``; its objects as
            ``embeddings(in_idx, start)``.

    Returns:
        What was found; see ``Report``.
    """
    return check(EMBEDDINGS, learner)


SIZES = 53, 11, 6  # vocab_size, context_length, emb_dim


def _ids(texts: int, tokens: int) -> Tensor:
    return (7 * torch.arange(texts * tokens).reshape(texts, tokens) + 3) % 53


@EMBEDDINGS.probe("a text from its beginning")
def _a_text_from_its_beginning(make: Make) -> object:
    return make(*SIZES)(_ids(1, 4), 0)


@EMBEDDINGS.probe("a token that goes on after three")
def _a_token_that_goes_on_after_three(make: Make) -> object:
    return make(*SIZES)(_ids(1, 1), 3)


@EMBEDDINGS.probe("three tokens that go on after two")
def _three_tokens_that_go_on_after_two(make: Make) -> object:
    return make(*SIZES)(_ids(1, 3), 2)


@EMBEDDINGS.probe("several texts")
def _several_texts(make: Make) -> object:
    built = make(*SIZES)
    return {
        f"{texts} texts of {tokens} tokens from {start}": built(
            _ids(texts, tokens), start
        )
        for texts, tokens, start in [(2, 5, 0), (4, 4, 0), (3, 2, 5), (2, 2, 1)]
    }


@EMBEDDINGS.probe("the longest text")
def _the_longest_text(make: Make) -> object:
    built = make(*SIZES)
    return {"at once": built(_ids(2, 11), 0), "its end": built(_ids(2, 4), 7)}


@EMBEDDINGS.probe("without start")
def _without_start(make: Make) -> object:
    return make(*SIZES)(_ids(2, 3))


@EMBEDDINGS.probe("parameters")
def _parameters(make: Make) -> object:
    return make(*SIZES).parameters()


@EMBEDDINGS.probe("other sizes")
def _other_sizes(make: Make) -> object:
    return make(60, 6, 6)(_ids(3, 3), 2)


@EMBEDDINGS.probe("gradients")
def _gradients(make: Make) -> object:
    return make(*SIZES).gradients(_ids(2, 5))


@EMBEDDINGS.probe("nothing else changes")
def _nothing_else_changes(make: Make) -> object:
    return make(*SIZES).side_effects(_ids(2, 5), _ids(1, 3))


@EMBEDDINGS.mistake(
    "a start that is not used",
    what="the first token given always gets position 0",
    why="When a text goes on, its next token would get the position of its first one, "
    "and the model could not tell the two apart.",
    look_at="the numbers of the positions, and whether start is among them.",
)
class _StartNotUsed(_Embeddings):
    def positions(self, in_idx: Tensor, start: int) -> Tensor:
        return super().positions(in_idx, 0)


@EMBEDDINGS.mistake(
    "a start that is used for every token",
    what="all tokens given get the same position",
    why="Two equal words in one text become equal again: that is what positions are "
    "to prevent.",
    look_at="how many different positions three tokens get.",
)
class _SamePosition(_Embeddings):
    def positions(self, in_idx: Tensor, start: int) -> Tensor:
        return torch.full((in_idx.shape[1],), start)


@EMBEDDINGS.mistake(
    "an end that is counted from 0",
    what="the positions go from start to T, and not to start + T",
    why="Four tokens from position 3 need the positions 3, 4, 5 and 6; only 3 is left.",
    look_at="the second argument of arange.",
)
class _EndFromZero(_Embeddings):
    def positions(self, in_idx: Tensor, start: int) -> Tensor:
        return torch.arange(start, in_idx.shape[1])


@EMBEDDINGS.mistake(
    "positions counted from 1",
    what="the first token of a text gets row 1 of the table",
    why="Row 0 is never used, and the last token of the longest text has no row.",
    look_at="the first number of arange.",
)
class _FromOne(_Embeddings):
    def positions(self, in_idx: Tensor, start: int) -> Tensor:
        return super().positions(in_idx, start + 1)


@EMBEDDINGS.mistake(
    "a position for each text",
    what="the texts of the batch are numbered, not the tokens of a text",
    why="All tokens of a text would get one position, another than those of the next "
    "text.",
    look_at="which dimension of in_idx has the tokens.",
)
class _PositionOfText(_Embeddings):
    def positions(self, in_idx: Tensor, start: int) -> Tensor:
        return torch.arange(start, start + in_idx.shape[0])[:, None]


@EMBEDDINGS.mistake(
    "an arange over the texts",
    what="it gives as many positions as there are texts, as in the bug hunt",
    why="The tokens of a single text would all get one position. Several texts give an "
    "error, if they do not happen to have as many tokens.",
    look_at="which dimension of in_idx has the tokens.",
)
class _ArangeOverTexts(_Embeddings):
    def positions(self, in_idx: Tensor, start: int) -> Tensor:
        return torch.arange(start, start + in_idx.shape[0])


@EMBEDDINGS.mistake(
    "positions that are left out",
    what="the token embeddings come out alone",
    why="The model could not tell which of two equal words comes first.",
    look_at="what is returned.",
)
class _WithoutPositions(_Embeddings):
    def together(self, what: Tensor, where: Tensor) -> Tensor:
        return what


@EMBEDDINGS.mistake(
    "embeddings that are multiplied",
    what="token and position embeddings are multiplied, not added",
    why="GPT-2 adds them. A product near 0 forgets both the token and the position.",
    look_at="the sign between the two.",
)
class _Multiplied(_Embeddings):
    def together(self, what: Tensor, where: Tensor) -> Tensor:
        return what * where


@EMBEDDINGS.mistake(
    "one position too many",
    what="there are T + 1 positions for T tokens",
    why="Shapes that do not fit raise an error, unless there is a single token: then "
    "it comes out twice.",
    look_at="the last number of arange, which it leaves out.",
)
class _OneTooMany(_Embeddings):
    def positions(self, in_idx: Tensor, start: int) -> Tensor:
        return torch.arange(start, start + in_idx.shape[1] + 1)


@EMBEDDINGS.mistake(
    "a token id used as a position",
    what="the position table is asked for the rows of the token ids",
    why="Its rows stand for positions. Most token ids are larger than its last row.",
    look_at="what is given to pos_emb.",
)
class _IdAsPosition(_Embeddings):
    def positions(self, in_idx: Tensor, start: int) -> Tensor:
        return in_idx


EXERCISES = (EMBEDDINGS,)
NUMBER_EXERCISES = (PARAMETERS_OF_A_LAYER, PARAMETERS_OF_EMBEDDINGS)
