"""GPT-2's tokenizer (chapter 2): text to token ids and back, without a network."""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from tiktoken import Encoding

# What tiktoken pins for r50k_base.tiktoken, GPT-2's byte pair ranks.
_SHA256 = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"
_END_OF_TEXT = "<|endoftext|>"
# How GPT-2 cuts a text into pieces before it merges bytes: contractions, words, numbers
# and signs, each with the space before it; then what is left of white space.
_PATTERN = (
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++"
    r"|\s++$|\s+(?!\S)|\s"
)


@cache
def load_tokenizer() -> "Encoding":
    """Load GPT-2's tokenizer from the data that come with this package.

    Equal to ``tiktoken.get_encoding("gpt2")``, which would fetch them. Writes nothing;
    the second call gives the same object at once.

    Source: section 2.5; Radford et al. (2019), section 2.2.

    Returns:
        The tokenizer, with ``encode``, ``decode`` and ``n_vocab`` (50257).

    Raises:
        FileNotFoundError: If the package's data are not there.
        ValueError: If they are not to the bit what OpenAI published.
    """
    from tiktoken import Encoding

    path = files("gpt_from_scratch") / "data" / "gpt2.tiktoken"
    return Encoding(
        name="gpt2",
        pat_str=_PATTERN,
        mergeable_ranks=_parse_ranks(path.read_bytes()),
        special_tokens={_END_OF_TEXT: 50256},
        explicit_n_vocab=50257,
    )


def _parse_ranks(data: bytes) -> dict[bytes, int]:
    """Read ``base64(token) rank`` lines, once they are known to be OpenAI's."""
    found = hashlib.sha256(data).hexdigest()
    if found != _SHA256:
        cause = (
            "its line ends were changed to Windows', probably by git; .gitattributes "
            "forbids that"
            if b"\r\n" in data
            else "it was altered or cut short"
        )
        raise ValueError(
            f"gpt_from_scratch/data/gpt2.tiktoken is not OpenAI's file: {cause}. "
            f"Restore it: git checkout -- gpt_from_scratch/data/gpt2.tiktoken "
            f"(SHA-256 {found}, expected {_SHA256})"
        )
    pairs = (line.split() for line in data.splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def text_to_token_ids(text: str, tokenizer: "Encoding") -> Tensor:
    """Encode a text as a batch of one.

    Args:
        text: The text; ``<|endoftext|>`` in it becomes the one end-of-text token.
        tokenizer: As ``load_tokenizer`` gives it.

    Returns:
        The token ids, ``torch.int64``.

    Shape:
        Output: ``(1, T)``; an empty text has ``T`` = 0.

    Raises:
        TypeError: If ``text`` is not a string.
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a string, got {type(text).__name__}")
    ids = tokenizer.encode(text, allowed_special={_END_OF_TEXT})
    return torch.tensor([ids], dtype=torch.int64)


def token_ids_to_text(token_ids: Tensor, tokenizer: "Encoding") -> str:
    """Decode the token ids of one text.

    Args:
        token_ids: The token ids.
        tokenizer: As ``load_tokenizer`` gives it.

    Returns:
        The text. Bytes that are no character, such as a half of one, become U+FFFD.

    Shape:
        token_ids: ``(T,)`` or ``(1, T)``.

    Raises:
        TypeError: If ``token_ids`` is not a tensor of integers.
        ValueError: If it holds several texts, or an id that the tokenizer lacks.
    """
    if not isinstance(token_ids, Tensor):
        raise TypeError(f"token_ids must be a tensor, got {type(token_ids).__name__}")
    if token_ids.dtype not in (torch.int64, torch.int32):
        raise TypeError(
            f"token_ids must be torch.int64 or torch.int32, got {token_ids.dtype}"
        )
    if token_ids.ndim == 2 and token_ids.shape[0] == 1:
        token_ids = token_ids[0]  # (T,)
    if token_ids.ndim != 1:
        raise ValueError(
            f"token_ids must hold one text, shape (T,) or (1, T), got "
            f"{tuple(token_ids.shape)}; decode a batch row by row"
        )
    ids = token_ids.tolist()
    for token_id in ids:
        if not 0 <= token_id < tokenizer.n_vocab:
            raise ValueError(
                f"token id {token_id} is not in the tokenizer's vocabulary: ids go "
                f"from 0 to {tokenizer.n_vocab - 1}"
            )
    return tokenizer.decode(ids)
