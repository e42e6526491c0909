"""Section 4.7: generating text."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gpt_from_scratch.gpt_model import GPTModel
from gpt_from_scratch.kv_cache import KVCache
from gpt_from_scratch.llm_architecture import require_int, validate_token_ids


def generate_text_simple(
    model: Callable[[Tensor], Tensor],
    idx: Tensor,
    max_new_tokens: int,
    context_size: int,
) -> Tensor:
    """Continue each text by the token with the highest score, again and again.

    Call ``model.eval()`` first: with dropout on, the scores are partly noise.

    Source: section 4.7 (greedy decoding).

    Args:
        model: Gives logits ``(B, T, vocab_size)`` for token ids ``(B, T)``.
        idx: The texts to continue, as token ids; not changed.
        max_new_tokens: How many tokens to add to each; at least 0.
        context_size: How many tokens the model is shown, at the most: the last ones.
            At least 1, and at most the model's ``context_length``.

    Returns:
        The texts with what was added.

    Shape:
        idx: ``(B, T)``, with ``T`` at least 1.
        Output: ``(B, T + max_new_tokens)``.

    Raises:
        TypeError: If ``idx`` is not a tensor of integers, or a number not an integer.
        ValueError: If ``idx`` is not of shape ``(B, T)`` or holds no token,
            ``max_new_tokens`` is negative, or ``context_size`` less than 1. And what
            the model itself raises.
    """
    validate_token_ids(idx)
    require_int("max_new_tokens", max_new_tokens, at_least=0)
    require_int("context_size", context_size, at_least=1)
    for _ in range(max_new_tokens):
        with torch.no_grad():
            logits = model(idx[:, -context_size:])  # (B, T, vocab_size), T cropped
        # Softmax would not change which score is the highest, so it is left out.
        next_ids = logits[:, -1, :].argmax(dim=-1, keepdim=True)  # (B, 1)
        idx = torch.cat((idx, next_ids), dim=1)  # (B, T + 1)
    return idx


def generate(
    model: GPTModel,
    idx: Tensor,
    max_new_tokens: int,
    *,
    context_size: int | None = None,
    temperature: float = 0.0,
    top_k: int | None = None,
    eos_id: int | None = None,
    generator: torch.Generator | None = None,
    use_cache: bool = True,
    on_token: Callable[[Tensor], object] | None = None,
) -> Tensor:
    """Continue each text, by the best tokens or by chance, until all have ended.

    The model is in evaluation mode while it generates, and then again in the mode in
    which it was. No gradients are recorded.

    While a text and what is added to it fit into ``context_size``, a key-value cache
    leaves one token a step to compute. Beyond, the model is shown the last
    ``context_size`` tokens, and each of them moves by one position at every step:
    GPT-2 learned a vector for each position, so nothing in the cache is valid any
    more, and every step costs as much as reading ``context_size`` tokens anew.

    Source: section 4.7; Fan et al. (2018), https://arxiv.org/abs/1805.04833, section
    5.2, for top-k sampling.

    Args:
        model: The model; it may be in training mode.
        idx: The texts to continue, as token ids; not changed.
        max_new_tokens: How many tokens to add to each, at the most; at least 0.
        context_size: How many tokens the model is shown, at the most: the last ones.
            From 1 to the model's ``context_length``, which is taken if not given.
        temperature: 0 takes the token with the highest score. Else a token is drawn
            with probabilities ``softmax(logits / temperature)``: below 1 likely tokens
            become likelier, above 1 all become more alike.
        top_k: If given, only the ``top_k`` tokens with the highest scores can be
            drawn; at least 1.
        eos_id: The token that ends a text, such as GPT-2's 50256. A text that has
            ended is filled up with it; once all have, nothing more is added. If not
            given, texts do not end.
        generator: The source of chance; PyTorch's global one if not given.
        use_cache: Whether to use a key-value cache. The tokens are the same without.
        on_token: If given, called with the new token ids ``(B, 1)`` at each step, to
            show a long text while it grows.

    Returns:
        The texts with what was added.

    Shape:
        idx: ``(B, T)``, with ``T`` at least 1.
        Output: ``(B, T + n)``, with ``n`` up to ``max_new_tokens``.

    Raises:
        TypeError: If ``model`` is not a ``GPTModel``, ``idx`` not a tensor of integers,
            or a number not of its type.
        ValueError: If ``idx`` is not of shape ``(B, T)``, holds no text, no token, or
            one that is not in the vocabulary, or a number is out of range.
    """
    _validate(model, idx, max_new_tokens, context_size, temperature, top_k, eos_id)
    if context_size is None:
        context_size = model.cfg["context_length"]
    cache = None
    if use_cache:
        max_tokens = min(idx.shape[1] + max_new_tokens, context_size)
        cache = _fitting_cache(model, len(idx), max_tokens)
    has_ended = torch.zeros(len(idx), 1, dtype=torch.bool, device=idx.device)  # (B, 1)
    with _evaluating(model):
        for _ in range(max_new_tokens):
            with torch.no_grad():
                if cache is not None and idx.shape[1] <= context_size:
                    unread = idx[:, cache.num_tokens :]  # the prompt, then one token
                    logits = model(unread, cache=cache, last_only=True)
                else:
                    logits = model(idx[:, -context_size:], last_only=True)
            next_ids = _choose(
                logits[:, -1, :], temperature, top_k, generator
            )  # (B, 1)
            if eos_id is not None:
                next_ids = next_ids.masked_fill(has_ended, eos_id)
                has_ended = has_ended | (next_ids == eos_id)
            idx = torch.cat((idx, next_ids), dim=1)  # (B, T + 1)
            if on_token is not None:
                on_token(next_ids)
            if eos_id is not None and has_ended.all():
                break
    return idx


def _fitting_cache(model: GPTModel, batch_size: int, max_tokens: int) -> KVCache:
    """Make a cache where the model is, in the type in which it computes."""
    weight = model.tok_emb.weight
    kind = weight.device.type
    autocast = torch.is_autocast_enabled(kind)
    return KVCache(
        model.cfg,
        batch_size,
        max_tokens=max_tokens,
        device=weight.device,
        dtype=torch.get_autocast_dtype(kind) if autocast else weight.dtype,
    )


def _choose(
    logits: Tensor,
    temperature: float,
    top_k: int | None,
    generator: torch.Generator | None,
) -> Tensor:
    """Choose each text's next token from its logits ``(B, vocab_size)``."""
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)  # (B, 1)
    num_candidates = logits.shape[-1] if top_k is None else min(top_k, logits.shape[-1])
    logits, candidates = logits.float().topk(num_candidates)  # (B, top_k), best first
    temperature = max(temperature, 1e-30)  # below, float32 would overflow
    probabilities = torch.softmax(logits / temperature, dim=-1)  # (B, top_k)
    drawn = torch.multinomial(probabilities, num_samples=1, generator=generator)
    return candidates.gather(dim=-1, index=drawn)  # (B, 1)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and each of its parts back into its own."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _validate(
    model: GPTModel,
    idx: Tensor,
    max_new_tokens: int,
    context_size: int | None,
    temperature: float,
    top_k: int | None,
    eos_id: int | None,
) -> None:
    """Check the arguments of ``generate``, so that nothing fails halfway."""
    if not isinstance(model, GPTModel):
        raise TypeError(
            f"model must be a GPTModel, got {type(model).__name__}; "
            f"generate_text_simple takes any model"
        )
    vocab_size, context_length = model.cfg["vocab_size"], model.cfg["context_length"]
    validate_token_ids(idx, vocab_size=vocab_size)
    if len(idx) == 0:
        raise ValueError(f"no text to continue: idx has shape {tuple(idx.shape)}")
    require_int("max_new_tokens", max_new_tokens, at_least=0)
    if context_size is not None:
        require_int("context_size", context_size, at_least=1)
        if context_size > context_length:
            raise ValueError(
                f"context_size must be at most context_length={context_length}, "
                f"got {context_size}"
            )
    if not isinstance(temperature, (int, float)) or isinstance(temperature, bool):
        raise TypeError(f"temperature must be a number, got {temperature!r}")
    if not (temperature >= 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature must be finite and >= 0, got {temperature}")
    if top_k is not None:
        require_int("top_k", top_k, at_least=1)
    if eos_id is not None:
        require_int("eos_id", eos_id, at_least=0)
        if eos_id >= vocab_size:
            raise ValueError(
                f"eos_id must be in the vocabulary, from 0 to {vocab_size - 1}, "
                f"got {eos_id}"
            )
