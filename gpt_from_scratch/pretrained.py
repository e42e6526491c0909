"""After section 4.7: GPT-2's trained weights, as OpenAI published them."""

import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gpt_from_scratch.gpt_model import GPTModel
from gpt_from_scratch.llm_architecture import GPTConfig
from gpt_from_scratch.weight_files import (
    StoredTensor,
    find_weight_files,
    import_extra,
    open_weight_files,
    read_json,
    some,
)

# What each tensor of a GPT-2 file becomes: its name there, the names here. The largest
# come first: while a tensor is copied, it takes memory twice.
_MODEL = {
    "wte.weight": ["tok_emb.weight"],
    "lm_head.weight": ["out_head.weight"],  # not in OpenAI's files: it is wte.weight
    "wpe.weight": ["pos_emb.weight"],
    "ln_f.weight": ["final_norm.scale"],
    "ln_f.bias": ["final_norm.shift"],
}
# The same for block n: "h.n.ln_1.weight" there, "trf_blocks.n.norm1.scale" here. All
# its matrices are stored as (inputs, outputs) there, as (outputs, inputs) here.
_BLOCK = {
    "ln_1.weight": ["norm1.scale"],
    "ln_1.bias": ["norm1.shift"],
    # There, queries, keys and values come out of one layer, side by side.
    "attn.c_attn.weight": [f"att.W_{x}.weight" for x in ("query", "key", "value")],
    "attn.c_attn.bias": [f"att.W_{x}.bias" for x in ("query", "key", "value")],
    "attn.c_proj.weight": ["att.out_proj.weight"],
    "attn.c_proj.bias": ["att.out_proj.bias"],
    "ln_2.weight": ["norm2.scale"],
    "ln_2.bias": ["norm2.shift"],
    "mlp.c_fc.weight": ["ff.layers.0.weight"],
    "mlp.c_fc.bias": ["ff.layers.0.bias"],
    "mlp.c_proj.weight": ["ff.layers.2.weight"],
    "mlp.c_proj.bias": ["ff.layers.2.bias"],
}
_IN_BLOCK = re.compile(r"h\.(\d+)\..+")
_MASK = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")  # in some files; no weights

# What config.json must say, where it says anything, or GPTModel computes otherwise.
_COMPUTATION: dict[str, list[object]] = {
    "model_type": ["gpt2"],
    "activation_function": ["gelu_new", "gelu_pytorch_tanh"],
    "layer_norm_epsilon": [1e-5],
    "scale_attn_weights": [True],
    "scale_attn_by_inverse_layer_idx": [False],
}
_HEAD = "lm_head.weight"
_HEAD_DIM = 64  # in all four sizes of GPT-2
_DTYPES = {
    "F32": torch.float32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F64": torch.float64,
}


