"""Section 4.6: what a GPT model of any size needs, worked out without building it.

Every number follows from the configuration alone, so GPT-3 costs no more to look at
than GPT-2. Bytes are bytes: divide by ``2**20`` for MiB.
"""

import torch
from torch import Tensor, UntypedStorage, nn
from torch.autograd.graph import saved_tensors_hooks

from gpt_from_scratch.llm_architecture import GPTConfig, require_int, validate_config


def count_parameters(model: nn.Module) -> int:
    """Count a model's parameters; one that is used twice (tied) counts once.

    Args:
        model: Any model, also on the meta device.

    Returns:
        The number of parameters.
    """
    return sum(parameter.numel() for parameter in model.parameters())


def parameter_counts(cfg: GPTConfig, *, tied: bool = False) -> dict[str, int]:
    """Count the parameters of ``GPTModel(cfg)`` by component.

    Source: section 4.6.

    Args:
        cfg: The model's configuration.
        tied: Whether the output layer shares the token embedding's matrix.

    Returns:
        The number of parameters of each component, over all blocks.

    Raises:
        ValueError: If the configuration is not valid (see ``validate_config``).
    """
    validate_config(cfg)
    emb_dim, n_layers = cfg["emb_dim"], cfg["n_layers"]
    qkv = 3 * (emb_dim * emb_dim + (emb_dim if cfg["qkv_bias"] else 0))
    out_proj = emb_dim * emb_dim + emb_dim
    widen = emb_dim * 4 * emb_dim + 4 * emb_dim
    narrow = 4 * emb_dim * emb_dim + emb_dim
    scale_and_shift = 2 * emb_dim
    return {
        "token embedding": cfg["vocab_size"] * emb_dim,
        "position embedding": cfg["context_length"] * emb_dim,
        "attention": n_layers * (qkv + out_proj),
        "feed-forward": n_layers * (widen + narrow),
        "layer normalization": (2 * n_layers + 1) * scale_and_shift,
        "output layer": 0 if tied else emb_dim * cfg["vocab_size"],
    }


def total_parameters(cfg: GPTConfig, *, tied: bool = False) -> int:
    """Count the parameters of ``GPTModel(cfg)``.

    Args:
        cfg: The model's configuration.
        tied: Whether the output layer shares the token embedding's matrix.

    Returns:
        The number of parameters: 163,009,536 for ``GPT_CONFIG_124M``, 124,412,160
        if tied.

    Raises:
        ValueError: If the configuration is not valid (see ``validate_config``).
    """
    return sum(parameter_counts(cfg, tied=tied).values())


def storage_bytes(
    cfg: GPTConfig, dtype: torch.dtype = torch.float32, *, tied: bool = False
) -> int:
    """Tell how many bytes the model's parameters take.

    Args:
        cfg: The model's configuration.
        dtype: The type in which each parameter is stored.
        tied: Whether the output layer shares the token embedding's matrix.

    Returns:
        The number of bytes.

    Raises:
        ValueError: If the configuration is not valid (see ``validate_config``).
    """
    return total_parameters(cfg, tied=tied) * dtype.itemsize


def kv_cache_bytes_per_token(cfg: GPTConfig, dtype: torch.dtype = torch.float32) -> int:
    """Tell how many bytes a key-value cache takes for each token of one text.

    Every block keeps one key and one value of ``emb_dim`` numbers.

    Source: section 4.7.

    Args:
        cfg: The model's configuration.
        dtype: The type in which keys and values are stored.

    Returns:
        The number of bytes.

    Raises:
        ValueError: If the configuration is not valid (see ``validate_config``).
    """
    validate_config(cfg)
    return cfg["n_layers"] * 2 * cfg["emb_dim"] * dtype.itemsize


def training_bytes(
    cfg: GPTConfig, dtype: torch.dtype = torch.float32, *, tied: bool = False
) -> dict[str, int]:
    """Tell how many bytes training with AdamW keeps for the parameters.

    Activations come on top; they depend on the batch and on the method.

    Source: section 4.6; Loshchilov and Hutter (2017),
    https://arxiv.org/abs/1711.05101.

    Args:
        cfg: The model's configuration.
        dtype: The type in which all four are stored.
        tied: Whether the output layer shares the token embedding's matrix.

    Returns:
        The number of bytes of the weights, of their gradients and of AdamW's two
        moments.

    Raises:
        ValueError: If the configuration is not valid (see ``validate_config``).
    """
    kinds = ("weights", "gradients", "first moments", "second moments")
    return dict.fromkeys(kinds, storage_bytes(cfg, dtype, tied=tied))


def flops_per_token(cfg: GPTConfig, num_tokens: int | None = None) -> int:
    """Count the operations of one forward pass for one token.

    A multiplication and the addition after it are two operations. Matrix products
    are counted: the linear layers, the attention scores, and the weighted sums of the
    values. What is left out (biases, softmax, GELU, layer normalization) is small
    against them. Training takes three times as many: the backward pass costs twice
    the forward pass.

    Source: section 4.6; Kaplan et al. (2020), https://arxiv.org/abs/2001.08361,
    section 2.1.

    Args:
        cfg: The model's configuration.
        num_tokens: How many tokens this one looks at, itself included: from 1 to
            ``context_length``, which is taken if it is not given. On average over a
            text of n tokens it is (n + 1) / 2.

    Returns:
        The number of floating-point operations.

    Raises:
        TypeError: If ``num_tokens`` is not an integer.
        ValueError: If the configuration is not valid (see ``validate_config``), or
            ``num_tokens`` out of range.
    """
    validate_config(cfg)
    if num_tokens is None:
        num_tokens = cfg["context_length"]
    require_int("num_tokens", num_tokens, at_least=1)
    if num_tokens > cfg["context_length"]:
        raise ValueError(
            f"num_tokens must be at most context_length={cfg['context_length']}, "
            f"got {num_tokens}"
        )
    emb_dim = cfg["emb_dim"]
    block_weights = 4 * emb_dim * emb_dim + 8 * emb_dim * emb_dim
    attention = 2 * num_tokens * emb_dim  # scores, then weighted sum
    multiplications = (
        cfg["n_layers"] * (block_weights + attention) + emb_dim * cfg["vocab_size"]
    )
    return 2 * multiplications


def bytes_kept_for_backward(model: nn.Module, ids: Tensor) -> int:
    """Count the bytes that one pass of a model keeps for ``backward()``.

    The parameters are left out: they are in memory anyway. Tensors that share memory
    count once. Inside ``torch.no_grad()`` nothing is kept.

    Source: section 4.7; ``torch.autograd.graph.saved_tensors_hooks``.

    Args:
        model: The model; only its forward pass is run.
        ids: What it is to read.

    Returns:
        The number of bytes.
    """
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, UntypedStorage] = {}  # address: held, so that it is not used again

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        model(ids)
    return sum(storage.nbytes() for storage in kept.values())
