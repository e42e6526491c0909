"""Section 4.1: the configuration of a GPT model, and the outline of the model."""

import difflib
from collections.abc import Mapping
from typing import TypedDict

import torch
from torch import Tensor, nn


class GPTConfig(TypedDict):
    """The seven settings that fix a GPT model's architecture.

    Source: section 4.1; Radford et al. (2019), "Language Models are Unsupervised
    Multitask Learners".
    """

    vocab_size: int  # tokens that the tokenizer knows
    context_length: int  # tokens that the model can look at, at the most
    emb_dim: int  # features per token
    n_heads: int  # attention heads per block; divides emb_dim
    n_layers: int  # transformer blocks
    drop_rate: float  # fraction of values set to zero in training, in [0, 1)
    qkv_bias: bool  # whether the query, key and value layers have a bias


GPT_CONFIG_124M: GPTConfig = {
    "vocab_size": 50257,
    "context_length": 1024,
    "emb_dim": 768,
    "n_heads": 12,
    "n_layers": 12,
    "drop_rate": 0.1,
    "qkv_bias": False,
}

# GPT-2 in its four sizes. OpenAI's published weights have qkv_bias=True.
GPT2_CONFIGS: dict[str, GPTConfig] = {
    "gpt2": GPT_CONFIG_124M,
    "gpt2-medium": {**GPT_CONFIG_124M, "emb_dim": 1024, "n_heads": 16, "n_layers": 24},
    "gpt2-large": {**GPT_CONFIG_124M, "emb_dim": 1280, "n_heads": 20, "n_layers": 36},
    "gpt2-xl": {**GPT_CONFIG_124M, "emb_dim": 1600, "n_heads": 25, "n_layers": 48},
}

# GPT-3 at its largest: Brown et al. (2020), table 2.1, https://arxiv.org/abs/2005.14165.
GPT3_CONFIG: GPTConfig = {
    **GPT_CONFIG_124M,
    "context_length": 2048,
    "emb_dim": 12288,
    "n_heads": 96,
    "n_layers": 96,
}

_SIZES = ("vocab_size", "context_length", "emb_dim", "n_heads", "n_layers")


def validate_config(cfg: GPTConfig) -> None:
    """Check that a configuration describes a model that can be built.

    Args:
        cfg: The configuration; it is not changed.

    Raises:
        TypeError: If ``cfg`` is not a dictionary.
        ValueError: If a key is missing or unknown, a value has the wrong type or is
            out of range, or ``emb_dim`` is not divisible by ``n_heads``.
    """
    if not isinstance(cfg, Mapping):
        raise TypeError(f"cfg must be a dictionary, got {type(cfg).__name__}")
    keys = list(GPTConfig.__annotations__)
    for key in cfg:
        if key not in keys:
            close = difflib.get_close_matches(str(key), keys, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"the keys are {keys}"
            raise ValueError(f"cfg has an unknown key {key!r}; {hint}")
    missing = [key for key in keys if key not in cfg]
    if missing:
        raise ValueError(
            f"cfg lacks {missing}; start from a copy of a whole configuration: "
            f"{{**GPT_CONFIG_124M, {missing[0]!r}: ...}}"
        )
    values: Mapping[str, object] = cfg
    for key in _SIZES:
        value = values[key]
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"cfg[{key!r}] must be an integer >= 1, got {value!r}")
    rate = values["drop_rate"]
    is_number = isinstance(rate, (int, float)) and not isinstance(rate, bool)
    if not is_number or not 0 <= rate < 1:  # type: ignore[operator]
        raise ValueError(f"cfg['drop_rate'] must be a number in [0, 1), got {rate!r}")
    if not isinstance(values["qkv_bias"], bool):
        raise ValueError(
            f"cfg['qkv_bias'] must be True or False, got {values['qkv_bias']!r}"
        )
    if cfg["emb_dim"] % cfg["n_heads"] != 0:
        raise ValueError(
            f"cfg['emb_dim'] must be divisible by cfg['n_heads'], got "
            f"{cfg['emb_dim']} and {cfg['n_heads']}: each head takes an equal share"
        )


