"""Checks of the exercises of notebook 4.6."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpt_from_scratch.check.component import Component
from gpt_from_scratch.check.engine import check
from gpt_from_scratch.check.gpt_model import CFG, ids
from gpt_from_scratch.check.make import Built, Make
from gpt_from_scratch.check.number_exercise import (
    Asked,
    NumberExercise,
    Slip,
    check_numbers,
)
from gpt_from_scratch.check.report import Report
from gpt_from_scratch.gpt_model import GPTModel
from gpt_from_scratch.llm_architecture import (
    GPT2_CONFIGS,
    GPT_CONFIG_124M,
    GPTConfig,
    validate_config,
)
from gpt_from_scratch.model_size import parameter_counts, training_bytes

__all__ = ["bytes_to_train", "count_sizes", "tied_gpt_model"]

# Medium, large and XL from one class.

SIZES = {"medium": (24, 1024, 16), "large": (36, 1280, 20), "XL": (48, 1600, 25)}


def _configuration(n_layers: int, emb_dim: int, n_heads: int) -> GPTConfig:
    sizes = {"n_layers": n_layers, "emb_dim": emb_dim, "n_heads": n_heads}
    return {**GPT_CONFIG_124M, **sizes}  # type: ignore[typeddict-item]


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _count_sizes(
    model_class: Callable[[GPTConfig], nn.Module],
    configuration: Callable[..., GPTConfig] = _configuration,
    count: Callable[[Any], object] = _count,
) -> dict[str, object]:
    counts = {}
    for name, sizes in SIZES.items():
        with torch.device("meta"):
            counts[name] = count(model_class(configuration(*sizes)))
    return counts


COUNT_SIZES = Component("count_sizes", _count_sizes, is_exercise=True)


def count_sizes(learner: object) -> Report:
    """Check the parameters of medium, large and XL (exercise of 4.6).

    Args:
        learner: Your function, called as ``count_sizes(model_class)``.

    Returns:
        What was found; see ``Report``.
    """
    return check(COUNT_SIZES, learner)


class _Part(nn.Module):
    """A matrix of one number that PyTorch takes for as many as wanted."""

    def __init__(self, rows: int, columns: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1).expand(rows, columns))


class _StandIn(nn.Module):
    """Has as many parameters as ``GPTModel``, and no memory on any device."""

    more = 0  # parameters that GPTModel has not

    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__()
        validate_config(cfg)
        counts = parameter_counts(cfg)
        final_norm = 2 * cfg["emb_dim"]
        blocks = {  # named as in the real ones, for those who count by name
            "att": _Part(counts["attention"] + self.more),
            "ff": _Part(counts["feed-forward"]),
            "norm1": _Part(counts["layer normalization"] - final_norm),
        }
        self.tok_emb = _Part(cfg["vocab_size"], cfg["emb_dim"])
        self.pos_emb = _Part(cfg["context_length"], cfg["emb_dim"])
        self.trf_blocks = nn.Sequential(nn.ModuleDict(blocks))
        self.final_norm = _Part(final_norm)
        self.out_head = _Part(cfg["vocab_size"], cfg["emb_dim"])
        self.noted(cfg)

    def noted(self, cfg: GPTConfig) -> None:
        """Take note of the model; here, of nothing."""


def _ask(make: Make, model_class: type[_StandIn]) -> tuple[object, dict[str, str]]:
    """Ask for the numbers; say besides what was changed, and undo it."""
    kept = [(cfg, dict(cfg)) for cfg in GPT2_CONFIGS.values()]
    try:
        result = make.ask(model_class)
        is_changed = any(dict(cfg) != old for cfg, old in kept)
        after = {
            "the configurations": "changed" if is_changed else "left alone",
            "the default device": torch.empty(0).device.type,
        }
    finally:
        for cfg, old in kept:
            if dict(cfg) != old:
                cfg.clear()  # type: ignore[attr-defined]
                cfg.update(old)  # type: ignore[typeddict-item]
        if torch.empty(0).device.type != "cpu":
            torch.set_default_device(None)
    if not isinstance(result, Mapping):
        return f"no dictionary, but {type(result).__name__}", after
    return {str(name): _plain(count) for name, count in result.items()}, after


def _plain(value: object) -> object:
    is_number = isinstance(value, (int, float, Tensor)) and not isinstance(value, bool)
    return value if is_number else f"no number, but {type(value).__name__}"


@COUNT_SIZES.probe("parameters", rtol=0, atol=0)
def _parameters_of_sizes(make: Make) -> object:
    return _ask(make, _StandIn)[0]


def _noting(note: Callable[[_StandIn, GPTConfig], None]) -> type[_StandIn]:
    return type("GPTModel", (_StandIn,), {"noted": note})


@COUNT_SIZES.probe("the models' sizes")
def _the_sizes(make: Make) -> object:
    seen: dict[str, str] = {}

    def note(_: _StandIn, cfg: GPTConfig) -> None:
        sizes = f"{cfg['emb_dim']} features, {cfg['n_heads']} heads"
        seen[f"with {cfg['n_layers']} blocks"] = sizes

    _ask(make, _noting(note))
    return seen


@COUNT_SIZES.probe("the models' other settings")
def _the_other_settings(make: Make) -> object:
    seen: dict[str, str] = {}

    def note(_: _StandIn, cfg: GPTConfig) -> None:
        for key in ("vocab_size", "context_length", "qkv_bias"):
            seen[key] = str(cfg[key])

    _ask(make, _noting(note))
    return seen


@COUNT_SIZES.probe("the models' device")
def _the_device(make: Make) -> object:
    seen: set[str] = set()

    def note(model: _StandIn, _: GPTConfig) -> None:
        seen.add(model.tok_emb.weight.device.type)

    _ask(make, _noting(note))
    return " and ".join(sorted(seen)) or "no model was made"


@COUNT_SIZES.probe("another class, with 1,000 parameters more", rtol=0, atol=0)
def _another_class(make: Make) -> object:
    return _ask(make, type("GPTModel", (_StandIn,), {"more": 1000}))[0]


@COUNT_SIZES.probe("what is changed besides")
def _what_is_changed(make: Make) -> object:
    return _ask(make, _StandIn)[1]


@COUNT_SIZES.mistake(
    "models on the CPU",
    what="they are made with all their numbers, and not on the meta device",
    why="With the real class, XL alone would take 6.1 GiB, and long to fill.",
    look_at="where model_class(cfg) stands: the device is chosen when tensors are "
    "made.",
)
def _on_the_cpu(model_class: Callable[[GPTConfig], nn.Module]) -> object:
    return {
        name: _count(model_class(_configuration(*sizes)))
        for name, sizes in SIZES.items()
    }


@COUNT_SIZES.mistake(
    "a default device that is left behind",
    what='set_default_device("meta") is called, and holds from then on',
    why="Every tensor that is made later has no numbers either.",
    look_at="how long the meta device is to be the default; with ends by itself.",
)
def _device_left(model_class: Callable[[GPTConfig], nn.Module]) -> object:
    torch.set_default_device("meta")
    return _count_sizes(model_class)


@COUNT_SIZES.mistake(
    "a configuration that is changed in place",
    what="GPT_CONFIG_124M itself gets the new sizes",
    why="Whoever uses it afterwards gets XL, and calls it small.",
    look_at="what is changed: a copy, or the one dictionary that all share.",
)
def _changed_in_place(model_class: Callable[[GPTConfig], nn.Module]) -> object:
    def change(*sizes: int) -> GPTConfig:
        GPT_CONFIG_124M.update(_configuration(*sizes))
        return GPT_CONFIG_124M

    return _count_sizes(model_class, change)


@COUNT_SIZES.mistake(
    "the small model's heads",
    what="n_heads stays 12",
    why="1,024 features cannot be cut into 12 equal parts.",
    look_at="which three settings differ from size to size.",
)
def _same_heads(model_class: Callable[[GPTConfig], nn.Module]) -> object:
    return _count_sizes(
        model_class, lambda blocks, features, _: _configuration(blocks, features, 12)
    )


@COUNT_SIZES.mistake(
    "the small model's blocks",
    what="n_layers stays 12, and the blocks only get wider",
    why="Most of the parameters of the larger models are in their additional blocks.",
    look_at="which three settings differ from size to size.",
)
def _same_blocks(model_class: Callable[[GPTConfig], nn.Module]) -> object:
    return _count_sizes(
        model_class, lambda _, features, heads: _configuration(12, features, heads)
    )


@COUNT_SIZES.mistake(
    "the small model's features",
    what="emb_dim stays 768",
    why="It counts the most: a block's matrices grow with its square.",
    look_at="which three settings differ from size to size.",
)
def _same_features(model_class: Callable[[GPTConfig], nn.Module]) -> object:
    return _count_sizes(
        model_class, lambda blocks, _, heads: _configuration(blocks, 768, heads)
    )


@COUNT_SIZES.mistake(
    "blocks and heads exchanged",
    what="n_layers gets the number of heads, n_heads that of blocks",
    why="GPT-2 small has 12 of both, so it does not show there.",
    look_at="which column of the table goes into which setting.",
)
def _exchanged(model_class: Callable[[GPTConfig], nn.Module]) -> object:
    return _count_sizes(
        model_class,
        lambda blocks, features, heads: _configuration(heads, features, blocks),
    )


@COUNT_SIZES.mistake(
    "biases for queries, keys and values",
    what="qkv_bias is True",
    why="OpenAI's own models have them, those of this course do not.",
    look_at="which settings are to stay those of GPT_CONFIG_124M.",
)
def _with_biases(model_class: Callable[[GPTConfig], nn.Module]) -> object:
    def configuration(*sizes: int) -> GPTConfig:
        return {**_configuration(*sizes), "qkv_bias": True}

    return _count_sizes(model_class, configuration)


@COUNT_SIZES.mistake(
    "tied models",
    what="the output layer's matrix is not counted",
    why="The class does not tie them: each model has the matrix twice.",
    look_at="whether every parameter of the model is counted.",
)
def _tied_sizes(model_class: Callable[[GPTConfig], nn.Module]) -> object:
    def count(model: Any) -> int:  # noqa: ANN401
        model.out_head.weight = model.tok_emb.weight
        return _count(model)

    return _count_sizes(model_class, count=count)


@COUNT_SIZES.mistake(
    "the number of tensors",
    what="each matrix counts as one",
    why="A parameter of PyTorch is a whole tensor; here its numbers are to be counted.",
    look_at="what is added up: numel() is the number of numbers in a tensor.",
)
def _tensors(model_class: Callable[[GPTConfig], nn.Module]) -> object:
    return _count_sizes(model_class, count=lambda model: len(list(model.parameters())))


@COUNT_SIZES.mistake(
    "bytes",
    what="each parameter counts four times",
    why="Parameters are asked for, whatever type they are stored in.",
    look_at="what each numel() is multiplied with.",
)
def _in_bytes(model_class: Callable[[GPTConfig], nn.Module]) -> object:
    return _count_sizes(model_class, count=lambda model: 4 * _count(model))


@COUNT_SIZES.mistake(
    "numbers that are not returned",
    what="the models are made and nothing comes back",
    why="What a function prints, or keeps to itself, nobody else can use.",
    look_at="whether the function ends with return.",
)
def _not_returned(model_class: Callable[[GPTConfig], nn.Module]) -> object:
    _count_sizes(model_class)
    return None


@COUNT_SIZES.mistake(
    "models and not their numbers",
    what="the dictionary holds the models themselves",
    why="A number can be compared with the paper's.",
    look_at="what is stored under each name.",
)
def _models(model_class: Callable[[GPTConfig], nn.Module]) -> object:
    return _count_sizes(model_class, count=lambda model: model)


@COUNT_SIZES.mistake(
    "a count without a model",
    what="the numbers do not come from model_class",
    why="The same function is to count any class that takes a configuration.",
    look_at="whether model_class is called.",
)
def _without_model(_: object) -> object:
    return _count_sizes(_StandIn)


# One matrix for the token embedding and the output layer.


class _Tied(GPTModel):
    """The solution, in steps; the wrong versions change one."""

    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__(cfg)
        self.tie()
        self.draw()

    def tie(self) -> None:
        self.out_head.weight = self.tok_emb.weight

    def draw(self) -> None:
        nn.init.normal_(self.tok_emb.weight, std=0.02)
        nn.init.normal_(self.pos_emb.weight, std=0.01)


TIED_GPT_MODEL = Component("TiedGPTModel", _Tied, is_exercise=True)


def tied_gpt_model(learner: object) -> Report:
    """Check a model with one matrix at both ends (exercise of 4.6).

    Args:
        learner: Your class, called as ``TiedGPTModel(cfg)``.

    Returns:
        What was found; see ``Report``.
    """
    return check(TIED_GPT_MODEL, learner)


def _matrices(built: Built) -> dict[str, Tensor]:
    """Give the three large matrices, those that there are."""
    found = {}
    for name in ("tok_emb", "pos_emb", "out_head"):
        weight = getattr(getattr(built.module, name, None), "weight", None)
        if isinstance(weight, Tensor):
            found[f"{name}.weight"] = weight
    return found


@TIED_GPT_MODEL.probe("number of parameters", rtol=0, atol=0)
def _number_of_parameters(make: Make) -> object:
    module = make(CFG).module
    return _count(module) if isinstance(module, nn.Module) else "no nn.Module"


@TIED_GPT_MODEL.probe("one matrix in two places")
def _one_matrix(make: Make) -> object:
    found = _matrices(make(CFG))
    same = found.get("out_head.weight") is found.get("tok_emb.weight")
    return {"out_head.weight is tok_emb.weight": str(same)}


@TIED_GPT_MODEL.probe("spread of the embeddings", rtol=0.03, atol=0)
def _spread(make: Make) -> object:
    large: GPTConfig = {**CFG, "vocab_size": 2003, "context_length": 512}
    large = {**large, "emb_dim": 24, "n_layers": 1}
    found = _matrices(make(large, weights=None))
    return {name: weight.std() for name, weight in found.items()}


@TIED_GPT_MODEL.probe("parameters")
def _parameters_of_tied(make: Make) -> object:
    return make(CFG).parameters()


@TIED_GPT_MODEL.probe("logits with random weights")
def _logits(make: Make) -> object:
    return make(CFG)(ids(2, 5))


@TIED_GPT_MODEL.probe("gradients", atol=1e-4)
def _gradients_of_tied(make: Make) -> object:
    return make(CFG).gradients(ids(2, 5, seed=1))


@TIED_GPT_MODEL.probe("other configurations")
def _other_configurations(make: Make) -> object:
    others: list[Any] = [{"n_layers": 1}, {"emb_dim": 6}, {"vocab_size": 61}]
    return {str(other): make({**CFG, **other})(ids(1, 6, seed=2)) for other in others}


@TIED_GPT_MODEL.probe("nothing else changes")
def _nothing_else(make: Make) -> object:
    return make(CFG).side_effects(ids(2, 5), ids(1, 3))


@TIED_GPT_MODEL.mistake(
    "no tying",
    what="the output layer has a matrix of its own",
    why="GPT-2 small would have 38,597,376 parameters more.",
    look_at="what out_head.weight is set to.",
)
class _NotTied(_Tied):
    def tie(self) -> None:
        pass


@TIED_GPT_MODEL.mistake(
    "a copy",
    what="the numbers are equal at first, and the parameters are two",
    why="After one step of training the two differ, and nothing is saved.",
    look_at="whether out_head.weight becomes the same object, or a new parameter.",
)
class _Copied(_Tied):
    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__(cfg)
        self.out_head.weight = nn.Parameter(self.tok_emb.weight.detach().clone())

    def tie(self) -> None:
        pass


@TIED_GPT_MODEL.mistake(
    "two parameters on one memory",
    what="the numbers are shared, but PyTorch knows two parameters",
    why="Both are counted, each gets a gradient of its own, and an optimizer changes "
    "the numbers twice.",
    look_at="what is shared: the parameter itself, or only its .data.",
)
class _OneMemory(_Tied):
    def tie(self) -> None:
        self.out_head.weight.data = self.tok_emb.weight.data


@TIED_GPT_MODEL.mistake(
    "a shared layer",
    what="out_head becomes the token embedding itself",
    why="An embedding looks up rows; it cannot turn features into logits.",
    look_at="what the two layers share: only the parameter weight.",
)
class _SameLayer(_Tied):
    def tie(self) -> None:
        self.out_head = self.tok_emb  # type: ignore[assignment]


@TIED_GPT_MODEL.mistake(
    "an output layer left over",
    what="the logits come from the token embedding, and out_head stays, unused",
    why="It is still counted and stored: nothing is saved.",
    look_at="which parameters the model has, not only which it uses.",
)
class _LeftOver(_Tied):
    def tie(self) -> None:
        pass

    def forward(self, in_idx: Tensor) -> Tensor:  # type: ignore[override]
        x = self.tok_emb(in_idx) + self.pos_emb(torch.arange(in_idx.shape[1]))
        x = self.final_norm(self.trf_blocks(self.drop_emb(x)))
        return F.linear(x, self.tok_emb.weight)


@TIED_GPT_MODEL.mistake(
    "a new embedding after tying",
    what="tok_emb is made again, and out_head keeps the old matrix",
    why="From then on the two are apart.",
    look_at="the order: what is tied must not be replaced afterwards.",
)
class _MadeAgain(_Tied):
    def draw(self) -> None:
        self.tok_emb = nn.Embedding(*self.tok_emb.weight.shape)
        super().draw()


@TIED_GPT_MODEL.mistake(
    "a matrix that is not trained",
    what="the shared parameter has requires_grad=False",
    why="The model could learn neither to read a token nor to score one.",
    look_at="how the shared parameter is made; it need not be made at all.",
)
class _Frozen(_Tied):
    def draw(self) -> None:
        super().draw()
        self.tok_emb.weight.requires_grad_(False)


@TIED_GPT_MODEL.mistake(
    "embeddings as PyTorch draws them",
    what="their numbers have a standard deviation of 1",
    why="As an output layer they make logits fifty times too large, and each token "
    "repeats itself.",
    look_at="the last experiment on tying.",
)
class _NotDrawn(_Tied):
    def draw(self) -> None:
        pass


@TIED_GPT_MODEL.mistake(
    "embeddings as PyTorch draws an output layer",
    what="the shared matrix is the one of out_head, and keeps its numbers",
    why="PyTorch draws them by the number of inputs; GPT-2's have a standard "
    "deviation of 0.02 in every size.",
    look_at="what is drawn anew, and how.",
)
class _AsLinear(_Tied):
    def tie(self) -> None:
        self.tok_emb.weight = self.out_head.weight

    def draw(self) -> None:
        nn.init.normal_(self.pos_emb.weight, std=0.01)


@TIED_GPT_MODEL.mistake(
    "position embeddings as PyTorch draws them",
    what="only the token embeddings are made small",
    why="The position would be fifty times as large as the token it belongs to.",
    look_at="what else is added to the stream at its beginning.",
)
class _LargePositions(_Tied):
    def draw(self) -> None:
        nn.init.normal_(self.tok_emb.weight, std=0.02)


@TIED_GPT_MODEL.mistake(
    "position embeddings as large as the token embeddings",
    what="both have a standard deviation of 0.02",
    why="In GPT-2 the positions begin at half of it, 0.01.",
    look_at="the two numbers of the task.",
)
class _EqualSizes(_Tied):
    def draw(self) -> None:
        nn.init.normal_(self.tok_emb.weight, std=0.02)
        nn.init.normal_(self.pos_emb.weight, std=0.02)


@TIED_GPT_MODEL.mistake(
    "the two sizes exchanged",
    what="the tokens get 0.01 and the positions 0.02",
    why="In GPT-2 the tokens begin twice as large as the positions.",
    look_at="the two numbers of the task.",
)
class _ExchangedSizes(_Tied):
    def draw(self) -> None:
        nn.init.normal_(self.tok_emb.weight, std=0.01)
        nn.init.normal_(self.pos_emb.weight, std=0.02)


@TIED_GPT_MODEL.mistake(
    "a variance where a standard deviation is meant",
    what="the standard deviations are the roots of 0.02 and 0.01",
    why="The logits would be seven times too large.",
    look_at="what the argument std of nn.init.normal_ means.",
)
class _Variance(_Tied):
    def draw(self) -> None:
        nn.init.normal_(self.tok_emb.weight, std=0.02**0.5)
        nn.init.normal_(self.pos_emb.weight, std=0.01**0.5)


@TIED_GPT_MODEL.mistake(
    "numbers from an even distribution",
    what="they lie evenly between -0.02 and 0.02, the positions between -0.01 and 0.01",
    why="Their standard deviation is then smaller, by the root of 3.",
    look_at="which function of nn.init is called.",
)
class _Even(_Tied):
    def draw(self) -> None:
        nn.init.uniform_(self.tok_emb.weight, -0.02, 0.02)
        nn.init.uniform_(self.pos_emb.weight, -0.01, 0.01)


# Bytes.

_MEDIUM = GPT2_CONFIGS["gpt2-medium"]
_NUMBER = 406_212_608  # of medium's parameters, not tied
_IN_FLOAT32 = training_bytes(_MEDIUM)


def _bytes_of(*kinds: str) -> int:
    return sum(_IN_FLOAT32[kind] for kind in kinds or _IN_FLOAT32)


BYTES_TO_TRAIN = NumberExercise(
    "Bytes to train GPT-2 medium",
    {
        "plain_step": Asked(
            "training with the plain step, float32",
            lambda: _bytes_of("weights", "gradients"),
            (
                Slip(4 * _NUMBER, "forgotten gradients", "only the weights count"),
                Slip(2 * _NUMBER, "numbers for bytes", "each is counted as one byte"),
                Slip(12 * _NUMBER, "a moment", "the plain step of 4.1 keeps none"),
                Slip(16 * _NUMBER, "two moments", "the plain step of 4.1 keeps none"),
                Slip(
                    8 * 354_749_440,
                    "the tied count",
                    "the matrix of the vocabulary is counted once",
                ),
                Slip(8 * 163_009_536, "the small model", "it is not of medium's size"),
            ),
        ),
        "adamw": Asked(
            "training with AdamW, float32",
            _bytes_of,
            (
                Slip(8 * _NUMBER, "forgotten moments", "AdamW keeps two"),
                Slip(
                    12 * _NUMBER,
                    "three numbers for each parameter",
                    "one is missing among weights, gradients and two moments",
                ),
                Slip(
                    4 * _NUMBER,
                    "four bytes for each parameter",
                    "that is enough for the weights alone",
                ),
                Slip(
                    20 * _NUMBER,
                    "five numbers for each parameter",
                    "one is counted that nobody keeps",
                ),
                Slip(
                    16 * 354_749_440,
                    "the tied count",
                    "the matrix of the vocabulary is counted once",
                ),
                Slip(16 * 163_009_536, "the small model", "it is not of medium's size"),
            ),
        ),
        "mixed": Asked(
            "training with AdamW in mixed precision",
            lambda: 2 * _NUMBER + 2 * _NUMBER + 3 * (4 * _NUMBER),
            (
                Slip(8 * _NUMBER, "bfloat16 for all", "only two of the five are in it"),
                Slip(
                    12 * _NUMBER,
                    "a forgotten copy",
                    "the weights are there twice, in either type",
                ),
                Slip(14 * _NUMBER, "forgotten gradients", "they take two bytes each"),
                Slip(
                    18 * _NUMBER,
                    "gradients in float32",
                    "here they are kept in bfloat16",
                ),
                Slip(20 * _NUMBER, "float32 for all", "two of the five are smaller"),
                Slip(
                    16 * 354_749_440,
                    "the tied count",
                    "the matrix of the vocabulary is counted once",
                ),
                Slip(16 * 163_009_536, "the small model", "it is not of medium's size"),
            ),
        ),
    },
)


def bytes_to_train(
    plain_step: object = None, adamw: object = None, mixed: object = None
) -> Report:
    """Check your numbers of bytes to train GPT-2 medium (exercise of 4.6).

    Args:
        plain_step: With the plain step of 4.1, in float32.
        adamw: With AdamW, in float32.
        mixed: With AdamW, in mixed precision.

    Returns:
        Which numbers agree; see ``Report``.
    """
    return check_numbers(
        BYTES_TO_TRAIN, plain_step=plain_step, adamw=adamw, mixed=mixed
    )


EXERCISES = (COUNT_SIZES, TIED_GPT_MODEL)
NUMBER_EXERCISES = (BYTES_TO_TRAIN,)
