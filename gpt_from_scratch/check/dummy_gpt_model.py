"""What the check knows of ``DummyGPTModel`` (4.1)."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from gpt_from_scratch.check.compare import NOT_ASKED
from gpt_from_scratch.check.component import Component
from gpt_from_scratch.check.make import Built, Make
from gpt_from_scratch.check.weights import numbers
from gpt_from_scratch.llm_architecture import DummyGPTModel, GPTConfig

DUMMY_GPT_MODEL = Component(
    "DummyGPTModel",
    DummyGPTModel,
    usual_names={
        **dict.fromkeys(("wte", "token_emb", "token_embedding", "tok"), "tok_emb"),
        **dict.fromkeys(("wpe", "position_emb", "pos_embedding", "pos"), "pos_emb"),
        **dict.fromkeys(("lm_head", "head", "output", "unembed"), "out_head"),
    },
)
CFG: GPTConfig = {
    "vocab_size": 53,
    "context_length": 7,
    "emb_dim": 12,
    "n_heads": 6,
    "n_layers": 4,
    "drop_rate": 0.0,
    "qkv_bias": False,
}


def ids(*shape: int, seed: int = 0) -> Tensor:
    """Give token ids below 53 that are the same on every machine."""
    return numbers(*shape, seed=seed, low=0, high=53).long()


def telling(model: Any) -> None:  # noqa: ANN401
    """Let logit 0 be the token's id, and logit 1 its position."""
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        model.tok_emb.weight[:, 0] = torch.arange(len(model.tok_emb.weight))
        model.pos_emb.weight[:, 1] = torch.arange(len(model.pos_emb.weight))
        model.out_head.weight[0, 0] = model.out_head.weight[1, 1] = 1.0


# Probes.


@DUMMY_GPT_MODEL.probe("shape")
def _shape(make: Make) -> object:
    """2 texts of 5 tokens, a logit for each of 53 tokens."""
    return str(tuple(make(CFG)(ids(2, 5)).shape))


@DUMMY_GPT_MODEL.probe("ids and positions as logits")
def _ids_and_positions_as_logits(make: Make) -> object:
    return make(CFG, weights=telling)(torch.tensor([[30, 6, 30, 2, 0]]))[..., :2]


@DUMMY_GPT_MODEL.probe("parameters")
def _parameters(make: Make) -> object:
    return make(CFG).parameters()


@DUMMY_GPT_MODEL.probe("random weights")
def _random_weights(make: Make) -> object:
    return make(CFG)(ids(2, 5, seed=1))


@DUMMY_GPT_MODEL.probe("other numbers of texts and tokens")
def _other_numbers_of_texts_and_tokens(make: Make) -> object:
    model = make(CFG)
    shapes = [(1, 1), (1, 7), (3, 1), (5, 5), (9, 7)]
    return {f"shape {shape}": model(ids(*shape, seed=2)) for shape in shapes}


@DUMMY_GPT_MODEL.probe("other configurations")
def _other_configurations(make: Make) -> object:
    others: list[Any] = [
        {"vocab_size": 61},
        {"context_length": 11},
        {"emb_dim": 6},
        {"n_layers": 1, "n_heads": 4},
        {"qkv_bias": True},
    ]
    return {str(other): make({**CFG, **other})(ids(2, 6, seed=3)) for other in others}


@DUMMY_GPT_MODEL.probe("one token changed")
def _one_token_changed(make: Make) -> object:
    """Nothing looks at other tokens yet."""
    model = make(CFG)
    one = ids(2, 5, seed=4)
    other = one.clone()
    other[1, 3] = (other[1, 3] + 7) % 53
    moves = (model(other) - model(one)).abs().amax(dim=-1) > 1e-6  # (2, 5)
    return {
        f"text {text}, token {token}": "moves" if moves[text, token] else "stays"
        for text in range(2)
        for token in range(5)
    }


