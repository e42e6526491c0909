"""Section 4.7: generating text."""

from collections.abc import Callable

import torch
from torch import Tensor

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