def require_int(name: str, value: int, *, at_least: int) -> None:
    """Check an integer argument.

    Args:
        name: The argument's name, for the message.
        value: What the caller gave.
        at_least: The smallest value allowed.

    Raises:
        TypeError: If ``value`` is not an integer.
        ValueError: If ``value`` is smaller than ``at_least``.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < at_least:
        raise ValueError(f"{name} must be at least {at_least}, got {value}")


def validate_token_ids(
    ids: Tensor, *, vocab_size: int | None = None, context_length: int | None = None
) -> None:
    """Check that a tensor holds token ids that a model can take.

    Args:
        ids: The token ids.
        vocab_size: If given, each id must be in ``[0, vocab_size)``. Left to PyTorch
            where a look at the values is not possible: under ``torch.compile``,
            ``torch.export`` and ``torch.vmap``, and on the meta device.
        context_length: If given, the largest number of tokens allowed.

    Shape:
        ids: ``(B, T)``, with ``T`` at least 1.

    Raises:
        TypeError: If ``ids`` is not a tensor of ``torch.int64`` or ``torch.int32``.
        ValueError: If ``ids`` is not of shape ``(B, T)``, holds no token or too many,
            or holds an id that is not in the vocabulary.
    """
    if not isinstance(ids, Tensor):
        raise TypeError(
            f"token ids must be a tensor, got {type(ids).__name__}; "
            f"use torch.tensor(...)"
        )
    if ids.dtype not in (torch.int64, torch.int32):
        raise TypeError(
            f"token ids must be torch.int64 or torch.int32, got {ids.dtype}; a token "
            f"id is a row number of the embedding: convert with ids.long()"
        )
    if ids.ndim != 2:
        hint = "; add the batch dimension: ids.unsqueeze(0)" if ids.ndim == 1 else ""
        raise ValueError(
            f"token ids must have shape (batch, tokens), got {tuple(ids.shape)}{hint}"
        )
    num_tokens = ids.shape[1]
    if num_tokens == 0:
        raise ValueError(
            f"token ids hold no token: shape {tuple(ids.shape)}; give at least one, "
            f"such as GPT-2's end-of-text token, 50256"
        )
    if context_length is not None and num_tokens > context_length:
        raise ValueError(
            f"{num_tokens} tokens are more than context_length={context_length}; "
            f"keep the last ones: ids[:, -{context_length}:]"
        )
    if vocab_size is None or torch.compiler.is_compiling() or ids.is_meta:
        return
    if ids.numel() == 0:
        return
    try:
        lowest, highest = torch.stack(ids.aminmax()).tolist()
    except RuntimeError:  # torch.vmap and the like
        return
    if lowest < 0 or highest >= vocab_size:
        wrong = lowest if lowest < 0 else highest
        raise ValueError(
            f"token id {wrong} is not in the vocabulary: ids go from 0 to "
            f"{vocab_size - 1} (vocab_size={vocab_size}); was the text encoded by "
            f"the tokenizer of another model?"
        )


class DummyTransformerBlock(nn.Module):
    """Return the input: a placeholder for ``TransformerBlock`` (4.5).

    Source: section 4.1. Equal to ``torch.nn.Identity``.

    Args:
        cfg: The model's configuration; not used yet.

    Shape:
        Input: ``(B, T, emb_dim)``. Output: the same.
    """

    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x


class DummyLayerNorm(nn.Module):
    """Return the input: a placeholder for ``LayerNorm`` (4.2).

    Source: section 4.1. Equal to ``torch.nn.Identity``.

    Args:
        normalized_shape: Number of features per token; not used yet.
        eps: As in ``LayerNorm``; not used yet.

    Shape:
        Input: ``(..., normalized_shape)``. Output: the same.
    """

    def __init__(self, normalized_shape: int, eps: float = 1e-5) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x


class DummyGPTModel(nn.Module):
    """The outline of a GPT model: embeddings and output layer, the rest placeholders.

    Source: section 4.1; Radford et al. (2019).

    Args:
        cfg: The model's configuration.

    Shape:
        Input: token ids ``(B, T)``, with ``T`` from 1 to ``context_length``.
        Output: logits ``(B, T, vocab_size)``.

    Raises:
        ValueError: If the configuration is not valid (see ``validate_config``); in
            ``forward``, if the ids' shape, number or values do not fit the model.
        TypeError: In ``forward``, if the ids are not a tensor of integers.
    """

    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__()
        validate_config(cfg)
        self.tok_emb = nn.Embedding(cfg["vocab_size"], cfg["emb_dim"])
        self.pos_emb = nn.Embedding(cfg["context_length"], cfg["emb_dim"])
        self.drop_emb = nn.Dropout(cfg["drop_rate"])
        self.trf_blocks = nn.Sequential(
            *[DummyTransformerBlock(cfg) for _ in range(cfg["n_layers"])]
        )
        self.final_norm = DummyLayerNorm(cfg["emb_dim"])
        self.out_head = nn.Linear(cfg["emb_dim"], cfg["vocab_size"], bias=False)

    def forward(self, in_idx: Tensor) -> Tensor:
        validate_token_ids(
            in_idx,
            vocab_size=self.tok_emb.num_embeddings,
            context_length=self.pos_emb.num_embeddings,
        )
        positions = torch.arange(in_idx.shape[1], device=in_idx.device)  # (T,)
        x = self.tok_emb(in_idx) + self.pos_emb(positions)  # (B, T, emb_dim)
        x = self.drop_emb(x)
        x = self.trf_blocks(x)
        x = self.final_norm(x)
        return self.out_head(x)  # (B, T, vocab_size)