@DUMMY_GPT_MODEL.probe("gradients", atol=1e-4)
def _gradients(make: Make) -> object:
    every_id = torch.arange(56).reshape(8, 7) % 53
    return make(CFG).gradients(every_id)


@DUMMY_GPT_MODEL.probe("training mode, without and with dropout")
def _training_mode_without_and_with_dropout(make: Make) -> object:
    result: dict[str, object] = {}
    for rate in (0.0, 0.5):
        model = make({**CFG, "drop_rate": rate})
        batch = ids(2, 5, seed=6)
        calm = model(batch)
        result[f"drop_rate {rate}, in eval mode"] = calm
        model.train()
        trained = model(batch)
        is_same = calm.shape == trained.shape and torch.allclose(calm, trained)
        result[f"drop_rate {rate}, result"] = "the same" if is_same else "another"
        result[f"drop_rate {rate}, values"] = trained
    return result


class _Block(nn.Module):
    """Stands in for a block: each changes x in another way, so the order shows."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def forward(self, x: Tensor) -> Tensor:
        return x * (1 + self.number) + (1 + self.number) ** 2


def _replace_blocks(model: Built) -> str:
    """Put stand-ins for the four blocks, and say what was there."""
    parts = model.module.modules() if isinstance(model.module, nn.Module) else []
    lists = [each for each in parts if isinstance(each, (nn.Sequential, nn.ModuleList))]
    for blocks in lists:
        if len(blocks) == 4:
            different = len({id(block) for block in blocks})
            for index in range(4):
                blocks[index] = _Block(index)
            return f"{different} different ones"
    lengths = " or ".join(str(len(blocks)) for blocks in lists)
    return f"{lengths or 'none'} in nn.Sequential or nn.ModuleList"


@DUMMY_GPT_MODEL.probe("the blocks")
def _the_blocks(make: Make) -> object:
    """There are n_layers different ones, and all are used, in their order."""
    model = make(CFG)
    return {
        "for n_layers of 4": _replace_blocks(model),
        "result of others in their place": model(ids(2, 5, seed=7)),
    }


@DUMMY_GPT_MODEL.probe("the final normalization")
def _the_final_normalization(make: Make) -> object:
    """It comes after the blocks and before the output layer."""
    model = make(CFG)
    if not hasattr(model.module, "final_norm"):
        return NOT_ASKED
    _replace_blocks(model)
    model.module.final_norm = _Block(5)
    return model(ids(2, 5, seed=8))


class _NewTensors(TorchFunctionMode):
    """Notes tensors that are made without a device and then used for a look-up."""

    makers = (torch.arange, torch.tensor, torch.zeros, torch.ones, torch.linspace)

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Tensor] = []
        self.used = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        is_ours = any(a is made for a in args for made in self.made)
        is_new = func in self.makers and kwargs.get("device") is None
        if func is F.embedding and is_ours:
            self.used = True
        if func in (Tensor.to, Tensor.cuda, Tensor.type_as):
            self.made = [made for made in self.made if made is not result]
        elif isinstance(result, Tensor) and result.ndim and (is_new or is_ours):
            self.made.append(result)
        return result


@DUMMY_GPT_MODEL.probe("positions on the device of the ids")
def _positions_on_the_device_of_the_ids(make: Make) -> object:
    model, batch = make(CFG), ids(2, 5, seed=9)
    with _NewTensors() as mode:
        model(batch)
    return "always on the CPU" if mode.used else "yes"


@DUMMY_GPT_MODEL.probe("initial weights")
def _initial_weights(make: Make) -> object:
    return {
        name: "random, around 0"
        if isinstance(value, Tensor) and 0.001 < value.std() < 2 > value.mean().abs()
        else "other"
        for name, value in make(CFG, weights=None).initial().items()
    }


@DUMMY_GPT_MODEL.probe("nothing else changes")
def _nothing_else_changes(make: Make) -> object:
    return make(CFG).side_effects(ids(2, 5, seed=10), ids(3, 7, seed=11))


# Wrong versions.


class Outline(nn.Module):
    """The model in steps that a mistake replaces; with no blocks and no norm yet."""

    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__()
        self.tok_emb = nn.Embedding(cfg["vocab_size"], cfg["emb_dim"])
        self.pos_emb = nn.Embedding(cfg["context_length"], cfg["emb_dim"])
        self.drop_emb = nn.Dropout(cfg["drop_rate"])
        self.trf_blocks: Any = nn.Sequential(*self.blocks(cfg))
        self.final_norm: Any = self.norm(cfg)
        self.out_head = nn.Linear(cfg["emb_dim"], cfg["vocab_size"], bias=False)
        self.change(cfg)

    def blocks(self, cfg: GPTConfig) -> list[nn.Module]:
        return [self.block(cfg) for _ in range(cfg["n_layers"])]

    def block(self, cfg: GPTConfig) -> nn.Module:
        return nn.Identity()

    def norm(self, cfg: GPTConfig) -> nn.Module:
        return nn.Identity()

    def change(self, cfg: GPTConfig) -> None:
        """Spoil what was made."""

    def positions(self, in_idx: Tensor) -> Tensor:
        return torch.arange(in_idx.shape[1], device=in_idx.device)

    def embed(self, in_idx: Tensor) -> Tensor:
        return self.tok_emb(in_idx) + self.pos_emb(self.positions(in_idx))

    def finish(self, x: Tensor) -> Tensor:
        return self.out_head(self.final_norm(self.trf_blocks(self.drop_emb(x))))

    def forward(self, in_idx: Tensor) -> Tensor:
        return self.finish(self.embed(in_idx))


def _add(name: str, what: str, why: str, look_at: str, **steps: Any) -> None:  # noqa: ANN401
    wrong = type("_Wrong", (Outline,), steps)
    DUMMY_GPT_MODEL.mistake(name, what=what, why=why, look_at=look_at)(wrong)


NO_ORDER = "The model cannot tell in which order the tokens stand."
POSITIONS = "what the position embedding is asked for in forward."

_add(
    "token embeddings without positions",
    "the position embedding is not added",
    NO_ORDER,
    "what is added to the token embedding in forward.",
    embed=lambda self, idx: self.tok_emb(idx),
)
_add(
    "positions without token embeddings",
    "the token embedding is not used",
    "The model does not see which tokens the text has.",
    "what is added up in forward.",
    embed=lambda self, idx: (
        self.pos_emb(self.positions(idx)).expand(*idx.shape, -1).clone()
    ),
)
_add(
    "a position embedding looked up with the token ids",
    "it is given in_idx and not the positions",
    NO_ORDER + " And an id above context_length is an error.",
    POSITIONS,
    positions=lambda self, idx: idx,
)
_add(
    "a position for each text",
    "arange goes over the batch's size",
    "It fits only if there are as many texts as tokens, or one text.",
    POSITIONS,
    positions=lambda self, idx: torch.arange(idx.shape[0], device=idx.device),
)
_add(
    "positions for the whole context",
    "arange goes over context_length, however many tokens there are",
    "It fits only texts that are as long as the context.",
    POSITIONS,
    positions=lambda self, idx: torch.arange(
        self.pos_emb.num_embeddings, device=idx.device
    ),
)
_add(
    "positions that start at 1",
    "the first token gets position 1",
    "GPT-2's first row is for position 0. And a text of full length has one position "
    "too many.",
    POSITIONS,
    positions=lambda self, idx: torch.arange(1, idx.shape[1] + 1, device=idx.device),
)
_add(
    "positions from the back",
    "the last token gets position 0",
    "Every new token would move all others to another position.",
    POSITIONS,
    positions=lambda self, idx: torch.arange(idx.shape[1], device=idx.device).flip(0),
)
_add(
    "position 0 for every token",
    "all tokens get the same position",
    NO_ORDER,
    POSITIONS,
    positions=lambda self, idx: torch.zeros_like(idx),
)
_add(
    "positions without a device",
    "arange makes them on the CPU, wherever the ids are",
    "With the model on a GPU, PyTorch reports an error.",
    "what arange is told besides the number of tokens.",
    positions=lambda self, idx: torch.arange(idx.shape[1]),
)
_add(
    "a product of the two embeddings",
    "they are multiplied, not added",
    "GPT-2 adds them.",
    "the sign between the two embeddings.",
    embed=lambda self, idx: self.tok_emb(idx) * self.pos_emb(self.positions(idx)),
)
_add(
    "embeddings one beside the other",
    "they are concatenated, not added",
    "There are twice as many features as the blocks and the output layer expect.",
    "how the two embeddings are put together.",
    embed=lambda self, idx: torch.cat(
        [self.tok_emb(idx), self.pos_emb(self.positions(idx)).expand(*idx.shape, -1)],
        dim=-1,
    ),
)
_add(
    "a softmax at the end",
    "probabilities are returned, not logits",
    "The loss function takes the softmax itself: training gets a wrong gradient.",
    "what forward returns.",
    finish=lambda self, x: Outline.finish(self, x).softmax(-1),
)
_add(
    "a log-softmax at the end",
    "logarithms of probabilities are returned, not logits",
    "GPT-2 returns logits.",
    "what forward returns.",
    finish=lambda self, x: Outline.finish(self, x).log_softmax(-1),
)
_add(
    "the most likely ids",
    "argmax of the logits is returned",
    "An index has no gradient, so nothing can be trained.",
    "what forward returns.",
    finish=lambda self, x: Outline.finish(self, x).argmax(-1),
)
_add(
    "the logits of the last token alone",
    "the other tokens' logits are thrown away",
    "In training each token's logits are compared with the token that follows.",
    "what forward returns.",
    finish=lambda self, x: Outline.finish(self, x)[:, -1],
)
_add(
    "embeddings without the output layer",
    "forward returns features and not logits",
    "Each token should get one score for each token of the vocabulary.",
    "the last step of forward.",
    finish=lambda self, x: self.final_norm(self.trf_blocks(self.drop_emb(x))),
)
_add(
    "blocks that are not used",
    "forward goes from the embeddings to the final normalization",
    "As long as the blocks are placeholders nothing shows; from 4.6 on, all is lost.",
    "the steps of forward, one by one.",
    finish=lambda self, x: self.out_head(self.final_norm(self.drop_emb(x))),
)
_add(
    "a final normalization that is not used",
    "forward goes from the blocks to the output layer",
    "As long as it is a placeholder nothing shows; GPT-2's trained weights need it.",
    "the steps of forward, one by one.",
    finish=lambda self, x: self.out_head(self.trf_blocks(self.drop_emb(x))),
)
_add(
    "a normalization before the blocks",
    "the final normalization comes before the blocks and not after them",
    "As long as both are placeholders nothing shows; later the result is another.",
    "the order of the steps in forward.",
    finish=lambda self, x: self.out_head(
        self.trf_blocks(self.final_norm(self.drop_emb(x)))
    ),
)
_add(
    "dropout that is not used",
    "no value is set to zero in training",
    "The setting drop_rate has no effect on the embeddings.",
    "the steps of forward, one by one.",
    finish=lambda self, x: self.out_head(self.final_norm(self.trf_blocks(x))),
)
_add(
    "dropout before the positions are added",
    "only the token embeddings are dropped",
    "GPT-2 drops values of the sum.",
    "the order of the steps in forward.",
    forward=lambda self, idx: self.out_head(
        self.final_norm(
            self.trf_blocks(
                self.drop_emb(self.tok_emb(idx)) + self.pos_emb(self.positions(idx))
            )
        )
    ),
)
_add(
    "dropout in eval mode, too",
    "values are set to zero although the model is in eval mode",
    "The same text gives other logits at each call.",
    "how dropout is called: nn.Dropout looks at the mode, F.dropout is told.",
    finish=lambda self, x: Outline.finish(self, F.dropout(x, self.drop_emb.p)),
)
_add(
    "dropout on the logits",
    "scores are set to zero, not features",
    "A score of 0 is a high one for most tokens.",
    "the order of the steps in forward.",
    finish=lambda self, x: self.drop_emb(
        self.out_head(self.final_norm(self.trf_blocks(x)))
    ),
)
_add(
    "an output layer with a bias",
    "nn.Linear has one unless it is told otherwise",
    "GPT-2 has none there: it would be 50,257 parameters more.",
    "what nn.Linear is told besides the sizes.",
    change=lambda self, cfg: setattr(
        self, "out_head", nn.Linear(cfg["emb_dim"], cfg["vocab_size"])
    ),
)
_add(
    "an output layer that is tied to the token embedding",
    "both use one matrix",
    "GPT-2 does so, but in this course each has its own until 4.6.",
    "what __init__ does to the weights of the output layer.",
    change=lambda self, cfg: setattr(self.out_head, "weight", self.tok_emb.weight),
)
_add(
    "blocks in a plain list",
    "PyTorch does not look into Python's lists, so the blocks are not registered",
    "The real blocks' parameters would be missing: 85 million of them.",
    "what __init__ keeps the blocks in.",
    change=lambda self, cfg: self.__dict__.update(
        trf_blocks=self._modules.pop("trf_blocks").forward
    ),
)
_add(
    "the same block again and again",
    "[block] * n repeats one object",
    "The real blocks would share their parameters: the model would learn one of them "
    "and not twelve.",
    "whether a new block is made for each layer.",
    change=lambda self, cfg: setattr(
        self, "trf_blocks", nn.Sequential(*[nn.Identity()] * cfg["n_layers"])
    ),
)
_add(
    "n_heads blocks",
    "the number of blocks is that of the heads",
    "GPT-2 small has 12 of both, so it does not show there.",
    "the key of the configuration that the blocks are counted by.",
    change=lambda self, cfg: setattr(
        self,
        "trf_blocks",
        nn.Sequential(*[nn.Identity() for _ in range(cfg["n_heads"])]),
    ),
)
_add(
    "a list in nn.Sequential",
    "nn.Sequential gets one list and not the blocks one by one",
    "It takes its modules as separate arguments.",
    "the square brackets; a * before a list takes it apart.",
    change=lambda self, cfg: nn.Sequential([nn.Identity()]),  # type: ignore[call-overload]
)
_add(
    "768 features, whatever emb_dim is",
    "the number is written into the code",
    "It fits the smallest GPT-2 alone.",
    "the sizes in __init__.",
    __init__=lambda self, cfg: Outline.__init__(self, cfg | {"emb_dim": 768}),
)
_add(
    "vocab_size rows of positions",
    "the position embedding has as many rows as there are tokens in the vocabulary",
    "GPT-2 has 1,024 positions; 50,257 rows are 38 million parameters too many.",
    "the sizes of the position embedding.",
    change=lambda self, cfg: setattr(
        self, "pos_emb", nn.Embedding(cfg["vocab_size"], cfg["emb_dim"])
    ),
)
_add(
    "a missing super().__init__()",
    "the class does not set up what nn.Module needs",
    "Before the __init__ of nn.Module has run, it cannot take layers.",
    "the first line of __init__.",
    __init__=lambda self, cfg: setattr(self, "tok_emb", nn.Embedding(1, 1)),
)
_add(
    "a forward without return",
    "it gives None",
    "There are no logits to work with.",
    "the last line of forward.",
    finish=lambda self, x: None,
)
_add(
    "a gradient cut off",
    "forward runs under no_grad",
    "The result is right, but nothing can be trained.",
    "detach, .data and no_grad.",
    forward=torch.no_grad()(lambda self, idx: Outline.finish(self, self.embed(idx))),
)