def load_pretrained(
    name_or_path: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> GPTModel:
    """Build the model whose weights a GPT-2 file holds, in evaluation mode.

    The sizes follow from the tensors' shapes. Only the number of heads does not: it is
    read from the ``config.json`` beside the file, and without one, a head has 64
    features, as in all of OpenAI's GPT-2 models. Pickled weights (``.bin``, ``.pth``)
    are refused: loading a pickle can run any code that someone put into it.

    Source: Radford et al. (2019), "Language Models are Unsupervised Multitask
    Learners"; Hugging Face's layout, that of ``transformers.GPT2LMHeadModel``.

    Args:
        name_or_path: ``"gpt2"`` (124M parameters), ``"gpt2-medium"`` (355M),
            ``"gpt2-large"`` (774M) or ``"gpt2-xl"`` (1558M), downloaded once and kept
            in Hugging Face's cache; or a ``.safetensors`` file, or a folder with
            ``model.safetensors``, in one piece or in several. A folder that holds
            weights goes before a name, and a ``Path`` is never a name.
        device: Where the weights go.
        dtype: ``torch.float32``, ``torch.bfloat16``, ``torch.float16`` or
            ``torch.float64``, to which they are converted; ``None`` keeps the file's.

    Returns:
        The model, its parameters trainable, with ``qkv_bias`` True, ``drop_rate`` 0.1,
        and tied unless the file has an output matrix of its own.

    Raises:
        ImportError: If the extra ``pretrained`` is not installed, or too old.
        FileNotFoundError: If there is no such name, file or folder, or no weights in
            the folder.
        ConnectionError: If a name's weights are not in the cache and cannot be fetched.
        TypeError: If ``dtype`` is not a ``torch.dtype``.
        ValueError: If ``dtype`` or ``device`` cannot be used; if the file is pickled,
            damaged, lacks tensors or holds others, of other shapes or other types; or
            if ``config.json`` does not fit the tensors or changes the computation.
    """
    _check_target(device, dtype)
    import_extra("safetensors")  # before a long download, not after it
    paths = find_weight_files(name_or_path)
    with ExitStack() as stack:
        stored = open_weight_files(paths, stack)
        mapping = _match_names(stored, paths[0])
        shapes = {name: stored[name].shape for name in mapping}
        with torch.device("meta"):  # sizes, and no memory yet
            model = GPTModel(_configuration(shapes, paths[0].parent))
        _keep_order_in_memory(model)
        _check_tensors(stored, mapping, model, dtype)
        if _is_tied(stored):
            mapping.pop(_HEAD, None)
            model.tie_weights()
        # Memory for all weights before any is read: what reading takes in between is
        # then used again and again, and leaves no gaps.
        model.to(dtype or _DTYPES[stored["wte.weight"].dtype])
        model.to_empty(device=device)
        for name, parameters in mapping.items():
            _copy(stored[name].read(), name, map(model.get_parameter, parameters))
    return model.eval()


def _keep_order_in_memory(model: GPTModel) -> None:
    """Let each matrix of the blocks lie in memory as in the file: inputs by outputs.

    Its shape stays ``(outputs, inputs)``. But numbers that lie beside each other then
    belong to the same input, and on a CPU a single token is multiplied faster so: with
    a key-value cache, a token takes 0.93 times as long.
    """
    for part in model.trf_blocks.modules():
        if isinstance(part, nn.Linear):
            part.weight = nn.Parameter(part.weight.t().contiguous().t())


def _copy(tensor: Tensor, name: str, parameters: Iterable[Tensor]) -> None:
    """Copy a tensor of the file into the parameters that it becomes."""
    if _IN_BLOCK.fullmatch(name):
        tensor = tensor.t()  # a vector stays as it is
    targets = [parameter.detach() for parameter in parameters]
    for target, part in zip(targets, tensor.chunk(len(targets)), strict=True):
        target.copy_(part)


def _check_target(device: str | torch.device, dtype: torch.dtype | None) -> None:
    """Find out whether the weights can go there, before they are fetched and read."""
    if dtype is not None and not isinstance(dtype, torch.dtype):
        raise TypeError(f"dtype must be one such as torch.bfloat16, got {dtype!r}")
    if dtype is not None and dtype not in _DTYPES.values():
        raise ValueError(f"dtype must be one of {[*_DTYPES.values()]}, got {dtype}")
    try:
        torch.empty(1, device=device, dtype=dtype)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(
            f"device {str(device)!r} cannot hold the weights here ({error}); "
            f"device='cpu' can"
        ) from error


def _match_names(names: Collection[str], path: Path) -> dict[str, list[str]]:
    """Give each tensor's names here; refuse a file that lacks some or has others."""
    n_layers = max(1, len({m[1] for name in names if (m := _IN_BLOCK.fullmatch(name))}))
    mapping = {
        key: ours for key, ours in _MODEL.items() if key in names or key != _HEAD
    }
    for n in range(n_layers):
        for key, ours in _BLOCK.items():
            mapping[f"h.{n}.{key}"] = [f"trf_blocks.{n}.{name}" for name in ours]
    missing = [name for name in mapping if name not in names]
    surplus = [n for n in names if n not in mapping and not _MASK.fullmatch(n)]
    if missing or surplus:
        lacks = f"lacks {some(missing)}" if missing else ""
        holds = f"holds {some(surplus)}, which GPT-2 has not" if surplus else ""
        raise ValueError(
            f"{path} is not a whole GPT-2 in Hugging Face's layout: it "
            f"{' and '.join(filter(None, (lacks, holds)))}. Is it a part of a model? "
            f"Then give the folder with all parts. Or a model of another kind?"
        )
    return mapping


def _configuration(shapes: Mapping[str, tuple[int, ...]], folder: Path) -> GPTConfig:
    """Read the sizes off the shapes, the rest off ``config.json`` if it is there."""
    for name in ("wte.weight", "wpe.weight"):
        if len(shapes[name]) != 2:
            raise ValueError(f"{name} must have two dimensions, got {shapes[name]}")
    vocab_size, emb_dim = shapes["wte.weight"]
    sizes = {
        "vocab_size": vocab_size,
        "n_positions": shapes["wpe.weight"][0],
        "n_embd": emb_dim,
        "n_layer": sum(name.endswith(".ln_1.weight") for name in shapes),
    }
    path = folder / "config.json"
    if path.is_file():
        config = read_json(path)
        _check_config_json(config, path, sizes, has_head=_HEAD in shapes)
        n_heads = config["n_head"]
    elif emb_dim % _HEAD_DIM == 0:
        n_heads = emb_dim // _HEAD_DIM
    else:
        raise ValueError(
            f"the number of heads is unknown: {emb_dim} features are no multiple of "
            f"GPT-2's {_HEAD_DIM} a head; put the model's config.json into {folder}"
        )
    return {
        "vocab_size": vocab_size,
        "context_length": sizes["n_positions"],
        "emb_dim": emb_dim,
        "n_heads": n_heads,
        "n_layers": sizes["n_layer"],
        "drop_rate": 0.1,
        "qkv_bias": True,
    }


def _check_config_json(
    config: Mapping[str, Any], path: Path, sizes: Mapping[str, int], *, has_head: bool
) -> None:
    """Refuse one of another model, or of a model that computes differently."""
    for key, size in sizes.items():
        if config.get(key, size) != size:
            raise ValueError(
                f"{path} says {key}={config[key]!r}, but the tensors {size}: it is "
                f"another model's; put each model into a folder of its own"
            )
    for key, allowed in _COMPUTATION.items():
        if key in config and config[key] not in allowed:
            raise ValueError(
                f"{path} says {key}={config[key]!r}; GPTModel computes with "
                f"{allowed[0]!r} and would give other results"
            )
    if config.get("tie_word_embeddings") is False and not has_head:
        raise ValueError(
            f"{path} says tie_word_embeddings=False, but there is no {_HEAD}; save "
            f"the model with its head (GPT2LMHeadModel)"
        )
    if "n_head" not in config:
        raise ValueError(f"{path} lacks n_head, the number of heads; add it")


def _check_tensors(
    stored: Mapping[str, StoredTensor],
    mapping: Mapping[str, list[str]],
    model: GPTModel,
    dtype: torch.dtype | None,
) -> None:
    """Compare shapes with the model's, and see whether the number types can be used."""
    for name, parameters in mapping.items():
        shape = model.get_parameter(parameters[0]).shape
        expected = (len(parameters) * shape[0], *shape[1:])
        if _IN_BLOCK.fullmatch(name):
            expected = expected[::-1]
        if stored[name].shape != expected:
            raise ValueError(
                f"{name} has shape {stored[name].shape}, expected {expected}; the "
                f"file is not of GPT-2's kind"
            )
    dtypes = {stored[name].dtype for name in mapping}
    if dtypes - set(_DTYPES):
        raise ValueError(
            f"the file holds numbers of type {some(sorted(dtypes))}; only "
            f"{[*_DTYPES]} can be read, not quantized weights"
        )
    if dtype is None and len(dtypes) > 1:
        raise ValueError(
            f"the file mixes numbers of type {some(sorted(dtypes))}; choose one, such "
            f"as dtype=torch.float32"
        )


def _is_tied(stored: Mapping[str, StoredTensor]) -> bool:
    """Tell whether the output matrix is the token embedding: not there, or equal."""
    head, embedding = stored.get(_HEAD), stored["wte.weight"]
    if head is None:
        return True
    if head.dtype != embedding.dtype:
        return False
    step = 16384  # rows at a time, or two large matrices would be in memory
    return all(
        torch.equal(head.rows(start, start + step), embedding.rows(start, start + step))
        for start in range(0, head.shape[0], step)
    )
